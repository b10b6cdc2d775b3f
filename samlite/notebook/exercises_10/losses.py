"""Losses by hand, losses as code, and the minimum over masks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_10.models import tiny_answer
from samlite.notebook.variants import by_seed, fill

Answer = dict[str, Any]


def _loss_of_one_mask(
    side: int, covered: int, probability: float, *, gamma: int = 2, alpha: bool = True, mean: bool = True,
    swapped: bool = False, smooth: int = 1, double: bool = True, weight: int = 20, base: float = math.e,
) -> Answer:  # fmt: skip
    """Focal, dice and total for the same probability everywhere, with switches for what easily goes wrong."""
    pixels, p = side * side, probability
    inside, outside = (1 - p) ** gamma * -math.log(p), p**gamma * -math.log(1 - p)
    if swapped:
        inside, outside = outside, inside
    focal = (0.5 if alpha else 1) * (covered * inside + (pixels - covered) * outside) / (pixels if mean else 1)
    focal /= math.log(base)
    overlap, total = p * covered, p * pixels + covered
    dice = 1 - (2 * overlap + smooth) / (total + smooth) if double else 1 - overlap / (total - overlap)
    return {"focal": focal, "dice": dice, "total": weight * focal + dice}


def _predict(side: int = 64, covered: int = 200, probability: float = 0.25) -> Exercise:
    wrong = partial(_loss_of_one_mask, side, covered, probability)
    return Exercise(
        name="predict_the_loss",
        title="The loss of a model that does not know",
        difficulty=1,
        minutes=10,
        question=fill(
            """
The low-res frame has $side × $side pixels; an object covers $covered of them. A model answers with the same
probability, $probability, everywhere. What are its focal loss (γ = 2, α = 0.5, mean over pixels), its dice loss
(with the 1 above and below the line) and 20 · focal + dice? Compute, do not guess: `math.log` is the natural one.
""",
            side=side, covered=covered, probability=probability,
        ),  # fmt: skip
        code=fill(
            """
# <answer: focal = dice = total = ...>
on_object = $covered * (1 - $probability) ** 2 * -math.log($probability)
beside_it = ($pixels - $covered) * $probability**2 * -math.log(1 - $probability)
focal = 0.5 * (on_object + beside_it) / $pixels
dice = 1 - (2 * $probability * $covered + 1) / ($probability * $pixels + $covered + 1)
total = 20 * focal + dice
# </answer>
losses = {"focal": focal, "dice": dice, "total": total}

predict_the_loss.check(losses)
""",
            covered=covered,
            probability=probability,
            pixels=side * side,
        ),
        expected=lambda: _loss_of_one_mask(side, covered, probability),
        mistakes=[
            Mistake("cross-entropy", "The factor (1 − p)² or p² is missing: that is what makes it focal.",
                    lambda: {"focal": wrong(gamma=0)["focal"]}),
            Mistake("α missing", "Both halves are weighted by 0.5.", lambda: {"focal": wrong(alpha=False)["focal"]}),
            Mistake("sum for mean", "The focal loss is a mean over pixels.",
                    lambda: {"focal": wrong(mean=False)["focal"]}),
            Mistake("object and background swapped", "On the object the true probability is p, beside it 1 − p.",
                    lambda: {"focal": wrong(swapped=True)["focal"]}),
            Mistake("logarithm of base 10", "`math.log` is the natural logarithm, `math.log10` is not.",
                    lambda: {"focal": wrong(base=10)["focal"]}),
            Mistake("γ of 1", "γ is 2: the factor is squared.", lambda: {"focal": wrong(gamma=1)["focal"]}),
            Mistake("IoU for dice", "Dice counts the overlap twice and divides by the sum, not by the union.",
                    lambda: {"dice": wrong(double=False)["dice"]}),
            Mistake("the 1 missing", "1 is added above and below the line.", lambda: {"dice": wrong(smooth=0)["dice"]}),
            Mistake("not 20 to 1", "The total is 20 · focal + dice.", lambda: {"total": wrong(weight=1)["total"]}),
        ],
        hints=["All pixels of the object have the same loss, and so have all others: two numbers, weighted by counts.",
               "Dice: 1 − (2 · overlap + 1) / (sum of probabilities + covered + 1)."],
        explanation="""
