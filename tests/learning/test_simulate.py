"""The simulated annotator clicks where and what it should."""

import torch

from samlite.learning import simulate
from samlite.learning.scenes import SceneGenerator


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def halves(size: int = 32) -> torch.Tensor:
    """One scene: left and right half on all three levels."""
    labels = torch.zeros(1, 3, size, size, dtype=torch.long)
    labels[..., size // 2 :] = 1
    return labels


def test_areas_by_counting():
    labels = halves()
    labels[0, 0, :4, :4] = 7
    areas = simulate.region_areas(labels)
    assert areas[0, 0, 0, 0] == 16 and areas[0, 0, 10, 3] == 512 - 16 and areas[0, 2, 0, 31] == 512


def test_depth_is_zero_at_edges_and_largest_inside():
    depth = simulate.interior_depth(halves(64))
    assert depth[0, 0, 32, 31] == 0 and depth[0, 0, 0, 10] == 0  # the border between halves, the picture's border
    assert depth[0, 0, 32, 16] == 3


def test_depth_counts_the_windows_that_are_one_region():
    """By definition: windows of 3, 5 and 9 pixels (of a picture of 64); the frame around it is another region."""
    labels = SceneGenerator(64)(4, generator()).labels
    labels[..., 40:] = simulate.PADDING
    expected = torch.zeros(labels.shape)
    for reach in (1, 2, 4):
        padded = torch.nn.functional.pad(labels.float() + 2, (reach,) * 4)
        windows = padded.unfold(2, 2 * reach + 1, 1).unfold(3, 2 * reach + 1, 1).flatten(4)
        expected += windows.amax(-1) == windows.amin(-1)
    assert torch.equal(simulate.interior_depth(labels), expected) and set(expected.unique().tolist()) == {0, 1, 2, 3}


def test_clicks_mean_the_region_under_them_and_avoid_padding_and_specks():
    scenes = SceneGenerator(64)(8, generator())
    labels = scenes.labels.clone()
    labels[..., 40:] = simulate.PADDING
    points, level = simulate.sample_clicks(labels, 16, generator(1))
    assert points[..., 0].max() < 40 and points[..., 1].max() < 64
    regions = simulate.regions_at(labels, points, stride=1)
    assert regions.shape == (8, 16, 3, 64, 64)
    own = regions.gather(2, level[:, :, None, None, None].expand(-1, -1, 1, 64, 64))[:, :, 0]
    x, y = points.long().unbind(-1)
    assert (own[torch.arange(8)[:, None], torch.arange(16), y, x] == 1).all()
    assert own.mean((-1, -2)).min() >= simulate.SMALLEST_REGION
    assert own[..., 40:].sum() == 0


def test_the_chance_of_a_region_is_its_mean_weight_and_not_its_area():
    labels = torch.zeros(1, 3, 64, 64, dtype=torch.long)
    labels[..., 20:36, 20:36] = 1
    points, _ = simulate.sample_clicks(labels, 4000, generator())
    x, y = points[0].unbind(-1)
    inside = ((x >= 20) & (x < 36) & (y >= 20) & (y < 36)).float().mean()
    weight = (1 + simulate.interior_depth(labels)[0, 0]) ** 2
    small = labels[0, 0] == 1
    expected = weight[small].mean() / (weight[small].mean() + weight[~small].mean())
    assert abs(inside - expected) < 0.03 and small.float().mean() < 0.07  # of the picture


def test_small_regions_may_be_favoured():
    """A power of 1: a region of a quarter of the area is clicked four times as often."""
    labels = torch.zeros(1, 3, 64, 64, dtype=torch.long)
    labels[..., 20:36, 20:36] = 1
    shares = []
    for power in (0, 1):
        points, _ = simulate.sample_clicks(labels, 4000, generator(), favour_small=power)
        x, y = points[0].unbind(-1)
        shares.append(((x >= 20) & (x < 36) & (y >= 20) & (y < 36)).float().mean())
    odds = [share / (1 - share) for share in shares]
    torch.testing.assert_close(odds[1] / odds[0], torch.tensor((64**2 - 16**2) / 16**2), atol=0, rtol=0.2)


def test_ambiguous_places_are_favoured_when_asked():
    """One whole of two equal parts, and only the left one has subparts: there clicks are three times as likely."""
    labels = torch.zeros(1, 3, 64, 64, dtype=torch.long)
    labels[:, 1, :, 32:] = 1  # the part at the right is one subpart
    labels[:, 0, :, 32:] = 2
    labels[:, 0, 32:, :32] = 1
    odds = []
    for favour in (1.0, 3.0):
        points, level = simulate.sample_clicks(labels, 12000, generator(), favour_ambiguous=favour)
        left = (points[..., 0] < 32)[level == 2].float().mean()  # clicks on the whole
        odds.append(left / (1 - left))
    torch.testing.assert_close(odds[1] / odds[0], torch.tensor(3.0), atol=0, rtol=0.15)


def test_levels_have_their_shares():
    _, level = simulate.sample_clicks(halves(), 6000, generator())
    shares = torch.bincount(level.flatten(), minlength=3) / level.numel()
    torch.testing.assert_close(shares, torch.tensor(simulate.LEVEL_SHARE), atol=0.03, rtol=0)


def test_regions_at_low_resolution_are_covered_shares():
    labels = torch.zeros(1, 3, 32, 32, dtype=torch.long)
    labels[..., 14:] = 1  # a border in the middle of a cell of four pixels
    regions = simulate.regions_at(labels, torch.tensor([[[3.0, 5.0]]]), stride=4)
    assert regions.shape == (1, 1, 3, 8, 8)
    assert (regions == torch.tensor([1, 1, 1, 0.5, 0, 0, 0, 0])).all()


def test_boxes_are_tight_in_input_pixels():
    target = torch.zeros(2, 8, 8)
    target[0, 2:5, 1:7] = 1
    boxes = simulate.boxes_around(target, stride=4, jitter=0.0, generator=generator())
    assert boxes[0].tolist() == [4, 8, 27, 19]
    assert torch.isfinite(boxes[1]).all()  # an empty target has a box nevertheless
    moved = simulate.boxes_around(target.expand(2, 8, 8), 4, 0.1, generator())
    assert not torch.equal(moved, boxes) and (moved[0] - boxes[0]).abs().max() <= 2.4


def test_correcting_clicks_fall_on_the_error_with_the_right_label():
    target = torch.zeros(2, 16, 16)
    target[:, :, :8] = 1
    logits = torch.full((2, 16, 16), -1.0)
    logits[0, :, :4] = 1  # too small: columns 4–7 are missing
    logits[1, :, :12] = 1  # too large: columns 8–11 are too much
    points, labels = simulate.correcting_clicks(logits, target, stride=2, generator=generator())
    assert labels.tolist() == [1, 0]
    assert 4 <= points[0, 0] / 2 < 8 and 8 <= points[1, 0] / 2 < 12


def test_a_perfect_mask_gets_a_foreground_click_inside():
    target = torch.zeros(1, 16, 16)
    target[:, 4:9, 4:9] = 1
    points, labels = simulate.correcting_clicks(target * 2 - 1, target, 1, generator())
    assert labels.tolist() == [1] and target[0, int(points[0, 1]), int(points[0, 0])] == 1


def test_rough_masks_resemble_their_target_but_are_not_it():
    target = torch.zeros(30, 32, 32)
    target[:, 8:24, 6:22] = 1
    rough = simulate.rough_masks(target, generator())[:, 0]
    overlap = ((rough > 0) & (target > 0)).sum((1, 2)) / ((rough > 0) | (target > 0)).sum((1, 2))
    assert 0.5 < overlap.mean() < 0.98
    assert rough.abs().min() >= 2
