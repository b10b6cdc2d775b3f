"""The parts put together: normalising, encoding once, decoding many, resizing."""

import pytest
import torch
from torch.nn import functional as F

from samlite.sam import PIXEL_MEAN, document_sam

SMALL = {
    "image_size": 64, "patch_size": 8, "width": 32, "depth": 2, "heads": 2, "channels": 32,
    "decoder_heads": 4, "decoder_mlp": 64,
}  # fmt: skip


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return document_sam(**SMALL).eval()


def test_normalise_pads_with_the_mean_colour(sam):
    pixels = torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1).expand(1, 3, 40, 64)
    assert sam.normalise(pixels).abs().max() < 1e-5
    white = sam.normalise(torch.full((1, 3, 40, 64), 255.0))
    assert white.shape == (1, 3, 64, 64)
    assert (white[..., :40, :] > 2).all() and (white[..., 40:, :] == 0).all()


def test_normalise_refuses_what_is_too_large(sam):
    with pytest.raises(ValueError, match="65×64.*64"):
        sam.normalise(torch.zeros(1, 3, 65, 64))


def test_encode_once_decode_many(sam):
    embedding = sam.encode_image(torch.randn(1, 3, 64, 64))
    points = torch.rand(5, 1, 2) * 64
    labels = torch.ones(5, 1).long()
    logits, iou = sam.decode_masks(embedding, points, labels)
    assert logits.shape == (5, 3, 32, 32) and iou.shape == (5, 3)
    one = sam.decode_masks(embedding, points[3:4], labels[3:4])[0]
    torch.testing.assert_close(one[0], logits[3], atol=1e-5, rtol=1e-4)


def test_resize_cuts_the_padding_away(sam):
    logits = torch.full((1, 3, 32, 32), -1.0)
    logits[..., :20, :] = 1.0  # exactly the photo's part of the frame: 40 of 64 rows
    masks = sam.resize_masks(logits, input_size=(40, 64), original_size=(100, 160))
    assert masks.shape == (1, 3, 100, 160)
    assert (masks[..., :97, :] > 0).all()


def test_resize_is_two_bilinear_steps(sam):
    logits = torch.randn(1, 3, 32, 32)
    frame = F.interpolate(logits, (64, 64), mode="bilinear")[..., :50, :64]
    expected = F.interpolate(frame, (77, 99), mode="bilinear")
    torch.testing.assert_close(sam.resize_masks(logits, (50, 64), (77, 99)), expected)


def test_same_seed_same_model():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(document_sam(**SMALL).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_pixel_statistics_are_not_in_the_checkpoint(sam):
    assert not [name for name in sam.state_dict() if "pixel" in name]


def test_meta_needs_no_memory():
    sam = document_sam(device="meta")
    assert {p.device.type for p in sam.parameters()} == {"meta"}
    assert sum(p.numel() for p in sam.image_encoder.parameters()) == 636_235_776


def test_gradients_reach_every_parameter(sam):
    sam.train()
    embedding = sam.encode_image(torch.randn(2, 3, 64, 64))
    logits, iou = sam.decode_masks(
        embedding,
        torch.rand(2, 2, 2) * 64,
        torch.tensor([[1, 0], [1, 0]]),
        torch.rand(2, 1, 4) * 64,
        torch.randn(2, 1, 32, 32),
    )
    (logits.square().mean() + iou.square().mean()).backward()
    without = [name for name, p in sam.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a key's bias moves all scores of a query alike, and softmax does not see it
    assert [name for name in without if not name.endswith("key_projection.bias")] == []


def test_half_of_a_code_are_sines():
    with pytest.raises(ValueError, match="channels is 33: it must be even"):
        document_sam(**SMALL | {"channels": 33, "decoder_heads": 3})
