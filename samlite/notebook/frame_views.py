"""One photo in its four frames: the picture that each frame sees, and one place told in the numbers of all of them.

Needs no model, only sizes; so the frames of the full-size model can be looked at on any laptop (document §1.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from samlite.frames import PhotoFrames, ResizeLongestSide
from samlite.images import read_photo
from samlite.notebook.prompts import Numbers
from samlite.sam import PIXEL_MEAN

FULL_SIZE = {"image_size": 1024, "grid_size": 64}  # the document's
IN_WORDS = {"original": "original", "input": "input", "grid": "grid", "low_res": "low-res"}


class FrameViews:
    """A photo, its frames, and places in them.

        views = FrameViews(photo)                              # in the frames of the document's full size
        views = FrameViews(photo, predictor.frames)            # in those of a model, the photo being set
        views.everywhere("original", (220, 130))["grid"]       # (x, y) of that place in the grid

    A place is (x, y), or a box (x1, y1, x2, y2), in one of ``PhotoFrames.NAMES``.
    Raises ValueError when ``frames`` belongs to a photo of another size.
    """

    def __init__(self, photo: Any, frames: PhotoFrames | None = None) -> None:
        self.photo = read_photo(photo)  # (H, W, 3) uint8
        size = self.photo.shape[:2]
        self.frames = frames or PhotoFrames((size[0], size[1]), **FULL_SIZE)
        if self.frames.original_size != size:
            raise ValueError(f"frames belong to a photo of {self.frames.original_size}, this one is {size}: (H, W)")

    def size(self, frame: str) -> tuple[int, int]:
        """(height, width) of a frame in its own pixels or cells. Raises ValueError when there is no such frame."""
        frames = self.frames
        side = {"input": frames.image_size, "grid": frames.grid_size, "low_res": frames.low_res_size}.get(frame)
        if frame != "original" and side is None:
            raise ValueError(f"there is no frame {frame!r}: the frames are {', '.join(frames.NAMES)}")
        return frames.original_size if side is None else (side, side)

    def photo_size(self, frame: str) -> tuple[float, float]:
        """(height, width) of the part of a frame that the photo fills; the rest is padding."""
        height, width = self.size(frame)
        if frame == "original":
            return float(height), float(width)
        scale = height / self.frames.image_size
        return self.frames.input_size[0] * scale, self.frames.input_size[1] * scale

    @cached_property
    def pictures(self) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
        """What each frame sees: one value for each of its pixels or cells, the padding in the mean colour."""
        size = self.frames.image_size
        padded = np.empty((size, size, 3), dtype=np.uint8)
        padded[:] = np.rint(PIXEL_MEAN)
        resized = ResizeLongestSide(size).apply_image(self.photo)
        padded[: resized.shape[0], : resized.shape[1]] = resized
        pictures = {"original": self.photo, "input": padded}
        for frame in ("grid", "low_res"):
            pictures[frame] = np.asarray(Image.fromarray(padded).resize(self.size(frame), Image.Resampling.BOX))
        return pictures

    def check(self, frame: str, place: Numbers) -> Float[np.ndarray, " numbers"]:
        """A place as an array: (2,) or (4,). Raises ValueError when it is no place of that frame, or no box."""
        height, width = self.size(frame)
        numbers = np.asarray(place, dtype=np.float64)
        if numbers.shape not in ((2,), (4,)):
            raise ValueError(f"a place is a point (x, y) or a box (x1, y1, x2, y2); {numbers.size} numbers were given")
        points = numbers.reshape(-1, 2)
        low, beyond = (0.0, 0.0) if frame == "original" else (-0.5, 0.5)  # of a photo 0…W is allowed, as in predict
        inside = (points >= low) & (points <= np.array([width, height]) - beyond)
        if not inside.all():
            raise ValueError(
                f"{in_brackets(numbers)} is not in the {IN_WORDS[frame]} frame, which is {width} wide and {height} "
                f"high: x is {low:g}…{width - beyond:g}, y is {low:g}…{height - beyond:g}"
            )
        if len(points) == 2 and not (points[0] < points[1]).all():
            raise ValueError(
                f"{in_brackets(numbers)} is no box (x1, y1, x2, y2): x1 < x2 and y1 < y2 is expected; did you pass "
                "x, y, width, height?"
            )
        return numbers

    def everywhere(self, frame: str, place: Numbers) -> dict[str, Float[np.ndarray, " numbers"]]:
        """The same place in the numbers of every frame, and under "normalised" as the prompt encoder reads it, 0…1."""
        numbers = self.check(frame, place).reshape(-1, 2)
        moved = {name: self.frames.move_points(numbers, frame, name) for name in PhotoFrames.NAMES}
        moved["normalised"] = (moved["input"] + 0.5) / self.frames.image_size
        return {name: points.reshape(-1) for name, points in moved.items()}

    def cell(self, frame: str, x: float | int, y: float | int) -> tuple[int, int]:
        """(row, column) of the pixel or cell of a frame that (x, y) lies in; the nearest one for a place outside."""
        height, width = self.size(frame)
        row, column = int(np.floor(y + 0.5)), int(np.floor(x + 0.5))
        return min(max(row, 0), height - 1), min(max(column, 0), width - 1)

    def in_photo(self, place: Numbers) -> bool:
        """Whether all of a point or box of the original frame may be in a prompt: 0…W and 0…H, as in ``predict``."""
        return bool((np.reshape(place, (-1, 2)) >= 0).all()) and not self.in_padding(place)

    def in_padding(self, place: Numbers) -> bool:
        """Whether a point or box of the original frame reaches beyond the photo, to the right or below."""
        height, width = self.frames.original_size
        return bool((np.reshape(place, (-1, 2)) > (width, height)).any())


def short(number: float | int) -> str:
    """At most two digits after the point: 3, 0.5, 61.92."""
    return f"{number:.2f}".rstrip("0").rstrip(".").replace("-0", "0" if round(number, 2) == 0 else "-0")


def in_brackets(numbers: Sequence[float] | np.ndarray) -> str:
    """(3, 0.5)"""
    return f"({', '.join(map(short, numbers))})"


def as_xywh(box: Sequence[float] | np.ndarray) -> tuple[float, float, float, float]:
    """(x1, y1, x2, y2) → (x, y, width, height), as COCO and many annotation tools write boxes."""
    x1, y1, x2, y2 = map(float, box)
    return x1, y1, x2 - x1, y2 - y1
