"""Pictures of tensors. Every function makes a new figure and returns it; ``style.picture`` puts it on the page.

Photos are uint8 arrays (H, W, 3) in RGB. Patches are given by row and column of the grid, from 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor
from torch.nn import functional as F

from samlite.masks import overlay_masks
from samlite.notebook.ledger import Entry
from samlite.notebook.style import BLUE, DIVERGING, FAINT, INK, ORANGE, PAPER, SEQUENTIAL, VERMILION
from samlite.sam import PIXEL_MEAN, PIXEL_STD

Photo = UInt8[np.ndarray, "height width 3"]
Point = tuple[float | int, float | int, int]  # x, y, label


def to_photo(image: Float[Tensor, "3 height width"]) -> Photo:
    """A normalised image as it was before: uint8, H×W×3."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    pixels = (image.detach().float().cpu() * std + mean).clamp(0, 255).round().byte()
    return rearrange(pixels, "c y x -> y x c").numpy()


def bare(axes: Axes, title: str = "") -> Axes:
    """Axes without ticks and frame, for pictures."""
    axes.set(xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    return axes


def frame_patch(axes: Axes, row: int, column: int, side: float | int = 1) -> None:
    """A ring around one patch, dark and light, so that it shows on any picture. ``side``: pixels of a patch."""
    corner = (column * side - 0.5, row * side - 0.5)
    for colour, width in ((INK, 5.0), (PAPER, 2.0)):
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=width, zorder=5))


def photo_with_grid(
    picture: Photo, patch_size: int, marked: Sequence[tuple[int, int]] = (), title: str = "", width: float | int = 6.0
) -> Figure:
    """A picture with the borders of its patches, and rings around the marked ones (document §1.5.2)."""
    height = width * picture.shape[0] / picture.shape[1]
    figure = Figure(figsize=(width, height + 0.4), layout="constrained")
    axes = bare(figure.subplots(), title)
    axes.imshow(picture)
    for edge in range(patch_size, picture.shape[0], patch_size):
        axes.axhline(edge - 0.5, color=PAPER, linewidth=0.5, alpha=0.6)
    for edge in range(patch_size, picture.shape[1], patch_size):
        axes.axvline(edge - 0.5, color=PAPER, linewidth=0.5, alpha=0.6)
    for row, column in marked:
        frame_patch(axes, row, column, patch_size)
    return figure


def draw_planes(figure: Figure | SubFigure, vector: Float[Tensor, " values"], pixels: Photo) -> None:
    """A patch as colours, and the three planes of values that its vector holds one after the other (§1.5.2)."""
    side = pixels.shape[0]
    limit = float(vector.abs().max()) or 1.0
    panels = figure.subplots(1, 4)
    bare(panels[0], f"the patch, {side}×{side}").imshow(pixels)
    for axes, plane, name in zip(panels[1:], vector.reshape(3, side, side), ("red", "green", "blue"), strict=True):
        image = bare(axes, f"{name}, normalised").imshow(plane.numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=panels[-1], shrink=0.85)


