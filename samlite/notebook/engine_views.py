"""Pictures of the data engine: annotated scenes, the curve of its stages, what a mask costs (document §1.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from samlite.learning.annotator import AnnotatedScene, Correction
from samlite.learning.engine_report import Interval, hours, interval, of_phase
from samlite.learning.engine_run import photo_of
from samlite.masks import overlay_masks
from samlite.notebook.plots import bare
from samlite.notebook.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, VERMILION

STAGES = ("stage_1", "stage_2", "stage_3")
# Each line of the curve: the phases at stages 1, 2 and 3 (None: none there), its colour, mark and dashes.
LINES: dict[str, tuple[tuple[str | None, ...], str, str, str]] = {
    "the engine": (STAGES, BLUE, "o", "-"),
    "same steps, stage-1 data": (("stage_1", "control_2", "control_3"), VERMILION, "s", "--"),
    "same steps, data of stages 1 and 2": ((None, "stage_2", "control_3_with_2"), ORANGE, "^", ":"),
}


def annotated_scenes(scenes: Sequence[AnnotatedScene], titles: Sequence[str], panel: float | int = 2.4) -> Figure:
    """Scenes in a row, each with all of its masks in colours, rimmed."""
    figure = Figure(figsize=(panel * len(scenes), panel + 0.6), layout="constrained")
    for axes, scene, title in zip(figure.subplots(1, len(scenes), squeeze=False)[0], scenes, titles, strict=True):
        photo, masks = photo_of(scene.image), scene.masks.numpy()
        bare(axes, title).imshow(overlay_masks(photo, masks) if len(masks) else photo)
        for mask in masks:
            if not mask.all():
                axes.contour(mask, levels=[0.5], colors=PAPER, linewidths=1)
    return figure


def _with_interval(axes: Axes, x: Sequence[float], values: Sequence[Interval], shift: float, **look: Any) -> None:
    """Means as a line, their intervals as bars; ``shift`` keeps bars of several lines apart."""
    means = [each.mean for each in values]
    reach = np.nan_to_num([[each.mean - each.low for each in values], [each.high - each.mean for each in values]])
    axes.errorbar([place + shift for place in x], means, yerr=reach, capsize=4, markersize=8, **look)


def stage_curve(results: Mapping[str, Any]) -> Figure:
    """Left: quality stage by stage, with the controls. Right: the same quality over the hours that people worked."""
    figure = Figure(figsize=(12, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1])
    for place, (name, (phases, colour, form, dashes)) in enumerate(LINES.items()):
        there = [(stage, phase) for stage, phase in enumerate(phases, 1) if phase]
        values = [interval(of_phase(results, phase)) for _, phase in there]
        look = {"color": colour, "marker": form, "linestyle": dashes, "label": name}
        _with_interval(left, [stage for stage, _ in there], values, 0.07 * (place - 1), **look)
        if name == "the engine":
            for seed in results["seeds"]:
                left.plot(range(1, 4), [seed["scores"][p]["selected"] for p in phases], color=colour, alpha=0.2, lw=1)
    left.set(xticks=[1, 2, 3], xlabel="stage", ylabel="IoU after one click, held-out scenes", xlim=(0.7, 3.3))
    left.set_xticklabels(["1\ndrawn", "2\ncorrected", "3\nautomatic"])
    left.legend(loc="upper left", fontsize=11)

    by_stage = [hours(results, "drawn"), *[hours(results, "drawn", "corrected")] * 2]
    values = [interval(of_phase(results, phase)) for phase in STAGES]
    _with_interval(
        right, [h.mean for h in by_stage], values, 0, color=BLUE, marker="o", linestyle="-", label="the engine"
    )
    for stage, (when, value) in enumerate(zip(by_stage, values, strict=True), 1):
        place = {1: (8, -14), 2: (-56, -16), 3: (-56, 8)}[stage]
        right.annotate(f"stage {stage}", (when.mean, value.mean), place, textcoords="offset points", fontsize=11)
    when = hours(results, "drawn", "more drawn").mean
    alone = [interval(of_phase(results, "stage_1")), interval(of_phase(results, "by_hand"))]
    look = {"color": GREEN, "marker": "D", "linestyle": "-.", "label": "all drawn by hand"}
    _with_interval(right, [by_stage[0].mean, when], alone, 0.01 * when, **look)
    right.set(xlabel="hours of people, at the table's prices", xlim=(0, None))
    right.legend(loc="upper left", fontsize=11)
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.25 * (high - low))  # room for the legends
    return figure


def correction_paths(corrections: Sequence[Correction], good_enough: float | int) -> Figure:
    """IoU after each click, a line an object: a ring where it was accepted, a cross where it was drawn by hand."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    for each in corrections:
        colour, form = (VERMILION, "x") if each.drawn else (BLUE, "o")
        clicks = range(1, len(each.ious) + 1)
        axes.plot(clicks, each.ious, "--" if each.drawn else "-", color=colour, alpha=0.6, linewidth=1.8)
        axes.plot(clicks[-1], each.ious[-1], form, color=colour, markersize=8, markeredgewidth=2)
    axes.axhline(good_enough, color=INK, linewidth=1.2)
    axes.text(0.75, good_enough + 0.015, "good enough", fontsize=11)
    axes.plot([], [], "o-", color=BLUE, label="accepted")
    axes.plot([], [], "x--", color=VERMILION, label="drawn by hand after all")
    longest = max((len(each.ious) for each in corrections), default=1)
    axes.set(xlabel="clicks", ylabel="IoU of the best candidate", ylim=(0, 1.02), xlim=(0.7, longest + 0.3))
    axes.set_xticks(range(1, longest + 1))
    axes.legend(loc="lower right")
    return figure


