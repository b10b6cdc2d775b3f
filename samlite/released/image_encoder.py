"""The released image encoder: windows, relative positions and a convolutional neck.

    (B, 3, 1024, 1024) → patches (B, 4096, 768) → linear → (B, 4096, 768) → + positions
    → 12 blocks, 8 of them within windows of 14×14 → grid (B, 64, 64, 768) → neck → (B, 256, 64, 64)

Patches, their projection and the position table are the document's. Three things differ: most blocks look only inside
a window, every attention knows how far apart two patches are, and two convolutions stand at the end. The sizes are
those of vit_b. Letters as in the document's encoder: B images, L patches (4096), D width (768), C channels (256).

Source: the code of facebookresearch/segment-anything; Li et al., "Exploring Plain Vision Transformer Backbones for
Object Detection" (2022), for windows and neck; Li et al., "MViTv2" (2022), for the decomposed relative positions.
"""

import math
from collections.abc import Collection

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.image_encoder import patchify
from samlite.layers import MLP, LayerNorm2d, record

STRIP_ROWS = 16  # rows of the grid whose queries are scored at once; it bounds the memory and changes no result


def relative_vectors(table: Float[Tensor, "n d"], side: int) -> Float[Tensor, "side side d"]:
    """One vector for every pair (query place, key place) on a line of ``side`` places: the row of their distance.

    A table has 2·side − 1 rows, for the distances −(side − 1) … side − 1. A table for another side is stretched to
    that length by linear interpolation.
    """
    if len(table) != 2 * side - 1:
        stretched = F.interpolate(rearrange(table, "n d -> 1 d n"), size=2 * side - 1, mode="linear")
        table = rearrange(stretched, "1 d n -> n d")
    places = torch.arange(side, device=table.device)
    return table[places[:, None] - places[None, :] + side - 1]


def distance_scores(
    queries: Float[Tensor, "b heads queries d"],
    rows: Float[Tensor, "y key_y d"],
    columns: Float[Tensor, "x key_x d"],
) -> tuple[Float[Tensor, "b heads queries key_y"], Float[Tensor, "b heads queries key_x"]]:
    """What the distances add to the scores of a query: one number for every row of keys, one for every column."""
    on_grid = rearrange(queries, "b heads (y x) d -> b heads y x d", x=len(columns))
    by_row = einsum(on_grid, rows, "b heads y x d, y key_y d -> b heads y x key_y")
    by_column = einsum(on_grid, columns, "b heads y x d, x key_x d -> b heads y x key_x")
    return by_row.flatten(2, 3), by_column.flatten(2, 3)


class RelativeAttention(nn.Module):
    """Self-attention on a square grid of patches whose scores also depend on how far apart two patches are.

    score = q·k / √d + q·(vector of the distance in rows) + q·(vector of the distance in columns), d = D / heads; q
    enters the last two terms without the 1/√d. Row and column vectors are learned, one table each, shared by all heads:
    2·(2·side − 1) vectors do the work of side⁴ numbers.
    """

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide the width of the attention: {width} channels, {heads} heads")
        self.heads = heads
        self.qkv_projection = nn.Linear(width, 3 * width)
        self.relative_rows = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.relative_columns = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.output_projection = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        side = math.isqrt(tokens.shape[1])
        qkv = self.qkv_projection(tokens)
        q, k, v = rearrange(qkv, "b l (three heads d) -> three b heads l d", three=3, heads=self.heads)
        rows = relative_vectors(self.relative_rows, side)
        columns = relative_vectors(self.relative_columns, side)
        contexts = []
        for first in range(0, side, STRIP_ROWS):  # strip by strip: all scores at once would be heads·L² numbers
            strip = q[:, :, first * side : (first + STRIP_ROWS) * side]
            bias = self.position_bias(strip, rows[first : first + STRIP_ROWS], columns)
            contexts.append(F.scaled_dot_product_attention(strip, k, v, attn_mask=bias))
        return self.output_projection(rearrange(torch.cat(contexts, dim=2), "b heads l d -> b l (heads d)"))

    @staticmethod
    def position_bias(
        queries: Float[Tensor, "b heads queries d"],
        rows: Float[Tensor, "y key_y d"],
        columns: Float[Tensor, "x key_x d"],
    ) -> Float[Tensor, "b heads queries keys"]:
        """What the distances add to the scores of these queries, for every key."""
        by_row, by_column = distance_scores(queries, rows, columns)
        return (by_row[..., :, None] + by_column[..., None, :]).flatten(-2)


