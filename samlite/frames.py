"""The frames of coordinates of one photo, and the resizing that leads from one to the next (document §1.5, §1.8.4).

=============  ==================================  ====================================================================
frame          size (height, width)                what lives in it
=============  ==================================  ====================================================================
``original``   H×W, the photo's own                what people point at: clicks, boxes, final masks
``input``      S×S (1024×1024); the photo fills    the tensor that the image encoder reads; the prompt encoder's
               the upper left h×w of it            points and boxes
``grid``       G×G (64×64), one cell per patch     the image embedding
``low_res``    4G×4G (256×256)                     low-res logits, mask prompts
=============  ==================================  ====================================================================

Coordinates are (x, y) and count pixels (or cells) from the upper left one: (0, 0) is the *centre* of that pixel, and
the picture reaches from −0.5 to W − 0.5. Two rules of scaling meet here:

- Pictures, logits and masks are resized so that edges stay edges: pixel centres move by (x + 0.5) · scale − 0.5. That
  is what every bilinear interpolation here does, and the rule between ``input``, ``grid`` and ``low_res``.
- Prompts go from ``original`` to ``input`` by x · scale, without the half pixels: the rule of the released code, kept
  so that the same click means the same place there and here. It is off by 0.5 · |1 − scale| pixels of the input
  frame, less than half a pixel for photos larger than the input frame.

The prompt encoder then adds half a pixel and divides by S, (x + 0.5) / S, so that 0…1 covers the frame.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Num, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


class ResizeLongestSide:
    """Photos, points and boxes from the original frame to the input frame, where the longest side is S.

    The class and its method names are those of the released package, and so are its numbers.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """(height, width) of a photo after its longest side has become ``long_side_length``; halves round up."""
        scale = long_side_length / max(oldh, oldw)
        return int(oldh * scale + 0.5), int(oldw * scale + 0.5)

    def apply_image(self, image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Resize a photo with Pillow's bilinear filter, which widens when it shrinks (antialiasing)."""
        height, width = self.get_preprocess_shape(*image.shape[:2], self.target_length)
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(
        self, coords: Num[np.ndarray, "*any 2"], original_size: tuple[int, int]
    ) -> Float[np.ndarray, "*any 2"]:
        """(x, y) in the original frame → input frame; each axis by new size / old size. Leaves ``coords`` alone."""
        return coords * self._scale(original_size)

    def apply_boxes(
        self, boxes: Num[np.ndarray, "*any 4"], original_size: tuple[int, int]
    ) -> Float[np.ndarray, "*some 4"]:
        """XYXY boxes in the original frame → the input frame. The shape stays; one box, (4,), becomes (1, 4)."""
        shape = boxes.shape if boxes.ndim > 1 else (1, 4)
        return self.apply_coords(boxes.reshape(-1, 2, 2), original_size).reshape(shape)

    def apply_image_torch(self, image: Float[Tensor, "b c height width"]) -> Float[Tensor, "b c h w"]:
        """Resize a batch of float images, antialiased. Close to `apply_image`, not equal: nothing is rounded here."""
        size = self.get_preprocess_shape(*image.shape[-2:], self.target_length)
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(
        self, coords: Num[Tensor, "*any 2"], original_size: tuple[int, int]
    ) -> Float[Tensor, "*any 2"]:
        """`apply_coords` for tensors; the result is float32."""
        return coords.float() * torch.tensor(self._scale(original_size), dtype=torch.float32, device=coords.device)

    def apply_boxes_torch(
        self, boxes: Num[Tensor, "*any 4"], original_size: tuple[int, int]
    ) -> Float[Tensor, "*some 4"]:
        """`apply_boxes` for tensors; the result is float32."""
        shape = boxes.shape if boxes.ndim > 1 else (1, 4)
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(shape)

    def _scale(self, original_size: tuple[int, int]) -> Float[np.ndarray, "2"]:
        old_height, old_width = original_size
        new_height, new_width = self.get_preprocess_shape(old_height, old_width, self.target_length)
        return np.array([new_width / old_width, new_height / old_height])


@dataclass(frozen=True)
class PhotoFrames:
    """The four frames of one photo in one model, and the way of a coordinate from any of them to any other.

    ``original_size``: height and width of the photo; ``image_size``: S; ``grid_size``: G. The sizes of the frames are
    in the module's table.

    Raises ValueError when the photo is so long and thin that its short side covers less than one row of patches.
    """

    NAMES: ClassVar = ("original", "input", "grid", "low_res")

    original_size: tuple[int, int]
    image_size: int
    grid_size: int

    def __post_init__(self) -> None:
        height, width = self.original_size
        if min(self.original_size) < 1:
            raise ValueError(f"image is empty: its height and width are {height}×{width}")
        if min(self.input_size) < self.patch_size:
            limit = self.image_size // self.patch_size
            raise ValueError(
                f"image is {height}×{width} (height×width) and would be {self.input_size[0]}×{self.input_size[1]} in "
                f"the model's input frame, less than one patch of {self.patch_size} pixels: the limit of the aspect "
                f"ratio is about {limit}:1; crop the photo or cut it into pieces"
            )

    @property
    def patch_size(self) -> int:
        """Side of a patch, and so of a grid cell, in pixels of the input frame (16)."""
        return self.image_size // self.grid_size

    @property
    def low_res_size(self) -> int:
        """Side of the low-res masks: four cells per patch (256)."""
        return 4 * self.grid_size

    @property
    def input_size(self) -> tuple[int, int]:
        """(h, w): the part of the S×S input frame that the photo fills; the rest is padding."""
        return ResizeLongestSide.get_preprocess_shape(*self.original_size, self.image_size)

    def move_points(self, points: Num[np.ndarray, "*any 2"], source: str, target: str) -> Float[np.ndarray, "*any 2"]:
        """(x, y) in the frame ``source`` → (x, y) in the frame ``target``, any shape that ends in 2.

        Every way leads through the input frame, and every way back undoes it exactly. Rounded to integers, the
        coordinates in ``grid`` say which patch holds a point, except on the border between two.
        Raises ValueError for a name that is none of ``NAMES``.
        """
        for name in (source, target):
            if name not in self.NAMES:
                raise ValueError(f"there is no frame {name!r}: the frames are {', '.join(self.NAMES)}")
        points = np.asarray(points, dtype=np.float64)
        if source == target:
            return points
        return self._from_input(self._to_input(points, source), target)

    def move_boxes(self, boxes: Num[np.ndarray, "*any 4"], source: str, target: str) -> Float[np.ndarray, "*any 4"]:
        """XYXY boxes from frame to frame: both corners as `move_points` does."""
        boxes = np.asarray(boxes)
        return self.move_points(boxes.reshape(*boxes.shape[:-1], 2, 2), source, target).reshape(boxes.shape)

    def _to_input(self, points: np.ndarray, source: str) -> np.ndarray:
        if source == "original":
            return points * self._prompt_scale
        return (points + 0.5) * self._cell_side(source) - 0.5

    def _from_input(self, points: np.ndarray, target: str) -> np.ndarray:
        if target == "original":
            return points / self._prompt_scale
        return (points + 0.5) / self._cell_side(target) - 0.5

    @property
    def _prompt_scale(self) -> Float[np.ndarray, "2"]:
        return np.array(self.input_size[::-1]) / np.array(self.original_size[::-1])

    def _cell_side(self, frame: str) -> float:
        """Side of a cell of the frame in pixels of the input frame."""
        cells = {"input": self.image_size, "grid": self.grid_size, "low_res": self.low_res_size}[frame]
        return self.image_size / cells
