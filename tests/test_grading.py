"""Homework: variants by seed that the checkers hold for, and a grader that no notebook can stop or fool."""

import csv
from pathlib import Path

import nbformat
import pytest
import torch

from samlite import command_line
from samlite.notebook import exercises_00, exercises_01, exercises_05, exercises_14, grading, variants
from samlite.notebook.answers import as_data, from_data, write_answer
from samlite.notebook.exercises import WrongAnswer
from samlite.notebook.grading import Row, grade, handout, write_csv
from samlite.notebook.mutation_table import exercise_modules

SEEDS = (0, 7, 2026)
MODULES = tuple(exercise_modules())
VARIED = [(module, exercise) for module in MODULES for exercise in module.EXERCISES if exercise.variant]

each_variant = pytest.mark.parametrize("seed", SEEDS)
each_varied = pytest.mark.parametrize("module, exercise", VARIED, ids=lambda item: getattr(item, "name", ""))


def solved(module, exercise):
    """What the worked solution hands to the checker."""
    names = {}
    exec(module.IMPORTS, names)
    *lines, last = exercise.solution.splitlines()
    exec("\n".join(lines), names)
    return eval(last.removeprefix(f"{exercise.name}.check(").removesuffix(")"), names)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.CHAPTER)
def test_an_exercise_without_variants_is_itself_for_every_seed(module):
    for exercise in module.EXERCISES:
        assert exercise.variant or exercise.with_seed(3) is exercise


@each_varied
@each_variant
def test_the_solution_of_a_variant_passes_and_its_mistakes_fail_by_name(module, exercise, seed):
    variant = exercise.with_seed(seed)
    assert (variant.name, variant.difficulty) == (exercise.name, exercise.difficulty)
    assert variant.check(solved(module, variant))
    for mistake in variant.mistakes:
        with pytest.raises(WrongAnswer) as caught:
            variant.check(variant.answer_with(mistake))
        assert caught.value.mistake == mistake.name


@each_varied
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(module, exercise):
    anew = getattr(exercise.variant, "__wrapped__", exercise.variant)(SEEDS[0])  # drawn again, not the one that is kept
    assert anew is not exercise.with_seed(SEEDS[0])
    of_seeds = [*map(exercise.with_seed, SEEDS), anew]
    drawn = [[stage.arguments() for stage in each.stages] if each.stages else each.question for each in of_seeds]
    assert drawn[0] == drawn[-1] and all(drawn[0] != other for other in drawn[1:-1])


def test_the_answer_of_another_seed_fails():
    for module, exercise in VARIED:
        if not exercise.with_seed(0).stages:
            with pytest.raises(WrongAnswer):
                exercise.with_seed(SEEDS[0]).check(solved(module, exercise.with_seed(SEEDS[1])))


def test_a_variant_that_cannot_tell_its_mistakes_apart_is_not_handed_out(monkeypatch):
    monkeypatch.setattr(variants, "DRAWS", 2)
    make = exercises_01.predict_the_answers.variant.__wrapped__.args[0]
    with pytest.raises(RuntimeError, match="seed 1: none of 2 variants"):  # a square photo hides the swap of its sides
        variants.redraw(make, lambda generator: {"height": 640, "width": 640}, 1)


@pytest.mark.parametrize("seed", range(40))
def test_a_share_of_the_peak_is_below_one(seed):
    assert 0 < exercises_14.find_the_share.with_seed(seed).expected() < 1


def test_a_handout_holds_questions_and_no_answer():
    notebook = handout("05", seed=7)
    nbformat.validate(notebook)
    text = "".join(cell.source for cell in notebook.cells)
    for exercise in exercises_05.EXERCISES:
        variant = exercise.with_seed(7)
        assert variant.starter in text and variant.solution not in text
    assert "<answer" not in text and notebook.metadata["samlite"]["seed"] == 7
    with pytest.raises(ValueError, match="no exercises of a chapter '77'"):
        handout("77", seed=1)


