"""Prompts that are refused, with an error that names the argument, and prompts that may look odd and are right."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from bad_inputs import (
    ALONE,
    BAD_BOX,
    HEIGHT,
    LABELS,
    LENGTHS,
    MASK_INPUT,
    NAN_POINT,
    NOTHING,
    OUTSIDE,
    PHOTO,
    TOO_EARLY,
    TWO_BOXES,
    WIDTH,
    assert_says,
    ids,
    small_sam,
)

from samlite import SamPredictor


@pytest.fixture(scope="module")
def sam():
    return small_sam()


@pytest.fixture(scope="module")
def predictor(sam):
    predictor = SamPredictor(sam)
    predictor.set_image(PHOTO)
    return predictor


P, L, BOX = [[70, 50]], [1], [10, 10, 90, 80]
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[20:60, 30:90] = True
SMALL = np.zeros((1, 64, 64), np.float32)
SMALL[:, 20:40, 20:40] = 1
SIZE = "140 wide and 97 high"

# (row, name, arguments of predict, error, what its message must say)
REFUSED_PROMPTS = [
    (OUTSIDE, "far outside", {"point_coords": [[5000, 20], [7, 7], [20, 400]], "point_labels": [1, 1, 1]},
     ValueError, ["point_coords", "(5000, 20)", "(20, 400)", SIZE, "(x, y)"]),
    (OUTSIDE, "just outside", {"point_coords": [[140.5, 20]], "point_labels": [1]},
     ValueError, ["point_coords", "(140.5, 20)", SIZE]),
    (OUTSIDE, "negative", {"point_coords": [[-3, 20]], "point_labels": [1]},
     ValueError, ["point_coords", "(-3, 20)", SIZE]),
    (OUTSIDE, "row and column", {"point_coords": [[20, 130]], "point_labels": [1]},
     ValueError, ["point_coords", "(20, 130)", SIZE, "not (row, column)"]),
    (OUTSIDE, "many", {"point_coords": [[-k, 0] for k in range(1, 9)], "point_labels": [1] * 8},
     ValueError, ["point_coords", "(-5, 0) and 3 more", SIZE]),
    (NAN_POINT, "NaN", {"point_coords": [[1, 1], [np.nan, 20]], "point_labels": [1, 1]},
     ValueError, ["point_coords", "NaN", "1 of 2", "(nan, 20)", "index 1", "finite"]),
    (NAN_POINT, "inf", {"point_coords": [[3, np.inf]], "point_labels": [1]},
     ValueError, ["point_coords", "infinite", "(3, inf)", "finite"]),
    (NAN_POINT, "NaN box", {"box": [1, 2, np.nan, 4]}, ValueError, ["box", "NaN", "(1, 2, nan, 4)", "finite"]),
    (NAN_POINT, "NaN mask", {"mask_input": SMALL * np.nan}, ValueError, ["mask_input", "NaN", "finite"]),
    (NAN_POINT, "NaN text", {"text": [np.nan, 1]}, ValueError, ["text", "NaN", "finite"]),
    (LABELS, "2", {"point_coords": P, "point_labels": [2]},
     ValueError, ["point_labels has 2", "1 (the point is on the object) or 0"]),
    (LABELS, "0.5", {"point_coords": P, "point_labels": [0.5]}, ValueError, ["point_labels has 0.5"]),
    (LABELS, "-1", {"point_coords": P, "point_labels": [-1]}, ValueError, ["point_labels has -1"]),
    (LABELS, "NaN", {"point_coords": P, "point_labels": [np.nan]}, ValueError, ["point_labels has nan"]),
    (ALONE, "no points", {"point_labels": L},
     ValueError, ["point_labels was given without point_coords", "(x, y)"]),
    (ALONE, "no labels", {"point_coords": P},
     ValueError, ["point_coords was given without point_labels", "1 (object) or 0"]),
    (ALONE, "no labels, with a box", {"point_coords": P, "box": BOX},
     ValueError, ["point_coords was given without point_labels"]),
    (LENGTHS, "lengths differ", {"point_coords": P, "point_labels": [1, 0]},
     ValueError, ["point_coords has shape (1, 2)", "point_labels (2,)", "one label per point"]),
    (LENGTHS, "1-D point", {"point_coords": [70, 50], "point_labels": L},
     ValueError, ["point_coords has shape (2,)", "point_labels (1,)", "(N, 2)", "[[x, y]]"]),
    (LENGTHS, "3 columns", {"point_coords": [[70, 50, 1]], "point_labels": L},
     ValueError, ["point_coords has shape (1, 3)", "point_labels (1,)", "(N, 2)"]),
    (LENGTHS, "a bare label", {"point_coords": P, "point_labels": 1},
     ValueError, ["point_coords has shape (1, 2)", "point_labels ()", "one label per point"]),
    (LENGTHS, "batch axis", {"point_coords": [P], "point_labels": [L]},
     ValueError, ["point_coords has shape (1, 1, 2)", "(N, 2)"]),
    (LENGTHS, "ragged list", {"point_coords": [[1, 2], [3]], "point_labels": [1, 1]},
     TypeError, ["point_coords", "array of numbers", "[[1, 2], [3]]"]),
    (LENGTHS, "words", {"point_coords": "70,50", "point_labels": L},
     TypeError, ["point_coords", "array of numbers", "'70,50'"]),
    (LENGTHS, "a dictionary", {"point_coords": {"x": 70}, "point_labels": L},
     TypeError, ["point_coords", "array of numbers", "{'x': 70}"]),
    (NOTHING, "nothing", {}, ValueError, ["no prompt was given", "point_coords", "box", "mask_input"]),
    (NOTHING, "(0, 2)", {"point_coords": np.zeros((0, 2)), "point_labels": np.zeros(0)},
     ValueError, ["point_coords has shape (0, 2)", "no point in it", "at least one point"]),
    (NOTHING, "(0, 4) boxes", {"boxes": np.zeros((0, 4))}, ValueError, ["boxes has shape (0, 4)", "(M, 4)"]),
    (NOTHING, "(0, E) text", {"text": np.zeros((0, 4))}, ValueError, ["text has shape (0, 4)", "(X, E)"]),
    (BAD_BOX, "inverted", {"box": [90, 80, 10, 10]},
     ValueError, ["box", "(90, 80, 10, 10)", "x1 < x2", "did you pass x, y, width, height?"]),
    (BAD_BOX, "inverted in y", {"box": [10, 80, 90, 10]}, ValueError, ["box", "y1 < y2"]),
    (BAD_BOX, "zero area", {"box": [10, 10, 10, 80]},
     ValueError, ["box", "(10, 10, 10, 80)", "x1 < x2", "did you pass x, y, width, height?"]),
    (BAD_BOX, "x, y, width, height", {"box": [100, 60, 35, 30]},
     ValueError, ["box", "(100, 60, 35, 30)", "did you pass x, y, width, height?"]),
    (BAD_BOX, "beyond the photo", {"box": [10, 10, 170, 80]},
     ValueError, ["box", "(10, 10, 170, 80)", SIZE, "did you pass x, y, width, height?", "np.clip"]),
    (BAD_BOX, "one of several", {"boxes": [BOX, [90, 80, 10, 10]]},
     ValueError, ["boxes has (90, 80, 10, 10)", "did you pass"]),
    (BAD_BOX, "three numbers", {"box": [1, 2, 3]}, ValueError, ["box has shape (3,)", "(x1, y1, x2, y2)"]),
    (TWO_BOXES, "box", {"box": [BOX, BOX]},
     ValueError, ["box has shape (2, 4)", "2 boxes", "boxes=", "predict_torch", "apply_boxes_torch"]),
    (TWO_BOXES, "box and boxes", {"box": BOX, "boxes": [BOX]}, ValueError, ["box and boxes were both given", "(M, 4)"]),
    (TWO_BOXES, "boxes for one box", {"boxes": BOX}, ValueError, ["boxes has shape (4,)", "(M, 4)"]),
    (MASK_INPUT, "the photo's size", {"mask_input": MASK},
     ValueError, ["mask_input has shape (97, 140)", "(1, 64, 64)", "logits", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "with an axis", {"mask_input": MASK[None]},
     ValueError, ["mask_input has shape (1, 97, 140)", "(1, 64, 64)", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "three at once", {"mask_input": np.zeros((3, 64, 64))},
     ValueError, ["mask_input has shape (3, 64, 64)", "low_res_logits[k:k + 1]"]),
    (MASK_INPUT, "a ragged list", {"mask_input": [[1, 2], [3]]},
     TypeError, ["mask_input", "array of numbers", "[[1, 2], [3]]"]),
    (MASK_INPUT, "bool of the right size", {"mask_input": SMALL > 0},
     TypeError, ["mask_input is bool", "logits", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "a soft picture of the right size", {"mask_input": np.tile(np.uint8([0, 90, 200, 255]), (1, 64, 16))},
     TypeError, ["mask_input is uint8", "float logits", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "0 and 1 of the right size", {"mask_input": SMALL},
     ValueError, ["mask_input holds nothing but 0 and 1", "logits", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "0 and 255 of the right size", {"mask_input": SMALL * 255},
     ValueError, ["mask_input holds nothing but 0 and 255", "logits"]),
    (TOO_EARLY, "predict", {"point_coords": P, "point_labels": L}, RuntimeError, ["set_image"]),
]  # fmt: skip

TEXT_PROMPTS = [
    ({"text": "a cat"}, TypeError, ["text is a string", "embedding"]),
    ({"text": np.ones(4)}, ValueError, ["text was given", "text_width"]),
    ({"text": np.ones((1, 2, 3))}, ValueError, ["text has shape (1, 2, 3)", "(X, E)"]),
]


@pytest.mark.parametrize(("row", "name", "arguments", "kind", "says"), REFUSED_PROMPTS, ids=ids(REFUSED_PROMPTS))
def test_prompt_is_refused(row, name, arguments, kind, says, sam, predictor):
    if row == TOO_EARLY:
        predictor = SamPredictor(sam)
    with pytest.raises(kind) as error:
        predictor.predict(**arguments)
    assert_says(error, says)


@pytest.mark.parametrize(("arguments", "kind", "says"), TEXT_PROMPTS)
def test_text_is_refused(arguments, kind, says, predictor):
    with pytest.raises(kind) as error:
        predictor.predict(**arguments)
    assert_says(error, says)


@pytest.mark.parametrize(
    "arguments",
    [
        {"point_coords": P, "point_labels": L},
        {"point_coords": ((0, 0), (WIDTH, HEIGHT)), "point_labels": (True, 0.0)},
        {"box": (0, 0, WIDTH, HEIGHT)},
        {"box": [BOX]},
        {"boxes": [BOX, BOX]},
    ],
    ids=["lists", "tuples, on the very edge", "the whole photo", "box (1, 4)", "several boxes"],
)
def test_prompt_is_accepted(arguments, predictor):
    masks, iou_predictions, _ = predictor.predict(**arguments)
    assert masks.shape == (3, HEIGHT, WIDTH)
    assert np.isfinite(iou_predictions).all()


def test_mask_to_logits_wants_a_mask_of_the_photo(predictor):
    with pytest.raises(ValueError, match=re.escape("mask has shape (140, 97): the photo's is expected, (97, 140)")):
        predictor.mask_to_logits(MASK.T)
    with pytest.raises(ValueError, match="choose a threshold"):
        predictor.mask_to_logits(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH))
    with pytest.raises(TypeError, match=re.escape("mask cannot be read as an array of numbers") + ".*it is .*1, 2.*3"):
        predictor.mask_to_logits([[1, 2], [3]])


@pytest.mark.parametrize("kind", ["bfloat16", "with gradients"])
def test_tensors_of_every_kind_are_read(kind, predictor):
    """NumPy has no bfloat16, and takes no tensor that gradients flow through."""

    def tensor(values):
        values = torch.as_tensor(np.asarray(values), dtype=torch.float32)
        return values.bfloat16() if kind == "bfloat16" else values.requires_grad_()

    expected = predictor.predict(P, L, BOX, 4 * SMALL)[2]
    np.testing.assert_array_equal(predictor.predict(tensor(P), tensor(L), tensor(BOX), tensor(4 * SMALL))[2], expected)
    np.testing.assert_array_equal(predictor.mask_to_logits(tensor(MASK)), predictor.mask_to_logits(MASK))


WITHOUT_TYPE_CHECKS = """
import torch
from samlite import SamAutomaticMaskGenerator, SamPredictor, document_sam, sam_model_registry
sam = document_sam(image_size=64, patch_size=8, width=32, depth=1, heads=2, channels=32, decoder_heads=4)
embedding, points = torch.zeros(1, 32, 8, 8), torch.zeros(1, 3, 2)
for wrong in (
    lambda: SamPredictor(sam_model_registry["tiny"]),
    lambda: SamAutomaticMaskGenerator(sam_model_registry["tiny"]),
    lambda: sam.decode_masks(embedding, points, torch.zeros(1, 1, dtype=torch.long)),
    lambda: sam.decode_masks(embedding, points[:, :1], torch.zeros(1, 3, dtype=torch.long)),
):
    try:
        wrong()
    except (TypeError, ValueError) as error:
        print(type(error).__name__, error)
"""


def test_what_types_would_refuse_is_refused_in_words_where_nobody_checks_them():
    """As a reader's script runs it: a model that was not built, another number of labels than of points."""
    said = subprocess.run([sys.executable, "-c", WITHOUT_TYPE_CHECKS], capture_output=True, text=True, check=True)
    built = 'is a function: a model is expected, as sam_model_registry["tiny"]() makes it'
    pairs = "(B, N, 2) and (B, N) are expected, a label for every point"
    assert said.stdout.splitlines() == [
        f"TypeError sam_model {built}",
        f"TypeError model {built}",
        f"ValueError points have shape (1, 3, 2) and labels (1, 1): {pairs}",
        f"ValueError points have shape (1, 1, 2) and labels (1, 3): {pairs}",
    ]
