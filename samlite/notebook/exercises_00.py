"""The exercises of chapter 00, start here (document §1.1, §1.3): what comes back from a click, and how to use it."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from samlite.frames import PhotoFrames
from samlite.masks import mask_iou
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.sam import document_sam

CHAPTER = "00_start_here"
TITLE = "chapter 00, start here"
IMPORTS = "import numpy as np"


def _shapes_of_an_answer(width: int, height: int) -> dict[str, tuple[int, ...]]:
    """What the full-size decoder gives for one click on a photo, on the meta device: shapes alone."""
    sam = document_sam(depth=1, device="meta")  # the depth of the encoder does not change what comes out
    frames = PhotoFrames((height, width), sam.image_size, sam.prompt_encoder.grid_size)
    embedding = torch.zeros(1, 256, 64, 64, device="meta")
    click, label = torch.zeros(1, 1, 2, device="meta"), torch.ones(1, 1, dtype=torch.int64, device="meta")
    low_res_logits, iou_predictions = sam.decode_masks(embedding, click, label)
    masks = sam.resize_masks(low_res_logits, frames.input_size, frames.original_size)
    named = {"masks": masks, "iou_predictions": iou_predictions, "low_res_logits": low_res_logits}
    return {name: tuple(tensor.shape[1:]) for name, tensor in named.items()}  # of one prompt: without B


def _predict_the_answer(width: int, height: int) -> Exercise:
    x, y, label, iou = width // 2, height // 2, [1], "iou_predictions"
    return Exercise(
        name="predict_the_answer",
        title="The shape of an answer",
        difficulty=1,
        minutes=3,
        question=f"""
The model at full size reads photos at 1024×1024 and has 64×64 patches. Someone clicks on a photo that is {width} pixels
wide and {height} high: `masks, {iou}, low_res_logits = predictor.predict([[{x}, {y}]], {label})`. Which shapes have
the three? Write plain tuples.
""",
        code=f"""
shapes = {{
    # <answer: "masks": ..., "iou_predictions": ..., "low_res_logits": ...,>
    "masks": (3, {height}, {width}),
    "iou_predictions": (3,),
    "low_res_logits": (3, 4 * 64, 4 * 64),
    # </answer>
}}

predict_the_answer.check(shapes)
""",
        expected=partial(_shapes_of_an_answer, width, height),
        mistakes=[
            Mistake("width first", "A picture in an array has its rows first: height, then width.",
                    lambda: {"masks": (3, width, height)}),
            Mistake("candidates last", "The first axis counts the candidates, K.",
                    lambda: {"masks": (height, width, 3), "low_res_logits": (256, 256, 3)}),
            Mistake("one mask", "One click has several possible meanings, and each gets its mask.",
                    lambda: {"masks": (1, height, width), "iou_predictions": (1,), "low_res_logits": (1, 256, 256)}),
            Mistake("the model's frame", "Masks come back at the size of the photo, whatever size the model reads.",
                    lambda: {"masks": (3, 1024, 1024)}),
            Mistake("a score for every pixel", "The predicted IoU is one number for a whole mask.",
                    lambda: {"iou_predictions": (3, height, width)}),
            Mistake("one value a patch", "The decoder enlarges the grid of patches twice by 2 before it draws the "
                    "masks.", lambda: {"low_res_logits": (3, 64, 64)}),
            Mistake("the photo's size too early", "Low-res logits are what the masks are made from; they know nothing "
                    "of the photo's size.", lambda: {"low_res_logits": (3, height, width)}),
        ],
        hints=[
            "Three candidates. Which of the three answers depend on the photo's size?",
            "The low-res logits have four cells for every patch, along each side.",
        ],
        variant=_redraw_the_photo,
        explanation="""
Only the masks have the photo's size. The low-res logits always have four cells a patch in each direction, because the
decoder doubles its grid twice, and the IoU predictions are one number a candidate.
""",
    )  # fmt: skip


def _redraw_the_photo(seed: int) -> Exercise:
    """Another photo, always wider than high."""
    draw = np.random.default_rng(seed)
    return _predict_the_answer(10 * int(draw.integers(130, 200)), 10 * int(draw.integers(60, 110)))


predict_the_answer = _predict_the_answer(1920, 1080)


def _colours_at(
    photo: np.ndarray, points: list[tuple[int, int]], *, swapped: bool = False, upwards: bool = False, one: int = 0,
    blue_first: bool = False, each_with_each: bool = False, last: bool = False,
) -> np.ndarray:  # fmt: skip
    """(N, 3), with switches for what easily goes wrong."""
    x, y = np.array(points).T
    rows, columns = (x, y) if swapped else (y, x)
    rows = len(photo) - 1 - rows if upwards else rows
    colours = photo[rows][:, columns] if each_with_each else photo[rows - one, columns - one]
    colours = colours[..., ::-1] if blue_first else colours
    return colours.T if last else colours


def _photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


look_it_up = Exercise(
    name="look_it_up",
    title="The colour under a click",
    difficulty=1,
    minutes=4,
    question="""
