"""The figures of ``python -m samlite bench`` as a table and as curves, for the page of the book that reads them."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from samlite.notebook.style import BLUE, FAINT, ORANGE

HEADER = ("| stage | model | variant | processor seconds | seconds | memory, MB | times samlite | rounds |",
          "|---|---|---|---:|---:|---:|---:|---:|")  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """Every row in markdown; a stage and its model stand in the first of its rows alone."""
    lines, last = list(HEADER), None
    for row in result["rows"]:
        stage = (row["stage"], row["model"])
        named = stage if stage != last else ("", "")
        megabytes = "not known" if row["megabytes"] is None else f"{row['megabytes']:.0f}"
        cells = (
            *named, row["variant"], seconds(row["cpu_seconds"]), seconds(row["seconds"]), megabytes,
            f"{row['ratio']:.2f}", row["rounds"],
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
        last = stage
    return "\n".join(lines)


def where(result: dict[str, Any]) -> str:
    """One sentence: on what machine the figures were taken, and how."""
    machine = result["machine"]
    versions = ", ".join(
        f"{package} {machine[package]}" for package in ("torch", "transformers", "segment_anything") if machine[package]
    )
    load = "" if machine["load"] is None else f", load {machine['load']} at the start"
    return (
        f"Measured on {machine['date']} on {machine['processor']}, {machine['threads']} of {machine['cores']} cores"
        f"{load}; {machine['system']}, Python {machine['python']}, {versions}; {machine['dtype']}; memory allocator: "
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
