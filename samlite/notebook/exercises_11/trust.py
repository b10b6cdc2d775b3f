"""Trust: does a predicted IoU mean what it says, and how far does a mean move when the images are others?"""

from __future__ import annotations

from functools import partial

import numpy as np

from samlite.learning.metrics import calibration
from samlite.notebook.exercises import Exercise, Mistake, Stage


def _calibration_error(predicted: np.ndarray, actual: np.ndarray, bins: int) -> float:
    return calibration(predicted, actual, bins).error


def _error_with(
    predicted: np.ndarray, actual: np.ndarray, bins: int, *, weighted: bool = True, signed: bool = False,
    squared: bool = False, by_actual: bool = False, largest: bool = False, fewer: int = 0, right: bool = False,
    beyond: bool = False,
) -> float:  # fmt: skip
    """The same by arithmetic, with switches for what easily goes wrong."""
    edges = np.linspace(0, 1, bins + 1 - fewer)
    index = np.digitize(actual if by_actual else predicted, edges, right=right) - 1
    index = np.clip(index, 0, len(edges) - (1 if beyond else 2))
    gaps, counts = [], []
    for number in np.unique(index):
        gap = float(predicted[index == number].mean() - actual[index == number].mean())
        gaps.append(gap if signed else gap**2 if squared else abs(gap))
        counts.append(int((index == number).sum()))
    if largest:
        return max(gaps)
    return float(np.average(gaps, weights=counts if weighted else None))


def _predictions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A head that is too modest below and too sure above."""
    generator = np.random.default_rng(seed)
    actual = generator.beta(3, 2, count)
    return np.clip(0.25 + 0.75 * actual**0.7 + generator.normal(0, 0.12, count), 0, 0.999), actual


FIVE = np.array([[0.1, 0.3, 0.9, 0.6, 0.5], [0.15, 0.5, 0.95, 0.1, 0.75]])  # predicted, actual
EDGE = np.array([[0.0, 0.25, 0.3, 0.5, 0.5, 0.75, 1.0], [0.5, 0.1, 0.4, 0.9, 0.6, 0.85, 0.2]])

write_calibration_error = Exercise(
    name="write_calibration_error",
    title="The expected calibration error",
    difficulty=2,
    minutes=15,
    question="""
`predicted` and `actual` `(n,)` hold the predicted and the true IoU of n masks, all in 0…1. Sort the masks by their
**predicted** IoU into `bins` bins of equal width over 0…1, each with its left edge. In each bin that is not empty, take
the distance between the mean of the predictions and the mean of the true values. Return the mean of these distances,
each weighted by how many masks its bin holds. (The last bin has its right edge, too.)
""",
    code="""
def calibration_error(predicted, actual, bins):
    # <answer: result = ...>
    index = np.minimum((predicted * bins).astype(int), bins - 1)
    result = 0.0
    for number in np.unique(index):
        inside = index == number
        distance = abs(predicted[inside].mean() - actual[inside].mean())
        result += inside.sum() / len(predicted) * distance
    # </answer>
    return result


write_calibration_error.check(calibration_error)
""",
    expected=_calibration_error,
    stages=[
        Stage("five masks, three bins", lambda: (FIVE[0], FIVE[1], 3)),
        Stage("many masks, ten bins", lambda: (*_predictions(300, 5), 10)),
        Stage("masks on an edge, four bins", lambda: (EDGE[0], EDGE[1], 4)),
    ],
    mistakes=[
        Mistake("bins not weighted", "A bin with one mask counts here as much as one with a hundred.",
                partial(_error_with, weighted=False)),
        Mistake("the gaps cancel", "Take the distance in each bin, not the difference: what is too high in one bin "
                "does not make up for what is too low in another.", partial(_error_with, signed=True)),
        Mistake("mask by mask", "This is the mean error of single predictions. It counts their scatter as well, and a "
                "head that is right on average in each bin would still have one.",
                lambda predicted, actual, bins: float(np.abs(predicted - actual).mean())),
        Mistake("squared", "The distance itself is asked, not its square.", partial(_error_with, squared=True)),
        Mistake("sorted by the truth", "Sort by what was predicted: the question is what a prediction is worth.",
                partial(_error_with, by_actual=True)),
        Mistake("bins with their right edge", "Each bin has its *left* edge: a prediction of 0.5 lies in the bin that "
                "begins there.", partial(_error_with, right=True)),
        Mistake("a bin for 1 alone", "A prediction of 1 lies in the last bin, which has both its edges.",
                partial(_error_with, beyond=True)),
        Mistake("one bin too few", "n bins have n + 1 edges.", partial(_error_with, fewer=1)),
        Mistake("the largest gap", "The mean over bins is asked; this is the worst bin.",
                partial(_error_with, largest=True)),
    ],
    hints=[
        "`(predicted * bins).astype(int)` is the number of the bin, but for a prediction of exactly 1.",
        "Go over `np.unique(index)`: only bins that hold something.",
        "The weight of a bin is its share of all masks, so the weights add up to 1.",
    ],
    explanation="""