def test_what_an_answer_gives_travels_as_data(tmp_path):
    given = {"a": torch.ones(2, requires_grad=True), "b": (1, ..., "x"), "c": torch.ones(2).numpy(), "d": object()}
    torch.save(as_data(given), tmp_path / "data.pt")
    back = from_data(torch.load(tmp_path / "data.pt", weights_only=True))
    assert back["b"] == [1, ..., "x"] and back["d"] is None
    assert torch.equal(back["a"], torch.ones(2)) and torch.equal(back["c"], torch.ones(2))
    where = (str(tmp_path / "answer.pt"), "samlite.notebook.exercises_00", "measure_the_overlap", 7, 0)
    write_answer(lambda first, second: 1 / 0, *where)
    assert torch.load(where[0], weights_only=True)["error"][0] == "ZeroDivisionError"


@pytest.mark.parametrize(
    "source, found",
    [
        ("task.check(area)", {"task": "area"}),
        ("x = 1\nprint(task.check({'a': 1}))", {"task": "{'a': 1}"}),
        ("this is no python\ntask.check(area)", {"task": "area"}),
        ("task.check()", {}),
        ("task.check(answer=area)", {"task": "area"}),
        ("for guess in (1, 2):\n    task.check(guess)\ntask.check(area)", {"task": "area"}),
        ("task.check(area)\nif True:\n    print(task.check(other))", {"task": "other"}),
        ("-" * 7000 + "1", {}),
        ("(", {}),
    ],
)
def test_answers_are_found_where_the_checker_is_called(source, found):
    assert grading._checked(source) == found


def test_a_table_runs_no_formula_of_a_student(tmp_path):
    write_csv([Row("=cmd|x.ipynb", 7, "task", 0, 2, "wrong", "x and y swapped", "–")], tmp_path / "points.csv")
    (row,) = csv.DictReader((tmp_path / "points.csv").open(encoding="utf-8-sig"))
    assert row["file"] == "'=cmd|x.ipynb" and row["mistake"] == "x and y swapped" and row["of"] == "2"


# Whole notebooks, in kernels

FAKES = """
import samlite.notebook.exercises as machinery
machinery.Exercise.check = lambda self, answer: machinery.Verdict(True, "right, of course")
machinery._difference = lambda *_: None
predict_the_answer = machinery
for each in tasks.values():
    each.expected = lambda *_: 0
    each.stages = ()
"""


RENAMED_CHOICE = exercises_00.choose_the_mask.solution.replace("def choose(", "def answer(").rsplit("\n", 1)[0]


