"""Clicks: how many are needed, and where the next one goes."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import ndimage

from samlite.learning.interaction import correcting_click, largest_region
from samlite.learning.metrics import clicks_needed
from samlite.notebook.exercises import Exercise, Mistake, Stage

Figures = dict[str, float]


def _needed(ious: np.ndarray, threshold: float) -> Figures:
    counts, reached = clicks_needed(ious, threshold)
    return {"mean": float(counts.mean()), "not reached": float(1 - reached.mean())}


def _needed_with(
    ious: np.ndarray, threshold: float, *, first: int = 1, beyond: int = 0, drop: bool = False, strict: bool = False,
    last: bool = False, best: bool = False, reached_share: bool = False, swapped: bool = False,
) -> Figures:  # fmt: skip
    """The same by arithmetic, with switches for what easily goes wrong."""
    ious = ious.T if swapped else ious
    good = ious > threshold if strict else ious >= threshold
    reached, cap = good.any(1), ious.shape[1]
    counts = good.argmax(1) + first
    if last:  # good from there to the end
        counts = cap - np.cumprod(good[:, ::-1], 1).sum(1) + first
        reached = good[:, -1]
    if best:
        counts = ious.argmax(1) + first
    counts = np.where(reached, counts, cap + beyond)
    mean = counts[reached].mean() if drop else counts.mean()
    return {"mean": float(mean), "not reached": float(reached.mean() if reached_share else 1 - reached.mean())}


ONE = np.array([[0.3, 0.85, 0.8, 0.95], [0.9, 0.5, 0.4, 0.6], [0.1, 0.2, 0.3, 0.35], [0.2, 0.86, 0.7, 0.9]])

write_clicks_needed = Exercise(
    name="write_clicks_needed",
    title="Clicks until good enough",
    difficulty=2,
    minutes=10,
    question="""
`ious` `(targets, clicks)` holds the IoU of the selected mask after each click: column 0 after the first. How many
clicks does a target need until the IoU is **at least** `threshold` for the first time? One that never gets there counts
as many clicks as there are columns. Return a dict with the `"mean"` over targets and the share `"not reached"`, without
which the mean says nothing.
""",
    code="""
def needed(ious, threshold):
    # <answer: result = {"mean": ..., "not reached": ...}>
    good = ious >= threshold
    reached = good.any(axis=1)
    counts = np.where(reached, good.argmax(axis=1) + 1, ious.shape[1])
    result = {"mean": counts.mean(), "not reached": 1 - reached.mean()}
    # </answer>
    return result


write_clicks_needed.check(needed)
""",
    expected=_needed,
    stages=[
        Stage("four targets", lambda: (ONE, 0.85)),
        Stage("many", lambda: (np.sort(np.random.default_rng(3).uniform(size=(40, 7)), axis=1), 0.8)),
    ],
    mistakes=[
        Mistake("counted from 0", "Column 0 is the IoU after one click.", partial(_needed_with, first=0)),
        Mistake("those that never got there are left out", "That is the mean over the easy ones: a model that fails "
                "more often would look better.", partial(_needed_with, drop=True)),
        Mistake("one more than the cap", "A target that never gets there counts as the cap, the number of columns.",
                partial(_needed_with, beyond=1)),
        Mistake("more than the threshold", "At least: an IoU equal to the threshold is good enough.",
                partial(_needed_with, strict=True)),
        Mistake("good for ever", "The first time counts, even if a further click makes the mask worse.",
                partial(_needed_with, last=True)),
        Mistake("the best click", "Not the click after which the mask is best: the first one after which it is good "
                "enough.", partial(_needed_with, best=True)),
        Mistake("the share that got there", "The share that did not get there is asked.",
                partial(_needed_with, reached_share=True)),
        Mistake("axes swapped", "A row is a target, a column a click.", partial(_needed_with, swapped=True)),
    ],
    hints=[
        "`good = ious >= threshold` is a table of True and False; `good.any(axis=1)` says who got there.",
        "`good.argmax(axis=1)` is the index of the first True, and 0 where there is none: mind those rows.",
    ],
    explanation="""