`samlite.learning.metrics.calibration` does the same and keeps the bins, for the picture. Fewer bins give a smaller
error, for gaps of different sign meet in one bin and cancel: quote the number of bins.
""",
)  # fmt: skip


def _interval(
    values: np.ndarray, images: np.ndarray, drawn: np.ndarray, *,
    of_means: bool = False, tails: tuple[float, float] = (2.5, 97.5), normal: bool = False, once: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Low and high by arithmetic, with switches for what easily goes wrong."""
    sums, counts = np.bincount(images, values), np.bincount(images)
    if once:  # an image that was drawn twice counts once
        means = np.array([sums[np.unique(row)].sum() / counts[np.unique(row)].sum() for row in drawn])
    elif of_means:
        means = (sums / counts)[drawn].mean(1)
    else:
        means = sums[drawn].sum(1) / counts[drawn].sum(1)
    if normal:
        middle, spread = float(values.mean()), float(means.std())
        return {"low": middle - 2 * spread, "high": middle + 2 * spread}
    low, high = np.percentile(means, tails)
    return {"low": float(low), "high": float(high)}


def _targets_drawn(values: np.ndarray, images: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """As if the numbers were those of targets."""
    low, high = np.percentile(values[drawn].mean(1), (2.5, 97.5))
    return {"low": float(low), "high": float(high)}


def _material(number: int, seed: int, sets: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets that stand and fall with their image, and what to draw."""
    generator = np.random.default_rng(seed)
    images = np.repeat(np.arange(number), generator.integers(1, 9, number))
    values = np.clip(generator.uniform(0.2, 0.9, number)[images] + generator.normal(0, 0.05, len(images)), 0, 1)
    return values, images, generator.integers(0, number, (sets, number))


write_bootstrap = Exercise(
    name="write_bootstrap",
    title="An interval over images",
    difficulty=3,
    minutes=20,
    question="""
`values` `(n,)` holds one IoU a target, `images` `(n,)` the number of its image (0, 1, …). `drawn` `(sets, images)` was
drawn for you: each row names as many images as there are, some of them twice, some not at all. For each row, take **all
targets of all images that it names**, twice where an image is named twice, and their mean. Return a dict with `"low"`
and `"high"`: the 2.5th and the 97.5th percentile of these means (`np.percentile`).
""",
    code="""
def interval(values, images, drawn):
    # <answer: result = {"low": ..., "high": ...}>
    of_image = [values[images == number] for number in range(drawn.shape[1])]
    means = [np.concatenate([of_image[number] for number in row]).mean() for row in drawn]
    low, high = np.percentile(means, [2.5, 97.5])
    result = {"low": low, "high": high}
    # </answer>
    return result


write_bootstrap.check(interval)
""",
    expected=_interval,
    stages=[
        Stage("five images", lambda: _material(5, 1)),
        Stage("thirty images", lambda: _material(30, 2)),
    ],
    mistakes=[
        Mistake("targets drawn", "The numbers in `drawn` are those of images. Who draws targets counts a hard photo as "
                "many independent trials.", _targets_drawn),
        Mistake("a mean of means", "Each target counts once. The mean of the images' means lets a photo with one "
                "target "
                "count as much as one with eight.", partial(_interval, of_means=True)),
        Mistake("the wrong tails", "95 % in the middle leave 2.5 % at each end.", partial(_interval, tails=(5, 95))),
        Mistake("two standard deviations", "The percentiles of the means are asked. They need not lie evenly about the "
                "mean.", partial(_interval, normal=True)),
        Mistake("drawn once", "An image that is drawn twice counts twice. Without that the sets differ too little, and "
                "the interval comes out wrong.", partial(_interval, once=True)),
        Mistake("the spread of the targets", "These are percentiles of the single values. The question is how far "
                "their "
                "*mean* moves.",
                lambda values, images, drawn: _targets_drawn(values, images, np.arange(len(values))[:, None])),
    ],
    hints=[
        "First, once: the values of each image, `[values[images == number] for number in …]`.",
        "A row of `drawn` is a list of numbers of images; `np.concatenate` puts their values together.",
        "Faster: sums and counts an image, then `sums[drawn].sum(1) / counts[drawn].sum(1)`.",
    ],
    explanation="""
`samlite.learning.bootstrap.mean_interval` draws the images itself. The sets differ because images are left out and
named
twice; how much their means differ says how much yours would have differed, had you collected other photos of the same
kind. It says nothing about photos of another kind.
""",
)  # fmt: skip
