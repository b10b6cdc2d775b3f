"""The overview of the document's figure 1.1, drawn from a real answer: photo and prompt in, masks and scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from scipy import ndimage

from samlite.notebook.plots import bare, draw_mask
from samlite.notebook.prompt_plots import mark
from samlite.notebook.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER

Photo = UInt8[np.ndarray, "height width 3"]
PARTS = (("image encoder", BLUE), ("prompt encoder", ORANGE), ("mask decoder", GREEN))


def _arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    figure.add_artist(
        figure.axes[0].annotate(
            "", end, start, xycoords="figure fraction", textcoords="figure fraction",
            arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 2.5, "shrinkA": 0, "shrinkB": 0},
        )
    )  # fmt: skip


def overview(
    photo: Photo,
    click: tuple[float | int, float | int],
    masks: Bool[np.ndarray, "k height width"],
    iou_predictions: Float[np.ndarray, " k"],
) -> Figure:
    """Photo and click → the three parts of the model → every candidate with the IoU that the model predicts."""
    figure = Figure(figsize=(11, 4.6))
    _show_click(figure.add_axes((0.01, 0.2, 0.3, 0.62)), photo, click)
    box = bare(figure.add_axes((0.38, 0.12, 0.22, 0.78)))
    box.set(xlim=(0, 1), ylim=(0, 1))
    box.add_patch(FancyBboxPatch((0.03, 0.03), 0.94, 0.94, boxstyle="round,pad=0,rounding_size=0.05", fill=False,
                                 edgecolor=INK, linewidth=2))  # fmt: skip
    box.text(0.5, 0.9, "SAM", ha="center", va="center", fontsize=15, fontweight="bold")
    for (name, colour), y in zip(PARTS, (0.7, 0.43, 0.16), strict=True):
        box.add_patch(FancyBboxPatch((0.12, y - 0.1), 0.76, 0.2, boxstyle="round,pad=0,rounding_size=0.05",
                                     facecolor=PAPER, edgecolor=colour, linewidth=2.5))  # fmt: skip
        box.text(0.5, y, name, ha="center", va="center")
    _arrow(figure, (0.32, 0.62), (0.38, 0.62))
    figure.text(0.35, 0.66, "photo", ha="center")
    _arrow(figure, (0.32, 0.4), (0.38, 0.4))
    figure.text(0.35, 0.44, "prompt", ha="center")
    rows = len(masks)
    for k, (mask, iou) in enumerate(zip(masks, iou_predictions, strict=True)):
        bottom = 1 - (k + 1) / rows + 0.02
        axes = figure.add_axes((0.66, bottom, 0.22, 1 / rows - 0.04))
        draw_mask(axes, photo, mask)
        _arrow(figure, (0.605, 0.5), (0.665, bottom + 0.5 / rows - 0.02))
        figure.text(0.885, bottom + 0.5 / rows - 0.02, f"mask {k}\nIoU {iou:.2f}\n(predicted)", va="center")
    return figure


def _show_click(axes: Axes, photo: Photo, click: tuple[float | int, float | int]) -> None:
    bare(axes, "one photo, one click").imshow(photo)
    mark(axes, *click, "foreground point")


def answers_to_clicks(
    answers: Mapping[str, tuple[Photo, tuple[int, int], Bool[np.ndarray, "height width"]]],
    columns: int = 3,
    panel: float | int = 3.4,
) -> Figure:
    """Photos of many kinds, each with one click and the mask that the model trusts most; ``columns`` in a row."""
    rows = -(-len(answers) // columns)
    figure = Figure(figsize=(panel * columns, (0.78 * panel + 0.3) * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (name, (photo, click, mask)) in zip(panels, answers.items(), strict=False):
        draw_mask(axes, photo, mask, name)
        mark(axes, *click, "foreground point")
    for axes in panels[len(answers) :]:
        axes.set_visible(False)
    return figure


def truths_and_candidates(
    photo: Photo,
    click: tuple[float | int, float | int],
    truths: Bool[np.ndarray, "levels height width"],
    masks: Bool[np.ndarray, "k height width"],
    names: Sequence[str],
    titles: Sequence[str],
    panel: float | int = 2.9,
) -> Figure:
    """One click twice: above the right answers that it has, below the candidates that the model gives."""
    figure = Figure(figsize=(panel * len(truths), 2 * (panel + 0.35)), layout="constrained")
    for row, (shown, words) in enumerate(((truths, names), (masks, titles))):
        for column, (mask, word) in enumerate(zip(shown, words, strict=True)):
            axes = figure.add_subplot(2, len(truths), row * len(truths) + column + 1)
            draw_mask(axes, photo, mask, word)
            mark(axes, *click, "foreground point")
    return figure


def borders(masks: Bool[np.ndarray, "k height width"], width: int = 1) -> Int[np.ndarray, "height width"]:
    """For every pixel how many of the masks have their border there: what many masks agree on is an edge.

    The border of a mask is what an erosion by ``width`` pixels takes away; the edge of the photo is none.
    """
    inner = [ndimage.binary_erosion(mask, iterations=width, border_value=1) for mask in masks]
    return (masks & ~np.array(inner)).sum(0)
