"""Baselines answer clicks and boxes as one would by hand."""

import numpy as np
import pytest

from samlite.learning.baselines import FloodFill, Superpixels, ThreeDiscs, baselines


def two_halves():
    """Dark left, light right; 60 wide, 40 high."""
    photo = np.full((40, 60, 3), 40, np.uint8)
    photo[:, 30:] = 220
    return photo


def test_discs_have_their_radii():
    discs = ThreeDiscs()
    discs.set_image(np.zeros((300, 400, 3), np.uint8))  # its diagonal is 500
    masks, scores, _ = discs.predict([(200, 150)], [1])
    np.testing.assert_allclose(masks.sum((1, 2)), np.pi * np.array([45, 85, 160]) ** 2, rtol=0.08)
    assert scores.argmax() == 1 and masks[0, 150, 245] and not masks[0, 150, 246]


def test_a_background_click_takes_away_what_is_nearer_to_it():
    discs = ThreeDiscs()
    discs.set_image(np.zeros((100, 100, 3), np.uint8))
    masks, _, _ = discs.predict([(40, 50), (60, 50)], [1, 0])
    assert masks[2, 50, 49] and not masks[2, 50, 50] and not masks[2, 50, 60]
    none, _, _ = discs.predict([(60, 50)], [0])
    assert not none.any()


def test_an_ellipse_fills_its_box():
    discs = ThreeDiscs()
    discs.set_image(np.zeros((100, 200, 3), np.uint8))
    masks, _, _ = discs.predict(box=[20, 10, 119, 69])
    np.testing.assert_allclose(masks[1].sum(), np.pi * 50 * 30, rtol=0.02)
    assert masks[2].sum() == 100 * 60 and masks[2, 10, 20] and not masks[2, 9, 20]


@pytest.mark.parametrize("kind", [FloodFill, Superpixels])
def test_a_click_into_one_half_gives_that_half(kind):
    model = kind()
    model.set_image(two_halves())
    masks, scores, _ = model.predict([(10, 20)], [1])
    mask = masks[scores.argmax()]
    assert mask[:, :26].mean() > 0.98 and mask[:, 34:].mean() < 0.02
    both, _, _ = model.predict([(10, 20), (50, 20)], [1, 1])
    assert both[2][:, 34:].mean() > 0.98
    apart, _, _ = model.predict([(10, 20), (50, 20)], [1, 0])
    assert apart[2][:, :26].mean() > 0.98 and not apart[2][20, 50]


def test_superpixels_of_a_box_lie_in_it():
    model = Superpixels()
    model.set_image(two_halves())
    masks, _, _ = model.predict(box=[0, 0, 32, 39])
    assert masks[2][:, :26].mean() > 0.98 and masks[2][:, 34:].mean() < 0.02


def test_a_flood_from_the_middle_of_a_box_stays_in_it():
    model = FloodFill()
    model.set_image(two_halves())
    masks, _, _ = model.predict(box=[4, 5, 20, 30])
    assert masks[2].sum() == 17 * 26


def test_their_names():
    assert list(baselines()) == ["three discs", "flood fill", "superpixels (Felzenszwalb 2004)"]
