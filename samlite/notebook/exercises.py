"""Exercises that can be failed: a card, hints on demand, and a checker that says which mistake an answer looks like.

An exercise is written once. Its ``code`` is the worked solution with the answer between two marks:

    def area(width, height):
        # <answer: result = ...>
        result = width * height
        # </answer>
        return result

    find_the_area.check(area)

The reader's cell (``exercise.starter``) has the text of the opening mark in place of the answer; the solution's cell
(``exercise.solution``) has the answer. ``samlite.notebook.solutions`` writes the notebook of worked solutions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from numbers import Real
from typing import Any

import numpy as np
import torch

_MARKED = re.compile(
    r"^(?P<indent> *)# <answer: (?P<blank>[^\n]*)>\n(?P<answer>.*?)^ *# </answer>(\n|\Z)", re.DOTALL | re.MULTILINE
)


class WrongAnswer(AssertionError):
    """An answer that differs from what samlite computes; ``mistake`` is the name of the recognised mistake, or None."""

    def __init__(self, message: str, mistake: str | None = None) -> None:
        super().__init__(message)
        self.mistake = mistake

    def _render_traceback_(self) -> list[str]:
        return [f"✗ {self}"]  # what IPython shows: the reader's own lines are the news, not the checker's


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong answer. ``answer`` computes it from the same arguments as the right one does."""

    name: str
    message: str
    answer: Callable[..., Any]


@dataclass(frozen=True)
class Stage:
    """One comparison: the reader's function and samlite's get ``arguments()``, made anew for each of them."""

    name: str
    arguments: Callable[[], Sequence[Any]]


@dataclass(frozen=True)
class Verdict:
    """What ``Exercise.check`` hands back; true when the answer is right."""

    passed: bool
    message: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return f"{'✓' if self.passed else '…'} {self.message}"


