"""Exercises: right answers pass, known mistakes are rejected by their names; cards, chapters and solutions agree."""

from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest
from all_exercises import EXERCISES, MODULES

from samlite.notebook.exercises import WrongAnswer
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


@pytest.mark.parametrize("exercise, mistake", MISTAKES, ids=lambda item: getattr(item, "name", None))
def test_every_known_mistake_is_rejected_by_its_name(exercise, mistake):
    answer = mistake.answer
    if not exercise.stages:
        answer = mistake.answer()
        answer = {**exercise.expected(), **answer} if isinstance(answer, Mapping) else answer
    with pytest.raises(WrongAnswer) as caught:
        exercise.check(answer)
    assert caught.value.mistake == mistake.name
    assert mistake.message in str(caught.value) and f"“{mistake.name}”" in str(caught.value)


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
