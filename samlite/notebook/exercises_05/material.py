"""What the exercises are checked with: the shipped model on a real photo, and small tensors that are easy to read."""

from __future__ import annotations

import math
from functools import cache

import skimage.data
import torch
from torch import Tensor

from samlite.notebook.patch_views import PatchViews
from samlite.registry import sam_model_registry


@cache
def views() -> PatchViews:
    """The shipped model, looking at a real photo: what every last stage is checked with."""
    return PatchViews(sam_model_registry["tiny"](), skimage.data.chelsea())


def numbered(*shape: int) -> Tensor:
    """A tensor whose values are 0, 1, 2, …: a misplaced one is easy to see."""
    return torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)
