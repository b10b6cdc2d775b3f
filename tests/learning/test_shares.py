"""Several processes train the same model as one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from samlite.learning import simulate
from samlite.learning.recipe import Recipe, Stage, make_batch
from samlite.learning.shares import Share, join
from samlite.learning.training import Trainer, train

ROOT = Path(__file__).resolve().parents[2]
MODEL = {"patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2, "decoder_mlp": 32}
SHORT = Recipe(MODEL, (Stage(32, 8, 4), Stage(48, 4, 2)), clicks=3, second_round=2, warm_up=2, decay=3, ramp=4)
AS_TORCHRUN_STARTS_IT = """
import sys
import torch
from samlite.command_line import main
from samlite.learning import commands
from samlite.learning.recipe import Recipe, Stage
commands.RECIPES["tiny"] = {recipe}
sys.exit(main(["train", "tiny", "--run", {run!r}]))
"""


def test_two_processes_train_the_same_model_as_one(tmp_path):
    """The real command under torchrun, across a change of the input size, against one process here."""
    script, run = tmp_path / "both.py", tmp_path / "run"
    script.write_text(AS_TORCHRUN_STARTS_IT.format(recipe=SHORT, run=str(run)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(torchrun, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stderr[:3000]
    assert done.stdout.count("finished at step 12 of 12") == 1  # one of them speaks
    alone = Trainer(SHORT)
    assert train(alone, tmp_path / "alone", progress=False)
    together = torch.load(run / "state.pt", weights_only=True)
    assert together["step"] == alone.step and together["image_size"] == alone.sam.image_size == 48
    for mine, theirs in ((alone.sam.state_dict(), together["model"]), (alone.average, together["average"])):
        for name, value in mine.items():
            if name.endswith("key_projection.bias"):
                continue  # softmax does not see it: its gradient is rounding, which AdamW makes as large as any other
            torch.testing.assert_close(theirs[name], value, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


ONE_LOSS_IS_NO_NUMBER = """
from samlite.learning.recipe import Recipe, Stage, make_batch
from samlite.learning.shares import join, leave
from samlite.learning.training import Trainer
recipe = {recipe}
share, device = join("cpu")
trainer, batch = Trainer(recipe, share=share), make_batch(recipe, 0)
batch.images[2:] = float("nan")  # the second process's scenes
try:
    trainer.train_step(batch)
except RuntimeError as error:
    assert "at step 0: the last saved state is as it was" in str(error)
    print(f"process {{share.rank}} stopped", flush=True)
leave()
"""


def test_a_loss_that_is_no_number_in_one_process_stops_both(tmp_path):
    """Neither waits for the other one, who will not come."""
    script = tmp_path / "both.py"
    script.write_text(ONE_LOSS_IS_NO_NUMBER.format(recipe=SHORT))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(torchrun, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=500)
    assert done.returncode == 0, done.stderr[:3000]
    assert all(f"process {rank} stopped" in done.stdout for rank in (0, 1))


def test_shares_put_together_are_the_batch():
    batch = make_batch(SHORT, 0)
    halves = [batch.cut(Share(rank, 2)) for rank in (0, 1)]
    for name, whole in vars(batch).items():
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), whole)
    assert batch.cut(Share()) is batch
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared evenly by 3 processes: change --batch"):
        batch.cut(Share(0, 3))


@pytest.mark.parametrize("of", [2, 3])
def test_a_row_meets_the_same_chance_in_any_number_of_processes(of):
    logits, targets = torch.randn(6, 16, 16), (torch.rand(6, 16, 16) > 0.5).float()

    def everything(share):
        generator = torch.Generator().manual_seed(3)
        mine, answers = share.cut(logits), share.cut(targets)
        points, labels = simulate.correcting_clicks(mine, answers, 2, generator, share)
        boxes = simulate.boxes_around(answers, 2, 0.1, generator, share)
        return points, labels, boxes, simulate.rough_masks(answers, generator, share)

    parts = [everything(Share(rank, of)) for rank in range(of)]
    for whole, *pieces in zip(everything(Share()), *parts, strict=True):
        assert torch.equal(torch.cat(pieces), whole)


def test_clicks_are_drawn_as_torch_draws_them():
    logits, targets = torch.randn(50, 12, 12), (torch.rand(50, 12, 12) > 0.5).float()
    points, _ = simulate.correcting_clicks(logits, targets, 1, torch.Generator().manual_seed(1))
    wrong = ((logits > 0) != (targets > 0.5)).float()
    depth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(wrong[:, None], (2,) * 4), 5, 1)[:, 0]
    weight = (wrong * depth**2 + 1e-6 * (targets > 0.5) + 1e-12).flatten(1)
    pixel = torch.multinomial(weight, 1, generator=torch.Generator().manual_seed(1))[:, 0]
    assert torch.equal(points, torch.stack([pixel % 12, pixel // 12], -1).float())


def test_alone_there_is_nothing_to_join(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    share, device = join("cpu")
    assert share == Share() and share.leads and device == "cpu"
    assert share.agree(True) and share.any(True) and not share.any(False) and share.mean({"a": 2.0}) == {"a": 2.0}
    module = torch.nn.Linear(1, 1)
    assert share.wrap(module) is module


def test_a_batch_that_cannot_be_shared_stops_at_once():
    trainer = Trainer(replace(SHORT, stages=(Stage(32, 1, 3),)))
    trainer.share = Share(0, 2)
    with pytest.raises(ValueError, match="a batch of 3 cannot be shared evenly by 2 processes"):
        trainer.train_step(make_batch(trainer.recipe, 0))
