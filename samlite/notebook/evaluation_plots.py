"""Pictures of an evaluation: shares over thresholds, intervals, clicks, boundaries, and how honest a prediction is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samlite.learning.bootstrap import Interval, mean_interval
from samlite.learning.interaction import Round
from samlite.learning.metrics import Calibration, boundary_width, inner_boundary
from samlite.learning.report import Report
from samlite.notebook.plots import bare, draw_mask, masks_over_photo
from samlite.notebook.prompt_plots import mark
from samlite.notebook.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, PINK, VERMILION

Photo = UInt8[np.ndarray, "height width 3"]
Mask = Bool[np.ndarray, "height width"]
COLOURS, DASHES, FORMS = (BLUE, ORANGE, GREEN, PINK), ("-", "--", ":", "-."), "os^D"


def shares_over_thresholds(columns: Mapping[str, Float[np.ndarray, " targets"]], marked: float | int) -> Figure:
    """For each model the share of targets above each threshold; the area under a line is its mean."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    thresholds = np.linspace(0, 1, 401)
    for (name, values), colour, dashes in zip(columns.items(), COLOURS, DASHES, strict=False):
        shares = (values[None] > thresholds[:, None]).mean(1)
        axes.plot(thresholds, shares, dashes, color=colour, label=f"{name}: mean {values.mean():.2f}")
    axes.axvline(marked, color=INK, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="threshold for the IoU", ylabel="share of targets above it")
    axes.legend(loc="lower left", title="the area under a line is the mean")
    return figure


def draw_intervals(axes: Axes, rows: Mapping[str, Interval], label: str, names: bool = True) -> None:
    """A mean as a mark, its interval as a line, one row each."""
    for place, row in enumerate(rows.values()):
        axes.plot([row.low, row.high], [place, place], color=INK, linewidth=2, solid_capstyle="butt")
        axes.plot(row.mean, place, "o", color=COLOURS[place % len(COLOURS)], markersize=11, markeredgecolor=INK)
    axes.set(yticks=range(len(rows)), yticklabels=list(rows) if names else [], xlabel=label)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color=FAINT, linewidth=0.5)


def intervals(rows: Mapping[str, Interval], label: str) -> Figure:
    """Means with their intervals under each other."""
    figure = Figure(figsize=(9, 0.55 * len(rows) + 1.1), layout="constrained")
    draw_intervals(figure.subplots(), rows, label)
    return figure


