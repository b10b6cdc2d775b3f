"""A prompt as plain data: what was pointed at, the arguments that it becomes, and the Python that says the same.

Coordinates are (x, y) in pixels of the photo, boxes XYXY (document §1.3, §1.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from samlite.predictor import SamPredictor

Numbers = Sequence[Real] | np.ndarray  # (x, y), (x, y, label) or (x0, y0, x1, y1)
Path = Sequence[Numbers] | np.ndarray  # several (x, y)


@dataclass(frozen=True, repr=False)
class Stroke:
    """One stroke of the brush: a path of (x, y) and a radius, in pixels of the photo; ``erase`` takes paint away."""

    path: Path
    radius: Real = 10
    erase: bool = False

    def __repr__(self) -> str:
        return f"Stroke({[tuple(point) for point in self.path]!r}, radius={self.radius!r}{', erase=True' * self.erase})"


def paint(strokes: Sequence[Stroke], height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """Strokes of a brush → the pixels that they cover, a mask (H, W) of the photo's size; later strokes win."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for stroke in strokes:
        ink, radius = 0 if stroke.erase else 1, stroke.radius
        path = [(float(x), float(y)) for x, y in stroke.path]
        draw.line(path, fill=ink, width=round(2 * stroke.radius) + 1)
        for x, y in path:  # round ends and joints, which a line does not have
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    return np.array(canvas)


@dataclass(frozen=True)
class Prompt:
    """What has been asked so far: points (x, y, label), at most one box (XYXY), strokes that paint a mask."""

    points: tuple[tuple[Real, Real, int], ...] = ()
    box: tuple[Real, Real, Real, Real] | None = None
    strokes: tuple[Stroke, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.points or self.box or self.strokes)

    def arguments(self, predictor: SamPredictor) -> dict[str, object]:
        """The keyword arguments of ``predictor.predict``, the photo being set; `code` says the same in words."""
        arguments = self._plain_arguments()
        if self.strokes:
            height, width = predictor.original_size
            arguments["mask_input"] = predictor.mask_to_logits(paint(self.strokes, height, width))
        return arguments

    def code(self, height: int, width: int, chosen: int | None) -> str:
        """Python that gives the same masks with `SamPredictor` alone: needs ``predictor`` and ``photo``."""
        lines = ["predictor.set_image(photo)"]
        if not self:
            return lines[0]
        arguments = [f"{name}={value!r}" for name, value in self._plain_arguments().items()]
        if self.strokes:
            lines += ["from samlite.notebook.prompts import Stroke, paint", "painted = paint(["]
            lines += [f"    {stroke!r}," for stroke in self.strokes]
            lines += [f"], height={height}, width={width})"]
            arguments.append("mask_input=predictor.mask_to_logits(painted)")
        lines += ["masks, iou_predictions, low_res_logits = predictor.predict("]
        lines += [f"    {argument}," for argument in arguments]
        return "\n".join([*lines, ")", f"mask = masks[{chosen}]"])

    def _plain_arguments(self) -> dict[str, object]:
        """All but the mask, which is too large to be written out."""
        arguments: dict[str, object] = {}
        if self.points:
            arguments["point_coords"] = [[x, y] for x, y, _ in self.points]
            arguments["point_labels"] = [label for *_, label in self.points]
        if self.box:
            arguments["box"] = list(self.box)
        return arguments


def as_number(value: object, name: str) -> Real:
    """A finite coordinate as int or float, so that its repr is short; TypeError or ValueError that name it."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of pixels, {value!r} was given")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, {value!r} was given")
    return int(value) if float(value).is_integer() else float(value)


def as_point(point: Numbers) -> tuple[Real, Real, Real]:
    """(x, y) or (x, y, label) → (x, y, label); without a label a point is foreground, 1."""
    if isinstance(point, Real):
        raise TypeError(f"a point is (x, y), {point!r} was given: one point alone goes into a list, [(x, y)]")
    if not 2 <= len(point) <= 3:
        raise ValueError(f"a click is (x, y) or (x, y, label), {tuple(point)!r} has {len(point)} numbers")
    x, y, label = (*point, 1)[:3]
    return as_number(x, "x"), as_number(y, "y"), as_number(label, "label")


def as_box(box: Numbers) -> tuple[Real, Real, Real, Real]:
    """(x0, y0, x1, y1) as plain numbers."""
    if len(box) != 4:
        raise ValueError(f"box is one (x0, y0, x1, y1), {tuple(box)!r} has {len(box)} entries")
    x0, y0, x1, y1 = (as_number(value, name) for value, name in zip(box, ("x0", "y0", "x1", "y1"), strict=True))
    return x0, y0, x1, y1


def as_stroke(path: Path, radius: Real, erase: bool = False) -> Stroke:
    """A path of (x, y), at least one, and a radius above 0, checked."""
    if len(path) == 0:
        raise ValueError("path has no (x, y): a brush stroke needs at least one")
    radius = as_number(radius, "radius")
    if radius <= 0:
        raise ValueError(f"radius must be above 0 pixels, {radius!r} was given")
    return Stroke(tuple(as_point(point)[:2] for point in path), radius, bool(erase))
