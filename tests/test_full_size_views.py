"""Chapter 14's predictions and tables, and the one exercise whose checker multiplies what it is given."""

import pytest
import torch

from samlite.notebook import full_size_views
from samlite.notebook.exercises import WrongAnswer
from samlite.notebook.exercises_14 import write_the_bias_as_channels

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


def test_a_processor_is_on_the_slider_and_what_is_not_is_refused(prediction):
    prediction.look(architecture="a", batch=8, peak=0.084, share=0.5)  # nothing is moved to the slider's end
    assert prediction.numbers["milliseconds"] == pytest.approx(8 * 1e12 / (0.084e12 * 0.5) * 1000)
    for wrong, message in (
        ({"peak": 1e-4}, r"peak=0.0001 is not on its slider, which goes from 0.001 to"),
        ({"share": 1.2}, "share=1.2 is not on its slider, which goes from 0.01 to 1"),
        ({"batch": 17}, "batch=17 is not on its slider"),
        ({"dtype": "float64"}, "no dtype 'float64': choose from float32, bfloat16"),
    ):
        with pytest.raises(ValueError, match=message):
            prediction.look(architecture="b", **wrong)
    assert prediction.controls["architecture"].value == "a"


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


def test_what_to_look_at_is_a_column_of_the_table():
    assert "**share of peak**" in full_size_views.how_to_read().data
    assert "share of peak" in full_size_views.encode_table([ROW]).columns


def bias_added(q, k, by_row, by_column):
    """The scores with the bias added, as if they were queries, and keys that hand them on."""
    mask = (by_row[..., :, None] + by_column[..., None, :]).flatten(-2)
    scores = q @ k.mT + q.shape[-1] ** 0.5 * mask
    return {"queries": scores, "keys": torch.eye(scores.shape[-1]).expand_as(scores)}


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda *given: {"channels": 8, "scores": bias_added(*given)["queries"] / 2}, "two tensors, 'queries' and"),
        (lambda q, k, *_: (q, k), "two tensors, 'queries' and 'keys'"),
        (bias_added, "shape"),
        (lambda q, k, *_: {"queries": q, "keys": k[..., 1:]}, r"queries are \(1, 4, 4\), keys \(1, 4, 3\)"),
    ],
)
def test_the_bias_is_channels_and_nothing_else(answer, message):
    with pytest.raises(WrongAnswer, match=message):
        write_the_bias_as_channels.check(answer)


def test_half_an_answer_is_not_answered_yet():
    assert not write_the_bias_as_channels.check(lambda q, k, *_: {"queries": ..., "keys": k})


def test_small_models_are_no_result(monkeypatch, tmp_path):
    (tmp_path / "vit_h_cpu_small.json").write_text('{"small": true, "rows": []}')
    monkeypatch.setattr(full_size_views, "RESULTS", tmp_path)
    assert full_size_views.measured() == []
    machine = '{"gpu": "Some GPU", "torch": "2.11", "date": "2026-01-01"}'
    (tmp_path / "vit_h_cuda.json").write_text('{"small": false, "rows": [], "machine": ' + machine + "}")
    (result,) = full_size_views.measured()
    assert full_size_views.said_of(result) == "Some GPU, torch 2.11, 2026-01-01"
