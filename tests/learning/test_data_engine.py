"""The data engine in small: the same again from the same seed, resumable, and honest about its controls."""

import argparse
import json
import math
import shlex
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from samlite.command_line import main
from samlite.learning import engine_command, engine_run
from samlite.learning.annotator import AnnotatedScene, Prices
from samlite.learning.data_engine import EngineRecipe, fit, held_out_scenes, make_scenes, measure, varied
from samlite.learning.easy_scenes import KnownScene, easy_scenes
from samlite.learning.engine_report import Interval, difference, interval, lines
from samlite.learning.engine_run import PHASES, Engine, judge, run_seed
from samlite.registry import load_document_sam
from samlite.sam import Sam

SMALL = EngineRecipe(
    model={
        "patch_size": 16, "width": 16, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2, "decoder_mlp": 16,
    },
    drawn=2, corrected=1, automatic=1, held_out=2, first_steps=3, steps=2, batch=2, masks=2, most_clicks=2,
    points_per_side=3, predicted_iou=0.0, stability=0.0,
)  # fmt: skip


def test_scenes_follow_from_the_seed_and_their_objects_do_not_overlap() -> None:
    one, again = (easy_scenes(3, torch.Generator().manual_seed(1)) for _ in range(2))
    other = easy_scenes(3, torch.Generator().manual_seed(2))
    for scene, same in zip(one, again, strict=True):
        assert torch.equal(scene.image, same.image) and torch.equal(scene.objects, same.objects)
        assert scene.image.shape == (3, 64, 64) and scene.image.min() >= 0 and scene.image.max() <= 255
        assert len(scene.objects) and scene.objects.sum(0).max() <= 1
        assert scene.objects.float().mean((1, 2)).min() >= 0.01
    assert not torch.equal(one[0].image, other[0].image)


def test_no_training_scene_is_a_held_out_one() -> None:
    recipe = replace(SMALL, drawn=3, held_out=3)
    for seed in range(3):
        for scene in make_scenes(replace(recipe, seed=seed), 3, "drawn"):
            assert not any(torch.equal(scene.image, held.image) for held in held_out_scenes(recipe))


def test_variations_move_picture_and_masks_together() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(8, 2, 8, 8, generator=generator) > 0.5).float()
    images = masks[:, :1].repeat(1, 3, 1, 1)  # the picture is the first mask
    turned, targets = varied(images, masks, generator)
    for picture, mask in zip(turned, targets[:, 0], strict=True):
        high, low = picture[0][mask == 1], picture[0][mask == 0]
        assert (high.min() > low.max()) or (high.max() < low.min())  # the contrast may be reversed, the form not
    assert not torch.equal(targets, masks)


def test_training_lowers_the_loss_and_repeats_itself() -> None:
    recipe = replace(SMALL, first_steps=20)
    losses = []
    for _ in range(2):
        engine = Engine(recipe)
        data = engine.annotate("drawn")
        told: list[float] = []
        sam = engine_run.first_model(recipe, data)
        fit(sam, data, recipe, 20, engine_run.generator_for(0, "first"), told.append)
        losses.append(told)
    assert losses[0] == losses[1]
    assert np.mean(losses[0][-5:]) < np.mean(losses[0][:5])


def test_a_loss_that_is_no_number_stops() -> None:
    data = Engine(SMALL).annotate("drawn")
    sam = engine_run.first_model(SMALL, data)
    with torch.no_grad():
        sam.mask_decoder.mask_tokens.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="the loss is nan, .* at step 0: what was saved before is as it was"):
        fit(sam, data, SMALL, 2, engine_run.generator_for(0, "first"))


def test_every_control_takes_as_many_steps_as_its_stage() -> None:
    def steps(name: str | None) -> int:
        if name is None:
            return 0
        phase = PHASES[name]
        return steps(phase.start) + (SMALL.steps if phase.start else SMALL.first_steps)

    assert steps("stage_2") == steps("control_2") == steps("by_hand")
    assert steps("stage_3") == steps("control_3") == steps("control_3_with_2")
    assert PHASES["control_3"].data == PHASES["control_2"].data == ("drawn",)


def test_a_seed_runs_through_and_a_second_run_only_reads(tmp_path, monkeypatch) -> None:
    result = run_seed(SMALL, tmp_path, lambda phase, share: None)
    assert set(result["scores"]) == set(PHASES)
    for scores in result["scores"].values():
        assert 0 <= scores["selected"] <= scores["oracle"] <= 1
    drawn, corrected, more = (result["work"][kind] for kind in ("drawn", "corrected", "more drawn"))
    assert drawn["seconds"] == pytest.approx(drawn["masks"] * Prices().polygon)
    assert abs(more["seconds"] - corrected["seconds"]) <= Prices().polygon / 2  # the same cost, to half a polygon
    assert set(result["held out"]) == set(PHASES)
    assert all(work["masks"] == result["scores"]["stage_1"]["regions"] for work in result["held out"].values())
    assert len(result["corrections"]) == corrected["masks"]
    json.dumps(result)

    monkeypatch.setattr(engine_run, "fit", None)  # nothing is trained again
    assert run_seed(SMALL, tmp_path, lambda phase, share: None) == result
    (tmp_path / "result.json").unlink()  # as after a kill: the weights of finished phases are there
    assert run_seed(SMALL, tmp_path, lambda phase, share: None) == result
    with pytest.raises(ValueError, match="another recipe"):
        run_seed(replace(SMALL, steps=3), tmp_path, lambda phase, share: None)
    with pytest.raises(ValueError, match="another recipe"):
        engine_run.begin(replace(SMALL, seed=3), tmp_path)