@dataclass(repr=False)
class Exercise:
    """A question with a checker.

    ``expected`` is samlite's own answer. With ``stages`` it is a function, and so must the reader's answer be: both
    get the arguments of each stage, from easy to hard. Without stages ``expected()`` is a value and the reader's
    answer is compared with it. A value, or the result of a function, is a number, text, a tuple, a tensor, or a dict
    of named steps, which are compared one after the other (a mistake may name only the steps that it spoils).
    ``tolerance`` is relative, for numbers and tensors; whole numbers and texts must be equal.
    """

    name: str  # the variable that holds it in the chapter
    title: str
    difficulty: int  # 1 (a minute's thought) … 5 (an evening)
    minutes: int
    question: str  # markdown
    code: str
    expected: Callable[..., Any]
    mistakes: Sequence[Mistake]
    stages: Sequence[Stage] = ()
    hints: Sequence[str] = ()
    explanation: str = ""  # markdown, for the worked solution
    tolerance: float = 1e-4
    variant: Callable[[int], Exercise] | None = None  # the same exercise with other numbers, drawn from a seed
    _hints_given: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.difficulty <= 5:
            raise ValueError(f"difficulty is 1 to 5, {self.difficulty} was given")
        if not _MARKED.search(self.code):
            raise ValueError(f"the code of {self.name!r} has no '# <answer: …>' … '# </answer>' marks")
        if not self.stages:
            self.expected = cache(self.expected)  # a value, however often it is compared

    @property
    def starter(self) -> str:
        """The reader's cell: every marked answer is replaced by the text of its opening mark."""
        return _MARKED.sub(lambda found: f"{found['indent']}{found['blank']}\n", self.code).strip()

    @property
    def solution(self) -> str:
        """The worked solution's cell."""
        return _MARKED.sub(lambda found: found["answer"], self.code).strip()

    def with_seed(self, seed: int) -> Exercise:
        """The exercise with the numbers of this seed, for homework; itself where it has no variants."""
        return self if self.variant is None else self.variant(seed)

    def answer_with(self, mistake: Mistake) -> Any:
        """What a reader who makes this mistake hands to ``check``."""
        if self.stages:
            return mistake.answer
        wrong = mistake.answer()
        return {**self.expected(), **wrong} if isinstance(wrong, Mapping) else wrong

    def hint(self) -> str:
        """The next hint; after the last one it begins again."""
        if not self.hints:
            return "There is no hint for this one."
        self._hints_given += 1
        number = (self._hints_given - 1) % len(self.hints)
        return f"Hint {number + 1} of {len(self.hints)}: {self.hints[number]}"

    def check(self, answer: Any) -> Verdict:
        """Compare an answer with samlite's. Right: a verdict that says so. ``...``: not answered yet.

        Raises WrongAnswer (an AssertionError) otherwise; it names the stage, the step and, where it is recognised,
        the mistake.
        """
        if not self.stages:
            return self._compare(answer, (), where="")
        if answer is ...:
            return self._unanswered()
        if isinstance(answer, type) or not callable(answer):
            raise WrongAnswer(f"{self.title}: the answer is a function (or a module), {_describe(answer)} was given")
        for number, stage in enumerate(self.stages, 1):
            where = f", stage {number} of {len(self.stages)} ({stage.name})"
            try:
                with torch.no_grad():
                    result = answer(*stage.arguments())
            except Exception as error:
                kind = type(error).__name__
                raise WrongAnswer(f"{self.title}{where}: your function raised {kind}: {error}") from error
            verdict = self._compare(result, stage.arguments, where)
            if not verdict:
                return verdict
        return verdict

    def _compare(self, result: Any, arguments: Callable[[], Sequence[Any]] | tuple[()], where: str) -> Verdict:
        def compute(function: Callable[..., Any]) -> Any:
            with torch.no_grad():
                return function(*(arguments() if callable(arguments) else ()))

        expected = compute(self.expected)
        steps = list(expected) if isinstance(expected, Mapping) else [None]
        if result is ... or (isinstance(result, Mapping) and any(result.get(step) is ... for step in steps)):
            return self._unanswered()
        if isinstance(expected, Mapping):
            if not isinstance(result, Mapping):
                raise WrongAnswer(f"{self.title}{where}: a dict with {_names(steps)} is asked, not {_describe(result)}")
            if missing := [step for step in steps if step not in result]:
                raise WrongAnswer(f"{self.title}{where}: your answer has no {_names(missing)}")
        for step in steps:
            right, given = _at(expected, step), _at(result, step)
            if (difference := _difference(given, right, self.tolerance)) is None:
                continue
            place = f"{self.title}{where}" + (f", {step}" if step else "")
            for mistake in self.mistakes:
                try:
                    wrong = _at(compute(mistake.answer), step)
                except Exception:  # this mistake cannot even be made with these arguments
                    continue
                if _difference(wrong, right, self.tolerance) and not _difference(given, wrong, self.tolerance):
                    raise WrongAnswer(f"{place}: this looks like “{mistake.name}”. {mistake.message}", mistake.name)
            raise WrongAnswer(f"{place}: {difference}")
        stages = f"all {len(self.stages)} stages agree" if len(self.stages) > 1 else "your answer agrees"
        return Verdict(True, f"{self.title}: {stages} with samlite.")

    def _unanswered(self) -> Verdict:
        return Verdict(False, f"{self.title}: not answered yet (about {self.minutes} minutes).")

    def __repr__(self) -> str:
        return f"Exercise: {self.title} (difficulty {self.difficulty} of 5, about {self.minutes} min)"

    def _repr_markdown_(self) -> str:
        dots = "●" * self.difficulty + "○" * (5 - self.difficulty)
        head = f"**{self.title}** · difficulty {dots} · about {self.minutes} min"
        hints = [
            f"<details><summary>Hint {number} of {len(self.hints)}</summary>\n\n{hint}\n\n</details>"
            for number, hint in enumerate(self.hints, 1)
        ]
        return "\n\n".join([head, self.question.strip(), *hints])


def exercises_of(module: str) -> Sequence[Exercise]:
    """The exercises of a module, for instance "samlite.notebook.exercises_05"."""
    return import_module(module).EXERCISES


_NOTHING = object()


