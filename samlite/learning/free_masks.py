"""Masks without a model: maps of free logits that learn one click's answers, to see what a loss asks for.

A click has three right answers, one inside the other: subpart, part and whole. Every step names one of them, as often
as training does. There is no image and no network, so whatever comes out is the doing of the loss alone.

Letters: K masks, J right answers (3), H W the frame.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from samlite.learning.losses import (
    FOCAL_ALPHA,
    FOCAL_GAMMA,
    FOCAL_WEIGHT,
    MEAN_SHARE,
    minimum_over_masks,
    pairwise_iou,
    pairwise_mask_loss,
)
from samlite.learning.simulate import LEVEL_SHARE


@dataclass(frozen=True)
class LossSettings:
    """What can be set of the loss. ``mean_share`` 0 is the minimum over masks alone, 1 the mean alone."""

    focal_weight: float | int = FOCAL_WEIGHT
    gamma: float | int = FOCAL_GAMMA
    alpha: float | int = FOCAL_ALPHA
    mean_share: float | int = MEAN_SHARE


def nested_answers(size: int = 32) -> Float[Tensor, "3 h w"]:
    """Three discs inside each other, of radius 0.12, 0.24 and 0.42 of the frame."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    distance = (axis[:, None] ** 2 + axis[None] ** 2).sqrt()
    return torch.stack([(distance < radius).float() for radius in (0.12, 0.24, 0.42)])


def free_masks(
    answers: Float[Tensor, "j h w"],
    settings: LossSettings | None = None,
    masks: int = 3,
    steps: int = 300,
    seed: int = 0,
) -> tuple[Float[Tensor, "k h w"], Float[Tensor, "k j"]]:
    """Let ``masks`` maps of logits learn by gradient → (the maps, the IoU of each with every answer).

    They begin alike, near 0, with a little noise that differs. The same seed gives the same maps.
    """
    settings = settings or LossSettings()
    generator = torch.Generator().manual_seed(seed)
    start = 0.1 * torch.randn(1, masks, *answers.shape[-2:], generator=generator)
    named = torch.multinomial(torch.tensor(LEVEL_SHARE), steps, True, generator=generator)
    with torch.enable_grad():
        logits = start.requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=0.1, betas=(0.9, 0.99))
        for level in named.tolist():
            pairwise = pairwise_mask_loss(
                logits, answers[None, level : level + 1], settings.focal_weight, settings.gamma, settings.alpha
            )  # (1, K, 1)
            optimiser.zero_grad()
            minimum_over_masks(pairwise, settings.mean_share).sum().backward()
            optimiser.step()
    learned = logits.detach()
    return learned[0], pairwise_iou(learned, answers[None])[0]
