"""Kinds of prompt side by side, and the refinement loop: what they compute, on a model that is too small to be good."""

import numpy as np
import pytest
import torch
from disc_predictor import DiscPredictor

from samlite import SamPredictor, document_sam
from samlite.masks import mask_iou
from samlite.notebook import style
from samlite.notebook.prompt_types import encode_prompt, in_words, prompt_types
from samlite.notebook.refinement import correcting_click, refine, refine_scenes, rounds_figure

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    size = {"image_size": 96, "patch_size": 8, "width": 32, "depth": 1, "heads": 4, "channels": 16}
    predictor = SamPredictor(document_sam(**size, decoder_heads=2, decoder_mlp=16).eval())
    predictor.set_image(PHOTO)
    return predictor


@pytest.fixture(scope="module")
def truth():
    mask = np.zeros((60, 90), bool)
    mask[10:40, 20:60] = True
    return mask


def test_every_kind_of_prompt_is_kept_with_its_tokens_and_its_map(predictor, truth):
    logits = predictor.mask_to_logits(truth)
    prompts = {
        "points": {"point_coords": [(30, 20), (80, 50)], "point_labels": [1, 0]},
        "boxes": {"boxes": [(20, 10, 60, 40), (5, 5, 9, 9), (1, 1, 50, 50)]},
        "mask": {"mask_input": logits},
        "all": {"point_coords": [(30, 20)], "point_labels": [1], "box": (20, 10, 60, 40), "mask_input": logits},
        "text": {"text": np.zeros(8)},
    }
    encoded = {name: encode_prompt(predictor, **prompt) for name, prompt in prompts.items()}
    assert {name: len(each.tokens) for name, each in encoded.items()} == {
        "points": 2, "boxes": 6, "mask": 0, "all": 3, "text": 0
    }  # fmt: skip
    grid = 16 * 12 * 12
    assert [each.numbers for each in encoded.values()] == [(32, 0), (96, 0), (0, grid), (48, grid), (0, 0)]
    assert "no trained text projection" in encoded["text"].error and encoded["text"].mask is None
    masks, iou_predictions, _ = predictor.predict(**prompts["all"])
    assert np.array_equal(encoded["all"].mask, masks[iou_predictions.argmax()])
    words = in_words(encoded)
    assert "boxes: 6 tokens, no map" in words and "all: 3 tokens, a map is added" in words and "text: refused" in words
    figure = prompt_types(PHOTO, encoded)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert {"6 × 16 numbers", "no token", "16 × 12 × 12 numbers"} <= set(labels)
    assert np.ptp(np.asarray(style.drawn(figure))) > 200


def test_a_correcting_click_lies_in_the_widest_mistake(truth):
    assert correcting_click(np.zeros_like(truth), truth)[2] == 1  # the first click: inside the object
    x, y, _ = correcting_click(np.zeros_like(truth), truth)
    assert truth[y, x] and 24 <= y <= 25  # in the middle of its 30 rows
    missing = truth.copy()
    missing[12:20, 30:42] = False
    x, y, label = correcting_click(missing, truth)
    assert label == 1 and 12 <= y < 20 and 30 <= x < 42
    too_much = missing.copy()
    too_much[44:60, 60:90] = True
    x, y, label = correcting_click(too_much, truth)
    assert label == 0 and too_much[y, x] and not truth[y, x]
    with pytest.raises(ValueError, match="nothing to correct"):
        correcting_click(truth, truth)


@pytest.mark.parametrize("keep_logits", [True, False])
def test_the_loop_hands_everything_on(predictor, truth, monkeypatch, keep_logits):
    asked = []
    predict = predictor.predict

    def listening(**arguments):
        asked.append(arguments)
        return predict(**arguments)

    monkeypatch.setattr(predictor, "predict", listening)
    rounds = refine(predictor, truth, rounds=3, keep_logits=keep_logits)
    assert [len(arguments["point_coords"]) for arguments in asked] == [1, 2, 3]
    assert asked[2]["point_labels"] == [each.click[2] for each in rounds]
    assert asked[0]["mask_input"] is None
    for before, after, arguments in zip(rounds, rounds[1:], asked[1:], strict=False):
        assert after.click == correcting_click(before.mask, truth)
        if keep_logits:
            assert np.array_equal(arguments["mask_input"][0], before.low_res_logits[before.chosen])
        else:
            assert arguments["mask_input"] is None
    for each in rounds:
        assert each.chosen == each.iou_predictions.argmax()
        assert each.iou == pytest.approx(float(mask_iou(each.mask, truth))) and each.iou <= each.best_iou
    figure = rounds_figure(PHOTO, rounds, truth)
    assert [len(axes.lines) for axes in figure.axes] == [3, 6, 9]  # three marks a click
    assert np.ptp(np.asarray(style.drawn(figure))) > 200


def test_the_loop_ends_when_the_mask_is_perfect():
    predictor = DiscPredictor()
    predictor.set_image(PHOTO)
    rounds = refine(predictor, np.ones((60, 90), bool), rounds=9, keep_logits=False)  # a few discs cover everything
    assert 1 < len(rounds) < 9 and rounds[-1].iou == 1


def test_a_truth_that_is_none_is_refused(predictor, truth):
    for wrong in (truth.T.copy(), np.zeros_like(truth)):
        with pytest.raises(ValueError, match="a mask of the photo's size"):
            refine(predictor, wrong)


def test_scenes_are_refined_from_the_same_first_clicks(predictor):
    curves = refine_scenes(predictor.model, scenes=2, clicks=3, rounds=3)
    with_logits, alone = curves.values()
    assert with_logits.shape == alone.shape == (3,) and with_logits[0] == alone[0]
    again = refine_scenes(predictor.model, scenes=2, clicks=3, rounds=3)
    assert all(np.array_equal(curves[name], again[name]) for name in curves)
