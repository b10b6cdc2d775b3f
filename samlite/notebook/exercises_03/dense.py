"""Exercises on dense prompts: a mask becomes logits, and an answer becomes part of the next prompt (document §1.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch.nn import functional as F

from samlite.frames import ResizeLongestSide
from samlite.masks import mask_to_logits
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.predictor import SamPredictor
from samlite.registry import sam_model_registry


def _as_logits(mask: np.ndarray, image_size: int, low_res_size: int, strength: float) -> np.ndarray:
    return mask_to_logits(mask, image_size, low_res_size, float(strength))


def _logits_with(
    mask: np.ndarray, image_size: int, low_res_size: int, strength: float, *,
    stretched: bool = False, upper_left: bool = True,
    to_logits: Callable[..., np.ndarray] = lambda c, s: (2 * c - 1) * s,
    padding: float = 0.0, axis: bool = True, turned: bool = False, every: bool = False, in_bytes: bool = False,
    as_bits: bool = False,
) -> np.ndarray:  # fmt: skip
    """The mask prompt step by step, with switches for what easily goes wrong."""
    mask = mask.T if turned else mask
    height, width = ResizeLongestSide.get_preprocess_shape(*mask.shape, image_size)
    height, width = (image_size, image_size) if stretched else (height, width)
    full, kind = (1, bool) if as_bits else (255, np.uint8) if in_bytes else (1, np.float32)
    picture = Image.fromarray((full * mask).astype(kind)).resize((width, height), Image.Resampling.BOX)
    resized = np.array(picture, dtype=np.float32) / full
    below, beside = image_size - height, image_size - width
    around = ((0, below), (0, beside)) if upper_left else ((below, 0), (beside, 0))
    padded = torch.from_numpy(np.pad(resized, around, constant_values=padding))[None]
    side = image_size // low_res_size
    covered = padded[:, ::side, ::side] if every else F.adaptive_avg_pool2d(padded, low_res_size)
    logits = to_logits(covered.numpy(), np.float32(strength))
    return logits if axis else logits[0]


def _blob(height: int, width: int) -> np.ndarray:
    """A mask without any symmetry."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (np.hypot(x - 0.3, 1.4 * (y - 0.35)) < 0.21) | ((x > 0.4) & (y < 0.2) & (x < 0.83))


