"""What is asked for: pictures with the masks that count as right, from generated scenes or from a folder of photos."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, UInt8

from samlite.learning import simulate
from samlite.learning.photo_sets import LabelledPhoto
from samlite.learning.scenes import SceneGenerator

HELD_OUT_SEED = 2_000_003  # training seeds its generators far away from here
SMALLEST = 0.01  # of the photo; smaller regions are not asked for


class Example(NamedTuple):
    """A picture and M right answers on it."""

    name: str
    photo: UInt8[np.ndarray, "h w 3"]
    masks: Bool[np.ndarray, "m h w"]


def scene_examples(size: int, count: int, targets: int = 4, seed: int = HELD_OUT_SEED) -> Iterator[Example]:
    """``count`` generated scenes of ``size``×``size`` pixels, ``targets`` regions each: subparts, parts and wholes.

    Regions are drawn as training draws them (`simulate.sample_clicks`: a plump one more often than a thin one), so the
    same one may come twice. The same seed gives the same scenes.
    """
    for k in range(count):
        generator = torch.Generator().manual_seed(seed + k)
        scene = SceneGenerator(size)(1, generator)
        points, level = simulate.sample_clicks(scene.labels, targets, generator)
        x, y = points[0].long().T
        labels, level = scene.labels[0], level[0]
        masks = labels[level] == rearrange(labels[level, y, x], "m -> m 1 1")
        photo = rearrange(scene.images[0], "c y x -> y x c").round().clamp(0, 255).byte()
        yield Example(f"scene {k}", photo.contiguous().numpy(), masks.numpy())


def photo_examples(
    photos: Sequence[LabelledPhoto], smallest: float | int = SMALLEST, targets: int | None = None, seed: int = 0
) -> Iterator[Example]:
    """Photos with those of their masks that cover at least ``smallest`` of them; a photo without one is left out.

    ``targets``: at most so many masks a photo, drawn by ``seed`` and in their order (None: all).
    """
    generator = np.random.default_rng(seed)
    for each in photos:
        photo = each.photo()
        masks = [mask for mask in each.masks(photo.shape[:2]) if mask.mean() >= smallest]
        if targets is not None and len(masks) > targets:
            chosen = np.sort(generator.choice(len(masks), targets, replace=False))
            masks = [masks[k] for k in chosen]
        if masks:
            yield Example(each.name, photo, np.stack(masks))
