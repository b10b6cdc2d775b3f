"""The helpers of the failure gallery: what the cells lose, and clicks whose right answers are known."""

import numpy as np
import pytest
import torch

from samlite import SamPredictor, document_sam
from samlite.masks import mask_iou
from samlite.notebook.failures import Trial, scene_trials, through_the_cells


@pytest.fixture(scope="module")
def predictor() -> SamPredictor:
    torch.manual_seed(0)
    sizes = {"image_size": 64, "patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 16}
    return SamPredictor(document_sam(**sizes, decoder_heads=2, decoder_mlp=16).eval())


def test_what_is_large_passes_through_the_cells_and_what_is_thin_does_not(predictor: SamPredictor) -> None:
    photo = np.zeros((96, 128, 3), dtype=np.uint8)
    predictor.set_image(photo)
    fits = []
    for width in (1, 4, 16, 40):
        mask = np.zeros(photo.shape[:2], dtype=bool)
        mask[30 : 30 + width] = True
        fits.append(float(mask_iou(through_the_cells(predictor, mask), mask)))
    assert fits == sorted(fits) and fits[0] < 0.8 and fits[-1] > 0.99


def test_trials_are_clicks_inside_of_all_their_right_answers(predictor: SamPredictor) -> None:
    trials = scene_trials(predictor, 4)
    for trial, same in zip(trials, scene_trials(predictor, 4), strict=True):
        assert trial.photo.shape == (64, 64, 3) and trial.truths.shape == (3, 64, 64)
        assert trial.truths[:, trial.y, trial.x].all()
        assert not (trial.truths[0] & ~trial.truths[2]).any()  # the subpart lies in the whole
        assert np.array_equal(trial.photo, same.photo) and (trial.x, trial.y) == (same.x, same.y)


def test_conceit_is_what_is_predicted_beyond_what_is_true() -> None:
    truths = np.zeros((3, 4, 4), dtype=bool)
    truths[0, :2], truths[1, :3], truths[2, :4] = True, True, True
    trial = Trial(np.zeros((4, 4, 3), np.uint8), 0, 0, truths[[2, 0, 0]], np.array([0.2, 0.9, 0.1]), truths)
    assert trial.selected == 1 and trial.fits[1].tolist() == [1, pytest.approx(2 / 3), 0.5]
    assert trial.conceit == pytest.approx(-0.1)
