"""How far to trust a mean: draw the images anew, many times, and look how far the mean moves (Efron, 1979).

The *images* are drawn, not the targets. Targets of one image stand or fall together: a photo in fog spoils all of its
objects. To draw targets would be to count such a photo as many independent trials, and the interval would come out too
narrow.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

RESAMPLES = 2000
SEED = 0


class Interval(NamedTuple):
    """A mean over targets, and between which values it lies in ``level`` of the resampled sets of images."""

    mean: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resampled_means(
    values: Float[np.ndarray, " n"], images: Shaped[np.ndarray, " n"], resamples: int = RESAMPLES, seed: int = SEED
) -> Float[np.ndarray, " resamples"]:
    """The mean over targets for ``resamples`` sets of images, each as many as there are, drawn with repetition.

    ``values`` has one number a target, ``images`` says to which image it belongs (any labels that can be compared).
    Raises ValueError when there are none, or not as many of one as of the other.
    """
    if len(values) == 0 or len(values) != len(images):
        raise ValueError(f"one image for each value is asked, not {len(images)} for {len(values)}")
    _, index = np.unique(images, return_inverse=True)
    sums, counts = np.bincount(index, values), np.bincount(index)
    number = len(counts)
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), resamples)  # how often each
    return (drawn @ sums) / (drawn @ counts)


def mean_interval(
    values: Float[np.ndarray, " n"],
    images: Shaped[np.ndarray, " n"],
    level: float | int = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The mean of ``values`` with its percentile interval over images.

    Two models on the same targets are compared by the interval of their *difference*, ``mean_interval(a - b, images)``:
    what is hard for both cancels out. With a single image there is nothing to draw, and the interval is a point.
    """
    means = resampled_means(np.asarray(values, np.float64), images, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean(values)), float(low), float(high))
