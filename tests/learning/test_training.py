"""Training resumes exactly, changes size without forgetting, and learns."""

import json
from dataclasses import replace

import pytest
import torch

from samlite.learning.optimiser import Muon, build_optimisers, orthogonalise
from samlite.learning.recipe import Recipe, Stage, make_batch
from samlite.learning.training import Trainer, resized_state, train
from samlite.sam import document_sam

MODEL = {"patch_size": 8, "width": 32, "depth": 2, "heads": 2, "channels": 32, "decoder_heads": 4, "decoder_mlp": 64}
SHORT = Recipe(MODEL, (Stage(32, 4, 4), Stage(48, 4, 4)), clicks=3, second_round=2, warm_up=2, decay=3, ramp=4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    trainer = Trainer(SHORT)
    run = tmp_path_factory.mktemp("run")
    assert train(trainer, run, progress=False)
    return trainer, run


def same_weights(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stop_at", [2, 4, 6])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(undisturbed, tmp_path, stop_at):
    first = Trainer(SHORT)
    while first.step < stop_at:
        first.enter_stage()
        first.train_step(make_batch(SHORT, first.step))
    first.save(tmp_path / "state.pt")
    second = Trainer(SHORT)
    second.load(tmp_path / "state.pt")
    assert second.step == stop_at
    assert train(second, tmp_path, progress=False)
    assert same_weights(second.sam.state_dict(), undisturbed[0].sam.state_dict())
    assert same_weights(second.average, undisturbed[0].average)


def test_a_worker_process_makes_the_same_scenes(undisturbed, tmp_path):
    trainer = Trainer(SHORT)
    assert train(trainer, tmp_path, workers=1, progress=False)
    assert same_weights(trainer.sam.state_dict(), undisturbed[0].sam.state_dict())


def test_an_interrupt_saves_first(tmp_path, monkeypatch):
    trainer = Trainer(SHORT)
    step = trainer.train_step

    def interrupted(batch):
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step(batch)

    monkeypatch.setattr(trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(trainer, tmp_path, progress=False)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3


def test_another_seed_or_model_is_refused(undisturbed):
    _, run = undisturbed
    for other in (replace(SHORT, seed=1), replace(SHORT, model=MODEL | {"width": 48, "heads": 3})):
        with pytest.raises(ValueError, match="choose another --run folder"):
            Trainer(other).load(run / "state.pt")


def test_seeds_decide_everything():
    batch, again, other = (make_batch(recipe, 3) for recipe in (SHORT, SHORT, replace(SHORT, seed=5)))
    assert torch.equal(batch.images, again.images) and torch.equal(batch.points, again.points)
    assert not torch.equal(batch.images, other.images)


def test_learning_rate_rises_stays_and_falls():
    recipe = replace(SHORT, stages=(Stage(32, 100, 1),), warm_up=10, decay=20)
    rates = [recipe.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10:80] == [1.0] * 70
    assert all(a > b for a, b in zip(rates[80:-1], rates[81:], strict=True)) and rates[-1] == pytest.approx(0.05)


def test_a_larger_input_keeps_the_function():
    """Position tables are interpolated: the centre of a cell that both grids share keeps its code."""
    small = document_sam(image_size=32, **MODEL)
    large = document_sam(image_size=96, **MODEL)
    large.load_state_dict(resized_state(small.state_dict(), large))
    place = torch.tensor([[[0.375, 0.625]]])  # centre of cell (1, 2) of 4, and of cell (4, 7) of 12
    codes = [sam.prompt_encoder.coordinates(place) for sam in (small, large)]
    torch.testing.assert_close(codes[0], codes[1], atol=0.05, rtol=0.05)


def test_orthogonalise_makes_singular_values_alike():
    matrices = torch.randn(3, 20, 48)
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.3 and values.max() < 1.4
    assert torch.linalg.svdvals(orthogonalise(matrices.mT)).max() < 1.4


def test_muon_gets_the_matrices_of_the_blocks_and_adam_the_rest():
    sam = document_sam(image_size=32, **MODEL)
    muon, adam = build_optimisers(sam)
    assert isinstance(muon, Muon)
    counted = sum(len(optimiser.param_groups[0]["params"]) for optimiser in (muon, adam))
    assert counted == len(list(sam.parameters()))
    assert all(p.ndim == 2 for p in muon.param_groups[0]["params"])


def test_it_learns(tmp_path):
    """A hundred steps on flat scenes: the click's IoU rises and the loss falls."""
    recipe = replace(SHORT, stages=(Stage(32, 100, 12),), clicks=6, second_round=2, warm_up=10, decay=5, ramp=100_000)
    trainer = Trainer(recipe)
    train(trainer, tmp_path, progress=False)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.85 * log[0]["loss"]
    assert log[-1]["click"] > 0.25
