"""What the explorers share: a choice is a few small traits, the answer one dict, and everything can be done in code.

An explorer has traits to choose by (``_CHOICES``), a method ``_see`` from these to the answer, ``figure`` for the
printed page, and a browser's side in JavaScript, which is put behind the shared ``explorer_parts.js``: a widget is one
file to a browser, and must be so without a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import matplotlib
import numpy as np
import traitlets
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from samlite.notebook import style

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage

MEAN_OF_HEADS = -1  # a trait for a head is a whole number


def browser_side(name: str) -> str:
    """The JavaScript of an explorer: what all share, then the file of this name."""
    folder = Path(__file__).parent
    return "\n".join((folder / file).read_text(encoding="utf-8") for file in ("explorer_parts.js", name))


class Explorer(anywidget.AnyWidget):
    """A widget that is touched in the browser and answered by the kernel; see the module for what a subclass has."""

    _CHOICES: tuple[str, ...] = ()
    _seen: dict[str, Any] | None = None  # the choice that was answered; None while a choice is made in code

    sizes = traitlets.Dict().tag(sync=True)
    reply = traitlets.Dict().tag(sync=True)

    def _see(self, **chosen: Any) -> dict[str, object]:
        """The answer to a choice, with "words", "code" and "error" in it. Raises ValueError for what is not there."""
        raise NotImplementedError

    def figure(self) -> Figure:
        """What is shown, as a figure."""
        raise NotImplementedError

    @property
    def code(self) -> str:
        """The Python that computes what is shown."""
        return self.reply["code"]

    def describe(self) -> str:
        """What is shown, in words: for the screen reader, and as the alternative text of the picture."""
        return self.reply["words"]

    def picture(self) -> ShownImage:
        """`figure` as a picture for the page, with `describe` as its alternative text."""
        return style.picture(self.figure(), self.describe())

    def _choose(self, chosen: Mapping[str, Any]) -> None:
        """A choice made in code."""
        reply = self._see(**chosen)  # raises before anything has changed
        self._seen = None
        try:
            with self.hold_sync():  # one message to the browser
                for name, value in {**chosen, "reply": reply}.items():
                    setattr(self, name, value)
        finally:
            self._seen = {name: getattr(self, name) for name in self._CHOICES}

    def _listen(self) -> None:
        """From now on the browser may choose."""
        self.observe(self._chosen_by_hand, names=self._CHOICES)

    def _chosen_by_hand(self, _change: object) -> None:
        """The browser has chosen. If it fails, the widget shows why: an exception here would end up in a log."""
        chosen = {name: getattr(self, name) for name in self._CHOICES}
        if self._seen is None or chosen == self._seen:
            return  # a choice of several traits comes as one change after the other
        self._seen = chosen
        try:
            self.reply = self._see(**chosen)
        except Exception as error:
            self.reply = self.reply | {"error": f"{type(error).__name__}: {error}"}


def png_of(picture: UInt8[np.ndarray, "h w 3"], longest: int | None = None) -> bytes:
    """A picture as a PNG file; ``longest``: with its longer side at most so long."""
    file, image = BytesIO(), Image.fromarray(picture)
    if longest is not None:
        image.thumbnail((longest, longest))
    image.save(file, format="PNG")
    return file.getvalue()


def coloured(values: Float[Tensor, "h w"], colours: str) -> bytes:
    """Values 0…1 → RGBA bytes, row by row, in a colour map of the style."""
    picture: UInt8[np.ndarray, "h w 4"] = matplotlib.colormaps[colours](np.clip(values.numpy(), 0, 1), bytes=True)
    return picture.tobytes()