def test_automatic_masks_are_judged_against_the_truth() -> None:
    (scene,) = easy_scenes(1, torch.Generator().manual_seed(5))
    ground = ~scene.objects.any(0, keepdim=True)
    piece = scene.objects[:1].clone()
    piece[:, :, : int(torch.nonzero(piece)[:, 2].float().median())] = False  # half of an object
    found = AnnotatedScene(scene.image, torch.cat([scene.objects[:1], ground, piece]))
    told = judge([found], [scene])
    assert told["masks"] == 3
    assert told["objects"] == pytest.approx(1 / 3) and told["ground"] == pytest.approx(1 / 3)
    assert told["wrong"] == pytest.approx(1 / 3)
    assert told["objects found"] == pytest.approx(1 / len(scene.objects))
    assert judge([AnnotatedScene(scene.image, scene.objects[:0])], [scene])["masks"] == 0


def test_measuring_a_model_that_knows_nothing() -> None:
    class Full(Sam):
        def __init__(self):
            torch.nn.Module.__init__(self)

        def normalise(self, pixels):
            return pixels

        def encode_image(self, images):
            return images

        def decode_masks(self, embedding, points, labels):
            return torch.ones(len(points), 3, 16, 16), torch.zeros(len(points), 3)

    objects = torch.zeros(1, 64, 64, dtype=torch.bool)
    objects[:, :32] = True
    scores = measure(Full(), [KnownScene(torch.zeros(3, 64, 64), objects)])
    assert scores == {"regions": 1, "selected": 0.5, "oracle": 0.5, "share above 0.75": 0.0}


def test_intervals_widen_with_fewer_seeds_and_differences_are_taken_seed_by_seed() -> None:
    assert interval([1.0, 2.0, 3.0]).mean == 2  # and t for two degrees of freedom is 4.3027
    assert interval([1.0, 2.0, 3.0]).high == pytest.approx(2 + 4.3027 / 3**0.5, rel=1e-4)
    assert interval([1.0, 3.0] * 3).high < interval([1.0, 3.0]).high
    assert math.isnan(interval([1.0]).low)
    with pytest.raises(ValueError, match="no values"):
        interval([])
    seeds = [{"scores": {name: {"selected": base + ("2" in name)} for name in PHASES}} for base in (0.1, 0.5, 0.7)]
    gain = difference({"seeds": seeds}, "stage_2", "stage_1")
    assert gain == pytest.approx(Interval(1, 1, 1))  # the seeds differ, the gain does not
    assert f"{Interval(0.5, 0.25, 0.75):.2f}" == "0.50 [0.25, 0.75]"
    assert any("stage_2" in line for line in lines({"seeds": seeds}))


def test_the_command_writes_what_all_seeds_measured(tmp_path, monkeypatch, capsys) -> None:
    def finished(recipe, folder, told):
        told("stage_1", 1.0)
        scores = {name: {"selected": 0.5 + 0.01 * recipe.seed} for name in PHASES}
        return {"seed": recipe.seed, "scores": scores}

    monkeypatch.setattr(engine_command, "run_seed", finished)
    path = tmp_path / "results.json"
    words = ["engine", "--seeds", "3", "--run", str(tmp_path), "--json", str(path)]
    assert main(words) == 0
    results = json.loads(path.read_text())
    assert [seed["seed"] for seed in results["seeds"]] == [0, 1, 2]
    assert results["command"] == f"python -m samlite {shlex.join(words)} --threads 1"
    words += ["--weights", str(tmp_path / "weights"), "--steps", "2", "--first-steps", "5", "--threads", "1"]
    given = argparse.ArgumentParser()
    engine_command.add_arguments(given)
    assert engine_command.command(given.parse_args(words[1:])) == f"python -m samlite {shlex.join(words)}"
    assert engine_command.command(given.parse_args(["--seed", "4"])) == (
        "python -m samlite engine --seed 4 --run runs/engine --threads 1"
    )
    assert results["recipe"] == json.loads(json.dumps(asdict(EngineRecipe())))
    assert "stage 3" in capsys.readouterr().out
    for option in ("--seeds", "--steps", "--first-steps"):
        for value in ("0", "-3"):
            with pytest.raises(SystemExit) as stopped:
                main(["engine", f"{option}={value}"])
            assert stopped.value.code == 2
            assert f"{option}: {value}: a whole number, at least 1, is expected" in capsys.readouterr().err


def test_the_recorded_results_are_those_of_the_recipe_in_the_code() -> None:
    results = json.loads(engine_command.RESULTS.read_text(encoding="utf-8"))
    assert results["recipe"] == json.loads(json.dumps(asdict(EngineRecipe())))
    assert len(results["seeds"]) >= 3 and all(set(seed["scores"]) == set(PHASES) for seed in results["seeds"])
    for name in engine_command.SHIPPED:
        sam = load_document_sam(engine_command.RESULTS.with_name(f"data_engine_{name}.safetensors"))
        again = measure(sam, held_out_scenes(EngineRecipe()))["selected"]
        assert again == pytest.approx(results["seeds"][0]["scores"][name]["selected"], abs=0.02)  # float16 in the file
