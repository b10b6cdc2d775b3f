"""The helper in training: right codes cost nothing, wrong ones much, padding nothing at all, and it can learn."""

import torch
from einops import rearrange

from samlite.learning.affinity import LEVELS, AffinityHead
from samlite.learning.simulate import PADDING


def halves(grid: int = 4) -> torch.Tensor:
    """Labels (1, 3, S, S), 4 pixels a cell: left and right on every level."""
    labels = torch.zeros(1, LEVELS, 4 * grid, 4 * grid, dtype=torch.long)
    labels[..., 2 * grid :] = 1
    return labels


def head_that_copies(code: int = 2) -> AffinityHead:
    """Every place gets the first two channels of its patch as its code, on every level."""
    head = AffinityHead(channels=2, code=code, anchors=20)
    with torch.no_grad():
        weight = torch.eye(2).repeat(4 * LEVELS, 1)
        head.codes.weight.copy_(rearrange(weight, "out c -> out c 1 1"))
        head.codes.bias.zero_()
        head.scale.fill_(20)
        head.offset.fill_(-10)
    return head


def loss_of(head: AffinityHead, embedding: torch.Tensor, labels: torch.Tensor) -> float:
    return head(embedding, labels, torch.Generator().manual_seed(0)).item()


def test_right_codes_cost_nothing_and_wrong_ones_much():
    head = head_that_copies()
    right, wrong = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    right[:, 0, :, :2], right[:, 1, :, 2:] = 1, 1  # left and right
    wrong[:, 0, :2], wrong[:, 1, 2:] = 1, 1  # above and below
    assert loss_of(head, right, halves()) < 1e-3
    assert loss_of(head, wrong, halves()) > 4


def test_padding_does_not_count():
    head, labels = head_that_copies(), halves()
    embedding = torch.zeros(1, 2, 4, 4)
    embedding[:, 0, :, :2], embedding[:, 1, :, 2:] = 1, 1
    labels[..., 8:, :] = PADDING
    embedding[:, :, 2:] = torch.tensor([1.0, 1.0])[:, None, None]  # codes that are wrong for every label
    assert loss_of(head, embedding, labels) < 1e-3


def test_it_learns_from_labels():
    torch.manual_seed(0)
    head, labels = AffinityHead(channels=8, anchors=32), halves()
    embedding = torch.randn(1, 8, 4, 4, requires_grad=True)
    optimiser = torch.optim.Adam([embedding, *head.parameters()], lr=0.05)
    generator = torch.Generator().manual_seed(0)
    first = loss_of(head, embedding, labels)
    for _ in range(40):
        optimiser.zero_grad()
        head(embedding, labels, generator).backward()
        optimiser.step()
    assert loss_of(head, embedding, labels) < 0.2 * first
