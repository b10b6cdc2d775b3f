"""Chapter 14: what the full ViT-H should cost, from shapes alone, and what was measured of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets
from IPython.display import Markdown
from matplotlib.figure import Figure

from samlite.notebook import style
from samlite.notebook.plots import bars
from samlite.notebook.sliders import check_on
from samlite.notebook.table import Table

RESULTS = Path(__file__).resolve().parent.parent.parent / "book" / "results"
BYTES = {"float32": 4, "bfloat16": 2}
HOW_TO_READ = """
Look first at the column **share of peak**: operations that were needed, over operations that the card can do in that
time. It is the number that compares cards. Three questions to ask of it: how it grows with the batch, what the stored
scores cost, and whether the released encoder, with fewer operations, reaches as much of the peak.
"""


def measured() -> list[dict[str, Any]]:
    """Every result of ``python -m samlite vit-h --book`` at full size that lies in the book; an empty list without."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("vit_h_*.json"))]
    return [result for result in results if not result["small"]]


def said_of(result: Mapping[str, Any]) -> str:
    """One line: device, versions, date."""
    machine = result["machine"]
    return f"{machine['gpu'] or machine['processor']}, torch {machine['torch']}, {machine['date']}"


def encode_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The encoder's rows: time, images a second, share of the measured peak, memory, and how far from eager float32."""
    numbers = ["batch", "ms", "images/s", "share of peak", "peak MB", "mask IoU"]
    lines = []
    for row in rows:
        if row["what"] != "encode":
            continue
        head = [f"{row['architecture']}, {row['dtype']}, {row['way']}", row["batch"]]
        if "seconds" not in row or row.get("out_of_memory"):
            lines.append([*head, failure(row), "–", "–", "–", "–"])
            continue
        share, memory, iou = row["share_of_peak"], row["peak_megabytes"], row.get("mask_iou")
        lines.append(
            [
                *head,
                f"{1000 * row['seconds']:.1f}",
                f"{row['images_a_second']:.1f}",
                "–" if share is None else f"{share:.0%}",
                "–" if memory is None else f"{memory:.0f}",
                "–" if iou is None else f"{iou:.3f}",
            ]
        )
    return Table(["encoder", *numbers], lines, right=numbers)


def other_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Attention alone, decoding and automatic masks: what, how, time, memory."""
    lines = []
    for row in rows:
        if row["what"] == "attention":
            name, how = f"attention, {row['block']}", row["way"]
        elif row["what"] == "decode":
            name, how = f"decode {row['prompts']} clicks, {row['architecture']}", row["dtype"]
        elif row["what"] == "automatic masks":
            name, how = f"automatic masks, {row['architecture']}", row["how"]
        else:
            continue
        time = f"{1000 * row['seconds']:.2f}" if "seconds" in row else failure(row)
        memory = row.get("peak_megabytes")
        lines.append([name, how, time, "–" if memory is None else f"{memory:.0f}"])
    return Table(["what", "how", "ms", "peak MB"], lines, right=["ms", "peak MB"])


def how_to_read() -> Markdown:
    """What to look at in `encode_table`, as a paragraph."""
    return Markdown(HOW_TO_READ.strip())


def failure(row: Mapping[str, Any]) -> str:
    """What was in the way of a row."""
    return "out of memory" if row.get("out_of_memory") else f"failed: {row['error'].splitlines()[0][:60]}"


class Prediction(ipywidgets.VBox):
    """Time and memory of an encoder from a card's peak and the share of it that is reached.

    ``operations``: name → operations an image; ``parameters``: name → numbers that are learned. ``look`` does in code
    what the sliders do; ``numbers`` holds milliseconds, images a second and gigabytes; ``picture()`` draws them.
    """

    def __init__(self, operations: Mapping[str, int], parameters: Mapping[str, int], tokens: int, heads: int) -> None:
        self.operations, self.parameters, self.tokens, self.heads = operations, parameters, tokens, heads
        wide = {"style": {"description_width": "12em"}, "layout": ipywidgets.Layout(width="34em")}
        self.controls = {
            "architecture": ipywidgets.Dropdown(options=list(operations), description="architecture", **wide),
            "dtype": ipywidgets.Dropdown(options=list(BYTES), description="numbers", **wide),
            "batch": ipywidgets.IntSlider(1, 1, 16, description="images at once", **wide),
            "peak": ipywidgets.FloatLogSlider(
                100, base=10, min=-3, max=3.2, description="peak, 10¹² operations/s", readout_format=".3g", **wide
            ),
            "share": ipywidgets.FloatSlider(0.5, min=0.01, max=1, step=0.01, description="share of it reached", **wide),
            "scores stored": ipywidgets.Checkbox(False, description="all attention scores stored (eager)", **wide),
        }
        self._words = ipywidgets.HTML()
        for control in self.controls.values():
            control.observe(lambda _: self._update(), names="value")
        super().__init__([*self.controls.values(), self._words])
        self._update()

    def look(self, **values: Any) -> Prediction:
        """Set controls by name (``scores_stored`` for the last).

        Raises ValueError for a name that none has, and for a value that is not on its slider; then nothing is set.
        """
        values = {name.replace("_", " "): value for name, value in values.items()}
        for name, value in values.items():
            if name not in self.controls:
                raise ValueError(f"nothing is called {name!r}: there are {', '.join(self.controls)}")
            check_on(self.controls[name], name, value)
        for name, value in values.items():
            self.controls[name].value = value
        return self

    @property
    def numbers(self) -> dict[str, float]:
        """What follows from the controls."""
        at = {name: control.value for name, control in self.controls.items()}
        seconds = at["batch"] * self.operations[at["architecture"]] / (at["peak"] * 1e12 * at["share"])
        weights = self.parameters[at["architecture"]] * BYTES[at["dtype"]]
        scores = at["scores stored"] * at["batch"] * self.heads * self.tokens**2 * BYTES[at["dtype"]]
        return {
            "milliseconds": 1000 * seconds,
            "images a second": at["batch"] / seconds,
            "GB of weights": weights / 1e9,
            "GB of scores, one layer": scores / 1e9,
        }

    @property
    def words(self) -> str:
        """The numbers in a sentence."""
        return ", ".join(f"{name}: {value:,.3g}" for name, value in self.numbers.items())

    def picture(self) -> Any:
        """What it shows, for the page."""
        memory = {name: value for name, value in self.numbers.items() if name.startswith("GB")}
        return style.picture(bars(memory, "", f"{self.numbers['milliseconds']:,.0f} ms a batch"), alt=self.words)

    def _update(self) -> None:
        self._words.value = f"<p>{self.words}</p>"


def where_operations_go(parts: Mapping[str, float | int]) -> Figure:
    """Bars of the share of each part, in percent."""
    total = sum(parts.values())
    return bars({name: 100 * value / total for name, value in parts.items()}, "%")
