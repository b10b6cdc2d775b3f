"""The lesson's small training: its three ways, what it records, and free masks that show what a loss asks for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from samlite.learning import lesson
from samlite.learning.free_masks import LossSettings, free_masks, nested_answers
from samlite.learning.losses import level_by_level, minimum_over_masks, pairwise_mask_loss

MODEL = {"patch_size": 8, "width": 24, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2, "decoder_mlp": 32}
SHORT = replace(
    lesson.LESSON, model=MODEL, stages=(replace(lesson.LESSON.stages[0], image_size=32, steps=4, batch=3),), clicks=2
)
RECORDED = Path(__file__).resolve().parents[2] / "book" / "results" / "training.json"


def known(overlap: torch.Tensor) -> int:
    """How many answers some mask has."""
    return int((overlap.amax(0) > 0.9).sum())


@pytest.mark.parametrize("seed", range(3))
def test_without_the_minimum_all_masks_know_one_answer(seed):
    maps, overlap = free_masks(nested_answers(), LossSettings(mean_share=1.0), seed=seed)
    assert maps.shape == (3, 32, 32) and overlap.shape == (3, 3)
    assert known(overlap) == 1 and len(set(overlap.argmax(1).tolist())) == 1


def test_the_minimum_parts_them_and_a_little_mean_leaves_none_behind():
    _, alone = free_masks(nested_answers(), LossSettings(mean_share=0.0))
    _, both = free_masks(nested_answers())
    assert known(alone) > 1 and (alone.amax(1) < 0.9).any()  # one was never nearest
    assert known(both) > 1 and (both.amax(1) > 0.9).all()


def test_free_masks_follow_from_their_seed():
    one, same, other = (free_masks(nested_answers(), steps=20, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_settings_of_the_loss_do_what_they_say():
    logits, targets = torch.randn(1, 1, 8, 8), (torch.rand(1, 1, 8, 8) > 0.5).float()
    dice = pairwise_mask_loss(logits, targets, focal_weight=0)
    usual = pairwise_mask_loss(logits, targets)
    assert torch.allclose(usual - dice, (pairwise_mask_loss(logits, targets, focal_weight=40) - dice) / 2, rtol=1e-4)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    assert float(pairwise_mask_loss(logits, targets, 1, gamma=0) - dice) == pytest.approx(
        float(cross_entropy) / 2, rel=1e-4
    )
    pairwise = torch.tensor([[[3.0], [1.0], [2.0]]])
    assert float(minimum_over_masks(pairwise, 1.0)) == 2 and float(minimum_over_masks(pairwise, 0.0)) == 1


def test_a_loss_that_is_no_number_stops():
    with pytest.raises(RuntimeError, match="the loss is nan, .* at step 0: what was saved before is as it was"):
        lesson.train_small(SHORT, lambda pairwise, level: pairwise.mean((1, 2)) * float("nan"))


def test_the_three_ways():
    pairwise = torch.rand(5, 3, 3)
    level = torch.tensor([0, 1, 2, 0, 1])
    own = lesson.only(pairwise, level)
    assert torch.equal(own[2, :, 0], pairwise[2, :, 2])
    assert torch.equal(lesson.nearest_of_three(pairwise, level), minimum_over_masks(own))
    assert torch.allclose(lesson.mean_of_three(pairwise, level), own.mean((1, 2)))
    assert torch.equal(lesson.each_its_level(pairwise, level), level_by_level(pairwise))


def test_a_run_follows_from_its_recipe_and_looks_at_every_step():
    seen = []
    sam = lesson.train_small(SHORT, each_step=lambda step, _, loss: seen.append((step, loss)))
    again = lesson.train_small(SHORT)
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(sam.parameters(), again.parameters(), strict=True))
    start = lesson.build(SHORT)
    assert not torch.equal(sam.mask_decoder.mask_tokens, start.mask_decoder.mask_tokens)
    figures = lesson.judge(sam, lesson.held_out(1, SHORT))
    assert set(figures) >= {"best", "chosen", "alike"} and 0 <= figures["chosen"] <= figures["best"] <= 1


def test_the_command_records_what_the_chapter_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "LESSON", SHORT)
    monkeypatch.setattr(
        lesson, "held_out", lambda count=4, recipe=SHORT: [lesson.make_batch(SHORT, lesson.HELD_OUT_STEP)]
    )
    path = tmp_path / "training.json"
    assert lesson.main(["-o", str(path), "--steps", "2", "--every", "1", "--ways", "minimum", "mean"]) == 0
    result = json.loads(path.read_text())
    assert set(result["runs"]) == {"minimum", "mean"}
    assert [look["step"] for look in result["runs"]["mean"]["curve"]] == [0, 1, 2]


def test_what_ships_was_made_by_its_command():
    recorded = json.loads(RECORDED.read_text())
    assert recorded["command"].startswith("python -m samlite.learning.lesson -o book/results/training.json")
    assert set(recorded["runs"]) == set(lesson.WAYS)
    recipe = json.loads(json.dumps(lesson.asdict(lesson.longer())))
    assert recorded["recipe"].items() <= recipe.items()
    assert set(recipe) - set(recorded["recipe"]) <= {"levels_weight"}, "a later number, which the lesson does not read"
    for run in recorded["runs"].values():
        assert run["curve"][-1]["step"] == lesson.LONG
