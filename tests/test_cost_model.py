"""The cost model of chapter 16: hand-made numbers, the models' own counts, and its pictures."""

import pytest

import samlite
from samlite.notebook import annotate_runs
from samlite.notebook.cost_model import ModelCost, Plan, best_shard_seconds, flop_of, speed_up, waste
from samlite.notebook.scale_explorer import ScaleExplorer
from samlite.notebook.scale_plots import amdahl, growth_of_runs, shard_length
from samlite.notebook.style import picture

TOY = ModelCost("toy", encoder_flop=1000, click_flop=10)


def test_a_plan_is_plain_arithmetic():
    plan = Plan(TOY, photos=100, points_per_side=4, device_flops=100, share=0.5, devices=4, bytes_a_mask=20)
    assert plan.crops == 1 and plan.clicks == 16
    assert plan.total_flop == 100 * (1000 + 160)
    assert plan.device_hours == pytest.approx(116_000 / 50 / 3600)
    assert plan.days == pytest.approx(plan.device_hours / 4 / 24)
    assert plan.terabytes == pytest.approx(100 * 100 * 20 / 1e12)


def test_crops_and_their_points():
    plan = Plan(TOY, points_per_side=32, crop_layers=2, points_downscale=2)
    assert plan.crops == 1 + 4 + 16 and plan.clicks == 32**2 + 4 * 16**2 + 16 * 8**2


def test_operations_are_those_of_the_model_at_full_size():
    cost = flop_of("document", samlite.document_sam(device="meta").eval())
    assert cost.encoder_flop / 1e12 == pytest.approx(7.913, abs=1e-3)
    assert cost.click_flop / 1e9 == pytest.approx(15.25, abs=0.1)
    released = samlite.released_sam(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31), device="meta")
    assert flop_of("released", released.eval()).encoder_flop < cost.encoder_flop


def test_amdahl_and_waste():
    assert speed_up(0, 8) == 8 and speed_up(1, 8) == 1 and speed_up(0.5, 1e9) == pytest.approx(2)
    best = best_shard_seconds(1000, 5)
    assert best == 100 and waste(best, 1000, 5) < min(waste(best * 1.2, 1000, 5), waste(best / 1.2, 1000, 5))


def test_the_explorer_says_the_same_as_the_plan_and_refuses_what_is_not_on_its_sliders():
    explorer = ScaleExplorer([TOY, ModelCost("other", 2000, 10)], photos=1e6)
    explorer.assume(model="other", devices=64, points_per_side=8)
    assert explorer.plan == Plan(
        ModelCost("other", 2000, 10), photos=1e6, points_per_side=8, devices=64,
        device_flops=explorer.plan.device_flops, bytes_a_mask=1000, masks_a_photo=100,
    )  # fmt: skip
    assert explorer.plan.device_flops == pytest.approx(989e12, rel=0.02)
    before = explorer.plan
    code = explorer.code
    explorer.assume(devices=1, photos=1e3)
    exec(code, {"explorer": explorer})
    assert explorer.plan == before
    assert explorer.describe().startswith("One photo through other: 2.64e-09 TFLOP, 24% of them for the clicks. ")
    assert "64 clicks" in explorer.describe() and explorer.picture().data
    for wrong, message in (
        ({"share": 2}, "not on its slider"),
        ({"model": "x"}, "no model 'x'"),
        ({"y": 1}, "no assum"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.assume(**wrong)


def test_a_record_under_load_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(annotate_runs, "usable_cores", lambda: 2)
    monkeypatch.setattr(annotate_runs.run_times, "load", lambda: 4.9)
    monkeypatch.setattr(annotate_runs, "measure_workers", lambda *_: pytest.fail("it was measured all the same"))
    with pytest.raises(SystemExit):
        annotate_runs.main(["workers", "-o", str(tmp_path / "record.json")])
    assert "4.9 programs want one of 2 cores" in capsys.readouterr().err and not list(tmp_path.iterdir())

    monkeypatch.setattr(annotate_runs, "measure_workers", lambda *_: {"rows": []})
    for load in (2.0, None):  # None: Windows has no load
        monkeypatch.setattr(annotate_runs.run_times, "load", lambda load=load: load)
        assert annotate_runs.main(["workers", "-o", str(tmp_path / "record.json")]) == 0


def test_the_picture_says_how_it_was_measured():
    figure = amdahl((0, 0.01), 256, {1: 1.0, 2: 1.9}, how="under load")
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["under load"]


def test_the_pictures_can_be_drawn():
    for figure in (
        amdahl((0, 0.01), 256, {1: 1.0, 2: 1.9}),
        shard_length(1e5, 1),
        growth_of_runs((64, 128), (50, 99), (512, 2048)),
    ):
        assert picture(figure, "a picture of this chapter").data
