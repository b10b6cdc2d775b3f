"""The ladder holds, says where it breaks when one stage is spoiled, and is written as a table."""

import json

import pytest
import torch
from reference import build
from torch.nn import functional as F

from samlite import parity_command
from samlite.command_line import main
from samlite.released import golden as golden_files
from samlite.released import parity
from samlite.released.image_encoder import RelativeAttention, WindowBlock
from samlite.released.prompt_encoder import FourierEncoding

STAGES = [
    "preprocessing", "patch embedding", "encoder block 0 (window)", "encoder block 1 (global)",
    "encoder block 2 (window)", "neck, first half", "image embedding", "image positions", "sparse prompt tokens",
    "dense prompt", "two-way block 0, tokens", "two-way block 0, image", "two-way block 1, tokens",
    "two-way block 1, image", "last token-to-image attention", "upscaled image", "mask vectors", "low-res logits",
    "predicted IoU", "masks", "batched call, low-res logits", "batched call, predicted IoU",
]  # fmt: skip


def first_broken(sam):
    return next((rung.stage for rung in parity.official_stages("tiny", sam) if not rung.holds), None)


def test_every_rung_holds_in_order():
    rungs = list(parity.official_stages("tiny", build("tiny")))
    assert [rung.stage for rung in rungs] == STAGES
    assert all(rung.holds and rung.mean <= rung.largest and rung.values > 0 for rung in rungs)


def swapped_rows_and_columns(monkeypatch, sam):
    right = RelativeAttention.position_bias
    swapped = staticmethod(lambda queries, rows, columns: right(queries, columns, rows))
    monkeypatch.setattr(RelativeAttention, "position_bias", swapped)


def masked_window_padding(monkeypatch, sam):
    """What looks right and is not what was released: padded places get no share of the softmax, here no key."""
    right = WindowBlock.attend

    def attend(self, tokens):
        bias, self.attention.qkv_projection.bias = self.attention.qkv_projection.bias, None
        answer = right(self, tokens)
        self.attention.qkv_projection.bias = bias
        return answer

    monkeypatch.setattr(WindowBlock, "attend", attend)


def no_half_pixel(monkeypatch, sam):
    right = FourierEncoding.forward
    monkeypatch.setattr(FourierEncoding, "forward", lambda self, xy: right(self, xy - 0.5 / sam.image_size))


def shifted_logits(decoder):
    right = decoder.mask_logits
    return lambda image, vectors: right(image, vectors) + 0.01


SPOILED = {
    "preprocessing": lambda m, sam: m.setattr(sam, "pixel_std", sam.pixel_std + 0.01),
    "patch embedding": lambda m, sam: sam.image_encoder.patch_projection.weight.data.mul_(1.0001),
    "encoder block 0 (window)": masked_window_padding,
    "encoder block 1 (global)": lambda m, sam: sam.image_encoder.blocks[1].attention.relative_rows.data.mul_(1.001),
    "neck, first half": lambda m, sam: m.setattr(sam.image_encoder.neck.norm_1, "eps", 1e-3),
    "image positions": no_half_pixel,
    "sparse prompt tokens": lambda m, sam: sam.prompt_encoder.not_a_point.data.zero_(),
    "dense prompt": lambda m, sam: m.setattr(sam.prompt_encoder.mask_prompt.norm_1, "eps", 1e-2),
    "two-way block 0, tokens": lambda m, sam: m.setattr(sam.mask_decoder.blocks[0].mlp_norm, "eps", 1e-3),
    "two-way block 0, image": lambda m, sam: m.setattr(sam.mask_decoder.blocks[0].image_to_token_norm, "eps", 1e-3),
    "upscaled image": lambda m, sam: m.setattr(sam.mask_decoder.upscaling.norm, "eps", 1e-3),
    "low-res logits": lambda m, sam: m.setattr(sam.mask_decoder, "mask_logits", shifted_logits(sam.mask_decoder)),
    "predicted IoU": lambda m, sam: sam.mask_decoder.iou_head.layers[-1].bias.data.add_(1e-4),
    "masks": lambda m, sam: m.setattr(sam, "resize_masks", lambda logits, _, size: F.interpolate(logits, size)),
}


