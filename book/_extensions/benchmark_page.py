"""Sphinx extension: `{benchmark}` and `{benchmark-curves}` show what `python -m samlite bench --book` measured.

They read `book/results/benchmark.json`.
"""

import base64
import json
import sys
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
        file = BytesIO()
        style.drawn(plot_curves(result["curves"])).save(file, format="PNG", optimize=True)
        address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        element = f'<img src="{address}" alt="{words(result["curves"])}" style="max-width: 100%">'
        return [nodes.raw("", element, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("benchmark", Benchmark)
    app.add_directive("benchmark-curves", BenchmarkCurves)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
