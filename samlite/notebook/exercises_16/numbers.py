"""Budgets, Amdahl and failures: exercises in arithmetic (document §1.4)."""

from __future__ import annotations

import random
from functools import partial

from samlite.notebook.cost_model import ModelCost, Plan, best_shard_seconds, speed_up, waste
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.variants import by_seed, fill


def _budget(
    million: int, encoder: int, click: int, side: int, peak: int, percent: int, devices: int
) -> dict[str, float]:  # fmt: skip
    plan = Plan(
        ModelCost("", encoder * 10**9, click * 10**6), photos=million * 1e6, points_per_side=side,
        device_flops=peak * 1e12, share=percent / 100, devices=devices,
    )  # fmt: skip
    return {
        "clicks a photo": plan.clicks,
        "TFLOP a photo": (plan.encoder_flop + plan.decoder_flop) / 1e12,
        "device hours": plan.device_hours,
        "days": plan.days,
    }


def _predict_the_budget(
    million: int = 2, encoder: int = 1000, click: int = 4000, side: int = 16, peak: int = 100, percent: int = 40,
    devices: int = 8,
) -> Exercise:  # fmt: skip
    """The exercise for a project of ``million`` million photos; ``encoder`` in GFLOP, ``click`` in MFLOP."""
    numbers = {"million": million, "encoder": encoder, "click": click, "side": side, "peak": peak}
    numbers |= {"percent": percent, "devices": devices}
    budget = partial(_budget, **numbers)

    def hours_times(factor: float) -> dict[str, float]:
        right = budget()
        return {name: right[name] * factor for name in ("device hours", "days")}

    def with_clicks(clicks: int) -> dict[str, float]:
        tera = encoder / 1e3 + clicks * click / 1e6
        hours = million * 1e18 * tera / (peak * 1e12 * percent / 100) / 3600
        return {"clicks a photo": clicks, "TFLOP a photo": tera, "device hours": hours, "days": hours / devices / 24}

    return Exercise(
        name="predict_the_budget",
        title="A budget before a line of code",
        difficulty=1,
        minutes=8,
        question=fill("""
You want masks for $million million photos. The encoder takes $encoder GFLOP a photo, one click $click MFLOP (giga is
10⁹, mega 10⁶, tera 10¹²). The grid has $side × $side points, no crops. You may use $devices devices of $peak TFLOP/s
each, of which $percent % are reached. How many clicks does a photo get, how many TFLOP does it cost, how many hours of
one device do all photos take, and how many days with all devices, if none ever waits?
""", **numbers),
        code=fill("""
budget = {
    # <answer: "clicks a photo": ..., "TFLOP a photo": ...,>
    "clicks a photo": (clicks := $side * $side),
    "TFLOP a photo": (tera := $encoder / 1e3 + clicks * $click / 1e6),
    "device hours": (hours := $million * 1e6 * tera / ($peak * $percent / 100) / 3600),
    "days": hours / $devices / 24,
    # </answer>
    # <answer: "device hours": ..., "days": ...,>
    # </answer>
}

predict_the_budget.check(budget)
""", **numbers),
        expected=budget,
        mistakes=[
            Mistake("one side of the grid", "The grid has points in two directions: the side squared.",
                    lambda: with_clicks(side)),
            Mistake("the encoder for every click", "The encoder runs once for each photo; that is what it is for.",
                    lambda: {"TFLOP a photo": side * side * (encoder / 1e3 + click / 1e6)}),
            Mistake("the clicks forgotten", "A photo costs its encoder run and all its clicks.",
                    lambda: {"TFLOP a photo": encoder / 1e3}),
            Mistake("mega for giga", "A click is in MFLOP: divide by 10⁶ to get TFLOP.",
                    lambda: {"TFLOP a photo": encoder / 1e3 + side * side * click / 1e3}),
            Mistake("the peak taken for the rate", "Only a share of the peak is reached: the rate is peak times share.",
                    lambda: hours_times(percent / 100)),
            Mistake("share on the wrong side", "A device that reaches less takes longer: divide by the share.",
                    lambda: hours_times((percent / 100) ** 2)),
            Mistake("minutes for hours", "Seconds become hours by 3600.", lambda: hours_times(60)),
            Mistake("devices multiplied", "More devices make fewer days.",
                    lambda: {"days": budget()["device hours"] * devices / 24}),
            Mistake("devices forgotten", "These are the days of one device.",
                    lambda: {"days": budget()["device hours"] / 24}),
        ],
        hints=[
            "Seconds of one device: photos · FLOP a photo / (peak · share).",
            "TFLOP over TFLOP/s: the 10¹² go away.",
        ],
        explanation="""
Four lines, and you know whether a project takes a weekend or a year. The largest error is in the share that is reached:
measure it on a hundred photos before you ask for a million's time.
""",
    )  # fmt: skip


def _draw_a_budget(generator: random.Random) -> dict[str, int]:
    return {
        "million": generator.randrange(3, 40), "encoder": generator.randrange(300, 8000, 50),
        "click": generator.randrange(1000, 16000, 100), "side": generator.choice((8, 16, 24, 32, 48)),
        "peak": generator.choice((20, 125, 300, 990)), "percent": generator.choice((20, 25, 30, 45)),
        "devices": generator.randrange(3, 200),
    }  # fmt: skip