write_mask_to_logits = Exercise(
    name="write_mask_to_logits",
    title="A mask as a prompt",
    difficulty=3,
    minutes=20,
    question="""
Write the way from a `mask` (H, W) of True and False at the photo's size to a mask prompt `(1, low_res_size,
low_res_size)`. The mask goes the way of the photo: resize its longest side to `image_size` (both sides rounded to
whole pixels), averaging areas (Pillow's `Image.Resampling.BOX`, on 32-bit floats: on bytes it rounds), and pad it with
"not covered" at the right or at the bottom to a square. Then every low-res cell gets the share c of its area that is
covered, and the logit is (2c − 1) · `strength`: +strength inside, −strength outside.
""",
    code="""
def my_mask_to_logits(mask, image_size, low_res_size, strength):
    # <answer: logits = ...>
    from PIL import Image

    scale = image_size / max(mask.shape)
    height, width = (int(side * scale + 0.5) for side in mask.shape)
    picture = Image.fromarray(mask.astype(np.float32))
    resized = np.array(picture.resize((width, height), Image.Resampling.BOX))  # PIL: width first
    square = np.zeros((image_size, image_size), dtype=np.float32)
    square[:height, :width] = resized
    side = image_size // low_res_size
    covered = square.reshape(low_res_size, side, low_res_size, side).mean(axis=(1, 3))
    logits = ((2 * covered - 1) * strength)[None]
    # </answer>
    return logits


write_mask_to_logits.check(my_mask_to_logits)
""",
    expected=_as_logits,
    stages=[
        Stage("a mask that needs no resizing", lambda: (_blob(64, 96), 96, 48, 8)),
        Stage("a wide photo", lambda: (_blob(300, 451), 128, 64, 8)),
        Stage("a tall photo, the full size", lambda: (_blob(600, 420), 1024, 256, 5)),
    ],
    mistakes=[
        Mistake("padding forgotten", "The mask was stretched to a square. It must lie where the photo lies, and below "
                "or beside it is padding.", partial(_logits_with, stretched=True)),
        Mistake("padded at the wrong side", "The photo fills the upper left of the square: pad at the right or at the "
                "bottom.", partial(_logits_with, upper_left=False)),
        Mistake("covered padding", "The padding is no part of the object: not covered, 0 before the logits are made.",
                partial(_logits_with, padding=1.0)),
        Mistake("padding without an opinion", "In the padding your logits are 0, which says \"perhaps\". It is not "
                "covered: −strength.", partial(_logits_with, padding=0.5)),
        Mistake("shares instead of logits", "This is the covered share, 0…1. For the model 0 is \"perhaps\"; outside "
                "must be negative.", partial(_logits_with, to_logits=lambda c, s: c)),
        Mistake("nothing negative", "Outside your logits are 0, which says \"perhaps\": 2c − 1, then times strength.",
                partial(_logits_with, to_logits=lambda c, s: c * s)),
        Mistake("half as strong", "c − 0.5 reaches only half of the strength: 2c − 1.",
                partial(_logits_with, to_logits=lambda c, s: (c - 0.5) * s)),
        Mistake("upside down", "Inside is positive.", partial(_logits_with, to_logits=lambda c, s: (1 - 2 * c) * s)),
        Mistake("hard edges", "A cell that is half covered is 0, not one of ±strength: keep the share.",
                partial(_logits_with, to_logits=lambda c, s: np.where(c > 0.5, s, -s))),
        Mistake("one pixel a cell", "Every cell has the mean of its pixels, not the first of them.",
                partial(_logits_with, every=True)),
        Mistake("rows and columns swapped", "The mask lies on its side. PIL's resize wants (width, height), arrays are "
                "(height, width).", partial(_logits_with, turned=True)),
        Mistake("rounded to bytes", "Pillow averages a picture of bytes in whole steps of 1/255: make 32-bit floats of "
                "the mask before you resize it.", partial(_logits_with, in_bytes=True)),
        Mistake("a mask of bits", "A picture of True and False is not averaged by Pillow, it stays True and False: "
                "make 32-bit floats of the mask before you resize it.", partial(_logits_with, as_bits=True)),
        Mistake("an axis missing", "The first axis is that of one mask: (1, low_res_size, low_res_size).",
                partial(_logits_with, axis=False)),
    ],
    hints=[
        "Four steps: resize, pad, average over cells, make logits.",
        "`image_size // low_res_size` pixels make a cell; a reshape to four axes and a mean over two of them averages.",
        "`[None]` puts an axis in front.",
    ],
    explanation="""
The document's mask prompt is "a binary map"; the model wants logits such as it returns itself.
`predictor.mask_to_logits` is this function with the two sizes filled in. A logit of 0 is no "outside": it is a cell
about which the prompt says nothing either way.
""",
)  # fmt: skip

Places = Sequence[tuple[int, int]]


def _step(
    points: Places, labels: Sequence[int], click: tuple[int, int, int], iou_predictions: np.ndarray,
    low_res_logits: np.ndarray, *, keep: bool = True, label: bool = True, swapped: bool = False,
    candidate: Callable[[np.ndarray], int] = lambda iou: int(iou.argmax()),
) -> dict[str, object]:  # fmt: skip
    """The next prompt, with switches for what easily goes wrong."""
    x, y, kind = click
    new = (y, x) if swapped else (x, y)
    best = candidate(iou_predictions)
    return {
        "point_coords": (*map(tuple, points), new) if keep else (new,),
        "point_labels": (*labels, kind if label else 1) if keep else (kind if label else 1,),
        "mask_input": low_res_logits[best : best + 1],
    }


def _other_mask(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., dict[str, object]]:
    """A mistake in the mask prompt alone: ``change(iou_predictions, low_res_logits)``."""
    return lambda points, labels, click, iou, logits: (
        _step(points, labels, click, iou, logits) | {"mask_input": change(iou, logits)}
    )


