"""Pictures of prompts on their way to the decoder: points, summands of a token, types, the dense path (document §1.7).

Every function makes a new figure and returns it, or draws into what it is given; ``style.picture`` shows figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor
from torch.nn import functional as F

from samlite.notebook.plots import bare
from samlite.notebook.style import BLUE, DIVERGING, GREEN, INK, ORANGE, PAPER, PINK, VERMILION

Photo = UInt8[np.ndarray, "height width 3"]
# How each kind of token is drawn: form of the mark, sign in it, colour. Colour is never the only sign.
MARKS = {
    "foreground point": ("o", "+", BLUE),
    "background point": ("s", "_", VERMILION),
    "first corner": ("D", "$1$", ORANGE),
    "second corner": ("D", "$2$", ORANGE),
}
TOKEN_COLOURS = {"point": BLUE, "corner": ORANGE, "text": INK, "mask": GREEN, "IoU": PINK}


def mark(axes: Axes, x: float | int, y: float | int, kind: str) -> None:
    """A prompt point of one of the ``POINT_TYPES``: a form with a sign in it, light and dark rim."""
    form, sign, colour = MARKS[kind]
    drawn = INK if colour == ORANGE else PAPER  # white on orange would be hard to read
    axes.plot(x, y, marker=form, markersize=15, color=INK, zorder=6)
    axes.plot(x, y, marker=form, markersize=13, color=colour, markeredgecolor=PAPER, markeredgewidth=1.5, zorder=7)
    axes.plot(x, y, marker=sign, markersize=7, color=drawn, markeredgewidth=1.5 if len(sign) == 1 else 0.5, zorder=8)


def draw_summands(figure: Figure | SubFigure, summands: Mapping[str, Float[Tensor, " c"]]) -> None:
    """The summands of a token as strips of colour, one below the other, and their sum as the last strip.

    All strips share one scale of colours; the length of each vector stands beside its name.
    """
    rows = dict(summands) | {"token, their sum": sum(summands.values())}
    limit = max(float(row.abs().max()) for row in rows.values()) or 1.0
    panels = figure.subplots(len(rows), 1, sharex=True)
    for place, (axes, (name, row)) in enumerate(zip(panels, rows.items(), strict=True)):
        image = axes.imshow(row[None].numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
        sign = "=" if place == len(rows) - 1 else "+" if place else " "
        axes.set_yticks([0], [f"{sign} {name}\nlength {row.norm():.1f}"])
        axes.tick_params(left=False, bottom=place == len(rows) - 1)
        axes.spines[:].set_visible(False)
    panels[-1].set_xlabel("channel")
    figure.colorbar(image, ax=list(panels), shrink=0.9)


def summands(parts: Mapping[str, Float[Tensor, " c"]], title: str = "") -> Figure:
    """`draw_summands` as a figure of its own."""
    figure = Figure(figsize=(10, 1.0 * len(parts) + 1.7), layout="constrained")
    figure.suptitle(title)
    draw_summands(figure, parts)
    return figure


def likeness_matrix(vectors: Float[Tensor, "k c"], names: Sequence[str], title: str = "") -> Figure:
    """Cosine similarity of every vector with every other, with its number in each cell."""
    unit = F.normalize(vectors.detach().cpu(), dim=-1)
    similarity = (unit @ unit.T).numpy()
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = bare(figure.subplots(), title)
    image = axes.imshow(similarity, cmap=DIVERGING, vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(similarity):
        colour = PAPER if abs(value) > 0.6 else INK
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names])
    axes.tick_params(left=False, bottom=False)
    figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.8)
    return figure


def maps(
    values: Sequence[Float[Tensor, "_ _"]], titles: Sequence[str], columns: int = 5, panel: float | int = 2.2
) -> Figure:
    """Maps of one channel, ``columns`` in a row, each in its own scale around zero."""
    rows = -(-len(values) // columns)
    figure = Figure(figsize=(panel * columns, (panel + 0.4) * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, each, title in zip(panels, values, titles, strict=False):
        limit = float(each.abs().max()) or 1.0
        bare(axes, title).imshow(each.detach().cpu().numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit)
    for axes in panels[len(values) :]:
        axes.set_visible(False)
    return figure


def curves(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str, y_label: str, title: str = ""
) -> Figure:
    """Lines over the same x, each with a mark and a dash pattern of its own, for colour alone is no sign."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    axes = figure.subplots()
    for (name, y), form, dashes in zip(lines.items(), "os^D", ("-", "--", ":", "-."), strict=False):
        axes.plot(x, y, dashes, marker=form, markersize=7, label=name)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.legend()
    return figure


def tokens_in_a_row(axes: Axes, names: Sequence[str], x: float | int, y: float | int, size: float | int = 0.5) -> None:
    """A token sequence as squares with their names; the first word of a name chooses the colour."""
    for place, name in enumerate(names):
        kind = name.split()[0]
        square = matplotlib.patches.Rectangle(
            (x + place * size, y), size * 0.9, 1.4, facecolor=TOKEN_COLOURS[kind], edgecolor=INK, linewidth=1
        )
        axes.add_patch(square)
        axes.text(
            x + (place + 0.45) * size, y + 0.7, name, rotation=90, ha="center", va="center", fontsize=11,
            fontweight="bold", color=PAPER if kind in ("point", "text") else INK,
        )  # fmt: skip
