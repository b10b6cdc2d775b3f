"""The two filters after the decoder: stability, and one mask of each. (chapter 12)"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from samlite.boxes import non_maximum_suppression
from samlite.masks import stability_scores
from samlite.notebook.exercises import Exercise, Mistake, Stage


def _stability(logits: torch.Tensor, threshold: float, offset: float) -> torch.Tensor:
    return stability_scores(logits, threshold, offset)


def _stability_with(
    logits: torch.Tensor, threshold: float, offset: float, *, low: float = -1, high: float = 1, turned: bool = False,
    from_zero: bool = False, of_all: bool = False, all_at_once: bool = False,
) -> torch.Tensor:  # fmt: skip
    base = 0.0 if from_zero else threshold
    inner = (logits > base + high * offset).float()
    outer = (logits > base + low * offset).float()
    axes = (-3, -2, -1) if all_at_once else (-2, -1)
    if of_all:
        return (inner == outer).float().mean((-2, -1))
    ratio = inner.sum(axes) / outer.sum(axes)
    return 1 / ratio if turned else ratio


def _blobs(seed: int) -> torch.Tensor:
    """Logits (3, 20, 24) of soft blobs, each with a mask at every cut that the exercise makes."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(24.0), indexing="ij")
    centre = torch.rand(3, 2, generator=generator) * 6 + 8
    steep = torch.tensor([0.3, 0.8, 2.0])
    distance = ((x - centre[:, 0, None, None]) ** 2 + (y - centre[:, 1, None, None]) ** 2).sqrt()
    return (7 - distance) * steep[:, None, None] + 0.1 * torch.randn(3, 20, 24, generator=generator)


write_stability = Exercise(
    name="write_stability",
    title="Stability",
    difficulty=2,
    minutes=8,
    question="""
Write the stability of masks. `logits` is `(K, H, W)`; the mask of each is where its logit exceeds `threshold`. Cut it
once `offset` above and once `offset` below the threshold, and return the IoU of the two cuts, `(K,)`.
""",
    code="""
def my_stability(logits, threshold, offset):
    # <answer: result = ...>
    inner = (logits > threshold + offset).sum((-2, -1))
    outer = (logits > threshold - offset).sum((-2, -1))
    result = inner / outer  # the inner cut lies inside the outer one
    # </answer>
    return result


write_stability.check(my_stability)
""",
    expected=_stability,
    stages=[
        Stage("cut at 0", lambda: (_blobs(0), 0.0, 1.0)),
        Stage("cut at another threshold", lambda: (_blobs(1), 0.75, 0.5)),
    ],
    mistakes=[
        Mistake("upside down", "The smaller cut goes above the fraction line: an IoU is at most 1.",
                partial(_stability_with, turned=True)),
        Mistake("one cut at the threshold", "Both cuts are moved: one up, one down.",
                partial(_stability_with, low=0.0)),
        Mistake("other cut at the threshold", "Both cuts are moved: one up, one down.",
                partial(_stability_with, high=0.0)),
        Mistake("half the offset", "The cuts lie offset above and offset below: 2 · offset apart.",
                partial(_stability_with, low=-0.5, high=0.5)),
        Mistake("threshold forgotten", "The cuts lie around the threshold, which need not be 0.",
                partial(_stability_with, from_zero=True)),
        Mistake("agreement of all pixels", "That counts background that both leave out. An IoU looks at what at least "
                "one of them holds.", partial(_stability_with, of_all=True)),
        Mistake("one number for all masks", "Sum over rows and columns only: each mask has a stability of its own.",
                partial(_stability_with, all_at_once=True)),
    ],
    hints=["Where a logit exceeds the upper cut it exceeds the lower one, too.",
           "So the intersection is the inner mask, and the union the outer one."],
    explanation="""
No second run of the model is needed, and not even two masks: two counts. A mask that is empty at the lower cut has
0 / 0, which is no number; a filter that asks for at least so much drops it.
""",
)  # fmt: skip


def _suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    return non_maximum_suppression(boxes, scores, threshold)


def _iou_matrix(boxes: np.ndarray, extent: bool = False, of_smaller: bool = False) -> np.ndarray:
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) if extent else boxes
    upper = np.maximum(corners[:, None, :2], corners[None, :, :2])
    lower = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    intersection = (lower - upper).clip(min=0).prod(-1)
    area = (corners[:, 2:] - corners[:, :2]).prod(-1)
    if of_smaller:
        return intersection / np.minimum(area[:, None], area[None])
    return intersection / (area[:, None] + area[None] - intersection)


