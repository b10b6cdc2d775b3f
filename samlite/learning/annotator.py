"""A simulated annotator with a clock: draws masks by hand, or corrects a model's proposals by clicks (document §1.4).

A real annotator sees what is right. This one is told: every region of a generated scene is known. What it does is
counted in clicks, looks and polygons, and priced in seconds. The prices are parameters with a source each.

Letters: M masks of a scene, K candidate masks (3), R side of the scene in pixels.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from samlite.sam import Sam

GOOD_ENOUGH = 0.85  # IoU at which an annotator accepts a proposal
MOST_CLICKS = 6  # then the region is drawn by hand after all


@dataclass(frozen=True)
class Prices:
    """Seconds of an annotator's time.

    ``polygon``: one mask drawn by hand; COCO took 22 worker hours for 1,000 masks (Lin et al., 2014).
    ``click``: one click at a place that has to be found; four clicks on the extreme points of an object took 7 seconds
    (Papadopoulos et al., 2017).
    ``look``: to judge one answer of the model. No source: an assumption.
    """

    polygon: float = 22 * 3600 / 1000
    click: float = 7 / 4
    look: float = 2.0


PRICES = Prices()


@dataclass(frozen=True)
class Work:
    """What annotators did: masks delivered, polygons drawn, clicks given, answers looked at. Adds up with ``+``."""

    masks: int = 0
    polygons: int = 0
    clicks: int = 0
    looks: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def seconds(self, prices: Prices = PRICES) -> float:
        """The working time."""
        return self.polygons * prices.polygon + self.clicks * prices.click + self.looks * prices.look


@dataclass
class AnnotatedScene:
    """A picture (3, R, R), RGB in 0…255, with M masks; ``work`` is what they cost."""

    image: Float[Tensor, "3 r r"]
    masks: Bool[Tensor, "m r r"]
    work: Work = Work()


def correcting_click(
    mask: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> tuple[int, int, int]:
    """(x, y, label) of the click that a careful annotator would give: in the middle of the widest mistake.

    Label 1 where the mask lacks a piece of the object, 0 where it has too much. With an empty mask this is the first
    click. Raises ValueError when there is nothing to correct. Another rule than
    `samlite.learning.interaction.correcting_click`, by which models are compared: that one looks for the connected
    mistake with most pixels.
    """
    wrong = (truth & ~mask, mask & ~truth)  # missing, too much
    depths = [ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] for region in wrong]
    kind = int(depths[1].max() > depths[0].max())
    if depths[kind].max() == 0:
        raise ValueError("mask and truth are equal: there is nothing to correct")
    y, x = np.unravel_index(int(depths[kind].argmax()), mask.shape)
    return int(x), int(y), 1 - kind


def draw_by_hand(image: Float[Tensor, "3 r r"], truth: Bool[Tensor, "m r r"]) -> AnnotatedScene:
    """Stage 1: every region as a polygon, exact."""
    return AnnotatedScene(image, truth, Work(masks=len(truth), polygons=len(truth)))


@dataclass
class Correction:
    """How one region got its mask: the IoU after each click, and whether it was drawn by hand in the end."""

    ious: list[float]
    drawn: bool


@torch.inference_mode()
def correct_proposals(
    sam: Sam,
    image: Float[Tensor, "3 r r"],
    truth: Bool[Tensor, "m r r"],
    good_enough: float = GOOD_ENOUGH,
    most_clicks: int = MOST_CLICKS,
) -> tuple[AnnotatedScene, list[Correction]]:
    """Stage 2: click on every region, take the best of the three candidates, correct it until it is good enough.

    Every further click lies in the widest mistake, and goes to the model with all clicks before it and with the logits
    of the candidate in use. A region that is not good after ``most_clicks`` is drawn by hand. The accepted masks are
    the model's, with their faults. The picture must be of the model's input size. All regions are worked on at once,
    which changes nothing for each.
    """
    count, size = len(truth), sam.image_size
    embedding = sam.encode_image(sam.normalise(image[None]))
    accepted = torch.zeros_like(truth)
    logits_in_use: Tensor | None = None
    points, labels = torch.zeros(count, 0, 2), torch.zeros(count, 0, dtype=torch.long)
    history: list[list[float]] = [[] for _ in range(count)]
    open_regions = torch.arange(count)
    masks = torch.zeros_like(truth)  # in use, for the regions that are still open
    work = Work()
    for _ in range(most_clicks):
        clicks = [correcting_click(m.numpy(), t.numpy()) for m, t in zip(masks, truth[open_regions], strict=True)]
        points = torch.cat([points, torch.tensor([c[:2] for c in clicks], dtype=torch.float32)[:, None]], 1)
        labels = torch.cat([labels, torch.tensor([c[2] for c in clicks])[:, None]], 1)
        logits, _ = sam.decode_masks(embedding, points, labels, mask=logits_in_use)
        large = F.interpolate(logits, (size, size), mode="bilinear", align_corners=False) > 0  # (open, 3, R, R)
        here = truth[open_regions][:, None]
        iou = (large & here).sum((2, 3)) / (large | here).sum((2, 3)).clamp(min=1)
        best_iou, best = iou.max(1)  # who knows the truth sees which candidate is best
        rows = torch.arange(len(open_regions))
        masks, logits_in_use = large[rows, best], logits[rows, best][:, None]
        work += Work(clicks=len(rows), looks=len(rows))
        for region, value in zip(open_regions.tolist(), best_iou.tolist(), strict=True):
            history[region].append(value)
        done = best_iou >= good_enough
        accepted[open_regions[done]] = masks[done]
        keep = ~done
        open_regions, points, labels = open_regions[keep], points[keep], labels[keep]
        masks, logits_in_use = masks[keep], logits_in_use[keep]
        if not len(open_regions):
            break
    accepted[open_regions] = truth[open_regions]
    by_hand = set(open_regions.tolist())
    work += Work(masks=count, polygons=len(by_hand))
    corrections = [Correction(ious, region in by_hand) for region, ious in enumerate(history)]
    return AnnotatedScene(image, accepted, work), corrections
