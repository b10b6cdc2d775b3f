"""Ablations change what they name, and leave nothing behind."""

import pytest
import torch

import samlite
from samlite.notebook import ablation
from samlite.notebook.ablation import ABLATIONS, Scenery
from samlite.notebook.ledger import shape_ledger
from samlite.sam import Sam


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return samlite.document_sam(image_size=64, patch_size=8, width=32, depth=4, heads=2, channels=16, decoder_heads=2,
                                decoder_mlp=32).eval()  # fmt: skip


@torch.no_grad()
def answer(sam):
    generator = torch.Generator().manual_seed(1)
    images, mask = torch.randn(1, 3, 64, 64, generator=generator), torch.randn(1, 1, 32, 32, generator=generator)
    embedding = sam.encode_image(images)
    points, labels = torch.tensor([[[20.0, 30.0], [40.0, 10.0]]]), torch.tensor([[1, 0]])
    return sam.decode_masks(embedding, points, labels, boxes=torch.tensor([[[5.0, 5.0, 50.0, 40.0]]]), mask=mask)[0]


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_switch_changes_the_answer_and_leaves_nothing_behind(sam, name):
    before, state = answer(sam), {key: value.clone() for key, value in sam.state_dict().items()}
    with ABLATIONS[name].off(sam):
        ablated = answer(sam)
        assert ablated.shape == before.shape
        assert not torch.allclose(ablated, before)
    assert torch.equal(answer(sam), before)
    assert all(torch.equal(value, state[key]) for key, value in sam.state_dict().items())
    with pytest.raises(RuntimeError, match="in the middle"), ABLATIONS[name].off(sam):
        raise RuntimeError("in the middle")
    assert torch.equal(answer(sam), before)


def test_a_silenced_module_adds_nothing(sam):
    attention = sam.image_encoder.blocks[0].attention
    tokens = torch.randn(1, 64, 32)
    with ablation.silenced(attention), torch.no_grad():
        assert not attention(tokens, tokens, tokens).any()


def test_a_block_that_is_passed_by_hands_on_tokens_and_image(sam):
    block = sam.mask_decoder.blocks[0]
    tokens, image, places = torch.randn(1, 5, 16), torch.randn(1, 64, 16), torch.randn(64, 16)
    with ablation.passed_by(block), torch.no_grad():
        out_tokens, out_image = block(tokens, image, tokens, places)
    assert out_tokens is tokens and out_image is image


def test_without_image_to_token_attention_the_image_does_not_know_the_prompt(sam):
    def decoded(x):
        with shape_ledger(sam, keep="decoded_image") as ledger, torch.no_grad():
            embedding = sam.encode_image(torch.zeros(1, 3, 64, 64))
            sam.decode_masks(embedding, torch.tensor([[[x, 30.0]]]), torch.ones(1, 1, dtype=torch.long))
        return ledger["decoded_image"].tensor

    assert not torch.allclose(decoded(5.0), decoded(60.0))
    with ABLATIONS["no image-to-token"].off(sam):
        assert torch.allclose(decoded(5.0), decoded(60.0), atol=1e-6)


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_image_embedding_changes_where_the_encoder_does(sam, name):
    """What an ablation says of itself, for chapter 09 encodes once for all others."""
    scenery = Scenery.make(sam, 1, 2)
    before = scenery.encoded(sam)
    with ABLATIONS[name].off(sam):
        assert torch.equal(scenery.encoded(sam), before) != ABLATIONS[name].in_encoder


def test_scenery_is_always_the_same_and_a_perfect_model_would_be_right(sam):
    one, again = Scenery.make(sam, 2, 3), Scenery.make(sam, 2, 3)
    assert torch.equal(one.images, again.images) and torch.equal(one.truths, again.truths)
    assert one.points.shape == (6, 1, 2) and one.rough.shape == (6, 1, 32, 32)
    assert 0 <= one.quality(sam) == one.quality(sam, one.encoded(sam)) <= 1

    class Knows(Sam):
        def __init__(self):
            torch.nn.Module.__init__(self)

        def encode_image(self, images):
            return torch.zeros(len(images), 1, 1, 1)

        def decode_masks(self, embedding, points, labels, mask=None):
            return (one.truths[:, None] - 0.5).repeat(1, 3, 1, 1), torch.zeros(len(points), 3)

    assert one.quality(Knows()) == pytest.approx(1.0)
