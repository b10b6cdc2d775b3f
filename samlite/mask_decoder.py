"""The mask decoder: tokens and image meet, and three masks with their scores come out (document §1.8).

    tokens (B, N + 2M + 4, 256) and image (B, 4096, 256) → two two-way blocks → image (B, 256, 64, 64)
    → 2× → (B, 256, 128, 128) → 2× → (B, 256, 256, 256) → dot product with 3 mask vectors → (B, 3, 256, 256)
    IoU token → MLP → (B, 3)

Letters: B prompts on their images, T tokens (N + 2M + 4), L image tokens (4096), C channels (256), K masks (3).
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.layers import MLP, Attention, LayerNorm2d, record


class TwoWayBlock(nn.Module):
    """Self-attention → token-to-image attention → MLP → image-to-token attention (document §1.8.2).

    The document gives the four stages and their order. It is silent on norms, residuals and positions; as in the
    paper and the release each stage is added to what came in and normalised afterwards (post-norm), and positions
    are added to queries and keys, never to values: the tokens' own first vectors for the tokens, the grid's code for
    the image. Only the release's first self-attention replaces the tokens, without positions. All attention is C wide.
    """

    def __init__(self, channels: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.self_attention = Attention(channels, heads)
        self.self_attention_norm = nn.LayerNorm(channels)
        self.token_to_image = Attention(channels, heads)
        self.token_to_image_norm = nn.LayerNorm(channels)
        self.mlp = MLP(channels, mlp_width, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.image_to_token = Attention(channels, heads)
        self.image_to_token_norm = nn.LayerNorm(channels)

    def forward(
        self,
        tokens: Float[Tensor, "b t c"],
        image: Float[Tensor, "b l c"],
        token_positions: Float[Tensor, "b t c"],
        image_positions: Float[Tensor, "l c"],
    ) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b l c"]]:
        tokens = record("token_self_attention", self.attend_to_tokens(tokens, token_positions))  # (B, N + 2M + 4, 256)

        located, located_image = tokens + token_positions, image + image_positions
        tokens = self.token_to_image_norm(tokens + self.token_to_image(located, located_image, image))
        record("token_to_image_attention", tokens)  # (B, N + 2M + 4, 256)

        tokens = record("token_mlp", self.mlp_norm(tokens + self.mlp(tokens)))  # (B, N + 2M + 4, 256)

        located = tokens + token_positions
        image = self.image_to_token_norm(image + self.image_to_token(located_image, located, tokens))
        return tokens, record("image_to_token_attention", image)  # (B, 4096, 256)

    def attend_to_tokens(
        self, tokens: Float[Tensor, "b t c"], token_positions: Float[Tensor, "b t c"]
    ) -> Float[Tensor, "b t c"]:
        located = tokens + token_positions
        return self.self_attention_norm(tokens + self.self_attention(located, located, tokens))


class Upscaling(nn.Module):
    """Two learned 2× upsamplings of the image, C channels throughout (document §1.8.3).

    "Convolutional upsampling" is read as the transposed 2×2 convolution with stride 2 of the release: every location
    becomes 2×2 locations by a linear map, nothing overlaps. LayerNorm and GELU stand between the two.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.double_1 = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
        self.norm = LayerNorm2d(channels)
        self.double_2 = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)

    def forward(self, image: Float[Tensor, "b c g g"]) -> Float[Tensor, "b c h w"]:
        twice = record("upscaled_2x", F.gelu(self.norm(self.double_1(image))))  # (B, 256, 128, 128)
        return record("upscaled_4x", self.double_2(twice))  # (B, 256, 256, 256)


