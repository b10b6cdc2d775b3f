"""The data engine in small: annotate, train, annotate more with what was trained (document §1.4).

Stage 1: people draw every region of a few scenes; a first model learns from them. Stage 2: the model proposes masks on
new scenes and people correct them by clicks; the model learns on. Stage 3: the model annotates many scenes alone.
Beside the stages run controls: the same number of training steps without the new data. Everything follows from the
seed of the recipe.

Letters: B scenes of a batch, P masks of a scene in a step, R side of the scene in pixels, H W the low-res mask frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from samlite.fast import use_folded_decoder
from samlite.learning import simulate
from samlite.learning.annotator import AnnotatedScene, correcting_click
from samlite.learning.easy_scenes import KnownScene, easy_scenes
from samlite.learning.initialise import initialise
from samlite.learning.losses import iou_loss, minimum_over_masks, pairwise_iou, pairwise_mask_loss
from samlite.learning.optimiser import build_optimisers, clipped_step, full_rates, set_rates
from samlite.sam import Sam, document_sam

HELD_OUT_SEED = 4_000_037  # far from the seeds of every other use of scenes
STREAMS = ("drawn", "corrected", "automatic", "more drawn", "first", "second", "third")


@dataclass(frozen=True)
class EngineRecipe:
    """Everything that decides what a run of the engine gives."""

    model: dict[str, int] = field(
        default_factory=lambda: {
            "patch_size": 8, "width": 64, "depth": 3, "heads": 2,
            "channels": 32, "decoder_heads": 2, "decoder_mlp": 64,
        }
    )  # fmt: skip
    image_size: int = 64
    drawn: int = 6  # scenes of stage 1
    corrected: int = 16  # of stage 2
    automatic: int = 32  # of stage 3
    held_out: int = 40
    first_steps: int = 400  # of training in stage 1, from nothing
    steps: int = 160  # of training in each later stage, and in each control
    batch: int = 8
    masks: int = 4  # of a scene in a step
    good_enough: float = 0.8  # IoU at which the annotator of stage 2 accepts
    most_clicks: int = 6  # then a region is drawn by hand
    points_per_side: int = 10  # of the grid of stage 3, and its filters:
    predicted_iou: float = 0.5
    stability: float = 0.6
    duplicates: float = 0.7
    seed: int = 0


def generator_for(seed: int, stream: str) -> torch.Generator:
    """A generator of its own for each seed and each use."""
    return torch.Generator().manual_seed((seed * 1_000_003 + 17) * 8 + STREAMS.index(stream))


def make_scenes(recipe: EngineRecipe, count: int, stream: str) -> list[KnownScene]:
    """``count`` new scenes, which follow from the recipe's seed and the use that is made of them."""
    return easy_scenes(count, generator_for(recipe.seed, stream), recipe.image_size)


def held_out_scenes(recipe: EngineRecipe) -> list[KnownScene]:
    """The scenes on which every model of every seed is measured: the same for all."""
    return easy_scenes(recipe.held_out, torch.Generator().manual_seed(HELD_OUT_SEED), recipe.image_size)


def first_model(recipe: EngineRecipe, data: Sequence[AnnotatedScene]) -> Sam:
    """An untrained model, started from the statistics of the pictures at hand."""
    torch.manual_seed(recipe.seed)
    sam = use_folded_decoder(document_sam(image_size=recipe.image_size, **recipe.model))
    initialise(sam, sam.normalise(torch.stack([scene.image for scene in data])))
    return sam


