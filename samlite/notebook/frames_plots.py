"""Pictures of frames and coordinates: the four frames with one place in each, and the two rules of scaling."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from samlite.frames import PhotoFrames
from samlite.notebook.frame_views import IN_WORDS, FrameViews
from samlite.notebook.plots import frame_patch
from samlite.notebook.prompts import Numbers
from samlite.notebook.style import BLUE, FAINT, INK, ORANGE, PAPER, VERMILION

LARGE_CELLS = 24  # with so many in a row or fewer, the cell of a point is ringed


def four_frames(views: FrameViews, frame: str, place: Numbers) -> Figure:
    """The photo in its four frames, the place marked in each, its numbers below (document §1.5)."""
    from samlite.notebook.frames_explorer import numbers_of

    places = views.everywhere(frame, place)
    figure = Figure(figsize=(13, 4.5), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.21, 1, 0.79))  # below it there is room for four lines
    for axes, name in zip(figure.subplots(1, 4), PhotoFrames.NAMES, strict=True):
        height, width = views.size(name)
        axes.imshow(views.pictures[name])
        axes.set(xticks=[], yticks=[], title=f"{IN_WORDS[name]}, {height}×{width}")
        axes.spines[:].set_visible(False)
        _end_of_photo(axes, *views.photo_size(name), height, width)
        if len(places[name]) == 2 and width <= LARGE_CELLS:
            frame_patch(axes, *views.cell(name, *places[name]))
        mark(axes, places[name])
        axes.set_anchor("N")
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        lines = "\n".join(numbers_of(views, name, places))
        text = axes.text(0, -0.04, lines, transform=axes.transAxes, va="top", fontsize=11.5, linespacing=1.4)
        text.set_in_layout(False)  # long lines would push the frames apart
    return figure


def mark(axes: Axes, place: Numbers) -> None:
    """A point as a disc, a box as a frame; light and dark, so that they show on any picture."""
    if len(place) == 2:
        for colour, size in ((INK, 13), (PAPER, 11), (BLUE, 8)):
            axes.plot(*place, "o", color=colour, markersize=size, markeredgewidth=0, zorder=6)
        return
    x1, y1, x2, y2 = place
    for colour, width in ((INK, 5), (ORANGE, 2.5)):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width))


def _end_of_photo(axes: Axes, photo_height: float | int, photo_width: float | int, height: int, width: int) -> None:
    """A dashed line where the padding begins."""
    if photo_height < height:
        axes.axhline(photo_height - 0.5, color=PAPER, linewidth=1.5, linestyle="--")
    if photo_width < width:
        axes.axvline(photo_width - 0.5, color=PAPER, linewidth=1.5, linestyle="--")


def two_rules(old: int, new: int) -> Figure:
    """One row of ``old`` pixels above the same row as ``new`` pixels: where each rule sends the old centres.

    A solid line goes where the picture goes, (x + 0.5) · scale − 0.5; a dashed one where a prompt goes, x · scale.
    """
    scale = new / old
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots()
    for y, count, side, name in ((1.0, old, 1 / old, "original"), (0.0, new, 1 / new, "input")):
        for i in range(count):
            axes.add_patch(Rectangle((i * side, y), side, 0.28, facecolor=PAPER, edgecolor=INK, linewidth=1.5))
            axes.text((i + 0.5) * side, y + 0.14, str(i), ha="center", va="center", fontsize=11 if count < 30 else 8)
        axes.text(-0.015, y + 0.14, f"{name}\n{count} pixels", ha="right", va="center")
    rules = (
        ("picture: (x + 0.5) · scale − 0.5", BLUE, "-", "o", lambda x: (x + 0.5) * scale - 0.5),
        ("prompt: x · scale", VERMILION, "--", "s", lambda x: x * scale),
    )
    for name, colour, line, sign, rule in rules:
        for x in range(old):
            start, end = (x + 0.5) / old, (rule(x) + 0.5) / new
            axes.plot([start, end], [1.0, 0.3], color=colour, linestyle=line, linewidth=2.2)
            axes.plot(end, 0.3, sign, color=colour, markersize=8, label=name if x == 0 else None)
    axes.set(xlim=(-0.14, 1.01), ylim=(-0.05, 1.6), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.legend(loc="upper center", ncols=2)
    return figure


def rows_and_columns(rows: int, columns: int, x: int, y: int, box: Sequence[int] | None = None) -> Figure:
    """A small array with the index of every pixel; the pixel (x, y) is filled, and a box is drawn, if one is given."""
    figure = Figure(figsize=(1.0 * columns + 0.8, 0.82 * rows + 0.8), layout="constrained")
    axes = figure.subplots()
    for row in range(rows):
        for column in range(columns):
            chosen = (row, column) == (y, x)
            face = BLUE if chosen else PAPER
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor=FAINT, linewidth=1.2))
            axes.text(
                column, row - 0.2, f"[{row}, {column}]", ha="center", va="center", fontsize=12,
                color=PAPER if chosen else INK,
            )  # fmt: skip
            axes.plot(column, row + 0.12, ".", color=PAPER if chosen else INK, markersize=6)  # the centre of the pixel
    if box is not None:
        mark(axes, box)
    axes.set(xlim=(-0.6, columns - 0.4), ylim=(rows - 0.4, -0.6), xlabel="x: columns", ylabel="y: rows")
    axes.set_xticks(range(columns))
    axes.set_yticks(range(rows))
    axes.xaxis.set_label_position("top")
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    return figure
