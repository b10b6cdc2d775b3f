"""``train`` and ``evaluate`` as a user calls them, on a model small enough for a test."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from samlite.command_line import main
from samlite.learning import commands
from samlite.learning.recipe import TINY, Recipe, Stage
from samlite.learning.weights import read_training, runs_of
from samlite.registry import TINY_WEIGHTS

MODEL = {"patch_size": 8, "width": 16, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2, "decoder_mlp": 32}
SHORT = Recipe(MODEL, (Stage(32, 6, 2),), clicks=2, second_round=1, warm_up=2, decay=2, ramp=2)


def parse(add, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(words)


@pytest.fixture
def short_recipe(monkeypatch):
    monkeypatch.setitem(commands.RECIPES, "tiny", SHORT)


def test_train_then_evaluate(short_recipe, tmp_path, capsys):
    assert commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path / "run"))) == 0
    weights = tmp_path / "run" / "tiny.safetensors"
    assert "finished at step 6 of 6" in capsys.readouterr().out
    assert read_training(weights)["steps done"] == 6 and read_training(weights)["started from"] == "nothing"

    labels = np.zeros((40, 60), np.uint8)
    labels[:, 30:] = 1
    Image.fromarray(np.stack([labels * 200] * 3, -1)).save(tmp_path / "a.jpg")
    Image.fromarray(labels).save(tmp_path / "a.0.png")
    words = ("--scenes", "4", "--photos", str(tmp_path), "--baselines", "--json", str(tmp_path / "out.json"))
    assert commands.run_evaluate(parse(commands.add_evaluate_arguments, str(weights), *words)) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert set(result["photos"]) == {str(weights), "three discs", "flood fill", "superpixels (Felzenszwalb 2004)"}
    assert result["photos"]["flood fill"]["oracle"] > 0.95 and result["scenes"]["1 click"]["targets"] == 32
    assert result["speed"]["encode ms"] > 0 and "clicks" not in result


def test_evaluate_with_corrections(short_recipe, tmp_path, capsys, monkeypatch):
    commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path / "run"), "--minutes", "0"))
    labels = np.zeros((40, 60), np.uint8)
    labels[5:20, 30:50] = 1
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.stack([labels * 200] * 3, -1)).save(tmp_path / "a.jpg")
    Image.fromarray(labels).save(tmp_path / "masks" / "a.png")
    words = ["--scenes", "2", "--photos", str(tmp_path), "--baselines", "--clicks", "6", "--targets", "2"]
    words += ["--json", str(tmp_path / "out.json")]
    weights = str(tmp_path / "run" / "tiny.safetensors")
    assert commands.run_evaluate(parse(commands.add_evaluate_arguments, weights, *words)) == 0
    clicks = json.loads((tmp_path / "out.json").read_text())["clicks"]
    assert set(clicks) == {"2 held-out generated scenes", "1 photos"}
    for title, targets in (("2 held-out generated scenes", 4), ("1 photos", 1)):
        assert {row["targets"] for row in clicks[title].values()} == {targets} and len(clicks[title]) == 4
    assert clicks["1 photos"]["superpixels (Felzenszwalb 2004)"]["prompts"]["1 click"]["oracle"][0] > 0.9
    out = capsys.readouterr().out
    assert out.count("calibration error") == 2  # of the model, on scenes and on photos
    assert "count as 6" in out and "5 clicks" in out
    with pytest.raises(ValueError, match="--clicks is 3: at least 5"):
        commands.run_evaluate(parse(commands.add_evaluate_arguments, weights, "--clicks", "3"))
    monkeypatch.setattr(commands, "timings", None)  # nothing is measured before these are refused
    for words, message in (
        (("--photos", str(tmp_path / "nowhere")), "nowhere"), (("--stride", "0"), "--stride"),
        (("--targets", "0"), "--targets"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            commands.run_evaluate(parse(commands.add_evaluate_arguments, weights, *words))


def test_minutes_stop_and_the_same_command_goes_on(short_recipe, tmp_path, capsys):
    words = ("tiny", "--run", str(tmp_path), "--minutes", "0")
    assert commands.run_train(parse(commands.add_train_arguments, *words)) == 0
    assert "stopped at step 1 of 6" in capsys.readouterr().out
    assert commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path))) == 0
    out = capsys.readouterr().out
    assert "going on from step 1 of 6" in out and "finished at step 6 of 6" in out


def test_a_recipe_within_minutes_is_kept(short_recipe, tmp_path, capsys, monkeypatch):
    """It is shortened once; the same command goes on with the same steps, however fast the machine is then."""
    monkeypatch.setattr(commands, "seconds_a_step", lambda *_: [1.0])
    monkeypatch.setattr(commands, "fitted", lambda recipe, seconds, minutes: recipe)
    words = ("tiny", "--run", str(tmp_path), "--minutes", "0", "--within", "1")
    assert commands.run_train(parse(commands.add_train_arguments, *words)) == 0
    assert "6 steps fit into 1 minutes here" in capsys.readouterr().out
    monkeypatch.setattr(commands, "fitted", None)  # not asked again
    assert commands.run_train(parse(commands.add_train_arguments, *words)) == 0
    assert "going on from step 1 of 6" in capsys.readouterr().out
    for other in (("--within", "2"), ("--within", "1", "--seed", "5")):
        with pytest.raises(ValueError, match="was begun with --within 1 and its own options: give the same again"):
            commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path), *other))


def test_start_from_weights(short_recipe, tmp_path):
    commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path / "a")))
    first = tmp_path / "a" / "tiny.safetensors"
    commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path / "b"), "--init", str(first)))
    training = read_training(tmp_path / "b" / "tiny.safetensors")
    assert training["started from"] == str(first) and training["before"] == read_training(first)
    assert runs_of(training) == [read_training(first), training]
    with pytest.raises(ValueError, match="a started from nothing: --init .* would not count"):
        words = ("tiny", "--run", str(tmp_path / "a"), "--init", str(first))
        commands.run_train(parse(commands.add_train_arguments, *words))


def test_steps_are_spent_at_the_size_that_ships(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(commands.RECIPES, "tiny", replace(SHORT, stages=(Stage(32, 50, 2), Stage(48, 50, 3))))
    commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path), "--steps", "2"))
    assert "finished at step 2 of 2" in capsys.readouterr().out
    recipe = read_training(tmp_path / "tiny.safetensors")["recipe"]
    assert recipe["stages"] == [{"image_size": 48, "steps": 2, "batch": 3}]
    words = ("--steps", "3", "--size", "40", "--batch", "1", "--decay", "0", "--run", str(tmp_path / "other"))
    commands.run_train(parse(commands.add_train_arguments, "tiny", *words))
    recipe = read_training(tmp_path / "other" / "tiny.safetensors")["recipe"]
    assert recipe["stages"] == [{"image_size": 40, "steps": 3, "batch": 1}] and recipe["decay"] == 0
    for wrong in ({"steps": 0}, {"size": 0}, {"batch": -4}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"--{name} must be at least 1, not {value}"):
            commands.last_stage(SHORT, **({"steps": 5} | wrong))


def test_no_threads_are_refused_in_a_sentence(capsys):
    for words in (("train", "tiny"), ("evaluate", "tiny"), ("engine",), ("pretrain",), ("bench",)):
        with pytest.raises(SystemExit):
            main([*words, "--threads", "0"])
        assert "--threads: 0: a whole number, at least 1, is expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("tiny",), ("tiny", "--photos", "p"), ("mine.safetensors", "--photos", "p", "--baselines"),
        ("tiny", "--checkpoint", "a.safetensors", "--photos", "p", "--baselines"),
        ("tiny", "--photos", "p", "--baselines", "--stride", "2"),
    ],
)  # fmt: skip
def test_a_card_is_written_whole_and_of_the_model_that_ships(words):
    with pytest.raises(ValueError, match="--card replaces all figures .*--photos FOLDER --baselines --card"):
        commands.run_evaluate(parse(commands.add_evaluate_arguments, *words, "--card"))


@pytest.mark.parametrize("words", [("--minutes", "3"), ("--init", "a.safetensors"), ("--batch", "4")])
def test_options_that_do_not_count_for_text_are_refused(words):
    with pytest.raises(ValueError, match=f"{words[0]} does not count for text"):
        commands.run_train(parse(commands.add_train_arguments, "text", *words))


def test_a_model_with_random_weights_is_not_evaluated():
    with pytest.raises(ValueError, match="vit_b does not ship with samlite"):
        commands.run_evaluate(parse(commands.add_evaluate_arguments, "vit_b"))


def test_training_on_a_device_that_is_not_there_is_one_sentence():
    with pytest.raises(ValueError, match="device 'cuda:99' cannot be used here"):
        commands.run_train(parse(commands.add_train_arguments, "tiny", "--device", "cuda:99"))


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
def test_a_polite_kill_saves_the_step_that_it_meets(tmp_path):
    """The real command in its own process, ended in the middle of training: it saves, writes weights, and says so."""
    run = tmp_path / "run"
    small = ["--steps", "100000", "--size", "32", "--batch", "2"]
    command = [sys.executable, "-u", "-m", "samlite", "train", "tiny", "--run", str(run), *small]
    first = subprocess.run([*command, "--minutes", "0"], capture_output=True, text=True, timeout=120)
    assert "stopped at step 1" in first.stdout
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, "start_new_session": True}
    second = subprocess.Popen(command, **how)
    assert "going on from step 1" in second.stdout.readline()
    time.sleep(6)  # it makes steps by now
    os.killpg(second.pid, signal.SIGTERM)  # as systemd and Slurm do: the process that makes scenes gets it, too
    out, _ = second.communicate(timeout=120)
    step = int(out.split("stopped at step ")[1].split()[0])
    assert second.returncode == 0 and step > 1 and (run / "tiny.safetensors").exists()
    assert torch.load(run / "state.pt", weights_only=True)["step"] == step


def test_a_second_interrupt_writes_no_weights(short_recipe, tmp_path, monkeypatch):
    """It may come in the middle of a step: what was saved before stays, and weights of half a step are not written."""

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path)))
    assert not (tmp_path / "tiny.safetensors").exists()


@pytest.mark.parametrize("words", [("--size", "64"), ("--batch", "4"), ("--decay", "0")])
def test_options_of_a_stage_need_its_steps(short_recipe, words, tmp_path):
    with pytest.raises(ValueError, match=f"{words[0]} is of the stage that --steps makes: give --steps, too"):
        commands.run_train(parse(commands.add_train_arguments, "tiny", "--run", str(tmp_path), *words))


def test_a_shallower_encoder_can_start_a_deeper_one_and_nothing_else_may_differ():
    sizes = TINY.model
    assert commands.can_start(sizes, TINY) and commands.can_start(sizes | {"depth": 2}, TINY)
    for other in ({"depth": sizes["depth"] + 1}, {"width": 64}, {"depth": 2, "channels": 32}, {"text_width": 8}):
        assert not commands.can_start(sizes | other, TINY), other


def test_weights_of_other_sizes_are_refused_in_a_sentence(short_recipe, tmp_path):
    with pytest.raises(
        ValueError, match=r"tiny.safetensors holds a model of other sizes, \{'patch_size': 8, 'width': 1"
    ):
        commands.run_train(parse(commands.add_train_arguments, "tiny", "--init", str(TINY_WEIGHTS)))
