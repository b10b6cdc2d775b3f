"""What several seeds of the data engine say together: means, intervals, differences, and the cost in working time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from samlite.learning.engine_run import PHASES

CONFIDENCE = 0.95
MEASURE = "selected"  # the IoU of the mask that the model trusts most, one click


class Interval(NamedTuple):
    """A mean over seeds and the interval of Student's t around it; from one seed alone the interval is unknown."""

    mean: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.mean:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of ``values`` (one a seed) and its confidence interval.

    With few seeds the interval is wide, and it should be: Student's t knows that the spread itself was estimated.
    Raises ValueError for no values.
    """
    if not len(values):
        raise ValueError("there are no values: give one for each seed")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, float("nan"), float("nan"))
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return Interval(mean, mean - float(half), mean + float(half))


def of_phase(results: dict[str, Any], phase: str, measure: str = MEASURE) -> list[float]:
    """A figure of a phase, seed by seed."""
    return [seed["scores"][phase][measure] for seed in results["seeds"]]


def difference(results: dict[str, Any], phase: str, other: str, measure: str = MEASURE) -> Interval:
    """How much better ``phase`` is than ``other``, seed by seed: both share their seed's data and first model."""
    pairs = zip(of_phase(results, phase, measure), of_phase(results, other, measure), strict=True)
    return interval([a - b for a, b in pairs])


def hours(results: dict[str, Any], *kinds: str) -> Interval:
    """Working time of people for these kinds of scenes."""
    return interval([sum(seed["work"][kind]["seconds"] for kind in kinds) / 3600 for seed in results["seeds"]])


def lines(results: dict[str, Any]) -> list[str]:
    """The figures as lines of text, for the terminal."""
    told = [f"IoU after one click on held-out scenes, {len(results['seeds'])} seed(s), {CONFIDENCE:.0%} interval"]
    for name, phase in PHASES.items():
        told.append(f"  {phase.title:42s} {interval(of_phase(results, name)):.3f}")
    told.append("differences, seed by seed")
    for better, other in (("stage_2", "control_2"), ("stage_3", "control_3_with_2"), ("stage_2", "by_hand")):
        told.append(f"  {better} − {other:20s} {difference(results, better, other):+.3f}")
    return told
