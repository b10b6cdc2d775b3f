"""Exercises: right answers pass, known mistakes are rejected by their names; cards, chapters and solutions agree."""

from pathlib import Path

import nbformat
import pytest
from all_exercises import EXERCISES, MODULES

from samlite.notebook import mutation_table
from samlite.notebook.mutation_table import refusal
from samlite.notebook.solutions import exercise_cells, solutions_notebook

MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.CHAPTER)


@each_exercise
def test_the_worked_solution_passes_and_the_empty_cell_is_not_answered(exercise):
    module = next(module for module in MODULES if exercise in module.EXERCISES)
    for code, passed in ((exercise.solution, True), (exercise.starter, False)):
        names = {exercise.name: exercise}
        exec(module.IMPORTS, names)
        *_, last = code.splitlines()
        assert last.startswith(f"{exercise.name}.check(")
        exec(code.removesuffix(last), names)
        verdict = eval(last, names)
        assert bool(verdict) is passed
        assert exercise.title in repr(verdict)
    assert "..." in exercise.starter and len(exercise.starter) < len(exercise.solution)


_refusals: dict[tuple[int, str], str] = {}


def refused(exercise, mistake):
    """What the checker says to this mistake, asked once for all tests: some take seconds."""
    key = (id(exercise), mistake.name)  # titles and names come up in several chapters
    if key not in _refusals:
        _refusals[key] = refusal(exercise, mistake)
    return _refusals[key]


@pytest.mark.parametrize("exercise, mistake", MISTAKES, ids=lambda item: getattr(item, "name", None))
def test_every_known_mistake_is_rejected_by_its_name(exercise, mistake):
    said = refused(exercise, mistake)
    assert mistake.message in said and f"“{mistake.name}”" in said


def test_the_page_of_wrong_answers_is_what_the_checkers_say_today(monkeypatch):
    monkeypatch.setattr(mutation_table, "refusal", refused)
    assert mutation_table.PAGE.read_text(encoding="utf-8") == mutation_table.page(), (
        "run: python -m samlite.notebook.mutation_table"
    )


@each_exercise
def test_every_exercise_has_what_a_reader_needs(exercise):
    names = [mistake.name for mistake in exercise.mistakes]
    assert len(names) >= 3 and len(set(names)) == len(names)
    assert exercise.hints and exercise.question.strip() and exercise.explanation.strip()
    assert 1 <= exercise.minutes <= 120
    card = exercise._repr_markdown_()
    assert exercise.title in card and card.count("<details>") == len(exercise.hints)
    assert "</answer>" not in exercise.starter + exercise.solution


@each_module
def test_the_solutions_notebook_is_the_one_that_the_exercises_write(module):
    written = nbformat.read(NOTEBOOKS / "solutions" / f"{module.CHAPTER}.ipynb", as_version=4)
    fresh = solutions_notebook(module)
    assert [(cell.id, cell.cell_type, cell.source) for cell in written.cells] == [
        (cell.id, cell.cell_type, cell.source) for cell in fresh.cells
    ], f"run: python -m samlite.notebook.solutions {module.__name__}"


@each_module
def test_the_chapter_shows_every_exercise_as_it_is(module):
    chapter = nbformat.read(NOTEBOOKS / f"{module.CHAPTER}.ipynb", as_version=4)
    cells = {cell.id: cell.source for cell in chapter.cells}
    for exercise in module.EXERCISES:
        for cell in exercise_cells(exercise):
            assert cells.get(cell.id) == cell.source, f"{module.CHAPTER}: the cell {cell.id} differs from its exercise"
