"""The models and scenes that the exercises of chapter 10 are about."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from samlite.learning import lesson, recipe
from samlite.registry import sam_model_registry
from samlite.sam import Sam, document_sam


@cache
def tiny_answer() -> tuple[Tensor, Tensor]:
    """Tiny's first masks for eight clicks on a generated scene, and what the clicks mean."""
    sam, batch = models()[1]
    with torch.no_grad():
        logits, _, answers = lesson.answer(sam, batch)
    return logits[:, 0].clamp(-30, 30), answers[torch.arange(len(answers)), batch.level.flatten()]


@cache
def models() -> list[tuple[Sam, recipe.Batch]]:
    """A small model with random weights, and tiny; each with scenes of its size."""
    tiny = sam_model_registry["tiny"]()
    torch.manual_seed(0)
    small = document_sam(image_size=32, **{**lesson.MODEL, "width": 24, "depth": 1, "channels": 16}).eval()
    result = []
    for sam, scenes, clicks in ((small, 3, 2), (tiny, 2, 4)):
        its_recipe = recipe.Recipe(lesson.MODEL, (recipe.Stage(sam.image_size, 1, scenes),), clicks=clicks, ramp=10**9)
        result.append((sam, recipe.make_batch(its_recipe, lesson.HELD_OUT_STEP)))
    return result
