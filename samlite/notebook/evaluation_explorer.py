"""Choose what is counted, and watch the figures move: images, kind of prompt, threshold.

Nothing is computed anew but means: every figure of every target was kept (`samlite.learning.report`). What a hand does
with the controls, code does with ``choose``; ``picture`` is what a page without a kernel shows.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ipywidgets
from matplotlib.figure import Figure

from samlite.learning.report import Report
from samlite.notebook import style
from samlite.notebook.evaluation_plots import comparison
from samlite.notebook.live_picture import LivePicture

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage


class EvaluationExplorer(ipywidgets.VBox):
    """Models side by side on the chosen images.

    Args:
        reports: name → report, all on the same images, with ``stop_at=None``.

    Raises ValueError when the reports are on different images, have different prompts, or end early.
    """

    def __init__(self, reports: Mapping[str, Report]) -> None:
        first, *others = reports.values()
        self.names = list(dict.fromkeys(first.images.tolist()))
        if any(set(other.images.tolist()) != set(self.names) for other in others):
            raise ValueError("the reports are on different images: evaluate all models on the same examples")
        if any(other.prompts != first.prompts for other in others):
            raise ValueError("the reports have different prompts: evaluate all models with the same clicks")
        if any(report.stop_at is not None for report in reports.values()):
            raise ValueError("a report ends its clicks early: evaluate with stop_at=None")
        self.reports = dict(reports)
        wide = {"style": {"description_width": "90px"}, "layout": ipywidgets.Layout(width="320px")}
        self._images = ipywidgets.SelectMultiple(
            options=self.names, value=self.names, rows=6, description="images", **wide
        )
        self._prompt = ipywidgets.Dropdown(options=first.prompts, description="prompt", **wide)
        self._threshold = ipywidgets.FloatSlider(
            0.75, min=0.5, max=0.95, step=0.05, description="threshold", continuous_update=False, **wide
        )
        self._shown = LivePicture()
        self._words = ipywidgets.HTML()
        for control in (self._images, self._prompt, self._threshold):
            control.observe(lambda _: self._show(), "value")
        controls = ipywidgets.HBox([self._images, ipywidgets.VBox([self._prompt, self._threshold])])
        super().__init__([controls, self._shown, self._words])
        self._show()

    @property
    def images(self) -> list[str]:
        """The images that count; all of them when none is chosen."""
        return list(self._images.value) or self.names

    @property
    def prompt(self) -> str:
        """The kind of prompt: "1 click" …, "box"."""
        return self._prompt.value

    @property
    def threshold(self) -> float:
        """What counts as good."""
        return round(self._threshold.value, 2)

    @property
    def chosen(self) -> dict[str, Report]:
        """Name → report on the chosen images alone."""
        return {name: report.only(self.images) for name, report in self.reports.items()}

    @property
    def code(self) -> str:
        """The Python that makes the same choice."""
        return f"explorer.choose(images={self.images!r}, prompt={self.prompt!r}, threshold={self.threshold})"

    def choose(
        self, images: Sequence[str] | None = None, prompt: str | None = None, threshold: float | int | None = None
    ) -> None:
        """Set the controls; what is None stays. Raises ValueError for what there is not."""
        unknown = [name for name in images or () if name not in self.names]
        if unknown:
            raise ValueError(f"there is no image {unknown[0]!r}; there are {', '.join(self.names)}")
        if prompt is not None and prompt not in self._prompt.options:
            raise ValueError(f"there is no prompt {prompt!r}; there are {', '.join(self._prompt.options)}")
        low, high = self._threshold.min, self._threshold.max
        if threshold is not None and not low <= threshold <= high:
            raise ValueError(f"threshold is {threshold}: it must be {low} … {high}")
        if images is not None:
            self._images.value = tuple(images)
        if prompt is not None:
            self._prompt.value = prompt
        if threshold is not None:
            self._threshold.value = threshold

    def figure(self) -> Figure:
        """What is shown, as a figure."""
        return comparison(self.chosen, self.prompt, self.threshold)

    def describe(self) -> str:
        """The same in words."""
        parts = [
            f"{name}: best mask {report.column(self.prompt, 'oracle').mean():.2f}, "
            f"{report.above(self.prompt, self.threshold):.0%} of them above; "
            f"selected mask {report.column(self.prompt, 'selected').mean():.2f}; "
            f"{report.clicks_needed(self.threshold)[0].mean():.1f} clicks to reach it"
            for name, report in self.chosen.items()
        ]
        return (
            f"Mean IoU, {self.prompt} on {len(self.images)} of {len(self.names)} images, threshold {self.threshold:g}: "
            f"{' · '.join(parts)}."
        )

    def picture(self) -> ShownImage:
        """The same as a picture for a page without a kernel."""
        return style.picture(self.figure(), self.describe())

    def __repr__(self) -> str:
        return f"EvaluationExplorer: {self.describe()}"

    def _show(self) -> None:
        self._shown.show(self.figure(), self.describe())
        self._words.value = (
            f"{html.escape(self.describe())}<pre style='white-space:pre-wrap'>{html.escape(self.code)}</pre>"
        )
