"""Homework: a notebook of exercises with the numbers of a seed, and the verdicts on what comes back.

A student's notebook is executed in a kernel of its own, in an empty folder, with a time limit. Then each answer is
asked for what it gives, and compared here, with this process's own copy of the exercise. A kernel is no sandbox: who
grades strangers does it in a container without a network.
"""

from __future__ import annotations

import ast
import csv
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from samlite.notebook.answers import from_data
from samlite.notebook.execute import METADATA
from samlite.notebook.exercises import Exercise, WrongAnswer, exercises_of

SECONDS = 300  # for one notebook, from the start of its kernel to the last answer
BYTES = 500e6  # of one answer


@dataclass(frozen=True)
class Row:
    """One exercise of one student. ``points`` are the exercise's difficulty, or 0."""

    file: str
    seed: int | None
    exercise: str
    points: int
    of: int
    verdict: str  # right, wrong, empty, missing, or failed
    mistake: str
    message: str


def chapter_module(chapter: str) -> str:
    """ "05" → "samlite.notebook.exercises_05". Raises ValueError where a chapter has no exercises."""
    name = f"samlite.notebook.exercises_{chapter}"
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"there are no exercises of a chapter {chapter!r}: it is named by its number, as 05") from None
    return name


def handout(chapter: str, seed: int) -> nbformat.NotebookNode:
    """The homework of one chapter: cards and empty cells, with the numbers of the seed and without any solution."""
    name = chapter_module(chapter)
    module = import_module(name)
    cells = [
        new_markdown_cell(
            f"# Exercises: {module.TITLE}\n\nVariant {seed}. Replace each `...`, run the cell, and hand this file in. "
            "The checker tells you what the grader will say.",
            id="title",
        ),
        new_code_cell(
            f"{module.IMPORTS}\n\nfrom {name} import EXERCISES\n\n"
            f"tasks = {{exercise.name: exercise.with_seed({seed}) for exercise in EXERCISES}}",
            id="imports",
        ),
    ]
    for exercise in module.EXERCISES:
        exercise = exercise.with_seed(seed)
        identifier = exercise.name.replace("_", "-")
        cells += [
            new_code_cell(f'{exercise.name} = tasks["{exercise.name}"]\n{exercise.name}', id=f"{identifier}-card"),
            new_code_cell(exercise.starter, id=f"{identifier}-answer"),
        ]
    about = {"samlite": {"module": name, "seed": seed}}
    return new_notebook(cells=cells, metadata={**METADATA, **about})


def grade(paths: Iterable[Path], seed: int | None = None, seconds: float = SECONDS) -> Iterator[Row]:
    """A row for every exercise of every notebook. A notebook that cannot be read or run has rows, too.

    ``seed`` is the variant that everybody had to solve; without it, it is the one that each notebook names.
    """
    for path in paths:
        try:
            yield from _grade_one(path, seed, seconds)
        except Exception as error:  # whatever one notebook does, the others are graded
            said = (str(error).splitlines() or [""])[0]  # some errors have no words
            message = f"this notebook cannot be graded: {type(error).__name__}: {said:.150}"
            yield Row(str(path), seed, "", 0, 0, "failed", "", message)


def _grade_one(path: Path, seed: int | None, seconds: float) -> Iterator[Row]:
    notebook = nbformat.read(path, as_version=4)
    about = notebook.metadata.get("samlite", {})
    module, written = about.get("module"), about.get("seed")
    if not isinstance(module, str) or not module.startswith("samlite.notebook.exercises_"):
        raise ValueError("its metadata names no exercises; only notebooks made by `handout` can be graded")
    if not isinstance(written, int) or (seed is not None and written != seed):
        raise ValueError(f"it holds variant {written!r}" + (f", variant {seed} was asked" if seed is not None else ""))
    with tempfile.TemporaryDirectory() as folder:
        student = _Student(notebook, module, written, Path(folder), time.monotonic() + seconds)
        with student.client.setup_kernel():
            student.run()
            for exercise in exercises_of(module):
                yield _row(str(path), written, exercise.with_seed(written), student)


def _row(file: str, seed: int, exercise: Exercise, student: _Student) -> Row:
    def row(verdict: str, message: str, mistake: str = "") -> Row:
        points = exercise.difficulty if verdict == "right" else 0
        return Row(file, seed, exercise.name, points, exercise.difficulty, verdict, mistake, f"{message:.1000}")

    expression = student.answers.get(exercise.name)
    if expression is None:
        return row("missing", f"no cell calls {exercise.name}.check(…)")
    try:
        verdict = exercise.check(student.answer(exercise, expression))
    except WrongAnswer as wrong:
        return row("wrong", str(wrong), wrong.mistake or "")
    except _NoAnswer as error:
        return row("failed", str(error))
    except Exception as error:  # evaluating the answer failed, before anything could be compared
        return row("failed", f"{type(error).__name__}: {error}")
    return row("right" if verdict else "empty", verdict.message)


class _NoAnswer(BaseException):
    """The kernel gave nothing back. No Exception, for the checker takes those for the student's own."""


class _Client(NotebookClient):
    """Keeps errors and drops what a notebook prints: nobody reads it, and it may be without end."""

    def output(self, outs: list, msg: dict, display_id: str | None, cell_index: int) -> Any:
        return super().output(outs, msg, display_id, cell_index) if msg["msg_type"] == "error" else None


