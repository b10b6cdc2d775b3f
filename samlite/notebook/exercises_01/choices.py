"""Three candidates: which is which, and what it is worth to choose among them."""

from __future__ import annotations

from functools import partial

import numpy as np

from samlite.masks import mask_area, mask_iou, mask_to_box
from samlite.notebook.exercises import Exercise, Mistake, Stage


def _order(
    masks: np.ndarray, *, backwards: bool = False, ranks: bool = False, axis: tuple[int, ...] = (1, 2),
    names_swapped: bool = False,
) -> tuple[int, ...]:  # fmt: skip
    area = masks.sum(axis) if axis else masks.sum()
    order = np.argsort(np.atleast_1d(area))
    if backwards:
        order = order[::-1]
    if ranks:
        order = np.argsort(order)
    subpart, part, whole = (int(index) for index in order[:3])
    if names_swapped:
        subpart, part = part, subpart
    return subpart, part, whole


def _area_of_boxes(masks: np.ndarray) -> tuple[int, ...]:
    """By the area of the box around each mask."""
    left, top, right, bottom = mask_to_box(masks).T
    extent = (right - left + 1) * (bottom - top + 1)
    return tuple(int(index) for index in np.argsort(extent))


def _three_masks(*sizes: tuple[int, int], stray: int) -> tuple[np.ndarray]:
    """Masks of ``(width, height)`` pixels; mask number ``stray`` has one pixel more, far away from its others.

    The sizes in use are such that every known mistake gives another order.
    """
    masks = np.zeros((len(sizes), 12, 12), dtype=bool)
    for mask, (width, height) in zip(masks, sizes, strict=True):
        mask[:height, :width] = True
    masks[stray, 11, 11] = True
    return (masks,)


name_the_candidates = Exercise(
    name="name_the_candidates",
    title="Subpart, part, whole",
    difficulty=2,
    minutes=8,
    question="""
*tiny* was trained to give the subpart first and the whole last, but nothing enforces it. So name the candidates by
their size: write a function of `masks` (3, H, W) that returns three indices: that of the candidate with the fewest
pixels (the subpart), that of the one between (the part), and that of the one with the most (the whole).
""",
    code="""
def name_candidates(masks):
    # <answer: subpart_part_whole = ...>
    area = masks.sum(axis=(1, 2))  # (3,)
    subpart_part_whole = [int(index) for index in np.argsort(area)]
    # </answer>
    return subpart_part_whole


name_the_candidates.check(name_candidates)
""",
    expected=_order,
    stages=[
        Stage("the middle one first", lambda: _three_masks((5, 5), (6, 8), (7, 1), stray=0)),
        Stage("the large one first", lambda: _three_masks((6, 9), (8, 2), (7, 4), stray=1)),
    ],
    mistakes=[
        Mistake("largest first", "The subpart has the fewest pixels, the whole has the most.",
                partial(_order, backwards=True)),
        Mistake("ranks, not indices", "You say which place each candidate has in the order; asked is which candidate "
                "has each place. `argsort` once gives that.", partial(_order, ranks=True)),
        Mistake("boxes measured", "This is the order of the boxes around the masks; a single stray pixel makes a box "
                "large. Count pixels.", _area_of_boxes),
        Mistake("rows counted", "Each mask has two axes to sum over; yours is counted along one of them only, and then "
                "the first rows decide.", lambda masks: _order(masks[:, 0], axis=(1,))),
        Mistake("part and subpart swapped", "The part is larger than the subpart.",
                partial(_order, names_swapped=True)),
    ],
    hints=[
        "`masks.sum(axis=(1, 2))` counts the pixels of each candidate.",
        "`np.argsort` returns indices: first that of the smallest value.",
    ],
    explanation="""
Whether the three really *are* a subpart, a part and a whole is another question, which only somebody who knows the
truth can answer: the next exercise measures against it.
""",
)  # fmt: skip


