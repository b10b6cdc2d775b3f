"""How every picture of the book looks, chosen once: colours for all eyes, sizes for a projector, and words for each.

Nothing changes on import: a chapter calls ``apply()``, and shows its figures by ``picture(figure, alt)``.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from samlite.masks import COLOURS

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage

# The same six as in the masks (Okabe and Ito, 2008), as matplotlib writes colours.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = ("#{:02x}{:02x}{:02x}".format(*colour) for colour in COLOURS)
INK, PAPER, FAINT = "#1a1a1a", "#ffffff", "#9a9a9a"

# Both grow evenly in lightness, so they also read in grey and with any kind of colour vision.
SEQUENTIAL = "cividis"  # from nothing to much: attention, shares
DIVERGING = "PuOr_r"  # either side of zero: similarities, values

SETTINGS = {
    "figure.dpi": 72,  # one matplotlib point is one pixel of the page
    "savefig.dpi": 108,  # one and a half pixels of the file for each: sharp on a projector, small in git
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same everywhere
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.labelsize": 13,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=[BLUE, ORANGE, GREEN, PINK, SKY, VERMILION]),
    "text.color": INK,
    "lines.linewidth": 2.5,
    "image.interpolation": "nearest",  # a patch is a square, not a blur
    "image.cmap": SEQUENTIAL,
    "legend.frameon": False,
}


def apply() -> None:
    """Give every figure that is made from now on the style of the book."""
    matplotlib.rcParams.update(SETTINGS)


def drawn(figure: Figure) -> Image.Image:
    """A figure as pixels; needs no display."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(SETTINGS["savefig.dpi"])
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def picture(figure: Figure, alt: str) -> ShownImage:
    """A figure as a picture for the page that says in words what it shows; ``alt`` is at least a short sentence.

    Diagrams are PNG, exact. Where photos make that half as large again as a JPEG, it is a JPEG: a notebook that is
    executed again should not cost the repository a megabyte. Raises ValueError when ``alt`` says nothing.
    """
    from IPython.display import Image as ShownImage

    if len(alt.split()) < 3:
        raise ValueError(f"alt={alt!r} does not say what the picture shows: write a sentence for who cannot see it")
    width = round(figure.get_size_inches()[0] * SETTINGS["figure.dpi"])
    files = {"png": BytesIO(), "jpeg": BytesIO()}
    pixels = drawn(figure)
    pixels.save(files["png"], format="PNG", optimize=True)
    pixels.save(files["jpeg"], format="JPEG", quality=80, subsampling=0, optimize=True, progressive=True)
    kind = "jpeg" if files["png"].tell() > 1.5 * files["jpeg"].tell() else "png"
    return ShownImage(data=files[kind].getvalue(), format=kind, alt=alt, width=width)
