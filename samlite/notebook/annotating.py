"""The reader as annotator: the prompt canvas with a known truth, which counts clicks and seconds (document §1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure

from samlite.images import read_photo
from samlite.learning.annotator import GOOD_ENOUGH, PRICES, Prices, Work
from samlite.masks import mask_iou
from samlite.notebook.canvas import PromptCanvas
from samlite.notebook.canvas_fallback import PlainPromptCanvas
from samlite.notebook.canvas_picture import session_figure
from samlite.notebook.prompt_session import Answer, PromptSession
from samlite.notebook.prompts import Prompt
from samlite.notebook.style import INK, PAPER


@dataclass(frozen=True)
class Moment:
    """One answer of the model while somebody annotates: when it came, after how many clicks, and what it is worth."""

    seconds: float
    clicks: int
    iou: float


class Annotating(PromptSession):
    """A prompt session with a truth: every answer is measured against it, and the sentence below the photo says so.

    Args beyond those of `PromptSession`: ``truth`` (H, W), the object; ``good_enough``, the IoU to reach.

    ``moments`` has a `Moment` for every answer. A box counts as two clicks; undone clicks count, for they took their
    time, but undo and redo are no clicks. Raises ValueError when the truth is not of the photo's size, or empty.
    """

    def __init__(
        self, photo: object, truth: Bool[np.ndarray, "height width"], good_enough: float | int = GOOD_ENOUGH,
        **session: object,
    ) -> None:  # fmt: skip
        photo = read_photo(photo)
        if truth.shape != photo.shape[:2] or not truth.any():
            raise ValueError(
                f"truth has shape {truth.shape} and {truth.sum()} pixels: a mask of the photo's size "
                f"{photo.shape[:2]} with at least one pixel is expected"
            )
        self.truth, self.good_enough = truth, good_enough
        self.moments: list[Moment] = []
        self._given = 0
        self._started: float | None = None
        super().__init__(photo, **session)
        self._started = perf_counter()  # the model is loaded and the photo encoded

    @property
    def iou(self) -> float:
        """Of the candidate in use; 0 while there is none."""
        return 0.0 if self.mask is None else float(mask_iou(self.mask, self.truth))

    @property
    def good(self) -> bool:
        """Whether the annotator may stop."""
        return self.iou >= self.good_enough

    @property
    def work(self) -> Work:
        """What was done so far, as `Work`: one mask, clicks, and a look at every answer."""
        return Work(masks=1, clicks=self._given, looks=len(self.moments))

    def summary(self, prices: Prices = PRICES) -> str:
        """Clicks, IoU, and the price: by the table of prices, and against a polygon. No time of this machine."""
        verdict = "good enough" if self.good else f"{self.good_enough} is asked"
        return (
            f"{self._given} clicks, IoU {self.iou:.2f} ({verdict}); "
            f"{self.work.seconds(prices):.1f} s at the table's prices, {prices.polygon:.1f} s for a polygon"
        )

    def clock(self) -> str:
        """The seconds that it really took, from the moment the photo was there to the last answer."""
        return f"{self.moments[-1].seconds:.0f} s on the clock" if self.moments else "not begun"

    def truth_figure(self) -> Figure:
        """The photo with the mask in use, and the outline of the truth as a dashed line."""
        mask = np.zeros(self.truth.shape, dtype=bool) if self.mask is None else self.mask
        figure = session_figure(self, mask[None], [f"IoU {self.iou:.2f}"], panel=4.5)
        for colour, width in ((INK, 3.5), (PAPER, 1.8)):
            figure.axes[0].contour(self.truth, levels=[0.5], colors=colour, linewidths=width, linestyles="dashed")
        return figure

    def _ask(self, prompt: Prompt, said: str) -> None:
        given = self._given
        self._given += max(0, len(prompt.points) - len(self.prompt.points))
        if prompt.box not in (None, self.prompt.box):
            self._given += 2
        try:
            super()._ask(prompt, said)
        except Exception:
            self._given = given  # the prompt was not kept
            raise

    def _keep(self, prompt: Prompt, answer: Answer | None, said: str) -> None:
        super()._keep(prompt, answer, said)
        if answer is not None:
            seconds = 0.0 if self._started is None else perf_counter() - self._started  # 0: given in code, at the start
            self.moments.append(Moment(seconds, self._given, self.iou))

    def _say(self, sentence: str) -> None:
        if self.mask is not None:
            sentence += f" IoU {self.iou:.2f}: " + ("good enough." if self.good else f"go on to {self.good_enough}.")
        super()._say(sentence)


class AnnotatorCanvas(Annotating, PromptCanvas):
    """The prompt canvas for an annotator: see `Annotating` and `PromptCanvas`."""


class PlainAnnotatorCanvas(Annotating, PlainPromptCanvas):
    """The same with sliders and buttons, for front ends that show plain ipywidgets and nothing else."""
