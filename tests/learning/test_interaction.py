"""The simulated person clicks where the answer is most wrong."""

from itertools import islice

import numpy as np
import pytest

from samlite.learning.baselines import ThreeDiscs
from samlite.learning.interaction import (
    Predictor,
    box_round,
    click_rounds,
    correcting_click,
    interior_point,
    largest_region,
)
from samlite.predictor import SamPredictor


def block(rows, columns, height=40, width=60):
    mask = np.zeros((height, width), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def test_interior_point_is_the_middle_of_a_disc():
    y, x = np.ogrid[:41, :61]
    assert interior_point(np.hypot(y - 20, x - 33) < 12) == (33, 20)


def test_the_border_of_the_photo_is_an_edge():
    x, y = interior_point(np.ones((21, 31), bool))
    assert y == 10 and 10 <= x <= 20


def test_the_largest_region_of_three():
    parts = block((0, 5), (0, 5)), block((10, 30), (10, 20)), block((35, 40), (50, 60))
    assert np.array_equal(largest_region(parts[0] | parts[1] | parts[2]), parts[1])
    assert not largest_region(np.zeros((4, 4), bool)).any()
    corners = np.eye(4, dtype=bool)  # touch at corners only
    assert largest_region(corners).sum() == 1


def test_what_is_missing_is_clicked_as_foreground_and_what_is_too_much_as_background():
    truth = block((0, 40), (0, 30))
    x, y, label = correcting_click(block((0, 40), (0, 9)), truth)
    assert label == 1 and 18 <= x <= 20 and 9 <= y <= 30
    x, y, label = correcting_click(block((0, 40), (0, 51)), truth)
    assert label == 0 and 39 <= x <= 41


def test_the_larger_of_two_errors_is_clicked():
    truth = block((0, 40), (20, 40))
    mask = block((0, 40), (10, 35))  # 10 columns too much, 5 lacking
    x, y, label = correcting_click(mask, truth)
    assert label == 0 and x in (14, 15)
    x, y, label = correcting_click(block((0, 40), (15, 30)), truth)  # 5 too much, 10 lacking
    assert label == 1 and x in (34, 35)


def test_no_place_is_clicked_twice_and_a_perfect_mask_gets_a_click_inside():
    truth = block((10, 13), (10, 13))
    assert correcting_click(truth, truth) == (11, 11, 1)
    x, y, label = correcting_click(truth, truth, np.array([[11, 11]]))
    assert (x, y) != (11, 11) and truth[y, x] and label == 1
    one = block((5, 6), (7, 8))
    assert correcting_click(one, one, np.array([[7, 5]])) == (7, 5, 1)  # there is no other place


class Scripted:
    """Gives the masks of a list, one after the other, and keeps what it was asked."""

    def __init__(self, masks):
        self.masks, self.asked = list(masks), []

    def set_image(self, image):
        pass

    def predict(self, points=None, labels=None, box=None, mask_input=None):
        self.asked.append((points, labels, box, mask_input))
        mask = self.masks[len(self.asked) - 1]
        logits = np.stack([np.zeros((2, 2)), np.full((2, 2), float(len(self.asked)))])
        return np.stack([~mask, mask]), np.array([0.1, 0.9]), logits


def test_rounds_hand_on_clicks_and_the_selected_logits():
    truth = block((0, 40), (0, 30))
    model = Scripted([block((0, 40), (0, 9)), block((0, 40), (0, 51)), truth])
    rounds = list(islice(click_rounds(model, truth), 3))
    assert [len(each.points) for each in rounds] == [1, 2, 3]
    assert rounds[-1].labels.tolist() == [1, 1, 0]
    assert np.array_equal(rounds[0].mask, model.masks[0])
    first, second, third = (asked[3] for asked in model.asked)
    assert first is None and second.shape == (1, 2, 2) and (second == 1).all() and (third == 2).all()


def test_boxes_are_tight_and_never_without_area():
    model = Scripted([np.zeros((40, 60), bool)] * 3)
    for truth in (block((4, 10), (5, 17)), block((0, 1), (0, 60)), block((39, 40), (59, 60))):
        assert len(box_round(model, truth).points) == 0
    boxes = [asked[2].tolist() for asked in model.asked]
    assert boxes[0] == [5, 4, 16, 9] and boxes[1] == [0, 0, 59, 1]
    assert boxes[2] == [58, 38, 60, 40]


def test_predictors_and_baselines_are_predictors():
    assert isinstance(ThreeDiscs(), Predictor) and issubclass(SamPredictor, Predictor)


def test_nobody_can_click_on_nothing():
    nothing = np.zeros((9, 9), bool)
    with pytest.raises(ValueError, match="the mask is empty: it has no pixel to click"):
        interior_point(nothing)
    with pytest.raises(ValueError, match="the truth is empty: there is no box around it"):
        box_round(ThreeDiscs(), nothing)
