"""The page of wrong answers: for every checker, each mistake that it was tried with, and what it said.

``python -m samlite.notebook.mutation_table`` writes book/mutation_table.md. Each message is the checker's own, on the
wrong answer itself, so a row cannot claim a mistake that the checker would let pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import samlite.notebook
from samlite.notebook.exercises import Exercise, Mistake, WrongAnswer

PAGE = Path(__file__).parents[2] / "book" / "mutation_table.md"
TOP = """# Wrong answers, and what the checkers say

A checker is worth what it refuses. Each one of this book was given the wrong answers below, and this is what it said.
The page is written by `python -m samlite.notebook.mutation_table`; a test asks every checker again. The text after the
name of the mistake is what the reader sees.
"""


def exercise_modules() -> Iterator[ModuleType]:
    """The modules of exercises, in the order of the chapters."""
    for module in sorted(iter_modules(samlite.notebook.__path__), key=lambda module: module.name):
        if re.fullmatch(r"exercises_\d\d[a-z]?", module.name):
            yield import_module(f"samlite.notebook.{module.name}")


def refusal(exercise: Exercise, mistake: Mistake) -> str:
    """What the checker says to this mistake. Raises ValueError when it lets it pass or takes it for another."""
    try:
        exercise.check(exercise.answer_with(mistake))
    except WrongAnswer as wrong:
        if wrong.mistake == mistake.name:
            return str(wrong)
    raise ValueError(f"the checker of {exercise.name!r} does not recognise {mistake.name!r}")


def page(modules: list[ModuleType] | None = None) -> str:
    """The page, in markdown: a section for each chapter, a table for each exercise."""
    parts = [TOP]
    for module in exercise_modules() if modules is None else modules:
        parts.append(f"## {module.TITLE[0].upper()}{module.TITLE[1:]}")
        for exercise in module.EXERCISES:
            rows = [
                f"| {_cell(mistake.name)} | {_cell(_where(exercise, refusal(exercise, mistake)))} | "
                f"{_cell(mistake.message)} |"
                for mistake in exercise.mistakes
            ]
            head = "| wrong answer | caught at | what the reader is told |\n|---|---|---|"
            parts.append(f"### {exercise.title}\n\n" + "\n".join([head, *rows]))
    return "\n\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def _where(exercise: Exercise, said: str) -> str:
    """The stage and the step at which the checker stopped."""
    place = said.split(": this looks like “")[0].removeprefix(exercise.title)
    return place.strip(", ") or "the answer"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
