"""The page of wrong answers is whole; that it says what the checkers say today is tested in ``test_exercises.py``."""

import pytest

from samlite.notebook import exercises_00
from samlite.notebook.exercises import Mistake
from samlite.notebook.mutation_table import PAGE, exercise_modules, refusal


def test_every_exercise_and_every_mistake_has_its_row():
    text = PAGE.read_text(encoding="utf-8")
    for module in exercise_modules():
        for exercise in module.EXERCISES:
            assert f"### {exercise.title}\n" in text
            for mistake in exercise.mistakes:
                assert f"| {mistake.name} |" in text


def test_a_mistake_that_passes_cannot_stand_on_the_page():
    exercise = exercises_00.measure_the_overlap
    with pytest.raises(ValueError, match="does not recognise 'none'"):
        refusal(exercise, Mistake("none", "nothing is wrong", exercise.expected))
