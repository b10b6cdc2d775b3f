"""The machinery of exercises: one text, two cells; values of every kind are compared, mistakes recognised."""

from fractions import Fraction
from importlib import import_module

import nbformat
import numpy as np
import pytest
import torch

from samlite.notebook.exercises import Exercise, Mistake, Stage, WrongAnswer
from samlite.notebook.solutions import main, write_solutions


def area(width, height):
    return width * height


CODE = """
def area(width, height):
    # <answer: result = ...>
    result = width * height
    # </answer>
    return result

find_the_area.check(area)
"""


def find_the_area(**changes):
    settings = {
        "name": "find_the_area", "title": "Area", "difficulty": 1, "minutes": 2, "question": "How large?",
        "code": CODE, "expected": area, "hints": ("Think.", "Multiply."),
        "stages": (Stage("small", lambda: (3, 5)), Stage("large", lambda: (30, 7))),
        "mistakes": (Mistake("sum", "An area is a product.", lambda width, height: width + height),),
    }  # fmt: skip
    return Exercise(**settings | changes)


def find_the_value(expected, **changes):
    return find_the_area(expected=lambda: expected, stages=(), mistakes=(), **changes)


def test_starter_and_solution_come_from_one_text():
    exercise = find_the_area()
    function = "def area(width, height):\n    result = ...\n    return result\n"
    assert exercise.starter == f"{function}\nfind_the_area.check(area)"
    assert exercise.solution == exercise.starter.replace("...", "width * height")
    with pytest.raises(ValueError, match="has no '# <answer"):
        find_the_area(code="area = 12")
    with pytest.raises(ValueError, match="difficulty is 1 to 5"):
        find_the_area(difficulty=6)


def test_a_right_function_passes_and_says_so():
    verdict = find_the_area().check(area)
    assert verdict and verdict.passed and repr(verdict) == "✓ Area: all 2 stages agree with samlite."


@pytest.mark.parametrize("answer", [..., lambda width, height: ...])
def test_an_unanswered_exercise_is_no_failure(answer):
    verdict = find_the_area().check(answer)
    assert not verdict and "not answered yet (about 2 minutes)" in repr(verdict)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda width, height: width + height, "stage 1 of 2 (small): this looks like “sum”. An area is a product."),
        (lambda width, height: 15, "stage 2 of 2 (large): 15 is not right; it is too small"),
        (lambda width, height: None, "this is None. Does your function end with return?"),
        (lambda width, height: 1 / 0, "stage 1 of 2 (small): your function raised ZeroDivisionError"),
        (lambda width: width, "your function raised TypeError"),
        (lambda width, height: "15", "a number is asked, not str '15'"),
        (lambda width, height: True, "a number is asked, not bool"),
        (lambda width, height: [15], "a number is asked, not list"),
        (15, "the answer is a function (or a module), int 15 was given"),
        (torch.nn.Linear, "the answer is a function (or a module), type"),
    ],
)
def test_a_wrong_function_fails_and_says_why(answer, message):
    with pytest.raises(WrongAnswer) as caught:
        find_the_area().check(answer)
    assert isinstance(caught.value, AssertionError) and message in str(caught.value)
    assert caught.value.mistake == ("sum" if "sum" in message else None)