`argmax` of a row without a True is 0, so who forgets to ask `any` first counts the worst targets as the best. The mean
hides the cap: with a cap of 20 the same model has a larger one. Quote the three together.
""",
)  # fmt: skip


def _middle(region: np.ndarray, centre: bool = False, swapped: bool = False) -> tuple[int, int]:
    if centre:
        y, x = (round(float(v)) for v in ndimage.center_of_mass(region))
    else:
        distance = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(distance.argmax()), region.shape)
    return (int(y), int(x)) if swapped else (int(x), int(y))


def _click_with(
    mask: np.ndarray, truth: np.ndarray, *, label: int | None = None, flipped: bool = False, whole: bool = False,
    smaller: bool = False, centre: bool = False, swapped: bool = False, object_again: bool = False,
) -> tuple[int, int, int]:  # fmt: skip
    """The click by arithmetic, with switches for what easily goes wrong."""
    errors = truth & ~mask, mask & ~truth  # lacking, too much
    regions = errors if whole else tuple(map(largest_region, errors))
    kind = int(regions[1].sum() > regions[0].sum())
    kind = 1 - kind if smaller else kind
    kind = 1 - label if label is not None else kind
    region = truth if object_again else regions[kind]
    given = 1 if object_again else 1 - kind
    return (*_middle(region, centre, swapped), 1 - given if flipped else given)


def _disc(x: int, y: int, radius: int, size: tuple[int, int] = (60, 90)) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.hypot(rows - y, columns - x) <= radius


def _lacks_a_disc() -> tuple[np.ndarray, np.ndarray]:
    """The truth has a disc that the mask lacks, and the mask a smaller one too much."""
    truth = _disc(25, 30, 14) | _disc(60, 20, 11)
    return _disc(25, 30, 14) | _disc(75, 45, 6), truth


def _many_small() -> tuple[np.ndarray, np.ndarray]:
    """A bar and two discs are lacking, larger together than the disc that is too much; each alone is smaller."""
    bar = np.zeros((60, 90), dtype=bool)
    bar[4:8, 5:57] = True
    truth = bar | _disc(15, 25, 7) | _disc(40, 25, 6) | _disc(30, 48, 7)
    return _disc(30, 48, 7) | _disc(75, 35, 11), truth


def _has_too_much() -> tuple[np.ndarray, np.ndarray]:
    """A ring of a disc too much is all one region, its middle is in the truth; two small things are lacking."""
    truth = _disc(30, 28, 9) | _disc(76, 12, 7) | _disc(76, 44, 6)
    ring = np.zeros_like(truth)
    ring[8:50, 10:52] = True
    ring[14:40, 10:46] = False
    return ring | _disc(30, 28, 9), truth


write_correcting_click = Exercise(
    name="write_correcting_click",
    title="Where the next click goes",
    difficulty=3,
    minutes=15,
    question="""
You are the simulated person. `mask` and `truth` are boolean, H×W. There are two kinds of errors: what the mask lacks,
and
what it has too much. Of each kind take the largest connected region (`ndimage.label`), and of the two regions the
larger
one. Click its most interior point, which `interior_point(region)` gives as (x, y). Return `(x, y, label)`: 1 where the
mask lacks something, 0 where it has too much.
""",
    code="""
from samlite.learning.interaction import interior_point


def next_click(mask, truth):
    # <answer: result = ...>
    candidates = []
    for label, wrong in ((1, truth & ~mask), (0, mask & ~truth)):
        regions, count = ndimage.label(wrong)
        for number in range(1, count + 1):
            region = regions == number
            candidates.append((region.sum(), label, region))
    _, label, region = max(candidates, key=lambda candidate: candidate[0])
    result = (*interior_point(region), label)
    # </answer>
    return result


write_correcting_click.check(next_click)
""",
    expected=correcting_click,
    stages=[
        Stage("something is lacking", _lacks_a_disc),
        Stage("something is too much", _has_too_much),
        Stage("three small things and a larger one", _many_small),
    ],
    mistakes=[
        Mistake("x and y swapped", "A click is (x, y): the column first.", partial(_click_with, swapped=True)),
        Mistake("labels swapped", "1 says: this belongs to it. That is the label where the mask lacks something.",
                partial(_click_with, flipped=True)),
        Mistake("foreground only", "What is too much is an error, too; here it is the larger one.",
                partial(_click_with, label=1)),
        Mistake("all errors of a kind together", "Connected regions are compared, one with one: three small errors are "
                "not one large one.", partial(_click_with, whole=True)),
        Mistake("the smaller region", "The larger of the two regions is to be corrected first.",
                partial(_click_with, smaller=True)),
        Mistake("centre of mass", "The centre of mass of a bent region may lie outside it. The most interior point "
                "never does.", partial(_click_with, centre=True)),
        Mistake("the object again", "This is a point inside the truth, not inside an error.",
                partial(_click_with, object_again=True)),
    ],
    hints=[
        "`truth & ~mask` is lacking, `mask & ~truth` is too much.",
        "`regions, count = ndimage.label(wrong)` numbers the connected regions from 1; 0 is the rest.",
        "Keep (size, label, region) of every region, and take the one with the largest size.",
    ],
    explanation="""
This is `samlite.learning.interaction.correcting_click`, but for the places that were clicked before. Other papers click
the point that lies deepest in *any* error, which need not be in the largest region. On a ragged mask the two rules
part,
so a number of clicks says only something together with the rule.
""",
)  # fmt: skip
