"""Answers that are right and written otherwise than samlite's pass as well: a checker compares results, not code."""

import other_answers_learning
import other_answers_model
import pytest
from all_exercises import EXERCISES

OTHER_RIGHT_ANSWERS = other_answers_model.OTHER_ANSWERS | other_answers_learning.OTHER_ANSWERS


@pytest.mark.parametrize("name", OTHER_RIGHT_ANSWERS)
def test_another_right_answer_passes_too(name):
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name == name)
    assert exercise.check(OTHER_RIGHT_ANSWERS[name])
