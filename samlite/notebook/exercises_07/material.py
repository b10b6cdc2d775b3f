"""What the exercises are checked with: the shipped model, and a small one in which no part can go unnoticed."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from samlite.registry import sam_model_registry
from samlite.sam import Sam, document_sam


@cache
def tiny() -> Sam:
    """The shipped model with its trained weights: what every last stage is checked with."""
    return sam_model_registry["tiny"]()


@cache
def small() -> Sam:
    """A SAM for pictures of 24×24 pixels with random weights, none of them so small that it could be forgotten."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        sam = document_sam(
            image_size=24, patch_size=4, width=8, depth=1, heads=2, channels=10, decoder_heads=2, decoder_mlp=8
        )
        for parameter in sam.parameters():
            nn.init.normal_(parameter, std=0.5)
    return sam.eval()


def places(*shape: int, size: int, seed: int = 0) -> Tensor:
    """Random coordinates in the pixels of a square input frame, of this shape."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * (size - 1)


def labels(*shape: int) -> Tensor:
    """Labels 1, 0, 1, 1, 0, 1, … in this shape."""
    pattern = torch.arange(torch.Size(shape).numel()) % 3
    return (pattern != 1).long().reshape(shape)


def boxes(*shape: int, size: int, seed: int = 0) -> Tensor:
    """Random boxes (…, 4) as x1, y1, x2, y2 within the input frame."""
    ends = places(*shape, 2, 2, size=size, seed=seed)  # (…, first or second, x or y)
    return torch.stack([ends.amin(-2), ends.amax(-2)], dim=-2).flatten(-2)


def mask_logits(batch: int, side: int, seed: int = 0) -> Tensor:
    """Random mask prompts of logits, (B, 1, side, side): smooth, positive in places and negative in others."""
    coarse = 4 * torch.randn(batch, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (side, side), mode="bicubic")
