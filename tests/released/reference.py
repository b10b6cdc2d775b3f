"""The released package's numbers (``tests/golden``) and the weights they were made with, for the tests beside this."""

import json

import numpy as np
import torch

from samlite.released.golden import GOLDEN, SIZES, build, golden, official_weights, recipe_tensor
from samlite.released.parity import difference, recorded, relative_difference

__all__ = ["GOLDEN", "SIZES", "VARIANTS", "build", "difference", "given_prompts", "golden", "official_weights",
           "recipe_tensor", "recorded", "relative_difference"]  # fmt: skip

VARIANTS = {name: json.loads((GOLDEN / f"released_{name}.json").read_text()) for name in ("vit_b", "vit_l", "vit_h")}


def given_prompts(sam):
    """Points, a box and a mask at random, as `decode_masks` takes them."""
    random = np.random.RandomState(0)
    size, low_res = sam.image_size, 4 * sam.prompt_encoder.grid_size
    points = torch.from_numpy(random.uniform(0, size, (1, 3, 2))).float()
    corners = np.sort(random.uniform(0, size, (1, 2, 2)), axis=1).reshape(1, 1, 4)
    return {
        "points": points,
        "labels": torch.tensor([[1, 0, 1]]),
        "boxes": torch.from_numpy(corners).float(),
        "mask": torch.from_numpy(3 * random.standard_normal((1, 1, low_res, low_res))).float(),
    }
