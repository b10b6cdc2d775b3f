"""Pre-training of an image encoder as a masked autoencoder on generated scenes (document §1.6): seeded, resumable.

One step: a few scenes → each with several random maskings → rebuild → error on the hidden patches. No label is used:
the scenes come with exact masks, and pre-training does not look at them. Every random choice of a step follows from
(seed, step), so that a run that was stopped goes on exactly as if it had not been.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from einops import repeat
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from samlite.files import whole_file
from samlite.image_encoder import ImageEncoder
from samlite.learning.initialise import initialise_encoder
from samlite.learning.optimiser import build_optimisers, clipped_step, full_rates, move_average, set_rates
from samlite.learning.recipe import check_at_least, normalised, step_generator
from samlite.learning.resume import StoppedBetweenSteps, asked_to_stop, forget_after
from samlite.learning.scenes import SceneGenerator
from samlite.masked_autoencoder import HIDDEN_SHARE, MaskedAutoencoder, random_masking

WEIGHTS = Path(__file__).parents[1] / "weights" / "masked_autoencoder.safetensors"
ENCODER_SIZES = ("image_size", "patch_size", "width", "depth", "heads")


@dataclass(frozen=True)
class PretrainingRecipe:
    """Everything that decides what a pre-training gives."""

    model: dict[str, int] = field(
        default_factory=lambda: {
            "image_size": 96, "patch_size": 8, "width": 128, "depth": 4, "heads": 4,
            "decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4,
        }
    )  # fmt: skip
    steps: int = 600
    scenes: int = 8  # new ones in every step
    maskings: int = 4  # of each scene: drawing a scene costs more than rebuilding it
    hidden_share: float = HIDDEN_SHARE
    normalised: bool = False  # the target: pixel values, or each patch's pattern
    warm_up: int = 20
    average: float = 0.99  # exponential moving average of the weights
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, steps=1, scenes=1, maskings=1, warm_up=1)

    def rate_at(self, step: int) -> float:
        """The share of the full learning rate: warm-up, plateau, and in the second half a straight fall."""
        return min(1.0, (step + 1) / self.warm_up, 2 * (self.steps - step) / self.steps)


def build_autoencoder(model: dict[str, int]) -> MaskedAutoencoder:
    """An autoencoder with random weights, from the sizes in a recipe."""
    encoder = ImageEncoder(**{name: model[name] for name in ENCODER_SIZES})
    return MaskedAutoencoder(encoder, model["decoder_width"], model["decoder_depth"], model["decoder_heads"])


def normalised_scenes(
    size: int, count: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Float[Tensor, "b 3 size size"]:
    """``count`` generated scenes in full detail, their pixels normalised as SAM's are."""
    return normalised(SceneGenerator(size, device=device)(count, generator).images)