A place is (x, y), a photo is an array of rows. Write a function of `photo` (H, W, 3) and `points`, a list of N places
(x, y), that returns an array (N, 3): red, green and blue of the pixel at each place.
""",
    code="""
def colours_at(photo, points):
    # <answer: colours = ...>
    colours = np.array([photo[y, x] for x, y in points])
    # </answer>
    return colours


look_it_up.check(colours_at)
""",
    expected=_colours_at,
    stages=[
        Stage("one point", lambda: (_photo(8, 12), [(5, 2)])),
        Stage("four points, among them the corners", lambda: (_photo(9, 7), [(0, 0), (6, 0), (3, 5), (6, 8)])),
    ],
    mistakes=[
        Mistake("x and y swapped", "x counts columns, y counts rows, and an array has its rows first: photo[y, x].",
                partial(_colours_at, swapped=True)),
        Mistake("from below", "y = 0 is the upper edge, and y grows downwards.", partial(_colours_at, upwards=True)),
        Mistake("counted from one", "The pixel in the upper left corner is (0, 0).", partial(_colours_at, one=1)),
        Mistake("blue first", "The colours come as red, green, blue; OpenCV has them the other way round.",
                partial(_colours_at, blue_first=True)),
        Mistake("each row with each column", "Two indices at once, photo[rows, columns], give one pixel a place; one "
                "after the other they give a whole grid.", partial(_colours_at, each_with_each=True)),
        Mistake("points last", "The first axis counts the points, the second the three colours.",
                partial(_colours_at, last=True)),
    ],
    hints=["Which of x and y tells the row?", "`np.array([... for x, y in points])` stacks one row for each point."],
    explanation="""
Without a loop it is `photo[y, x]`, with `x, y = np.array(points).T`. Every public function of samlite takes (x, y), so
the turn from (x, y) to [y, x] happens within, and once.
""",
)  # fmt: skip


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float(mask_iou(first, second))


def _rectangles(*corners: tuple[int, int, int, int]) -> tuple[np.ndarray, ...]:
    masks = np.zeros((len(corners), 10, 12), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return tuple(masks)


measure_the_overlap = Exercise(
    name="measure_the_overlap",
    title="Intersection over union",
    difficulty=2,
    minutes=5,
    question="""
The model *predicts* how well each mask fits. Measure it: write a function that takes two masks (H, W) of True and False
and returns the number of pixels that both have, divided by the number of pixels that at least one of them has. Two
empty masks agree completely: 1.
""",
    code="""
def iou(first, second):
    # <answer: result = ...>
    intersection = (first & second).sum()
    union = (first | second).sum()
    result = intersection / union if union else 1.0
    # </answer>
    return result


measure_the_overlap.check(iou)
""",
    expected=_overlap,
    stages=[
        Stage("two that overlap", lambda: _rectangles((1, 1, 6, 5), (2, 2, 8, 7))),  # 20, 30 and 12 pixels
        Stage("one inside the other", lambda: _rectangles((0, 0, 12, 10), (3, 3, 5, 6))),
        Stage("two that do not touch", lambda: _rectangles((0, 0, 3, 3), (6, 6, 9, 9))),
        Stage("two empty masks", lambda: _rectangles((0, 0, 0, 0), (0, 0, 0, 0))),
        Stage("one empty mask", lambda: _rectangles((0, 0, 0, 0), (2, 2, 5, 4))),
    ],
    mistakes=[
        # First, for without this case every one of the others gives 0 for two empty masks, too.
        Mistake("empty masks", "Two empty masks agree completely; they should give 1.",
                lambda a, b: float((a & b).sum() / max(1, (a | b).sum()))),
        Mistake("one empty mask", "Only two empty masks agree. An empty one and another share nothing: 0.",
                lambda a, b: float((a & b).sum() / (a | b).sum()) if a.any() and b.any() else 1.0),
        Mistake("Dice", "2 · intersection / (sum of both) is the Dice coefficient, a relative that is never smaller.",
                lambda a, b: float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))),
        Mistake("sum for union", "The pixels that both have are counted twice in the sum of the two areas.",
                lambda a, b: float((a & b).sum() / max(1, a.sum() + b.sum()))),
        Mistake("share of the first", "You divided by the first mask alone: then a mask of everything is perfect.",
                lambda a, b: float((a & b).sum() / max(1, a.sum()))),
        Mistake("share of the second", "You divided by the second mask alone.",
                lambda a, b: float((a & b).sum() / max(1, b.sum()))),
        Mistake("agreeing pixels", "Pixels that neither mask has count for you too: two tiny masks in a large photo "
                "would always seem alike.", lambda a, b: float((a == b).mean())),
        Mistake("not divided", "This is the intersection; divide it by the union.", lambda a, b: int((a & b).sum())),
        Mistake("upside down", "Intersection over union, not union over intersection.",
                lambda a, b: float((a | b).sum() / (a & b).sum())),
    ],
    hints=[
        "`first & second` is a mask again, and so is `first | second`.",
        "`.sum()` counts what is True. What happens when it is zero?",
    ],
    explanation="""
