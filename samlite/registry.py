"""Names → models: ``sam_model_registry["tiny"]()`` builds one with its trained weights."""

import difflib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from samlite import memory
from samlite.fast import use_fast_paths
from samlite.precision import check_mode, use_precision
from samlite.released.checkpoints import load_checkpoint
from samlite.released.download import official_weights
from samlite.released.official_files import CHECKPOINTS
from samlite.released.sam import released_sam
from samlite.sam import Sam, document_sam

TINY_WEIGHTS = Path(__file__).parent / "weights" / "tiny.safetensors"
TEXT_WEIGHTS = TINY_WEIGHTS.with_name("tiny_text.safetensors")
# A model trained here predicts the IoU that it expects over all that a click may mean, and its edges are soft: the
# released thresholds let next to nothing pass. With these most masks on generated scenes are regions (there is a test).
TRAINED_HERE_THRESHOLDS = (0.55, 0.5)


def load_document_sam(path: str | Path, device: torch.device | str | None = None) -> Sam:
    """A document SAM from a safetensors file that samlite wrote: the file's metadata holds the sizes.

    Raises FileNotFoundError when there is no such file, ValueError when it holds something else, TooLittleMemoryError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: train them with `python -m samlite train tiny`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "config" not in metadata:
                raise ValueError(f"{path} has no 'config' in its metadata: it was not written by samlite's training")
            sizes = json.loads(metadata["config"])
            try:
                once = memory.weight_bytes(document_sam(**sizes, device="meta"))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{path} holds something else than a SAM ({error}): give weights that "
                    "`python -m samlite train` or `fine-tune` wrote"
                ) from error
            memory.check_weights(path.name, 2 * once)  # the model, and the tensors that go into it
            state = {name: file.get_tensor(name).float() for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file ({error}): give a file that samlite's training wrote"
        ) from error
    sam = document_sam(**sizes)
    sam.load_state_dict(state)
    sam.automatic_thresholds = TRAINED_HERE_THRESHOLDS
    sam.prompt_encoder.trained_on_text = metadata.get("trained_on_text")
    return _move(sam.eval(), device)


def tiny(
    checkpoint: str | Path | None = None, device: torch.device | str | None = None, precision: str = "float32"
) -> Sam:
    """The small model that ships with the package: the document's architecture, trained by this project."""
    return _move(load_document_sam(checkpoint or TINY_WEIGHTS), device, precision)


def tiny_text(
    checkpoint: str | Path | None = None, device: torch.device | str | None = None, precision: str = "float32"
) -> Sam:
    """A smaller one that takes text: it knows coloured shapes and nothing else (`samlite.learning.text`, §1.3)."""
    sam = load_document_sam(checkpoint or TEXT_WEIGHTS)
    if sam.prompt_encoder.text_projection is None:
        raise ValueError(f"{checkpoint} holds a model that takes no text: load it as 'tiny'")
    return _move(sam, device, precision)


def document_vit_h(
    checkpoint: str | Path | None = None, device: torch.device | str | None = None, precision: str = "float32"
) -> Sam:
    """The document's SAM at full size, 32 layers of 1280; random weights, for nobody has trained it."""
    if checkpoint is not None:
        sam = load_document_sam(checkpoint)
        if (len(sam.image_encoder.blocks), sam.image_encoder.patch_projection.out_features) != (32, 1280):
            raise ValueError(f"{checkpoint} holds a smaller model than document_vit_h: load it as 'tiny'")
        return _move(sam, device, precision)
    check_mode(precision, device)
    check_device(device)
    if not _is_meta(device):
        memory.check_weights("document_vit_h", memory.weight_bytes(document_sam(device="meta")), device)
    return use_precision(document_sam(device=device).eval(), precision)