def patch_vector(vector: Float[Tensor, " values"], pixels: Photo) -> Figure:
    """A patch three times: as colours, as three planes of values, and as the vector that they are laid out in."""
    plane = pixels.shape[0] ** 2
    limit = float(vector.abs().max()) or 1.0
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[2.6, 1])
    draw_planes(above, vector, pixels)
    strip = below.subplots()
    strip.imshow(vector[None].numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    for edge in (plane, 2 * plane):
        strip.axvline(edge - 0.5, color=INK, linewidth=1.5)
    strip.set(yticks=[], xlabel="place in the vector", title=f"the same values in one row: {len(vector)} of them")
    strip.set_xticks([0, plane, 2 * plane, 3 * plane - 1])
    return figure


def map_over_photo(
    axes: Axes,
    picture: Photo,
    values: Float[Tensor, "g g"],
    patch: tuple[int, int] | None = None,
    title: str = "",
    diverging: bool = False,
) -> None:
    """A map of the grid as colours over a grey picture; a ring around ``patch``, a cross at the largest value.

    Diverging maps run from −1 to 1. Sequential ones, of values that are not negative, run from 0 to the largest value,
    and their brightness goes with the square root, so that faint values can be seen beside a strong one.
    """
    size = picture.shape[0]
    grey = picture.mean(-1)
    shown, low, high = (values, -1.0, 1.0) if diverging else (values.sqrt(), 0.0, float(values.max()) ** 0.5)
    bare(axes, title).imshow(grey, cmap="gray", vmin=0, vmax=255)
    axes.imshow(
        shown.numpy(), cmap=DIVERGING if diverging else SEQUENTIAL, vmin=low, vmax=high, alpha=0.65,
        extent=(-0.5, size - 0.5, size - 0.5, -0.5),
    )  # fmt: skip
    side = size / values.shape[0]
    if patch:
        frame_patch(axes, *patch, side)
    if not diverging:
        row, column = divmod(int(values.argmax()), values.shape[1])
        middle = ((column + 0.5) * side - 0.5, (row + 0.5) * side - 0.5)
        for colour, width in ((INK, 4.0), (PAPER, 1.8)):
            axes.plot(*middle, "x", color=colour, markersize=9, markeredgewidth=width, zorder=6)


def maps_over_photo(
    picture: Photo,
    maps: Sequence[Float[Tensor, "g g"]] | Float[Tensor, "k g g"],
    titles: Sequence[str],
    patch: tuple[int, int] | None = None,
    diverging: bool = False,
    columns: int = 4,
    panel: float | int = 2.5,
) -> Figure:
    """Several maps over the same picture, side by side, ``columns`` in a row."""
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(panel * columns, (panel + 0.3) * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, values, title in zip(panels, maps, titles, strict=False):
        map_over_photo(axes, picture, values, patch, title, diverging)
    for axes in panels[len(maps) :]:
        axes.set_visible(False)
    return figure


def position_similarity(table: Float[Tensor, "l d"], shown: int = 4, panel: float | int = 1.7) -> Figure:
    """For shown×shown places of the grid: how alike its position vector and all others are (§1.5.3).

    Cosine similarity, after the mean of the table, which all places share, is taken away.
    """
    grid = round(len(table) ** 0.5)
    unit = F.normalize(table.detach().cpu() - table.detach().cpu().mean(0), dim=-1)
    figure = Figure(figsize=(panel * shown + 1.2, panel * shown), layout="constrained")
    panels = figure.subplots(shown, shown)
    places = [int((i + 0.5) * grid / shown) for i in range(shown)]
    for i, row in enumerate(places):
        for j, column in enumerate(places):
            similarity = (unit @ unit[row * grid + column]).reshape(grid, grid)
            image = bare(panels[i, j]).imshow(similarity.numpy(), cmap=DIVERGING, vmin=-1, vmax=1)
            frame_patch(panels[i, j], row, column)
    figure.colorbar(image, ax=panels, label="cosine similarity", shrink=0.6)
    return figure


def filters(weight: Float[Tensor, "d values"], shown: int = 32, columns: int = 16) -> Figure:
    """The first rows of the patch projection, each as the patch that it answers to most strongly (§1.5.3)."""
    side = round((weight.shape[1] / 3) ** 0.5)
    rows = -(-shown // columns)
    figure = Figure(figsize=(columns * 0.62, rows * 0.66), layout="constrained")
    for axes, row in zip(figure.subplots(rows, columns).flat, weight.detach().cpu()[:shown], strict=False):
        picture = row.reshape(3, side, side).permute(1, 2, 0)
        bare(axes).imshow((0.5 + 0.5 * picture / (picture.abs().max() + 1e-12)).numpy())
    return figure


def components_as_colours(tokens: Float[Tensor, "rows columns d"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The three directions in which the tokens differ most, as red, green and blue: like tokens get like colours."""
    flat = tokens.detach().cpu().double().flatten(0, 1)
    centred = flat - flat.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:3]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    scores = centred @ (directions * largest.sign()).T  # a direction and its opposite are equally good: take one side
    low, high = torch.quantile(scores, torch.tensor([0.02, 0.98], dtype=scores.dtype), dim=0)
    colours = ((scores - low) / (high - low + 1e-12)).clamp(0, 1).reshape(*tokens.shape[:2], 3)
    return (255 * colours).round().byte().numpy()


def pictures_in_a_row(pictures: Sequence[np.ndarray], titles: Sequence[str], panel: float | int = 3.2) -> Figure:
    """Pictures or grids of values side by side, each with a title; grids of one channel in ``SEQUENTIAL``."""
    height = panel * max(picture.shape[0] / picture.shape[1] for picture in pictures)
    figure = Figure(figsize=(panel * len(pictures), height + 0.4), layout="constrained")
    panels = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, picture, title in zip(panels, pictures, titles, strict=True):
        bare(axes, title).imshow(picture, cmap=SEQUENTIAL)
    return figure


def draw_mask(axes: Axes, photo: Photo, mask: Bool[np.ndarray, "height width"], title: str = "") -> None:
    """A mask over its photo: tinted, and rimmed in dark and light, for colour alone is no sign."""
    bare(axes, title).imshow(overlay_masks(photo, mask))
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=INK, linewidths=3)
        axes.contour(mask, levels=[0.5], colors=PAPER, linewidths=1.2)


def draw_point(axes: Axes, point: Point) -> None:
    """A disc with + is foreground (1), a square with − background (0)."""
    x, y, label = point
    form, sign, colour = ("o", "+", BLUE) if label else ("s", "_", VERMILION)
    axes.plot(x, y, form, markersize=12, color=colour, markeredgecolor=PAPER, markeredgewidth=1.5)
    axes.plot(x, y, sign, markersize=7, color=PAPER, markeredgewidth=2)


def masks_over_photo(
    photo: Photo,
    masks: Bool[np.ndarray, "k height width"],
    titles: Sequence[str],
    points: Sequence[Point] = (),
    panel: float | int = 3.2,
) -> Figure:
    """Each mask on its own copy of the photo: tinted, and rimmed in black and white, for colour alone is no sign.

    ``points``: (x, y, label); a disc with + is foreground (1), a square with − background (0).
    """
    height = panel * photo.shape[0] / photo.shape[1]
    figure = Figure(figsize=(panel * len(masks), height + 0.4), layout="constrained")
    for axes, mask, title in zip(figure.subplots(1, len(masks), squeeze=False)[0], masks, titles, strict=True):
        draw_mask(axes, photo, mask, title)
        for point in points:
            draw_point(axes, point)
    return figure


def token_strip(tokens: Float[Tensor, "t c"], names: Sequence[str] = (), title: str = "") -> Figure:
    """Tokens as rows of coloured values, one row a token, with their names at the left."""
    limit = float(tokens.abs().max()) or 1.0
    figure = Figure(figsize=(10, 0.34 * len(tokens) + 1.1), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(tokens.detach().cpu().numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    axes.set(title=title, xlabel="channel")
    axes.set_yticks(range(len(tokens)), names or [str(i) for i in range(len(tokens))])
    figure.colorbar(image, ax=axes)
    return figure


def bars(values: dict[str, float | int], unit: str, title: str = "") -> Figure:
    """Horizontal bars with their numbers beside them, in the given order from the top."""
    figure = Figure(figsize=(9, 0.5 * len(values) + 0.9), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(list(values), list(values.values()), color=BLUE)
    axes.bar_label(drawn, [f" {value:.3g} {unit}" for value in values.values()])
    axes.invert_yaxis()
    axes.set(title=title, xticks=[], xlim=(0, 1.25 * max(values.values())))
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(left=False)
    return figure


def flow(entries: Sequence[Entry], columns: int = 4) -> Figure:
    """Steps of a ledger as boxes with their shapes, joined by arrows: a diagram that cannot disagree with the model."""
    rows = -(-len(entries) // columns)
    figure = Figure(figsize=(3.0 * columns, 1.5 * rows), layout="constrained")
    axes = bare(figure.subplots())
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.45, -0.55))
    for i, entry in enumerate(entries):
        row, column = divmod(i, columns)
        edge = ORANGE if entry.count > 1 else BLUE
        box = FancyBboxPatch(
            (column - 0.38, row - 0.3), 0.76, 0.6, boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=PAPER, edgecolor=edge, linewidth=2.5, linestyle="--" if entry.count > 1 else "-",
        )  # fmt: skip
        axes.add_patch(box)
        name = entry.name.replace("_", " ") + (f" ×{entry.count}" if entry.count > 1 else "")
        axes.text(column, row - 0.14, name, ha="center", va="center", fontsize=12, fontweight="bold")
        axes.text(column, row + 0.05, " × ".join(map(str, entry.shape)), ha="center", va="center", fontsize=12)
        axes.text(column, row + 0.21, f"§{entry.section}", ha="center", va="center", fontsize=10, color="#555555")
        if i + 1 < len(entries):
            next_row, next_column = divmod(i + 1, columns)
            start, end = (column + 0.38, row), (next_column - 0.38, row)
            if next_row > row:  # on to the line below, back to its beginning, halfway between the lines
                start, end = (next_column, row + 0.5), (next_column, next_row - 0.3)
                axes.plot([column, column, next_column], [row + 0.3, row + 0.5, row + 0.5], color=FAINT, linewidth=2)
            style = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", end, start, arrowprops=style)
    return figure