@pytest.mark.parametrize("stage", [*SPOILED])
def test_the_first_broken_rung_is_the_spoiled_stage(monkeypatch, stage):
    sam = build("tiny")
    with torch.no_grad():
        SPOILED[stage](monkeypatch, sam)
    assert first_broken(sam) == stage


def test_rows_and_columns_swapped(monkeypatch):
    sam = build("tiny")
    swapped_rows_and_columns(monkeypatch, sam)
    assert first_broken(sam) == "encoder block 0 (window)"


def test_nan_and_another_size_never_hold():
    one = torch.ones(2, 3)
    assert parity.compare("", "", "", [(one, one)], 0.0).holds
    assert not parity.compare("", "", "", [(one, one), (one * torch.nan, one)], 1e9).holds
    assert not parity.compare("", "", "", [(one[:1], one)], 1e9).holds


def test_masks_of_nan_and_without_a_clear_pixel_never_hold():
    logits = torch.tensor([[5.0, -5.0, 1e-9]])
    right = parity.compare_masks("", "", "", [(logits, logits > 0)])
    assert right.holds and right.values == 2
    assert parity.compare_masks("", "", "", [(logits, logits < 0)]).largest == 1
    spoiled = parity.compare_masks("", "", "", [(logits, logits > 0), (logits * torch.nan, logits > 0)])
    assert spoiled.largest == 3 / 5 and not spoiled.holds
    assert not parity.compare_masks("", "", "", [(torch.zeros(1, 3), torch.zeros(1, 3))]).holds


def test_the_other_rungs_break_too(monkeypatch):
    sam = build("std256")
    assert all(rung.holds for rung in parity.predictor(sam))
    assert all(rung.holds for rung in [parity.gradients(build("tiny"))])
    sam.image_encoder.blocks[0].mlp.layers[0].bias.data.add_(0.01)
    assert not any(rung.holds for rung in parity.predictor(sam) if "masks" not in rung.stage)
    assert not parity.windows(lambda name, window: sam if name == "std256" else build(name, window=window)).holds
    spoiled = build("tiny")
    spoiled.mask_decoder.iou_head.layers[-1].weight.data.mul_(1.01)
    assert not parity.gradients(spoiled).holds


def test_the_command_writes_the_table_and_fails_when_a_rung_breaks(monkeypatch, tmp_path, capsys):
    pytest.importorskip("transformers")
    short = lambda full, device: parity.live("tiny", golden_files.build("tiny").to(device), torch.ones(1, 3, 128, 128))  # noqa: E731
    monkeypatch.setattr(parity_command, "ladder", short)
    monkeypatch.setattr(parity_command, "is_installed", lambda: False)
    assert main(["parity", "--json", str(tmp_path / "new" / "parity.json")]) == 0
    table = json.loads((tmp_path / "new" / "parity.json").read_text(encoding="utf-8"))
    assert {"date", "device", "dtype", "torch", "transformers", "segment_anything", "rungs"} == set(table)
    assert len(table["rungs"]) == 3 and all(rung["holds"] for rung in table["rungs"])
    assert "all 3 rungs hold" in capsys.readouterr().out

    monkeypatch.setattr(parity, "transformers_sam", shifted(parity.transformers_sam))
    assert main(["parity"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("BROKEN") == 3 and "the first is tiny: image embedding" in printed


def shifted(make):
    """The other implementation, with one bias changed."""

    def changed(sam):
        other = make(sam)
        bias = other.vision_encoder.neck.layer_norm2.bias
        other.vision_encoder.neck.layer_norm2.bias = torch.nn.Parameter(bias.detach() + 0.01)
        return other

    return changed


def test_without_the_golden_files_the_command_says_where_they_are(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(golden_files, "GOLDEN", tmp_path)
    assert main(["parity"]) == 2
    assert "the official numbers are in the repository" in capsys.readouterr().err


def test_the_table_of_the_book_has_every_rung_and_all_of_them_hold():
    table = json.loads(parity_command.RESULTS.read_text(encoding="utf-8"))
    assert all(rung["holds"] for rung in table["rungs"])
    measured = {(rung["reference"], rung["model"], rung["stage"]) for rung in table["rungs"]}
    assert {(parity.OFFICIAL, "tiny", stage) for stage in STAGES} <= measured
    assert {(parity.OFFICIAL, "vit_b", "image embedding"), (parity.TRANSFORMERS, "vit_b", "low-res logits")} <= measured
    assert table["torch"] and table["date"]
