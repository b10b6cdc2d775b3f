"""A slider for the share of hidden patches: what is left, and what the autoencoder makes of it (document §1.6.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from samlite.masked_autoencoder import MaskedAutoencoder
from samlite.notebook import style
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.masking_views import Rebuilt, rebuild, rebuilds

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage


class MaskingSlider(ipywidgets.VBox):
    """Hide more or less of a picture, or other patches of it, and see the rebuild.

        slider = MaskingSlider(autoencoder, pictures)      # normalised, (B, 3, S, S)
        slider                                             # the widget
        slider.hide(percent=50, seed=3)                    # the same in code
        slider.picture()                                   # the same for the printed page

    ``percent``: of the patches that are hidden; ``seed``: which ones; ``number``: which of the pictures.
    Raises ValueError for a value that is not on its slider.
    """

    _CHOICES = ("number", "percent", "seed")

    def __init__(self, autoencoder: MaskedAutoencoder, pictures: Float[Tensor, "b 3 size size"]) -> None:
        self.autoencoder, self.pictures = autoencoder, pictures
        wide = {"layout": {"width": "480px"}, "style": {"description_width": "130px"}, "continuous_update": False}
        self.controls = {
            "number": ipywidgets.IntSlider(0, min=0, max=len(pictures) - 1, description="picture", **wide),
            "percent": ipywidgets.IntSlider(75, min=5, max=95, step=5, description="percent hidden", **wide),
            "seed": ipywidgets.IntSlider(0, min=0, max=20, description="other patches", **wide),
        }
        self.shown = LivePicture()
        self.words = ipywidgets.HTML()
        self._hiding = False
        super().__init__([*self.controls.values(), self.shown, self.words])
        for control in self.controls.values():
            control.observe(self._show, names="value")
        self._show()

    def __repr__(self) -> str:
        return f"MaskingSlider({', '.join(f'{name}={self.controls[name].value}' for name in self._CHOICES)})"

    def hide(self, **changes: int) -> None:
        """Set any of ``number``, ``percent`` and ``seed``; the others stay."""
        for name, value in changes.items():
            if name not in self.controls:
                raise ValueError(f"there is no {name!r} to set: choose from {', '.join(self._CHOICES)}")
            low, high, step = (getattr(self.controls[name], key) for key in ("min", "max", "step"))
            if not low <= value <= high or (value - low) % step:
                steps = f" in steps of {step}" if step > 1 else ""
                raise ValueError(f"{name}={value} is not on its slider, which goes from {low} to {high}{steps}")
        self._hiding = True  # several changes, one picture
        try:
            for name, value in changes.items():
                self.controls[name].value = value
        finally:
            self._hiding = False
        self._show()

    @property
    def rebuilt(self) -> Rebuilt:
        """The masking that is chosen, with its rebuild."""
        chosen = {name: self.controls[name].value for name in self._CHOICES}
        return rebuild(self.autoencoder, self.pictures[chosen["number"]], chosen["percent"] / 100, chosen["seed"])

    @property
    def code(self) -> str:
        """The Python that makes what is shown, with the names of the example above."""
        chosen = {name: self.controls[name].value for name in self._CHOICES}
        share = chosen["percent"] / 100
        return f"rebuild(autoencoder, pictures[{chosen['number']}], hidden_share={share}, seed={chosen['seed']})"

    def describe(self) -> str:
        """What is shown, in words."""
        return self._words(self.rebuilt)

    def figure(self) -> Figure:
        """What is shown, as a figure."""
        return rebuilds([self.rebuilt])

    def picture(self) -> ShownImage:
        """``figure`` as a picture for the page, with ``describe`` as its alternative text."""
        return style.picture(self.figure(), self.describe())

    def _words(self, rebuilt: Rebuilt) -> str:
        hidden, visible = len(rebuilt.hidden), len(rebuilt.visible)
        better = "smaller" if rebuilt.error < rebuilt.guess_error else "not smaller"
        return (
            f"Picture {self.controls['number'].value} four times: with {hidden} of its {hidden + visible} patches in "
            f"grey, as the autoencoder rebuilds them, filled with the nearest visible colour, and whole. The error of "
            f"the rebuild is {better} than that of the nearest colour."
        )

    def _show(self, _change: object = None) -> None:
        if self._hiding:
            return
        rebuilt = self.rebuilt
        self.shown.show(rebuilds([rebuilt]), self._words(rebuilt))
        self.words.value = f"{self._words(rebuilt)}<pre>{self.code}</pre>"
