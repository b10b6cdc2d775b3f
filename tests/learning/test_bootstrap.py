"""The bootstrap draws images, and agrees with what can be worked out."""

import numpy as np
import pytest

from samlite.learning.bootstrap import Interval, mean_interval, resampled_means


def test_two_images_by_hand():
    """Two images, drawn twice: both of one kind in a quarter of the sets each, one of each in a half."""
    values, images = np.array([0.0, 0.0, 0.0, 1.0]), np.array(["a", "a", "a", "b"])
    means = resampled_means(values, images, 20000)
    shares = [np.isclose(means, value).mean() for value in (0, 0.25, 1)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.02)
    assert mean_interval(values, images) == Interval(0.25, 0.0, 1.0)


def test_the_spread_is_that_of_the_mean():
    values = np.random.default_rng(1).normal(size=400)
    low, high = mean_interval(values, np.arange(400))[1:]
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_targets_of_one_image_are_no_independent_trials():
    per_image = np.random.default_rng(2).normal(size=30)
    values, images = np.repeat(per_image, 25), np.repeat(np.arange(30), 25)
    _, low, high = mean_interval(values, images)
    _, too_low, too_high = mean_interval(values, np.arange(750))
    assert (high - low) / (too_high - too_low) == pytest.approx(5, rel=0.15)  # √25


def test_a_paired_difference_is_surer_than_two_means():
    generator = np.random.default_rng(3)
    hardness = generator.normal(size=100)
    one, other = hardness + 0.1, hardness + generator.normal(scale=0.05, size=100)
    assert mean_interval(one - other, np.arange(100)).low > 0
    assert mean_interval(one, np.arange(100)).low < mean_interval(other, np.arange(100)).high


def test_the_same_seed_and_a_single_image():
    values, images = np.array([0.2, 0.6]), np.array(["only", "only"])
    assert mean_interval(values, images) == mean_interval(values, images)
    assert mean_interval(values, images) == pytest.approx((0.4, 0.4, 0.4))
    assert repr(Interval(0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"


def test_values_need_images():
    with pytest.raises(ValueError, match="not 0 for 0"):
        mean_interval(np.array([]), np.array([]))