def _released(name: str) -> Callable[..., Sam]:
    def build(
        checkpoint: str | Path | None = None, device: torch.device | str | None = None, precision: str = "float32"
    ) -> Sam:
        sizes = CHECKPOINTS[name].sizes
        check_mode(precision, device)
        check_device(device)
        if checkpoint is None:
            if _is_meta(device):
                return use_fast_paths(use_precision(released_sam(**sizes, device="meta").eval(), precision))
            memory.check_weights(name, CHECKPOINTS[name].size)
            return use_fast_paths(_move(released_sam(**sizes).eval(), device, precision))
        if str(checkpoint) in CHECKPOINTS and not Path(checkpoint).is_file():
            if str(checkpoint) != name:
                raise ValueError(f"{checkpoint} is another model's checkpoint: that of this one is called {name!r}")
            small = use_precision(released_sam(**sizes, device="meta"), precision)
            memory.check_weights(name, memory.weight_bytes(small))  # before gigabytes come for nothing
            checkpoint = official_weights(name)
        if not Path(checkpoint).exists():
            known = CHECKPOINTS[name]
            raise FileNotFoundError(
                f"there is no file {checkpoint}: checkpoint={name!r} downloads it; or fetch {known.file} "
                f"({known.size:,} bytes) from {known.address} and give the path where it lies"
            )
        sam = load_checkpoint(released_sam(**sizes, device="meta"), checkpoint, precision)
        return use_fast_paths(_move(sam, device, precision).eval())

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""The released {name}.

    ``checkpoint``: the path of the official file or of its safetensors; or {name!r}, which downloads the official
    file into the cache the first time (a file of that name goes first); None, as in the released package: random
    weights. On a CPU and without gradients it takes the fast paths of `samlite.fast`, which give the same numbers.
    ``precision``: one of `samlite.precision.MODES`; the file is then never in memory as a whole.
    Raises FileNotFoundError, ValueError when the file is damaged or holds another model, DownloadError, and
    TooLittleMemoryError before it takes memory that is not there.
    """
    return build


def _move(sam: Sam, device: torch.device | str | None, precision: str = "float32") -> Sam:
    """Raises ValueError when this machine has no such device, TooLittleMemoryError when it is full."""
    check_mode(precision, device)
    check_device(device)
    use_precision(sam.to("meta") if _is_meta(device) else sam, precision)  # rounded before it takes a GPU's memory
    if device is not None and torch.device(device).type not in ("cpu", "meta"):
        memory.check_weights(memory.described(sam), memory.weight_bytes(sam), device)
    with memory.out_of_memory_in_words(memory.described(sam), device):
        return sam.to(device or "cpu")


def check_device(device: torch.device | str | None) -> None:
    """Raises ValueError in one sentence when PyTorch can put nothing on this device here; None is the CPU."""
    try:
        torch.empty(0, device=device or "cpu")
    except (AssertionError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(f"device {str(device)!r} cannot be used here ({reason}): use device='cpu'") from error


vit_b, vit_l, vit_h = (_released(name) for name in CHECKPOINTS)


def _is_meta(device: torch.device | str | None) -> bool:
    return device is not None and torch.device(device).type == "meta"


class UnknownModelError(KeyError, ValueError):
    """No model has that name."""

    def __str__(self) -> str:
        return str(self.args[0])


class Registry(dict[str, Callable[..., Sam]]):
    """A dict whose ``UnknownModelError`` (a KeyError) lists the names and the closest one."""

    def __missing__(self, name: str) -> Callable[..., Sam]:
        close = difflib.get_close_matches(str(name), self, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UnknownModelError(f"no model is called {name!r}; there are {', '.join(map(repr, self))}{hint}")


sam_model_registry = Registry(
    default=tiny,
    tiny=tiny,
    tiny_text=tiny_text,
    vit_b=vit_b,
    vit_l=vit_l,
    vit_h=vit_h,
    document_vit_h=document_vit_h,
)


def trained_model(name: str, checkpoint: str | Path | None = None, device: torch.device | str | None = None) -> Sam:
    """A model of the registry with trained weights, or one from a .safetensors file: what a command works with.

    Raises UnknownModelError, and ValueError where the weights would be random or belong to another model; otherwise
    as the model's own function does.
    """
    if name.endswith(".safetensors"):
        if checkpoint is not None:
            raise ValueError(f"{name} is a file of weights and {checkpoint} another: name one of them")
        return load_document_sam(name, device)
    build = sam_model_registry[name]
    named = Path(checkpoint or "").name
    official = next((each for each, known in CHECKPOINTS.items() if named in (each, known.file)), None)
    if official not in (None, name):
        raise ValueError(f"{checkpoint} holds the weights of {official}, not of {name}: name the model {official}")
    if checkpoint is None and name in CHECKPOINTS:
        raise ValueError(
            f"{name} does not ship with samlite: --checkpoint {name} downloads it once; or fetch "
            f"{CHECKPOINTS[name].address} and name the file with --checkpoint FILE"
        )
    if checkpoint is None and build is document_vit_h:
        raise ValueError(f"nobody has trained {name}: without --checkpoint FILE its weights would be random")
    return build(checkpoint=checkpoint, device=device)
