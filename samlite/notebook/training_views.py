"""Pictures of training: losses as curves, masks that appear, clicks that a simulated annotator makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from samlite.notebook.plots import Photo, Point, bare, draw_mask, draw_point
from samlite.notebook.style import INK, PAPER, SEQUENTIAL

STYLES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))  # a curve is told by its dashes as well as by its colour


def at_size(mask: Float[Tensor, "h w"], size: int) -> Bool[np.ndarray, "size size"]:
    """Low-res logits → the mask at the size of the picture, bilinear."""
    logits = torch.nn.functional.interpolate(mask[None, None], (size, size), mode="bilinear", align_corners=False)
    return (logits[0, 0] > 0).numpy()


def curves(
    panels: Sequence[tuple[str, str, str, Mapping[str, tuple[Any, Any]]]],
    panel: float | int = 4.6,
) -> Figure:
    """Panels side by side; each is (title, label of x, label of y, {name: (x, y)}), x and y rows of numbers."""
    figure = Figure(figsize=(panel * len(panels), 3.9), layout="constrained")
    for axes, (title, x_label, y_label, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for (name, (x, y)), line in zip(lines.items(), STYLES, strict=False):
            axes.plot(x, y, linestyle=line, label=name)
        axes.set(title=title, xlabel=x_label, ylabel=y_label, ylim=(0, None))
        axes.legend(fontsize=12)
    return figure


def mask_grid(
    photos: Sequence[Photo],
    masks: Sequence[Sequence[Bool[np.ndarray, "height width"]]],
    columns: Sequence[str],
    rows: Sequence[str] = (),
    points: Sequence[Sequence[Point]] = (),
    panel: float | int = 2.1,
) -> Figure:
    """One row a photo, one column a mask; ``points[row]`` are drawn in each picture of the row."""
    figure = Figure(figsize=(panel * len(columns) + 0.4, panel * len(photos) + 0.4), layout="constrained")
    panels = figure.subplots(len(photos), len(columns), squeeze=False)
    for row, (photo, of_row) in enumerate(zip(photos, masks, strict=True)):
        for column, mask in enumerate(of_row):
            axes = panels[row, column]
            draw_mask(axes, photo, mask, columns[column] if row == 0 else "")
            for point in points[row] if points else ():
                draw_point(axes, point)
        if rows:
            panels[row, 0].set_ylabel(rows[row])
    return figure


def correction(
    photo: Photo,
    target: Bool[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    weight: Float[Tensor, "h w"],
    point: Point,
    prompts: Sequence[Point] = (),
) -> Figure:
    """Where the next click falls: the object, the answer, the two kinds of error, and how likely each place is."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    panels = figure.subplots(1, 4)
    draw_mask(panels[0], photo, target, "what the click means")
    draw_mask(panels[1], photo, mask, "the answer so far")
    for earlier in prompts:
        draw_point(panels[1], earlier)
    kinds = np.full((*target.shape, 3), 235, np.uint8)
    kinds[target & mask] = (150, 150, 150)
    kinds[target & ~mask], kinds[mask & ~target] = (0, 114, 178), (213, 94, 0)
    bare(panels[2], "missing (blue), too much (orange)").imshow(kinds)
    size = len(photo)
    bare(panels[3], "where the next click falls").imshow(
        weight.numpy(), cmap=SEQUENTIAL, extent=(-0.5, size - 0.5, size - 0.5, -0.5)
    )
    for axes in panels[2:]:
        draw_point(axes, point)
    return figure


def free_mask_rows(
    results: Mapping[str, tuple[Float[Tensor, "k h w"], Float[Tensor, "k j"]]],
    answers: Float[Tensor, "j h w"],
    names: Sequence[str] = ("subpart", "part", "whole"),
    panel: float | int = 1.9,
) -> Figure:
    """The right answers, then one row for each way to learn: probability as colour, the mask's rim in white."""
    columns = max(len(answers), *(len(maps) for maps, _ in results.values()))
    figure = Figure(figsize=(panel * columns + 1.6, (panel + 0.35) * (len(results) + 1)), layout="constrained")
    panels = figure.subplots(len(results) + 1, columns, squeeze=False)
    for axes in panels.flat:
        bare(axes)
    for axes, answer, name in zip(panels[0], answers, names, strict=False):
        axes.imshow(answer.numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1)
        axes.set_title(name)
    panels[0, 0].set_ylabel("right answers")
    for row, (way, (maps, overlap)) in zip(panels[1:], results.items(), strict=True):
        row[0].set_ylabel(way)
        for axes, logits, of_mask in zip(row, maps, overlap, strict=False):
            axes.imshow(logits.sigmoid().numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1)
            if (logits > 0).any() and not (logits > 0).all():
                for colour, width in ((INK, 3.5), (PAPER, 1.5)):
                    axes.contour(logits.numpy(), levels=[0.0], colors=colour, linewidths=width)
            best = int(of_mask.argmax())
            axes.set_title(f"{names[best]}, IoU {float(of_mask[best]):.2f}", fontsize=12)
    return figure
