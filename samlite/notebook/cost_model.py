"""What automatic masks for many photos cost, from the shapes up: operations, hours, terabytes (document §1.4).

    operations of a photo = crops · encoder + clicks · decoder
    hours                 = photos · operations of a photo / (rate of one device · share of it that is reached)

Nothing else goes in but what ``flop_of`` counts on the model and what the reader assumes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from samlite.notebook.measuring import counted
from samlite.sam import Sam

HOURS_A_YEAR = 365.25 * 24


@dataclass(frozen=True)
class ModelCost:
    """Operations (a multiplication and its addition are two) of one photo through the encoder, and of one click."""

    name: str
    encoder_flop: int
    click_flop: int


def flop_of(name: str, sam: Sam) -> ModelCost:
    """Count both on the model itself; on the ``meta`` device that takes seconds at any size."""
    sam = copy.deepcopy(sam).requires_grad_(False)  # the counter stumbles over parameters that a module hands on
    S, device = sam.image_size, sam.device
    photo = torch.zeros(1, 3, S, S, device=device)
    with torch.no_grad():
        embedding = sam.encode_image(photo)
    point, label = torch.zeros(1, 1, 2, device=device), torch.ones(1, 1, dtype=torch.long, device=device)
    return ModelCost(
        name,
        encoder_flop=counted(lambda: sam.encode_image(photo)),
        click_flop=counted(lambda: sam.decode_masks(embedding, point, label)),
    )


@dataclass(frozen=True)
class Plan:
    """The assumptions. The defaults are SA-1B's size (document §1.4) and the mask generator's own grid."""

    model: ModelCost
    photos: float = 11e6
    masks_a_photo: float = 100.0
    points_per_side: int = 32
    crop_layers: int = 0
    points_downscale: int = 1  # by so much each layer of crops has fewer points along a side
    device_flops: float = 989e12  # operations a second of one device at its best
    share: float = 0.4  # of that, reached over the whole run
    devices: int = 1
    bytes_a_mask: float = 1000.0

    @property
    def crops(self) -> int:
        """The photo itself, and 2^i × 2^i crops in layer i."""
        return sum(4**layer for layer in range(self.crop_layers + 1))

    @property
    def clicks(self) -> int:
        """Points of all grids of one photo."""
        sides = (self.points_per_side // self.points_downscale**layer for layer in range(self.crop_layers + 1))
        return sum(4**layer * side**2 for layer, side in enumerate(sides))

    @property
    def encoder_flop(self) -> float:
        """Of one photo, in the encoder."""
        return self.crops * self.model.encoder_flop

    @property
    def decoder_flop(self) -> float:
        """Of one photo, for all its clicks."""
        return self.clicks * self.model.click_flop

    @property
    def total_flop(self) -> float:
        return self.photos * (self.encoder_flop + self.decoder_flop)

    @property
    def device_hours(self) -> float:
        """Of one device; many devices share them."""
        return self.total_flop / (self.device_flops * self.share) / 3600

    @property
    def days(self) -> float:
        """With all devices, when none ever waits."""
        return self.device_hours / self.devices / 24

    @property
    def years(self) -> float:
        """Of one device."""
        return self.device_hours / HOURS_A_YEAR

    @property
    def terabytes(self) -> float:
        """All masks as they stand in the shards."""
        return self.photos * self.masks_a_photo * self.bytes_a_mask / 1e12


def speed_up(serial_share: float, workers: float) -> float:
    """Amdahl: one worker's time by that of ``workers``, when this share of the work cannot be divided."""
    return 1 / (serial_share + (1 - serial_share) / workers)


def waste(shard_seconds: float, between_failures: float, overhead: float) -> float:
    """The share of a worker's time that is lost: half a shard at each failure, and ``overhead`` for each shard.

    All three in seconds; good as long as failures are rare within one shard.
    """
    return shard_seconds / (2 * between_failures) + overhead / shard_seconds


def best_shard_seconds(between_failures: float, overhead: float) -> float:
    """The length of a shard at which `waste` is least: where both halves of it are equal."""
    return (2 * between_failures * overhead) ** 0.5
