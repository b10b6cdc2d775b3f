"""The measurement of the full ViT-H: its predictions at full size, and every row of it at a small one."""

import json

import pytest
import torch

from samlite.command_line import main
from samlite.learning import full_size, full_size_bench, full_size_rows


def by_hand(size=1024, patch=16, width=1280, depth=32, channels=256, values=768):
    """Of the document's encoder: 2 · rows · in · out for each linear layer, and the two products of attention."""
    places = (size // patch) ** 2
    linear = places * width * (4 * width + 8 * width)  # queries, keys, values, output; both layers of the MLP
    attention = 2 * places**2 * width
    return 2 * (places * values * width + depth * (linear + attention) + places * width * channels)


def test_operations_of_the_full_size_by_hand():
    encoder = full_size.build("document", False, "meta").image_encoder
    counted = full_size.operations(encoder)
    assert counted == by_hand()
    assert 7.8e12 < counted < 8.0e12
    assert full_size.padding_operations(encoder) == 0


def test_operations_of_the_released_vit_h():
    encoder = full_size.build("released", False, "meta").image_encoder
    counted = full_size.operations(encoder)
    assert 5.5e12 < counted < 6.1e12
    assert full_size.padding_operations(encoder) == 28 * (70**2 - 64**2) * 2 * 4 * 1280**2


@pytest.fixture
def uncompiled(monkeypatch):
    """`torch.compile` takes minutes on a busy processor; what it is given stays."""
    asked = []

    def as_it_is(function, **options):
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", as_it_is)
    return asked


def test_every_row_at_a_small_size(tmp_path, capsys, uncompiled):
    path = tmp_path / "vit_h.json"
    command = ["vit-h", "--device", "cpu", "--small", "--batches", "2", "1", "--rounds", "1", "--points", "2"]
    ways = ["eager", "sdpa", "compiled", "concatenated", "concatenated-compiled", "triton", "graph"]
    assert main([*command, "--minutes", "60", "--ways", *ways, "--json", str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    result = json.loads(path.read_text())
    rows = result["rows"]
    assert result["small"] and result["machine"]["device"] == "cpu" and result["machine"]["gpu"] is None
    assert not [row for row in rows if "error" in row or "out_of_memory" in row]
    encoded = [r for r in rows if r["what"] == "encode"]
    which = [(r["architecture"], r["dtype"], r["way"], r["batch"]) for r in encoded]
    assert len(set(which)) == len(which) == 2 * 2 * (5 + 3)  # batches, formats, ways: no graph, no Triton
    assert which[0] == ("released", "float32", "eager", 1)
    for row in rows:
        assert all(value > 0 for key, value in row.items() if key.endswith(("seconds", "second", "peak")))
    for row in encoded:
        assert row["share_of_peak"] <= row["share_of_peak_with_padding"]
        assert row["relative_difference"] < (1e-5 if row["dtype"] == "float32" else 0.05)
        assert row["mask_iou"] > 0.9
    assert all(options == {"dynamic": False, "fullgraph": True} for options in uncompiled) and uncompiled
    fast = {row["way"] for row in rows if row["what"] == "automatic masks" and row["how"] == "fast"}
    assert fast and {row["masks"] > 0 for row in rows if row["what"] == "automatic masks"} == {True}
    assert {r["what"] for r in rows} == {
        "matmul peak", "predicted", "encode", "decode", "agreement", "automatic masks", "attention", "end",
    }  # fmt: skip
    assert rows[-1]["not_begun"] is None


def test_a_failure_is_a_row_and_no_end(monkeypatch):
    """One way is broken, one takes too much memory, one computes something else."""
    real = full_size_bench.encoder_by

    def sabotaged(encoder, sam, dtype, way):
        if way == "sdpa":
            raise RuntimeError("no such kernel on this card")
        if way == "concatenated":
            raise torch.OutOfMemoryError("too large")
        made = real(encoder, sam, dtype, way)
        return (lambda images: made(images) + 1) if way == "eager" and dtype == torch.bfloat16 else made

    monkeypatch.setattr(full_size_bench, "encoder_by", sabotaged)
    plan = full_size.Plan(
        small=True, rounds=1, batches=(1,), points_per_side=1, ways=("eager", "sdpa", "concatenated"), minutes=60
    )
    rows = list(full_size_rows.rows(plan))
    encoded = {(r["dtype"], r["way"]): r for r in rows if r["what"] == "encode" and r["architecture"] == "released"}
    assert encoded["bfloat16", "sdpa"]["error"] == "RuntimeError: no such kernel on this card"
    assert encoded["bfloat16", "concatenated"] == encoded["bfloat16", "concatenated"] | {"out_of_memory": True}
    assert encoded["bfloat16", "eager"]["error"].startswith("ValueError: wrong result")
    assert "seconds" in encoded["float32", "eager"] and rows[-1]["not_begun"] is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there the kernel works")
def test_a_broken_kernel_is_an_error():
    """The kernel is tried in a process of its own; here there is no GPU, so it fails there."""
    with pytest.raises(RuntimeError, match="Error"):
        full_size_rows._checked_apart()


def test_ways_that_there_are():
    assert "triton" in full_size.ways_of("released", "cuda", ("eager", "triton"))
    assert full_size.ways_of("document", "cuda", ("eager", "triton", "graph", full_size.PEER)) == ["eager", "graph"]


def test_stops_when_the_minutes_are_over():
    plan = full_size.Plan(small=True, rounds=1, points_per_side=1, minutes=0, ways=("sdpa",))
    (row,) = full_size_rows.rows(plan)
    assert row["what"] == "end" and row["not_begun"]["what"] == "matmul peak"


def test_another_package_beside_it():
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    sam = full_size.build("released", True, "cpu")
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        theirs = full_size.encoder_by(sam.image_encoder, sam, torch.float32, full_size.PEER)(images)
        torch.testing.assert_close(theirs, sam.encode_image(images), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where there is no GPU")
def test_no_gpu(capsys):
    assert main(["vit-h", "--device", "cuda"]) == 2
    assert "this PyTorch sees no GPU: --device cpu" in capsys.readouterr().err


def test_bad_numbers(capsys):
    assert main(["vit-h", "--device", "cpu", "--rounds", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rows_on_the_gpu():
    plan = full_size.Plan(device="cuda", small=True, batches=(1,), rounds=1, points_per_side=1, ways=("sdpa", "triton"))
    rows = list(full_size_rows.rows(plan))
    assert not [row for row in rows if "error" in row]
    assert all(row["peak_megabytes"] > 0 for row in rows if row["what"] == "encode")
