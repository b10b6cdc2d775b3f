"""Numbers and weights of the released package, for comparing: what lies in a checkout under ``tests/golden``.

The weights are random, and most are in no file: `recipe_tensor` makes them again from an official name and its shape.
The folder is part of the repository and not of an installed package.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from samlite.released.key_map import from_official, to_official
from samlite.released.sam import released_sam
from samlite.sam import Sam

GOLDEN = Path(__file__).resolve().parent.parent.parent / "tests" / "golden"
SIZES = {
    "tiny": {
        "image_size": 128, "width": 32, "depth": 3, "heads": 2, "window": 3, "global_blocks": (1,), "channels": 32,
        "decoder_heads": 4, "decoder_mlp": 64, "mask_channels": 8,
    },
    "std": {"image_size": 128, "width": 64, "depth": 4, "heads": 4, "window": 5, "global_blocks": (1, 3)},
    "std256": {"image_size": 256, "width": 64, "depth": 4, "heads": 4, "window": 7, "global_blocks": (1, 3)},
    "vit_b": {},
}  # fmt: skip


def golden(name: str) -> dict[str, Tensor]:
    """Every tensor of a file, by name. Raises FileNotFoundError where there is no checkout around the package."""
    path = GOLDEN / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: the official numbers are in the repository, so run it in a clone")
    return load_file(path)


def normal(key: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """The same normal numbers for a name and a shape, everywhere and always."""
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))


def recipe_tensor(key: str, shape: tuple[int, ...]) -> Float[Tensor, "..."]:
    """Weights that anyone can make again from an official key and its shape: numpy's frozen generator, scaled."""
    leaf = key.rpartition(".")[2]
    # these two projections share their values, so that image places find the prompt token near them
    values = normal(key.replace("cross_attn_image_to_token.k_proj", "cross_attn_image_to_token.q_proj"), shape)
    learned = ("point_embeddings", "not_a_point_embed", "no_mask_embed", "iou_token", "mask_tokens")
    if leaf == "positional_encoding_gaussian_matrix":
        values = 0.5 * values
    elif leaf == "pos_embed" or leaf.startswith("rel_pos_"):
        values = 0.3 * values
    elif leaf == "bias":
        values = 0.1 * values
    elif len(shape) == 1:
        values = (0.15 if key == "image_encoder.neck.3.weight" else 1.0) * (1 + 0.1 * values)
    elif "output_upscaling" in key:
        values = (normal(f"{key}#base", (*shape[:2], 1, 1)) + 0.06 * values) / np.sqrt(shape[0])
    elif not any(name in key for name in learned):
        gain = 1.0
        if key.startswith("mask_decoder") and ("q_proj" in key or "k_proj" in key) or "iou_prediction_head" in key:
            gain = 1.5
        if "output_hypernetworks_mlps" in key:
            gain = 10.0 if ".layers.2." in key else 1.5
        values = gain * values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float16).astype(np.float32).reshape(shape))


def official_weights(name: str, **changes: Any) -> dict[str, Tensor]:
    """The official state dict of one of the golden configurations, by its recipe."""
    if name == "tiny":
        return golden("tiny_state")
    shapes = to_official(released_sam(**SIZES[name] | changes, device="meta").state_dict())
    state = {key: recipe_tensor(key, tuple(value.shape)) for key, value in shapes.items()}
    return state | (golden("std256_bias_overrides") if name == "std256" and not changes else {})


def build(name: str, **changes: Any) -> Sam:
    """One of the golden configurations, or a change of it, with its weights."""
    sam = released_sam(**SIZES[name] | changes)
    sam.load_state_dict(from_official(official_weights(name, **changes)), assign=True)
    return sam.eval()
