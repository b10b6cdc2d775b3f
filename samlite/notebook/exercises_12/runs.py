"""A mask as runs. (chapter 12)"""

from __future__ import annotations

from functools import partial

import numpy as np

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.rle import mask_to_rle


def _runs(mask: np.ndarray) -> np.ndarray:
    return np.array(mask_to_rle(mask)["counts"])


def _runs_with(
    mask: np.ndarray, *, order: str = "F", inside_first: bool = False, no_zero: bool = False, shift: int = 0,
    starts: bool = False, drop_last: bool = False,
) -> np.ndarray:  # fmt: skip
    pixels = mask.ravel(order=order)
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1 + shift
    borders = np.concatenate([[0], changes, [pixels.size]])
    counts = np.diff(borders)
    if starts:
        return borders[:-1]
    if drop_last:
        counts = counts[:-1]
    lead = pixels[0] if not inside_first else not pixels[0]
    return counts if no_zero or not lead else np.concatenate([[0], counts])


_L = np.array([[0, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 1]], bool)
_CORNER = np.array([[1, 1, 0, 0, 1], [1, 0, 0, 1, 1], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]], bool)

write_runs = Exercise(
    name="write_runs",
    title="A mask as runs",
    difficulty=3,
    minutes=12,
    question="""
Write the run-length encoding that COCO files use: the lengths of the runs of equal pixels, **column by column**, as an
array. The first number counts background; where the first pixel is inside the mask, it is 0.
""",
    code="""
def runs(mask):
    # <answer: result = ...>
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    borders = np.concatenate([[0], changes, [pixels.size]])
    lengths = np.diff(borders)
    result = np.concatenate([[0], lengths]) if pixels[0] else lengths
    # </answer>
    return result


write_runs.check(runs)
""",
    expected=_runs,
    stages=[
        Stage("begins outside", lambda: (_L,)),
        Stage("begins inside", lambda: (_CORNER,)),
        Stage("nothing inside", lambda: (np.zeros((3, 4), bool),)),
        Stage("everything inside", lambda: (np.ones((3, 4), bool),)),
    ],
    mistakes=[
        Mistake("row by row", "COCO goes down the columns: `order=\"F\"`.", partial(_runs_with, order="C")),
        Mistake("no leading zero", "The first run is background, 0 pixels long where the mask begins at once. Without "
                "it inside and outside are swapped.", partial(_runs_with, no_zero=True)),
        Mistake("first run counts the mask", "The other way round: the first number counts background.",
                partial(_runs_with, inside_first=True)),
        Mistake("off by one", "pixels[1:] is shifted by one: a change found at i begins a run at i + 1.",
                partial(_runs_with, shift=-1)),
        Mistake("starts instead of lengths", "These are the places where runs begin; take their differences.",
                partial(_runs_with, starts=True)),
        Mistake("last run forgotten", "The runs fill the picture: they sum to H · W.",
                partial(_runs_with, drop_last=True)),
    ],
    hints=["`mask.ravel(order=\"F\")` lays the columns one after the other.",
           "A run ends where a pixel differs from the next one."],
    explanation="""
`samlite.rle` does the same, and `compress_rle` then writes the differences of the runs in 6 bits a character. A mask is
as long as its border, not as its area.
""",
)  # fmt: skip
