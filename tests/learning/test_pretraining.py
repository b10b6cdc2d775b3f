"""Pre-training resumes exactly, ships what it made, and learns; the baselines it is measured against are right."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from samlite.command_line import main
from samlite.image_encoder import patchify
from samlite.learning import pretraining_figures as figures
from samlite.learning.pretraining import (
    WEIGHTS,
    Pretrainer,
    PretrainingRecipe,
    build_autoencoder,
    load_autoencoder,
    make_step,
    pretrain,
    save_autoencoder,
)
from samlite.learning.pretraining_figures import BLENDED, GLOBAL, MODEL_NAME, NEAREST
from samlite.learning.weights import digest, read_training

ROOT = Path(__file__).resolve().parents[2]

MODEL = {
    "image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 2,
    "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip
SHORT = PretrainingRecipe(MODEL, steps=6, scenes=2, maskings=2, warm_up=2)


@pytest.fixture(scope="module")
def undisturbed():
    trainer = Pretrainer(SHORT)
    return trainer, pretrain(trainer, progress=False)


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(undisturbed, tmp_path):
    first = Pretrainer(SHORT)
    losses = [first.train_step() for _ in range(3)]
    first.save(tmp_path / "state.pt")
    second = Pretrainer(SHORT)
    second.load(tmp_path / "state.pt")
    assert second.step == 3
    losses += pretrain(second, tmp_path, progress=False)
    assert losses == undisturbed[1]
    assert same_weights(second.autoencoder.state_dict(), undisturbed[0].autoencoder.state_dict())
    assert same_weights(second.average, undisturbed[0].average)


def test_another_recipe_is_refused(undisturbed, tmp_path):
    undisturbed[0].save(tmp_path / "state.pt")
    for other in (replace(SHORT, seed=1), replace(SHORT, steps=7), replace(SHORT, normalised=True)):
        with pytest.raises(ValueError, match="choose another --run folder"):
            Pretrainer(other).load(tmp_path / "state.pt")


def test_an_interrupt_saves_first(tmp_path, monkeypatch):
    """After the step in which it came; a second one, in the middle of a step, leaves the file as it is."""
    trainer = Pretrainer(SHORT)
    first, interrupts = trainer.optimisers[0], {2: 1, 4: 2}
    step = first.step

    def interrupted():
        step()
        for _ in range(interrupts.get(trainer.step, 0)):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(first, "step", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pretrain(trainer, tmp_path, progress=False)
        assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3


def test_a_loss_that_is_no_number_saves_nothing(tmp_path):
    trainer = Pretrainer(SHORT)
    trainer.save(tmp_path / "state.pt")
    with torch.no_grad():
        next(trainer.autoencoder.parameters()).fill_(float("nan"))
    with pytest.raises(RuntimeError, match="the loss is nan, .* at step 0: what was saved before is as it was"):
        pretrain(trainer, tmp_path, progress=False)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)["model"]
    assert all(value.isfinite().all() for value in saved.values())


def test_every_scene_comes_with_several_maskings():
    images, visible, hidden = make_step(SHORT, 0)
    assert images.shape == (4, 3, 32, 32) and visible.shape == (4, 4) and hidden.shape == (4, 12)
    assert torch.equal(images[0], images[1]) and not torch.equal(images[1], images[2])
    assert not torch.equal(visible[0], visible[1])
    assert torch.equal(images, make_step(SHORT, 0)[0]) and not torch.equal(images, make_step(SHORT, 1)[0])


def test_the_rate_rises_stays_and_falls():
    recipe = PretrainingRecipe(steps=100, warm_up=10)
    rates = [recipe.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10:50] == [1.0] * 40
    assert all(a > b for a, b in zip(rates[51:-1], rates[52:], strict=True)) and rates[-1] == pytest.approx(0.02)


def test_weights_come_back_with_their_sizes(undisturbed, tmp_path):
    autoencoder = undisturbed[0].averaged()
    save_autoencoder(autoencoder, MODEL, tmp_path / "weights.safetensors", {"seed": 0})
    loaded = load_autoencoder(tmp_path / "weights.safetensors")
    images, visible, _ = make_step(SHORT, 0)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images, visible), autoencoder(images, visible), atol=2e-2, rtol=2e-2)
    with pytest.raises(FileNotFoundError, match="python -m samlite pretrain"):
        load_autoencoder(tmp_path / "nothing.safetensors")


def test_it_learns():
    """Forty steps: the error of the hidden patches falls."""
    recipe = replace(SHORT, steps=40, scenes=4, maskings=4, warm_up=5)
    losses = pretrain(Pretrainer(recipe), progress=False)
    assert sum(losses[-8:]) < 0.85 * sum(losses[:8])


def test_the_guesses_are_what_their_names_say():
    """A picture of 3 × 3 patches of 2 × 2 pixels, each of one colour, its number: two are visible."""
    patches = torch.arange(9.0).view(1, 9, 1).expand(1, 9, 12)
    visible, hidden = torch.tensor([[0, 8]]), torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
    guesses = figures.guesses_without_learning(patches, visible, hidden)
    assert {guess.shape for guess in guesses.values()} == {(1, 7, 12)}
    assert guesses[GLOBAL].eq(4).all()
    assert guesses[NEAREST][0, :, 0].tolist()[0] == 0 and guesses[NEAREST][0, :, 0].tolist()[-1] == 8
    between = guesses[BLENDED][0, :, 0]
    assert between[3] == pytest.approx(4) and 0 < between[0] < 4 < between[-1] < 8
    gradient = torch.stack([torch.full((1, 9, 4), float(colour)) for colour in range(3)], -2).flatten(2)
    assert figures.colours_of(gradient)[0, 0].tolist() == [0, 1, 2]  # planes one after the other


def test_every_held_out_scene_has_an_error_and_every_mean_its_interval():
    autoencoder = build_autoencoder(MODEL).eval()
    errors = figures.rebuilding_errors(autoencoder, count=4, batch=2)
    assert set(errors) == {MODEL_NAME, NEAREST, BLENDED, GLOBAL} and {len(e) for e in errors.values()} == {4}
    table = figures.summary(errors)
    assert all(row["low"] <= row["error"] <= row["high"] for row in table.values())
    assert 0 <= table[NEAREST]["model better in"] <= 1
    images, visible, hidden = make_step(SHORT, 0)
    patches = patchify(images, 8)
    assert figures.guesses_without_learning(patches, visible, hidden)[GLOBAL].var(dim=1).max() < 1e-10


def test_a_quarter_of_the_patches_costs_less():
    autoencoder = build_autoencoder(MODEL | {"image_size": 256, "width": 64})
    found = figures.speed_up(autoencoder, batch=2, repeats=5)
    assert found["visible"] * 4 == found["patches"] == 1024
    assert found["ratio"] > 1.5


def test_the_command_goes_on_and_measures(tmp_path, monkeypatch, capsys):
    import samlite.learning.pretrain_command as command

    monkeypatch.setattr(command, "PretrainingRecipe", lambda: SHORT)
    shipped = tmp_path / "masked_autoencoder.safetensors"
    monkeypatch.setattr(command, "WEIGHTS", shipped)
    run = ["pretrain", "--run", str(tmp_path / "run")]
    assert main([*run, "--minutes", "0"]) == 0 and "stopped at step 0 of 6" in capsys.readouterr().out
    assert main([*run, "--ship"]) == 0 and "finished at step 6 of 6" in capsys.readouterr().out
    assert main([*run, "--steps", "0"]) == 2
    trained = load_autoencoder(shipped)

    monkeypatch.setattr(command, "load_autoencoder", lambda: trained)
    monkeypatch.setattr(command, "LARGER_SIDE", 64)
    short = figures.segmentation_recipe(MODEL, steps=2)
    monkeypatch.setattr(figures, "segmentation_recipe", lambda model: short)
    errors, after = figures.rebuilding_errors, figures.segmentation_after
    monkeypatch.setattr(figures, "rebuilding_errors", lambda autoencoder: errors(autoencoder, 4, batch=2))
    monkeypatch.setattr(figures, "segmentation_after", lambda *arm: after(*arm, scenes=2, progress=False))
    assert main([*run, "--measure", str(tmp_path / "out.json")]) == 0
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["training"]["steps done"] == 6 and told["training"]["command"].endswith("pretrain --seed 0 --ship")
    assert set(told["hidden patches"]) == {MODEL_NAME, NEAREST, BLENDED, GLOBAL}
    assert {"1 click", "3 clicks", "box"} == set(told["segmentation"]["pre-trained"]["kinds"])


def test_both_trainings_of_a_small_sam_start_alike_but_for_the_encoder(tmp_path, monkeypatch):
    started = {}

    def remember(trainer, run, **_):
        started[run.name] = {name: value.clone() for name, value in trainer.sam.state_dict().items()}
        raise InterruptedError

    monkeypatch.setattr(figures, "train", remember)
    recipe, autoencoder = figures.segmentation_recipe(MODEL, steps=2), build_autoencoder(MODEL)
    for name, start in (("pre-trained", autoencoder), ("nothing", None)):
        with pytest.raises(InterruptedError):
            figures.segmentation_after(recipe, start, tmp_path / name)
    for name, value in started["nothing"].items():
        same = torch.equal(value, started["pre-trained"][name])
        trained = name.startswith("image_encoder") and "channel_projection" not in name
        assert same or trained, name
        if name == "image_encoder.position_embedding":
            assert torch.equal(started["pre-trained"][name], autoencoder.image_encoder.position_embedding)


def test_figures_of_another_encoder_or_recipe_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "train", lambda trainer, run, **_: trainer.save(run / "state.pt"))
    scored = {kind: {"oracle": 0.5} for kind in ("1 click", "3 clicks", "box")}
    monkeypatch.setattr(figures, "evaluate_scenes", lambda *_, **__: scored)
    recipe = figures.segmentation_recipe(MODEL, steps=2)
    torch.manual_seed(0)
    one, other = build_autoencoder(MODEL), build_autoencoder(MODEL)
    first = figures.segmentation_after(recipe, one, tmp_path)
    assert figures.segmentation_after(recipe, one, tmp_path) == first  # not measured twice
    for again in ((recipe, other), (recipe, None), (figures.segmentation_recipe(MODEL, steps=3), one)):
        with pytest.raises(ValueError, match="of another encoder or recipe: delete it"):
            figures.segmentation_after(*again, tmp_path)
    (tmp_path / "figures.json").unlink()
    with pytest.raises(ValueError, match="of another encoder"):
        figures.segmentation_after(recipe, other, tmp_path)  # nor is its state gone on from


def test_the_log_of_another_run_is_not_taken(tmp_path, monkeypatch):
    import samlite.learning.pretrain_command as command

    for name, seed in (("shipped", 0), ("run", 1)):
        torch.manual_seed(seed)
        save_autoencoder(build_autoencoder(MODEL), MODEL, tmp_path / name / WEIGHTS.name, {})
    monkeypatch.setattr(command, "WEIGHTS", tmp_path / "shipped" / WEIGHTS.name)
    with pytest.raises(ValueError, match="which is measured: choose the --run that was shipped"):
        command.measure(tmp_path / "out.json", tmp_path / "run")


RESULTS = json.loads((ROOT / "book" / "results" / "masked_autoencoder.json").read_text(encoding="utf-8"))


def test_the_shipped_weights_are_those_that_were_measured():
    assert RESULTS["weights"]["bytes"] == WEIGHTS.stat().st_size < 3e6
    assert RESULTS["weights"]["sha256"] == digest(WEIGHTS)
    assert RESULTS["training"] == read_training(WEIGHTS)
    assert RESULTS["training"]["steps done"] == RESULTS["training"]["recipe"]["steps"]


def test_the_shipped_autoencoder_is_better_than_the_simple_guesses():
    errors = figures.rebuilding_errors(load_autoencoder(), count=20)
    means = {name: values.mean() for name, values in errors.items()}
    assert means[MODEL_NAME] < min(means[BLENDED], means[NEAREST]) and means[NEAREST] < means[GLOBAL]
    table = {name: row["error"] for name, row in RESULTS["hidden patches"].items()}
    assert table[MODEL_NAME] < table[BLENDED] < table[NEAREST] < table[GLOBAL]
    assert abs(means[MODEL_NAME] - table[MODEL_NAME]) < 0.13  # three deviations of a mean over 20 scenes


def test_both_trainings_that_were_compared_had_the_same_budget():
    arms = [RESULTS["segmentation"][name] for name in ("pre-trained", "from nothing")]
    assert arms[0]["steps"] == arms[1]["steps"] == sum(s["steps"] for s in RESULTS["segmentation"]["recipe"]["stages"])
    assert arms[0]["scenes a step"] == arms[1]["scenes a step"]


def test_another_kind_of_file_is_named(tmp_path):
    torch.save({"step": 1}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="state.pt is no safetensors file .*python -m samlite pretrain"):
        load_autoencoder(tmp_path / "state.pt")
