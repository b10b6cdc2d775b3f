"""The released mask decoder: a fifth output token, narrower cross attention and upscaling, one attention more.

    tokens (B, 5 + N + 2M, 256) and image (B, 4096, 256) → two two-way blocks → a last look of the tokens at the image
    → image 2× → (B, 64, 128, 128) → 2× → (B, 32, 256, 256) → dot product with 4 mask vectors → (B, 4, 256, 256)
    IoU token → MLP → (B, 4)

Stages and their order inside a block, the MLPs and the dot product are the document's.
Letters: B prompts, T tokens (5 + N + 2M, with N counting the padding point), C channels (256), K masks (4).

Source: the code of facebookresearch/segment-anything.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.layers import MLP, Attention, LayerNorm2d, record
from samlite.mask_decoder import MaskDecoder, TwoWayBlock


class ReleasedTwoWayBlock(TwoWayBlock):
    """The document's block, with both cross attentions in half the channels: 256 → 128 → 256."""

    def __init__(self, channels: int, heads: int, mlp_width: int) -> None:
        super().__init__(channels, heads, mlp_width)
        self.token_to_image = Attention(channels, heads, channels // 2)
        self.image_to_token = Attention(channels, heads, channels // 2)


class FirstTwoWayBlock(ReleasedTwoWayBlock):
    """The first block: its self-attention sees no positions and replaces the tokens, nothing is added to them.

    The tokens are their own positions here, so adding them would only double them.
    """

    def attend_to_tokens(
        self, tokens: Float[Tensor, "b t c"], token_positions: Float[Tensor, "b t c"]
    ) -> Float[Tensor, "b t c"]:
        return self.self_attention_norm(self.self_attention(tokens, tokens, tokens))


class ReleasedUpscaling(nn.Module):
    """Two learned 2× upsamplings that also thin the channels: 256 → 64 → 32, with a GELU after each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.double_1 = nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2)
        self.norm = LayerNorm2d(channels // 4)
        self.double_2 = nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2)

    def forward(self, image: Float[Tensor, "b c g g"]) -> Float[Tensor, "b thin h w"]:
        twice = record("upscaled_2x", F.gelu(self.norm(self.double_1(image))))  # (B, 64, 128, 128)
        return record("upscaled_4x", F.gelu(self.double_2(twice)))  # (B, 32, 256, 256)


class ReleasedMaskDecoder(MaskDecoder):
    """Output tokens, two two-way blocks, a last token-to-image attention, upscaling, dot products and IoU scores.

    ``forward`` returns all four masks. Mask 0 is the answer for a prompt that leaves no doubt, masks 1 to 3 are the
    three candidates for one that does; ``choose_masks`` gives the one or the others.
    """

    def __init__(self, channels: int = 256, heads: int = 8, mlp_width: int = 2048, masks: int = 4) -> None:
        super().__init__(channels, heads, mlp_width, masks, depth=0)
        self.blocks = nn.ModuleList(
            [FirstTwoWayBlock(channels, heads, mlp_width), ReleasedTwoWayBlock(channels, heads, mlp_width)]
        )
        self.last_token_to_image = Attention(channels, heads, channels // 2)
        self.last_norm = nn.LayerNorm(channels)
        self.upscaling = ReleasedUpscaling(channels)
        self.mask_heads = nn.ModuleList(MLP(channels, channels, channels, channels // 8) for _ in range(masks))

    def forward(
        self,
        image_embedding: Float[Tensor, "#b c g g"],
        image_positions: Float[Tensor, "c g g"],
        sparse_prompt_tokens: Float[Tensor, "b prompts c"],
        dense_prompt: Float[Tensor, "#b c g g"],
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k"]]:
        """→ (mask logits (B, 4, 256, 256), IoU predictions (B, 4)). The IoU token comes first, the prompts last."""
        output_tokens = torch.cat([self.iou_token, self.mask_tokens])  # (5, 256)
        output_tokens = output_tokens.expand(len(sparse_prompt_tokens), -1, -1)  # (B, 5, 256)
        tokens = torch.cat([output_tokens, sparse_prompt_tokens], dim=1)
        tokens = token_positions = record("token_sequence", tokens)  # (B, 5 + N + 2M, 256)

        image_map = record("prompted_image", image_embedding + dense_prompt)  # (B, 256, 64, 64)
        height, width = image_map.shape[-2:]
        image = rearrange(image_map, "b c y x -> b (y x) c").expand(len(tokens), -1, -1)
        image = record("image_tokens", image)  # (B, 4096, 256)
        positions = rearrange(image_positions, "c y x -> (y x) c")
        for block in self.blocks:
            tokens, image = block(tokens, image, token_positions, positions)
        seen = self.last_token_to_image(tokens + token_positions, image + positions, image)
        tokens = record("last_token_to_image_attention", self.last_norm(tokens + seen))  # (B, 5 + N + 2M, 256)
        decoded_image = record("decoded_image", rearrange(image, "b (y x) c -> b c y x", y=height, x=width))

        decoded = record("output_tokens", tokens[:, : output_tokens.shape[1]])  # (B, 5, 256)
        mask_vectors = [head(decoded[:, 1 + k]) for k, head in enumerate(self.mask_heads)]
        mask_vectors = record("mask_vectors", torch.stack(mask_vectors, dim=1))  # (B, 4, 32)
        low_res_logits = record("low_res_logits", self.mask_logits(decoded_image, mask_vectors))  # (B, 4, 256, 256)
        iou_predictions = record("iou_predictions", self.iou_head(decoded[:, 0]))  # (B, 4)
        return low_res_logits, iou_predictions

    @staticmethod
    def choose_masks(
        low_res_logits: Float[Tensor, "b k h w"], iou_predictions: Float[Tensor, "b k"], multimask_output: bool
    ) -> tuple[Float[Tensor, "b chosen h w"], Float[Tensor, "b chosen"]]:
        """All four → masks 1 to 3, or mask 0. The caller decides; the scores do not."""
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return low_res_logits[:, chosen], iou_predictions[:, chosen]
