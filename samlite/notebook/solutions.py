"""The notebooks of worked solutions, written from the exercises themselves so that the two cannot drift apart.

``python -m samlite.notebook.solutions samlite.notebook.exercises_05`` writes notebooks/solutions/05_….ipynb, executed.
A module of exercises has CHAPTER (the file name of its notebook), TITLE, IMPORTS (code) and EXERCISES (a list).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from samlite.notebook.execute import METADATA, run
from samlite.notebook.exercises import Exercise

FOLDER = Path(__file__).parents[2] / "notebooks" / "solutions"


def exercise_cells(exercise: Exercise) -> list[nbformat.NotebookNode]:
    """The two cells that an exercise has in its chapter: its card, and the reader's cell to fill in."""
    name = exercise.name.replace("_", "-")
    return [
        new_code_cell(exercise.name, id=f"{name}-card"),
        new_code_cell(exercise.starter, id=f"{name}-answer"),
    ]


def solutions_notebook(module: ModuleType) -> nbformat.NotebookNode:
    """The notebook of worked solutions of one chapter, not executed yet."""
    names = sorted(exercise.name for exercise in module.EXERCISES)
    imports = f"from {module.__name__} import {', '.join(names)}"
    if len(imports) > 120:  # as the linter would have it
        imports = f"from {module.__name__} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
    gap = "\n" if "from samlite" in module.IMPORTS else "\n\n"  # one group of imports, or two
    cells = [
        new_markdown_cell(
            f"# Worked solutions: {module.TITLE}\n\nThe exercises stand at the end of "
            f"`notebooks/{module.CHAPTER}.ipynb`. Each solution is checked here by the same checker that "
            "checks yours, and is followed by the answers that look right and are not.",
            id="title",
        ),
        new_code_cell(f"{module.IMPORTS.strip()}{gap}{imports}".strip(), id="imports"),
    ]
    for exercise in module.EXERCISES:
        name = exercise.name.replace("_", "-")
        mistakes = "\n".join(f"- **{mistake.name}**: {mistake.message}" for mistake in exercise.mistakes)
        cells += [
            new_markdown_cell(f"## {exercise.title}\n\n{exercise.question.strip()}", id=f"{name}-question"),
            new_code_cell(exercise.solution, id=f"{name}-solution"),
            new_markdown_cell(
                f"{exercise.explanation.strip()}\n\nWrong answers that the checker knows by name:\n\n{mistakes}",
                id=f"{name}-mistakes",
            ),
        ]
    return new_notebook(cells=cells, metadata=METADATA)


def write_solutions(module: ModuleType, folder: Path = FOLDER) -> Path:
    """Execute the notebook of worked solutions from a clean kernel and write it; returns its path."""
    notebook = solutions_notebook(module)
    folder.mkdir(parents=True, exist_ok=True)
    run(notebook, folder)
    path = folder / f"{module.CHAPTER}.ipynb"
    nbformat.write(notebook, path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samlite.notebook.solutions", description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="for instance samlite.notebook.exercises_05")
    for name in parser.parse_args(arguments).modules:
        write_solutions(import_module(name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
