"""The image encoder: a photo becomes a 64×64 map of 256 channels (document §1.5).

    (B, 3, 1024, 1024) → 64×64 patches of 16×16 → (B, 4096, 768) → linear → (B, 4096, 1280) → + positions
    → 32 transformer blocks → (B, 4096, 1280) → grid (B, 64, 64, 1280) → linear → (B, 256, 64, 64)

Letters: B images, L patches (4096), P patch side (16), D width (1280), C channels (256).
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.layers import MLP, Attention, record


def patchify(images: Float[Tensor, "b c height width"], patch_size: int) -> Float[Tensor, "b l values"]:
    """Cut images into non-overlapping squares and lay each one out as a vector (document §1.5.2).

    (B, 3, 1024, 1024), 16 → (B, 4096, 768). Patches run row by row from the top left; inside a patch the order is
    channel, row, column, which makes the following linear layer the same function as a strided convolution.
    Raises ValueError when the side of the image is no multiple of ``patch_size``.
    """
    if images.shape[-2] % patch_size or images.shape[-1] % patch_size:
        raise ValueError(f"patches of {patch_size} pixels do not tile an image of {tuple(images.shape[-2:])} pixels")
    return rearrange(images, "b c (y p) (x q) -> b (y x) (c p q)", p=patch_size, q=patch_size)


def unpatchify(
    patches: Float[Tensor, "b l values"], patch_size: int, grid_width: int
) -> Float[Tensor, "b c height width"]:
    """The inverse of ``patchify``: (B, 4096, 768) → (B, 3, 1024, 1024)."""
    return rearrange(patches, "b (y x) (c p q) -> b c (y p) (x q)", p=patch_size, q=patch_size, x=grid_width)


class TransformerBlock(nn.Module):
    """One pre-norm encoder block: global self-attention, then an MLP, each added to what came in (document §1.5.4).

    The document names only "transformer encoder layers". Pre-norm, GELU and four times the width inside the MLP are
    the choice of the ViT and of the released SAM; every patch attends to every patch, as the document says.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, int(width * mlp_ratio), width, activation=F.gelu)

    def forward(self, tokens: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        normed = self.attention_norm(tokens)
        tokens = tokens + record("self_attention", self.attention(normed, normed, normed))
        return tokens + record("feed_forward", self.mlp(self.mlp_norm(tokens)))


class ImageEncoder(nn.Module):
    """A plain vision transformer with a linear projection at its end (document §1.5).

    The document says "multiple" layers and names no heads; 1280 channels are those of ViT-H, which has 32 blocks with
    16 heads. Biases everywhere and norms with eps 1e-6 are the release's. The document is silent on the last LayerNorm;
    a stack of pre-norm blocks needs one, so it is here, before the projection. The projection has a bias. Positions are
    learned, one vector a patch, added once.

    Raises ValueError when the sides do not fit: ``image_size`` must be a multiple of ``patch_size``.
    """

    def __init__(
        self,
        image_size: int = 1024,
        patch_size: int = 16,
        width: int = 1280,
        depth: int = 32,
        heads: int = 16,
        channels: int = 256,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        self.image_size = image_size
        self.patch_size = patch_size
        self.grid_size = image_size // patch_size
        self.patch_projection = nn.Linear(3 * patch_size**2, width)
        self.position_embedding = nn.Parameter(torch.empty(self.grid_size**2, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.channel_projection = nn.Linear(width, channels)
        nn.init.trunc_normal_(self.position_embedding, std=0.02)

    @property
    def img_size(self) -> int:
        """The released package's name of ``image_size``."""
        return self.image_size

    def forward(self, images: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b c grid grid"]:
        """Normalised images (B, 3, 1024, 1024) → image embedding (B, 256, 64, 64)."""
        patches = record("patches", patchify(images, self.patch_size))  # (B, 4096, 768)
        tokens = record("patch_embedding", self.patch_projection(patches))  # (B, 4096, 1280)
        tokens = record("positioned_patches", tokens + self.position_embedding)  # (B, 4096, 1280)
        for block in self.blocks:
            tokens = record("encoder_block", block(tokens))  # (B, 4096, 1280)
        tokens = record("encoded_patches", self.norm(tokens))  # (B, 4096, 1280)
        grid = record("grid", rearrange(tokens, "b (y x) d -> b y x d", x=self.grid_size))  # (B, 64, 64, 1280)
        projected = self.channel_projection(grid)  # (B, 64, 64, 256)
        return record("image_embedding", rearrange(projected, "b y x c -> b c y x"))  # (B, 256, 64, 64)
