"""Pictures of the mask decoder's attention: maps over the photo, and matrices among the tokens (document §1.8.2).

Every function makes a figure of the prompt that a ``DecoderViews`` has decoded last. A map is drawn over the photo in
grey, without the padding; × marks the patch with the largest value. ``head`` is one head, or None for the mean of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from samlite.notebook.decoder_views import DecoderViews
from samlite.notebook.style import (
    BLUE,
    DIVERGING,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    PINK,
    SEQUENTIAL,
    SKY,
    VERMILION,
)

TOKEN_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, FAINT, INK)
STAGE_NAMES = {"token_to_image_attention": "token to image", "image_to_token_attention": "image to token"}


def extent_of(views: DecoderViews) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of a square map of the input frame, in pixels of the photo; edges on edges."""
    height, width = views.frames.original_size
    input_height, input_width = views.frames.input_size
    side = views.frames.image_size
    return -0.5, side * width / input_width - 0.5, side * height / input_height - 0.5, -0.5


def draw_prompt(axes: Axes, views: DecoderViews) -> None:
    """The points (+ on a disc, − on a square) and the box of the prompt, dark and light, to show on any picture."""
    for (x, y), label in zip(views.points, views.labels, strict=True):
        axes.plot(x, y, "o" if label else "s", markersize=9, color=BLUE if label else VERMILION,
                  markeredgecolor=PAPER, markeredgewidth=1.2)  # fmt: skip
        axes.plot(x, y, "+" if label else "_", markersize=5, color=PAPER, markeredgewidth=1.5)
    if views.box is not None:
        left, top, right, bottom = views.box
        for colour, width in ((INK, 3.5), (PAPER, 1.5)):
            axes.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=width)
            )


def draw_map(
    axes: Axes,
    views: DecoderViews,
    values: Float[Tensor, "h w"],
    title: str = "",
    largest: float | int | None = None,
    diverging: bool = False,
    cross: bool = True,
) -> None:
    """A square map of the input frame as colours over the grey photo, with the prompt.

    Values that are not negative run from 0 to ``largest`` (None: the largest one on the photo), and their brightness
    goes with the square root; diverging ones run from −``largest`` to ``largest`` in the same way on both sides of 0.
    """
    _backdrop(axes, views, title)
    top = float(largest if largest is not None else views.in_photo(values).abs().max()) or 1.0
    share = (values / top).clamp(-1, 1)
    axes.imshow(
        (share.sign() * share.abs().sqrt()).numpy(), cmap=DIVERGING if diverging else SEQUENTIAL,
        vmin=-1 if diverging else 0, vmax=1, alpha=0.65, extent=extent_of(views),
    )  # fmt: skip
    _within_photo(axes, views)
    draw_prompt(axes, views)
    if cross:
        x, y = peak_of(views, values)
        for colour, width in ((INK, 4.0), (PAPER, 1.8)):
            axes.plot(x, y, "x", color=colour, markersize=8, markeredgewidth=width, zorder=6)


def peak_of(views: DecoderViews, values: Float[Tensor, "h w"]) -> tuple[float, float]:
    """(x, y) in pixels of the photo: the middle of the cell with the largest value, among those that hold photo."""
    inside = views.in_photo(values)
    row, column = divmod(int(inside.argmax()), inside.shape[1])
    name = "grid" if len(values) == views.grid_size else "low_res"
    x, y = views.frames.move_points(np.array([column, row]), name, "original")
    height, width = views.frames.original_size
    return float(np.clip(x, 0, width - 1)), float(np.clip(y, 0, height - 1))


def token_maps(
    views: DecoderViews, stage: str = "token_to_image_attention", head: int | None = None, panel: float | int = 1.75
) -> Figure:
    """Every token of every block at one stage: one row a block, one column a token.

    Token to image: what each token looks at, each map on its own scale, its largest value on the photo in the title;
    what goes to the padding is neither drawn nor counted there. Image to
    token: which share of its attention every patch gives to this token; all maps on one scale, from 0 to 1.
    """
    asked = stage == "image_to_token_attention"
    rows = []
    for block in range(views.blocks):
        maps = [views.map(block, stage, token, head) for token in range(len(views.token_names))]
        most = [f"{float(views.in_photo(values).max()):.1%}" for values in maps]
        titles = [f"{name}\nmax {share}" for name, share in zip(views.token_names, most, strict=True)]
        rows.append((f"block {block}", maps, titles))
    return _table_of_maps(views, rows, panel, largest=1.0 if asked else None)


def head_maps(views: DecoderViews, stage: str, token: int, panel: float | int = 2.0) -> Figure:
    """One token, block by block and head by head: the mean of the heads first, then each of them.

    Scales as for ``token_maps``.
    """
    asked = stage == "image_to_token_attention"
    rows = []
    for block, heads in _lines(views):
        maps = [views.map(block, stage, token, head) for head in heads]
        titles = ["mean of heads" if head is None else f"head {head}" for head in heads]
        rows.append((f"block {block}", maps, titles))
    return _table_of_maps(views, rows, panel, largest=1.0 if asked else None)


