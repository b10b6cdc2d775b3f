"""What the exercises are checked with: random tensors, and the shipped models with scenes that nobody trained on."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from samlite.learning.text import TextImageModel, load_text_model, measure
from samlite.learning.text.shapes import DescribedScenes, boxes_of, crop
from samlite.learning.text.vocabulary import SEEN
from samlite.registry import sam_model_registry
from samlite.sam import Sam, document_sam


@cache
def words() -> TextImageModel:
    """The shipped text–image model."""
    return load_text_model()


@cache
def tiny_text() -> Sam:
    """The shipped SAM that takes text."""
    return sam_model_registry["tiny_text"]()


@cache
def small() -> Sam:
    """A small SAM with random weights, none of them so small that it could be forgotten; it takes text 6 wide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        sam = document_sam(
            image_size=24, patch_size=4, width=8, depth=1, heads=2, channels=10, decoder_heads=2, decoder_mlp=8,
            text_width=6,
        )  # fmt: skip
        for parameter in sam.parameters():
            nn.init.normal_(parameter, std=0.5)
    sam.prompt_encoder.trained_on_text = "nothing: its weights are random"
    return sam.eval()


@cache
def scenes() -> DescribedScenes:
    return measure.held_out_scenes(SEEN, 6, 64, seed=4)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@cache
def features() -> tuple[Tensor, Tensor]:
    """What the towers make of six crops and their descriptions, before it has length 1."""
    model, some = words(), scenes()
    crops = crop(some.images, boxes_of(some.masks[:, :1]), model.crop_size)
    phrases = [some.phrase(b, 0) for b in range(len(some.images))]
    with torch.no_grad():
        return model.image_tower(crops), model.text_tower(model.tokenizer(phrases))
