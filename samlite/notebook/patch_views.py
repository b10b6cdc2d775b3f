"""One photo seen by the image encoder, patch by patch: values, attention, similarity (document §1.5)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from samlite.notebook.ledger import ShapeLedger, shape_ledger
from samlite.predictor import SamPredictor
from samlite.sam import Sam

STEPS_TO_COMPARE = ("patches", "patch_embedding", "positioned_patches", "encoder_block", "image_embedding")


class PatchViews:
    """Encode a photo once, then look at any of its patches.

        views = PatchViews(sam, photo)
        row, column = views.patch_at(x=220, y=130)
        views.attention(row, column, block=2, head=0)

    Patches have a row and a column of the grid, from 0, counted from the upper left. Attributes: ``ledger`` (the
    steps of the encoding, their tensors kept), ``predictor`` (it holds the embedding), ``grid_size`` G, ``patch_size``
    P, ``blocks`` and ``heads`` (how many). The photo may be anything that ``SamPredictor.set_image`` reads.

    Source: document §1.5.2 (patches), §1.5.4 (attention), §1.5.6 (embedding).
    """

    def __init__(self, sam: Sam, photo: Any) -> None:
        self.sam = sam
        self.predictor = SamPredictor(sam)
        with torch.no_grad(), shape_ledger(sam, keep=("input", *STEPS_TO_COMPARE)) as ledger:
            self.predictor.set_image(photo)
        self.ledger: ShapeLedger = ledger
        self.grid_size: int = sam.image_encoder.grid_size
        self.patch_size: int = sam.image_encoder.patch_size
        self.blocks = len(sam.image_encoder.blocks)
        self.heads: int = sam.image_encoder.blocks[0].attention.heads

    @cached_property
    def input_picture(self) -> UInt8[np.ndarray, "size size 3"]:
        """The input frame as a picture: the resized photo, and the padding in the mean colour."""
        pixels = self.ledger["input"].tensor[0] * self.sam.pixel_std + self.sam.pixel_mean
        return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()

    @property
    def photo_size(self) -> tuple[int, int]:
        """Height and width of the part of the input frame that the photo fills; the rest is padding."""
        return self.predictor.frames.input_size

    @property
    def photo_grid(self) -> tuple[int, int]:
        """Rows and columns of patches that hold at least a part of the photo; the rest is padding."""
        height, width = self.photo_size
        return -(-height // self.patch_size), -(-width // self.patch_size)

    def patch_at(self, x: float | int, y: float | int) -> tuple[int, int]:
        """(row, column) of the patch that holds the pixel (x, y) of the original photo.

        Raises ValueError when the pixel is not in the photo.
        """
        height, width = self.predictor.frames.original_size
        if not (-0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5):
            raise ValueError(f"x={x}, y={y} is no pixel of this photo: x is 0…{width - 1}, y is 0…{height - 1}")
        column, row = self.predictor.frames.move_points(np.array([x, y]), "original", "grid")
        return tuple(int(np.clip(round(place), 0, self.grid_size - 1)) for place in (row, column))

    def index(self, row: int, column: int) -> int:
        """The place of a patch in the sequence: rows one after the other.

        Raises ValueError when the grid has no such patch.
        """
        if not (0 <= row < self.grid_size and 0 <= column < self.grid_size):
            raise ValueError(f"row {row}, column {column} is not on the grid: both are 0…{self.grid_size - 1}")
        return row * self.grid_size + column

    def pixels(self, row: int, column: int) -> UInt8[np.ndarray, "p p 3"]:
        """The patch as a picture, cut out of the input frame."""
        self.index(row, column)
        side = self.patch_size
        return self.input_picture[row * side : (row + 1) * side, column * side : (column + 1) * side]

    def vector(self, row: int, column: int) -> Float[Tensor, " values"]:
        """The patch as the encoder gets it: 3·P·P normalised values, red plane first (document §1.5.2)."""
        return self.ledger["patches"].tensor[0, self.index(row, column)].cpu()

    def attention(self, row: int, column: int, block: int, head: int | None = None) -> Float[Tensor, "g g"]:
        """How a patch spreads its attention over the grid in one block; the values sum to 1 (document §1.5.4).

        ``head``: one head, or None for the mean over all heads. Raises ValueError when there is no such block or head.
        """
        weights = self.attention_of_heads(row, column, block)
        if head is None:
            return weights.mean(0)
        if not 0 <= head < self.heads:
            raise ValueError(f"there is no head {head}: this model has heads 0…{self.heads - 1}")
        return weights[head]

    def attention_of_heads(self, row: int, column: int, block: int) -> Float[Tensor, "heads g g"]:
        """`attention` for every head at once."""
        if not 0 <= block < self.blocks:
            raise ValueError(f"there is no block {block}: this model has blocks 0…{self.blocks - 1}")
        place = self.index(row, column)
        layer = self.sam.image_encoder.blocks[block]
        before = self.ledger.all("encoder_block")[block - 1] if block else self.ledger["positioned_patches"]
        with torch.no_grad():
            normed = layer.attention_norm(before.tensor)
            weights = layer.attention.weights(normed[:, place : place + 1], normed)  # (1, heads, 1, L)
        return weights[0, :, 0].reshape(-1, self.grid_size, self.grid_size).cpu()

    def tokens(self, step: str = "image_embedding", block: int = -1) -> Float[Tensor, "g g d"]:
        """All patches at one of ``STEPS_TO_COMPARE``, laid out on the grid.

        ``block`` chooses among the blocks where ``step`` is "encoder_block". Raises ValueError for another step.
        """
        if step not in STEPS_TO_COMPARE:
            raise ValueError(f"step is {step!r}: choose one of {', '.join(STEPS_TO_COMPARE)}")
        tensor = self.ledger.all(step)[block if step == "encoder_block" else -1].tensor[0].cpu()
        if step == "image_embedding":
            return tensor.permute(1, 2, 0)  # it has its channels in front
        return tensor.reshape(self.grid_size, self.grid_size, -1)

    def similarity(self, row: int, column: int, step: str = "image_embedding", block: int = -1) -> Float[Tensor, "g g"]:
        """How alike a patch and every patch are at a step: cosine similarity, −1…1, 1 with itself.

        What all patches of the photo have in common, their mean, is taken away first; otherwise all are alike.
        ``step`` and ``block`` as for ``tokens``.
        """
        place, tokens = self.index(row, column), self.tokens(step, block)
        rows, columns = self.photo_grid
        centred = (tokens - tokens[:rows, :columns].mean((0, 1))).flatten(0, 1)
        return F.cosine_similarity(centred, centred[place : place + 1], dim=-1).reshape(tokens.shape[:2])