class _Student:
    """One student's kernel. ``answers``: exercise → the expression that gives what was handed to its checker."""

    def __init__(self, notebook: nbformat.NotebookNode, module: str, seed: int, folder: Path, deadline: float) -> None:
        self.notebook, self.module, self.seed, self.folder = notebook, module, seed, folder
        self.client = _Client(
            notebook, kernel_name=METADATA["kernelspec"]["name"], allow_errors=True, interrupt_on_timeout=True,
            store_widget_state=False, iopub_timeout=10,
            timeout_func=lambda cell: max(1, int((deadline - time.monotonic()) / 3)),
            shutdown_kernel="immediate", resources={"metadata": {"path": str(folder)}},
        )  # fmt: skip
        self.deadline = deadline
        self.answers: dict[str, str] = {}
        self.over = ""  # why the kernel can be asked no more

    def run(self) -> None:
        """Every code cell in order; one that fails does not stop the rest, as in a lab."""
        for index, cell in enumerate(list(self.notebook.cells)):
            if cell.cell_type == "code":
                self._execute(cell, index)
                for name, expression in _checked(cell.source).items():
                    self.answers[name] = self._kept(name, expression)

    def _kept(self, name: str, expression: str) -> str:
        """The answer under a name of its own, at once: a later cell may use the student's name for something else."""
        cell = self._added(f"_answer_to_{name} = {expression}")
        failed = self.over or any(output.output_type == "error" for output in cell.get("outputs", []))
        return expression if failed else f"_answer_to_{name}"

    def _added(self, source: str) -> nbformat.NotebookNode:
        """One more cell, run."""
        cell = new_code_cell(source)
        self.notebook.cells.append(cell)
        self._execute(cell, len(self.notebook.cells) - 1)
        return cell

    def _execute(self, cell: nbformat.NotebookNode, index: int) -> None:
        if self.over:
            return
        try:
            self.client.execute_cell(cell, index)
        except Exception as error:
            self.over = f"the notebook stopped the kernel: {type(error).__name__}"
        if time.monotonic() >= self.deadline:
            self.over = "the notebook ran longer than it may"

    def answer(self, exercise: Exercise, expression: str) -> Any:
        """What the checker gets: a value, or a function that asks the kernel, stage by stage."""
        if not exercise.stages:
            return self._ask(exercise, expression, None)["value"]
        found = self._ask(exercise, expression, None)
        if not found.get("callable"):
            return found["value"]
        stages = iter(range(len(exercise.stages)))
        return lambda *arguments: self._ask(exercise, expression, next(stages))["value"]

    def _ask(self, exercise: Exercise, expression: str, stage: int | None) -> dict[str, Any]:
        path = self.folder / f"{exercise.name}-{stage}-{time.monotonic_ns()}.pt"
        about = (str(path), self.module, exercise.name, self.seed, stage)
        call = f"write_answer({expression}, *{about!r})"
        cell = self._added(f"from samlite.notebook.answers import write_answer\n{call}")
        if not path.is_file():
            errors = [output.evalue for output in cell.get("outputs", []) if output.output_type == "error"]
            raise _NoAnswer(self.over or f"`{expression}` could not be evaluated: {' '.join(errors):.150}")
        if path.stat().st_size > BYTES:
            raise _NoAnswer(f"`{expression}` gives more than {BYTES / 1e6:.0f} MB")
        try:
            found = torch.load(path, weights_only=True)  # data alone: a file that holds code is refused
            error, value, is_function = found.get("error"), from_data(found.get("value")), found.get("callable")
        except Exception as problem:
            kind = type(problem).__name__
            raise _NoAnswer(f"`{expression}` wrote no answer that can be read: {kind}") from problem
        if error:
            kind, message = map(str, error)
            raise type(kind, (Exception,), {})(message)  # for the checker, as if it had called the function itself
        return {"value": value, "callable": is_function}


def _checked(source: str) -> dict[str, str]:
    """NAME.check(EXPRESSION) → {NAME: EXPRESSION}, wherever it stands in a cell; the last one counts."""
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        calls.sort(key=lambda call: (call.end_lineno, call.end_col_offset))  # as they stand in the cell
        return {
            call.func.value.id: ast.unparse([*call.args, *(keyword.value for keyword in call.keywords)][0])
            for call in calls
            if isinstance(call.func, ast.Attribute) and call.func.attr == "check" and (call.args or call.keywords)
            if isinstance(call.func.value, ast.Name)
        }
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # of the whole cell: its last line alone is read
        lines = source.strip().splitlines()
        return _checked(lines[-1]) if len(lines) > 1 else {}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line a row, for a spreadsheet."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # the mark tells spreadsheets that it is UTF-8
        table = csv.DictWriter(file, [field.name for field in fields(Row)])
        table.writeheader()
        table.writerows(_harmless(asdict(row)) for row in rows)


def _harmless(row: dict[str, Any]) -> dict[str, Any]:
    """A spreadsheet takes a text that begins with = + - @ for a formula; an apostrophe in front keeps it a text."""
    return {name: f"'{text}" if str(text)[:1] in "=+-@" and text != "" else text for name, text in row.items()}
