"""The masked autoencoder: the document's numbers at full size on meta, and what masking must and must not do."""

import ast
import inspect

import pytest
import torch

import samlite
from samlite import masked_autoencoder
from samlite.image_encoder import ImageEncoder, patchify, unpatchify
from samlite.masked_autoencoder import (
    MaskedAutoencoder,
    hand_over_encoder,
    normalise_patches,
    random_masking,
    take,
    wave_table,
)
from samlite.notebook.steps import MAE_STEPS
from samlite.sam import document_sam

SMALL = {"image_size": 48, "patch_size": 8, "width": 32, "depth": 2, "heads": 2, "channels": 16}


def small(**changes):
    torch.manual_seed(0)
    return MaskedAutoencoder(ImageEncoder(**SMALL | changes), decoder_width=16, decoder_depth=2, decoder_heads=2).eval()


def every_step(autoencoder, batch=2, device="cpu"):
    """One pass with its loss, listened to."""
    encoder = autoencoder.image_encoder
    images = torch.randn(batch, 3, encoder.image_size, encoder.image_size, device=device)
    visible, hidden = random_masking(batch, encoder.grid_size**2, device=device)
    with torch.no_grad(), samlite.shape_ledger(autoencoder) as ledger:
        autoencoder.hidden_error(autoencoder(images, visible), images, hidden)
    return ledger


def test_the_full_size_of_the_document_on_meta():
    with torch.device("meta"):
        autoencoder = MaskedAutoencoder(ImageEncoder()).eval()
    ledger = every_step(autoencoder, batch=1, device="meta")
    assert {name: ledger[name].shape for name in ledger.names if MAE_STEPS[name].symbols} == {
        "patches": (1, 4096, 768),
        "visible_patches": (1, 1024, 768),
        "visible_embedding": (1, 1024, 1280),
        "positioned_visible": (1, 1024, 1280),
        "visible_block": (1, 1024, 1280),
        "encoded_visible": (1, 1024, 1280),
        "narrowed_visible": (1, 1024, 512),
        "filled_up": (1, 4096, 512),
        "positioned_places": (1, 4096, 512),
        "rebuilding_block": (1, 4096, 512),
        "rebuilt_patches": (1, 4096, 768),
        "hidden_error": (1, 3072),
    }
    assert len(ledger.all("visible_block")) == 32 and len(ledger.all("rebuilding_block")) == 8
    assert len(ledger.all("self_attention")) == len(ledger.all("feed_forward")) == 40
    assert autoencoder.blocks[0].attention.heads == 16


def test_the_letters_of_every_step_agree_with_its_numbers():
    ledger = every_step(small())
    letters = {"B": 2, "P": 8, "L": 36, "V": 9, "D": 32, "A": 16}
    assert set(ledger.names) == set(MAE_STEPS)
    for entry in ledger:
        assert entry.section == MAE_STEPS[entry.name].section
        assert not entry.symbols or eval(f"({entry.symbols})", letters) == entry.shape, entry


def test_every_name_in_the_source_is_in_the_table():
    tree = ast.parse(inspect.getsource(masked_autoencoder))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "record"]
    assert {call.args[0].value for call in calls} | {"self_attention", "feed_forward"} == set(MAE_STEPS)


@pytest.mark.parametrize("patches, share, visible_count", [(4096, 0.75, 1024), (144, 0.75, 36), (16, 0.5, 8)])
def test_masking_is_a_partition_of_its_own_for_every_image(patches, share, visible_count):
    visible, hidden = random_masking(8, patches, share, 3)
    assert visible.shape == (8, visible_count) and hidden.shape == (8, patches - visible_count)
    both = torch.cat([visible, hidden], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(patches).expand(8, -1))
    assert (visible.diff(dim=1) > 0).all() and (hidden.diff(dim=1) > 0).all()
    assert not torch.equal(visible[0], visible[1])