@pytest.mark.parametrize(
    "expected, right, wrong, message",
    [
        (7, 7.0, 8, "8 is not right; it is too large"),
        (0.5, 0.50001, 0.51, "0.51 is not right"),
        ("red", "red", "blue", "'blue' is not right"),
        (True, np.True_, 1, "True or False is asked, not int 1"),
        (True, True, False, "False is not right"),
        (0.5, 0.5, float("nan"), "Did you divide 0 by 0?"),
        ((3,), (3,), (3), "1 value is asked, not int 3. A shape of one axis is written (3,)"),
        ((3,), [3], (1, 3), "1 value is asked, 2 were given"),
        ((2, 3), [2, 3], (2, 4), "value 2 of 2: 4 is not right"),
        ((2, 3), torch.Size((2, 3)), (2, 3, 1), "2 values are asked, 3 were given"),
        ((2, 3), (2, 3), "23", "2 values are asked, not str"),
        (torch.tensor([1.0, 2]), np.array([1.0, 2]), torch.tensor([1.0, 9]), "50% of the values are not"),
        (torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(3, 2), "the shape is (2, 3) in samlite, yours is (3, 2)"),
        (torch.ones(2), torch.ones(2), torch.tensor([1.0, float("nan")]), "50% of the values are not"),
        (torch.ones(2), torch.ones(2), torch.tensor([1.0, float("nan")]), "a logarithm taken of 0?"),
        (torch.tensor(0.5), 0.5, 0.6, "100% of the values are not"),
        (torch.tensor(0.5), np.float32(0.5), [0.5], "a tensor is asked, not list"),
        (0.5, torch.tensor(0.5), torch.tensor(0.6), "is not right; it is too large"),
        (0.5, np.array(0.5), torch.tensor([0.5]), "a number is asked, not Tensor"),
        (0.5, Fraction(1, 2), "1/2", "a number is asked, not str"),
        (7, torch.tensor(7), torch.tensor(True), "a number is asked, not bool"),
        (True, torch.tensor(True), torch.tensor(False), "False is not right"),
        ((2, 3), torch.tensor([2, 3]), torch.tensor(2), "2 values are asked, not int 2"),
        (("a", "b"), np.array(["a", "b"]), np.array(["b", "a"]), "value 1 of 2: 'b' is not right"),
        (torch.ones(2), torch.ones(2), [1.0, 1.0], "a tensor is asked, not list"),
        (np.ones(2), np.ones(2), [1.0, 1.0], "a NumPy array (np.array makes one of a list) is asked, not list"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 9}, {"a": 1, "b": 3}, ", b: 3 is not right"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": 1}, "your answer has no 'b'"),
        ({"a": 1}, {"a": 1}, 1, "a dict with 'a' is asked, not int 1"),
    ],
)  # fmt: skip
def test_values_of_every_kind_are_compared(expected, right, wrong, message):
    assert find_the_value(expected).check(right)
    with pytest.raises(WrongAnswer) as caught:
        find_the_value(expected).check(wrong)
    assert message in str(caught.value)


def test_a_dict_with_an_open_step_is_not_answered_yet():
    assert not find_the_value({"a": 1, "b": 2}).check({"a": 1, "b": ...})


def test_a_mistake_may_spoil_one_step_only_or_fail_to_run():
    broken = Mistake("impossible", "never", lambda: 1 / 0)
    partly = Mistake("b doubled", "Once is enough.", lambda: {"b": 4})
    exercise = find_the_area(expected=lambda: {"a": 1, "b": 2}, stages=(), mistakes=(broken, partly))
    with pytest.raises(WrongAnswer, match="b doubled"):
        exercise.check({"a": 1, "b": 4})
    with pytest.raises(WrongAnswer) as caught:
        exercise.check({"a": 4, "b": 2})
    assert caught.value.mistake is None


def test_an_answer_that_spoils_its_arguments_spoils_nothing_else():
    exercise = find_the_area(
        expected=lambda x: x + 1, stages=(Stage("zeros", lambda: (torch.zeros(3),)),),
        mistakes=(Mistake("nothing added", "Add one.", lambda x: x),),
    )  # fmt: skip
    assert exercise.check(lambda x: x.add_(1))
    with pytest.raises(WrongAnswer, match="nothing added"):
        exercise.check(lambda x: x.mul_(2))


def test_hints_come_one_by_one():
    exercise = find_the_area()
    assert [exercise.hint() for _ in range(3)] == [
        "Hint 1 of 2: Think.", "Hint 2 of 2: Multiply.", "Hint 1 of 2: Think."
    ]  # fmt: skip
    assert "no hint" in find_the_area(hints=()).hint()
    assert "Hint 2 of 2" in exercise._repr_markdown_() and "●○○○○" in exercise._repr_markdown_()
    assert "width * height" not in repr(exercise) + exercise._repr_markdown_()


def test_a_notebook_shows_the_message_and_no_traceback_of_the_checker():
    with pytest.raises(WrongAnswer) as caught:
        find_the_area().check(lambda width, height: width + height)
    assert caught.value._render_traceback_() == [f"✗ {caught.value}"]


def test_solutions_are_written_executed(tmp_path, monkeypatch):
    module = import_module("types").ModuleType("tests_exercises_of_nothing")
    module.CHAPTER, module.TITLE, module.IMPORTS, module.EXERCISES = "99_nothing", "nothing", "import math", ()
    monkeypatch.setattr("samlite.notebook.solutions.import_module", lambda name: module)
    monkeypatch.setattr("samlite.notebook.solutions.write_solutions", lambda module: write_solutions(module, tmp_path))
    monkeypatch.setattr(
        "samlite.notebook.solutions.solutions_notebook",
        lambda module: nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("6 * 7", id="only")]),
    )
    assert main(["anything"]) == 0
    (cell,) = nbformat.read(tmp_path / "99_nothing.ipynb", as_version=4).cells
    assert cell.execution_count == 1 and cell.outputs[0].data["text/plain"] == "42"
