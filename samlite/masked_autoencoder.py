"""The masked autoencoder: how the image encoder learns to see before it ever meets a mask (document §1.6).

    (B, 4096, 768) patches → 1024 of them, drawn at random → (B, 1024, 1280) → the encoder's own 32 blocks
    → (B, 1024, 512) → back to their places, one learned mask token in all others → (B, 4096, 512) + positions
    → 8 light blocks → (B, 4096, 768): every patch rebuilt; the loss is taken on the hidden 3072 alone

Letters: B images, L patches (4096), V visible patches (1024), P patch side (16), D encoder width (1280), A width of the
decoder that rebuilds (512). This decoder is not SAM's mask decoder: it is thrown away after the training.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from samlite.image_encoder import ImageEncoder, TransformerBlock, patchify
from samlite.layers import record

HIDDEN_SHARE = 0.75  # document §1.6.2: about three quarters
SMALLEST_VARIANCE = 1e-6  # of a patch: a patch of one colour has none


def random_masking(
    batch: int,
    patches: int,
    hidden_share: float = HIDDEN_SHARE,
    generator: torch.Generator | int | None = None,
    device: torch.device | str | None = None,
) -> tuple[Int[Tensor, "b v"], Int[Tensor, "b hidden"]]:
    """Which patches stay visible and which are hidden, drawn anew for every image (document §1.6.2).

    Returns places in the sequence: visible (B, V) and hidden (B, L − V), each in rising order; every place is in one
    of them, once. At 75 % of 4096 patches V is 1024. ``generator``: a generator, or a seed.
    ``device``: where the places are drawn, and so the generator's own; None is the CPU.
    Raises ValueError when the share leaves no patch visible, or none hidden.
    """
    visible_count = round(patches * (1 - hidden_share))
    if not 0 < visible_count < patches:
        raise ValueError(
            f"hidden_share {hidden_share} of {patches} patches leaves {visible_count} visible: at least one patch must "
            "be visible and one hidden"
        )
    if isinstance(generator, int):
        generator = torch.Generator(device or "cpu").manual_seed(generator)
    shuffle = torch.rand(batch, patches, generator=generator, device=device).argsort(dim=1)  # (B, L)
    visible, hidden = shuffle[:, :visible_count], shuffle[:, visible_count:]
    return visible.sort(dim=1).values, hidden.sort(dim=1).values


def take(tokens: Float[Tensor, "b l d"], places: Int[Tensor, "b v"]) -> Float[Tensor, "b v d"]:
    """The tokens at these places, for every image its own: (B, L, D) → (B, V, D)."""
    return tokens.gather(1, repeat(places, "b v -> b v d", d=tokens.shape[-1]))


def normalise_patches(patches: Float[Tensor, "b l values"]) -> Float[Tensor, "b l values"]:
    """Every patch without its own mean and with its own spread divided out: what is left is its pattern."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + SMALLEST_VARIANCE).sqrt()


def wave_table(grid_size: int, width: int) -> Float[Tensor, "l d"]:
    """Positions that are not learned: (L, D) of sines and cosines of row and column, from fast to slow.

    Source: He et al., "Masked Autoencoders Are Scalable Vision Learners" (2022), appendix A.1.
    """
    quarter = width // 4
    speed = 1.0 / 10000 ** (torch.arange(quarter) / quarter) * 16
    place = (torch.arange(grid_size) + 0.5) / grid_size
    waves = torch.cat([(place[:, None] * speed).sin(), (place[:, None] * speed).cos()], dim=-1)
    y, x = waves[:, None].expand(-1, grid_size, -1), waves[None].expand(grid_size, -1, -1)
    table = rearrange(torch.cat([y, x], -1), "y x d -> (y x) d")
    return nn.functional.pad(table, (0, width - table.shape[1]))


