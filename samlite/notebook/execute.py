"""Chapters are committed as they ran: ``python -m samlite.notebook.execute notebooks/05_image_encoder.ipynb``.

Every cell in order, from a clean kernel, in place. Nothing is kept that belongs to the machine: no times, no version of
Python, no state of widgets. What the pictures say in words is put where the book looks for it, too. How long a chapter
took, how much memory, and on what machine, goes into a file of its own for the page of run times (``run_times.py``).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from samlite.notebook import run_times

SECONDS_A_CELL = 120
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(notebook: nbformat.NotebookNode, folder: Path) -> dict[str, Any]:
    """Execute a notebook in place, its kernel working in ``folder``. Returns what the run cost.

    Raises nbclient's error when a cell fails.
    """
    started, load = time.perf_counter(), run_times.load()
    notebook.cells.append(nbformat.v4.new_code_cell(run_times.PROBE))  # asks the kernel what it has held
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,  # what a busy machine prints in two goes is one output, and one on a slide
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    seconds = time.perf_counter() - started
    told = json.loads("".join(output.text for output in notebook.cells.pop().outputs))
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        words = [kind["alt"] for output in cell.get("outputs", []) for kind in _pictures(output) if kind.get("alt")]
        cell.metadata.pop("mystnb", None)
        if words:  # Jupyter Book gives all pictures of a cell the same words
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(words)}}
    return {"seconds": round(seconds, 1), **told, "load": load, "date": time.strftime("%Y-%m-%d")}


def _pictures(output: nbformat.NotebookNode) -> list[dict[str, str]]:
    """The metadata of the pictures in an output."""
    return [about for kind, about in output.get("metadata", {}).items() if kind.startswith("image/")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samlite.notebook.execute", description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    for path in parser.parse_args(arguments).notebooks:
        notebook = nbformat.read(path, as_version=4)
        cost = run(notebook, path.parent)
        nbformat.write(notebook, path)  # only when every cell has run
        run_times.keep(path, cost)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