def _invented() -> tuple:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4, 8, 8)).astype(np.float32)  # four, so that best, worst, first and last differ
    return [(40, 30)], [1], (10, 5, 0), np.array([0.5, 0.9, 0.2, 0.4], dtype=np.float32), logits


@cache
def _answered() -> tuple[np.ndarray, np.ndarray]:
    """What the shipped model says to two clicks on a real photo."""
    predictor = SamPredictor(sam_model_registry["tiny"]())
    predictor.set_image(skimage.data.coffee())
    return predictor.predict([(290, 165), (370, 290)], [1, 0])[1:]


write_refinement_step = Exercise(
    name="write_refinement_step",
    title="One step of the refinement loop",
    difficulty=3,
    minutes=10,
    question="""
The prompt so far was `points` (a list of (x, y)) with `labels`; the model has answered with `iou_predictions` `(K,)`
and `low_res_logits` `(K, h, w)`. Now comes a correcting `click` (x, y, label). Return the arguments of the next
`predictor.predict`, as in training: `"point_coords"` and `"point_labels"` hold all clicks in the order in which they
were given, the new one last; `"mask_input"` `(1, h, w)` is the candidate that the model trusted most.
""",
    code="""
def next_prompt(points, labels, click, iou_predictions, low_res_logits):
    # <answer: coordinates = kinds = mask_input = ...>
    x, y, label = click
    coordinates = [*points, (x, y)]
    kinds = [*labels, label]
    best = iou_predictions.argmax()
    mask_input = low_res_logits[best : best + 1]
    # </answer>
    return {"point_coords": coordinates, "point_labels": kinds, "mask_input": mask_input}


write_refinement_step.check(next_prompt)
""",
    expected=_step,
    stages=[
        Stage("one click before", _invented),
        Stage("tiny, a real photo", lambda: ([(290, 165), (370, 290)], [1, 0], (300, 240, 1), *_answered())),
    ],
    mistakes=[
        Mistake("earlier clicks forgotten", "Every round gives all clicks again: the model remembers nothing but what "
                "is in the prompt.", partial(_step, keep=False)),
        Mistake("always foreground", "A correcting click may say what does *not* belong: keep its label.",
                partial(_step, label=False)),
        Mistake("x and y swapped", "Points are (x, y).", partial(_step, swapped=True)),
        Mistake("the least trusted candidate", "argmax, not argmin.",
                partial(_step, candidate=lambda iou: int(iou.argmin()))),
        Mistake("the first candidate", "The first candidate is not the one that the model trusts most: take the argmax "
                "of `iou_predictions`.",
                partial(_step, candidate=lambda iou: 0)),
        Mistake("the last candidate", "The last candidate is not the one that the model trusts most: take the argmax "
                "of `iou_predictions`.",
                partial(_step, candidate=lambda iou: len(iou) - 1)),
        Mistake("all candidates", "One mask goes in: (1, h, w).", _other_mask(lambda iou, logits: logits)),
        Mistake("an axis missing", "(1, h, w) is asked: logits[k : k + 1] keeps the axis, logits[k] drops it.",
                _other_mask(lambda iou, logits: logits[iou.argmax()])),
        Mistake("thresholded", "This is the mask, True and False. Hand the logits on as they are: how sure the model "
                "was is what helps.", _other_mask(lambda iou, logits: logits[[iou.argmax()]] > 0)),
        Mistake("a mean of all candidates", "The three are different answers; their mean is none of them.",
                _other_mask(lambda iou, logits: logits.mean(0, keepdims=True))),
    ],
    hints=[
        "`[*points, (x, y)]` is the old list with one more.",
        "`low_res_logits[best : best + 1]` keeps the first axis.",
    ],
    explanation="""
That is the whole loop: answer, click, answer. The model holds no state. What it "remembers" of the last round is what
you hand back to it: the clicks as tokens, the last mask as a map.
""",
)  # fmt: skip