The background is most of the frame, and yet a model that says "nothing here" cannot rest: dice stays near 1, whatever
the number of background pixels.
""",
    )  # fmt: skip


def _draw(generator: random.Random) -> dict[str, Any]:
    return {
        "side": generator.choice((32, 48, 64, 96)),
        "covered": generator.randrange(50, 500),
        "probability": generator.choice((0.1, 0.2, 0.3, 0.35, 0.4, 0.6, 0.7)),
    }


predict_the_loss = by_seed(_predict, _draw)


def _losses(
    logits: Tensor, targets: Tensor, *, gamma: int = 2, alpha: float = 0.5, axes: Any = (-2, -1), sigmoid: bool = True,
    smooth: int = 1, hard: bool = False, softmax: bool = False, iou: bool = False, gamma_on_target: bool = True,
) -> Answer:  # fmt: skip
    p = logits.flatten(1).softmax(1).view_as(logits) if softmax else logits.sigmoid() if sigmoid else logits
    inside, outside = F.softplus(-logits), F.softplus(logits)  # −log p and −log(1 − p), without rounding to infinity
    doubt, sureness = ((1 - p) ** gamma, p**gamma) if gamma_on_target else (p**gamma, (1 - p) ** gamma)
    focal = alpha * doubt * inside * targets + (1 - alpha) * sureness * outside * (1 - targets)
    p = (logits > 0).float() if hard else p
    overlap, total = (p * targets).sum((-2, -1)), (p + targets).sum((-2, -1))
    dice = 1 - (overlap + smooth) / (total - overlap + smooth) if iou else 1 - (2 * overlap + smooth) / (total + smooth)
    return {"focal": focal.mean(axes), "dice": dice}


def _shares_made_whole(logits: Tensor, targets: Tensor, whole: Callable[[Tensor], Tensor]) -> Answer:
    """Focal of whole pixels, as of `torch.where(target > 0, p, 1 - p)`; dice as it should be."""
    return _losses(logits, targets) | {"focal": _losses(logits, whole(targets))["focal"]}


write_the_losses = Exercise(
    name="write_the_losses",
    title="Focal and dice",
    difficulty=2,
    minutes=15,
    question="""
`logits` and `targets` are `(B, h, w)`; targets lie in 0…1: one of 0.25 is a quarter object, and counts a quarter as
object and three quarters as background. Return a dict with the focal loss (γ = 2, α = 0.5) and the
dice loss of each mask: two tensors `(B,)`. Focal is a mean over pixels; dice has a 1 above and below the line.
""",
    code="""
def losses(logits, targets):
    # <answer: focal = dice = ...>
    p = logits.sigmoid()
    on_object = (1 - p) ** 2 * F.softplus(-logits)  # softplus(−x) = −log sigmoid(x)
    beside_it = p**2 * F.softplus(logits)
    focal = 0.5 * (on_object * targets + beside_it * (1 - targets)).mean((-2, -1))
    overlap, total = (p * targets).sum((-2, -1)), (p + targets).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    # </answer>
    return {"focal": focal, "dice": dice}


write_the_losses.check(losses)
""",
    expected=_losses,
    stages=[
        Stage("two small masks", lambda: (
            torch.tensor([[[2.0, -1.0], [0.5, -3.0]], [[-1.0, -2.0], [4.0, 0.0]]]),
            torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.25], [1.0, 0.0]]]))),
        Stage("what tiny answers", tiny_answer),
    ],
    mistakes=[
        Mistake("sigmoid forgotten", "Logits are no probabilities: sigmoid first.", partial(_losses, sigmoid=False)),
        Mistake("softmax over the pixels", "Each pixel decides for itself: sigmoid, not softmax.",
                partial(_losses, softmax=True)),
        Mistake("shares made whole", "A target of 0.25 counts a quarter as object and three quarters as background.",
                partial(_shares_made_whole, whole=lambda targets: (targets > 0).float())),
        Mistake("shares rounded", "A target of 0.25 counts a quarter as object and three quarters as background.",
                partial(_shares_made_whole, whole=torch.round)),
        Mistake("mean over the batch too", "One loss for each mask, (B,): the mean goes over h and w only.",
                partial(_losses, axes=None)),
        Mistake("not focal", "γ is missing: this is half the cross-entropy.", partial(_losses, gamma=0)),
        Mistake("α of 0.25", "α is 0.5 here; with 0.25 small masks stay empty.", partial(_losses, alpha=0.25)),
        Mistake("dice of the thresholded mask", "A threshold has no gradient: dice takes the probabilities.",
                partial(_losses, hard=True)),
        Mistake("IoU for dice", "Dice counts the overlap twice and divides by the sum, not by the union.",
                partial(_losses, iou=True)),
        Mistake("focus on the sure ones", "The factor is (1 − p)² on the object: what is sure and right counts little.",
                partial(_losses, gamma_on_target=False)),
        Mistake("the 1 missing", "1 above and below the line: an empty mask of an empty object costs nothing.",
                partial(_losses, smooth=0)),
    ],
    hints=["−log p is `F.softplus(-logits)`, −log(1 − p) is `F.softplus(logits)`.",
           "`.mean((-2, -1))` and `.sum((-2, -1))` keep the batch."],
    explanation="""
