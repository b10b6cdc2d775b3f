"""Metrics against answers that were worked out by hand."""

import numpy as np
import pytest

from samlite.learning.metrics import boundary_iou, boundary_width, calibration, clicks_needed, inner_boundary


def block(height, width, rows, columns):
    mask = np.zeros((height, width), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def test_the_boundary_is_two_percent_of_the_diagonal_and_at_least_one_pixel():
    assert boundary_width(300, 400) == 10 and boundary_width(10, 10) == 1


def test_an_inner_boundary_by_counting():
    square = block(9, 9, (1, 8), (1, 8))  # 7×7
    assert inner_boundary(square, 1).sum() == 49 - 25 and inner_boundary(square, 2).sum() == 49 - 9
    assert inner_boundary(square, 4).sum() == 49
    everything = np.ones((9, 9), bool)
    assert inner_boundary(everything, 1).sum() == 81 - 49  # beyond the photo there is no mask
    assert not inner_boundary(np.zeros((9, 9), bool), 3).any()


def test_boundary_iou_of_a_square_moved_by_one():
    """Rings of 24 pixels; of the left and right sides nothing meets, of top and bottom 2 rows × 6, and no more."""
    one, other = block(12, 12, (2, 9), (2, 9)), block(12, 12, (2, 9), (3, 10))
    assert boundary_iou(one, other, 1) == 12 / (24 + 24 - 12)
    assert boundary_iou(one, one, 1) == 1 and boundary_iou(one, ~one, 1) == 0


def test_a_wrong_edge_of_a_large_mask_costs_more_boundary_than_overlap():
    truth = block(200, 200, (20, 180), (20, 180))
    rough = block(200, 200, (26, 174), (26, 174))
    overlap = 148**2 / 160**2
    assert overlap > 0.85 and boundary_iou(rough, truth, 6) == 0


def test_clicks_until_good_enough():
    ious = np.array([[0.9, 0.2, 0.2], [0.1, 0.84, 0.85], [0.1, 0.2, 0.3], [0.5, 0.9, np.nan]])
    counts, reached = clicks_needed(ious, 0.85)
    assert counts.tolist() == [1, 3, 3, 2] and reached.tolist() == [True, True, False, True]


def test_calibration_by_hand():
    predicted, actual = np.array([0.05, 0.92, 0.98, 0.55]), np.array([0.25, 0.7, 0.8, 0.55])
    measured = calibration(predicted, actual)
    assert measured.count.tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    np.testing.assert_allclose(measured.predicted[[0, 5, 9]], [0.05, 0.55, 0.95])
    np.testing.assert_allclose(measured.actual[[0, 5, 9]], [0.25, 0.55, 0.75])
    assert np.isnan(measured.predicted[1])
    assert measured.error == pytest.approx((1 * 0.2 + 1 * 0 + 2 * 0.2) / 4)
    assert measured.bias == pytest.approx((-0.2 + 0.2 * 2) / 4)


def test_predictions_beyond_the_scale_keep_their_value():
    measured = calibration(np.array([1.2, -0.1, 1.0]), np.array([0.9, 0.0, 1.0]), bins=2)
    assert measured.count.tolist() == [1, 2]
    np.testing.assert_allclose(measured.predicted, [-0.1, 1.1])


def test_calibration_needs_predictions():
    with pytest.raises(ValueError, match="as many predicted as actual"):
        calibration(np.array([]), np.array([]))


def test_a_boundary_without_width_is_refused():
    one = block(9, 9, (1, 8), (1, 8))
    with pytest.raises(ValueError, match="width is 0: a boundary is at least 1 pixel wide"):
        boundary_iou(one, ~one, 0)
