"""Where the annotator clicks next, and one whole step of training."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from samlite.learning import simulate
from samlite.learning.losses import iou_loss, minimum_over_masks, pairwise_iou, pairwise_mask_loss
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_10.models import models, tiny_answer
from samlite.sam import Sam

Answer = dict[str, Any]


def _correct(
    logits: Tensor, target: Tensor, stride: int, *, power: int = 2, missing_only: bool = False, threshold: float = 0.0,
    swapped: bool = False, half: bool = True, inverted: bool = False, cells: bool = False, inside: bool = False,
    anywhere: bool = False,
) -> Answer:  # fmt: skip
    mask, answer = logits > threshold, target > 0.5
    wrong = ((answer & ~mask) if missing_only else (mask != answer)).float()
    depth = F.avg_pool2d(wrong[None, None], 5, 1, padding=2, count_include_pad=not inside)[0, 0]
    weight = (1 if anywhere else wrong) * depth**power
    row, column = divmod(int(weight.argmax()), weight.shape[1])
    label = int(answer[row, column]) ^ inverted
    x, y = (row, column) if swapped else (column, row)
    place = (x, y) if cells else tuple(each * stride + ((stride - 1) / 2 if half else 0.0) for each in (x, y))
    return {"wrong": wrong, "weight": weight, "place": tuple(map(float, place)), "label": label}


def _one_error() -> tuple[Tensor, Tensor, int]:
    """Five by five cells are too much: one of them, in the middle, is the deepest, however a mean is computed."""
    target, logits = torch.zeros(16, 16), torch.full((16, 16), -0.2)
    target[2:11, 3:8] = 1
    logits[5:16, 3:8] = torch.linspace(0.1, 2.0, 5)
    return logits, target, 4


def _tiny_error() -> tuple[Tensor, Tensor, int]:
    """The worst of tiny's answers whose heaviest cell is one alone: of two that are alike, rounding would choose."""
    logits, targets = tiny_answer()
    stride = models()[1][0].image_size // targets.shape[-1]
    wrong = ((logits > 0) != (targets > 0.5)).flatten(1).sum(1)
    for worst in wrong.argsort(descending=True).tolist():
        first, second = _correct(logits[worst], targets[worst], stride)["weight"].flatten().topk(2).values
        if first - second > 1e-3:
            return logits[worst], targets[worst], stride
    logits, target, stride = _one_error()
    return logits.T, target.T, stride


write_the_correction = Exercise(
    name="write_the_correction",
    title="Where the annotator clicks next",
    difficulty=3,
    minutes=20,
    question="""
`logits` and `target` are `(h, w)`, the answer so far and what was meant (in shares: covered is more than 0.5). Return a
dict: `wrong` `(h, w)`, 1 where mask and target differ; `weight` = wrong · depth², where depth is the mean of `wrong`
over 5 × 5 cells (zeros beyond the frame); `place`, the (x, y) of the heaviest cell's *centre* in pixels of the input
frame, `stride` pixels a cell, where (0, 0) is the centre of the first pixel; and `label`: 1 where the object is
missing, 0 where the mask is too much. (samlite draws a cell with these weights; here the heaviest is taken.)
""",
    code="""
def correct(logits, target, stride):
    # <answer: wrong = weight = place = label = ...>
    answer = target > 0.5
    wrong = ((logits > 0) != answer).float()
    depth = F.avg_pool2d(F.pad(wrong[None, None], (2, 2, 2, 2)), kernel_size=5, stride=1)[0, 0]
    weight = wrong * depth**2
    row, column = divmod(int(weight.argmax()), weight.shape[1])
    place = (column * stride + (stride - 1) / 2, row * stride + (stride - 1) / 2)
    label = int(answer[row, column])
    # </answer>
    return {"wrong": wrong, "weight": weight, "place": place, "label": label}


write_the_correction.check(correct)
""",
    expected=_correct,
    stages=[Stage("a mask that slipped down", _one_error), Stage("an answer of tiny", _tiny_error)],
    mistakes=[
        Mistake("label inverted", "1 says: this belongs to the object.", partial(_correct, inverted=True)),
        Mistake("cells, not pixels", "The place is in pixels of the input frame: stride of them a cell.",
                partial(_correct, cells=True)),
        Mistake("corner for centre", "The centre of a cell lies (stride − 1) / 2 pixels after its first pixel.",
                partial(_correct, half=False)),
        Mistake("x and y swapped", "x is the column, y the row.", partial(_correct, swapped=True)),
        Mistake("depth not squared", "The weight is wrong · depth².", partial(_correct, power=1)),
        Mistake("right cells among the wrong", "Depth alone is above 0 beside an error, too: times `wrong`.",
                partial(_correct, anywhere=True)),
        Mistake("a mean over what lies inside", "Beyond the frame are zeros, and they count: the mean is over 25 "
                "cells.", partial(_correct, inside=True)),
        Mistake("logits taken for probabilities", "The mask is where the logit is positive, not above 0.5.",
                partial(_correct, threshold=0.5)),
        Mistake("only what is missing", "What is too much is wrong as well.", partial(_correct, missing_only=True)),
    ],
    hints=["`F.avg_pool2d` with a kernel of 5, a stride of 1 and a padding of 2 zeros gives the depth.",
           "`divmod(int(weight.argmax()), width)` is (row, column)."],
    explanation="`simulate.correcting_clicks` does this for a batch and draws the cell: no two rounds are alike.",
)  # fmt: skip


