"""One place of a photo seen by the prompt encoder: the summands of its token, cells with a like code (§1.7.1)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from samlite.notebook.patch_views import PatchViews
from samlite.prompt_encoder import POINT_TYPES
from samlite.sam import Sam

PROJECTED, LEARNED = "projected coordinates", "learned position"
TERMS = ("position code", PROJECTED, LEARNED)  # the first is the sum of the other two


class PromptTokenViews:
    """Any place of a photo as a prompt token.

        views = PromptTokenViews(sam, photo)
        views.summands(x=220, y=130)                    # three vectors of C numbers; their sum is the token
        views.similarity(x=220, y=130)                  # (G, G): how like the code of every cell its code is

    Places are (x, y) in pixels of the original photo. ``kind`` is one of ``POINT_TYPES``, ``term`` one of ``TERMS``.
    Attributes: ``patches`` (the photo as the image encoder sees it), ``predictor`` (it holds the embedding),
    ``grid_size`` G, ``channels`` C.

    Source: document §1.7.1.
    """

    def __init__(self, sam: Sam, photo: Any) -> None:
        self.sam = sam
        self.patches = PatchViews(sam, photo)
        self.predictor = self.patches.predictor
        self.encoder = sam.prompt_encoder
        self.grid_size: int = self.encoder.grid_size
        self.channels: int = self.encoder.channels

    def place(self, x: float | int, y: float | int) -> Float[Tensor, "1 1 2"]:
        """A pixel of the photo → (x, y) in 0…1 of the input frame, as the coordinate encoding takes it.

        Raises ValueError when the pixel is not in the photo.
        """
        self.patches.patch_at(x, y)
        in_input_frame = self.predictor.transform.apply_coords(np.array([[[x, y]]], float), self._photo_size)
        normalised = (torch.from_numpy(in_input_frame).float() + 0.5) / self.encoder.image_size
        return normalised.to(self.sam.device)

    def cell_at(self, x: float | int, y: float | int) -> tuple[int, int]:
        """(row, column) of the cell of the grid that holds a pixel of the photo."""
        column, row = (self.place(x, y)[0, 0] * self.grid_size).floor().long().tolist()
        return row, column

    @torch.no_grad()
    def summands(
        self, x: float | int, y: float | int, kind: str = "foreground point"
    ) -> dict[str, Float[Tensor, " c"]]:
        """The vectors that make up the token of a place, by name: coordinates, learned position, type.

        Raises ValueError when there is no such kind, or no such pixel.
        """
        if kind not in POINT_TYPES:
            raise ValueError(f"kind is {kind!r}: choose one of {', '.join(POINT_TYPES)}")
        coordinates, place = self.encoder.coordinates, self.place(x, y)
        projected = coordinates.projection(place)
        return {
            PROJECTED: projected[0, 0].cpu(),
            LEARNED: (coordinates(place) - projected)[0, 0].cpu(),
            f"type: {kind}": self.encoder.type_embedding.weight[POINT_TYPES.index(kind)].detach().cpu(),
        }

    def token(self, x: float | int, y: float | int, kind: str = "foreground point") -> Float[Tensor, " c"]:
        """The token of a place: the sum of its ``summands``."""
        return torch.stack(list(self.summands(x, y, kind).values())).sum(0)

    def similarity(self, x: float | int, y: float | int, term: str = TERMS[0]) -> Float[Tensor, "g g"]:
        """How alike the code of a place and of every cell's centre are: cosine similarity, −1…1.

        ``term`` chooses the whole position code or one of its two terms. What all cells have in common, their mean,
        is taken away first; otherwise all are alike. The type is no part of it. Raises ValueError for another term.
        """
        if term not in TERMS:
            raise ValueError(f"term is {term!r}: choose one of {', '.join(TERMS)}")
        cells = self._codes_of_cells[term]
        parts = self.summands(x, y)
        code = parts[PROJECTED] + parts[LEARNED] if term == TERMS[0] else parts[term]
        common = cells.mean((0, 1))
        return F.cosine_similarity(cells - common, (code - common).expand_as(cells), dim=-1)

    @cached_property
    def _codes_of_cells(self) -> dict[str, Float[Tensor, "g g c"]]:
        with torch.no_grad():
            both = self.encoder.coordinates.grid().permute(1, 2, 0).cpu()
            table = self.encoder.coordinates.position_table.detach().permute(1, 2, 0).cpu()
        return {TERMS[0]: both, PROJECTED: both - table, LEARNED: table}

    @property
    def _photo_size(self) -> tuple[int, int]:
        return self.predictor.frames.original_size
