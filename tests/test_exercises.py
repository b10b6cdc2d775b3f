"""Exercises: a right answer passes, every known mistake is rejected by its own name, an unknown one is rejected too."""

import pkgutil
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

import samlite.notebook
from samlite.frames import PhotoFrames
from samlite.notebook.exercises import Exercise, Mistake, Stage, WrongAnswer
from samlite.notebook.solutions import exercise_cells, main, solutions_notebook, write_solutions

MODULES = [
    import_module(f"samlite.notebook.{module.name}")
    for module in pkgutil.iter_modules(samlite.notebook.__path__)
    if re.fullmatch(r"exercises_\d\d[a-z]?", module.name)
]
EXERCISES = [exercise for module in MODULES for exercise in module.EXERCISES]
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.CHAPTER)


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


# The exercises of the book


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


def unfolded(images, patch_size):
    """torch's own way to cut patches, with its last two axes put right."""
    return torch.nn.functional.unfold(images, patch_size, stride=patch_size).transpose(1, 2)


class WithEinsum(torch.nn.Module):
    """A module is an answer, too; and NumPy's arrays are results."""

    def forward(self, tokens, layer):
        q, k, v = (
            linear(tokens).unflatten(-1, (layer.heads, -1))
            for linear in (layer.query_projection, layer.key_projection, layer.value_projection)
        )
        scores = torch.einsum("blhd,bshd->bhls", q, k) * (tokens.shape[-1] // layer.heads) ** -0.5
        weights = torch.exp(scores - scores.logsumexp(-1, keepdim=True))
        context = torch.einsum("bhls,bshd->blhd", weights, v).flatten(2)
        return {"weights": weights.numpy(), "output": layer.output_projection(context)}


def in_one_expression(images, encoder):
    positioned = encoder.patch_projection(unfolded(images, encoder.patch_size)) + encoder.position_embedding
    encoded = encoder.norm(torch.nn.Sequential(*encoder.blocks)(positioned))
    embedding = encoder.channel_projection(encoded).transpose(1, 2).unflatten(2, (encoder.grid_size, -1))
    return {"positioned_patches": positioned, "encoded_patches": encoded, "image_embedding": embedding, "mine": 1}


def without_the_half_pixel(x, y, photo_size, image_size, patch_size):
    scale = image_size / max(photo_size)
    return (y * scale // patch_size) * (image_size // patch_size) + x * scale // patch_size  # a float


def corner_after_corner(boxes, encoder):
    first, second = ((boxes[..., ends] + 0.5) / encoder.image_size for ends in (slice(0, 2), slice(2, 4)))
    types = encoder.type_embedding.weight
    tokens = [encoder.coordinates(first) + types[2], encoder.coordinates(second) + types[3]]
    return torch.stack(tokens, dim=2).flatten(1, 2)


def four_cells_mixed(points, labels, encoder):
    """The table read without grid_sample, in single steps."""
    grid, table = encoder.grid_size, encoder.coordinates.position_table
    normalised = (points + 0.5) / encoder.image_size
    place = (normalised * grid - 0.5).clamp(0, grid - 1)
    low = place.long().clamp(max=grid - 2)
    share = (place - low).unsqueeze(-1)  # (B, N, 2, 1)
    at = [[table[:, low[..., 1] + i, low[..., 0] + j].permute(1, 2, 0) for j in (0, 1)] for i in (0, 1)]
    rows = [left * (1 - share[:, :, 0]) + right * share[:, :, 0] for left, right in at]
    position = rows[0] * (1 - share[:, :, 1]) + rows[1] * share[:, :, 1]
    projected = encoder.coordinates.projection(normalised)
    tokens = projected + position + encoder.type_embedding.weight[labels]
    return {"projected": projected, "position": position, "tokens": tokens}


def cells_through_the_frames(points, original_size, image_size, grid_size):
    frames = PhotoFrames(original_size, image_size, grid_size)
    return np.flip(frames.move_points(points, "original", "grid").round(), axis=1)  # floats


def as_arrays(points, labels, click, iou_predictions, low_res_logits):
    return {
        "point_coords": np.array([*points, click[:2]]), "point_labels": torch.tensor([*labels, click[2]]),
        "mask_input": torch.from_numpy(low_res_logits[[iou_predictions.argmax()]]),
    }  # fmt: skip


def each_head_alone(tokens, image, token_positions, image_positions, layer):
    width = tokens.shape[-1] // layer.heads
    q, k = layer.query_projection(tokens + token_positions), layer.key_projection(image + image_positions)
    v, weights, contexts = layer.value_projection(image), [], []
    for q_head, k_head, v_head in zip(q.split(width, -1), k.split(width, -1), v.split(width, -1), strict=True):
        weights.append(((q_head / width**0.5) @ k_head.mT).softmax(-1))
        contexts.append(weights[-1] @ v_head)
    return {"weights": torch.stack(weights, 1), "output": layer.output_projection(torch.cat(contexts, -1))}


def with_pixel_shuffle(image, upscaling):
    """torch's pixel_shuffle wants channels, rows and columns of the children in one axis, channels first."""

    def double(x, layer):
        children = torch.nn.functional.conv2d(x, layer.weight.flatten(1).T[:, :, None, None])
        return torch.nn.functional.pixel_shuffle(children, 2) + layer.bias[:, None, None]

    twice = torch.nn.functional.gelu(upscaling.norm(double(image, upscaling.double_1)))
    return {"upscaled_2x": twice, "upscaled_4x": double(twice, upscaling.double_2)}


def with_matrices(output_tokens, upscaled, mask_heads):
    vectors = [head(token) for head, token in zip(mask_heads, output_tokens.unbind(1), strict=False)]
    logits = torch.stack(vectors, 1) @ upscaled.flatten(2)
    return {"mask_vectors": torch.stack(vectors, 1), "low_res_logits": logits.unflatten(-1, upscaled.shape[2:])}


def in_a_loop(tokens, image, token_positions, image_positions, block):
    def look(x):
        return block.token_to_image(x + token_positions, image + image_positions, image)

    stages = {
        "token_self_attention": lambda x: block.self_attention(x + token_positions, x + token_positions, x),
        "token_to_image_attention": look,
        "token_mlp": block.mlp,
    }
    norms = (block.self_attention_norm, block.token_to_image_norm, block.mlp_norm)
    results, now = {}, tokens
    for (name, stage), norm in zip(stages.items(), norms, strict=True):
        results[name] = now = norm(now + stage(now))
    answers = block.image_to_token(image + image_positions, now + token_positions, now)
    return results | {"image_to_token_attention": block.image_to_token_norm(image + answers)}


OTHER_RIGHT_ANSWERS = {
    "look_it_up": lambda photo, points: torch.from_numpy(photo)[tuple(torch.tensor(points).T.flip(0))],
    "write_token_to_image": each_head_alone,
    "write_two_way_block": in_a_loop,
    "write_upscaling": with_pixel_shuffle,
    "write_mask_heads": with_matrices,
    "write_iou_head": lambda tokens, head: head(tokens)[:, -1],  # every token through it, the last one kept
    "write_box_corners": lambda boxes: torch.from_numpy(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])),
    "find_the_cells": cells_through_the_frames,
    "write_refinement_step": as_arrays,
    "write_patchify": unfolded,
    "write_self_attention": WithEinsum(),
    "build_the_encoder": in_one_expression,
    "find_the_patch": without_the_half_pixel,
    "count_the_tokens": lambda points, boxes, texts, mask: sum((points, boxes, boxes, texts, 3, 1)),
    "write_encode_points": four_cells_mixed,
    "write_encode_boxes": corner_after_corner,
    "predict_shapes": {
        "patches": [2, 576, 3072], "patch_embedding": torch.Size((2, 576, 1024)),
        "grid": (2, 24, 24, 1024), "image_embedding": np.array([2, 192, 24, 24]),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_RIGHT_ANSWERS)
def test_another_right_answer_passes_too(name):
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name == name)
    assert exercise.check(OTHER_RIGHT_ANSWERS[name])


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


# The machinery


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