def _step(
    sam: Sam, images: Tensor, labels: Tensor, points: Tensor, level: Tensor, *,
    order: str = "(b p)", which: int | None = None, mean_share: float = 0.0, any_answer: bool = False,
    soft: bool = False, add_iou: bool = True, summed: bool = False, best_only: bool = False,
) -> Answer:  # fmt: skip
    """One step of the lesson, with switches for what easily goes wrong."""
    clicks, stride = points.shape[1], sam.image_size // (4 * sam.image_encoder.grid_size)
    answers = rearrange(simulate.regions_at(labels, points, stride), "b p j h w -> (b p) j h w")
    embedding = repeat(sam.encode_image(images), f"b c y x -> {order} c y x", p=clicks)
    click = rearrange(points, "b p xy -> (b p) 1 xy")
    logits, predicted = sam.decode_masks(embedding, click, torch.ones(len(click), 1, dtype=torch.long))
    meant = level.flatten() if which is None else torch.full_like(level.flatten(), which)
    target = answers[torch.arange(len(answers)), meant][:, None]
    pairwise = pairwise_mask_loss(logits, answers if any_answer else target).amin(2, keepdim=True)
    nearest = minimum_over_masks(pairwise, mean_share)
    overlap = pairwise_iou(logits.sigmoid() - 0.6 if soft else logits, target)[..., 0]
    loss = nearest + iou_loss(predicted, overlap) if add_iou else nearest
    total = loss.sum() if summed else loss.mean()
    overlap = overlap.amax(1) if best_only else overlap
    return {"logits": logits, "target": target, "mask_loss": nearest, "overlap": overlap, "loss": total}


def _arguments(which: int) -> tuple[Any, ...]:
    sam, batch = models()[which]
    return sam, batch.images, batch.labels, batch.points, batch.level


build_the_step = Exercise(
    name="build_the_step",
    title="One step of training",
    difficulty=4,
    minutes=30,
    question="""
From a batch to its loss. You get `sam`, `images` `(B, 3, S, S)`, `labels` `(B, 3, S, S)`, `points` `(B, P, 2)` and
`level` `(B, P)`: which answer each click means. Encode each image once, decode its P clicks (label 1, prompts in the
order image by image), and return a dict: `logits` `(B·P, K, h, w)`; `target` `(B·P, 1, h, w)`, the answer that is
meant, from `simulate.regions_at(labels, points, stride)` `(B, P, 3, h, w)`; `mask_loss` `(B·P,)`, the *minimum* over
masks; `overlap` `(B·P, K)`, the IoU of every mask; and `loss`, the mean over prompts of mask loss and `iou_loss`.
`iou_loss(predicted, overlap)` gives `(B·P,)`; `pairwise_mask_loss` and `pairwise_iou` take `(B, K, h, w)` and
`(B, J, h, w)` and give `(B, K, J)`.
""",
    code="""
def step(sam, images, labels, points, level):
    # <answer: logits = target = mask_loss = overlap = loss = ...>
    clicks = points.shape[1]
    stride = sam.image_size // (4 * sam.image_encoder.grid_size)
    embedding = repeat(sam.encode_image(images), "b c y x -> (b p) c y x", p=clicks)
    click = rearrange(points, "b p xy -> (b p) 1 xy")
    logits, predicted = sam.decode_masks(embedding, click, torch.ones(len(click), 1, dtype=torch.long))
    answers = rearrange(simulate.regions_at(labels, points, stride), "b p j h w -> (b p) j h w")
    target = answers[torch.arange(len(answers)), level.flatten()][:, None]
    mask_loss = pairwise_mask_loss(logits, target).amin((1, 2))
    overlap = pairwise_iou(logits, target)[..., 0]
    loss = (mask_loss + iou_loss(predicted, overlap)).mean()
    # </answer>
    return {"logits": logits, "target": target, "mask_loss": mask_loss, "overlap": overlap, "loss": loss}


build_the_step.check(step)
""",
    expected=_step,
    stages=[Stage("a small model", partial(_arguments, 0)), Stage("tiny, with its weights", partial(_arguments, 1))],
    mistakes=[
        Mistake("IoU head forgotten", "The squared error of the predicted IoU belongs to the loss.",
                partial(_step, add_iou=False)),
        Mistake("sum over prompts", "The loss is the mean over prompts: it must not grow with the batch.",
                partial(_step, summed=True)),
        Mistake("the best overlap alone", "The IoU head predicts the IoU of *every* mask: (B·P, K).",
                partial(_step, best_only=True)),
        Mistake("IoU of probabilities", "The mask is where the logit is above 0.", partial(_step, soft=True)),
        Mistake("mean over masks", "The minimum: only the nearest mask is to learn.", partial(_step, mean_share=1.0)),
        Mistake("5 % of the mean", "The chapter's step adds a share of the mean; here the minimum alone is asked.",
                partial(_step, mean_share=0.05)),
        Mistake("minimum over answers too", "One answer is meant. A mask that fits another answer is not right.",
                partial(_step, any_answer=True)),
        Mistake("always the subpart", "The click means `level`; the first answer is the subpart.",
                partial(_step, which=0)),
        Mistake("always the whole", "The click means `level`; the third answer is the whole.", partial(_step, which=2)),
        Mistake("images and clicks mixed", "The clicks of one image follow each other: (b p), not (p b).",
                partial(_step, order="(p b)")),
    ],
    hints=['`repeat(…, "b c y x -> (b p) c y x", p=clicks)` gives every click its image.',
           "`answers[torch.arange(len(answers)), level.flatten()]` picks the level of each click."],
    explanation="""
The library's step, `samlite.learning.objective.training_loss`, goes on from here: all three levels as answers, a second
round of corrections, boxes and rough masks, and a helper that is thrown away.
""",
)  # fmt: skip
