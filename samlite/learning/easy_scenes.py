"""Easy scenes for experiments that must end within a minute: a few objects on a plain ground (document §1.4).

An object is an ellipse, a box or a diamond, turned by any angle, in one colour or with stripes in a second one. The
ground has a colour that fades to one side. All is noisy, so that a flood fill is not enough.

Letters: B scenes, R side of the picture in pixels, Q objects at most in a scene, M objects that are large enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from samlite.learning.draw import Draw

NOISE = 0.03
STRIPED = 0.5  # share of the objects


@dataclass
class KnownScene:
    """A generated scene and the truth: ``image`` (3, R, R) in 0…255, ``objects`` (M, R, R), which do not overlap."""

    image: Float[Tensor, "3 r r"]
    objects: Bool[Tensor, "m r r"]


def easy_scenes(
    count: int, generator: torch.Generator, size: int = 64, most: int = 5, smallest: float = 0.01
) -> list[KnownScene]:
    """``count`` scenes of 3 to ``most`` objects; the same state of ``generator`` gives the same scenes.

    ``smallest``: the share of the picture that the visible part of an object must cover to count as one.
    """
    draw = Draw(generator, torch.device("cpu"))
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    shape = (count, most)
    centre, radius = draw.uniform((*shape, 2), 0.1, 0.9), draw.uniform(shape, 0.1, 0.26)
    aspect, angle = draw.log_uniform(shape, 0.6, 1.6), draw.uniform(shape, 0, math.pi)
    kind, exists = draw.integer(shape, 3), torch.arange(most) < 3 + draw.integer((count, 1), most - 2)

    def wide(values: Shaped[Tensor, "b q *c"]) -> Shaped[Tensor, "b q *c 1 1"]:
        return values[..., None, None]

    dx, dy = x - wide(centre[..., 0]), y - wide(centre[..., 1])
    cos, sin = wide(angle.cos() / radius), wide(angle.sin() / radius)
    u, v = (cos * dx + sin * dy) * wide(aspect), (cos * dy - sin * dx) / wide(aspect)
    distances = torch.stack([(u * u + v * v).sqrt(), torch.maximum(u.abs(), v.abs()) * 1.15, u.abs() + v.abs()], 2)
    distance = distances.gather(2, wide(kind)[:, :, None].expand(-1, -1, -1, size, size))[:, :, 0]
    inside = (distance < 1) & wide(exists)
    covered = inside.flip(1).cumsum(1).flip(1) - inside.long()  # how many later objects lie over a pixel
    visible = inside & (covered == 0)

    colour, second = draw.uniform((*shape, 3), 0.05, 0.95), draw.uniform((*shape, 3), 0.05, 0.95)
    second = torch.lerp(colour, second, 0.6)
    stripes = torch.sin(u * wide(draw.uniform(shape, 4, 9))) > 0.2
    striped = (stripes & wide(draw.chance(shape, STRIPED)))[:, :, None]
    painted = torch.where(striped, wide(second), wide(colour))  # (B, Q, 3, R, R)
    ground, slope = draw.uniform((count, 3, 1, 1), 0.1, 0.9), draw.normal((count, 2, 1, 1)) * 0.15
    image = ground + slope[:, :1] * (x - 0.5) + slope[:, 1:] * (y - 0.5)
    image = torch.where(visible.any(1)[:, None], (painted * visible[:, :, None]).sum(1), image)
    image = (image + NOISE * draw.normal(tuple(image.shape))).clamp(0, 1) * 255
    enough = visible.float().mean((2, 3)) >= smallest
    return [KnownScene(i, objects[large]) for i, objects, large in zip(image, visible, enough, strict=True)]
