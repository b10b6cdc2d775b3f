"""Two-way blocks, upscaling, mask vectors and scores."""

import pytest
import torch

from samlite.fast import use_folded_decoder
from samlite.mask_decoder import MaskDecoder, TwoWayBlock, Upscaling
from samlite.sam import document_sam


@pytest.fixture
def decoder() -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(channels=32, heads=4, mlp_width=64)


def decode(decoder: MaskDecoder, embedding, tokens, dense=None):
    positions = torch.linspace(-1, 1, 32 * 16).view(32, 4, 4)
    return decoder(embedding, positions, tokens, torch.zeros(1, 32, 4, 4) if dense is None else dense)


def test_shapes_and_shared_embedding(decoder):
    embedding, tokens = torch.randn(1, 32, 4, 4), torch.randn(3, 2, 32)
    logits, iou = decode(decoder, embedding, tokens)
    assert logits.shape == (3, 3, 16, 16) and iou.shape == (3, 3)
    alone = decode(decoder, embedding, tokens[1:2])
    torch.testing.assert_close(alone[0][0], logits[1], atol=1e-5, rtol=1e-4)
    repeated = decode(decoder, embedding.repeat(3, 1, 1, 1), tokens)
    torch.testing.assert_close(repeated[0], logits, atol=1e-5, rtol=1e-4)


def test_prompt_order_does_not_matter(decoder):
    """Attention has no order: prompts are told apart by their vectors, not by their place."""
    embedding, tokens = torch.randn(1, 32, 4, 4), torch.randn(1, 4, 32)
    one, other = decode(decoder, embedding, tokens), decode(decoder, embedding, tokens.flip(1))
    torch.testing.assert_close(one[0], other[0], atol=1e-4, rtol=1e-3)


def test_dense_prompt_is_added_element_by_element(decoder):
    embedding, tokens, dense = torch.randn(1, 32, 4, 4), torch.randn(1, 1, 32), torch.randn(1, 32, 4, 4)
    one, other = decode(decoder, embedding, tokens, dense), decode(decoder, embedding + dense, tokens)
    torch.testing.assert_close(one[0], other[0])


def test_no_prompt_at_all_still_decodes(decoder):
    assert decode(decoder, torch.randn(1, 32, 4, 4), torch.randn(1, 0, 32))[0].shape == (1, 3, 16, 16)


def test_every_mask_has_its_own_token_and_head(decoder):
    embedding, tokens = torch.randn(1, 32, 4, 4), torch.randn(1, 1, 32)
    before = decode(decoder, embedding, tokens)[0]
    with torch.no_grad():
        decoder.mask_heads[1].layers[-1].weight.add_(1.0)
    after = decode(decoder, embedding, tokens)[0]
    changed = [not torch.allclose(before[0, k], after[0, k]) for k in range(3)]
    assert changed == [False, True, False]


def test_two_way_block_order_and_positions():
    """Rewritten from the document, stage by stage, with the block's own layers."""
    block = TwoWayBlock(16, heads=2, mlp_width=32)
    tokens, image = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    token_positions, image_positions = torch.randn(2, 5, 16), torch.randn(9, 16)
    t = block.self_attention_norm(
        tokens + block.self_attention(tokens + token_positions, tokens + token_positions, tokens)
    )
    t = block.token_to_image_norm(t + block.token_to_image(t + token_positions, image + image_positions, image))
    t = block.mlp_norm(t + block.mlp(t))
    i = block.image_to_token_norm(image + block.image_to_token(image + image_positions, t + token_positions, t))
    got = block(tokens, image, token_positions, image_positions)
    torch.testing.assert_close(got[0], t)
    torch.testing.assert_close(got[1], i)


def test_upscaling_is_local():
    """Each location becomes 4×4; nothing overlaps."""
    upscaling = Upscaling(8)
    image = torch.randn(1, 8, 4, 4)
    changed = image.clone()
    changed[..., 1, 2] += 1
    difference = (upscaling(changed) - upscaling(image)).abs().sum(1)[0]
    assert difference.shape == (16, 16)
    rows, columns = difference.nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 7, 8, 11)


def test_mask_logits_are_dot_products(decoder):
    image, vectors = torch.randn(2, 32, 4, 4), torch.randn(2, 3, 32)
    upscaled = decoder.upscaling(image)
    logits = decoder.mask_logits(image, vectors)
    torch.testing.assert_close(logits[1, 2, 5, 9], vectors[1, 2] @ upscaled[1, :, 5, 9], atol=1e-5, rtol=1e-4)


def test_folded_decoder_is_the_same_function():
    torch.manual_seed(1)
    sizes = {"image_size": 64, "patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 32}
    sam = document_sam(**sizes, decoder_heads=4, decoder_mlp=64)
    embedding = sam.encode_image(torch.randn(2, 3, 64, 64))
    prompts = {"points": torch.rand(2, 3, 2) * 64, "labels": torch.tensor([[1, 0, 1]] * 2)}
    plain = sam.decode_masks(embedding, **prompts)
    plain_gradient = torch.autograd.grad(plain[0].square().sum(), sam.mask_decoder.upscaling.double_1.weight)[0]
    folded = use_folded_decoder(sam).decode_masks(embedding.detach(), **prompts)
    folded_gradient = torch.autograd.grad(folded[0].square().sum(), sam.mask_decoder.upscaling.double_1.weight)[0]
    torch.testing.assert_close(plain[0], folded[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(plain_gradient, folded_gradient, atol=1e-4, rtol=1e-3)


def test_only_the_documents_decoder_is_folded():
    sam = document_sam(image_size=64, patch_size=8, width=32, depth=1, heads=2, channels=32, decoder_heads=4)
    sam.mask_decoder = torch.nn.Identity()
    with pytest.raises(TypeError, match="not Identity"):
        use_folded_decoder(sam)


def test_iou_predictions_are_not_squashed(decoder):
    with torch.no_grad():
        decoder.iou_head.layers[-1].bias.copy_(torch.tensor([-2.0, 0.0, 3.0]))
    iou = decode(decoder, torch.randn(1, 32, 4, 4), torch.randn(1, 1, 32))[1]
    assert iou.min() < 0 and iou.max() > 1


def test_choose_masks_looks_at_each_prompt_by_itself():
    low_res = torch.arange(6.0).reshape(2, 3, 1, 1)
    iou = torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.1, 0.7]])
    chosen, scores = MaskDecoder.choose_masks(low_res, iou, multimask_output=False)
    assert chosen.flatten().tolist() == [1, 3]
    torch.testing.assert_close(scores, torch.tensor([[0.9], [0.8]]))
    assert MaskDecoder.choose_masks(low_res, iou, multimask_output=True)[0] is low_res
