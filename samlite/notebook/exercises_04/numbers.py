"""Exercises with numbers: what a stage costs, and what a stage is worth."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.variants import by_seed


def _bill(
    masks: int, clicks: int, failed: int, click: float, look: float, polygon: float, most: int
) -> dict[str, float]:
    """Seconds by hand and with a model, where ``clicks`` do for a good mask and ``failed`` are drawn after ``most``."""
    good = masks - failed
    answers = good * clicks + failed * most
    assisted = answers * (click + look) + failed * polygon
    return {"by hand": masks * polygon, "with the model": assisted, "seconds a mask": assisted / masks}


def _predict_the_bill(
    masks: int = 100, clicks: int = 2, failed: int = 10, click: float = 1.75, look: float = 2.0, polygon: float = 79.2,
    most: int = 6,
) -> Exercise:  # fmt: skip
    bill = partial(_bill, masks, clicks, failed, click, look, polygon, most)
    good = masks - failed
    right = bill()
    answers = f"{good} * {clicks} + {failed} * {most}"
    too_many = (polygon - clicks * (click + look)) / (polygon + (most - clicks) * (click + look))  # failing regions

    def wrong(assisted: float) -> dict[str, float]:
        return {"with the model": assisted, "seconds a mask": assisted / masks}

    return Exercise(
        name="predict_the_bill",
        title="What stage 2 costs",
        difficulty=1,
        minutes=5,
        question=f"""
An annotator makes {masks} masks with a model's proposals. For {good} of them {clicks} clicks are enough. The other
{failed} are not good after {most} clicks, and are drawn by hand. A click takes {click:g} s, a look at an
answer {look:g} s (one look after each click), a polygon {polygon:g} s. How many seconds would all masks take by hand,
how many do they take with the model, and how many is that for one mask?
""",
        code=f"""
seconds = {{
    # <answer: "by hand": ..., "with the model": ..., "seconds a mask": ...,>
    "by hand": {masks} * {polygon:g},
    "with the model": ({answers}) * ({click:g} + {look:g}) + {failed} * {polygon:g},
    "seconds a mask": (({answers}) * {click + look:g} + {failed} * {polygon:g}) / {masks},
    # </answer>
}}

predict_the_bill.check(seconds)
""",
        expected=bill,
        mistakes=[
            Mistake("failures are free", "A region that no click mends is drawn by hand: add its polygon.",
                    lambda: wrong((good * clicks + failed * most) * (click + look))),
            Mistake("no looks", "Every answer has to be judged before one goes on: a look after each click.",
                    lambda: wrong((good * clicks + failed * most) * click + failed * polygon)),
            Mistake("vain clicks forgotten", "The clicks on the regions that failed were given, too.",
                    lambda: wrong(good * clicks * (click + look) + failed * polygon)),
            Mistake("one look a mask", "The annotator looks after every click, not once a mask.",
                    lambda: wrong((good * clicks + failed * most) * click + masks * look + failed * polygon)),
            Mistake("seconds a good mask", "The polygons are masks as well: divide by all of them.",
                    lambda: {"seconds a mask": right["with the model"] / good}),
        ],
        hints=[
            "Three kinds of work: clicks, looks, polygons. Count each kind before you multiply.",
            f"Clicks: {good} · {clicks} + {failed} · {most}. There are as many looks.",
        ],
        explanation=f"""
What the model saves depends on the masks that it fails on: each costs its vain clicks and the polygon as well. With
these prices a model that fails on more than {too_many:.0%} of the regions makes the work slower than it was without it.
""",
    )  # fmt: skip


def _draw_a_bill(draw: random.Random) -> Mapping[str, Any]:
    return {
        "masks": 10 * draw.randint(5, 30), "clicks": draw.randint(2, 4), "failed": draw.randint(6, 20),
        "click": draw.choice([1.5, 1.75, 2.0, 2.5]), "look": draw.choice([1.0, 1.5, 2.0, 3.0]),
        "polygon": draw.choice([54.0, 60.0, 79.2]), "most": draw.randint(5, 8),
    }  # fmt: skip


predict_the_bill = by_seed(_predict_the_bill, _draw_a_bill)


def _gain(
    after: list[float], before: list[float], control: list[float], t: float, *, against: str = "control",
    freedom: int = 1, spread: bool = True, paired: bool = True, normal: bool = False, whole: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Mean gain over the control and half of its 95 % interval, with switches for what easily goes wrong."""
    one = np.array(after)
    other = np.array(before if against == "before" else control)
    count = len(one)
    each = one - other
    deviation = each.std(ddof=freedom) if paired else (one.var(ddof=1) + other.var(ddof=1)) ** 0.5
    times = 1.96 if normal else t
    half = times * deviation / (count**0.5 if spread else 1)
    return {"gain": float(each.mean()), "half": float(2 * half if whole else half)}


def _seeds(seed: int, count: int) -> tuple[list[float], list[float], list[float], float]:
    draw = np.random.default_rng(seed)
    before = draw.uniform(0.4, 0.7, count)
    control = before + draw.uniform(0.0, 0.08, count)
    after = control + draw.uniform(-0.02, 0.05, count)
    lists = ([round(float(x), 3) for x in values] for values in (after, before, control))
    return *lists, float(stats.t.ppf(0.975, count - 1))


find_the_gain = Exercise(
    name="find_the_gain",
    title="Is it the data, or the steps?",
    difficulty=3,
    minutes=12,
    question="""
Three lists, one IoU for each seed: `after` a stage; `before` it; and the `control`, which took as many steps as the
stage, from the same model, without the stage's data. Write a function that returns a dict: `gain`, what the *data* is
worth in the mean over the seeds, and `half`, half of the 95 % confidence interval of that mean. The last argument, `t`,
is Student's t for n − 1 degrees of freedom.
""",
    code="""
def gain_of_the_data(after, before, control, t):
    # <answer: gain = half = ...>
    differences = np.array(after) - np.array(control)
    n = len(differences)
    gain = differences.mean()
    half = t * differences.std(ddof=1) / np.sqrt(n)
    # </answer>
    return {"gain": gain, "half": half}


find_the_gain.check(gain_of_the_data)
""",
    expected=_gain,
    stages=[
        Stage("three seeds", lambda: _seeds(1, 3)),
        Stage("five seeds", lambda: _seeds(2, 5)),
    ],
    mistakes=[
        Mistake("against the stage before", "The stage before took fewer steps. What the steps alone give is in the "
                "control.", partial(_gain, against="before")),
        Mistake("normal in place of t", "1.96 is for a spread that is known. Here it is estimated; for three t is "
                "4.3.", partial(_gain, normal=True)),
        Mistake("the spread of one seed", "The mean of n seeds spreads less than one of them: divide by √n.",
                partial(_gain, spread=False)),
        Mistake("divided by n", "The spread is estimated around a mean that was estimated too: ddof=1.",
                partial(_gain, freedom=0)),
        Mistake("seeds not paired", "Stage and control of one seed share their first model and data. Take the "
                "difference seed by seed, then its spread.", partial(_gain, paired=False)),
        Mistake("the whole interval", "Half of it is asked: from the mean to one end.", partial(_gain, whole=True)),
    ],
    hints=[
        "Which of the two lists, before or control, had the same number of training steps as after?",
        "One difference a seed; then their mean, and t · std(ddof=1) / √n.",
    ],
    explanation="""
Without the control a stage may look like a success that more steps alone would have brought. The pairing matters as
well: seeds differ from each other by more than a stage is worth, and the difference seed by seed is free of that.
""",
)  # fmt: skip
