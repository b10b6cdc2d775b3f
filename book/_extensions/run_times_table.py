"""Sphinx extension: the directive `{run-times}` becomes the table of what every chapter cost when it was last executed.

It reads `book/results/run_times`, which `python -m samlite.notebook.execute` writes.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).parents[1]
TITLE = "# "


def title_of(notebook: Path) -> str:
    """The first heading of a notebook."""
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    return first.splitlines()[0].removeprefix(TITLE)


def machine_of(run: dict[str, Any]) -> str:
    load = "" if run["load"] is None else f", load {run['load']}"
    return f"{run['device']}, {run['system']}, {run['threads']} of {run['cores']} cores{load}"


class RunTimes(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        rows = [
            "| chapter | seconds | processor seconds | peak memory, MB | date | torch | machine |",
            "|---|---:|---:|---:|---|---|---|",
        ]
        for path in sorted((BOOK / "results" / "run_times").glob("*.json")):
            self.env.note_dependency(str(path))
            notebook = BOOK.parent / "notebooks" / f"{path.stem}.ipynb"
            run = json.loads(path.read_text(encoding="utf-8"))
            link = f"[{title_of(notebook)}](../notebooks/{notebook.name})"
            cells = (run["seconds"], run["cpu_seconds"], run["peak_megabytes"], run["date"], run["torch"])
            rows.append(f"| {link} | " + " | ".join(str(cell) for cell in cells) + f" | {machine_of(run)} |")
        return self.parse_text_to_nodes("\n".join(rows))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("run-times", RunTimes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
