"""Scenes to learn from: pictures made by code, with every object, part and subpart known exactly.

A scene is a pile of overlapping objects, large to small, that fills the picture ("dead leaves"; Lee, Mumford & Huang,
2001). An object is one shape or a few shapes grown together; its shapes are split into parts and those into subparts,
so that one click truly has three right answers: the whole, the part and the subpart. A region that others cut in two
is two regions, as for a person who marks what lies together. What all of this looks like is in ``scene_colours.py``.
No photo is used. Everything is batched torch on any device and follows from one generator.

Letters: B scenes, R side of the picture in pixels, Q shapes in a pile.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from skimage import measure
from torch import Tensor
from torch.nn import functional as F

from samlite.learning.draw import Draw
from samlite.learning.scene_colours import Colouring

HARMONICS = 5  # of the outline of a shape
FULL = 1.0  # detail
CACHED_PIXELS = 16384  # made at once on a CPU: small pieces stay in its cache, and a short pile waits for no tall one


@dataclass
class Scenes:
    """``images`` (B, 3, R, R) RGB in 0…255; ``labels`` (B, 3, R, R): the subpart, part and whole of every pixel.

    Equal numbers on one level mean the same region; regions of a lower level lie inside one region of the next.
    """

    images: Float[Tensor, "b 3 r r"]
    labels: Int[Tensor, "b 3 r r"]


class SceneGenerator:
    """Makes batches of scenes. ``fewest`` and ``shapes`` are the smallest and the largest number of shapes in a pile,
    ``scale`` enlarges or shrinks all of them.

    ``detail`` in [0, 1] is the knob of difficulty: 1 keeps textures, shading and shadows, 0 gives every subpart one
    flat colour, easy to tell from its neighbours', and what lies between is a blend of both.
    """

    def __init__(
        self,
        size: int,
        shapes: int = 20,
        device: torch.device | str = "cpu",
        fewest: float | int = 2,
        scale: float | int = 1.0,
    ) -> None:
        self.size = size
        self.fewest = fewest
        self.shapes = shapes
        self.scale = scale
        self.device = torch.device(device)

    def __call__(self, batch: int, generator: torch.Generator, detail: Float[Tensor, " b"] | float = FULL) -> Scenes:
        """``batch`` scenes; the same state of ``generator`` gives the same scenes on the same device."""
        at_once = max(1, CACHED_PIXELS // self.size**2) if self.device.type == "cpu" else batch
        detail = torch.as_tensor(detail, device=self.device, dtype=torch.float32).expand(batch)
        parts = [self._make(len(d), Draw(generator, self.device), d) for d in detail.split(at_once)]
        return Scenes(torch.cat([p.images for p in parts]), torch.cat([p.labels for p in parts]))

    def _make(self, batch: int, draw: Draw, detail: Float[Tensor, " b"]) -> Scenes:
        pile = self._pile(draw, batch)
        painted = self._paint(draw, pile)
        labels = self._split(draw, pile, painted)
        images = Colouring(draw, painted, labels, pile["object"]).picture(detail)
        return augment(draw, Scenes(images, connected(labels)))

    def _pile(self, draw: Draw, batch: int) -> dict[str, Tensor]:
        """The parameters (B, Q) of every shape: place, size, outline, and the object that it belongs to."""
        shape = (batch, self.shapes)
        count = draw.log_uniform((batch, 1), self.fewest, self.shapes)  # shapes in this picture
        order = torch.arange(self.shapes, device=self.device).expand(shape)
        largest, smallest = draw.uniform((batch, 1), 0.35, 1.1), draw.log_uniform((batch, 1), 0.06, 0.3)
        fall = (order / count.clamp(min=1)).clamp(max=1) ** draw.uniform((batch, 1), 0.4, 1.5)
        size = largest * (smallest / largest).clamp(max=1) ** fall * draw.log_uniform(shape, 0.7, 1.4) * self.scale
        centre = draw.uniform((*shape, 2), -0.1, 1.1)
        joined = draw.chance(shape, 0.35)  # grown onto the shape before it, as a limb onto a body
        joined[:, :2] = False
        joined[:, 3:] &= ~(joined[:, 2:-1] & joined[:, 1:-2])  # three shapes an object at most
        object_of = order.clone()
        exists = order < count
        tallest = int(exists.sum(1).max())
        for k in range(1, tallest):
            parent_size, parent_centre = size[:, k - 1], centre[:, k - 1]
            angle = draw.uniform((batch,), 0, 2 * math.pi)
            reach = parent_size * draw.uniform((batch,), 0.4, 1.0)
            beside = parent_centre + torch.stack([angle.cos(), angle.sin()], -1) * reach[:, None]
            centre[:, k] = torch.where(joined[:, k, None], beside, centre[:, k])
            size[:, k] = torch.where(joined[:, k], parent_size * draw.uniform((batch,), 0.4, 1.0), size[:, k])
            object_of[:, k] = torch.where(joined[:, k], object_of[:, k - 1], order[:, k])
        size[:, 0] = 9.0  # the first one covers the picture
        roughness = draw.uniform((*shape, 1), 0, 0.35) * draw.chance((*shape, 1), 0.7)
        harmonic = torch.arange(1, HARMONICS + 1, device=self.device)
        metric = torch.softmax(draw.normal((*shape, 3)) * 4 + torch.tensor([-2.0, 2.0, 0.0], device=self.device), -1)
        return {
            "exists": exists,
            "object": object_of,
            "alone": object_of.eq(order) & ~F.pad(joined[:, 1:], (0, 1)),
            "centre": centre,
            "size": size,
            "angle": draw.uniform(shape, 0, 2 * math.pi),
            "aspect": draw.log_uniform(shape, 1, 3.5) ** 0.5,
            "metric": metric,  # how much of a diamond, an ellipse and a rectangle
            "cosine": draw.normal((*shape, HARMONICS)) * roughness / harmonic.sqrt(),
            "sine": draw.normal((*shape, HARMONICS)) * roughness / harmonic.sqrt() * draw.chance((*shape, 1), 0.6),
            "hole": draw.uniform(shape, 0.3, 0.7) * draw.chance(shape, 0.06),
            "warp": draw.log_uniform(shape, 0.003, 0.12),
            "shadow": draw.uniform(shape, 0, 0.6) * draw.chance(shape, 0.35) * ~joined,  # a limb throws none
        }

    def _paint(self, draw: Draw, pile: dict[str, Tensor]) -> dict[str, Tensor]:
        """Lay the shapes on top of each other: for every pixel the shape on top, its place in it, and the shadow."""
        batch, r = len(pile["size"]), self.size
        axis = (torch.arange(r, device=self.device) + 0.5) / r
        y, x = (grid.expand(batch, r, r) for grid in torch.meshgrid(axis, axis, indexing="ij"))
        bend_x, bend_y = draw.smooth_noise((batch, 2), r).unbind(1)
        top = torch.zeros(batch, r, r, dtype=torch.long, device=self.device)
        top_u, top_v, top_radius = x * 0.0, x * 0.0, x * 0.0
        shadow = torch.ones_like(top_u)
        light = draw.uniform((batch, 1, 1), 0, 2 * math.pi)
        for k in range(int(pile["exists"].sum(1).max())):
            p = {name: value[:, k, ..., None, None] for name, value in pile.items()}
            dx = x + p["warp"] * bend_x - p["centre"][:, 0]
            dy = y + p["warp"] * bend_y - p["centre"][:, 1]
            cos, sin = p["angle"].cos() / p["size"], p["angle"].sin() / p["size"]
            u = (cos * dx + sin * dy) * p["aspect"]
            v = (cos * dy - sin * dx) / p["aspect"]
            absolute_u, absolute_v = u.abs(), v.abs()
            euclid = (u * u + v * v).sqrt() + 1e-6
            diamond, box = 0.75 * (absolute_u + absolute_v), 1.1 * torch.maximum(absolute_u, absolute_v)
            metric = p["metric"]
            radius = metric[:, 0] * diamond + metric[:, 1] * euclid + metric[:, 2] * box
            c1, s1 = u / euclid, v / euclid  # cos and sin of the angle; its multiples follow by multiplication
            c, s, outline = c1, s1, 1.0
            for h in range(HARMONICS):
                outline = outline + p["cosine"][:, h] * c + p["sine"][:, h] * s
                c, s = c * c1 - s * s1, s * c1 + c * s1
            radius = radius / outline.clamp(min=0.25)
            inside = (radius < 1) & (radius >= p["hole"]) & p["exists"]
            reach = radius + 0.3 * (light.cos() * u + light.sin() * v)
            halo = p["shadow"] * (1 - (reach - 0.8) / 0.5).clamp(0, 1) * p["exists"]
            shadow = torch.where(inside, 1.0, shadow * (1 - halo))
            top = torch.where(inside, k, top)
            top_u, top_v = torch.where(inside, u, top_u), torch.where(inside, v, top_v)
            top_radius = torch.where(inside, radius, top_radius)
        return {
            "shape": top,
            "u": top_u,
            "v": top_v,
            "radius": top_radius,
            "shadow": shadow,
            "x": x,
            "y": y,
            "bend": bend_x,
        }

    def _split(self, draw: Draw, pile: dict[str, Tensor], painted: dict[str, Tensor]) -> Int[Tensor, "b 3 r r"]:
        """Cut every shape into up to 3 pieces and every piece into up to 3 again.

        The pieces of a shape that is an object alone are its parts; of an object grown from several shapes the shapes
        are the parts. The pieces of the pieces are the subparts. The pieces of the background are wholes: sky and sea
        are no object together. The last shape of a short pile may count as one part though it is alone: it was to get
        a limb that the pile has no place for.
        """
        batch, shapes = pile["size"].shape
        shape = painted["shape"]
        first = self._pieces(draw, (batch, shapes), shape, painted, 1.0, 1.0)
        piece = shape * 3 + first
        second = self._pieces(draw, (batch, shapes * 3), piece, painted, 0.95, 1.6)
        alone = pile["alone"].gather(1, shape.flatten(1)).view_as(shape)
        subpart = torch.where(alone, piece * 3 + second, shape * 9 + first)
        part = torch.where(alone, piece, shape * 3)
        whole = pile["object"].gather(1, shape.flatten(1)).view_as(shape)
        whole = torch.where(shape == 0, shapes + part, whole)
        return torch.stack([subpart, part, whole], 1)

    def _pieces(
        self, draw: Draw, table: tuple[int, int], of: Tensor, painted: dict[str, Tensor], chance: float, scale: float
    ) -> Int[Tensor, "b r r"]:
        """For every pixel the piece 0, 1 or 2 of its region ``of``: by a line, a band, a ring, an angle or a blob."""
        kind = draw.integer(table, 5)
        whole = ~draw.chance(table, chance)
        angle = draw.uniform(table, 0, 2 * math.pi)
        offset = draw.uniform(table, -0.35, 0.35) / scale
        gap = draw.log_uniform(table, 0.15, 3.0) / scale
        bend = draw.log_uniform(table, 0.02, 0.6)

        def look_up(values: Tensor) -> Tensor:
            return values.gather(1, of.flatten(1)).view_as(painted["u"])

        huge = painted["shape"] == 0  # the first shape covers the picture: its pieces are measured in pictures
        u = torch.where(huge, 2 * painted["x"] - 1, painted["u"])
        v = torch.where(huge, 2 * painted["y"] - 1, painted["v"])
        radius = torch.where(huge, (u * u + v * v).sqrt() * 0.8, painted["radius"])
        angle, offset, gap, kind = look_up(angle), look_up(offset), look_up(gap), look_up(kind)
        curve = look_up(bend) * painted["bend"]
        along = u * angle.cos() + v * angle.sin() + curve
        across = v * angle.cos() - u * angle.sin()
        from_blob = ((u - 0.45 * angle.cos()) ** 2 + (v - 0.45 * angle.sin()) ** 2).sqrt() + curve
        line = (along > offset).long()
        band = line + (along > offset + gap)
        ring = (radius > 0.55 + offset + 0.3 * curve).long()
        wedge = line + (line * (across > offset))
        blob = (from_blob < 0.25 + 0.3 * (offset + 0.35)).long()
        pieces = torch.stack([line, band, ring, wedge, blob], 0).gather(0, kind[None])[0]
        return torch.where(look_up(whole), 0, pieces)


def connected(labels: Int[Tensor, "b 3 r r"]) -> Int[Tensor, "b 3 r r"]:
    """New numbers, so that a region which others cut in two is two regions: a click means what it lies in."""
    pieces = [measure.label(level, background=-1, connectivity=1) for level in labels.flatten(0, 1).cpu().numpy()]
    return torch.from_numpy(np.stack(pieces)).view_as(labels).to(labels.device)


def augment(draw: Draw, scenes: Scenes) -> Scenes:
    """Mirror and transpose images and labels together, each with an even chance."""
    images, labels = scenes.images, scenes.labels
    batch = len(images)
    for flip in (lambda t: t.flip(-1), lambda t: t.flip(-2), lambda t: t.transpose(-1, -2)):
        chosen = draw.chance((batch, 1, 1, 1), 0.5)
        images, labels = torch.where(chosen, flip(images), images), torch.where(chosen, flip(labels), labels)
    return Scenes(images, labels)
