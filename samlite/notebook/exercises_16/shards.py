"""What lies in the folder: which shards are there, and how a mask is written down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from samlite.masks import mask_area
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.rle import mask_to_rle


def _left(count: int, size: int, names: Sequence[str]) -> list[int]:
    there = {int(name[6:12]) for name in names if name.startswith("shard-") and name.endswith(".jsonl.gz")}
    return [i for i in range(count) if i // size not in there]


def _left_with(
    count: int, size: int, names: Sequence[str], *, every: bool = False, in_a_row: bool = False, first: int = 0,
    shards: bool = False, whole_only: bool = False,
) -> list[int]:  # fmt: skip
    """The same with switches for what easily goes wrong."""
    there = {int(name.split("-")[1][:6]) for name in names if "shard-" in name and (every or name[-3:] == ".gz")}
    there = set(range(len(there))) if in_a_row else {number - first for number in there}
    if shards:
        return [number for number in range(-(-count // size)) if number not in there]
    return [i for i in range(count // size * size if whole_only else count) if i // size not in there]


LISTING = (
    "manifest.json", "shard-000000.jsonl.gz", "shard-000002.jsonl.gz", "shard-000003.jsonl.gz",
    ".shard-000001.jsonl.gz.node-7.4711.unfinished",
)  # fmt: skip

write_resume = Exercise(
    name="write_resume",
    title="Go on by looking at what is there",
    difficulty=3,
    minutes=15,
    question="""
A run over `count` photos was killed. `names` are the files of its folder: shard number k is `shard-00000k.jsonl.gz`
and holds photos k · `size` up to, but not including, (k + 1) · `size`; the last shard may be shorter. Half-written
files begin with a dot and end in `.unfinished`. Return the places (0, 1, …) of all photos that are still to be done, in
order.
""",
    code="""
def still_to_do(count, size, names):
    # <answer: places = ...>
    there = {int(name[6:12]) for name in names if name.startswith("shard-") and name.endswith(".jsonl.gz")}
    places = [place for place in range(count) if place // size not in there]
    # </answer>
    return places


write_resume.check(still_to_do)
""",
    expected=_left,
    stages=[
        Stage("five shards, one half-written", lambda: (18, 4, LISTING)),
        Stage("nothing yet", lambda: (5, 2, ("manifest.json",))),
        Stage("the last is there", lambda: (10, 3, ("shard-000003.jsonl.gz", "manifest.json"))),
    ],
    mistakes=[
        Mistake("half-written counted", "An .unfinished file is no shard: its process was killed while it wrote.",
                partial(_left_with, every=True)),
        Mistake("counted, not read", "Workers finish in any order: three shards need not be the first three.",
                partial(_left_with, in_a_row=True)),
        Mistake("counted from 1", "The first shard is number 0.", partial(_left_with, first=1)),
        Mistake("shards for photos", "These are the numbers of shards. Which photos are in them?",
                partial(_left_with, shards=True)),
        Mistake("the last shard forgotten", "When `count` is no multiple of `size`, the last shard is shorter.",
                partial(_left_with, whole_only=True)),
    ],
    hints=["`int(name[6:12])` is a shard's number.", "Photo number i belongs to shard i // size."],
    explanation="""
No log and no database: the folder is the record. That works because a shard takes its name in one step, when all of it
is on the disk. `ShardFolder.finished` does the same with a regular expression.
""",
)  # fmt: skip


def _discs() -> list[np.ndarray]:
    y, x = np.mgrid[:9, :14]
    disc = (x - 6) ** 2 + (y - 4) ** 2 < 12
    corner = (x < 3) & (y < 2)
    return [disc, corner]


def _real_mask() -> np.ndarray:
    """A mask of the shipped model: the cat's face, by one click."""
    import skimage.data

    from samlite.predictor import SamPredictor
    from samlite.registry import sam_model_registry

    predictor = SamPredictor(sam_model_registry["tiny"]())
    predictor.set_image(skimage.data.chelsea())
    return predictor.predict([[220, 120]], [1], multimask_output=False)[0][0]


def _runs(mask: np.ndarray) -> dict[str, object]:
    counts = mask_to_rle(mask)["counts"]
    return {"counts": counts, "area": int(mask_area(mask))}


def _runs_with(
    mask: np.ndarray, *, order: str = "F", zero: bool = True, flipped: bool = False, ends: bool = False,
    last: bool = True,
) -> dict[str, object]:  # fmt: skip
    """The same with switches for what easily goes wrong."""
    pixels = mask.ravel(order=order)
    pixels = ~pixels if flipped else pixels
    borders = [0, *(np.flatnonzero(pixels[1:] != pixels[:-1]) + 1).tolist(), pixels.size]
    counts = borders[1:] if ends else np.diff(borders).tolist()
    counts = [0, *counts] if zero and pixels[0] else counts
    counts = counts if last else counts[:-1]
    return {"counts": counts, "area": sum(counts[1::2])}


write_run_lengths = Exercise(
    name="write_run_lengths",
    title="A mask as run lengths",
    difficulty=4,
    minutes=25,
    question="""
What stands in the shards is COCO's run lengths. Go through `mask` (H, W) column by column, from top to bottom, and
count how many pixels in a row are outside, then inside, then outside, and so on. The first count is of pixels outside
and may be 0. Return the counts as a list, and the mask's area **computed from the counts**.
""",
    code="""
def run_lengths(mask):
    # <answer: counts, area = ..., ...>
    pixels = mask.ravel(order="F")
    borders = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff([0, *borders, pixels.size]).tolist()
    if pixels[0]:
        counts = [0, *counts]
    area = sum(counts[1::2])
    # </answer>
    return {"counts": counts, "area": area}


write_run_lengths.check(run_lengths)
""",
    expected=_runs,
    stages=[
        Stage("a disc", lambda: (_discs()[0],)),
        Stage("a corner", lambda: (_discs()[1],)),
        Stage("a mask of the model", lambda: (_real_mask(),)),
    ],
    mistakes=[
        Mistake("the wrong runs added", "Every second run is inside, and the first is not.",
                lambda mask: _runs(mask) | {"area": sum(_runs(mask)["counts"][::2])}),
        Mistake("row by row", "Column by column: `mask.ravel(order=\"F\")`.", partial(_runs_with, order="C")),
        Mistake("the first run left out", "A mask that begins inside begins with a run of 0 pixels outside.",
                partial(_runs_with, zero=False)),
        Mistake("inside and outside swapped", "The first run is outside the mask.", partial(_runs_with, flipped=True)),
        Mistake("places for lengths", "These are the places where runs end. Their differences are the lengths.",
                partial(_runs_with, ends=True)),
        Mistake("the last run left out", "The counts must add up to H · W.", partial(_runs_with, last=False)),
    ],
    hints=[
        "`ravel(order=\"F\")` goes column by column.",
        "`np.flatnonzero(pixels[1:] != pixels[:-1]) + 1` are the places where a new run begins.",
        "`np.diff` of 0, these places and the number of pixels.",
    ],
    explanation="""
The number of runs grows with the *outline* of a mask and not with its area: twice the photo's side gives four times the
pixels and twice the runs. That is why a billion masks fit on a disk. Column by column is a habit of COCO's, which comes
from Matlab.
""",
)  # fmt: skip