def _at(value: Any, step: str | None) -> Any:
    """One named step of a result; a mistake that leaves a step alone has nothing there."""
    if step is None:
        return value
    return value.get(step, _NOTHING) if isinstance(value, Mapping) else _NOTHING


def _difference(given: Any, right: Any, tolerance: float) -> str | None:
    """None when both are the same; else what is wrong with ``given``, without giving the right value away."""
    if given is None:
        return "this is None. Does your function end with return?"
    if given is _NOTHING or right is _NOTHING:
        return "nothing was given here"
    if isinstance(right, torch.Tensor | np.ndarray):
        if right.ndim == 0 and isinstance(given, Real) and not isinstance(given, bool):
            given = torch.tensor(float(given), dtype=torch.float64)  # a number is one, whoever holds it
        if not isinstance(given, torch.Tensor | np.ndarray):
            asked = "a tensor" if isinstance(right, torch.Tensor) else "a NumPy array (np.array makes one of a list)"
            return f"{asked} is asked, not {_describe(given)}"
        given, right = _as_tensor(given), _as_tensor(right)
        if given.shape != right.shape:
            return f"the shape is {tuple(right.shape)} in samlite, yours is {tuple(given.shape)}"
        given, right = given.double(), right.double()
        scale = right.abs().max().item() if right.numel() else 0.0
        wrong = ~((given - right).abs() <= tolerance * scale + 1e-9)  # also true for NaN
        if wrong.any():
            first = tuple(torch.nonzero(wrong)[0].tolist())
            lost = (given.isnan() & ~right.isnan()).any()
            advice = ". NaN is no number: was 0 divided by 0, or a logarithm taken of 0?" if lost else ""
            return (
                f"the shape is right, {wrong.double().mean():.0%} of the values are not; "
                f"the first at {first}: {given[first]:.5g}, samlite has {right[first]:.5g}{advice}"
            )
        return None
    if isinstance(given, torch.Tensor | np.ndarray) and given.ndim == 0:
        given = given.item()
    if isinstance(right, bool) and not isinstance(given, bool | np.bool_):
        return f"True or False is asked, not {_describe(given)}"
    if isinstance(right, bool | np.bool_):
        return None if given == right else f"{given} is not right"
    if isinstance(right, str):
        return None if isinstance(given, str) and given == right else f"{str(given)!r} is not right"
    if isinstance(right, int | float):
        if isinstance(given, bool) or not isinstance(given, Real):
            return f"a number is asked, not {_describe(given)}"
        if math.isnan(given):
            return "this is not a number (NaN). Did you divide 0 by 0?"
        close = given == right if isinstance(right, int) else math.isclose(given, right, rel_tol=tolerance)
        return None if close else f"{given:,} is not right; it is too {'small' if given < right else 'large'}"
    if isinstance(right, Sequence):
        if isinstance(given, str) or not isinstance(given, Iterable):
            one = f". A shape of one axis is written ({given},)" if isinstance(given, int) and len(right) == 1 else ""
            return f"{_values(right)} asked, not {_describe(given)}{one}"
        given = tuple(given.tolist() if isinstance(given, torch.Tensor) else given)
        if len(given) != len(right):
            return f"{_values(right)} asked, {len(given)} {'was' if len(given) == 1 else 'were'} given"
        for index, (a, b) in enumerate(zip(given, right, strict=True)):
            if problem := _difference(a, b, tolerance):
                return f"value {index + 1} of {len(right)}: {problem}"
        return None
    raise TypeError(f"an exercise cannot compare {type(right).__name__}")


def _as_tensor(values: torch.Tensor | np.ndarray) -> torch.Tensor:
    if isinstance(values, np.ndarray):
        values = np.array(values)  # torch cannot read what is reversed in place, as array[::-1] is
    return torch.as_tensor(values).detach()


def _describe(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def _values(values: Sequence[Any]) -> str:
    return "1 value is" if len(values) == 1 else f"{len(values)} values are"


def _names(names: Iterable[str | None]) -> str:
    return ", ".join(map(repr, names))