def matrices(views: DecoderViews, panel: float | int = 2.1) -> Figure:
    """The tokens' self-attention, block by block: the mean of the heads, then each. Rows ask, columns answer."""
    lines, names = _lines(views), views.token_names
    columns = len(lines[0][1])
    size = (panel * columns + 1.9, (panel + 0.25) * len(lines) + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for number, ((block, heads), line) in enumerate(zip(lines, grid, strict=True)):
        for column, axes in enumerate(line):
            if column >= len(heads):
                axes.set_visible(False)
                continue
            image = draw_matrix(axes, views.matrix(block, heads[column]))
            of_head = "mean" if heads[column] is None else f"head {heads[column]}"
            axes.set_title(f"block {block}, {of_head}", fontsize=13)
            if column == 0:
                axes.set_yticks(range(len(names)), names, fontsize=11)
            if number == len(lines) - 1:
                axes.set_xticks(range(len(names)), names, rotation=90, fontsize=11)
    figure.colorbar(image, ax=grid, shrink=0.6, label="share of the row's attention")
    return figure


def _lines(views: DecoderViews, at_most: int = 5) -> list[tuple[int, list[int | None]]]:
    """(block, heads) for each line of a figure of heads: the mean (None) first; many heads go on in a second line."""
    heads: list[int | None] = [None, *range(views.heads)]
    return [(b, heads[i : i + at_most]) for b in range(views.blocks) for i in range(0, len(heads), at_most)]


def draw_matrix(axes: Axes, weights: Float[Tensor, "t s"]):
    """Attention weights as squares, 0 to 1, with borders between the tokens; returns the picture, for a colour bar."""
    image = axes.imshow(weights.numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for edge in range(1, len(weights)):
        axes.axhline(edge - 0.5, color=PAPER, linewidth=0.8)
        axes.axvline(edge - 0.5, color=PAPER, linewidth=0.8)
    return image


def frame_row(axes: Axes, row: int, length: int) -> None:
    """A frame around one row of a matrix, dark and light, so that it shows on any colour."""
    for colour, width in ((INK, 5.0), (PAPER, 2.0)):
        axes.add_patch(Rectangle((-0.5, row - 0.5), length, 1, fill=False, edgecolor=colour, linewidth=width, zorder=5))


def listening(views: DecoderViews, head: int | None = None, panel: float | int = 4.2) -> Figure:
    """Which token each patch listens to most, block by block; each token's name stands amid its patches."""
    height = panel * views.photo.shape[0] / views.photo.shape[1]
    figure = Figure(figsize=(panel * views.blocks, height + 1.1), layout="constrained")
    names = views.token_names
    for block, axes in enumerate(figure.subplots(1, views.blocks, squeeze=False)[0]):
        shares = views.of_head(views.weights(block, "image_to_token_attention"), head)  # (L, T)
        winner = shares.argmax(-1).reshape(views.grid_size, views.grid_size)
        _backdrop(axes, views, f"block {block}")
        axes.imshow(_in_colours(winner.numpy()), alpha=0.6, extent=extent_of(views))
        _within_photo(axes, views)
        draw_prompt(axes, views)
        for token, name in enumerate(names):
            if (place := _middle_of(views, winner == token)) is None:
                continue  # no patch of the photo listens to it most
            x, y = place
            along = x / views.photo.shape[1]
            side = "left" if along < 0.15 else "right" if along > 0.85 else "center"
            axes.text(
                x, y, name, ha=side, va="center", fontsize=10, color=INK, zorder=7,
                bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            )  # fmt: skip
    handles = [Rectangle((0, 0), 1, 1, color=colour_of(token), alpha=0.75) for token in range(len(names))]
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=11, columnspacing=1.2)
    return figure


def _middle_of(views: DecoderViews, chosen: Bool[Tensor, "g g"]) -> tuple[float, float] | None:
    """(x, y) in pixels of the photo: of the chosen patches that hold photo the one nearest to their middle."""
    places = views.in_photo(chosen).nonzero().double()
    if not len(places):
        return None
    nearest = (places - places.mean(0)).norm(dim=1).argmin()
    alone = torch.zeros(chosen.shape)
    alone[tuple(places[nearest].long())] = 1
    return peak_of(views, alone)


def colour_of(token: int) -> str:
    """The colour of a token in ``listening``."""
    return TOKEN_COLOURS[token % len(TOKEN_COLOURS)]


def _in_colours(tokens: np.ndarray) -> UInt8[np.ndarray, "g g 3"]:
    colours = np.array([to_rgb(colour) for colour in TOKEN_COLOURS])
    return (255 * colours[tokens % len(colours)]).round().astype(np.uint8)


def _table_of_maps(
    views: DecoderViews,
    rows: Sequence[tuple[str, Sequence[Float[Tensor, "g g"]], Sequence[str]]],
    panel: float | int,
    largest: float | int | None,
) -> Figure:
    """Rows of maps, none longer than the first, each with its name at the left and a title over every map."""
    columns = len(rows[0][1])
    height = panel * views.photo.shape[0] / views.photo.shape[1]
    figure = Figure(figsize=(panel * columns + 0.35, (height + 0.65) * len(rows)), layout="constrained")
    for line, (name, maps, titles) in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axes, values, title in zip(line, maps, titles, strict=False):
            draw_map(axes, views, values, largest=largest)
            axes.set_title(title, fontsize=12)
        for axes in line[len(maps) :]:
            axes.set_visible(False)
        line[0].set_ylabel(name)
    return figure


def _backdrop(axes: Axes, views: DecoderViews, title: str) -> None:
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    axes.imshow(views.photo.mean(-1), cmap="gray", vmin=0, vmax=255)


def _within_photo(axes: Axes, views: DecoderViews) -> None:
    height, width = views.photo.shape[:2]
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
