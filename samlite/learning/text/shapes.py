"""Scenes that can be described: coloured shapes side by side on a quiet ground. Batched torch, from one generator.

Letters: B scenes, Q objects in a scene, R side of the picture in pixels.
"""

import math
from dataclasses import dataclass

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from samlite.learning.draw import Draw
from samlite.learning.text.vocabulary import COLOURS, PAIRS, SHAPES, describe

HUES = (0, 30, 55, 115, 177, 225, 275, 325)  # degrees on the colour circle, in the order of COLOURS
CELLS = 3  # objects lie in different cells of a 3×3 raster, so they never overlap
ALIKE = 0.5  # how much an object that shares the first one's colour or shape is preferred beside it


@dataclass
class DescribedScenes:
    """``images`` (B, 3, R, R) RGB in 0…255; ``masks`` (B, Q, R, R); ``pairs`` (B, Q), numbers into ``PAIRS``.

    Within a scene all pairs differ, so a description names one object.
    """

    images: Float[Tensor, "b 3 r r"]
    masks: Bool[Tensor, "b q r r"]
    pairs: Int[Tensor, "b q"]

    def phrase(self, scene: int, item: int, form: int = 0) -> str:
        """The description of one object: "red star"."""
        return describe(PAIRS[int(self.pairs[scene, item])], form)


def choose_pairs(
    first: Int[Tensor, " b"], objects: int, allowed: Int[Tensor, " a"], generator: torch.Generator
) -> Int[Tensor, "b q"]:
    """For each scene the first object's pair and ``objects`` − 1 others from ``allowed``, often alike in one word.

    A scene with nothing alike is too easy: there, "red" alone finds the red star.
    """
    table = torch.tensor(PAIRS)
    score = torch.rand(len(first), len(PAIRS), generator=generator)
    shared = table[first][:, None] == table  # (B, pairs, 2): the same colour, the same shape
    score = score + ALIKE * shared.any(-1)
    forbidden = torch.ones(len(PAIRS), dtype=torch.bool)
    forbidden[allowed] = False
    score = score.masked_fill(forbidden | shared.all(-1), -1.0)
    return torch.cat([first[:, None], score.topk(objects - 1).indices], dim=1)


