"""Patches, blocks and the way back to a map."""

import pytest
import torch
from torch.nn import functional as F

from samlite.image_encoder import ImageEncoder, TransformerBlock, patchify, unpatchify


def test_patchify_then_linear_is_a_strided_convolution():
    images = torch.randn(2, 3, 32, 48)
    weight = torch.randn(10, 3, 8, 8)
    by_convolution = F.conv2d(images, weight, stride=8).flatten(2).transpose(1, 2)
    torch.testing.assert_close(patchify(images, 8) @ weight.flatten(1).T, by_convolution, atol=1e-4, rtol=1e-4)


def test_patch_order_is_row_by_row_and_channel_row_column_inside():
    image = torch.arange(3 * 4 * 4).view(1, 3, 4, 4).float()
    patches = patchify(image, 2)
    assert patches.shape == (1, 4, 12)
    assert torch.equal(patches[0, 1], image[0, :, 0:2, 2:4].flatten())
    assert torch.equal(patches[0, 2], image[0, :, 2:4, 0:2].flatten())


def test_unpatchify_inverts():
    images = torch.randn(2, 3, 24, 40)
    assert torch.equal(unpatchify(patchify(images, 8), 8, grid_width=5), images)


def test_patches_that_do_not_tile_are_named():
    with pytest.raises(ValueError, match=r"patches of 16 .*\(30, 32\)"):
        patchify(torch.zeros(1, 3, 30, 32), 16)
    with pytest.raises(ValueError, match="image_size 100 is not a multiple of patch_size 16"):
        ImageEncoder(image_size=100)


def test_every_patch_sees_every_other():
    block = TransformerBlock(16, heads=2)
    tokens = torch.randn(1, 9, 16, requires_grad=True)
    block(tokens)[0, 0].sum().backward()
    assert (tokens.grad[0].abs().sum(-1) > 0).all()


def test_block_is_pre_norm_with_residuals():
    block = TransformerBlock(16, heads=2)
    with torch.no_grad():
        for layer in (block.attention.output_projection, block.mlp.layers[-1]):
            layer.weight.zero_()
            layer.bias.zero_()
    tokens = torch.randn(1, 4, 16) * 7
    assert torch.equal(block(tokens), tokens)  # both branches silent: what came in goes out


def test_positions_make_equal_patches_differ():
    encoder = ImageEncoder(image_size=32, patch_size=8, width=16, depth=1, heads=2, channels=8)
    embedding = encoder(torch.ones(1, 3, 32, 32))
    assert embedding.shape == (1, 8, 4, 4)
    assert not torch.allclose(embedding[..., 0, 0], embedding[..., 3, 3])
    with torch.no_grad():
        encoder.position_embedding.zero_()
    embedding = encoder(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(embedding[..., 0, 0], embedding[..., 3, 3])


def test_grid_keeps_rows_and_columns():
    """Changing pixels of one patch changes that place of the map most, in an encoder of no blocks only there."""
    encoder = ImageEncoder(image_size=32, patch_size=8, width=16, depth=0, heads=2, channels=8)
    image = torch.zeros(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 8:16, 24:32] = 1.0  # row 1, column 3
    difference = (encoder(changed) - encoder(image)).abs().sum(1)[0]
    assert difference.nonzero().tolist() == [[1, 3]]