def click_curves(reports: Mapping[str, Report]) -> Figure:
    """Mean IoU of the selected mask after each click, with the 95 % interval over images as a band."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    for (name, report), colour, dashes, form in zip(reports.items(), COLOURS, DASHES, FORMS, strict=False):
        rows = np.array([mean_interval(column, report.images) for column in report.paths.T])
        clicks = np.arange(1, len(rows) + 1)
        axes.fill_between(clicks, rows[:, 1], rows[:, 2], color=colour, alpha=0.18, linewidth=0)
        axes.plot(clicks, rows[:, 0], dashes, marker=form, markersize=7, color=colour, label=name)
    axes.set(xlabel="clicks", ylabel="mean IoU of the selected mask", ylim=(0, 1), xticks=clicks)
    axes.legend()
    return figure


def rounds_figure(photo: Photo, rounds: Sequence[Round], ious: Sequence[float], truth: Mask) -> Figure:
    """Click after click: the selected mask, all clicks so far, and the outline of the truth as a dashed line."""
    titles = [f"{number}: IoU {iou:.2f}" for number, iou in enumerate(ious, 1)]
    figure = masks_over_photo(photo, np.stack([each.mask for each in rounds]), titles, panel=2.4)
    for axes, each in zip(figure.axes, rounds, strict=True):
        for colour, width in ((INK, 3.5), (PAPER, 1.8)):
            axes.contour(truth, levels=[0.5], colors=colour, linewidths=width, linestyles="dashed")
        for (x, y), label in zip(each.points, each.labels, strict=True):
            mark(axes, float(x), float(y), "foreground point" if label else "background point")
    return figure


def boundary_figure(photo: Photo, mask: Mask, truth: Mask) -> Figure:
    """The truth, the mask, and the strips along their edges: where both have it, and where only one."""
    width = boundary_width(*truth.shape)
    strips = inner_boundary(truth, width), inner_boundary(mask, width)
    figure = Figure(figsize=(10, 4.1), layout="constrained")
    panels = figure.subplots(1, 3)
    draw_mask(panels[0], photo, truth, "the truth")
    draw_mask(panels[1], photo, mask, "the answer")
    colours = np.full((*truth.shape, 3), 255, np.uint8)
    for region, colour in (
        (strips[0] & strips[1], INK), (strips[0] & ~strips[1], BLUE), (strips[1] & ~strips[0], ORANGE)
    ):  # fmt: skip
        colours[region] = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    bare(panels[2], f"their edges, {width} pixels wide").imshow(colours)
    for place, (text, colour) in enumerate((("both", INK), ("truth only", BLUE), ("answer only", ORANGE))):
        panels[2].text(
            (0.0, 0.24, 0.62)[place],
            -0.03,
            "■ " + text,
            color=colour,
            transform=panels[2].transAxes,
            va="top",
            fontsize=12,
        )
    return figure


def reliability(measured: Mapping[str, Calibration]) -> Figure:
    """Predicted against true IoU, bin by bin, and below how many predictions each bin holds."""
    figure = Figure(figsize=(5.2 * len(measured), 5.6), layout="constrained")
    panels = figure.subplots(2, len(measured), sharex=True, squeeze=False, height_ratios=[3, 1])
    for above, below, (name, each) in zip(panels[0], panels[1], measured.items(), strict=True):
        width = float(each.edges[1] - each.edges[0])
        centres = (each.edges[:-1] + each.edges[1:]) / 2
        above.plot([0, 1], [0, 1], "--", color=FAINT, label="as good as it says")
        filled = each.count > 0
        for x, y in zip(each.predicted[filled], each.actual[filled], strict=True):
            above.plot([x, x], [x, y], color=VERMILION, linewidth=1.5)
        above.plot(each.predicted[filled], each.actual[filled], "o-", color=BLUE, markeredgecolor=INK, label="a bin")
        above.set(title=f"{name}\nexpected error {each.error:.2f}, bias {each.bias:+.2f}", xlim=(-0.03, 1.03))
        above.set(ylabel="true IoU", ylim=(-0.03, 1.03))
        above.legend(loc="lower right")
        below.bar(centres, each.count, width * 0.9, color=BLUE)
        below.set(xlabel="predicted IoU", ylabel="how many")
    return figure


def comparison(reports: Mapping[str, Report], prompt: str, threshold: float | int) -> Figure:
    """Models under each other: mean IoU of best and selected mask, share above a threshold, clicks to reach it."""
    figure = Figure(figsize=(11, 0.5 * len(reports) + 1.6), layout="constrained")
    panels = figure.subplots(1, 4)

    def rows(of: object) -> dict[str, Interval]:
        return {name: mean_interval(of(report), report.images) for name, report in reports.items()}

    cap = next(iter(reports.values())).cap
    draw_intervals(panels[0], rows(lambda r: r.column(prompt, "oracle")), f"best mask,\n{prompt}: mean IoU")
    draw_intervals(panels[1], rows(lambda r: r.column(prompt, "selected")), "selected mask:\nmean IoU", False)
    above = rows(lambda r: (r.column(prompt, "oracle") > threshold).astype(np.float64))
    draw_intervals(panels[2], above, f"best mask: share\nabove {threshold:g}", False)
    clicks = rows(lambda r: r.clicks_needed(threshold)[0].astype(np.float64))
    draw_intervals(panels[3], clicks, f"clicks to {threshold:g},\ncapped at {cap}", False)
    for axes in panels[:3]:
        axes.set_xlim(-0.03, 1.03)
    panels[3].set_xlim(0.8, cap + 0.2)
    return figure


def targets_figure(photos: Sequence[Photo], masks: Sequence[Shaped[np.ndarray, "_ height width"]]) -> Figure:
    """Pictures and below each of them one after the other what is asked for."""
    rows = max(len(each) for each in masks)
    figure = Figure(figsize=(2.2 * len(photos), 2.3 * (rows + 1)), layout="constrained")
    panels = figure.subplots(rows + 1, len(photos), squeeze=False)
    for axes in panels.flat:
        bare(axes)
    for column, (photo, truths) in enumerate(zip(photos, masks, strict=True)):
        panels[0, column].imshow(photo)
        for row, truth in enumerate(truths, 1):
            draw_mask(panels[row, column], photo, truth)
    return figure
