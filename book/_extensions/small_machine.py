"""Sphinx extension: `{precision}` and `{memory-needs}` show what `python -m samlite.learning.precision` measured.

They read `book/results/precision.json`.
"""

import json
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).parents[1]
RESULTS = BOOK / "results" / "precision.json"
sys.path.insert(0, str(BOOK.parent))  # samlite, wherever the builder was started


class Precision(SphinxDirective):
    """A table for each model, and where they were measured."""

    def run(self) -> list[nodes.Node]:
        from samlite.learning.precision import as_table
        from samlite.notebook.benchmark_plots import where

        self.env.note_dependency(str(RESULTS))
        result = json.loads(RESULTS.read_text(encoding="utf-8"))
        tables = [f"**{name}**\n\n{as_table(rows)}" for name, rows in result["models"].items()]
        return self.parse_text_to_nodes("\n\n".join([*tables, where({"machines": [result["machine"]]})]))


class MemoryNeeds(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        from samlite.learning.precision import needs_table

        self.env.note_dependency(str(RESULTS))
        return self.parse_text_to_nodes(needs_table(json.loads(RESULTS.read_text(encoding="utf-8"))["memory"]))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("precision", Precision)
    app.add_directive("memory-needs", MemoryNeeds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
