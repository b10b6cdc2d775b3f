"""Fewer bits: what each mode does to weights, memory and masks, and what is refused."""

import copy
import json

import numpy as np
import pytest
import skimage
import torch
from torch import nn

from samlite import SamPredictor, command_line, document_sam, memory, released_sam, sam_model_registry
from samlite.fast import use_fast_paths
from samlite.learning import precision as measured
from samlite.parts import with_parts
from samlite.precision import MODES, Bfloat16Weights, Int8Linear, check_mode, modes_here, to_int8, use_precision
from samlite.registry import TINY_WEIGHTS
from samlite.released import checkpoints
from samlite.released.checkpoints import load_checkpoint
from samlite.released.key_map import to_official
from samlite.released.official_files import CHECKPOINTS, sha256

SMALL = {"image_size": 64, "patch_size": 8, "width": 32, "depth": 2, "heads": 2, "channels": 32, "decoder_mlp": 32}
RELEASED = SMALL | {"window": 3, "global_blocks": (1,)}
HERE = modes_here()
needs_int8 = pytest.mark.skipif("int8" not in HERE, reason="this processor's products of 8-bit numbers overflow")
EVERY = [pytest.param(mode, marks=needs_int8) if mode == "int8" else mode for mode in MODES]
SMALLER = EVERY[1:]


