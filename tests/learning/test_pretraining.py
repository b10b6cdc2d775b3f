"""Pre-training resumes exactly, ships what it made, and learns; the baselines it is measured against are right."""

from dataclasses import replace

import pytest
import torch

from samlite.learning.pretraining import (
    Pretrainer,
    PretrainingRecipe,
    load_autoencoder,
    make_step,
    pretrain,
    save_autoencoder,
)

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
    trainer = Pretrainer(SHORT)
    step = trainer.train_step

    def interrupted():
        if trainer.step == 3:
            raise KeyboardInterrupt
        return step()

    monkeypatch.setattr(trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(trainer, tmp_path, progress=False)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 3


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
    """Forty steps: the hidden patches are rebuilt better than by a mean colour, which would leave their variance."""
    recipe = replace(SHORT, steps=40, scenes=4, maskings=4, warm_up=5)
    losses = pretrain(Pretrainer(recipe), progress=False)
    assert sum(losses[-8:]) < 0.85 * sum(losses[:8])
