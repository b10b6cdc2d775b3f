"""A whole evaluation: of models whose answers are known, and of a small real one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from samlite.learning.baselines import ThreeDiscs
from samlite.learning.photo_sets import read_photo_set
from samlite.learning.report import evaluate
from samlite.learning.targets import Example, photo_examples, scene_examples
from samlite.predictor import SamPredictor
from samlite.sam import document_sam

SIZES = {"patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_heads": 4, "decoder_mlp": 64}


def square(size=20, side=10):
    mask = np.zeros((size, size), bool)
    mask[:side, :side] = True
    return mask


def example(name="a", masks=None):
    return Example(name, np.zeros((20, 20, 3), np.uint8), np.stack([square()] if masks is None else masks))


class Improving:
    """With each click one more of ten columns is right; the second candidate is always perfect, and never selected."""

    def __init__(self, truth, sure=0.5):
        self.truth, self.sure = truth, sure

    def set_image(self, photo):
        self.photo = photo

    def predict(self, points=None, labels=None, box=None, mask_input=None):
        mask = self.truth.copy()
        mask[:, 5 if points is None else len(points) :] = False
        return np.stack([mask, self.truth]), np.array([self.sure, 0.0]), np.zeros((2, 4, 4))


def test_figures_by_hand():
    report = evaluate(Improving(square()), [example(), example("b")], cap=12, stop_at=None)
    assert report.prompts == ["1 click", "3 clicks", "5 clicks", "box"]
    assert report.column("1 click", "oracle").tolist() == [1, 1]
    assert report.column("3 clicks", "selected").tolist() == [0.3, 0.3]
    assert report.column("box", "selected").tolist() == [0.5, 0.5]
    np.testing.assert_allclose(report.paths[0], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1, 1])
    assert report.above("box") == 1 and report.images.tolist() == ["a", "b"]
    counts, reached = report.clicks_needed(0.85)
    assert counts.tolist() == [9, 9] and reached.all()
    # one pixel wide is the boundary of a picture of 20×20: 36 of the square's pixels; 0–4 of it: a ring of 26
    assert report.column("box", "boundary").tolist() == [pytest.approx((26 - 8) / (36 + 8))] * 2
    measured = report.calibration("box")
    assert measured.error == 0 and report.calibration("1 click").error == pytest.approx(0.4)
    assert report.calibration("1 click", every=True).count.sum() == 4


def test_a_cap_counts_what_was_never_reached():
    report = evaluate(Improving(square()), [example()], cap=6)
    counts, reached = report.clicks_needed(0.85)
    assert counts.tolist() == [6] and not reached.any()
    summary = report.summary()
    assert summary["clicks to good enough"]["not reached"] == 1 and summary["clicks to good enough"]["cap"] == 6
    json.dumps(summary)


def test_clicking_ends_where_it_is_good_enough_but_not_before_the_last_figure():
    early = evaluate(Improving(square()), [example()], stop_at=0.15)
    assert len(early.targets[0].path) == 5
    late = evaluate(Improving(square()), [example()], stop_at=0.85)
    assert len(late.targets[0].path) == 9 and np.isnan(late.paths[0, 9:]).all()
    with pytest.raises(ValueError, match="evaluate with stop_at=None"):
        late.clicks_needed(0.9)


def test_bad_calls_are_named():
    with pytest.raises(ValueError, match="cap is 4: at least 5"):
        evaluate(Improving(square()), [example()], cap=4)
    with pytest.raises(ValueError, match="nothing to ask for"):
        evaluate(Improving(square()), [])


def test_scenes_are_repeatable_and_their_targets_are_regions():
    one, again = (list(scene_examples(48, 2, targets=3)) for _ in range(2))
    assert [each.name for each in one] == ["scene 0", "scene 1"]
    for first, second in zip(one, again, strict=True):
        assert first.photo.shape == (48, 48, 3) and first.photo.dtype == np.uint8
        assert first.masks.shape == (3, 48, 48) and first.masks.any((1, 2)).all()
        assert np.array_equal(first.photo, second.photo) and np.array_equal(first.masks, second.masks)
    assert not np.array_equal(one[0].photo, one[1].photo)


def test_photos_leave_out_small_masks_and_draw_the_rest(tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "a.jpg")
    for side in (10, 1, 12, 14):
        Image.fromarray(square(side=side).astype(np.uint8)).save(tmp_path / f"a.side {side:02}.png")
    photos = read_photo_set(tmp_path)
    (only,) = photo_examples(photos)
    assert only.masks.sum((1, 2)).tolist() == [100, 144, 196]
    (only,) = photo_examples(photos, targets=2)
    assert len(only.masks) == 2
    assert not list(photo_examples(photos, smallest=0.9))


def test_a_real_model_and_a_baseline_in_the_same_table():
    torch.manual_seed(0)
    predictor = SamPredictor(document_sam(image_size=32, **SIZES).eval())
    examples = list(scene_examples(32, 2, targets=2))
    for each in (predictor, ThreeDiscs()):
        report = evaluate(each, examples, cap=6)
        summary = report.summary()
        assert summary["targets"] == 4 and summary["images"] == 2
        assert set(summary["prompts"]) == {"1 click", "3 clicks", "5 clicks", "box"}
        for row in summary["prompts"].values():
            assert row["selected"][0] <= row["oracle"][0] and row["oracle"][1] <= row["oracle"][0] <= row["oracle"][2]


def test_other_clicks_than_the_first_one():
    summary = evaluate(ThreeDiscs(), [example()], clicks=(2, 3), cap=3, stop_at=None).summary()
    assert set(summary["prompts"]) == {"2 clicks", "3 clicks", "box"} and "calibration" not in str(summary.keys())
    for wrong in ((), (0, 3)):
        with pytest.raises(ValueError, match="numbers from 1 on are expected"):
            evaluate(ThreeDiscs(), [example()], clicks=wrong)


def test_an_empty_mask_is_named():
    with pytest.raises(ValueError, match="cup, mask 2 is empty: take it out"):
        evaluate(ThreeDiscs(), [example("cup", [square(), np.zeros((20, 20), bool)])], clicks=(1,), cap=1)
