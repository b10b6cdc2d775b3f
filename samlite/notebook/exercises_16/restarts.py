"""Shards handed to workers, a kill, and the run after it: a schedule of seconds (chapter 16)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.variants import by_seed

Spans = dict[int, tuple[int, int]]  # of each shard: when a worker began it, when it would lie there


def _to_the_free(numbers: Iterable[int], seconds: Sequence[int], workers: int) -> Spans:
    """As an executor does: the next shard goes to the worker that is free first."""
    free, spans = [0] * workers, {}
    for number in numbers:
        worker = free.index(min(free))
        spans[number] = (free[worker], free[worker] + seconds[number])
        free[worker] += seconds[number]
    return spans


def _in_rounds(numbers: Iterable[int], seconds: Sequence[int], workers: int) -> Spans:
    """Every worker takes one, and all wait for the slowest."""
    numbers, now, spans = list(numbers), 0, {}
    for first in range(0, len(numbers), workers):
        together = numbers[first : first + workers]
        spans |= {number: (now, now + seconds[number]) for number in together}
        now += max(seconds[number] for number in together)
    return spans


def _dealt_out(numbers: Iterable[int], seconds: Sequence[int], workers: int) -> Spans:
    """Like cards, before anyone begins."""
    free, spans = [0] * workers, {}
    for place, number in enumerate(numbers):
        spans[number] = (free[place % workers], free[place % workers] + seconds[number])
        free[place % workers] += seconds[number]
    return spans


def _two_runs(
    seconds: Sequence[int], workers: int, killed_at: int, workers_after: int, *,
    hand_out: Callable[[Iterable[int], Sequence[int], int], Spans] = _to_the_free, half_written: bool = False,
    whole_shards: bool = False, in_a_row: bool = False, again: bool = False, shared: bool = False,
    one_after_another: bool = False, same_workers: bool = False, too_late: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What lies there after the kill and what the second run takes, with switches for what easily goes wrong."""
    first = hand_out(range(len(seconds)), seconds, workers)
    there = [k for k, (start, end) in first.items() if (start if half_written else end + too_late) <= killed_at]
    cut = [k for k, (start, end) in first.items() if start < killed_at < end and k not in there]
    left = [k for k in first if again or (k not in there or in_a_row and any(j not in there for j in range(k)))]
    workers_after = 1 if one_after_another else workers if same_workers else workers_after
    second = hand_out(left, seconds, workers_after)
    took = max((end for _, end in second.values()), default=0)
    return {
        "there": there,
        "lost": sum(seconds[k] if whole_shards else killed_at - first[k][0] for k in cut),
        "second run": sum(seconds[k] for k in left) / workers_after if shared else took,
    }


def _make(
    one: tuple[list[int], int, int, int] = ([10, 4, 9, 13, 13, 5, 7, 13], 3, 16, 2),
    other: tuple[list[int], int, int, int] = ([14, 10, 5, 16, 7, 12, 3, 9, 5, 12, 14], 2, 24, 4),
) -> Exercise:
    def once(arguments: tuple[list[int], int, int, int]) -> Callable[[], tuple[Any, ...]]:
        return lambda: (list(arguments[0]), *arguments[1:])

    return Exercise(
        name="write_two_runs",
        title="Killed, and run again",
        difficulty=4,
        minutes=25,
        question="""
Before a run is paid for, play it with numbers. `seconds[k]` is how long a worker needs for shard k. The first run
begins at second 0 with `workers`; the shards are handed out in order, the next one always to the worker that is free
first. At second `killed_at` all processes are killed; a shard that is done at exactly that second lies in the folder.
The same command is run again, with `workers_after` workers, and makes what is not there.

Return a dict: `there`, the numbers of the shards that lie in the folder after the kill, in order; `lost`, the seconds
of work, of all workers together, of which nothing is left; `second run`, how many seconds the second run takes. For
instance `two_runs([4, 6, 3], 2, 5, 1)`: shard 0 is there, shard 1 was at it for 5 seconds, shard 2 for 1, so 6 seconds
are lost, and one worker makes both again in 9.
""",
        code="""
def two_runs(seconds, workers, killed_at, workers_after):
    # <answer: there = lost = second_run = ...>
    def hand_out(numbers, workers):
        free, spans = [0] * workers, {}
        for number in numbers:
            worker = free.index(min(free))
            spans[number] = (free[worker], free[worker] + seconds[number])
            free[worker] += seconds[number]
        return spans

    first = hand_out(range(len(seconds)), workers)
    there = [number for number, (start, end) in first.items() if end <= killed_at]
    lost = sum(killed_at - start for start, end in first.values() if start < killed_at < end)
    second = hand_out([number for number in first if number not in there], workers_after)
    second_run = max((end for start, end in second.values()), default=0)
    # </answer>
    return {"there": there, "lost": lost, "second run": second_run}


write_two_runs.check(two_runs)
""",
        expected=_two_runs,
        stages=[
            Stage("a run", once(one)),
            Stage("another run", once(other)),
            Stage("killed when all was just done", once(([5, 3, 4], 2, 7, 2))),
        ],
        mistakes=[
            Mistake("half-written counted", "A shard takes its name when all of it is on the disk: what was being made "
                    "at the kill is not there.", partial(_two_runs, half_written=True)),
            Mistake("done just in time", "A shard that is done at exactly `killed_at` lies in the folder.",
                    partial(_two_runs, too_late=True)),
            Mistake("in rounds", "Nobody waits for the slowest: who is free takes the next shard at once.",
                    partial(_two_runs, hand_out=_in_rounds)),
            Mistake("dealt out beforehand", "Shards are not dealt like cards: the next one goes to whoever is free "
                    "first, and a worker with short shards makes more of them.",
                    partial(_two_runs, hand_out=_dealt_out)),
            Mistake("whole shards lost", "Of a shard that was cut off only the seconds until the kill were spent.",
                    partial(_two_runs, whole_shards=True)),
            Mistake("all over again", "What is there stays: the second run makes the rest only.",
                    partial(_two_runs, again=True)),
            Mistake("from the first gap on", "Shards finish in any order. One that lies behind a gap is there all the "
                    "same.", partial(_two_runs, in_a_row=True)),
            Mistake("shared to the second", "A shard is not divided: at the end some workers wait for the last one.",
                    partial(_two_runs, shared=True)),
            Mistake("one after another", "The second run has workers too: who is free takes the next shard.",
                    partial(_two_runs, one_after_another=True)),
            Mistake("as many workers as before", "The second run has `workers_after` of them.",
                    partial(_two_runs, same_workers=True)),
        ],
        hints=[
            "Keep for each worker the second at which it is free; `free.index(min(free))` is who takes the next shard.",
            "Note start and end of every shard. The kill divides them into three: done, begun, not begun.",
            "The second run is the same function with the shards that are left.",
        ],
        explanation="""
`annotate` does this with processes, and counts nothing: an executor hands out, the folder tells what is left. Two
things cost: what was being made when the kill came, and the end, when workers wait for the last shard. Both shrink with
shorter shards, and so does the tail with the long shards first, if one knew which these are.
""",
    )  # fmt: skip


def _draw(draw: random.Random) -> Mapping[str, Any]:
    def run() -> tuple[list[int], int, int, int]:
        seconds = [draw.randint(3, 18) for _ in range(draw.randint(8, 11))]
        workers, after = draw.sample((2, 3, 4), 2)
        return seconds, workers, sum(seconds) * draw.randint(40, 70) // (100 * workers), after

    return {"one": run(), "other": run()}


write_two_runs = by_seed(_make, _draw)
