"""What the exercises are checked with: the shipped model on a real photo, and small parts with large random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

import skimage.data
import torch
from torch import Tensor, nn

from samlite.mask_decoder import MaskDecoder
from samlite.notebook.decoder_views import DecoderViews
from samlite.registry import sam_model_registry

Part = TypeVar("Part", bound=nn.Module)


@cache
def views() -> DecoderViews:
    """The shipped model, with a point and a box on a real photo: what every last stage is checked with."""
    seen = DecoderViews(sam_model_registry["tiny"](), skimage.data.coffee())
    seen.prompt([[290, 165]], [1], box=[165, 5, 415, 275])
    return seen


def decoder() -> MaskDecoder:
    """The shipped model's mask decoder."""
    return views().sam.mask_decoder


def with_large_weights(make: Callable[[], Part], seed: int = 8) -> Part:
    """A part whose parameters are all large enough that forgetting one of them does not go unnoticed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = make()
        for parameter in part.parameters():
            nn.init.normal_(parameter, std=0.4)
    return part.eval()


def random(*shape: int, seed: int = 1) -> Tensor:
    """The same random tensor each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