def small(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "document":
        return document_sam(**SMALL).eval()
    sam = released_sam(**RELEASED).eval()
    return use_fast_paths(sam) if kind == "fast" else sam


def test_int8_rows_keep_their_largest_value():
    rows = torch.tensor([[0.5, -2.0, 1.0], [0.0, 0.0, 0.0], [1e-3, 2e-3, -3e-3]])
    whole, scale = to_int8(rows)
    assert whole.dtype == torch.int8 and whole[0].tolist() == [32, -127, 64] and not whole[1].any()
    assert ((whole * scale - rows).abs() <= scale / 2 * 1.001).all()


@needs_int8
def test_an_int8_product_is_that_of_the_rounded_numbers():
    """Against the same computed in float64, with more tokens than a strip."""
    linear, x = nn.Linear(48, 40), torch.randn(2, 300, 48)
    layer = Int8Linear(linear)
    linear.requires_grad_(False)
    weight = layer.weight.double() * layer.scale.double()[:, None]
    whole, scale = to_int8(x.flatten(0, 1))
    expected = (whole.double() * scale.double()) @ weight.T + linear.bias.double()
    torch.testing.assert_close(layer(x).flatten(0, 1).double(), expected, atol=1e-5, rtol=1e-5)
    assert (layer(x) - linear(x)).abs().max() < 0.05


def test_bfloat16_weights_are_half_as_large():
    linear, x = nn.Linear(48, 40), torch.randn(2, 7, 48)
    layer = Bfloat16Weights(linear)
    expected = x @ linear.weight.detach().bfloat16().float().T + linear.bias.detach()
    torch.testing.assert_close(layer(x), expected)
    assert memory.weight_bytes(layer) == 2 * linear.weight.numel() + 4 * linear.bias.numel()


@pytest.mark.parametrize("kind", ["document", "plain", "fast"])
@pytest.mark.parametrize("mode", SMALLER)
def test_answers_stay_float32_and_near(kind: str, mode: str):
    exact, sam = small(kind), use_precision(small(kind), mode)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        right, embedding = exact.encode_image(image), sam.encode_image(image)
    assert embedding.dtype == torch.float32
    off = (embedding - right).square().mean().sqrt() / right.square().mean().sqrt()
    assert 0 < off < 0.05
    assert all(p.dtype == torch.float32 for p in (*sam.mask_decoder.parameters(), *sam.prompt_encoder.parameters()))
    assert memory.weight_bytes(sam.image_encoder) < 0.75 * memory.weight_bytes(exact.image_encoder)
    predictor = SamPredictor(sam)
    predictor.set_image(np.zeros((40, 64, 3), np.uint8))
    _, scores, logits = predictor.predict([[10, 10]], [1])
    assert scores.dtype == logits.dtype == np.float32 and np.isfinite(logits).all()


@pytest.mark.parametrize("mode", SMALLER)
def test_the_fast_path_is_the_plain_one_in_every_mode(mode: str):
    plain = use_precision(small("plain"), mode)
    fast = use_fast_paths(copy.deepcopy(plain))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = plain.encode_image(image), fast.encode_image(image)
    # the same rounded weights; in 16 bits and in 8 the last steps of the way there are rounded as well
    tolerance = {"bfloat16_weights": 1e-5, "int8": 2e-2, "bfloat16": 3e-2}[mode]
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_tiny_keeps_its_masks():
    """Most masks of a few clicks on a photo are the same to a hundredth, in 16 bits, and nearly the same in 8."""
    rows = measured.compare(
        lambda mode: sam_model_registry["tiny"](precision=mode),
        photos={"astronaut": skimage.data.astronaut()}, points_per_side=3, rounds=1,
    )  # fmt: skip
    by_mode = {row["mode"]: row for row in rows}
    assert tuple(by_mode) == HERE
    assert by_mode["float32"]["worst_iou"] == 1 and by_mode["float32"]["ratio"] == 1
    assert by_mode["bfloat16_weights"]["mean_iou"] > 0.99
    assert all(row["mean_iou"] > 0.95 for row in rows)
    assert all(row["masks"] == 27 and row["largest_logit"] < row["logit_scale"] for row in rows)
    table = measured.as_table(rows)
    assert table.count("\n") == 1 + len(HERE)
    words = measured.in_words([row for row in rows if row["mode"] != "int8"])
    assert words.endswith("(sam, …). int8 cannot be had on this processor.") and "is the fastest" in words


def test_masks_side_by_side():
    logits = torch.full((3, 4, 4), -1.0)
    logits[1], logits[2, :2] = 1, 1
    other = logits.clone()
    other[2, 1] = -2
    row = measured.beside([other], [logits])
    assert row["masks"] == 3 and row["good_share"] == pytest.approx(2 / 3)
    assert row["worst_iou"] == 0.5 and row["largest_logit"] == 3


def test_doctor_measures_the_modes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def build(checkpoint: str | None, precision: str) -> nn.Module:
        return use_precision(small("fast"), precision)

    monkeypatch.setitem(sam_model_registry, "vit_b", build)
    assert command_line.main(["doctor", "--precision", "vit_b"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("| precision |") and all(f"| {mode} |" in text for mode in HERE) and "fastest" in text
    assert command_line.main(["doctor", "--precision", "vit_b", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert tuple(row["mode"] for row in rows) == HERE and "masks" not in rows[0]  # its weights are random


# bad inputs


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="^precision is 'int4': it must be one of 'float32', 'bfloat16', "):
        use_precision(small("document"), "int4")
    with pytest.raises(ValueError, match="^precision is 'half'"):
        sam_model_registry["vit_b"](precision="half")
    with pytest.raises(ValueError, match="first must be 'float32'"):
        measured.compare(lambda mode: small("plain"), modes=("int8",))


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_int8_is_for_a_cpu(device: str):
    expected = f"^precision 'int8' is for a CPU, and the device is '{device}': take 'bfloat16' there$"
    with pytest.raises(ValueError, match=expected):
        check_mode("int8", device)
    for name in ("tiny", "vit_b", "document_vit_h"):  # before anything is loaded or made
        with pytest.raises(ValueError, match=expected):
            sam_model_registry[name](device=device, precision="int8")
    check_mode("bfloat16", device)


def test_a_device_of_no_kind_is_named():
    with pytest.raises(ValueError, match="^device is 'gpu', and PyTorch knows none of that name: int8 needs 'cpu'$"):
        check_mode("int8", "gpu")


@needs_int8
def test_rounding_cannot_be_undone():
    sam = use_precision(small("document"), "int8")
    assert use_precision(sam, "int8") is sam
    for mode in ("float32", "bfloat16"):
        with pytest.raises(ValueError, match=f"rounded to int8 already: load it anew for '{mode}'"):
            use_precision(sam, mode)


def test_a_processor_that_overflows_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.int() @ b.int()).clamp(max=32767))
    with pytest.raises(ValueError, match="overflow: take 'bfloat16_weights'"):
        use_precision(small("document"), "int8")
    assert modes_here() == ("float32", "bfloat16", "bfloat16_weights")
    check_mode("int8", "meta")  # there nothing is multiplied
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: a.int() @ b.int())  # and one that does not
    assert modes_here() == tuple(MODES)


# loading


@pytest.mark.parametrize("mode", SMALLER)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_is_rounded_while_it_is_read(tmp_path, mode: str, suffix: str):
    path, sam = tmp_path / "own.pth", small("plain")
    torch.save(to_official(sam.state_dict()), path)
    if suffix == ".safetensors":
        path = checkpoints.convert(path)
    loaded = load_checkpoint(released_sam(**RELEASED, device="meta"), path, mode)
    path.write_bytes(b"")  # nothing of it is in use any more
    assert loaded.image_encoder.precision == mode
    expected = use_precision(sam, mode).state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("mode", EVERY)
def test_the_registry_rounds_a_file(tmp_path, monkeypatch: pytest.MonkeyPatch, mode: str):
    monkeypatch.setitem(CHECKPOINTS, "vit_b", CHECKPOINTS["vit_b"]._replace(sizes=RELEASED))
    torch.save(to_official(small("plain").state_dict()), tmp_path / "own.pth")
    sam = sam_model_registry["vit_b"](tmp_path / "own.pth", precision=mode)
    assert getattr(sam.image_encoder, "precision", "float32") == mode
    expected = use_precision(small("plain"), mode).state_dict()
    for name, value in sam.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_a_model_put_together_anew_keeps_its_precision():
    sam = with_parts(use_precision(small("document"), "bfloat16_weights"))
    with pytest.raises(ValueError, match="rounded to bfloat16_weights already"):
        use_precision(sam, "bfloat16")


def test_reduced_models_need_less(monkeypatch: pytest.MonkeyPatch, tmp_path):
    needs = {m: memory.weight_bytes(sam_model_registry["vit_h"](device="meta", precision=m)) for m in MODES}
    assert needs["int8"] < 0.27 * needs["float32"] and needs["bfloat16"] < 0.51 * needs["float32"]
    path = tmp_path / "own.pth"
    torch.save(to_official(small("plain").state_dict()), path)
    shapes = released_sam(**RELEASED, device="meta")
    monkeypatch.setattr(memory, "free_bytes", lambda device="cpu": memory.weight_bytes(shapes) - 1)
    with pytest.raises(memory.TooLittleMemoryError):
        load_checkpoint(shapes, path)
    small_enough = load_checkpoint(released_sam(**RELEASED, device="meta"), path, "bfloat16_weights")
    assert small_enough.image_encoder.precision == "bfloat16_weights"


def test_the_book_shows_what_was_measured():
    """Sizes in the committed figures are those of the models; computed and measured memory agree."""
    result = json.loads(measured.RESULTS.read_text(encoding="utf-8"))
    assert {"tiny", "vit_b"} <= set(result["models"]) and result["machine"]["torch"] and result["machine"]["date"]
    assert result["tiny_sha256"] == sha256(TINY_WEIGHTS), "measured with other weights: samlite.learning.precision"
    for row in result["memory"]:
        assert row["weights_mb"] == measured.needs(row["model"])["weights_mb"], row["model"]
        if row["model"] != "tiny":
            assert abs(row["photo_mib"] - row["measured_mib"]) < 0.25 * row["measured_mib"]
    assert measured.needs_table(result["memory"]).count("\n") == 1 + len(result["memory"])
    assert measured.as_table(result["models"]["vit_b"]).count("–") == 3 * len(MODES)