def test_a_seed_decides_the_masking():
    one, same, other = (random_masking(2, 64, generator=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    again = random_masking(2, 64, generator=torch.Generator().manual_seed(1))[0]
    assert torch.equal(one, again)


def test_every_place_is_hidden_equally_often():
    visible, _ = random_masking(4000, 16, 0.75, 0)
    often = visible.flatten().bincount(minlength=16) / 4000
    assert (often - 0.25).abs().max() < 0.04


@pytest.mark.parametrize("share", [0.0, 1.0, 0.999, -1, 2])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(ValueError, match="at least one patch must be visible and one hidden"):
        random_masking(1, 16, share)


def test_the_encoder_never_sees_a_hidden_pixel():
    autoencoder = small()
    images = torch.randn(1, 3, 48, 48)
    visible, hidden = random_masking(1, 36, generator=0)
    patches = patchify(images, 8).clone()
    patches[0, hidden[0]] = 7.0
    changed = unpatchify(patches, 8, 6)
    with torch.no_grad():
        assert torch.equal(autoencoder(images, visible), autoencoder(changed, visible))


def test_with_all_patches_visible_it_is_the_image_encoder():
    autoencoder = small()
    images = torch.randn(2, 3, 48, 48)
    everything = torch.arange(36).expand(2, -1)
    with torch.no_grad(), samlite.shape_ledger(autoencoder.image_encoder, keep="encoded_patches") as ledger:
        autoencoder.image_encoder(images)
        encoded = autoencoder.encode_visible(images, everything)
    torch.testing.assert_close(encoded, ledger["encoded_patches"].tensor)


def test_the_order_of_the_visible_patches_does_not_matter():
    autoencoder = small()
    images = torch.randn(1, 3, 48, 48)
    visible, _ = random_masking(1, 36, generator=0)
    with torch.no_grad():
        forwards, backwards = autoencoder(images, visible), autoencoder(images, visible.flip(1))
    torch.testing.assert_close(forwards, backwards)


def test_every_hidden_place_starts_as_the_same_mask_token():
    autoencoder = small()
    visible, hidden = random_masking(2, 36, generator=0)
    with torch.no_grad(), samlite.shape_ledger(autoencoder, keep=("filled_up", "narrowed_visible")) as ledger:
        autoencoder(torch.randn(2, 3, 48, 48), visible)
    filled = ledger["filled_up"].tensor
    assert (take(filled, hidden) == autoencoder.mask_token).all()
    assert torch.equal(take(filled, visible), ledger["narrowed_visible"].tensor)


def test_the_loss_is_of_hidden_patches_alone():
    autoencoder = small()
    images = torch.randn(2, 3, 48, 48)
    visible, hidden = random_masking(2, 36, generator=0)
    right = patchify(images, 8)
    spoiled = right.clone().scatter_(1, visible[..., None].expand(-1, -1, right.shape[-1]), 100.0)
    assert autoencoder.hidden_error(spoiled, images, hidden).eq(0).all()
    error = autoencoder.hidden_error(right + 2, images, hidden)
    assert error.shape == hidden.shape
    torch.testing.assert_close(error, torch.full_like(error, 4.0))


def test_normalised_targets_have_no_colour_and_unit_spread():
    patches = torch.randn(2, 5, 48) * 3 + 10
    normalised = normalise_patches(patches)
    torch.testing.assert_close(normalised.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(-1), torch.ones(2, 5), atol=1e-4, rtol=0)
    assert normalise_patches(torch.full((1, 1, 48), 3.0)).eq(0).all()  # a patch of one colour is no division by zero
    images = torch.randn(1, 3, 48, 48)
    hidden = torch.arange(36)[None]
    assert small().hidden_error(normalise_patches(patchify(images, 8)), images, hidden, normalised=True).eq(0).all()


def test_learning_reaches_everything_but_the_channel_projection():
    autoencoder = small().train()
    images = torch.randn(2, 3, 48, 48)
    visible, hidden = random_masking(2, 36, generator=0)
    autoencoder.hidden_error(autoencoder(images, visible), images, hidden).mean().backward()
    without = {name for name, parameter in autoencoder.named_parameters() if parameter.grad is None}
    assert without == {"image_encoder.channel_projection.weight", "image_encoder.channel_projection.bias"}
    assert autoencoder.mask_token.grad.abs().sum() > 0


def test_waves_tell_all_places_apart():
    table = wave_table(12, 64)
    assert table.shape == (144, 64)
    assert (torch.cdist(table, table) + torch.eye(144) > 0.1).all()


def test_the_encoder_is_handed_to_sam_and_the_decoder_is_not():
    autoencoder, sam = small(), document_sam(**SMALL, decoder_heads=4, decoder_mlp=32)
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    hand_over_encoder(autoencoder, sam)
    for name, value in sam.state_dict().items():
        part, _, inner = name.partition(".")
        if part == "image_encoder" and not inner.startswith("channel_projection"):
            assert torch.equal(value, autoencoder.image_encoder.state_dict()[inner]), name
        else:
            assert torch.equal(value, before[name]), name
    sam.image_encoder.position_embedding.data.zero_()
    assert autoencoder.image_encoder.position_embedding.abs().sum() > 0, "a copy, not the same tensor"


@pytest.mark.parametrize(
    "changes, named",
    [({"width": 48}, "patch_projection|position"), ({"depth": 3}, "number of blocks"), ({"heads": 4}, "heads"),
     ({"image_size": 64}, "position_embedding"), ({"depth": 1}, "blocks")],
)  # fmt: skip
def test_an_encoder_of_another_size_is_refused(changes, named):
    sam = document_sam(**SMALL | changes, decoder_heads=4, decoder_mlp=32)
    with pytest.raises(ValueError, match=f"the two encoders differ in .*({named})"):
        hand_over_encoder(small(), sam)