`samlite.masks.mask_iou` is this with any number of masks at once. The numbers in `iou_predictions` are the model's
guess at exactly this quantity, measured against a truth that it cannot see.
""",
)  # fmt: skip

Clicks = list[tuple[int, int, int]]


def _choose(
    masks: np.ndarray, iou_predictions: np.ndarray, clicks: Clicks, *, heed: bool = True, labels: bool = True,
    swapped: bool = False, first: bool = False, renumbered: bool = False, none_fits: bool = True, most: bool = False,
) -> int:  # fmt: skip
    """The candidate in use, with switches for what easily goes wrong."""
    clicks = clicks if heed else []
    agreeing = np.zeros(len(masks), dtype=int)
    for x, y, label in clicks:
        row, column = (x, y) if swapped else (y, x)
        agreeing += masks[:, row, column] == (bool(label) if labels else True)
    fits = agreeing == (agreeing.max() if most else len(clicks))
    if not fits.any():
        return int(iou_predictions.argmax()) if none_fits else 0
    if first:
        return int(fits.argmax())
    if renumbered:
        return int(iou_predictions[fits].argmax())
    return int(np.where(fits, iou_predictions, -np.inf).argmax())


def _candidates(seed: int, clicks: Clicks) -> tuple[np.ndarray, np.ndarray, Clicks]:
    """Eight random candidates. The seeds in use are such that every known mistake gives another wrong index."""
    generator = np.random.default_rng(seed)
    return generator.random((8, 6, 7)) < 0.6, generator.permutation(8) / 10 + 0.1, clicks


choose_the_mask = Exercise(
    name="choose_the_mask",
    title="The mask that agrees with the clicks",
    difficulty=3,
    minutes=10,
    question="""
The canvas takes the candidate with the highest predicted IoU. Do better: a good mask holds every foreground click and
no background click. Write a function of `masks` (K, H, W), `iou_predictions` (K,) and `clicks`, a list of
(x, y, label), that returns the index of the candidate with the highest prediction among those that agree with every
click. When none does, it returns the one with the highest prediction of all.
""",
    code="""
def choose(masks, iou_predictions, clicks):
    # <answer: best = ...>
    agrees = np.ones(len(masks), dtype=bool)
    for x, y, label in clicks:
        agrees &= masks[:, y, x] == bool(label)
    if not agrees.any():
        agrees[:] = True
    best = int(np.where(agrees, iou_predictions, -np.inf).argmax())
    # </answer>
    return best


choose_the_mask.check(choose)
""",
    expected=_choose,
    stages=[
        Stage("one foreground and one background click", lambda: _candidates(64, [(5, 2, 1), (1, 4, 0)])),
        Stage("no candidate agrees", lambda: _candidates(64, [(5, 2, 1), (5, 2, 0), (1, 4, 0)])),
    ],
    mistakes=[
        Mistake("clicks unheeded", "This is the highest prediction of all, but that candidate contradicts a click.",
                partial(_choose, heed=False)),
        Mistake("labels unheeded", "A click with label 0 must lie outside the mask.", partial(_choose, labels=False)),
        Mistake("x and y swapped", "A mask is an array: rows first, masks[:, y, x].", partial(_choose, swapped=True)),
        Mistake("the first that agrees", "Several candidates agree with the clicks; take the highest prediction of "
                "those.", partial(_choose, first=True)),
        Mistake("renumbered", "This is the place among the candidates that are left; the index among all is asked.",
                partial(_choose, renumbered=True)),
        Mistake("none agrees", "When no candidate agrees, the highest prediction of all is asked.",
                partial(_choose, none_fits=False)),
        Mistake("most clicks", "You take the candidates that agree with most of the clicks. When none agrees with "
                "every click, the highest prediction of all is asked.", partial(_choose, most=True)),
    ],
    hints=[
        "`masks[:, y, x]` says for every candidate whether it holds the pixel (x, y).",
        "Keep one True or False for each candidate, and combine it with every click.",
        "`np.where(agrees, iou_predictions, -np.inf)` leaves the others no chance.",
    ],
    explanation="""
The model's prediction knows nothing of what you will do with the mask; your clicks do. Interactive tools often combine
both in this way.
""",
)  # fmt: skip

EXERCISES = (predict_the_answer, look_it_up, measure_the_overlap, choose_the_mask)
