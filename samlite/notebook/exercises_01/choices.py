"""The exercises of chapter 01, introduction (document §1.1): what kind of answer this is, and three of it at once."""

from __future__ import annotations

import random
from functools import cache, partial

import numpy as np
import torch

from samlite.frames import PhotoFrames
from samlite.masks import mask_area, mask_iou, mask_to_box
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.variants import by_seed, fill
from samlite.sam import document_sam

CHAPTER = "01_introduction"
TITLE = "chapter 01, introduction"
IMPORTS = "import numpy as np"


def _answers_of_four_models(classes: int, objects: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Three by definition; the last one asked of the full-size model on meta."""
    sam = document_sam(depth=1, device="meta")
    frames = PhotoFrames((height, width), sam.image_size, sam.prompt_encoder.grid_size)
    click, label = torch.zeros(1, 1, 2, device="meta"), torch.ones(1, 1, dtype=torch.int64, device="meta")
    logits, _ = sam.decode_masks(torch.zeros(1, 256, 64, 64, device="meta"), click, label)
    masks = sam.resize_masks(logits, frames.input_size, frames.original_size)
    return {
        "class scores": (classes,),
        "boxes": (objects, 4),
        "semantic map": (classes, height, width),
        "promptable masks": tuple(masks.shape[1:]),
    }


def _predict_the_answers(classes: int = 80, objects: int = 12, height: int = 480, width: int = 640) -> Exercise:
    numbers = {"classes": classes, "objects": objects, "height": height, "width": width}
    return Exercise(
        name="predict_the_answers",
        title="Four models, four answers",
        difficulty=1,
        minutes=4,
        question=fill(
            """
One photo, $width pixels wide and $height high. Four models that know $classes classes, or none: a \
**classifier** gives a score for
each class; a **detector** has found $objects objects and gives a box for each; a **semantic segmenter** gives \
a score for
each class at each pixel, classes first; a **promptable** one, ours, is given one click. Which shapes have the class
scores, the boxes, the semantic map and the masks? Write plain tuples.
""",
            **numbers,
        ),
        code=fill(
            """
shapes = {
    # <answer: "class scores": ..., "boxes": ..., "semantic map": ..., "promptable masks": ...,>
    "class scores": ($classes,),
    "boxes": ($objects, 4),
    "semantic map": ($classes, $height, $width),
    "promptable masks": (3, $height, $width),
    # </answer>
}

predict_the_answers.check(shapes)
""",
            **numbers,
        ),
        expected=cache(lambda: _answers_of_four_models(classes, objects, height, width)),
        mistakes=[
            Mistake(
                "width first",
                "A picture in an array has its rows first: height, then width.",
                lambda: {"semantic map": (classes, width, height), "promptable masks": (3, width, height)},
            ),
            Mistake(
                "classes in a promptable model",
                "A promptable model has no classes; its first axis counts candidates.",
                lambda: {"promptable masks": (classes, height, width)},
            ),
            Mistake(
                "one mask",
                "One click has several meanings, and the model answers with three candidates.",
                lambda: {"promptable masks": (1, height, width)},
            ),
            Mistake("one corner", "A box is two corners of two numbers each.", lambda: {"boxes": (objects, 2)}),
            Mistake(
                "a box for each class",
                "A detector gives a box for each object that it found.",
                lambda: {"boxes": (classes, 4)},
            ),
            Mistake(
                "the winner alone",
                "A score for each class is asked, not the class that wins.",
                lambda: {"class scores": (1,), "semantic map": (1, height, width)},
            ),
            Mistake(
                "the model's frame",
                "Masks come back at the size of the photo, whatever size the model reads.",
                lambda: {"promptable masks": (3, 1024, 1024)},
            ),
        ],
        hints=[
            "Which of the four answers depend on the size of the photo, and which on the number of classes?",
            "Nobody tells the promptable model what classes there are.",
        ],
        explanation="""
Three of the four have an axis, or a column, that was fixed when somebody wrote down a list of classes. The promptable
answer has none: its axes are candidates, height and width.
""",
    )


def _draw_four_models(generator: random.Random) -> dict[str, int]:
    sides = {"height": 20 * generator.randrange(12, 60), "width": 20 * generator.randrange(12, 80)}
    return {"classes": generator.randrange(20, 200), "objects": generator.randrange(5, 20), **sides}


predict_the_answers = by_seed(_predict_the_answers, _draw_four_models)


def _cut_out(
    photo: np.ndarray, mask: np.ndarray, *, opaque: int = 255, inside: bool = True, swapped: bool = False,
    grey: bool = False, blank: bool = False, first: bool = False,
) -> np.ndarray:  # fmt: skip
    """(H, W, 4), with switches for what easily goes wrong."""
    alpha = (mask if inside else ~mask).astype(np.uint8) * opaque
    colours = photo[..., ::-1] if swapped else photo
    colours = np.repeat(photo.mean(-1, keepdims=True).astype(np.uint8), 3, -1) if grey else colours
    colours = colours * mask[..., None] if blank else colours
    picture = np.concatenate([colours, alpha[..., None]], axis=-1)
    return np.moveaxis(picture, -1, 0) if first else picture


def _photo_and_mask(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    photo = generator.integers(1, 256, (height, width, 3), dtype=np.uint8)
    return photo, generator.random((height, width)) < 0.5


cut_it_out = Exercise(
    name="cut_it_out",
    title="Cut it out",
    difficulty=2,
    minutes=6,
    question="""
A mask says which pixels belong to the object. Make a picture of it that can be laid on another photo: take `photo`
(H, W, 3) and `mask` (H, W) and return (H, W, 4), red, green, blue and *alpha*. Alpha is 255 where the object is and 0
elsewhere; the colours of the photo stay as they are, everywhere.
""",
    code="""
def cut_out(photo, mask):
    # <answer: picture = ...>
    alpha = np.where(mask, 255, 0).astype(np.uint8)
    picture = np.concatenate([photo, alpha[..., None]], axis=-1)
    # </answer>
    return picture


cut_it_out.check(cut_out)
""",
    expected=_cut_out,
    stages=[
        Stage("2×3 pixels", lambda: _photo_and_mask(2, 3, 1)),
        Stage("a larger photo", lambda: _photo_and_mask(40, 60, 2)),
    ],
    mistakes=[
        Mistake("alpha of 1", "Alpha goes from 0 to 255 as the colours do: 1 is all but invisible.",
                partial(_cut_out, opaque=1)),
        Mistake("a hole in place of the object", "Where the mask is True the picture is to be seen, and elsewhere not.",
                partial(_cut_out, inside=False)),
        Mistake("colours set to zero", "Alpha alone hides the rest. With black pixels around it the object gets a dark "
                "rim as soon as somebody resizes the picture.", partial(_cut_out, blank=True)),
        Mistake("channels first", "Height, width, and then the four numbers of a pixel.",
                partial(_cut_out, first=True)),
        Mistake("red and blue swapped", "The colours come in the order red, green, blue, and stay in it.",
                partial(_cut_out, swapped=True)),
        Mistake("grey", "The colours of the photo are asked, not their mean.", partial(_cut_out, grey=True)),
    ],
    hints=[
        "`mask[..., None]` has a last axis of length 1.",
        "`np.concatenate([...], axis=-1)` puts a fourth number behind the three of each pixel.",
    ],
    explanation="""
This is the whole of "background removal" once there is a mask. In a PNG file such a picture keeps its transparency.
""",
)  # fmt: skip


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
The three candidates come in no promised order. Give them names by their size: write a function of `masks` (3, H, W)
that returns three indices: that of the candidate with the fewest pixels (the subpart), that of the one between (the
part), and that of the one with the most (the whole).
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

EXERCISES = (predict_the_answers, cut_it_out, name_the_candidates, measure_the_choice)