class GlobalBlock(nn.Module):
    """A pre-norm encoder block in which every patch attends to every patch: the document's, with relative positions."""

    def __init__(self, width: int, heads: int, side: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = RelativeAttention(width, heads, side)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, int(width * mlp_ratio), width, activation=F.gelu)

    def forward(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        tokens = tokens + record("self_attention", self.attend(self.attention_norm(tokens)))  # (B, 4096, 768)
        return tokens + record("feed_forward", self.mlp(self.mlp_norm(tokens)))  # (B, 4096, 768)

    def attend(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return self.attention(tokens)  # (B, 4096, 768)


class WindowBlock(GlobalBlock):
    """An encoder block in which a patch attends only to its window of 14×14 patches.

    14 does not divide 64: the grid is padded with zeros at the right and the bottom to 70×70, which makes 25 windows.
    This happens after the norm, so a padded place has no content, but the projection's bias gives it a query, a key
    and a value. It is not masked and takes its share of every softmax in its window.
    """

    def attend(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        side, window = math.isqrt(tokens.shape[1]), (len(self.attention.relative_rows) + 1) // 2
        missing = -side % window
        grid = rearrange(tokens, "b (y x) d -> b y x d", y=side)  # (B, 64, 64, 768)
        grid = F.pad(grid, (0, 0, 0, missing, 0, missing))  # (B, 70, 70, 768)
        windows = rearrange(grid, "b (ny y) (nx x) d -> (b ny nx) (y x) d", y=window, x=window)
        windows = self.attention(record("windows", windows))  # (25B, 196, 768)
        count = (side + missing) // window
        grid = rearrange(windows, "(b ny nx) (y x) d -> b (ny y) (nx x) d", ny=count, nx=count, y=window)
        return rearrange(grid[:, :side, :side], "b y x d -> b (y x) d")  # (B, 4096, 768)


class Neck(nn.Module):
    """Two convolutions without bias, each with a norm over the channels: D → C, then every place sees its neighbours.

    It stands where the document has one linear layer.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(width, channels, kernel_size=1, bias=False)
        self.norm_1 = LayerNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.norm_2 = LayerNorm2d(channels)

    def forward(self, grid: Float[Tensor, "b d g g"]) -> Float[Tensor, "b c g g"]:
        projected = record("projected_grid", self.norm_1(self.project(grid)))  # (B, 256, 64, 64)
        return self.norm_2(self.mix(projected))  # (B, 256, 64, 64)


class ReleasedImageEncoder(nn.Module):
    """The vision transformer of the released SAM; the defaults are those of vit_b.

    ``window``: side of a window in patches. ``global_blocks``: the blocks, counted from 0, that look at the whole
    grid. Raises ValueError when patches do not tile the image, or a global block is none of the ``depth`` blocks.
    """

    def __init__(
        self,
        image_size: int = 1024,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        window: int = 14,
        global_blocks: Collection[int] = (2, 5, 8, 11),
        channels: int = 256,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if wrong := sorted(set(global_blocks) - set(range(depth))):
            raise ValueError(f"global_blocks has {wrong}: the {depth} blocks are counted from 0 to {depth - 1}")
        if window < 1:
            raise ValueError(f"window is {window}: a window is at least one patch wide")
        self.image_size = image_size
        self.patch_size = patch_size
        self.grid_size = image_size // patch_size
        self.patch_projection = nn.Linear(3 * patch_size**2, width)
        self.position_embedding = nn.Parameter(torch.empty(self.grid_size**2, width))
        self.blocks = nn.ModuleList(
            GlobalBlock(width, heads, self.grid_size, mlp_ratio)
            if index in global_blocks
            else WindowBlock(width, heads, window, mlp_ratio)
            for index in range(depth)
        )
        self.neck = Neck(width, channels)
        nn.init.trunc_normal_(self.position_embedding, std=0.02)

    @property
    def img_size(self) -> int:
        """The released package's name of ``image_size``."""
        return self.image_size

    def forward(self, images: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b c grid grid"]:
        """Normalised images (B, 3, 1024, 1024) → image embedding (B, 256, 64, 64)."""
        patches = record("patches", patchify(images, self.patch_size))  # (B, 4096, 768)
        tokens = record("patch_embedding", self.patch_projection(patches))  # (B, 4096, 768)
        tokens = record("positioned_patches", tokens + self.position_embedding)  # (B, 4096, 768)
        for block in self.blocks:
            tokens = record("encoder_block", block(tokens))  # (B, 4096, 768)
        grid = record("grid", rearrange(tokens, "b (y x) d -> b y x d", x=self.grid_size))  # (B, 64, 64, 768)
        return record("image_embedding", self.neck(rearrange(grid, "b y x d -> b d y x")))  # (B, 256, 64, 64)
