"""What chapter 13 stands on: parts of the release in a document SAM, and the ladder with a stage spoiled."""

import pytest
import torch

from samlite import document_sam
from samlite.notebook.ladder_views import (
    SPOILS,
    ladder_in_words,
    ladder_picture,
    ladder_table,
    rungs_of,
)
from samlite.notebook.style import drawn
from samlite.notebook.swaps import OURS, SWAPS, global_blocks, swapped, with_windows
from samlite.parity_command import as_table
from samlite.released import parity
from samlite.released.golden import build
from samlite.released.image_encoder import GlobalBlock, WindowBlock
from samlite.released.official_files import CHECKPOINTS

SIZES = {"image_size": 96, "width": 32, "depth": 4, "heads": 2, "channels": 32, "decoder_heads": 4, "decoder_mlp": 64}


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return document_sam(**SIZES).eval()


@torch.no_grad()
def answer(sam):
    embedding = sam.encode_image(torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)))
    return embedding, *sam.decode_masks(embedding, torch.full((1, 1, 2), 40.0), torch.ones(1, 1, dtype=torch.long))


def test_the_global_blocks_are_those_of_the_release():
    for known in CHECKPOINTS.values():
        assert global_blocks(known.sizes["depth"]) == set(known.sizes["global_blocks"])
    assert global_blocks(6) == {1, 3, 5} and global_blocks(1) == {0} and global_blocks(2) == {1}
    assert global_blocks(9) == {2, 4, 6, 8}


@pytest.mark.parametrize("name", SWAPS)
def test_a_swap_runs_and_leaves_the_model_alone(sam, name):
    before = answer(sam)
    other = swapped(sam, name)
    embedding, logits, iou = answer(other)
    assert embedding.shape == before[0].shape and logits.shape[-2:] == before[1].shape[-2:]
    assert logits.shape[1] == iou.shape[1] == (4 if name == "fourth mask" else 3)
    assert all(torch.equal(now, then) for now, then in zip(answer(sam), before, strict=True))
    if SWAPS[name].part == "mask decoder":
        assert torch.equal(embedding, before[0])
    same = all(torch.equal(a, b) for a, b in zip(answer(swapped(sam, name)), (embedding, logits, iou), strict=True))
    assert same, "new weights are drawn from a fixed seed"


def test_relative_positions_of_zero_change_nothing(sam):
    for ours, theirs in zip(answer(sam), answer(swapped(sam, "relative positions")), strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


def test_a_window_as_large_as_the_grid_is_no_window(sam):
    for ours, theirs in zip(answer(sam), answer(with_windows(sam, sam.image_encoder.grid_size)), strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)
    kinds = [type(block) for block in with_windows(sam, 4).image_encoder.blocks]
    assert kinds == [WindowBlock, GlobalBlock] * 2
    assert not torch.allclose(answer(with_windows(sam, 2))[0], answer(sam)[0], atol=1e-3)


def test_trained_weights_fit_where_it_is_said(sam):
    """Every parameter of a swap that keeps weights is one of the model's, but for tables of zeros."""
    for name in (name for name, swap in SWAPS.items() if swap.keeps_weights):
        kept = {p.detach().sum().item() for p in sam.parameters()}
        new = [p for n, p in swapped(sam, name).named_parameters() if "relative_" not in n and "qkv" not in n]
        assert all(p.detach().sum().item() in kept for p in new), name


def test_all_that_windows_add_is_tables(sam):
    def weights(model):
        return sum(p.numel() for p in model.parameters())

    tables = [p for name, p in swapped(sam, "windows").named_parameters() if "relative" in name]
    assert weights(swapped(sam, "windows")) - weights(sam) == sum(table.numel() for table in tables)


def test_every_reason_has_a_source():
    sources = {swap.name: swap.source for swap in SWAPS.values()}
    assert all(sources.values()) and sources["windows"] == "ViTDet" and sources["last look"] == OURS


def test_swaps_cost_what_they_promise(sam):
    def weights(model):
        return sum(p.numel() for p in model.parameters())

    assert weights(swapped(sam, "thin upscaling")) < weights(sam)
    assert weights(swapped(sam, "half-width cross attention")) < weights(sam)
    assert weights(swapped(sam, "prompt encoder")) < weights(sam)
    assert weights(swapped(sam, "last look")) > weights(sam)
    with pytest.raises(KeyError):
        swapped(sam, "window")


@pytest.mark.parametrize("slip", SPOILS)
def test_the_first_broken_rung_is_the_slips_stage_and_nothing_stays_behind(slip):
    small = build("tiny")
    with SPOILS[slip].made(small):
        rungs = list(parity.official_stages("tiny", small))
    assert next(rung.stage for rung in rungs if not rung.holds) == SPOILS[slip].stage
    words = ladder_in_words(rungs)
    assert "broken" in words and SPOILS[slip].stage in words
    assert "✗" in "".join(label.get_text() for label in ladder_picture(rungs).axes[0].get_yticklabels())
    whole = list(parity.official_stages("tiny", small))
    assert all(rung.holds for rung in whole) and "smaller than allowed" in ladder_in_words(whole)


def test_a_table_and_back():
    rungs = [
        parity.Rung("official numbers", "tiny", "masks", 0.0, 0.0, 0.0, "of the pixels", 9),
        parity.Rung("official numbers", "tiny", "low-res logits", float("nan"), 1.0, 1e-5, "absolute", 9),
    ]
    assert rungs_of(as_table(rungs[:1], "cpu")) == rungs[:1]
    text = str(ladder_table(rungs, caption="here"))
    assert text.count("holds") == 1 and text.count("BROKEN") == 1 and text.endswith("here")
    assert drawn(ladder_picture(rungs, "title")).size[0] > 500