def fit(
    sam: Sam,
    data: Sequence[AnnotatedScene],
    recipe: EngineRecipe,
    steps: int,
    generator: torch.Generator,
    told: Callable[[float], None] = lambda loss: None,
) -> Sam:
    """So many ``steps`` of training on ``data``, in place; every scene that has a mask is as likely as any other.

    A step is a first click on each of some masks, and one correcting click with the logits of the first answer.
    ``told`` gets the loss of every step. Raises RuntimeError when loss or gradient is no finite number.
    """
    stride = sam.image_size // (4 * sam.image_encoder.grid_size)
    images = sam.normalise(torch.stack([scene.image for scene in data]))
    targets = [F.avg_pool2d(scene.masks[:, None].float(), stride)[:, 0] for scene in data]  # (M, H, W) each
    counts = torch.tensor([len(each) for each in targets], dtype=torch.float32)
    usable = torch.nonzero(counts)[:, 0]
    optimisers = build_optimisers(sam)
    full = full_rates(optimisers)
    sam.train()
    for step in range(steps):
        set_rates(optimisers, full, min(1.0, (step + 1) / 30, 2.5 * (steps - step) / steps))
        chosen = usable[torch.randint(len(usable), (recipe.batch,), generator=generator)]
        picked = (torch.rand(recipe.batch, recipe.masks, generator=generator) * counts[chosen, None]).long()
        target = torch.stack([targets[scene][masks] for scene, masks in zip(chosen.tolist(), picked, strict=True)])
        batch, target = varied(images[chosen], target, generator)
        loss = two_clicks(sam, batch, rearrange(target, "b p h w -> (b p) h w"), stride, generator)
        loss.backward()
        clipped_step(sam.parameters(), optimisers, loss, step)
        told(float(loss.detach()))
    return sam.eval()


def two_clicks(
    sam: Sam, images: Float[Tensor, "b 3 r r"], target: Float[Tensor, "n h w"], stride: int, generator: torch.Generator
) -> Float[Tensor, ""]:
    """The loss of a first click and of a correcting one; N = B·P masks, P of them on each image."""
    embedding = sam.encode_image(images).repeat_interleave(len(target) // len(images), 0)
    logits = torch.full_like(target, -1.0)  # an empty mask: the first click corrects that
    points, labels, previous, losses = [], [], None, []
    for _ in range(2):
        point, label = simulate.correcting_clicks(logits, target, stride, generator)
        points.append(point)
        labels.append(label)
        answer, predicted = sam.decode_masks(embedding, torch.stack(points, 1), torch.stack(labels, 1), mask=previous)
        overlap = pairwise_iou(answer.detach(), target[:, None])[..., 0]
        loss = minimum_over_masks(pairwise_mask_loss(answer, target[:, None])) + iou_loss(predicted, overlap)
        losses.append(loss.mean())
        logits = answer[torch.arange(len(answer)), predicted.argmax(1)].detach()
        previous = logits[:, None]
    return torch.stack(losses).mean()


def varied(
    images: Float[Tensor, "b 3 r r"], targets: Float[Tensor, "b p h w"], generator: torch.Generator
) -> tuple[Float[Tensor, "b 3 r r"], Float[Tensor, "b p h w"]]:
    """Mirrored, transposed, with the colours in another order and another contrast: more pictures out of few."""

    def chance() -> Bool[Tensor, "b 1 1 1"]:
        return torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5

    for turn in (lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.mT):
        chosen = chance()
        images, targets = torch.where(chosen, turn(images), images), torch.where(chosen, turn(targets), targets)
    images = images[:, torch.randperm(3, generator=generator)]
    images = torch.where(chance(), -images, images)
    return images * (0.6 + 0.8 * torch.rand(len(images), 1, 1, 1, generator=generator)), targets


@torch.inference_mode()
def measure(sam: Sam, scenes: Sequence[KnownScene]) -> dict[str, float]:
    """One click in the middle of every region: ``selected`` is the mean IoU of the mask that the model trusts most,
    ``oracle`` that of the best of the three, ``share above 0.75`` how often the best one is good."""
    selected, oracle = [], []
    for scene in scenes:
        nothing = np.zeros(scene.objects.shape[1:], dtype=bool)
        points = torch.tensor([[correcting_click(nothing, region.numpy())[:2]] for region in scene.objects]).float()
        embedding = sam.encode_image(sam.normalise(scene.image[None]))
        logits, predicted = sam.decode_masks(embedding, points, torch.ones(points.shape[:2], dtype=torch.long))
        large = F.interpolate(logits, scene.objects.shape[1:], mode="bilinear", align_corners=False) > 0
        truth = scene.objects[:, None]
        iou = (large & truth).sum((2, 3)) / (large | truth).sum((2, 3)).clamp(min=1)
        selected += iou.gather(1, predicted.argmax(1, keepdim=True))[:, 0].tolist()
        oracle += iou.amax(1).tolist()
    best = np.array(oracle)
    return {
        "regions": len(best),
        "selected": float(np.mean(selected)),
        "oracle": float(best.mean()),
        "share above 0.75": float((best > 0.75).mean()),
    }