def _worth(
    masks: np.ndarray, iou_predictions: np.ndarray, truths: np.ndarray, *, always: bool = False, lowest: bool = False,
    predicted: bool = False, over_clicks: bool = False, pooled: bool = False, median: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Mean IoU of the best and of the trusted candidate, with switches for what easily goes wrong."""
    overlap = mask_iou(masks, truths[:, None])  # (N, K)
    chosen = iou_predictions.argmin(1) if lowest else iou_predictions.argmax(1)
    selected = overlap[np.arange(len(overlap)), chosen]
    oracle = overlap.max(1)
    if always:
        oracle = overlap[:, overlap.mean(0).argmax()]
    if over_clicks:
        oracle = overlap.max(0)
    if predicted:
        selected = iou_predictions.max(1)
    if pooled:
        both, either = mask_area(masks & truths[:, None]), mask_area(masks | truths[:, None])
        rows, best = np.arange(len(overlap)), overlap.argmax(1)
        return {
            "oracle": float(both[rows, best].sum() / either[rows, best].sum()),
            "selected": float(both[rows, chosen].sum() / either[rows, chosen].sum()),
        }
    mean = np.median if median else np.mean
    return {"oracle": float(mean(oracle)), "selected": float(mean(selected))}


def _many_answers(clicks: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random answers to ``clicks`` clicks, some of them near the truth, with the truths."""
    generator = np.random.default_rng(seed)
    truths = generator.random((clicks, 8, 9)) < generator.uniform(0.2, 0.8, (clicks, 1, 1))
    noise = generator.random((clicks, 3, 8, 9)) < generator.uniform(0.05, 0.6, (clicks, 3, 1, 1))
    return truths[:, None] ^ noise, generator.random((clicks, 3)), truths


measure_the_choice = Exercise(
    name="measure_the_choice",
    title="What is the choice worth?",
    difficulty=3,
    minutes=12,
    question="""
N clicks were answered with K candidates each: `masks` (N, K, H, W), `iou_predictions` (N, K), and somebody knows what
was meant, `truths` (N, H, W). Return two means over the N clicks: under `"oracle"` the mean IoU of the candidate that
is best for its click, under `"selected"` the mean IoU of the candidate with the highest predicted IoU. No mask is
empty.
""",
    code="""
def worth(masks, iou_predictions, truths):
    # <answer: oracle = selected = ...>
    both = (masks & truths[:, None]).sum(axis=(2, 3))  # (N, K)
    either = (masks | truths[:, None]).sum(axis=(2, 3))  # (N, K)
    iou = both / either
    oracle = iou.max(axis=1).mean()
    trusted = iou_predictions.argmax(axis=1)  # (N,)
    selected = iou[np.arange(len(iou)), trusted].mean()
    # </answer>
    return {"oracle": oracle, "selected": selected}


measure_the_choice.check(worth)
""",
    expected=_worth,
    stages=[
        Stage("four clicks", lambda: _many_answers(4, 5)),
        Stage("fifty clicks", lambda: _many_answers(50, 6)),
    ],
    mistakes=[
        Mistake("the same candidate for all", "The oracle takes the best candidate of each click, not the one that is "
                "best on average.", partial(_worth, always=True)),
        Mistake("maximum over clicks", "The maximum goes over the K candidates of one click; yours goes over clicks.",
                partial(_worth, over_clicks=True)),
        Mistake("the prediction itself", "This is the mean of what the model promises. Measured against the truth it "
                "is another number.", partial(_worth, predicted=True)),
        Mistake("lowest prediction", "The candidate with the *highest* predicted IoU is in use.",
                partial(_worth, lowest=True)),
        Mistake("pixels pooled", "All intersections over all unions: then large objects count more. Asked is the mean "
                "of one IoU a click.", partial(_worth, pooled=True)),
        Mistake("median", "A mean over the clicks is asked.", partial(_worth, median=True)),
    ],
    hints=[
        "`truths[:, None]` has the shape (N, 1, H, W) and meets every candidate of its click.",
        "`iou[np.arange(N), chosen]` takes one candidate from each row.",
    ],
    explanation="""
The distance between the two is what a better choice could still bring. A person who looks at the three candidates and
takes one plays the oracle.
""",
)  # fmt: skip
