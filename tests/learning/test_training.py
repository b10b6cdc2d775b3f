"""Training resumes exactly, changes size without forgetting, and learns."""

import json
import signal
from dataclasses import replace

import pytest
import torch

from samlite.learning.initialise import deepened_state
from samlite.learning.optimiser import Muon, build_optimisers, orthogonalise
from samlite.learning.recipe import Recipe, Stage, make_batch
from samlite.learning.resume import forget_after
from samlite.learning.training import Trainer, resized_state, train
from samlite.registry import TRAINED_HERE_THRESHOLDS
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


def at_step(trainer, number, monkeypatch, then):
    """Let ``then`` happen in the middle of a step: between its two optimisers."""
    first = trainer.optimisers[0]
    step = first.step

    def disturbed():
        step()
        if trainer.step == number:
            then()

    monkeypatch.setattr(first, "step", disturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_step_and_saves(undisturbed, tmp_path, monkeypatch, number):
    """What is saved is whole: the run goes on to the very weights of one that nobody disturbed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        trainer = Trainer(SHORT)
        at_step(trainer, 2, monkeypatch, lambda: signal.raise_signal(number))
        with pytest.raises(KeyboardInterrupt):
            train(trainer, tmp_path, progress=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3
    second = Trainer(SHORT)
    second.load(tmp_path / "state.pt")
    assert train(second, tmp_path, progress=False)
    assert same_weights(second.sam.state_dict(), undisturbed[0].sam.state_dict())


def twice():
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


def broken():
    raise OSError("the disk is full")


@pytest.mark.parametrize("then, error", [(twice, KeyboardInterrupt), (broken, OSError)])
def test_half_a_step_is_never_saved(tmp_path, monkeypatch, then, error):
    trainer = Trainer(SHORT)
    trainer.save(tmp_path / "state.pt")
    at_step(trainer, 2, monkeypatch, then)
    with pytest.raises(error):
        train(trainer, tmp_path, progress=False)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("where", ["weights", "gradient"])
def test_a_step_without_a_finite_number_changes_and_saves_nothing(tmp_path, monkeypatch, where):
    trainer = Trainer(SHORT)
    assert train(trainer, tmp_path, minutes=0, progress=False) is False
    good = torch.load(tmp_path / "state.pt", weights_only=True)
    if where == "weights":
        with torch.no_grad():
            trainer.sam.mask_decoder.mask_tokens.fill_(float("nan"))
    else:
        trainer.sam.mask_decoder.mask_tokens.register_hook(lambda gradient: gradient * float("inf"))
    after = {name: value.clone() for name, value in trainer.sam.state_dict().items()}
    with pytest.raises(RuntimeError, match="at step 1: the last saved state is as it was; .*smaller rate than 1"):
        train(trainer, tmp_path, progress=False)
    now = trainer.sam.state_dict()
    assert all(torch.equal(value.nan_to_num(7), now[name].nan_to_num(7)) for name, value in after.items())
    kept = torch.load(tmp_path / "state.pt", weights_only=True)
    assert kept["step"] == good["step"] == 1 and same_weights(kept["model"], good["model"])


def test_another_recipe_is_refused(undisturbed, tmp_path):
    _, run = undisturbed
    others = (
        replace(SHORT, seed=1), replace(SHORT, model=MODEL | {"width": 48, "heads": 3}), replace(SHORT, clicks=4),
        replace(SHORT, average=0.5), replace(SHORT, stages=(Stage(32, 3, 4), Stage(48, 5, 4))),
        replace(SHORT, stages=(Stage(32, 4, 4), Stage(48, 4, 2))), replace(SHORT, stages=SHORT.stages[:1]),
    )  # fmt: skip
    for other in others:
        with pytest.raises(ValueError, match="choose another --run folder"):
            Trainer(other).load(run / "state.pt")


def test_what_is_to_come_may_change(tmp_path):
    """A longer stage, another one after it, other rates: a state goes on, with what it remembers of its beginning."""
    first = Trainer(SHORT)
    first.history = {"started from": "a.safetensors", "before": {"steps done": 3, "recipe": {"shapes": [2, 28]}}}
    first.train_step(make_batch(SHORT, 0))
    first.save(tmp_path / "state.pt")
    other = replace(SHORT, stages=(Stage(32, 2, 4), Stage(40, 1, 2)), rate=0.5, warm_up=1, decay=1, ramp=1)
    second = Trainer(other)
    second.load(tmp_path / "state.pt")
    assert second.history == first.history
    assert train(second, tmp_path, progress=False) and second.step == 3 and second.sam.image_size == 40


def test_a_state_without_a_history_is_read(tmp_path):
    trainer = Trainer(SHORT)
    trainer.save(tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["history"]
    torch.save(state, tmp_path / "state.pt")
    trainer.history = {"started from": "nothing"}
    trainer.load(tmp_path / "state.pt")
    assert trainer.history == {"started from": "nothing"}


def test_the_log_forgets_steps_that_are_made_again(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": step}) + "\n" for step in (20, 40, 60)) + '{"step": 8')
    forget_after(log, 40)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [20, 40]
    assert train(Trainer(SHORT), tmp_path, minutes=0, progress=False) is False
    assert log.read_text() == ""
    forget_after(tmp_path / "none.jsonl", 0)
    assert not (tmp_path / "none.jsonl").exists()


def test_a_recipe_that_divides_by_nothing_is_refused():
    with pytest.raises(ValueError, match="warm_up is 0: at least 1 is needed"):
        replace(SHORT, warm_up=0)
    for rate in (0.0, -1.0, float("nan"), float("inf"), 100.0):
        with pytest.raises(ValueError, match=f"rate is {rate}: a share of the full learning rate, above 0"):
            replace(SHORT, rate=rate)
    with pytest.raises(ValueError, match="decay is -1"):
        replace(SHORT, decay=-1)


def test_what_is_averaged_makes_automatic_masks_as_what_is_loaded():
    assert Trainer(SHORT).averaged().automatic_thresholds == TRAINED_HERE_THRESHOLDS


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
    encoders = [sam.image_encoder.position_embedding.view(side, side, -1) for sam, side in ((small, 4), (large, 12))]
    prompts = [sam.prompt_encoder.coordinates.position_table.permute(1, 2, 0) for sam in (small, large)]
    for before, after in (encoders, prompts):  # (row, column, channel)
        torch.testing.assert_close(after[1::3, 1::3], before)  # the cells whose centres both grids share
        assert not torch.equal(after[1, 1], after[1, 2])  # between them it is interpolated, not repeated


def test_a_deeper_encoder_keeps_the_function_and_learns_in_its_new_blocks(tmp_path):
    torch.manual_seed(5)
    shallow = document_sam(image_size=32, **MODEL | {"depth": 2}).eval()
    recipe = replace(SHORT, model=MODEL | {"depth": 5})
    trainer = Trainer(recipe, start_from=shallow)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(trainer.averaged().image_encoder(image), shallow.image_encoder(image))
    trainer.train_step(make_batch(recipe, 0))
    silent = [block.mlp.layers[1].weight.abs().max().item() for block in trainer.sam.image_encoder.blocks]
    assert min(silent) > 0, "a new block whose last layer stays zero"
    with pytest.raises(ValueError, match="an encoder of 2 blocks does not become one of 1: at least 2 are needed"):
        deepened_state(shallow.state_dict(), 1)


@pytest.mark.parametrize("old, new, source", [(6, 9, [0, 0, 1, 2, 2, 3, 4, 4, 5]), (2, 2, [0, 1]), (1, 3, [0, 0, 0])])
def test_new_blocks_stand_evenly_between_the_old(old, new, source):
    name = "image_encoder.blocks.{}.mlp.layers.{}.bias"
    state = {name.format(block, layer): torch.tensor([block + 1.0]) for block in range(old) for layer in (0, 1)}
    deeper = deepened_state({**state, "image_encoder.norm.bias": torch.ones(1)}, new)
    assert [int(deeper[name.format(block, 0)]) - 1 for block in range(new)] == source
    is_new = [block > 0 and source[block] == source[block - 1] for block in range(new)]
    assert [int(deeper[name.format(block, 1)]) == 0 for block in range(new)] == is_new
    assert len(deeper) == 2 * new + 1


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
    matrices = {id(p) for name, p in sam.named_parameters() if ".blocks." in name and p.ndim == 2}
    assert {id(p) for p in muon.param_groups[0]["params"]} == matrices and len(matrices) > 10


def test_it_learns(tmp_path):
    """A hundred steps on flat scenes: the click's IoU rises and the loss falls."""
    recipe = replace(SHORT, stages=(Stage(32, 100, 12),), clicks=6, second_round=2, warm_up=10, decay=5, ramp=100_000)
    trainer = Trainer(recipe)
    train(trainer, tmp_path, progress=False)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.85 * log[0]["loss"]
    assert log[-1]["click"] > 0.25