def student(
    folder: Path, name: str, answers: dict[str, str], before: str = "", without: str = "", kernel: str = "python3"
) -> None:
    """A homework of chapter 00, seed 7: solved, but for the answers given."""
    notebook = handout("00", seed=7)
    notebook.metadata["kernelspec"] = notebook.metadata["kernelspec"] | {"name": kernel}
    for exercise in exercises_00.EXERCISES:
        identifier = exercise.name.replace("_", "-")
        (cell,) = (cell for cell in notebook.cells if cell.id == f"{identifier}-answer")
        cell.source = answers.get(exercise.name, exercise.with_seed(7).solution)
    notebook.cells = [cell for cell in notebook.cells if not (without and cell.id.startswith(without))]
    if before:
        notebook.cells.insert(2, nbformat.v4.new_code_cell(before))
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> dict[str, list[Row]]:
    folder = tmp_path_factory.mktemp("students")
    swapped = exercises_00.predict_the_answer.with_seed(7)
    wrong = {**swapped.expected(), "masks": swapped.mistakes[0].answer()["masks"]}
    student(folder, "a_right", {})
    student(folder, "b_fakes", {
        "predict_the_answer": f"shapes = {wrong}\npredict_the_answer.check(shapes)",
        "measure_the_overlap": "def iou(a, b):\n    return 0\nmeasure_the_overlap.check(iou)",
        "choose_the_mask": "choose_the_mask.check(lambda *_: open('/nowhere'))",
    }, before=FAKES)  # fmt: skip
    student(folder, "c_partly", {
        "measure_the_overlap": exercises_00.measure_the_overlap.starter,
        "choose_the_mask": "choose_the_mask.check(undefined)",
    }, without="predict-the-answer")  # fmt: skip
    student(folder, "h_renamed", {
        "measure_the_overlap": "answer = 7\nmeasure_the_overlap.check(answer)",
        "choose_the_mask": RENAMED_CHOICE + "\nprint('much ' * 1000000)\nchoose_the_mask.check(answer)",
        "predict_the_answer": exercises_00.predict_the_answer.with_seed(7).solution + "\nanswer = None",
    }, kernel="a-kernel-of-my-own")  # fmt: skip
    student(folder, "d_dies", {"measure_the_overlap": "import os\nos._exit(1)"})
    text = (folder / "a_right.ipynb").read_text(encoding="utf-8")
    (folder / "e_truncated.ipynb").write_text(text[: len(text) // 2], encoding="utf-8")
    nbformat.write(nbformat.v4.new_notebook(), folder / "f_other.ipynb")
    found: dict[str, list[Row]] = {}
    for row in grade([*sorted(folder.glob("*.ipynb")), folder / "g_absent.ipynb"], seed=7):
        found.setdefault(Path(row.file).stem[2:], []).append(row)
    return found


def test_the_right_answers_get_all_points(rows):
    assert [row.verdict for row in rows["right"]] == ["right"] * len(exercises_00.EXERCISES)
    assert all(row.points == row.of > 0 for row in rows["right"])


def test_a_notebook_that_rewrites_the_checker_gains_nothing(rows):
    assert [row.points for row in rows["fakes"]] == [0] * len(exercises_00.EXERCISES)
    assert rows["fakes"][0].mistake == "width first"


def test_one_name_for_two_answers_and_a_kernel_of_another_name(rows):
    """Each answer is what it was when it was checked; the grader's own Python runs it; what is printed is dropped."""
    by_name = {row.exercise: row for row in rows["renamed"]}
    assert by_name["choose_the_mask"].verdict == "right" and by_name["predict_the_answer"].verdict == "right"
    assert by_name["measure_the_overlap"].verdict == "wrong" and "int 7" in by_name["measure_the_overlap"].message


def test_missing_empty_and_broken_answers_have_clear_rows(rows):
    by_name = {row.exercise: row for row in rows["partly"]}
    missing, empty, broken = (
        by_name[name] for name in ("predict_the_answer", "measure_the_overlap", "choose_the_mask")
    )
    assert by_name["look_it_up"].verdict == "right"
    assert missing.verdict == "missing" and "predict_the_answer.check" in missing.message
    assert empty.verdict == "empty" and empty.points == 0
    assert broken.verdict == "failed" and "undefined" in broken.message


def test_no_notebook_stops_the_batch(rows):
    assert sum(row.points for row in rows["dies"]) == 0 and rows["dies"][-1].verdict == "failed"
    for name in ("truncated", "other", "absent"):
        (row,) = rows[name]
        assert row.verdict == "failed" and "cannot be graded" in row.message


def test_a_notebook_that_never_ends_is_cut_off(tmp_path):
    student(tmp_path, "loops", {"choose_the_mask": "while True:\n    pass"})
    found = list(grade([tmp_path / "loops.ipynb"], seconds=12))
    assert found[-1].verdict in ("failed", "missing") and not found[-1].points


def test_the_two_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("samlite.teaching_commands.grade", lambda *_: [
        Row("ann.ipynb", 7, "one", 2, 2, "right", "", "fine"), Row("bob.ipynb", 7, "one", 0, 2, "wrong", "sum", "no"),
    ])  # fmt: skip
    file, table = tmp_path / "homework.ipynb", tmp_path / "points.csv"
    assert command_line.main(["handout", "--chapter", "05", "--seed", "7", "-o", str(file)]) == 0
    assert nbformat.read(file, as_version=4).cells[1].source.endswith("with_seed(7) for exercise in EXERCISES}")
    assert command_line.main(["handout", "--chapter", "05", "--seed", "-1"]) == 2
    solved = file.read_text(encoding="utf-8").replace("...", "answered")
    file.write_text(solved, encoding="utf-8")
    assert command_line.main(["handout", "--chapter", "05", "--seed", "7", "-o", str(file)]) == 2
    assert file.read_text(encoding="utf-8") == solved and "answers in it" in capsys.readouterr().err
    assert command_line.main(["grade", str(file), "--csv", str(table)]) == 0
    asked = []
    monkeypatch.setattr("samlite.teaching_commands.grade", lambda files, *_: asked.extend(files) or [])
    assert command_line.main(["grade", str(tmp_path / "home*.ipynb"), str(tmp_path / "none*.ipynb")]) == 0
    assert asked == [file, tmp_path / "none*.ipynb"], "a star that the shell has left as it was"
    printed = capsys.readouterr().out
    assert "ann.ipynb: 2 of 2 points" in printed and "sum" in printed
    assert len(table.read_text(encoding="utf-8-sig").splitlines()) == 3
