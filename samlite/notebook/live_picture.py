"""A picture inside a widget that is drawn anew while a reader plays: pixels and the words for who cannot see them."""

from __future__ import annotations

import base64
import html
from io import BytesIO

import ipywidgets
from matplotlib.figure import Figure

from samlite.notebook import style


class LivePicture(ipywidgets.HTML):
    """A figure as an ``<img>`` with an alternative text, which ipywidgets' own Image cannot have.

    ``alt`` and ``png`` are the words and the file that are shown.
    """

    def __init__(self, max_width: str = "100%") -> None:
        super().__init__()
        self.max_width, self.alt, self.png = max_width, "", b""

    def show(self, figure: Figure, alt: str) -> None:
        """Draw the figure in place of the last one; ``alt`` says what it shows."""
        file = BytesIO()
        style.drawn(figure).save(file, format="PNG")
        self.alt, self.png = alt, file.getvalue()
        pixels = base64.b64encode(self.png).decode()
        self.value = (
            f'<img alt="{html.escape(alt)}" style="max-width:{self.max_width}" src="data:image/png;base64,{pixels}">'
        )
