"""The prompt encoder: what the reader points at becomes tokens and a dense map (document §1.7).

    N points (B, N, 2) + labels → (B, N, 256)        M boxes (B, M, 4) → 2M corners → (B, 2M, 256)
    concatenated → (B, N + 2M, 256)                  mask (B, 1, h, w) → (B, 256, 64, 64)

Every sparse token is the sum of three vectors (§1.7.1): its projected coordinates, a learned positional term, and a
learned type. Letters: B images, N points, M boxes, C channels (256), X texts, E width of a text embedding.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.layers import LayerNorm2d, record

FREQUENCY = 2.0  # waves across the picture, standard deviation: with 1, neighbouring patches have nearly equal codes
POINT_TYPES = ("background point", "foreground point", "first corner", "second corner")


class CoordinateEncoding(nn.Module):
    """Normalised coordinates → (…, C): a linear projection plus a learned table read at that place.

    The document names both terms, "projected coordinates" and "a learnable positional embedding", and leaves their
    form open. Here the first is a linear layer 2 → C, the second a learned grid of vectors, read between its cells by
    bilinear interpolation. The same function gives the positions of the image tokens in the decoder: a click and the
    patch under it then carry the same code, and attention can match them (with separate codes training fails).
    The table starts as smooth random Fourier features (Tancik et al., 2020), so that near places have near codes.

    Raises ValueError when ``channels`` is odd.
    """

    def __init__(self, channels: int, grid_size: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels is {channels}: it must be even, for a code is half sines and half cosines")
        self.grid_size = grid_size
        self.projection = nn.Linear(2, channels)
        frequencies = torch.randn(channels // 2, 2) * FREQUENCY * 2 * torch.pi
        cells = self.cell_centres(grid_size) @ frequencies.T  # (G, G, C/2)
        table = torch.cat([cells.sin(), cells.cos()], dim=-1)
        self.position_table = nn.Parameter(rearrange(table, "y x c -> c y x").contiguous())

    @staticmethod
    def cell_centres(grid_size: int, device: torch.device | str | None = None) -> Float[Tensor, "g g 2"]:
        """(x, y) of the centre of every cell of the grid in [0, 1]²: cell i covers i/G … (i+1)/G."""
        centres = (torch.arange(grid_size, device=device) + 0.5) / grid_size
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return torch.stack([x, y], dim=-1)

    def forward(self, coordinates: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n c"]:
        """(x, y) in [0, 1] → (B, N, C). Places outside the table get the vector of its nearest edge."""
        edge = 1 - 1 / self.grid_size  # the centres of the outermost cells; padding_mode="border" is not everywhere
        places = (2 * coordinates - 1).clamp(-edge, edge)  # grid_sample counts from -1 to 1, x first
        table = self.position_table.expand(len(coordinates), -1, -1, -1)
        sampled = F.grid_sample(table, rearrange(places, "b n xy -> b n 1 xy"), align_corners=False)
        return self.projection(coordinates) + rearrange(sampled, "b c n 1 -> b n c")

    def grid(self) -> Float[Tensor, "c g g"]:
        """The code of every cell centre, (C, 64, 64): the positions of the image tokens in the decoder."""
        centres = self.cell_centres(self.grid_size, self.position_table.device)
        return rearrange(self.projection(centres), "y x c -> c y x") + self.position_table


class MaskPromptEncoder(nn.Module):
    """A mask prompt of logits (B, 1, h, w) → a dense map (B, C, 64, 64) (document §1.3, §1.7.2).

    The document gives the input (a binary map, "typically" of the photo's resolution, §1.3) and the output (§1.7.2),
    not the layers between. The mask is first brought to four cells a patch (256×256 at full size), then halved twice
    by 2×2 convolutions, 1 → 4 → 16 channels, and projected to C by a 1×1 convolution: the layers of the released model.
    """

    def __init__(self, channels: int, grid_size: int, hidden: int = 16) -> None:
        super().__init__()
        self.mask_size = 4 * grid_size
        self.halve_1 = nn.Conv2d(1, hidden // 4, kernel_size=2, stride=2)
        self.norm_1 = LayerNorm2d(hidden // 4)
        self.halve_2 = nn.Conv2d(hidden // 4, hidden, kernel_size=2, stride=2)
        self.norm_2 = LayerNorm2d(hidden)
        self.project = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c g g"]:
        if mask.shape[-2:] != (self.mask_size, self.mask_size):
            mask = F.interpolate(mask, (self.mask_size, self.mask_size), mode="bilinear", antialias=True)
        mask = record("mask_prompt", mask)  # (B, 1, 256, 256)
        halved = record("mask_halved", F.gelu(self.norm_1(self.halve_1(mask))))  # (B, 4, 128, 128)
        quartered = record("mask_quartered", F.gelu(self.norm_2(self.halve_2(halved))))  # (B, 16, 64, 64)
        return self.project(quartered)  # (B, 256, 64, 64)


class PromptEncoder(nn.Module):
    """Points, boxes, masks and text embeddings → sparse tokens (B, N + 2M + X, C) and a dense map (B, C, 64, 64).

    Coordinates are (x, y) in pixels of the padded input frame (1024×1024), boxes (x1, y1, x2, y2) in the same frame;
    a pixel's centre lies half a pixel in, so they are normalised as (xy + 0.5) / 1024. Labels are 1 (foreground) and
    0 (background). The document lists three types in §1.7.1 (point, first corner, second corner) and the two labels
    of a point in §1.3: together four learned type vectors, as in the released model.

    A text embedding (any number X of vectors, width ``text_width``) is projected to one token each (§1.3). A model
    built with ``text_width=None`` has no such projection and refuses text. So does one whose projection was never
    trained: ``trained_on_text``, the name of the text model whose embeddings it was trained on, is None then. (In
    training mode, and on the meta device, where there is nothing to be misled by, it takes text all the same.)
    No mask adds nothing to the image.
    """

    accepted_labels = (0, 1)  # of points, for those who check prompts before they get here
    trained_on_text: str | None = None

    def __init__(
        self, image_size: int = 1024, grid_size: int = 64, channels: int = 256, text_width: int | None = None
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.grid_size = grid_size
        self.channels = channels
        self.coordinates = CoordinateEncoding(channels, grid_size)
        self.type_embedding = nn.Embedding(len(POINT_TYPES), channels)
        self.mask_prompt = MaskPromptEncoder(channels, grid_size)
        self.text_projection = nn.Linear(text_width, channels) if text_width else None

    def encode_points(self, points: Float[Tensor, "b n 2"], labels: Int[Tensor, "b n"]) -> Float[Tensor, "b n c"]:
        """Points with labels 1 (foreground) or 0 (background) → one token each (document §1.7.1)."""
        normalised = (points + 0.5) / self.image_size
        return record("point_tokens", self.coordinates(normalised) + self.type_embedding(labels))  # (B, N, 256)

    def encode_boxes(self, boxes: Float[Tensor, "b m 4"]) -> Float[Tensor, "b corners c"]:
        """Boxes (x1, y1, x2, y2) → two corner tokens each, in the order box by box (document §1.7.1)."""
        corners = rearrange(boxes, "b m (corner xy) -> b (m corner) xy", xy=2)
        corner_type = torch.arange(corners.shape[1], device=boxes.device) % 2 + 2  # 2, 3, 2, 3, …
        normalised = (corners + 0.5) / self.image_size
        return record("box_tokens", self.coordinates(normalised) + self.type_embedding(corner_type))  # (B, 2M, 256)

    def encode_text(self, text: Float[Tensor, "b x e"]) -> Float[Tensor, "b x c"]:
        """Text embeddings from another model → one token each (document §1.3)."""
        if self.text_projection is None:
            raise ValueError(
                "text was given, but this model has no trained text projection: use points, boxes or a mask, "
                "or a model that was built with text_width and trained with text, such as "
                'sam_model_registry["tiny_text"]'
            )
        if text.shape[-1] != self.text_projection.in_features:
            raise ValueError(
                f"text embeddings of width {text.shape[-1]} were given; this model was built for "
                f"text_width={self.text_projection.in_features}"
            )
        if not (self.training or self.trained_on_text or self.text_projection.weight.is_meta):
            raise ValueError(
                "text was given, but this model's text projection was never trained, and its token would be noise: use "
                'points, boxes or a mask, or sam_model_registry["tiny_text"], or train it '
                "(samlite.learning.text.prompting.TextTrainer; save_weights then writes down that it was)"
            )
        return record("text_tokens", self.text_projection(text))  # (B, X, 256)

    def forward(
        self,
        points: Float[Tensor, "b n 2"] | None = None,
        labels: Int[Tensor, "b n"] | None = None,
        boxes: Float[Tensor, "b m 4"] | None = None,
        mask: Float[Tensor, "b 1 mask_h mask_w"] | None = None,
        text: Float[Tensor, "b x e"] | None = None,
    ) -> tuple[Float[Tensor, "b tokens c"], Float[Tensor, "#b c g g"]]:
        """Any combination of prompts → (sparse tokens, dense map).

        Sparse tokens come in the order points, corners, text; without any there are none: (B, 0, C). The dense map
        is all zeros, with a batch of 1, when no mask is given. Raises ValueError when points and labels do not come
        together, or text meets a model without a text projection.
        """
        if (points is None) != (labels is None):
            missing, given = ("labels", "points") if labels is None else ("points", "labels")
            raise ValueError(f"{given} were given without {missing}: every point needs a label, 1 or 0")
        device = self.type_embedding.weight.device
        batch = next((len(x) for x in (points, boxes, mask, text) if x is not None), 1)
        tokens = [torch.zeros(batch, 0, self.channels, device=device)]
        if points is not None:
            tokens.append(self.encode_points(points, labels))
        if boxes is not None:
            tokens.append(self.encode_boxes(boxes))
        if text is not None:
            tokens.append(self.encode_text(text))
        dense = self.mask_prompt(mask) if mask is not None else self.absent_mask()
        sparse = record("sparse_prompt_tokens", torch.cat(tokens, dim=1))  # (B, N + 2M + X, 256)
        return sparse, record("dense_prompt", dense)  # (B, 256, 64, 64)

    def absent_mask(self) -> Float[Tensor, "1 c g g"]:
        """The dense map when no mask is given: adding it changes nothing."""
        device = self.type_embedding.weight.device
        return torch.zeros(1, self.channels, self.grid_size, self.grid_size, device=device)

    def image_positions(self) -> Float[Tensor, "c g g"]:
        """The position code of every image token in the decoder, (C, 64, 64)."""
        return record("image_positions", self.coordinates.grid())
