"""What the exercises are checked with: the shipped autoencoder on generated scenes."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from samlite.learning.pretraining import load_autoencoder, normalised_scenes
from samlite.masked_autoencoder import MaskedAutoencoder, random_masking


@cache
def shipped() -> MaskedAutoencoder:
    """The autoencoder of the longer run."""
    return load_autoencoder()


@cache
def two_scenes() -> Tensor:
    """Normalised images (2, 3, S, S)."""
    size = shipped().image_encoder.image_size
    return normalised_scenes(size, 2, torch.Generator().manual_seed(6))


@cache
def masking() -> tuple[Tensor, Tensor]:
    """Visible and hidden patches of the two scenes."""
    return random_masking(2, shipped().image_encoder.grid_size ** 2, generator=6)


@cache
def encoded() -> Tensor:
    """The visible patches of the two scenes, encoded and narrowed: (2, V, A)."""
    autoencoder = shipped()
    with torch.no_grad():
        return autoencoder.narrowing(autoencoder.encode_visible(two_scenes(), masking()[0]))


@cache
def rebuilt() -> Tensor:
    """All patches of the two scenes as the shipped autoencoder rebuilds them: (2, L, 3·P·P)."""
    with torch.no_grad():
        return shipped()(two_scenes(), masking()[0])
