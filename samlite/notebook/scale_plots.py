"""Pictures of chapter 16: where the operations go, how far workers help, what a shard's length costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from samlite.notebook.cost_model import Plan, best_shard_seconds, speed_up, waste
from samlite.notebook.style import BLUE, FAINT, INK, ORANGE

LINES = ("-", "--", ":", "-.")


def where_it_goes(plans: Mapping[str, Plan]) -> Figure:
    """A bar for each plan, TFLOP of one photo: the encoder's share, then the clicks'."""
    figure = Figure(figsize=(9, 0.75 * len(plans) + 1.5), layout="constrained")
    axes = figure.subplots()
    encoder = np.array([plan.encoder_flop for plan in plans.values()]) / 1e12
    clicks = np.array([plan.decoder_flop for plan in plans.values()]) / 1e12
    axes.barh(list(plans), encoder, color=BLUE, label="encoder")
    axes.barh(list(plans), clicks, left=encoder, color=ORANGE, hatch="//", edgecolor="white", label="clicks")
    for row, (total, share) in enumerate(zip(encoder + clicks, clicks / (encoder + clicks), strict=True)):
        axes.text(total, row, f" {total:.3g} TFLOP, {share:.0%} clicks", va="center")
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.55 * (encoder + clicks).max()), xticks=[], title="one photo")
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.legend(loc="upper right")
    return figure


def amdahl(
    serial_shares: Sequence[float], most: int, measured: Mapping[int, float] | None = None, how: str = "measured"
) -> Figure:
    """Speed-up against workers, both axes doubling; ``measured``: workers → speed-up, as diamonds; ``how`` it was."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    workers = np.geomspace(1, most, 200)
    for share, line in zip(serial_shares, LINES, strict=False):
        speed = [speed_up(share, number) for number in workers]
        axes.plot(workers, speed, line, color=INK if share == 0 else BLUE)
        axes.text(most * 1.08, speed[-1], f"{100 * share:g} % serial" if share else "nothing serial", va="center")
    if measured:
        axes.plot(list(measured), list(measured.values()), "D", color=ORANGE, markersize=10, label=how)
        axes.legend(loc="upper left")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(xlabel="workers", ylabel="times as fast as one", xlim=(0.9, most * 4))
    ticks = [2**i for i in range(0, int(np.log2(most)) + 1, 2)]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    return figure


def shard_length(between_failures: float, overhead: float) -> Figure:
    """The share of time lost against the length of a shard: both parts, their sum, and where it is least."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    best = best_shard_seconds(between_failures, overhead)
    seconds = np.geomspace(best / 100, best * 100, 200)
    axes.plot(seconds, seconds / (2 * between_failures), "--", color=ORANGE, label="work lost by failures")
    axes.plot(seconds, overhead / seconds, ":", color=BLUE, label="overhead of each shard")
    axes.plot(seconds, [waste(each, between_failures, overhead) for each in seconds], color=INK, label="both")
    axes.plot(best, waste(best, between_failures, overhead), "o", color=INK, markersize=10)
    axes.annotate(
        f"{best:,.0f} s a shard:\n{waste(best, between_failures, overhead):.2%} lost",
        (best, waste(best, between_failures, overhead)), xytext=(0, 16), textcoords="offset points", ha="center",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set(xlabel="seconds of work in a shard", ylabel="share of the time that is lost", ylim=(None, 5))
    axes.legend(loc="upper center")
    return figure


def growth_of_runs(sides: Sequence[int], sizes: Sequence[float], plain: Sequence[float]) -> Figure:
    """Bytes of a mask against the side of its photo, as runs in a shard and as one bit a pixel."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for values, name, line, colour in ((plain, "one bit a pixel", "s--", FAINT), (sizes, "runs, gzipped", "o-", BLUE)):
        axes.plot(sides, values, line, color=colour, markersize=8)
        axes.text(sides[-1] * 1.06, values[-1], name, va="center")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(sides), [f"{side:,}" for side in sides])
    axes.set(xlabel="longer side of the photo, pixels", ylabel="bytes a mask", xlim=(sides[0] * 0.9, sides[-1] * 2))
    return figure