predict_the_budget = by_seed(_predict_the_budget, _draw_a_budget)

write_speed_up = Exercise(
    name="write_speed_up",
    title="Amdahl's law",
    difficulty=2,
    minutes=8,
    question="""
A share `serial_share` of one worker's time is not divided: each worker starts Python and loads the model, and one
process lists the photos and writes the manifest. The rest is shared evenly by `workers`. How many times as fast are
they as one?
""",
    code="""
def faster(serial_share, workers):
    # <answer: times = ...>
    time = serial_share + (1 - serial_share) / workers
    times = 1 / time
    # </answer>
    return times


write_speed_up.check(faster)
""",
    expected=speed_up,
    stages=[
        Stage("two workers", lambda: (0.1, 2)),
        Stage("many workers", lambda: (0.01, 256)),
        Stage("nothing serial", lambda: (0.0, 12)),
    ],
    mistakes=[
        Mistake("the time, not the speed", "That is what the time becomes. Faster is one divided by it.",
                lambda serial, n: serial + (1 - serial) / n),
        Mistake("the serial part forgotten", "The serial share stays as long as it was.", lambda serial, n: float(n)),
        Mistake("the serial part divided", "It is the other part that the workers share.",
                lambda serial, n: 1 / (serial / n + (1 - serial))),
        Mistake("shares of speed added", "Times add up, speeds do not: add the times first, then divide.",
                lambda serial, n: serial + (1 - serial) * n),
        Mistake("per cent for a share", "The share is between 0 and 1 already: do not divide it by 100.",
                lambda serial, n: speed_up(serial / 100, n)),
    ],
    hints=["Let one worker's time be 1. How long does each of the two parts take now?"],
    explanation="""
With one per cent serial, 256 workers are 72 times as fast, and no number of them reaches 100. For eleven million photos
the serial share is tiny, because the work is long; for a hundred photos it is not.
""",
)  # fmt: skip


def _shard(between_failures: float, overhead: float, photo_seconds: float) -> dict[str, float]:
    seconds = best_shard_seconds(between_failures, overhead)
    return {"photos a shard": seconds / photo_seconds, "share lost": waste(seconds, between_failures, overhead)}


def _shard_with(
    between_failures: float, overhead: float, photo_seconds: float, *, twice: float = 2.0, halves: float = 2.0,
    per_photo: bool = True, root: bool = True,
) -> dict[str, float]:  # fmt: skip
    """The same with switches for what easily goes wrong."""
    seconds = twice * between_failures * overhead
    seconds = seconds**0.5 if root else seconds
    lost = seconds / (halves * between_failures) + overhead / seconds
    return {"photos a shard": seconds / photo_seconds if per_photo else seconds, "share lost": lost}


choose_the_shard = Exercise(
    name="choose_the_shard",
    title="How many photos in a shard?",
    difficulty=3,
    minutes=15,
    question="""
A worker fails once in `between_failures` seconds on average, and the shard that it was at is lost: half of it was done,
on average. Each shard costs `overhead` seconds beside its photos. A photo takes `photo_seconds`. Give the number of
photos for which the share of time lost is least (no rounding), and that share.
""",
    code="""
def shard(between_failures, overhead, photo_seconds):
    # <answer: photos, lost = ..., ...>
    # lost(s) = s / (2 · between_failures) + overhead / s, and its slope is 0 where both parts are equal
    seconds = (2 * between_failures * overhead) ** 0.5
    photos = seconds / photo_seconds
    lost = seconds / (2 * between_failures) + overhead / seconds
    # </answer>
    return {"photos a shard": photos, "share lost": lost}


choose_the_shard.check(shard)
""",
    expected=_shard,
    stages=[
        Stage("a laptop that is closed twice a day", lambda: (43200.0, 0.5, 8.0)),
        Stage("machines that may be taken away every hour", lambda: (3600.0, 2.0, 0.7)),
    ],
    mistakes=[
        Mistake("the whole shard lost", "A failure strikes anywhere: on average half the shard was done.",
                partial(_shard_with, twice=1.0, halves=1.0)),
        Mistake("the root forgotten", "The slope is 1 / (2F) − c / s²: solve for s, not for s².",
                partial(_shard_with, root=False)),
        Mistake("seconds for photos", "These are seconds. How many photos is that?",
                partial(_shard_with, per_photo=False)),
        Mistake("one part of the loss", "Two parts are lost: half-done shards, and the overhead of all others.",
                lambda f, c, p: _shard(f, c, p) | {"share lost": best_shard_seconds(f, c) / (2 * f)}),
    ],
    hints=[
        "With s seconds a shard, the share lost is s / (2 · between_failures) + overhead / s.",
        "A sum of a · s and b / s is least where both are equal: s = √(b / a).",
    ],
    explanation="""
The same square root tells how often to save a training run. Around the best length the loss hardly changes: half as
long or twice as long costs a quarter more of a small number. So take a round number and do not think about it again.
""",
)  # fmt: skip
