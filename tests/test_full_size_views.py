"""Chapter 14's predictions and tables."""

import pytest

from samlite.notebook import full_size_views

ROW = {
    "what": "encode", "architecture": "document", "dtype": "bfloat16", "way": "sdpa", "batch": 4, "seconds": 0.05,
    "images_a_second": 80.0, "share_of_peak": 0.51, "peak_megabytes": 4096.0, "mask_iou": 0.995,
}  # fmt: skip


@pytest.fixture
def prediction():
    return full_size_views.Prediction({"a": 10**12, "b": 10**11}, {"a": 10**9, "b": 10**8}, tokens=4096, heads=16)


def test_time_follows_from_operations(prediction):
    prediction.look(architecture="a", batch=2, peak=100, share=0.5)
    assert prediction.numbers["milliseconds"] == pytest.approx(2 * 1e12 / (100e12 * 0.5) * 1000)
    assert prediction.numbers["images a second"] == pytest.approx(50)
    assert prediction.look(architecture="b").numbers["milliseconds"] == pytest.approx(4)


def test_memory_follows_from_shapes(prediction):
    assert prediction.numbers["GB of weights"] == 4 and prediction.numbers["GB of scores, one layer"] == 0
    prediction.look(dtype="bfloat16", batch=3, scores_stored=True)
    assert prediction.numbers["GB of weights"] == 2
    assert prediction.numbers["GB of scores, one layer"] == 3 * 16 * 4096**2 * 2 / 1e9
    assert "GB of weights: 2" in prediction.words and prediction.picture().data


def test_unknown_names(prediction):
    with pytest.raises(ValueError, match="nothing is called 'card'"):
        prediction.look(card="H100")


def test_the_table_says_what_did_not_fit():
    table = full_size_views.encode_table([ROW, ROW | {"out_of_memory": True}, {"what": "decode"}])
    assert len(table.rows) == 2
    assert table.rows[0] == ["document, bfloat16, sdpa", "4", "50.0", "80.0", "51%", "4096", "0.995"]
    assert "out of memory" in table.rows[1]
    failed = {name: ROW[name] for name in ("what", "architecture", "dtype", "way", "batch")} | {"error": "E: no\nmore"}
    assert full_size_views.encode_table([failed]).rows[0][2] == "failed: E: no"


def test_the_other_rows():
    rows = [
        {"what": "attention", "block": "global", "way": "triton", "seconds": 0.001, "peak_megabytes": 12.0},
        {"what": "decode", "architecture": "released", "prompts": 8, "dtype": "float32", "error": "E: no"},
        {"what": "automatic masks", "architecture": "released", "how": "fast", "seconds": 1.0, "peak_megabytes": None},
        ROW,
    ]
    table = full_size_views.other_table(rows)
    assert [row[1:] for row in table.rows] == [
        ["triton", "1.00", "12"], ["float32", "failed: E: no", "–"], ["fast", "1000.00", "–"]
    ]  # fmt: skip


def test_small_models_are_no_result(monkeypatch, tmp_path):
    (tmp_path / "vit_h_cpu_small.json").write_text('{"small": true, "rows": []}')
    monkeypatch.setattr(full_size_views, "RESULTS", tmp_path)
    assert full_size_views.measured() == []
    machine = '{"gpu": "Some GPU", "torch": "2.11", "date": "2026-01-01"}'
    (tmp_path / "vit_h_cuda.json").write_text('{"small": false, "rows": [], "machine": ' + machine + "}")
    (result,) = full_size_views.measured()
    assert full_size_views.said_of(result) == "Some GPU, torch 2.11, 2026-01-01"
