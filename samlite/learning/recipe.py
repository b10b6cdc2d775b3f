"""What a training run is made of: the recipe, and the batch of scenes that follows from it and a step's number."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from samlite.learning import simulate
from samlite.learning.scenes import SceneGenerator
from samlite.learning.shares import Share
from samlite.sam import PIXEL_MEAN, PIXEL_STD

SCHEDULE = ("stages", "rate", "warm_up", "decay", "ramp")  # of a recipe: what may change for steps to come
HIGHEST_RATE = 10  # shares of the full learning rate: nothing learns above it, and 100 was meant as percent


def normalised(pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """RGB in 0…255 → ImageNet mean and deviation removed, as ``Sam.normalise`` does; nothing is padded."""
    mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return (pixels - mean) / std


def check_at_least(recipe: object, **lowest: int) -> None:
    """Raises ValueError that names the first of a recipe's numbers below what is asked: ``warm_up=1``, ``decay=0``."""
    for name, low in lowest.items():
        if getattr(recipe, name) < low:
            raise ValueError(f"{name} is {getattr(recipe, name)}: at least {low} is needed")


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one input size: ``steps`` batches of ``batch`` scenes of ``image_size``²."""

    image_size: int
    steps: int
    batch: int = 32


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run gives."""

    model: dict[str, int] = field(
        default_factory=lambda: {
            "patch_size": 8, "width": 160, "depth": 9, "heads": 5,
            "channels": 64, "decoder_heads": 4, "decoder_mlp": 256,
        }
    )  # fmt: skip
    stages: tuple[Stage, ...] = (Stage(64, 2000, 32), Stage(128, 4000, 16), Stage(256, 800, 8))
    shapes: tuple[int, int] = (2, 28)  # fewest and most in a scene: many small regions, as people see them in photos
    scale: float = 0.9  # of the shapes: half of what people mark in photos covers less than 4 % of the photo
    favour_small: float = 0.1  # the chance that a click means a region falls with this power of its area
    favour_ambiguous: float = 3.0  # places where the levels are three different regions are clicked so much more often
    levels_weight: float = 0.7  # of a first click's mask loss: the share that gives each mask its level
    clicks: int = 12  # first clicks an image
    second_round: int = 2  # of them that go on to a second round
    rate: float = 1.0  # share of the full learning rate at which the run begins
    warm_up: int = 150
    decay: int = 1000  # steps at the end in which the learning rate falls to nothing; 0: it does not fall
    ramp: int = 600  # steps in which scenes go from flat colours to full detail
    full_share: float = 0.7  # of the scenes then are in full detail; the others lie between that and flat colours
    average: float = 0.996  # exponential moving average of the weights
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, steps=1, warm_up=1, decay=0, ramp=0)
        if not 0 < self.rate <= HIGHEST_RATE:
            raise ValueError(f"rate is {self.rate}: a share of the full learning rate, above 0 and at most "
                             f"{HIGHEST_RATE}, is expected")  # fmt: skip

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        return self.stages[-1]

    def until(self, step: int) -> tuple[Stage, ...]:
        """The stages as far as ``step``, the last of them cut short: what a state of that step was trained on."""
        done: list[Stage] = []
        for stage in self.stages:
            if step > 0:
                done.append(replace(stage, steps=min(stage.steps, step)))
            step -= stage.steps
        return tuple(done)

    def rate_at(self, step: int) -> float:
        """The share of the full learning rate: warm-up, plateau, linear decay."""
        falling = max(0.0, (self.steps - step) / self.decay) if self.decay else 1.0
        return self.rate * min(1.0, (step + 1) / self.warm_up, falling)


TINY = Recipe()


@dataclass
class Batch:
    """Normalised images, their labels (subpart, part, whole), and first clicks with the level that each one means."""

    images: Float[Tensor, "b 3 s s"]
    labels: Int[Tensor, "b 3 s s"]
    points: Float[Tensor, "b p 2"]
    level: Int[Tensor, "b p"]

    def cut(self, share: Share) -> "Batch":
        """The scenes of one of several processes, with their clicks."""
        return self if share.of == 1 else Batch(*(share.cut(values) for values in vars(self).values()))


def step_generator(seed: int, step: int, stream: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on nothing but its arguments."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step) * 8 + stream)


def make_batch(recipe: Recipe, step: int, device: torch.device | str = "cpu") -> Batch:
    """The scenes of one step, normalised; most are framed as photos are, with padding at the right or the bottom."""
    stage = recipe.stage_at(step)
    generator = step_generator(recipe.seed, step, 0, device)
    uniform = torch.rand(3, stage.batch, generator=generator, device=device)
    progress = min(1.0, step / max(1, recipe.ramp))
    detail = progress * torch.where(uniform[0] < recipe.full_share, 1.0, uniform[1])
    fewest, most = recipe.shapes
    scenes = SceneGenerator(stage.image_size, most, device, fewest, recipe.scale)(stage.batch, generator, detail)
    images, labels = frame_as_photo(normalised(scenes.images), scenes.labels, uniform[2])
    clicks = simulate.sample_clicks(labels, recipe.clicks, generator, recipe.favour_small, recipe.favour_ambiguous)
    return Batch(images, labels, *clicks)


def frame_as_photo(
    images: Float[Tensor, "b 3 s s"], labels: Int[Tensor, "b 3 s s"], draw: Float[Tensor, " b"]
) -> tuple[Float[Tensor, "b 3 s s"], Int[Tensor, "b 3 s s"]]:
    """Cut a third of the scenes square, a third upright, a third lying; what is cut off becomes padding."""
    size = images.shape[-1]
    share = (0.55 + 0.45 * (draw * 3 % 1)) * size
    width = torch.where(draw < 1 / 3, share, size)
    height = torch.where((draw >= 1 / 3) & (draw < 2 / 3), share, size)
    index = torch.arange(size, device=images.device)
    outside = (index >= width[:, None])[:, None, None, :] | (index >= height[:, None])[:, None, :, None]
    return images.masked_fill(outside, 0.0), labels.masked_fill(outside, simulate.PADDING)


class SceneBatches(Dataset):
    """Step → batch, for a worker process to make while the model trains on the one before."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        return make_batch(self.recipe, step)


def batches(recipe: Recipe, first_step: int, device: torch.device, workers: int) -> Iterator[Batch]:
    """The batches from ``first_step`` on. On a GPU they are made there; on a CPU by ``workers`` processes (0: here)."""
    steps = range(first_step, recipe.steps)
    if device.type != "cpu":
        return (make_batch(recipe, step, device) for step in steps)
    alone = {"batch_size": None, "sampler": steps, "num_workers": workers, "worker_init_fn": _leave_interrupts}
    return iter(DataLoader(SceneBatches(recipe), **alone))


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C, and often a kill, reach all processes at once; the one that trains finishes its step, then ends them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
