"""What a generated scene looks like: colours related up the hierarchy, patterns, textures, light, camera.

Letters: B scenes, R side of the picture in pixels, Q shapes in a pile; every shape has 3 parts, every part 3 subparts.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from samlite.learning.draw import Draw

TEXTURES = 4  # kinds of texture in one picture
PALETTE = 4  # colours of objects in a picture of few colours


class Colouring:
    """Colours for the shapes that ``painted`` shows in every pixel; ``objects`` (B, Q): the object of each shape."""

    def __init__(
        self,
        draw: Draw,
        painted: dict[str, Tensor],
        labels: Int[Tensor, "b 3 r r"],
        objects: Int[Tensor, "b q"],
    ) -> None:
        self.draw, self.painted, self.objects = draw, painted, objects
        self.subpart, self.part = labels[:, 0], labels[:, 1]
        self.side = labels.shape[-1]
        self.batch, self.shapes = objects.shape
        self.table = (self.batch, self.shapes * 3)  # one row a part
        self.vivid = draw.uniform((self.batch, 1, 1), 0.3, 1.0)  # of the whole picture

    def look_up(self, values: Float[Tensor, "b n c"], index: Int[Tensor, "b r r"]) -> Float[Tensor, "b c r r"]:
        """For every pixel the row of a table that ``index`` names."""
        index = rearrange(index, "b y x -> b (y x) 1").expand(-1, -1, values.shape[-1])
        return rearrange(values.gather(1, index), "b (y x) c -> b c y x", y=self.side)

    def picture(self, detail: Float[Tensor, " b"]) -> Float[Tensor, "b 3 r r"]:
        """RGB in 0…255. ``detail``: from flat colours, easy to tell from their neighbours', (0) to everything (1)."""
        draw, painted = self.draw, self.painted
        leaf = self.leaf_colours()
        textures = draw.textures(self.batch, TEXTURES, self.side)
        flat = self.patterned(self.look_up(leaf, self.subpart), textures)
        texture = self.texture(textures)
        full = (self.lit(flat) * painted["shadow"][:, None] + texture).clamp(0, 1)
        tilt = draw.normal((self.batch, 2, 1, 1)) * 0.25
        full = full * (1 + tilt[:, 0] * (painted["x"] - 0.5) + tilt[:, 1] * (painted["y"] - 0.5))[:, None]
        bright = torch.lerp(leaf, draw.uniform(leaf.shape, 0, 1), draw.uniform((self.batch, 1, 1), 0, 0.3))
        detail = detail[:, None, None, None]
        images = draw.blur(torch.lerp(self.look_up(bright, self.subpart), full, detail))
        noise = draw.normal(images.shape)
        images = images + noise * draw.log_uniform((self.batch, 1, 1, 1), 0.002, 0.03) * detail
        return draw.tone(images) * 255

    def object_colours(self) -> Float[Tensor, "b q 3"]:
        """Colours around one of the picture.

        In many pictures a few come again and again: colour alone is then not enough to tell what belongs together.
        """
        draw = self.draw
        base = draw.colours((self.batch, 1), self.vivid)
        spread = draw.uniform((self.batch, 1, 1), 0.75, 1.0)
        colours = torch.lerp(base, draw.colours((self.batch, self.shapes), self.vivid), spread)
        again = colours.gather(1, draw.integer((self.batch, self.shapes, 1), PALETTE).expand(-1, -1, 3))
        return torch.where(draw.chance((self.batch, 1, 1), 0.4), again, colours)

    def leaf_colours(self) -> Float[Tensor, "b nine_q 3"]:
        """Every subpart's colour: that of its part, lighter or darker; a part has another hue of its object's colour.

        That is what lets a level be seen: what differs in brightness alone is one part, and parts that are akin in
        colour, and have one texture and one light, are one object.
        """
        draw = self.draw
        piece = self.of_object(self.object_colours())
        other, share = draw.colours(self.table, self.vivid), draw.uniform((*self.table, 1), 0.15, 0.45)
        as_bright = (piece.mean(-1, keepdim=True) + 0.05) / (other.mean(-1, keepdim=True) + 0.05)
        share[:, :3], as_bright[:, :3] = 1 - share[:, :3], 1.0  # the pieces of the background are no family
        piece = torch.lerp(piece, other * as_bright, share)
        step = draw.uniform((*self.table, 1), 0.25, 0.6) * torch.where(draw.chance((*self.table, 1), 0.5), 1, -1)
        order = torch.arange(-1, 2, device=piece.device) + draw.normal((*self.table, 3)) * 0.2
        brighter = rearrange((step * order).exp(), "b table leaf -> b (table leaf) 1")
        return (piece.repeat_interleave(3, 1) * brighter).clamp(0, 1.2)

    def of_object(self, values: Shaped[Tensor, "b q c"]) -> Shaped[Tensor, "b three_q c"]:
        """A row for every part: that of the object that it belongs to."""
        index = self.objects[..., None].expand(-1, -1, values.shape[-1])
        return values.gather(1, index).repeat_interleave(3, 1)

    def texture(self, textures: Float[Tensor, "b kinds r r"]) -> Float[Tensor, "b 3 r r"]:
        """What is added to the colours: a kind of texture for an object or a part, in some subparts another; tinted."""
        draw, leaves = self.draw, (self.batch, self.shapes * 9)

        def rows_of(table: tuple[int, int]) -> Tensor:
            amplitude = draw.log_uniform((*table, 1), 0.006, 0.2)
            return torch.cat([amplitude, F.one_hot(draw.integer(table, TEXTURES), TEXTURES)], -1)

        parts, objects = rows_of(self.table), (self.batch, self.shapes)
        alike = self.of_object(draw.chance((*objects, 1), 0.9))  # objects whose parts have one texture
        rows = torch.where(alike, self.of_object(rows_of(objects)), parts)
        amplitude = rows[..., :1] * draw.uniform((self.batch, 1, 1), 0.2, 1.0)
        mix = amplitude * rows[..., 1:]
        own = draw.chance((*leaves, 1), 0.1)  # some subparts have a texture of their own
        own_mix = amplitude.repeat_interleave(3, 1) * F.one_hot(draw.integer(leaves, TEXTURES), TEXTURES)
        mix = torch.where(own, own_mix, mix.repeat_interleave(3, 1))
        texture = (self.look_up(mix, self.subpart) * textures).sum(1, keepdim=True)
        tint = 1 + 0.5 * draw.normal((*leaves, 3)) * draw.chance((self.batch, 1, 1), 0.5)
        return texture * self.look_up(tint, self.subpart)

    def patterned(
        self, flat: Float[Tensor, "b 3 r r"], textures: Float[Tensor, "b kinds r r"]
    ) -> Float[Tensor, "b 3 r r"]:
        """Flat colours, and in many parts a second one in spots, stripes or veins.

        Fur, leaves and grain hold two colours that belong together: without this a model picks out one of them.
        """
        draw = self.draw

        def rows_of(table: tuple[int, int]) -> Tensor:
            amount = draw.uniform((*table, 1), 0.1, 0.9) * draw.chance((*table, 1), 0.35)
            sharpness, offset = draw.log_uniform((*table, 1), 1, 10), draw.uniform((*table, 1), -0.8, 0.8)
            which = F.one_hot(draw.integer(table, TEXTURES), TEXTURES)
            return torch.cat([amount, sharpness, offset, which, draw.colours(table, self.vivid)], -1)

        alike = self.of_object(draw.chance((self.batch, self.shapes, 1), 0.85))  # objects with one pattern all over
        rows = torch.where(alike, self.of_object(rows_of((self.batch, self.shapes))), rows_of(self.table))
        pattern = self.look_up(rows, self.part)
        field = (pattern[:, 3 : 3 + TEXTURES] * textures).sum(1)
        share = pattern[:, 0] * torch.sigmoid(pattern[:, 1] * (field - pattern[:, 2]))
        return torch.lerp(flat, pattern[:, -3:], share[:, None])

    def lit(self, flat: Float[Tensor, "b 3 r r"]) -> Float[Tensor, "b 3 r r"]:
        """Flat colours under light: each object has a slope and a bulge, many a part a second colour to fade into.

        Skies, water and faces change far more inside than many an edge does: without this a model cuts them up.
        """
        draw, table, painted = self.draw, self.table, self.painted
        huge = painted["shape"] == 0  # the first shape covers the picture: it is lit in pictures, not in its own size
        u = torch.where(huge, 2 * painted["x"] - 1, painted["u"]).clamp(-2, 2)
        v = torch.where(huge, 2 * painted["y"] - 1, painted["v"]).clamp(-2, 2)
        radius = torch.where(huge, (u * u + v * v).sqrt(), painted["radius"]).clamp(max=1.5)
        objects = (self.batch, self.shapes)
        slope = self.of_object(draw.normal((*objects, 2)) * 0.15)
        bulge = self.of_object(draw.uniform((*objects, 1), -0.1, 0.35))
        angle = draw.uniform((*table, 1), 0, 2 * math.pi)
        steepness, offset = draw.log_uniform((*table, 1), 0.7, 3), draw.uniform((*table, 1), -0.6, 0.6)
        amount = draw.uniform((*table, 1), 0, 0.7) * draw.chance((*table, 1), 0.2)
        rows = torch.cat([slope, bulge, angle.cos(), angle.sin(), steepness, offset, amount], -1)
        light = self.look_up(rows, self.part)
        along = light[:, 3] * u + light[:, 4] * v + 0.2 * painted["bend"]
        fade = light[:, 7] * torch.sigmoid(2 * light[:, 5] * (along - light[:, 6]))
        second = self.look_up(draw.colours(table, self.vivid), self.part)
        shading = 1 + light[:, 0] * u + light[:, 1] * v - light[:, 2] * radius**2
        clouds = draw.uniform((self.batch, 1, 1), 0, 0.15) * draw.smooth_noise((self.batch, 1), self.side)[:, 0]
        return torch.lerp(flat, second, fade[:, None]) * (shading * (1 + clouds))[:, None]