def make_scenes(
    pairs: Int[Tensor, "b q"], size: int, generator: torch.Generator, detail: float | int = 1.0
) -> DescribedScenes:
    """Paint scenes with the given objects (at most 9 each), at random places, sizes and angles.

    The same state of ``generator`` gives the same scenes. ``detail`` 0 leaves out shading, ground and noise.
    """
    draw = Draw(generator, torch.device("cpu"))
    batch, objects = pairs.shape
    if not 1 <= objects <= CELLS**2:
        raise ValueError(f"{objects} objects were asked for: a scene has room for 1 to {CELLS**2}")
    colour, shape = torch.tensor(PAIRS)[pairs].unbind(-1)
    cell = draw.uniform((batch, CELLS**2), 0, 1).argsort(1)[:, :objects]
    radius = draw.uniform((batch, objects), 0.095, 0.155)
    play = (0.5 / CELLS - radius).clamp(min=0.0)[..., None]
    corner = torch.stack([cell % CELLS, cell // CELLS], dim=-1)
    centre = (corner + 0.5) / CELLS + draw.uniform((batch, objects, 2), -1, 1) * play
    angle = draw.uniform((batch, objects), 0, 2 * math.pi)

    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    place = torch.stack([x, y], dim=-1) - centre[:, :, None, None]  # (B, Q, R, R, 2)
    place = place / radius[..., None, None, None]
    cos, sin = angle.cos()[..., None, None], angle.sin()[..., None, None]
    u, v = place.unbind(-1)
    u, v = cos * u + sin * v, cos * v - sin * u
    distance = torch.zeros_like(u)
    for number in range(len(SHAPES)):
        chosen = shape == number
        if chosen.any():
            distance[chosen] = distance_to(SHAPES[number], u[chosen], v[chosen])
    cover = (0.5 - distance * radius[..., None, None] * size).clamp(0, 1)  # the share of each pixel that is covered

    paint = paints(draw, colour)
    shade = 1 + detail * 0.12 * (draw.normal((batch, objects, 1, 1)) * u + draw.normal((batch, objects, 1, 1)) * v)
    grey = draw.uniform((batch, 1, 1, 1), 0.15, 0.9)
    tint = draw.uniform((batch, 3, 1, 1), -0.06, 0.06)
    ground = grey + tint + detail * 0.05 * draw.smooth_noise((batch, 1), size)
    painted = einsum(cover * shade, paint, "b q y x, b q c -> b c y x")
    images = ground * (1 - cover.sum(1, keepdim=True)).clamp(min=0) + painted
    images = images + detail * 0.02 * draw.normal(images.shape)
    return DescribedScenes(images.clamp(0, 1) * 255, cover > 0.5, pairs)


def paints(draw: Draw, colour: Int[Tensor, "b q"]) -> Float[Tensor, "b q 3"]:
    """A colour's word → an RGB in [0, 1] that people would call so: hue near the word's, saturated, not dark."""
    hue = torch.tensor(HUES, dtype=torch.float32)[colour] + draw.uniform(tuple(colour.shape), -6, 6)
    value = draw.uniform(tuple(colour.shape), 0.82, 1.0)
    saturation = torch.where(colour == COLOURS.index("pink"), 0.55, 0.9) + draw.uniform(tuple(colour.shape), -0.1, 0.1)
    k = (torch.tensor([5.0, 3.0, 1.0]) + hue[..., None] / 60) % 6  # HSV → RGB
    return value[..., None] * (1 - saturation[..., None] * torch.minimum(k, 4 - k).clamp(0, 1))


def distance_to(shape: str, u: Float[Tensor, "n r r"], v: Float[Tensor, "n r r"]) -> Float[Tensor, "n r r"]:
    """How far (u, v) lies outside the outline (negative: inside), for a shape that fits into the unit circle."""
    away = (u * u + v * v).sqrt()
    if shape == "circle":
        return away - 0.85
    if shape == "ring":
        return (away - 0.75).abs() - 0.22
    if shape == "square":
        return torch.maximum(u.abs(), v.abs()) - 0.72
    if shape == "cross":
        long, wide = torch.maximum(u.abs(), v.abs()), torch.minimum(u.abs(), v.abs())
        return torch.maximum(long - 0.95, wide - 0.3)
    if shape == "triangle":
        return torch.maximum(v, 0.866 * u.abs() - 0.5 * v) - 0.5
    if shape == "star":  # ten mirrored pieces: in each one the outline is a straight edge from a tip to a notch
        turn = (torch.atan2(v, u) + math.pi / 5) % (2 * math.pi / 5) - math.pi / 5
        along, across = away * turn.cos(), away * turn.abs().sin()
        notch = (0.45 * math.cos(math.pi / 5), 0.45 * math.sin(math.pi / 5))
        normal = (notch[1], 1 - notch[0])
        return ((along - 1) * normal[0] + across * normal[1]) / math.hypot(*normal)
    raise ValueError(f"there is no shape {shape!r}: {', '.join(SHAPES)}")


def crop(
    images: Float[Tensor, "b 3 h w"], boxes: Float[Tensor, "b q 4"], size: int, margin: Tensor | float | int = 1.25
) -> Float[Tensor, "n 3 size size"]:
    """Cut a square around every box (x1, y1, x2, y2; pixels, inclusive) and bring it to ``size``²: (B·Q, 3, s, s).

    The square's side is the longer side of the box times ``margin`` (a number, or one for each box (B, Q)).
    What lies beyond the picture repeats its edge.
    """
    height, width = images.shape[-2:]
    centre = (boxes[..., :2] + boxes[..., 2:] + 1) / 2
    half = (boxes[..., 2:] - boxes[..., :2] + 1).amax(-1) / 2 * margin
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    place = centre[:, :, None, None] + half[..., None, None, None] * torch.stack([x, y], dim=-1)  # (B, Q, s, s, 2)
    place = place / torch.tensor([width, height]) * 2 - 1
    objects = boxes.shape[1]
    many = images[:, None].expand(-1, objects, -1, -1, -1).flatten(0, 1)
    return F.grid_sample(many, place.flatten(0, 1), mode="bilinear", padding_mode="border", align_corners=False)


def boxes_of(masks: Bool[Tensor, "*any r r"]) -> Float[Tensor, "*any 4"]:
    """The smallest box around every mask: x1, y1, x2, y2 of its first and last pixels. An empty mask: zeros."""
    edges = []
    for axis in (-2, -1):  # rows away: columns remain; then the other way round
        present = masks.any(axis)
        index = torch.arange(present.shape[-1])
        last = torch.where(present, index, -1).amax(-1)
        edges += [torch.where(present, index, present.shape[-1]).amin(-1).where(last >= 0, 0), last.clamp(min=0)]
    return torch.stack([edges[0], edges[2], edges[1], edges[3]], dim=-1).float()