class MaskedAutoencoder(nn.Module):
    """An image encoder, and a light decoder that rebuilds what the encoder was not shown (document §1.6).

    ``image_encoder`` is SAM's own: its patch projection, its positions, its blocks and its last norm are trained here;
    its channel projection is not used. Where the document counts a mask token for each hidden patch, this is one
    learned vector at every hidden place: the position, added next, tells the places apart.
    The decoder's own positions are fixed waves. The default sizes are those of He et al. (2022), §4 and appendix A.1.

    Raises ValueError when ``decoder_heads`` does not divide ``decoder_width``.
    """

    def __init__(
        self, image_encoder: ImageEncoder, decoder_width: int = 512, decoder_depth: int = 8, decoder_heads: int = 16
    ) -> None:
        super().__init__()
        encoder_width = image_encoder.patch_projection.out_features
        self.image_encoder = image_encoder
        self.narrowing = nn.Linear(encoder_width, decoder_width)
        self.mask_token = nn.Parameter(torch.empty(decoder_width))
        self.register_buffer("positions", wave_table(image_encoder.grid_size, decoder_width), persistent=False)
        self.blocks = nn.ModuleList(TransformerBlock(decoder_width, decoder_heads) for _ in range(decoder_depth))
        self.norm = nn.LayerNorm(decoder_width, eps=1e-6)
        self.pixel_projection = nn.Linear(decoder_width, 3 * image_encoder.patch_size**2)
        nn.init.normal_(self.mask_token, std=0.02)

    def encode_visible(
        self, images: Float[Tensor, "b 3 size size"], visible: Int[Tensor, "b v"]
    ) -> Float[Tensor, "b v d"]:
        """The encoder on the visible patches alone (document §1.6.2, §1.6.3): (B, 3, 1024, 1024) → (B, 1024, 1280).

        Hidden patches are not masked out or blackened: they are not there. All work grows with V, not with L.
        """
        encoder = self.image_encoder
        patches = record("patches", patchify(images, encoder.patch_size))  # (B, 4096, 768)
        seen = record("visible_patches", take(patches, visible))  # (B, 1024, 768)
        tokens = record("visible_embedding", encoder.patch_projection(seen))  # (B, 1024, 1280)
        tokens = tokens + encoder.position_embedding[visible]  # the place that each one had in the whole picture
        tokens = record("positioned_visible", tokens)  # (B, 1024, 1280)
        for block in encoder.blocks:
            tokens = record("visible_block", block(tokens))  # (B, 1024, 1280)
        return record("encoded_visible", encoder.norm(tokens))  # (B, 1024, 1280)

    def rebuild(self, encoded: Float[Tensor, "b v d"], visible: Int[Tensor, "b v"]) -> Float[Tensor, "b l values"]:
        """Encoded visible patches and mask tokens → the values of all patches (document §1.6.4): (B, 4096, 768)."""
        narrow = record("narrowed_visible", self.narrowing(encoded))  # (B, 1024, 512)
        tokens = repeat(self.mask_token, "a -> b l a", b=len(narrow), l=len(self.positions))
        places = repeat(visible, "b v -> b v a", a=narrow.shape[-1])
        tokens = record("filled_up", tokens.scatter(1, places, narrow))  # (B, 4096, 512): all in their old places
        tokens = record("positioned_places", tokens + self.positions)  # (B, 4096, 512)
        for block in self.blocks:
            tokens = record("rebuilding_block", block(tokens))  # (B, 4096, 512)
        return record("rebuilt_patches", self.pixel_projection(self.norm(tokens)))  # (B, 4096, 768)

    def forward(
        self, images: Float[Tensor, "b 3 size size"], visible: Int[Tensor, "b v"]
    ) -> Float[Tensor, "b l values"]:
        """Normalised images and the places of the visible patches → all patches, rebuilt (B, 4096, 768)."""
        return self.rebuild(self.encode_visible(images, visible), visible)

    def hidden_error(
        self,
        rebuilt: Float[Tensor, "b l values"],
        images: Float[Tensor, "b 3 size size"],
        hidden: Int[Tensor, "b hidden"],
        normalised: bool = False,
    ) -> Float[Tensor, "b hidden"]:
        """Mean squared error of every hidden patch (document §1.6.4); its mean is the loss. (B, 3072) at full size.

        ``normalised`` False compares pixel values, as the document says; True compares them after each patch's own
        mean and spread are taken out (He et al., 2022, §4), which leaves the pattern and not the colour. Visible
        patches have no part in it: the autoencoder could copy them.
        """
        target = take(patchify(images, self.image_encoder.patch_size), hidden)  # (B, 3072, 768)
        target = normalise_patches(target) if normalised else target
        return record("hidden_error", (take(rebuilt, hidden) - target).square().mean(dim=-1))


def hand_over_encoder(autoencoder: MaskedAutoencoder, sam: nn.Module) -> None:
    """Give SAM the pre-trained encoder; the decoder that rebuilt pixels is left behind (document §1.6.6).

    Copies the weights into ``sam.image_encoder``, all but its channel projection, which pre-training never used.
    Raises ValueError when the two encoders have different sizes.
    """
    mine, yours = autoencoder.image_encoder.state_dict(), sam.image_encoder.state_dict()
    handed = {name: value for name, value in mine.items() if not name.startswith("channel_projection")}
    different = [name for name, value in handed.items() if name not in yours or yours[name].shape != value.shape]
    if not different and len(mine) != len(yours):
        different = ["the number of blocks"]
    if not different and heads_of(autoencoder.image_encoder) != heads_of(sam.image_encoder):
        different = ["the number of heads"]  # the shapes of the weights do not show it
    if different:
        raise ValueError(
            f"the two encoders differ in {different[0]}: build SAM with the image size, patch size, width, depth and "
            "heads that the autoencoder was trained with"
        )
    sam.image_encoder.load_state_dict(handed, strict=False)


def heads_of(image_encoder: ImageEncoder) -> int:
    """How many heads share the attention of the first block."""
    return image_encoder.blocks[0].attention.heads
