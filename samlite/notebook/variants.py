"""Variants of an exercise: the same question with other numbers, drawn from a seed, for homework that is graded.

An exercise that has variants is made by a function of its numbers. ``redraw`` draws numbers until every known mistake
still gives an answer of its own: a variant recognises the same mistakes as the exercise in the book.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache, partial
from string import Template
from typing import Any

from samlite.notebook.exercises import Exercise, WrongAnswer

WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
DRAWS = 5000


def fill(text: str, **numbers: Any) -> str:
    """The text with ``$name`` replaced by the number of that name."""
    return Template(text).substitute(numbers)


def recognises_its_mistakes(exercise: Exercise) -> bool:
    """Whether every known mistake of an exercise, with or without stages, is rejected by its own name."""
    for mistake in exercise.mistakes:
        try:
            exercise.check(exercise.answer_with(mistake))
        except WrongAnswer as wrong:
            if wrong.mistake == mistake.name:
                continue
        return False
    return True


def redraw(make: Callable[..., Exercise], draw: Callable[[random.Random], Mapping[str, Any]], seed: int) -> Exercise:
    """The exercise with numbers drawn from the seed: ``make(**draw(generator))``, until it is a fair one.

    The same seed gives the same exercise on every machine. Raises RuntimeError when no draw is fair.
    """
    generator = random.Random(seed)
    for _ in range(DRAWS):
        exercise = make(**draw(generator))
        if recognises_its_mistakes(exercise):
            return exercise
    raise RuntimeError(f"seed {seed}: none of {DRAWS} variants of {exercise.name!r} tells its known mistakes apart")


def by_seed(make: Callable[..., Exercise], draw: Callable[[random.Random], Mapping[str, Any]]) -> Exercise:
    """The exercise as it stands in the book, ``make()``, with a ``variant`` for every seed."""
    exercise = make()
    exercise.variant = cache(partial(redraw, make, draw))
    return exercise
