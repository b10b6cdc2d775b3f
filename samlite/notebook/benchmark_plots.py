"""The figures of ``python -m samlite bench`` as a table and as curves, for the page of the book that reads them."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from samlite.notebook.style import BLUE, FAINT, ORANGE

HEADER = ("| stage | model | variant | processor seconds | seconds | memory, MB | × samlite | difference | rounds |",
          "|---|---|---|---:|---:|---:|---:|---:|---:|")  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """Every row in markdown; a stage and its model stand in the first of its rows alone."""
    lines, last = list(HEADER), None
    for row in result["rows"]:
        stage = (row["stage"], row["model"])
        named = (stage[0] + note(result, row), stage[1]) if stage != last else ("", "")
        megabytes = "not known" if row["megabytes"] is None else f"{row['megabytes']:.0f}"
        cells = (
            *named, row["variant"], seconds(row["cpu_seconds"]), seconds(row["seconds"]), megabytes,
            f"{row['ratio']:.2f}", "" if row["difference"] is None else f"{row['difference']:.0e}", row["rounds"],
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
        last = stage
    return "\n".join(lines)


def note(result: dict[str, Any], row: dict[str, Any]) -> str:
    """Which of the machines, when there are several."""
    return f" ({'abcdefgh'[row['machine']]})" if len(result["machines"]) > 1 else ""


def where(result: dict[str, Any]) -> str:
    """A sentence for each machine: on what the figures were taken, and how."""
    parts = [_where(machine) for machine in result["machines"]]
    return parts[0] if len(parts) == 1 else " ".join(
        f"({letter}) {part}" for letter, part in zip("abcdefgh", parts, strict=False)
    )  # fmt: skip


def _where(machine: dict[str, Any]) -> str:
    versions = ", ".join(
        f"{package} {machine[package]}" for package in ("torch", "transformers", "segment_anything") if machine[package]
    )
    return (
        f"Measured on {machine['date']} on {machine['processor']}, {machine['threads']} of {machine['cores']} cores; "
        f"{machine['system']}, Python {machine['python']}, {versions}; {machine['dtype']}; memory allocator: "
        f"{machine['allocator']}."
    )


def seconds(value: float) -> str:
    """Three digits that count: 0.00412, 0.0523, 17.4."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def plot_curves(curves: dict[str, list[dict[str, Any]]]) -> Figure:
    """Processor seconds (above) and memory (below) against each count; dashed: in proportion to the largest count."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False)
    for column, (against, points) in enumerate(curves.items()):
        counts = [point["count"] for point in points]
        times = [point["cpu_seconds"] for point in points]
        above, below = axes[:, column]
        above.plot([0, counts[-1]], [0, times[-1]], color=FAINT, linestyle="--", linewidth=1.5)
        above.plot(counts, times, marker="o", color=BLUE)
        if points[0]["megabytes"] is not None:
            below.plot(counts, [point["megabytes"] for point in points], marker="s", color=ORANGE)
        below.set_xlabel(against)
        for axis in (above, below):
            axis.set_xlim(0, counts[-1] * 1.08)
            axis.set_ylim(0, max(axis.get_ylim()[1], 1e-6) * 1.05)
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].set_ylabel("processor seconds")
    axes[1, 0].set_ylabel("memory, MB")
    return figure


def words(curves: dict[str, list[dict[str, Any]]]) -> str:
    """What the curves show, for who cannot see them."""
    parts = []
    for against, points in curves.items():
        first, last = points[0], points[-1]
        parts.append(
            f"{last['count'] / first['count']:.0f} times as many {against} take "
            f"{last['cpu_seconds'] / first['cpu_seconds']:.1f} times the processor seconds"
        )
    return "Processor seconds and memory against each count: " + "; ".join(parts) + "."


def plot_waterfall(steps: list[dict[str, Any]]) -> Figure:
    """One bar a step, from the slowest way to the fastest; the light part of a bar is what its idea took away."""
    names = [wrapped(step["step"]) for step in steps]
    times = [step["cpu_seconds"] for step in steps]
    figure = Figure(figsize=(9, 0.8 + 0.55 * len(steps)), layout="constrained")
    axis = figure.subplots()
    for row, (step, now) in enumerate(zip(steps, times, strict=True)):
        before = times[row - 1] if row else now
        if before > now:
            axis.barh(row, before - now, left=now, color="white", edgecolor=FAINT, hatch="///", height=0.62)
        axis.barh(row, now, color=BLUE if row else ORANGE, height=0.62)
        memory = "" if step["megabytes"] is None else f", {step['megabytes']:.0f} MB"
        label = f"{duration(now)}{memory}" + (f", ÷ {times[0] / now:.2f}" if row else "")
        axis.text(max(before, now) + 0.012 * max(times), row, label, va="center")
    axis.set_yticks(range(len(steps)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.38 * max(times))
    axis.set_xlabel("processor seconds")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def wrapped(step: str) -> str:
    """A long name in two lines."""
    return "\n".join(textwrap.wrap(step, 26))


def duration(value: float) -> str:
    """Seconds, or milliseconds below one."""
    return f"{seconds(value)} s" if value >= 1 else f"{seconds(1e3 * value)} ms"


def waterfall_words(steps: list[dict[str, Any]]) -> str:
    """What the bars show, for who cannot see them."""
    falls = "; ".join(f"{step['step']}: {duration(step['cpu_seconds'])}" for step in steps)
    first, last = steps[0]["cpu_seconds"], steps[-1]["cpu_seconds"]
    return f"Processor time, {steps[0]['what']}, one idea more at a time. {falls}. In all {first / last:.2f} times less"
