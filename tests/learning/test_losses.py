"""Losses against their definitions written out, and the minimum over masks."""

import pytest
import torch
from torch.nn import functional as F

from samlite.learning.losses import iou_loss, level_by_level, minimum_over_masks, pairwise_iou, pairwise_mask_loss


def written_out(logits: torch.Tensor, target: torch.Tensor) -> float:
    """20 · focal + dice of one mask, for a target of zeros and ones, from the formulas."""
    p = logits.sigmoid()
    p_true = torch.where(target > 0.5, p, 1 - p)
    focal = (0.5 * (1 - p_true) ** 2 * -p_true.log()).mean()
    dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
    return float(20 * focal + dice)


def test_pairwise_loss_is_focal_and_dice():
    logits, targets = torch.randn(2, 3, 6, 7), (torch.rand(2, 2, 6, 7) > 0.6).float()
    pairwise = pairwise_mask_loss(logits, targets)
    assert pairwise.shape == (2, 3, 2)
    for b in range(2):
        for k in range(3):
            for j in range(2):
                assert float(pairwise[b, k, j]) == pytest.approx(written_out(logits[b, k], targets[b, j]), rel=1e-4)


def test_a_perfect_mask_costs_nothing():
    target = (torch.rand(1, 1, 8, 8) > 0.5).float()
    assert float(pairwise_mask_loss((target * 2 - 1) * 30, target)) < 1e-3


def test_minimum_takes_the_best_of_three_masks():
    pairwise = torch.tensor([[[3.0], [1.0], [2.0]]])
    assert float(minimum_over_masks(pairwise)) == pytest.approx(0.95 * 1.0 + 0.05 * 2.0)


def test_three_answers_belong_to_three_masks_in_order():
    pairwise = torch.tensor([[[1.0, 9.0, 9.0], [9.0, 2.0, 9.0], [0.0, 0.0, 6.0]]])
    assert float(level_by_level(pairwise)) == pytest.approx(3.0)


def test_only_the_best_way_gets_most_of_the_gradient():
    pairwise = torch.tensor([[[3.0], [1.0], [2.0]]], requires_grad=True)
    minimum_over_masks(pairwise).sum().backward()
    assert pairwise.grad.flatten().tolist() == pytest.approx([0.05 / 3, 0.95 + 0.05 / 3, 0.05 / 3])


def test_iou_by_counting():
    logits = torch.tensor([[[[1.0, 1.0, -1.0, -1.0]]]])
    targets = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]], [[1.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    assert pairwise_iou(logits, targets)[0, 0].tolist() == pytest.approx([1 / 3, 1.0, 0.0])


def test_iou_loss_is_the_squared_error():
    predicted, actual = torch.tensor([[0.5, 1.0, 0.0]]), torch.tensor([[0.5, 0.5, 1.0]])
    assert float(iou_loss(predicted, actual)) == pytest.approx(F.mse_loss(predicted, actual).item())
