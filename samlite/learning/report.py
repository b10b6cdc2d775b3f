"""One model on many targets: every prompt's figures kept target by target, so that any question can be asked later."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from samlite.learning.bootstrap import Interval, mean_interval
from samlite.learning.interaction import Predictor, Round, box_round, click_rounds
from samlite.learning.metrics import Calibration, boundary_iou, calibration, clicks_needed
from samlite.learning.targets import Example
from samlite.masks import mask_iou

REPORTED_CLICKS = (1, 3, 5)
CAP = 20  # clicks, after which a target counts as not reached (Sofiiuk et al., 2022)
GOOD_ENOUGH = 0.85
GOOD = 0.75
CALIBRATION = "calibration of the selected mask, 1 click"
FIGURES = ("oracle", "selected", "boundary")


class Answer(NamedTuple):
    """How good the answer to one prompt is, and how good the model thought it was."""

    ious: tuple[float, ...]  # of every candidate
    predicted: tuple[float, ...]
    boundary: float  # boundary IoU of the selected candidate

    @property
    def oracle(self) -> float:
        """IoU of the best candidate: what somebody who knows the truth would pick."""
        return max(self.ious)

    @property
    def selected(self) -> float:
        """IoU of the candidate with the highest predicted IoU: what somebody who does not know it gets."""
        return self.ious[int(np.argmax(self.predicted))]


class Target(NamedTuple):
    """One right answer, and what came of asking for it."""

    image: str
    share: float  # of the picture
    answers: dict[str, Answer]  # "1 click", "3 clicks", "5 clicks", "box"
    path: tuple[float, ...]  # IoU of the selected mask after each click


def prompt_name(clicks: int) -> str:
    """1 → "1 click", 3 → "3 clicks"."""
    return f"{clicks} click{'' if clicks == 1 else 's'}"


@dataclass
class Report:
    """All targets of one evaluation; made by ``evaluate``."""

    clicks: tuple[int, ...]
    cap: int
    stop_at: float | int | None
    targets: list[Target] = field(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        """The kinds of prompts: "1 click" …, "box"."""
        return [prompt_name(number) for number in self.clicks] + ["box"]

    @property
    def images(self) -> Shaped[np.ndarray, " targets"]:
        """The image of every target: what a bootstrap draws."""
        return np.array([target.image for target in self.targets])

    def only(self, images: Sequence[str]) -> "Report":
        """The same evaluation on some of its images. Raises ValueError when none of them is in it."""
        kept = [target for target in self.targets if target.image in set(images)]
        if not kept:
            raise ValueError(f"none of {', '.join(map(str, images)) or 'no images'} was evaluated")
        return replace(self, targets=kept)

    def column(self, prompt: str, figure: str) -> Float[np.ndarray, " targets"]:
        """One figure ("oracle", "selected", "boundary") of every target, for one kind of prompt."""
        return np.array([getattr(target.answers[prompt], figure) for target in self.targets], np.float64)

    def interval(self, prompt: str, figure: str) -> Interval:
        """The mean over targets with its 95 % interval over images."""
        return mean_interval(self.column(prompt, figure), self.images)

    def above(self, prompt: str, threshold: float | int = GOOD) -> float:
        """The share of targets whose best candidate has an IoU above ``threshold``."""
        return float((self.column(prompt, "oracle") > threshold).mean())

    @property
    def paths(self) -> Float[np.ndarray, "targets cap"]:
        """IoU of the selected mask after each click; NaN from where the person stopped."""
        paths = np.full((len(self.targets), self.cap), np.nan)
        for row, target in zip(paths, self.targets, strict=True):
            row[: len(target.path)] = target.path
        return paths

    def clicks_needed(
        self, threshold: float | int = GOOD_ENOUGH
    ) -> tuple[Int[np.ndarray, " targets"], Bool[np.ndarray, " targets"]]:
        """For every target the clicks until the selected mask was that good, capped, and whether it ever was.

        Raises ValueError for a threshold above the one at which the person stopped clicking.
        """
        if self.stop_at is not None and threshold > self.stop_at:
            raise ValueError(
                f"threshold is {threshold}: clicks ended at {self.stop_at}, so nobody knows; evaluate with stop_at=None"
            )
        return clicks_needed(self.paths, threshold)

    def calibration(self, prompt: str = "1 click", every: bool = False, bins: int = 10) -> Calibration:
        """Predicted against true IoU for one kind of prompt, of the selected candidate or of ``every`` one."""
        answers = [target.answers[prompt] for target in self.targets]
        if every:
            pairs = [pair for answer in answers for pair in zip(answer.predicted, answer.ious, strict=True)]
        else:
            pairs = [(max(answer.predicted), answer.selected) for answer in answers]
        predicted, actual = np.array(pairs, np.float64).T
        return calibration(predicted, actual, bins)

    def summary(self, threshold: float | int = GOOD_ENOUGH) -> dict[str, object]:
        """The figures as plain data, for JSON; means stand as [mean, low, high]."""
        counts, reached = self.clicks_needed(threshold)
        measured = self.calibration() if "1 click" in self.prompts else None
        rows = {
            prompt: {figure: [round(value, 4) for value in self.interval(prompt, figure)] for figure in FIGURES}
            | {f"share above {GOOD}": round(self.above(prompt), 4)}
            for prompt in self.prompts
        }
        summary: dict[str, object] = {
            "images": len(set(self.images)),
            "targets": len(self.targets),
            "prompts": rows,
            "clicks to good enough": {
                "IoU": threshold,
                "cap": self.cap,
                "mean": [round(value, 3) for value in mean_interval(counts.astype(np.float64), self.images)],
                "not reached": round(float(1 - reached.mean()), 4),
            },
        }
        if measured is not None:
            summary[CALIBRATION] = {
                "expected error": round(measured.error, 4),
                "bias": round(measured.bias, 4),
                "bins": [
                    {"from": round(float(edge), 3), "count": int(count)}
                    | ({"predicted": round(float(p), 4), "actual": round(float(a), 4)} if count else {})
                    for edge, count, p, a in zip(
                        measured.edges[:-1], measured.count, measured.predicted, measured.actual, strict=True
                    )
                ],
            }
        return summary


def evaluate(
    predictor: Predictor,
    examples: Iterable[Example],
    clicks: Sequence[int] = REPORTED_CLICKS,
    cap: int = CAP,
    stop_at: float | int | None = GOOD_ENOUGH,
) -> Report:
    """Ask for every mask of every example, by clicks and by its box.

    ``clicks``: after how many of them to take the figures. The simulated person clicks on until the selected mask has
    an IoU of ``stop_at`` (None: to the end), at most ``cap`` times, and at least as often as ``clicks`` asks.
    Raises ValueError when there is no example, a mask is empty, or ``cap`` is below what ``clicks`` asks for.
    """
    if not clicks or min(clicks) < 1:
        raise ValueError(f"clicks are {tuple(clicks)}: numbers from 1 on are expected")
    if cap < max(clicks):
        raise ValueError(f"cap is {cap}: at least {max(clicks)} clicks are asked for by clicks={tuple(clicks)}")
    report = Report(tuple(clicks), cap, stop_at)
    for name, photo, masks in examples:
        predictor.set_image(photo)
        for index, truth in enumerate(masks):
            if not truth.any():
                raise ValueError(f"{name}, mask {index + 1} is empty: take it out, nobody can ask for it")
            report.targets.append(_ask(predictor, name, truth, report))
    if not report.targets:
        raise ValueError("there was nothing to ask for: no example with a mask")
    return report


def _ask(predictor: Predictor, name: str, truth: Bool[np.ndarray, "h w"], report: Report) -> Target:
    answers, path = {}, []
    for number, answer in enumerate(islice(click_rounds(predictor, truth), report.cap), 1):
        path.append(float(mask_iou(answer.mask, truth)))
        if number in report.clicks:
            answers[prompt_name(number)] = _score(answer, truth)
        good = report.stop_at is not None and max(path) >= report.stop_at
        if good and number >= max(report.clicks):
            break
    answers["box"] = _score(box_round(predictor, truth), truth)
    return Target(name, float(truth.mean()), answers, tuple(path))


def _score(answer: Round, truth: Bool[np.ndarray, "h w"]) -> Answer:
    ious = mask_iou(answer.masks, truth).tolist()
    return Answer(tuple(ious), tuple(answer.predicted.tolist()), boundary_iou(answer.mask, truth))


def summary_lines(name: str, summary: dict) -> list[str]:
    """A report's ``summary`` as lines of text: one for each kind of prompt, one for clicks, one for calibration."""
    lines = [f"  {name} ({summary['targets']} targets on {summary['images']} images)"]
    for prompt, row in summary["prompts"].items():
        cells = [f"{figure} {Interval(*row[figure])!r}" for figure in FIGURES]
        lines.append(f"    {prompt:9s} " + "  ".join(cells) + f"  above {GOOD}: {row[f'share above {GOOD}']:.3f}")
    clicks = summary["clicks to good enough"]
    lines.append(
        f"    clicks to {clicks['IoU']}: {Interval(*clicks['mean'])!r}, "
        f"where {clicks['not reached']:.1%} never got there and count as {clicks['cap']}"
    )
    if measured := summary.get(CALIBRATION):
        lines.append(f"    calibration error {measured['expected error']:.3f}, bias {measured['bias']:+.3f}")
    return lines
