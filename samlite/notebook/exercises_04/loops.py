"""An exercise to write: the loop of the annotator of stage 2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from samlite.learning.annotator import correcting_click
from samlite.masks import mask_iou
from samlite.notebook.exercises import Exercise, Mistake, Stage


def _disc(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:40, :40]
    return np.hypot(columns - x, rows - y) <= radius


class _Model:
    """A model that comes nearer to the truth with every click, if it is told everything: all clicks, the last logits.

    Its masks are discs around (20, 20): the second of the three is right, the third is shifted. What is forgotten shows
    in the size of the next answer.
    """

    def __init__(self, start: int) -> None:
        self.radius, self.answered = start, 0
        self.last: np.ndarray | None = None

    def __call__(self, points: Any, labels: Any, mask_input: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(points) != self.answered + 1 or (self.last is None and mask_input is not None):
            self.radius = 5
        elif self.last is not None and mask_input is None:
            self.radius = 4
        elif self.last is not None and not np.array_equal(mask_input, self.last[1:2]):
            self.radius = 3
        else:
            self.radius += 3 if labels[-1] else -1
        self.answered += 1
        masks = np.stack([_disc(20, 20, 2), _disc(20, 20, self.radius), _disc(24, 20, self.radius)])
        self.last = np.where(masks, 1.0, -1.0) * self.answered
        return masks, np.array([0.2, 0.3, 0.9]), self.last


def _correct(
    ask: Callable[..., Any], truth: np.ndarray, good_enough: float, most_clicks: int, *, trusted: bool = False,
    forget: bool = False, no_logits: bool = False, first_logits: bool = False, late: bool = False,
    strict_label: bool = False, spent: bool = False, early: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Stage 2 for one region, with switches for what easily goes wrong."""
    mask, points, labels, iou = np.zeros_like(truth), [], [], 0.0
    logits = np.zeros((1, *truth.shape)) if early else None
    while len(points) < most_clicks and iou < good_enough:
        x, y, label = correcting_click(mask, truth)
        points, labels = [*points, (x, y)], [*labels, 1 if strict_label else label]
        shown = slice(-1, None) if forget else slice(None)
        masks, predicted, low_res = ask(points[shown], labels[shown], None if no_logits else logits)
        ious = mask_iou(masks, truth)
        best = int(predicted.argmax() if trusted else ious.argmax())
        mask, iou = masks[best], float(ious[best])
        logits = low_res[:1] if first_logits else low_res[best : best + 1]
    clicks = len(points) + (1 if late else 0)
    return {"mask": mask, "clicks": clicks, "drawn by hand": len(points) == most_clicks if spent else iou < good_enough}


write_the_correction_loop = Exercise(
    name="write_the_correction_loop",
    title="The annotator's loop",
    difficulty=3,
    minutes=20,
    question="""
Write stage 2 for one region. `ask(points, labels, mask_input)` is the model: it takes all clicks so far as lists, and
`mask_input` (1, h, w) or None, and returns `masks` (3, H, W), `iou_predictions` (3,) and `low_res_logits` (3, h, w).
`correcting_click(mask, truth)` gives `(x, y, label)` of the next click; with an empty mask it is the first one.

The annotator sees the truth and uses the candidate that fits it best. Stop when its IoU reaches `good_enough`, or after
`most_clicks`. Every question but the first hands over the logits of the candidate in use. Return a dict: `mask`,
the candidate in use; `clicks`, how many were given; and `drawn by hand`, True when the region is still not good enough.
""",
    code="""
def correct(ask, truth, good_enough, most_clicks):
    # <answer: clicks = drawn = mask = ...>
    mask, logits, iou = np.zeros_like(truth), None, 0.0
    points, labels = [], []
    while len(points) < most_clicks and iou < good_enough:
        x, y, label = correcting_click(mask, truth)
        points.append((x, y))
        labels.append(label)
        masks, iou_predictions, low_res_logits = ask(points, labels, logits)
        ious = mask_iou(masks, truth)
        best = int(ious.argmax())
        mask, iou, logits = masks[best], ious[best], low_res_logits[best : best + 1]
    clicks, drawn = len(points), bool(iou < good_enough)
    # </answer>
    return {"mask": mask, "clicks": clicks, "drawn by hand": drawn}


write_the_correction_loop.check(correct)
""",
    expected=_correct,
    stages=[
        Stage("good at once", lambda: (_Model(9), _disc(20, 20, 12), 0.85, 6)),
        Stage("a few corrections", lambda: (_Model(2), _disc(20, 20, 12), 0.85, 6)),
        Stage("too small, then too large", lambda: (_Model(9), _disc(20, 20, 8), 0.85, 6)),
        Stage("good with the last click", lambda: (_Model(2), _disc(20, 20, 12), 0.85, 3)),
        Stage("not good in time", lambda: (_Model(0), _disc(20, 20, 16), 0.85, 3)),
    ],
    mistakes=[
        Mistake("all clicks used", "A region that the last click mends is not drawn by hand: ask how good it is, not "
                "how many clicks it took.", partial(_correct, spent=True)),
        Mistake("the model's own choice", "The annotator sees the truth: of the three candidates it uses the one that "
                "fits, not the one that the model trusts.",
                partial(_correct, trusted=True)),
        Mistake("former clicks forgotten", "The model remembers nothing: every question takes all clicks so far.",
                partial(_correct, forget=True)),
        Mistake("logits not handed on", "From the second question on the last logits go along as mask_input.",
                partial(_correct, no_logits=True)),
        Mistake("logits of another candidate", "Hand over the logits of the candidate in use, low_res_logits[best : "
                "best + 1].", partial(_correct, first_logits=True)),
        Mistake("logits before the first answer", "The first question has no mask prompt: None. A map of zeros is one, "
                "too.", partial(_correct, early=True)),
        Mistake("one click too many", "Stop before the next click when the mask is good enough.",
                partial(_correct, late=True)),
        Mistake("every click foreground", "Where the mask has too much the click is background: use its label.",
                partial(_correct, strict_label=True)),
    ],
    hints=[
        "Begin with an empty mask, no logits and empty lists; the first click is a correction as well.",
        "In the loop: click, ask with everything, measure all three, keep mask and logits of the best.",
        "`low_res_logits[best : best + 1]` keeps the first axis.",
    ],
    explanation="""
The loop is `samlite.learning.annotator.correct_proposals` for one region. There all regions of a scene are asked at
once, and those that are good drop out of the batch.
""",
)  # fmt: skip
