"""The student's side of grading: runs inside the student's kernel and writes down what an answer gives, as plain data.

The other side, `samlite.notebook.grading`, compares. It has its own copy of the exercise, in another process, so
nothing that a notebook redefines can change a verdict; and what it reads holds tensors, numbers and texts, no code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samlite.notebook.exercises import Exercise, exercises_of

UNANSWERED = "\0unanswered"  # what stands for `...` in a file


def as_data(value: Any) -> Any:
    """Tensors, numbers, texts, and lists and dicts of them: all that an answer can be. The rest becomes None."""
    if value is ...:
        return UNANSWERED
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Fraction):
        return float(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): as_data(item) for name, item in value.items()}
    return [as_data(item) for item in value] if isinstance(value, Iterable) else None


def from_data(value: Any) -> Any:
    """The way back: `...` where it stood."""
    if isinstance(value, str):
        return ... if value == UNANSWERED else value
    if isinstance(value, dict):
        return {name: from_data(item) for name, item in value.items()}
    return [from_data(item) for item in value] if isinstance(value, list) else value


def find_exercise(module: str, name: str, seed: int | None) -> Exercise:
    """One exercise of a module, with the numbers of a seed. Raises KeyError where there is none of that name."""
    exercise = {exercise.name: exercise for exercise in exercises_of(module)}[name]
    return exercise if seed is None else exercise.with_seed(seed)


def write_answer(answer: Any, path: str, module: str, name: str, seed: int | None, stage: int | None) -> None:
    """What the answer gives, into a file: its value, or with ``stage`` its result for the arguments of that stage."""
    try:
        if stage is None:
            found = {"callable": callable(answer) and not isinstance(answer, type), "value": as_data(answer)}
        else:
            arguments = find_exercise(module, name, seed).stages[stage].arguments()
            with torch.no_grad():
                found = {"value": as_data(answer(*arguments))}
    except Exception as error:
        found = {"error": [type(error).__name__, str(error)]}
    torch.save(found, Path(path))
