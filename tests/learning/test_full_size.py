"""The measurement of the full ViT-H: its predictions at full size, and every row of it at a small one."""

import json

import pytest
import torch

from samlite.command_line import main
from samlite.learning import full_size


def by_hand(size=1024, patch=16, width=1280, depth=32, channels=256, values=768):
    """Of the document's encoder: 2 · rows · in · out for each linear layer, and the two products of attention."""
    places = (size // patch) ** 2
    linear = places * width * (4 * width + 8 * width)  # queries, keys, values, output; both layers of the MLP
    attention = 2 * places**2 * width
    return 2 * (places * values * width + depth * (linear + attention) + places * width * channels)


def test_operations_of_the_full_size_by_hand():
    counted = full_size.operations(full_size.build("document", False, "meta").image_encoder)
    assert counted == by_hand()
    assert 7.8e12 < counted < 8.0e12


def test_operations_of_the_released_vit_h():
    counted = full_size.operations(full_size.build("released", False, "meta").image_encoder)
    assert 5.5e12 < counted < 6.1e12


def test_every_row_at_a_small_size(tmp_path, capsys):
    path = tmp_path / "vit_h.json"
    command = ["vit-h", "--device", "cpu", "--small", "--batches", "1", "2", "--rounds", "1", "--points", "2"]
    assert main([*command, "--ways", "eager", "sdpa", "--json", str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    result = json.loads(path.read_text())
    rows = result["rows"]
    assert result["small"] and result["machine"]["device"] == "cpu" and result["machine"]["gpu"] is None
    encoded = {(r["architecture"], r["dtype"], r["way"], r["batch"]) for r in rows if r["what"] == "encode"}
    assert len(encoded) == 2 * 2 * 2 * 2
    for row in rows:
        assert all(value > 0 for key, value in row.items() if key.endswith(("seconds", "second", "peak")))
    agreement = {(r["architecture"], r["dtype"]): r["mask_iou"] for r in rows if r["what"] == "agreement"}
    assert len(agreement) == 4
    assert agreement["document", "float32"] == agreement["released", "float32"] == 1.0
    assert all(value > 0.5 for value in agreement.values())
    assert {r["what"] for r in rows} == {
        "matmul peak", "predicted", "encode", "decode", "agreement", "automatic masks",
    }  # fmt: skip


def test_stops_when_the_minutes_are_over():
    plan = full_size.Plan(small=True, rounds=1, points_per_side=1, minutes=0, ways=("sdpa",))
    assert not [row for row in full_size.rows(plan) if row["what"] == "encode"]


def test_both_ways_give_the_same_embedding():
    """Eager stores all scores, sdpa none: one function."""
    torch.manual_seed(0)
    sam = full_size.build("document", True, "cpu")
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        plain = sam.encode_image(images)
        with full_size.sdpa_kernel(full_size.SDPBackend.MATH):
            eager = sam.encode_image(images)
    torch.testing.assert_close(plain, eager, atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where there is no GPU")
def test_no_gpu(capsys):
    assert main(["vit-h", "--device", "cuda"]) == 2
    assert "this PyTorch sees no GPU: --device cpu" in capsys.readouterr().err


def test_bad_numbers(capsys):
    assert main(["vit-h", "--device", "cpu", "--rounds", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_row_on_the_gpu():
    plan = full_size.Plan(device="cuda", small=True, batches=(1,), rounds=1, points_per_side=1, ways=("sdpa",))
    assert all(row["peak_megabytes"] > 0 for row in full_size.rows(plan) if row["what"] == "encode")
