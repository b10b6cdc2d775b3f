"""The objective's second round asks with the prompts of its kind; a small model starts as it is said."""

import pytest
import torch

from samlite.layers import Attention
from samlite.learning import objective
from samlite.learning.initialise import mimic, tie_queries_and_keys, whiten_patches
from samlite.sam import Sam

KINDS = {
    "correct": {"points", "labels", "mask"}, "correct without mask": {"points", "labels"}, "box": {"boxes"},
    "box and click": {"boxes", "points", "labels"}, "rough mask": {"mask", "points", "labels"},
}  # fmt: skip


class Listening(Sam):
    """Three flat masks; the third one is selected, and its logits count the answers."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.asked = []

    def decode_masks(self, embedding, **prompts):
        self.asked.append(prompts)
        masks = torch.tensor([-1.0, 0.5, 1.0]).view(1, 3, 1, 1).expand(2, 3, 16, 16)
        return masks * len(self.asked), torch.tensor([[0.0, 0.1, 0.9]]).expand(2, 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", objective.SECOND_ROUNDS)
def test_each_second_round_asks_with_its_own_prompts(kind, seed, monkeypatch):
    monkeypatch.setattr(objective, "SECOND_ROUNDS", {kind: 1.0})
    sam, target, previous = Listening(), torch.zeros(2, 16, 16), torch.full((2, 16, 16), -1.0)
    target[:, :, :8] = 1
    given = (torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 2), target, previous, 2, torch.Generator().manual_seed(seed))
    assert objective.second_round_loss(sam, *given).isfinite()
    assert sam.asked and all(set(asked) == KINDS[kind] for asked in sam.asked)
    if kind.startswith("correct"):
        assert sam.asked[0]["labels"].eq(1).all()  # all of it is missing
        assert sam.asked[-1]["points"].shape[1] == 1 + len(sam.asked)  # a click more each time
    if kind == "correct":
        seen = [float(asked["mask"].mean()) for asked in sam.asked]
        assert seen == [-1.0, *map(float, range(1, len(seen)))]  # the first answer, then each selected one


@torch.no_grad()
def test_a_model_starts_whitened_mimetic_and_tied():
    torch.manual_seed(0)
    patches, projection = torch.randn(2, 400, 12) * torch.linspace(0.5, 3, 12) + 5, torch.nn.Linear(12, 6)
    whiten_patches(projection, patches)
    covariance = torch.cov(projection(patches).flatten(0, 1).T)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-3
    assert covariance.diagonal().min() > 0.2 and covariance.diagonal().max() < 0.26
    attention = Attention(32, heads=2)
    mimic(attention)
    through = attention.output_projection.weight @ attention.value_projection.weight
    assert through.diagonal().mean() == pytest.approx(-0.4, abs=0.06)
    tie_queries_and_keys(attention, gain=1.5)
    assert torch.equal(attention.key_projection.weight, attention.query_projection.weight)
