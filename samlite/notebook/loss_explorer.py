"""Sliders on a loss: what do masks become that learn by it alone? (chapter 10)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets
from matplotlib.figure import Figure

from samlite.learning.free_masks import LossSettings, free_masks, nested_answers
from samlite.notebook import style
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.sliders import check_on
from samlite.notebook.training_views import free_mask_rows

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage

NAMES = ("subpart", "part", "whole")


class LossExplorer(ipywidgets.VBox):
    """Set the loss, and three free masks learn one click's answers anew: a third of a second on a laptop.

        explorer = LossExplorer()
        explorer                                   # sliders and a picture
        explorer.set(mean_share=1.0, alpha=0.25)   # the same in code
        explorer.picture()                         # the same for the printed page

    ``focal_weight``, ``gamma``, ``alpha`` and ``mean_share`` are those of `LossSettings`; ``seed`` decides the noise
    that the masks begin with. Raises ValueError for a name or a value that is on no slider.
    """

    def __init__(self) -> None:
        wide = {
            "layout": {"width": "460px"},
            "style": {"description_width": "190px"},
            "continuous_update": False,  # learn when the slider is let go
        }
        usual = LossSettings()
        self.controls = {
            "focal_weight": ipywidgets.FloatSlider(
                usual.focal_weight, min=0, max=100, step=5, description="weight of focal", **wide
            ),
            "gamma": ipywidgets.FloatSlider(usual.gamma, min=0, max=5, step=0.5, description="γ of focal", **wide),
            "alpha": ipywidgets.FloatSlider(
                usual.alpha, min=0.05, max=0.95, step=0.05, description="α, weight of the mask", **wide
            ),
            "mean_share": ipywidgets.FloatSlider(
                usual.mean_share, min=0, max=1, step=0.05, description="share of the mean", **wide
            ),
            "seed": ipywidgets.IntSlider(0, min=0, max=20, description="seed", **wide),
        }
        self.answers = nested_answers()
        self.shown = LivePicture()
        self.words = ipywidgets.HTML()
        self._setting = False
        super().__init__([*self.controls.values(), self.shown, self.words])
        for control in self.controls.values():
            control.observe(self._show, names="value")
        self._show()

    def __repr__(self) -> str:
        return f"LossExplorer({', '.join(f'{name}={control.value:g}' for name, control in self.controls.items())})"

    def set(self, **changes: float | int) -> None:
        """Move sliders; the others stay."""
        for name, value in changes.items():
            if name not in self.controls:
                raise ValueError(f"there is no {name!r} to set: choose from {', '.join(self.controls)}")
            check_on(self.controls[name], name, value)
        self._setting = True  # several changes, one picture
        try:
            for name, value in changes.items():
                self.controls[name].value = value
        finally:
            self._setting = False
        self._show()

    @property
    def code(self) -> str:
        """The Python that learns the same masks."""
        chosen = {name: control.value for name, control in self.controls.items()}
        seed = chosen.pop("seed")
        settings = ", ".join(f"{name}={value:g}" for name, value in chosen.items())
        return f"maps, overlap = free_masks(nested_answers(), LossSettings({settings}), seed={seed})"

    def describe(self) -> str:
        """What is shown, in words."""
        found = [f"mask {k} is the {NAMES[int(row.argmax())]} with IoU {float(row.max()):.2f}"
                 for k, row in enumerate(self.overlap)]  # fmt: skip
        return f"Three nested discs, and three masks that learned them: {'; '.join(found)}."

    def figure(self) -> Figure:
        """What is shown, as a figure."""
        return free_mask_rows({"learned": (self.maps, self.overlap)}, self.answers)

    def picture(self) -> ShownImage:
        """``figure`` as a picture for the page, with ``describe`` as its alternative text."""
        return style.picture(self.figure(), self.describe())

    def _show(self, _change: object = None) -> None:
        if self._setting:
            return
        chosen = {name: control.value for name, control in self.controls.items()}
        seed = chosen.pop("seed")
        self.maps, self.overlap = free_masks(self.answers, LossSettings(**chosen), seed=seed)
        self.shown.show(self.figure(), self.describe())
        self.words.value = f"{self.describe()}<pre>{self.code}</pre>"
