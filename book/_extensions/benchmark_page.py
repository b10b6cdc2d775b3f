"""Sphinx extension: `{benchmark}`, `{benchmark-curves}`, `{benchmark-trends}` and `{waterfall}`.

They show what `samlite bench --book` measured, from `book/results/benchmark.json`.
"""

import base64
import json
import sys
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).parents[1]
RESULTS = BOOK / "results" / "benchmark.json"
sys.path.insert(0, str(BOOK.parent))  # samlite, wherever the builder was started


class FromResults(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(RESULTS))
        if not RESULTS.is_file():
            return self.parse_text_to_nodes("Nothing was measured yet: `python -m samlite bench --book` does.")
        return self.show(json.loads(RESULTS.read_text(encoding="utf-8")))


class Benchmark(FromResults):
    def show(self, result: dict[str, Any]) -> list[nodes.Node]:
        from samlite.notebook.benchmark_plots import table, where

        return self.parse_text_to_nodes(f"{table(result)}\n\n{where(result)}")


class BenchmarkCurves(FromResults):
    def show(self, result: dict[str, Any]) -> list[nodes.Node]:
        from samlite.notebook import style
        from samlite.notebook.benchmark_plots import plot_curves, words

        if not result["curves"]:
            return self.parse_text_to_nodes("The last run of `python -m samlite bench` was one without curves.")
        style.apply()
        return [picture(plot_curves(result["curves"]), words(result["curves"]))]


class BenchmarkTrends(FromResults):
    """The straight lines through the curves, a list."""

    def show(self, result: dict[str, Any]) -> list[nodes.Node]:
        from samlite.learning.cost_curves import sentence, trends

        lines = [f"- {sentence(against, trend)}." for against, trend in trends(result["curves"]).items()]
        return self.parse_text_to_nodes("\n".join(lines) or "The last run was one without curves.")


class Waterfall(FromResults):
    """The steps of the part that the argument names."""

    required_arguments = 1

    def show(self, result: dict[str, Any]) -> list[nodes.Node]:
        from samlite.notebook import style
        from samlite.notebook.benchmark_plots import plot_waterfall, waterfall_words

        steps = [step for step in result["waterfall"] if step["part"] == self.arguments[0]]
        if not steps:
            return self.parse_text_to_nodes("Not measured yet: `python -m samlite bench --only waterfall --book` does.")
        style.apply()
        return [picture(plot_waterfall(steps), waterfall_words(steps))]


def picture(figure: Any, words: str) -> nodes.Node:
    """A figure within the page, with its words for who cannot see it."""
    from samlite.notebook import style

    file = BytesIO()
    style.drawn(figure).save(file, format="PNG", optimize=True)
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return nodes.raw("", f'<img src="{address}" alt="{escape(words)}" style="max-width: 100%">', format="html")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("benchmark", Benchmark)
    app.add_directive("benchmark-curves", BenchmarkCurves)
    app.add_directive("benchmark-trends", BenchmarkTrends)
    app.add_directive("waterfall", Waterfall)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
