"""Points, boxes, masks and text become tokens and a dense map."""

import pytest
import torch

from samlite.prompt_encoder import CoordinateEncoding, PromptEncoder


@pytest.fixture
def encoder() -> PromptEncoder:
    torch.manual_seed(0)
    return PromptEncoder(image_size=64, grid_size=8, channels=16, text_width=12)


def test_token_counts(encoder):
    points, labels, boxes = torch.rand(2, 5, 2) * 64, torch.ones(2, 5).long(), torch.rand(2, 3, 4) * 64
    sparse, dense = encoder(points, labels, boxes, text=torch.randn(2, 1, 12))
    assert sparse.shape == (2, 5 + 2 * 3 + 1, 16)
    assert dense.shape == (1, 16, 8, 8) and dense.abs().max() == 0
    assert encoder(boxes=boxes)[0].shape == (2, 6, 16)
    assert encoder(mask=torch.zeros(2, 1, 32, 32))[0].shape == (2, 0, 16)


def test_order_is_points_corners_text(encoder):
    points, labels = torch.rand(1, 2, 2) * 64, torch.tensor([[1, 0]])
    boxes, text = torch.rand(1, 1, 4) * 64, torch.randn(1, 1, 12)
    together, _ = encoder(points, labels, boxes, text=text)
    apart = torch.cat([encoder(points, labels)[0], encoder(boxes=boxes)[0], encoder(text=text)[0]], dim=1)
    torch.testing.assert_close(together, apart)


def test_a_token_is_the_sum_of_three_vectors(encoder):
    point = torch.tensor([[[10.0, 20.0]]])
    normalised = (point + 0.5) / 64
    for label in (0, 1):
        token = encoder.encode_points(point, torch.tensor([[label]]))
        projected = encoder.coordinates.projection(normalised)
        positional = encoder.coordinates(normalised) - projected
        torch.testing.assert_close(token, projected + positional + encoder.type_embedding.weight[label])


def test_corners_are_points_of_their_own_types(encoder):
    box = torch.tensor([[[3.0, 4.0, 30.0, 40.0], [1.0, 2.0, 5.0, 6.0]]])
    tokens = encoder.encode_boxes(box)
    for index, corner in enumerate(box.view(4, 2)):
        expected = encoder.coordinates((corner + 0.5)[None, None] / 64)[0, 0]
        torch.testing.assert_close(tokens[0, index], expected + encoder.type_embedding.weight[2 + index % 2])


def test_x_and_y_are_not_the_same(encoder):
    label = torch.ones(1, 1).long()
    one, other = (encoder.encode_points(torch.tensor([[xy]]), label) for xy in ([10.0, 40.0], [40.0, 10.0]))
    assert not torch.allclose(one, other)


def test_a_click_on_a_patch_centre_has_the_code_of_that_patch():
    encoding = CoordinateEncoding(16, grid_size=8)
    x, y = 5, 2
    at_centre = encoding(torch.tensor([[[(x + 0.5) / 8, (y + 0.5) / 8]]]))[0, 0]
    torch.testing.assert_close(at_centre, encoding.grid()[:, y, x], atol=1e-5, rtol=1e-5)


def test_between_patches_the_code_is_between_theirs():
    encoding = CoordinateEncoding(16, grid_size=8)
    halfway = encoding(torch.tensor([[[6 / 8, 2.5 / 8]]]))[0, 0]
    torch.testing.assert_close(halfway, encoding.grid()[:, 2, 5:7].mean(-1), atol=1e-5, rtol=1e-5)


def test_mask_of_any_resolution(encoder):
    mask = torch.randn(1, 1, 32, 32)
    dense = encoder(mask=mask)[1]
    assert dense.shape == (1, 16, 8, 8)
    assert not torch.allclose(dense, encoder(mask=-mask)[1])
    halves = torch.ones(1, 1, 32, 32)
    halves[..., 16:] = -1
    large = halves.repeat_interleave(4, -1).repeat_interleave(4, -2)
    small, four_times = (encoder(mask=each)[1] for each in (halves, large))
    far = [0, 1, 2, 5, 6, 7]  # columns that the blurred border does not reach
    torch.testing.assert_close(four_times[..., far], small[..., far], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(small[..., 0], small[..., 7])


def test_lonely_points_and_labels_are_named(encoder):
    with pytest.raises(ValueError, match="points were given without labels"):
        encoder(points=torch.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="labels were given without points"):
        encoder(labels=torch.zeros(1, 1).long())


def test_text_needs_a_projection_of_its_width(encoder):
    with pytest.raises(ValueError, match="width 7 .* text_width=12"):
        encoder(text=torch.zeros(1, 1, 7))
    with pytest.raises(ValueError, match="no trained text projection"):
        PromptEncoder(64, 8, 16)(text=torch.zeros(1, 1, 12))
