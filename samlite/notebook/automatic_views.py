"""Pictures of chapter 12, automatic masks: the grid of clicks, all masks at once, stability, crops, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from samlite.masks import COLOURS, mask_area, overlay_masks
from samlite.notebook import style
from samlite.notebook.plots import bare

Photo = UInt8[np.ndarray, "height width 3"]
LAYER_COLOURS = (style.INK, style.BLUE, style.VERMILION, style.GREEN)


def masks_of(records: Sequence[Mapping[str, Any]], shape: tuple[int, int]) -> Bool[np.ndarray, "n height width"]:
    """The masks of some records as one array, the large ones first, so that small ones lie on top of them."""
    masks = [record["segmentation"] for record in records]
    stack = np.stack(masks) if masks else np.zeros((0, *shape), dtype=bool)
    return stack[np.argsort(-mask_area(stack), kind="stable")]


def everything(
    photo: Photo, panels: Mapping[str, Bool[np.ndarray, "n height width"]], panel: float | int = 4
) -> Figure:
    """For each title the photo with all of its masks; neighbours in colour need not belong together."""
    ratio = photo.shape[0] / photo.shape[1]
    figure = Figure(figsize=(panel * len(panels), panel * ratio + 0.6), layout="constrained")
    for axes, (title, masks) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        bare(axes, title).imshow(overlay_masks(photo, masks, COLOURS) if len(masks) else photo)
    return figure


def clicks(photo: Photo, points: Float[np.ndarray, "n 2"], panel: float | int = 5) -> Figure:
    """The photo with a ring at every point (x, y), dark and light, so that it shows on any ground."""
    figure = Figure(figsize=(panel, panel * photo.shape[0] / photo.shape[1]), layout="constrained")
    axes = bare(figure.subplots())
    axes.imshow(photo)
    for size, colour in ((5.5, style.INK), (3, style.PAPER)):
        axes.plot(*points.T, "o", markersize=size, color=colour, linestyle="none")
    return figure


def two_cuts(
    photo: Photo,
    cases: Mapping[str, tuple[Float[np.ndarray, "height width"], float | int]],
    threshold: float | int,
    offset: float | int,
    panel: float | int = 4,
) -> Figure:
    """For each title the mask's two cuts: inside both dark, inside the lower one alone light. ``cases``: title →
    (logits at the photo's size, stability).
    """
    figure = Figure(figsize=(panel * len(cases), panel * photo.shape[0] / photo.shape[1] + 0.7), layout="constrained")
    grey = photo.mean(-1) / 255
    for axes, (title, (logits, score)) in zip(
        figure.subplots(1, len(cases), squeeze=False)[0], cases.items(), strict=True
    ):
        axes = bare(axes, f"{title}\nstability {score:.2f}")
        picture = np.repeat(0.35 + 0.5 * grey[..., None], 3, axis=2)
        picture[logits > threshold - offset] = np.array([0.9, 0.62, 0.0])
        picture[logits > threshold + offset] = np.array([0.0, 0.3, 0.55])
        axes.imshow(picture)
    return figure


def counts_by_threshold(curves: Mapping[str, tuple[Float[np.ndarray, " t"], Sequence[int]]], total: int) -> Figure:
    """For each filter, how many masks are left as its threshold moves; ``total`` masks without any filter."""
    figure = Figure(figsize=(4 * len(curves), 3.4), layout="constrained")
    for axes, (name, (thresholds, counts)), colour in zip(
        figure.subplots(1, len(curves), squeeze=False, sharey=True)[0], curves.items(), LAYER_COLOURS[1:], strict=False
    ):
        axes.plot(thresholds, counts, color=colour)
        axes.set(xlabel=name, ylim=(0, total * 1.05), xlim=(thresholds[0], thresholds[-1]))
        axes.locator_params(axis="x", nbins=3)  # or the ends of two panels run into each other
    figure.axes[0].set_ylabel("masks left")
    return figure


def crops(
    photo: Photo, boxes: Sequence[tuple[int, int, int, int]], layers: Sequence[int], panel: float | int = 4
) -> Figure:
    """The crops of each layer over the photo, with the layer's number of crops as the title."""
    shown = sorted(set(layers))
    figure = Figure(figsize=(panel * len(shown), panel * photo.shape[0] / photo.shape[1] + 0.6), layout="constrained")
    for axes, layer in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        own = [box for box, of_layer in zip(boxes, layers, strict=True) if of_layer == layer]
        bare(axes, f"layer {layer}: {len(own)} crop{'s' if len(own) > 1 else ''}").imshow(photo // 2 + 127)
        for number, (x1, y1, x2, y2) in enumerate(own):
            inset = 2 + 3 * (number % 2)  # or borders that lie on each other would be one
            colour, line = LAYER_COLOURS[1 + number % 3], ("-", "--")[number % 2]
            axes.add_patch(
                Rectangle(
                    (x1 + inset, y1 + inset), x2 - x1 - 2 * inset, y2 - y1 - 2 * inset,
                    fill=False, linewidth=2.5, edgecolor=colour, linestyle=line,
                )
            )  # fmt: skip
    return figure