def confidence_figure(clicks: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """For each kind of click (predicted IoU, true IoU) of the trusted masks, as two bars beside each other."""
    figure = Figure(figsize=(9, 4.0), layout="constrained")
    axes = figure.subplots()
    for place, (predicted, true) in enumerate(clicks.values()):
        for shift, values, colour, hatch in ((-0.2, predicted, ORANGE, "//"), (0.2, true, BLUE, "")):
            height = float(np.mean(values))
            axes.bar(place + shift, height, 0.38, color=colour, hatch=hatch, edgecolor=PAPER)
            axes.text(place + shift, height + 0.02, f"{height:.2f}", ha="center")
    axes.bar([0], [0], color=ORANGE, hatch="//", edgecolor=PAPER, label="what the model predicts")
    axes.bar([0], [0], color=BLUE, label="what it is")
    axes.set_xticks(range(len(clicks)), list(clicks))
    axes.set(ylabel="mean IoU of the trusted mask", ylim=(0, 1))
    axes.legend(loc="upper right")
    return figure


def cost_bars(seconds: Mapping[str, Interval], by_hand: float) -> Figure:
    """Seconds a mask with the proposals of each model, against drawing by hand (the dashed line)."""
    figure = Figure(figsize=(9, 0.6 * len(seconds) + 1.6), layout="constrained")
    axes = figure.subplots()
    names = list(seconds)
    means = [seconds[name].mean for name in names]
    reach = np.nan_to_num([[s.mean - s.low for s in seconds.values()], [s.high - s.mean for s in seconds.values()]])
    axes.barh(names, means, color=BLUE, xerr=reach, error_kw={"capsize": 4, "ecolor": INK})
    for row, mean in enumerate(means):
        axes.text(1.5, row, f"{mean:.0f} s", va="center", color=PAPER, fontweight="bold")
    axes.axvline(by_hand, color=VERMILION, linestyle="--")
    axes.text(by_hand + 1, -0.75, f"by hand: {by_hand:.0f} s", color=INK, va="center", fontsize=11)
    axes.invert_yaxis()
    axes.set(xlabel="seconds of people for a mask", xlim=(0, 1.25 * max(*means, by_hand)))
    return figure


def shares_figure(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """What automatic masks are: for each row the shares of objects, of ground, and of wrong ones, in one bar."""
    figure = Figure(figsize=(9, 0.7 * len(rows) + 1.5), layout="constrained")
    axes = figure.subplots()
    kinds = {"objects": (BLUE, "", PAPER), "ground": (FAINT, "..", INK), "wrong": (ORANGE, "//", INK)}
    for row, told in enumerate(rows.values()):
        start = 0.0
        for kind, (colour, hatch, ink) in kinds.items():
            label = kind if row == 0 else None
            axes.barh(row, told[kind], left=start, color=colour, hatch=hatch, edgecolor=PAPER, label=label)
            if told[kind] > 0.07:
                box = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
                axes.text(
                    start + told[kind] / 2, row, f"{told[kind]:.0%}", ha="center", va="center", color=ink, bbox=box
                )
            start += told[kind]
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set(xlabel="share of the masks", xlim=(0, 1))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure
