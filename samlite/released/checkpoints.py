"""How an official checkpoint is proven to be one, and how it is read.

A file that bears an official name is compared with the official size and SHA-256 before anything in it is read. Only
tensors are ever read from a ``.pth`` (``weights_only``), so that no code in it can run. Names and shapes must be those
of the model, all of them.
"""

import copy
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from samlite import memory
from samlite.files import whole_file
from samlite.precision import use_precision
from samlite.released.key_map import POSITIONS, TYPES, from_official, to_official
from samlite.released.official_files import CHECKPOINTS, how_to_get, looks_like, sha256
from samlite.sam import PIXEL_MEAN, PIXEL_STD, Sam

MOST_LISTED = 5  # so many differing names a message shows
WRAPPERS = ("model", "state_dict", "model_state_dict", "sam")  # under which training scripts put the weights


def load_checkpoint(sam: Sam, path: str | os.PathLike, precision: str = "float32") -> Sam:
    """Give a released SAM the weights of an official file, ``.pth`` or converted to safetensors. Returns ``sam``.

    ``sam`` may be on the meta device; it is on the CPU afterwards. Raises FileNotFoundError when there is no such
    file, ValueError when it is damaged, no checkpoint, or one for a model of other sizes, TooLittleMemoryError before
    it reads what would not fit. The weights are held once: what was read becomes the model's own. In another
    ``precision`` (`samlite.precision`) they are read where the file lies and rounded one layer after the other.
    """
    path = Path(path)
    smaller = precision != "float32"
    expected = use_precision(copy.deepcopy(sam).to("meta"), precision) if smaller else sam
    memory.check_weights(path.name, memory.weight_bytes(expected))
    state = read_official(path, mapped=smaller)
    _check_fit(path.name, state, to_official({name: value.to("meta") for name, value in sam.state_dict().items()}))
    sam.load_state_dict(from_official({name: value.float() for name, value in state.items()}), assign=True)
    for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):  # these are in no checkpoint
        setattr(sam, name, torch.tensor(values).view(3, 1, 1))
    if smaller:
        use_precision(sam, precision)
        for tensor in (*sam.parameters(), *sam.buffers()):  # what was not rounded lets go of the file, too
            if tensor.dtype == torch.float32:
                tensor.data = tensor.data.clone()
    return sam


def read_official(path: Path, mapped: bool = False) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU, under its own names.

    ``mapped``: tensors lie in the file, and a part of it is in memory only while it is read; the file must not change
    as long as they are used. Safetensors are read so in any case, a ``.pth`` in the form that PyTorch has written
    since version 1.6.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}: {how_to_get(path.name)}")
    if not path.is_file():
        raise ValueError(f"{path} is a folder: give the path of the checkpoint in it")
    verify(path)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}
        mapped = mapped and zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise ValueError(
                f"{path} holds more than tensors, and reading the rest could run code that it brings along: it was "
                "refused. Get the file from its source again, or ask its author for the state dict alone"
            ) from error
        raise ValueError(f"{path} is no checkpoint: it is {looks_like(path)}. {how_to_get(path.name)}") from error
    except (OSError, MemoryError):
        raise
    except Exception as error:  # text that is read as a pickle fails in a dozen ways
        raise ValueError(
            f"{path} cannot be read, it is {looks_like(path)}, {path.stat().st_size:,} bytes: {how_to_get(path.name)}"
        ) from error
    return _state_dict(path, content)


def verify(path: Path) -> None:
    """Size and SHA-256 of a file that bears an official name. Raises ValueError; any other name passes."""
    known = next((known for known in CHECKPOINTS.values() if known.file == path.name), None)
    if known is None:
        return
    again = f"{how_to_get(path.name)}; weights of your own need a name of their own"
    if (size := path.stat().st_size) != known.size:
        raise ValueError(
            f"{path} has {size:,} bytes, {known.file} has {known.size:,}: it is {looks_like(path)}. {again}"
        )
    if (digest := sha256(path)) != known.sha256:
        raise ValueError(f"{path} has the SHA-256 {digest}, {known.file} has {known.sha256}: it is damaged. {again}")


def convert(path: Path) -> Path:
    """An official ``.pth`` → a ``.safetensors`` beside it: the same tensors under the same names, and no pickle.

    The new name appears only when the file is complete.
    """
    state = {name: value.contiguous() for name, value in read_official(path).items()}
    target = path.with_suffix(".safetensors")
    with whole_file(target) as unfinished:
        save_file(state, unfinished, metadata={"format": "pt", "source": path.name, "source_sha256": sha256(path)})
    return target


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return dict(content)
        for name in WRAPPERS:
            if isinstance(content.get(name), Mapping):
                raise ValueError(
                    f"{path} has its weights under {name!r}, beside {len(content) - 1} other things; an official file "
                    f"has nothing else: torch.save(torch.load(path, weights_only=True)[{name!r}], new_path) makes one"
                )
    raise ValueError(f"{path} holds a {type(content).__name__} and not a dict of tensors: {how_to_get(path.name)}")


def _check_fit(file: str, state: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
    """Raises ValueError with the closest official variant and at most five names when names or shapes differ."""
    differing = [
        f"{name} is {tuple(state[name].shape)} in the file and {tuple(model[name].shape)} in the model"
        if name in state and name in model
        else f"{name} is only in the {'file' if name in state else 'model'}"
        for name in dict.fromkeys([*model, *state])
        if name not in state or name not in model or state[name].shape != model[name].shape
    ]
    if not differing:
        return
    width, depth = model[POSITIONS].shape[-1], _depth(model)
    more = f"; and {len(differing) - MOST_LISTED} more" if len(differing) > MOST_LISTED else ""
    raise ValueError(
        f"{file} does not fit this model ({width} wide, {depth} blocks{_known_as(width, depth)}): {_closest(state)}. "
        f"{len(differing)} names or shapes differ: {'; '.join(differing[:MOST_LISTED])}{more}"
    )


def _depth(state: Mapping[str, Tensor]) -> int:
    blocks = {name.split(".")[2] for name in state if name.startswith("image_encoder.blocks.")}
    return len(blocks)


def _known_as(width: int, depth: int) -> str:
    names = [n for n, c in CHECKPOINTS.items() if (c.sizes["width"], c.sizes["depth"]) == (width, depth)]
    return f", {names[0]}" if names else ""


def _closest(state: Mapping[str, Tensor]) -> str:
    if POSITIONS not in state or state[POSITIONS].ndim != 4 or not set(TYPES) & set(state):
        return "it does not look like a SAM checkpoint in the official format"
    width, depth = state[POSITIONS].shape[-1], _depth(state)

    def distance(name: str) -> tuple[int, int]:
        sizes = CHECKPOINTS[name].sizes
        return abs(sizes["width"] - width), abs(sizes["depth"] - depth)

    closest = min(CHECKPOINTS, key=distance)
    if distance(closest) == (0, 0):
        return f"its sizes are those of {closest}"
    return f"it is {width} wide with {depth} blocks, of the official models {closest} is the closest"