def _suppress_with(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, *,
    order: Callable[[np.ndarray], np.ndarray] = lambda s: np.argsort(-s, kind="stable"),
    by_all: bool = False, keep_near: bool = False, extent: bool = False, of_smaller: bool = False,
    by_index: bool = False, at_threshold: bool = False, pixels: bool = False,
) -> np.ndarray:  # fmt: skip
    """Greedy suppression with switches for what easily goes wrong."""
    iou = _iou_matrix(boxes + [0, 0, 1, 1] if pixels else boxes, extent, of_smaller)
    iou = np.nextafter(iou, 2) if at_threshold else iou
    kept: list[int] = []
    seen: list[int] = []
    for index in order(scores):
        against = seen if by_all else kept
        overlaps = (iou[index, against] > threshold).any() if against else False
        if overlaps == keep_near and (not keep_near or against):
            kept.append(int(index))
        elif keep_near and not against:
            kept.append(int(index))
        seen.append(int(index))
    return np.array(sorted(kept) if by_index else kept, dtype=np.int64)


def _many_boxes() -> tuple[np.ndarray, np.ndarray, float]:
    generator = np.random.default_rng(5)
    corner = generator.uniform(0, 60, (40, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(15, 45, (40, 2))], 1)
    return boxes, generator.permutation(40) / 40.0, 0.4


# the middle of a chain of three, its left end, its right end, and one apart
_CHAIN_BOXES = np.array([[3.0, 0, 13, 10], [0, 0, 10, 10], [6, 0, 16, 10], [30, 30, 34, 50]])
_CHAIN = (_CHAIN_BOXES, np.array([0.8, 0.7, 0.9, 0.6]))

# a half of the first box: their IoU is exactly one half; and two small ones, whose IoU is a third
_HALVES = (
    np.array([[0.0, 0, 8, 8], [0, 0, 8, 4], [20, 20, 22, 22], [21, 20, 23, 22]]), np.array([0.9, 0.8, 0.7, 0.6])
)  # fmt: skip

write_suppression = Exercise(
    name="write_suppression",
    title="One of each",
    difficulty=3,
    minutes=15,
    question="""
Write non-maximum suppression. `boxes` `(N, 4)` are XYXY, `scores` `(N,)`. Go from the highest score down; keep a box
unless its IoU with a box that was **kept** before exceeds `threshold`. Return the indices of the kept boxes as an
array, best score first.
""",
    code="""
def suppress(boxes, scores, threshold):
    # <answer: result = ...>
    kept = []
    for index in np.argsort(-scores):
        box, others = boxes[index], boxes[kept]
        upper_left = np.maximum(box[:2], others[:, :2])
        lower_right = np.minimum(box[2:], others[:, 2:])
        intersection = (lower_right - upper_left).clip(min=0).prod(-1)
        union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - intersection
        if not (intersection / union > threshold).any():
            kept.append(index)
    result = np.array(kept)
    # </answer>
    return result


write_suppression.check(suppress)
""",
    expected=_suppress,
    stages=[
        Stage("a chain of three, and one apart", lambda: (*_CHAIN, 0.4)),
        Stage("forty boxes", _many_boxes),
        Stage("one half, exactly, and boxes of few pixels", lambda: (*_HALVES, 0.5)),
    ],
    mistakes=[
        Mistake("in the given order", "Sort by score first: the best one decides.",
                partial(_suppress_with, order=lambda s: np.arange(len(s)))),
        Mistake("worst first", "argsort is ascending: the highest score comes first here.",
                partial(_suppress_with, order=lambda s: np.argsort(s, kind="stable"))),
        Mistake("suppressed by suppressed ones", "Only boxes that were kept suppress others. The middle of a chain of "
                "three is gone, so it must not take the third along.", partial(_suppress_with, by_all=True)),
        Mistake("kept what overlaps", "The other way round: a box goes when it overlaps a kept one.",
                partial(_suppress_with, keep_near=True)),
        Mistake("corners taken for width and height", "The boxes are XYXY: the last two are the second corner.",
                partial(_suppress_with, extent=True)),
        Mistake("dropped at the threshold", "A box goes when the IoU *exceeds* the threshold; one that equals it "
                "stays.", partial(_suppress_with, at_threshold=True)),
        Mistake("share of the smaller box", "IoU divides by the union. With the smaller area below the line, a part "
                "would be a duplicate of its whole.", partial(_suppress_with, of_smaller=True)),
        Mistake("corners counted as pixels", "x2 − x1 is the width here, without + 1. The released code does so, "
                "too, though its boxes name the first and the last pixel.", partial(_suppress_with, pixels=True)),
        Mistake("sorted by index", "Best score first: leave the indices in the order in which they were kept.",
                partial(_suppress_with, by_index=True)),
    ],
    hints=["`np.argsort(-scores)` gives the order.", "`boxes[kept]` with an empty list has shape (0, 4), and nothing "
           "in it overlaps anything."],
    explanation="""
The boxes decide, not the masks: two crossing sticks have one box and two masks, and one of them is lost. Comparing
masks would be right and more expensive; the released code compares boxes.
""",
)  # fmt: skip
