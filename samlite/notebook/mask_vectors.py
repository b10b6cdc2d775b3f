"""Mask vectors as what they are, linear classifiers of places: their scores, and an editor to bend them (§1.8.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from samlite.notebook import attention_views, style
from samlite.notebook.decoder_views import DecoderViews
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.plots import draw_mask
from samlite.notebook.sliders import check_on
from samlite.notebook.style import BLUE, FAINT, INK

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage


def vector_figure(views: DecoderViews, vectors: Float[Tensor, "v c"], titles: list[str]) -> Figure:
    """One row a vector: the mask that it cuts out, its scores over the photo, and their histogram."""
    ratio = views.photo.shape[0] / views.photo.shape[1]
    figure = Figure(figsize=(9, (2.7 * ratio + 0.8) * len(vectors)), layout="constrained")
    for vector, title, line in zip(vectors, titles, figure.subplots(len(vectors), 3, squeeze=False), strict=True):
        draw_mask(line[0], views.photo, views.mask_of(vector), title)
        attention_views.draw_prompt(line[0], views)
        logits = views.logits_of(vector)
        attention_views.draw_map(line[1], views, logits, "score of every place", diverging=True, cross=False)
        draw_scores(line[2], scores_in_photo(views, logits))
    return figure


def scores_in_photo(views: DecoderViews, logits: Float[Tensor, "h w"]) -> Float[Tensor, " places"]:
    """The scores of the places that hold photo; those in the padding are left out."""
    return views.in_photo(logits).flatten()


def draw_scores(axes: Axes, scores: Float[Tensor, " places"], bins: int = 60) -> None:
    """The histogram of scores, filled above the threshold 0, where the mask is, and empty below it."""
    low, high = min(float(scores.min()), 0.0), max(float(scores.max()), 0.0)
    step = (high - low) / bins or 1.0
    edges = step * np.arange(np.floor(low / step), np.ceil(high / step) + 1)  # 0 is an edge: no bin is on both sides
    for part, colour, fill in ((scores[scores <= 0], FAINT, False), (scores[scores > 0], BLUE, True)):
        axes.hist(part.numpy(), edges, histtype="stepfilled", facecolor=colour if fill else "none", edgecolor=colour,
                  linewidth=1.5)  # fmt: skip
    axes.axvline(0, color=INK, linewidth=2)
    share = float((scores > 0).double().mean())
    axes.set(yticks=[], xlabel="score", title=f"{share:.1%} above 0")
    axes.spines["left"].set_visible(False)


class MaskVectorEditor(ipywidgets.VBox):
    """Mix two mask vectors, stretch the result, keep only its strongest channels, or move it: and see the mask.

        editor = MaskVectorEditor(views)
        editor                                             # sliders and a picture
        editor.edit(mix=0.5, kept=8)                       # the same in code
        editor.picture()                                   # the same for the printed page

    The vector is ``scale`` · ((1 − ``mix``) · mask ``first`` + ``mix`` · mask ``second``), of which the ``kept``
    channels that move the scores most stay and the others become 0; ``moved`` then gives every channel's weight to
    its neighbour. Raises ValueError for a value that is not on its slider.
    """

    _CHOICES = ("first", "second", "mix", "scale", "kept", "moved")

    def __init__(self, views: DecoderViews) -> None:
        self.views = views
        self.asked = (views.points or None, views.labels or None, views.box)  # others share the views, and ask theirs
        masks, channels = views.tensor("mask_vectors").shape
        choices = [(f"mask {k}", k) for k in range(masks)]
        wide = {"layout": {"width": "420px"}, "style": {"description_width": "150px"}}
        self.controls = {
            "first": ipywidgets.Dropdown(options=choices, value=0, description="from", **wide),
            "second": ipywidgets.Dropdown(options=choices, value=masks - 1, description="to", **wide),
            "mix": ipywidgets.FloatSlider(0.0, min=0, max=1, step=0.05, description="on the way", **wide),
            "scale": ipywidgets.FloatSlider(1.0, min=-2, max=2, step=0.25, description="times", **wide),
            "kept": ipywidgets.IntSlider(channels, min=0, max=channels, description="channels kept", **wide),
            "moved": ipywidgets.Checkbox(False, description="every weight one channel on", **wide),
        }
        self.shown = LivePicture()
        self.words = ipywidgets.HTML()
        self._editing = False
        super().__init__([*self.controls.values(), self.shown, self.words])
        for control in self.controls.values():
            control.observe(self._show, names="value")
        self._show()

    def __repr__(self) -> str:
        return f"MaskVectorEditor({', '.join(f'{name}={self.controls[name].value}' for name in self._CHOICES)})"

    def edit(self, **changes: float | int | bool) -> None:
        """Set any of ``first``, ``second``, ``mix``, ``scale``, ``kept`` and ``moved``; the others stay."""
        for name, value in changes.items():
            if name not in self.controls:
                raise ValueError(f"there is no {name!r} to edit: choose from {', '.join(self._CHOICES)}")
            if name not in ("first", "second"):
                check_on(self.controls[name], name, value)
            elif value not in [number for _, number in self.controls[name].options]:
                raise ValueError(f"there is no mask {value}: this decoder has {len(self.controls[name].options)}")
        self._editing = True  # several changes, one picture
        try:
            for name, value in changes.items():
                self.controls[name].value = value
        finally:
            self._editing = False
        self._show()

    @property
    def vector(self) -> Float[Tensor, " c"]:
        """The vector as it is now, of the prompt that the views had when the editor was made."""
        views = self.views
        if (views.points or None, views.labels or None, views.box) != self.asked:
            views.prompt(*self.asked)
        chosen = {name: self.controls[name].value for name in self._CHOICES}
        first, second = self.views.tensor("mask_vectors")[[chosen["first"], chosen["second"]]]
        vector = chosen["scale"] * torch.lerp(first, second, chosen["mix"])
        vector[self.views.channel_order(vector)[chosen["kept"] :]] = 0
        return vector.roll(1) if chosen["moved"] else vector

    @property
    def code(self) -> str:
        """The Python that makes the vector and its mask."""
        chosen = {name: self.controls[name].value for name in self._CHOICES}
        lines = [
            f"views.prompt({', '.join(map(str, self.asked))})",
            f'first, second = views.tensor("mask_vectors")[[{chosen["first"]}, {chosen["second"]}]]',
            f"vector = {chosen['scale']} * torch.lerp(first, second, {chosen['mix']})",
            f"vector[views.channel_order(vector)[{chosen['kept']}:]] = 0",
        ]
        lines += ["vector = vector.roll(1)"] if chosen["moved"] else []
        return "\n".join([*lines, "mask = views.mask_of(vector)"])

    def describe(self) -> str:
        """What is shown, in words."""
        chosen = {name: self.controls[name].value for name in self._CHOICES}
        vector = self.vector
        mask = self.views.mask_of(vector)
        moved = ", every weight given to the next channel" if chosen["moved"] else ""
        return (
            f"A mask over the photo, its scores as a map, and their histogram. The vector is {chosen['scale']:g} times "
            f"the way from mask {chosen['first']} to mask {chosen['second']} at {chosen['mix']:.0%}, with "
            f"{chosen['kept']} of {len(vector)} channels{moved}. Its mask covers {mask.mean():.1%} of the photo."
        )

    def figure(self) -> Figure:
        """What is shown, as a figure."""
        return vector_figure(self.views, self.vector[None], ["the edited vector's mask"])

    def picture(self) -> ShownImage:
        """``figure`` as a picture for the page, with ``describe`` as its alternative text."""
        return style.picture(self.figure(), self.describe())

    def _show(self, _change: object = None) -> None:
        if self._editing:
            return
        self.shown.show(self.figure(), self.describe())
        self.words.value = f"{self.describe()}<pre>{self.code}</pre>"