`samlite.learning.losses.pairwise_mask_loss` does the same for all pairs of K masks and J answers at once: focal, and
the overlap in dice, are linear in the target, so all pairs are two matrix products.
""",
)  # fmt: skip


def _minimum(losses: Tensor, mean_share: float) -> Tensor:
    return (1 - mean_share) * losses.amin(1) + mean_share * losses.mean(1)


def _some_losses(rows: int, seed: int) -> Tensor:
    return torch.rand(rows, 3, generator=torch.Generator().manual_seed(seed)) * 3


write_the_minimum = Exercise(
    name="write_the_minimum",
    title="The nearest of three masks learns",
    difficulty=2,
    minutes=10,
    question="""
`losses` `(B, K)` has the loss of each of K masks against the one right answer. Return `(B,)`: for each prompt the loss
of its nearest mask, with a weight of 1 − `mean_share`, plus the mean over its masks, with a weight of `mean_share`.
""",
    code="""
def nearest(losses, mean_share):
    # <answer: result = ...>
    result = (1 - mean_share) * losses.amin(dim=1) + mean_share * losses.mean(dim=1)
    # </answer>
    return result


write_the_minimum.check(nearest)
""",
    expected=_minimum,
    stages=[
        Stage("two prompts", lambda: (torch.tensor([[3.0, 1.0, 2.0], [0.5, 2.5, 0.0]]), 0.05)),
        Stage("many prompts", lambda: (_some_losses(40, 1), 0.1)),
        Stage("the mean alone", lambda: (_some_losses(7, 2), 1.0)),
    ],
    mistakes=[
        Mistake("minimum over the prompts", "Masks are the second axis; each prompt has a nearest mask of its own.",
                lambda losses, share: (1 - share) * losses.amin(0) + share * losses.mean(0)),
        Mistake("one mask for the whole batch", "Which mask is nearest differs from prompt to prompt.",
                lambda losses, share: (1 - share) * losses[:, losses.mean(0).argmin()] + share * losses.mean(1)),
        Mistake("the worst mask", "The smallest loss, not the largest.",
                lambda losses, share: (1 - share) * losses.amax(1) + share * losses.mean(1)),
        Mistake("weights swapped", "mean_share belongs to the mean.",
                lambda losses, share: share * losses.amin(1) + (1 - share) * losses.mean(1)),
        Mistake("weights do not add up to 1", "The minimum is weighted by 1 − mean_share.",
                lambda losses, share: losses.amin(1) + share * losses.mean(1)),
        Mistake("sum for mean", "The mean over masks, not their sum.",
                lambda losses, share: (1 - share) * losses.amin(1) + share * losses.sum(1)),
        Mistake("a number for the batch", "One value for each prompt, (B,): the mean over prompts is taken later.",
                lambda losses, share: _minimum(losses, share).mean()),
    ],
    hints=["`amin(dim=1)` is the minimum over the masks."],
    explanation="""
The nearest mask gets 1 − `mean_share` + `mean_share` / K of its gradient, 0.967 at 5 % and three masks; every other one
gets `mean_share` / K of its own, 0.017.
""",
)  # fmt: skip