def make_step(
    recipe: PretrainingRecipe, step: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "b 3 size size"], Int[Tensor, "b v"], Int[Tensor, "b hidden"]]:
    """The images of a step, each scene ``maskings`` times, and the visible and hidden patches of each."""
    size, patch_size = recipe.model["image_size"], recipe.model["patch_size"]
    images = normalised_scenes(size, recipe.scenes, step_generator(recipe.seed, step, 0, device), device)
    images = repeat(images, "b c y x -> (b m) c y x", m=recipe.maskings)
    generator = step_generator(recipe.seed, step, 1, device)
    masking = random_masking(len(images), (size // patch_size) ** 2, recipe.hidden_share, generator, device)
    return images, *masking


class Pretrainer:
    """An autoencoder in training, with all that it takes to go on later: ``save`` and ``load`` lose nothing."""

    def __init__(self, recipe: PretrainingRecipe, device: torch.device | str = "cpu") -> None:
        self.recipe = recipe
        self.step = 0
        self.seconds = 0.0
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        self.autoencoder = build_autoencoder(recipe.model)
        initialise_encoder(self.autoencoder.image_encoder, make_step(recipe, 0)[0])
        self.autoencoder.to(device).train()
        self.average = {name: value.clone() for name, value in self.autoencoder.state_dict().items()}
        self.optimisers = build_optimisers(self.autoencoder)
        self.base_rates = full_rates(self.optimisers)

    def train_step(self) -> float:
        """One step on its own scenes; returns the loss, the mean error of the hidden patches.

        Raises RuntimeError when loss or gradient is no finite number.
        """
        recipe, autoencoder = self.recipe, self.autoencoder
        images, visible, hidden = make_step(recipe, self.step, self.device)
        set_rates(self.optimisers, self.base_rates, recipe.rate_at(self.step))
        loss = autoencoder.hidden_error(autoencoder(images, visible), images, hidden, recipe.normalised).mean()
        loss.backward()
        clipped_step(autoencoder.parameters(), self.optimisers, loss, self.step)
        self.step += 1
        move_average(self.average, autoencoder, recipe.average, self.step)
        return float(loss.detach())

    def averaged(self) -> MaskedAutoencoder:
        """The autoencoder with averaged weights, in eval mode: what is measured and shipped."""
        autoencoder = build_autoencoder(self.recipe.model)
        autoencoder.load_state_dict(self.average)
        return autoencoder.to(self.device).eval()

    def save(self, path: Path) -> None:
        """Everything, written beside and moved into place, so that a kill leaves the old file or the new one."""
        state = {
            "recipe": asdict(self.recipe), "step": self.step, "seconds": self.seconds,
            "model": self.autoencoder.state_dict(), "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, alone=True) as unfinished:
            torch.save(state, unfinished)

    def load(self, path: Path) -> None:
        """Go on where ``save`` left off. Raises ValueError when the state belongs to another recipe."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        for key, value in asdict(self.recipe).items():
            if state["recipe"][key] != value:
                raise ValueError(
                    f"{path} was trained with {key} {state['recipe'][key]}, this recipe has {value}: "
                    "choose another --run folder, or delete this one to start anew"
                )
        self.step, self.seconds = state["step"], state["seconds"]
        self.autoencoder.load_state_dict(state["model"])
        self.average = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def pretrain(
    trainer: Pretrainer,
    run: Path | None = None,
    minutes: float | None = None,
    save_every: float = 120.0,
    progress: bool = True,
) -> list[float]:
    """Pre-train to the end of the recipe, or for ``minutes``; returns the loss of every step that was made.

    ``run``: a folder for ``state.pt`` and ``log.jsonl`` (a line every 20 steps); None keeps nothing. An interrupt ends
    the step, saves and raises StoppedBetweenSteps; a second one stops at once and saves nothing (`asked_to_stop`), no
    more does an error. ``trainer.seconds`` counts seconds of the processor.
    """
    from tqdm import tqdm

    recipe, losses = trainer.recipe, []
    started = saved = time.monotonic()
    worked, before = time.process_time(), trainer.seconds
    bar = tqdm(total=recipe.steps, initial=trainer.step, disable=not progress, unit="step", mininterval=2)
    if run is not None:
        run.mkdir(parents=True, exist_ok=True)
        forget_after(run / "log.jsonl", trainer.step)
    with bar, asked_to_stop() as asked:
        while trainer.step < recipe.steps and (minutes is None or time.monotonic() - started < 60 * minutes):
            if asked():
                break
            losses.append(trainer.train_step())
            trainer.seconds = before + time.process_time() - worked
            bar.update()
            if trainer.step % 20 == 0:
                recent = losses[-20:]
                mean = round(sum(recent) / len(recent), 4)
                bar.set_postfix(loss=f"{mean:.3f}")
                if run is not None:
                    entry = {"step": trainer.step, "seconds": round(trainer.seconds), "loss": mean}
                    with (run / "log.jsonl").open("a") as log:
                        log.write(json.dumps(entry) + "\n")
            if run is not None and time.monotonic() - saved > save_every:
                trainer.save(run / "state.pt")
                saved = time.monotonic()
        if run is not None:
            trainer.save(run / "state.pt")
    if asked():
        raise StoppedBetweenSteps
    return losses


def save_autoencoder(
    autoencoder: MaskedAutoencoder, model: dict[str, int], path: Path, training: dict[str, object]
) -> None:
    """Write float16 weights; the metadata says how to build it ("config") and how it was made ("training")."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to("cpu", torch.float16) for name, value in autoencoder.state_dict().items()}
    metadata = {"config": json.dumps(model), "training": json.dumps(training)}
    with whole_file(path) as unfinished:
        save_file({name: value.contiguous() for name, value in state.items()}, unfinished, metadata=metadata)


def load_autoencoder(path: Path | str = WEIGHTS) -> MaskedAutoencoder:
    """The autoencoder of the longer run, which ships with the package, or another one that ``pretrain`` wrote.

    Raises FileNotFoundError when there is no such file, ValueError when it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: make them with `python -m samlite pretrain`")
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "{}"))
            state = {name: file.get_tensor(name).float() for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file ({error}): give one that `python -m samlite pretrain` wrote"
        ) from error
    if "decoder_width" not in config:
        raise ValueError(f"{path} holds no masked autoencoder: give a file that `python -m samlite pretrain` wrote")
    autoencoder = build_autoencoder(config)
    autoencoder.load_state_dict(state)
    return autoencoder.eval()
