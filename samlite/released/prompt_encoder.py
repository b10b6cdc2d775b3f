"""The released prompt encoder: fixed random Fourier positions, a padding point, and a vector for "no mask".

    N points without a box → N + 1 tokens: the last one is a padding point, "no point here"
    no mask → one learned vector at every place, (1, 256, 64, 64)

The order of the tokens, the four type vectors and the layers for a mask prompt are the document's.
Letters as there: B images, N points, M boxes, C channels (256).

Source: the code of facebookresearch/segment-anything; Tancik et al., "Fourier Features Let Networks Learn High
Frequency Functions in Low Dimensional Domains" (2020).
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from samlite.layers import record
from samlite.prompt_encoder import CoordinateEncoding, MaskPromptEncoder, PromptEncoder

PADDING_LABEL = -1  # of a point that is none


class FourierEncoding(nn.Module):
    """Normalised coordinates → (…, C): sine and cosine along C/2 random directions that are never trained.

    The directions belong to the weights: a checkpoint with other directions speaks of other places.
    """

    def __init__(self, channels: int, grid_size: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.register_buffer("directions", torch.randn(2, channels // 2))

    def forward(self, coordinates: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n c"]:
        """(x, y) in [0, 1] → (B, N, C)."""
        angles = 2 * torch.pi * ((2 * coordinates - 1) @ self.directions)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self) -> Float[Tensor, "c g g"]:
        """The code of every cell centre, (C, 64, 64): the positions of the image tokens in the decoder."""
        centres = CoordinateEncoding.cell_centres(self.grid_size, self.directions.device)
        return rearrange(self(centres), "y x c -> c y x")


class ReleasedPromptEncoder(PromptEncoder):
    """Points, boxes and a mask → sparse tokens and a dense map, with the vectors of the release.

    Labels are 1 (foreground), 0 (background) and −1 (no point at all: its place does not count). Points that come
    without a box get one such padding point at their end. Any other label leaves the bare code of the place, as
    released. The release has no text: a text prompt raises ValueError.
    """

    accepted_labels = (PADDING_LABEL, 0, 1)

    def __init__(self, image_size: int = 1024, grid_size: int = 64, channels: int = 256, mask_channels: int = 16):
        super().__init__(image_size, grid_size, channels)
        self.coordinates = FourierEncoding(channels, grid_size)
        self.mask_prompt = MaskPromptEncoder(channels, grid_size, mask_channels)
        self.not_a_point = nn.Parameter(torch.randn(1, channels))
        self.no_mask = nn.Parameter(torch.randn(1, channels))

    def encode_points(self, points: Float[Tensor, "b n 2"], labels: Int[Tensor, "b n"]) -> Float[Tensor, "b n c"]:
        """Points with labels 1, 0 or −1 → one token each."""
        codes = self.coordinates((points + 0.5) / self.image_size)
        typed = codes + self.type_embedding(labels.clamp(0, 1).long())
        tokens = torch.where(((labels == 0) | (labels == 1))[..., None], typed, codes)
        tokens = torch.where((labels == PADDING_LABEL)[..., None], self.not_a_point, tokens)
        return record("point_tokens", tokens)  # (B, N, 256)

    def forward(
        self,
        points: Float[Tensor, "b n 2"] | None = None,
        labels: Int[Tensor, "b n"] | None = None,
        boxes: Float[Tensor, "b m 4"] | None = None,
        mask: Float[Tensor, "b 1 mask_h mask_w"] | None = None,
        text: Float[Tensor, "b x e"] | None = None,
    ) -> tuple[Float[Tensor, "b tokens c"], Float[Tensor, "#b c g g"]]:
        """Any combination of prompts → (sparse tokens, dense map), as in the document's encoder."""
        if points is not None and labels is not None and boxes is None:
            points = torch.cat([points, points.new_zeros(len(points), 1, 2)], dim=1)
            labels = torch.cat([labels, labels.new_full((len(labels), 1), PADDING_LABEL)], dim=1)
        return super().forward(points, labels, boxes, mask, text)

    def absent_mask(self) -> Float[Tensor, "1 c g g"]:
        return self.no_mask[:, :, None, None].expand(-1, -1, self.grid_size, self.grid_size)  # (1, 256, 64, 64)