class MaskDecoder(nn.Module):
    """Output tokens, two two-way blocks, upscaling, per-mask dot products and IoU scores (document §1.8).

    The document names neither heads nor the width of the MLP inside a block: 8 heads and 2048 with ReLU are those of
    the paper and the release. The release's last token-to-image attention is not in the document, and not here. The
    document says "own MLP" and "small MLP": three layers with ReLU each, as released. IoU predictions are not squashed,
    so they may leave [0, 1].
    """

    def __init__(self, channels: int = 256, heads: int = 8, mlp_width: int = 2048, masks: int = 3, depth: int = 2):
        super().__init__()
        self.mask_tokens = nn.Parameter(torch.randn(masks, channels))
        self.iou_token = nn.Parameter(torch.randn(1, channels))
        self.blocks = nn.ModuleList(TwoWayBlock(channels, heads, mlp_width) for _ in range(depth))
        self.upscaling = Upscaling(channels)
        self.mask_heads = nn.ModuleList(MLP(channels, channels, channels, channels) for _ in range(masks))
        self.iou_head = MLP(channels, channels, channels, masks)

    def forward(
        self,
        image_embedding: Float[Tensor, "#b c g g"],
        image_positions: Float[Tensor, "c g g"],
        sparse_prompt_tokens: Float[Tensor, "b prompts c"],
        dense_prompt: Float[Tensor, "#b c g g"],
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k"]]:
        """→ (mask logits (B, 3, 256, 256), IoU predictions (B, 3)).

        An image embedding or dense prompt with a batch of 1 is shared by all B prompts.
        """
        batch, prompts, _ = sparse_prompt_tokens.shape
        output_tokens = torch.cat([self.mask_tokens, self.iou_token]).expand(batch, -1, -1)  # (B, 4, 256)
        tokens = torch.cat([sparse_prompt_tokens, output_tokens], dim=1)
        tokens = token_positions = record("token_sequence", tokens)  # (B, N + 2M + 4, 256)

        image_map = record("prompted_image", image_embedding + dense_prompt)  # (B, 256, 64, 64)
        height, width = image_map.shape[-2:]
        image = rearrange(image_map, "b c y x -> b (y x) c").expand(batch, -1, -1)
        image = record("image_tokens", image)  # (B, 4096, 256)
        positions = rearrange(image_positions, "c y x -> (y x) c")
        for block in self.blocks:
            tokens, image = block(tokens, image, token_positions, positions)
        decoded_image = record("decoded_image", rearrange(image, "b (y x) c -> b c y x", y=height, x=width))

        decoded = record("output_tokens", tokens[:, prompts:])  # (B, 4, 256): the prompts have done their work
        mask_vectors = [head(decoded[:, k]) for k, head in enumerate(self.mask_heads)]
        mask_vectors = record("mask_vectors", torch.stack(mask_vectors, dim=1))  # (B, 3, 256)
        low_res_logits = record("low_res_logits", self.mask_logits(decoded_image, mask_vectors))  # (B, 3, 256, 256)
        iou_predictions = record("iou_predictions", self.iou_head(decoded[:, -1]))  # (B, 3)
        return low_res_logits, iou_predictions

    def mask_logits(
        self, decoded_image: Float[Tensor, "b c g g"], mask_vectors: Float[Tensor, "b k channels"]
    ) -> Float[Tensor, "b k h w"]:
        """Upscale the image, then one dot product a mask and location (document §1.8.3, §1.8.4)."""
        upscaled = self.upscaling(decoded_image)  # (B, 256, 256, 256)
        return einsum(mask_vectors, upscaled, "b k c, b c h w -> b k h w")  # (B, 3, 256, 256)

    @staticmethod
    def choose_masks(
        low_res_logits: Float[Tensor, "b k h w"], iou_predictions: Float[Tensor, "b k"], multimask_output: bool
    ) -> tuple[Float[Tensor, "b chosen h w"], Float[Tensor, "b chosen"]]:
        """All candidates, or for each prompt the one with the highest IoU prediction.

        The document's decoder has no token for a single answer (the released one has, and overrides this).
        """
        if multimask_output:
            return low_res_logits, iou_predictions
        best = iou_predictions.argmax(dim=1)
        prompt = torch.arange(len(best), device=best.device)
        return low_res_logits[prompt, best][:, None], iou_predictions[prompt, best][:, None]
