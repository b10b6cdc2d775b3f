"""Figures by hand: what best, selected and a share are, from the candidates of four targets."""

from __future__ import annotations

import random

import numpy as np

from samlite.learning.report import Answer, Report, Target
from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.variants import by_seed, fill

BOOK = (
    ((0.9, 0.4, 0.2), (0.6, 0.8, 0.1)),
    ((0.3, 0.8, 0.5), (0.2, 0.9, 0.4)),
    ((0.6, 0.1, 0.7), (0.9, 0.3, 0.5)),
    ((0.2, 0.5, 0.8), (0.3, 0.1, 0.7)),
)
Pairs = tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]


def _figures(pairs: Pairs, threshold: float) -> dict[str, float]:
    targets = [Target(str(k), 0.1, {"1 click": Answer(*pair, 0.0)}, ()) for k, pair in enumerate(pairs)]
    report = Report((1,), 1, None, targets)
    return {
        "best": float(report.column("1 click", "oracle").mean()),
        "selected": float(report.column("1 click", "selected").mean()),
        "share": report.above("1 click", threshold),
    }


def _predict_the_figures(pairs: Pairs = BOOK, threshold: float = 0.75) -> Exercise:
    ious, predicted = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    rows = "\n".join(
        f"| {name} | {', '.join(f'{v:g}' for v in first)} | {', '.join(f'{v:g}' for v in second)} |"
        for name, (first, second) in zip("ABCD", pairs, strict=True)
    )
    chosen = [float(row[int(np.argmax(p))]) for row, p in zip(ious, predicted, strict=True)]
    best = [float(v) for v in ious.max(1)]
    above = sum(value > threshold for value in best)

    def mean(values: list[float] | np.ndarray) -> float:
        return float(np.mean(values))

    return Exercise(
        name="predict_the_figures",
        title="Three figures of four targets",
        difficulty=1,
        minutes=5,
        question=fill(
            """
Four targets, three candidates each. What is the mean IoU of the **best** candidate, that of the **selected** one, and
the **share** of targets whose best candidate is above $threshold? Numbers are enough; an expression will do, too.

| target | true IoU of the candidates | predicted IoU |
|---|---|---|
$rows
""",
            threshold=threshold,
            rows=rows,
        ),
        code=fill(
            """
figures = {
    # <answer: "best": ..., "selected": ..., "share": ...,>
    "best": ($best) / 4,
    "selected": ($chosen) / 4,
    "share": $above / 4,
    # </answer>
}

predict_the_figures.check(figures)
""",
            best=" + ".join(f"{v:g}" for v in best),
            chosen=" + ".join(f"{v:g}" for v in chosen),
            above=above,
        ),
        expected=lambda: _figures(pairs, threshold),
        mistakes=[
            Mistake("the first candidate", "The selected candidate is the one with the highest predicted IoU, wherever "
                    "it stands.", lambda: {"selected": mean(ious[:, 0])}),
            Mistake("what was predicted", "The predicted IoU chooses the candidate; what counts is how good that "
                    "candidate truly is.", lambda: {"selected": mean(predicted.max(1))}),
            Mistake("every candidate", "This is the mean over all twelve candidates: what somebody gets who chooses "
                    "blindly.", lambda: {"best": mean(ious), "selected": mean(ious)}),
            Mistake("best and selected swapped", "The best candidate is found with the truth, the selected one "
                    "without.",
                    lambda: {"best": mean(chosen), "selected": mean(best)}),
            Mistake("the worst", "That is the candidate with the lowest predicted IoU.",
                    lambda: {"selected": mean(np.take_along_axis(ious, predicted.argmin(1)[:, None], 1))}),
            Mistake("the share of the selected", "The share counts the best candidates here.",
                    lambda: {"share": mean(np.array(chosen) > threshold)}),
            Mistake("a number of targets", "A share is a number of targets divided by their number.",
                    lambda: {"share": float(above)}),
            Mistake("a share of candidates", "A target counts once, however many of its candidates are good.",
                    lambda: {"share": mean(ious > threshold)}),
        ],
        hints=[
            "For each target take one number first: its best true IoU. Then the mean of four numbers.",
            "For the selected one look at the right column to choose, and at the left one to read off.",
        ],
        explanation="""
The best candidate is at least as good as the selected one on every target, so its mean is never lower. The gap between
the two is the price of choosing without the truth. Not all of it is the head's fault: a click has several right
answers. The share needs no mean at all, and it does not care how bad a bad answer is.
""",
    )  # fmt: skip


def _draw_four_targets(generator: random.Random) -> dict[str, object]:
    def three() -> tuple[float, ...]:
        return tuple(generator.sample([k / 20 for k in range(2, 20)], 3))

    return {
        "pairs": tuple((three(), three()) for _ in range(4)),
        "threshold": generator.choice((0.55, 0.65, 0.75, 0.85)),
    }


predict_the_figures = by_seed(_predict_the_figures, _draw_four_targets)
