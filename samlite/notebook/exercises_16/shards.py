"""What lies in the folder: which shards are there, and which photos are left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from samlite.notebook.exercises import Exercise, Mistake, Stage


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
