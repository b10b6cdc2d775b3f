"""The training objective: what one step asks of the model, and how wrong its answers are.

Scenes are encoded once; many first clicks an image, with all three right answers known; then a second round with one
right answer: a correcting click, a box, or a rough mask. Every random choice follows from (seed, step).

Letters: B scenes, P clicks a scene, N prompts of the second round, C channels, G side of the grid,
H W the low-res frame.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from samlite.learning import simulate
from samlite.learning.affinity import AffinityHead
from samlite.learning.losses import iou_loss, level_by_level, minimum_over_masks, pairwise_iou, pairwise_mask_loss
from samlite.learning.recipe import Batch, Recipe, step_generator
from samlite.learning.shares import WHOLE, Share
from samlite.sam import Sam

AFFINITY_WEIGHT = 1.0
SECOND_ROUNDS = {"correct": 0.4, "correct without mask": 0.15, "box": 0.25, "box and click": 0.05, "rough mask": 0.15}


class TrainingLoss(nn.Module):
    """Model, helper and loss as one module, so that several processes can average what they learn."""

    def __init__(self, sam: Sam, affinity: AffinityHead) -> None:
        super().__init__()
        self.sam, self.affinity = sam, affinity

    def forward(
        self, batch: Batch, recipe: Recipe, step: int, share: Share
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        return training_loss(self.sam, batch, recipe, step, self.affinity, share)


def training_loss(
    sam: Sam, batch: Batch, recipe: Recipe, step: int, affinity: AffinityHead | None = None, share: Share = WHOLE
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """The loss of one step, and figures for the log. ``batch`` is this process's ``share`` of the step's scenes."""
    generator = step_generator(recipe.seed, step, 1, sam.device)
    side = 4 * sam.image_encoder.grid_size
    stride = batch.images.shape[-1] // side
    embedding = sam.encode_image(batch.images)
    points, level = batch.points, batch.level
    answers = simulate.regions_at(batch.labels, points, stride)

    many = repeat(embedding, "b c y x -> (b p) c y x", p=recipe.clicks)
    click = rearrange(points, "b p xy -> (b p) 1 xy")
    foreground = torch.ones(len(click), 1, dtype=torch.long, device=click.device)
    targets = rearrange(answers, "b p level h w -> (b p) level h w")
    logits, predicted = sam.decode_masks(many, click, foreground)
    overlap = pairwise_iou(logits.detach(), targets)  # (B·P, 3 masks, 3 levels)
    meant_as = torch.tensor(simulate.LEVEL_SHARE, device=logits.device)
    expected = (overlap * meant_as).sum(-1)  # what the mask is worth when the level is not known
    pairwise = pairwise_mask_loss(logits, targets)
    of_level = level.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
    nearest = minimum_over_masks(pairwise.gather(2, of_level))
    weight = recipe.levels_weight
    first = (1 - weight) * nearest + weight * level_by_level(pairwise) + iou_loss(predicted, expected)

    chosen = torch.arange(len(click), device=click.device).view(-1, recipe.clicks)[:, : recipe.second_round].flatten()
    meant = targets[chosen, level.flatten()[chosen]]
    best = predicted[chosen].argmax(-1)
    previous = logits[chosen, best].detach()
    second = second_round_loss(sam, many[chosen], click[chosen], meant, previous, stride, generator, share)
    loss = first.mean() + 0.5 * second
    together = affinity(embedding, batch.labels, generator, share) if affinity else loss.new_zeros(())
    loss = loss + AFFINITY_WEIGHT * together
    figures = {
        "loss": loss.detach(),
        "click": overlap.amax(1).gather(1, level.view(-1, 1)).mean(),
        "share>.75": (overlap.amax(1).gather(1, level.view(-1, 1)) > 0.75).float().mean(),
        "selected": overlap.gather(1, predicted.argmax(-1)[:, None, None].expand(-1, 1, 3))[:, 0]
        .gather(1, level.view(-1, 1)).mean(),
        "levels": overlap.diagonal(dim1=1, dim2=2).mean(),
        "affinity": together.detach(),
        "iou error": (predicted.detach() - expected).abs().mean(),
    }  # fmt: skip
    values = torch.stack(list(figures.values())).tolist()  # at once: each transfer from a GPU waits for all before it
    return loss, dict(zip(figures, values, strict=True))


def second_round_loss(
    sam: Sam,
    embedding: Float[Tensor, "n c g g"],
    click: Float[Tensor, "n 1 2"],
    target: Float[Tensor, "n h w"],
    previous: Float[Tensor, "n h w"],
    stride: int,
    generator: torch.Generator,
    share: Share = WHOLE,
) -> Float[Tensor, ""]:
    """One more prompt, of a kind drawn for the whole batch, with one right answer each; the mean loss of its rounds.

    N prompts: ``embedding`` (N, C, G, G), ``click`` (N, 1, 2) in input pixels, ``target`` and ``previous`` (the logits
    of the first answer) (N, H, W) in the low-res frame, ``stride`` input pixels a low-res cell.
    """
    weights = torch.tensor(list(SECOND_ROUNDS.values()), device=click.device)
    kind = list(SECOND_ROUNDS)[int(torch.multinomial(weights, 1, generator=generator))]
    foreground = torch.ones(len(click), 1, dtype=torch.long, device=click.device)
    prompts: dict[str, Tensor] = {}
    rounds = 1
    if kind.startswith("correct"):
        prompts = {"points": click, "labels": foreground}
        rounds = 1 + int(torch.randint(3, (1,), generator=generator, device=click.device))
    elif kind.startswith("box"):
        prompts = {"boxes": simulate.boxes_around(target, stride, 0.1, generator, share)[:, None]}
        if kind.endswith("click"):
            prompts |= {"points": click, "labels": foreground}
    else:
        prompts = {"mask": simulate.rough_masks(target, generator, share), "points": click, "labels": foreground}
    losses = []
    for _ in range(rounds):
        if kind.startswith("correct"):
            point, label = simulate.correcting_clicks(previous, target, stride, generator, share)
            prompts["points"] = torch.cat([prompts["points"], point[:, None]], dim=1)
            prompts["labels"] = torch.cat([prompts["labels"], label[:, None]], dim=1)
            if kind == "correct":
                prompts["mask"] = previous[:, None]
        logits, predicted = sam.decode_masks(embedding, **prompts)
        overlap = pairwise_iou(logits.detach(), target[:, None])[..., 0]
        loss = minimum_over_masks(pairwise_mask_loss(logits, target[:, None])) + iou_loss(predicted, overlap)
        losses.append(loss.mean())
        previous = logits[torch.arange(len(logits), device=logits.device), predicted.argmax(-1)].detach()
    return torch.stack(losses).mean()
