"""The released package's numbers (``tests/golden``) and the weights they were made with, for the tests beside this."""

import json
import zlib
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from samlite import layers
from samlite.released.key_map import from_official, to_official
from samlite.released.sam import released_sam

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
VARIANTS = {name: json.loads((GOLDEN / f"released_{name}.json").read_text()) for name in ("vit_b", "vit_l", "vit_h")}
SIZES = {
    "tiny": {
        "image_size": 128, "width": 32, "depth": 3, "heads": 2, "window": 3, "global_blocks": (1,), "channels": 32,
        "decoder_heads": 4, "decoder_mlp": 64, "mask_channels": 8,
    },
    "std": {"image_size": 128, "width": 64, "depth": 4, "heads": 4, "window": 5, "global_blocks": (1, 3)},
    "std256": {"image_size": 256, "width": 64, "depth": 4, "heads": 4, "window": 7, "global_blocks": (1, 3)},
    "vit_b": {},
}  # fmt: skip


def golden(name):
    """Every tensor of a file, by name. A file that is missing is an error, never a skipped test."""
    return load_file(GOLDEN / f"{name}.safetensors")


def normal(key, shape):
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))


def recipe_tensor(key, shape):
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


def official_weights(name, **changes):
    """The official state dict of one of the golden configurations, by its recipe."""
    if name == "tiny":
        return golden("tiny_state")
    shapes = to_official(released_sam(**SIZES[name] | changes, device="meta").state_dict())
    state = {key: recipe_tensor(key, tuple(value.shape)) for key, value in shapes.items()}
    return state | (golden("std256_bias_overrides") if name == "std256" and not changes else {})


def build(name, **changes):
    """One of the golden configurations, or a change of it, with its weights."""
    sam = released_sam(**SIZES[name] | changes)
    sam.load_state_dict(from_official(official_weights(name, **changes)), assign=True)
    return sam.eval()


@contextmanager
def recorded():
    """Every tensor that the model names while the block runs: name → tensors in their order."""
    seen = defaultdict(list)

    def listen(name, tensor):
        seen[name].append(tensor)

    layers._listeners.append(listen)
    try:
        yield seen
    finally:
        layers._listeners.remove(listen)


def difference(ours, theirs):
    """Largest absolute difference, in the form of the official tensor: (B, L, D) fits (B, G, G, D)."""
    assert ours.numel() == theirs.numel(), (ours.shape, theirs.shape)
    return (ours.reshape(theirs.shape).float() - theirs.float()).abs().max().item() if theirs.numel() else 0.0


def relative_difference(ours, theirs):
    """The same, as a part of the largest official value."""
    return difference(ours, theirs) / max(theirs.abs().max().item(), 1e-12) if theirs.numel() else 0.0


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
