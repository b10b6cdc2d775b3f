"""One part of the release put into a document SAM: what each difference costs, and what it does to trained weights.

    other = swapped(sam, "windows")        # a copy; the model itself stays as it is

A swap either keeps the trained weights, because the part of the release can hold them, or it brings new random ones.
Only the first kind says something about a trained model; of the second kind only shapes, cost and time mean anything
before somebody trains it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from samlite.image_encoder import TransformerBlock
from samlite.layers import MLP, Attention
from samlite.mask_decoder import TwoWayBlock
from samlite.released.image_encoder import GlobalBlock, Neck, WindowBlock
from samlite.released.mask_decoder import FirstTwoWayBlock, ReleasedTwoWayBlock, ReleasedUpscaling
from samlite.released.prompt_encoder import ReleasedPromptEncoder
from samlite.sam import Sam


@dataclass(frozen=True)
class Swap:
    """One difference: its name and part, why the release has it, who says so, and whether trained weights fit."""

    name: str
    part: str
    why: str
    source: str  # of the reason: a paper, or `OURS` where nobody gives one
    keeps_weights: bool
    change: Callable[[Sam], None]  # in place


def swapped(sam: Sam, name: str) -> Sam:
    """A copy of a document SAM with one part of the release in it. Raises KeyError for a name that is none."""
    other = deepcopy(sam)
    with other.device, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        SWAPS[name].change(other)
    return other.eval()


def global_blocks(depth: int) -> set[int]:
    """The blocks without windows: four, spread evenly to the last, as released; at most every other one."""
    count = max(1, min(4, depth // 2))
    return {-(-depth * part // count) - 1 for part in range(1, count + 1)}


def with_windows(sam: Sam, window: int) -> Sam:
    """A copy whose encoder blocks, all but `global_blocks`, look only inside windows; all weights are kept."""
    other = deepcopy(sam)
    with other.device:
        _windows(other, window)
    return other.eval()


def _released_block(block: TransformerBlock, side: int, window: int | None) -> GlobalBlock:
    """A block of the release that holds a document block's weights; its tables of relative positions are zero."""
    width, attention = block.attention_norm.weight.numel(), block.attention
    ratio = block.mlp.layers[0].out_features / width
    kind, size = (GlobalBlock, side) if window is None else (WindowBlock, window)
    other = kind(width, attention.heads, size, ratio)
    three = [attention.query_projection, attention.key_projection, attention.value_projection]
    with torch.no_grad():
        other.attention.qkv_projection.weight.copy_(torch.cat([linear.weight for linear in three]))
        other.attention.qkv_projection.bias.copy_(torch.cat([linear.bias for linear in three]))
    other.attention.output_projection = attention.output_projection
    other.attention_norm, other.mlp_norm, other.mlp = block.attention_norm, block.mlp_norm, block.mlp
    return other


def _relative_positions(sam: Sam) -> None:
    encoder = sam.image_encoder
    encoder.blocks = nn.ModuleList(_released_block(block, encoder.grid_size, None) for block in encoder.blocks)


def _windows(sam: Sam, window: int | None = None) -> None:
    encoder = sam.image_encoder
    window = window or max(2, round(14 * encoder.grid_size / 64))  # the same share of the grid as in the release
    everywhere = global_blocks(len(encoder.blocks))
    encoder.blocks = nn.ModuleList(
        _released_block(block, encoder.grid_size, None if index in everywhere else window)
        for index, block in enumerate(encoder.blocks)
    )


class _NeckOnRows(nn.Module):
    """The neck where the document's encoder has its linear layer: channels last, in and out."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.neck = Neck(width, channels)

    def forward(self, grid: Float[Tensor, "b g g d"]) -> Float[Tensor, "b g g c"]:
        return rearrange(self.neck(rearrange(grid, "b y x d -> b d y x")), "b c y x -> b y x c")


def _neck(sam: Sam) -> None:
    encoder = sam.image_encoder
    encoder.channel_projection = _NeckOnRows(encoder.channel_projection.in_features, sam.prompt_encoder.channels)
    encoder.norm = nn.Identity()  # the released encoder has none before its neck


def _prompt_encoder(sam: Sam) -> None:
    before = sam.prompt_encoder
    sam.prompt_encoder = ReleasedPromptEncoder(before.image_size, before.grid_size, before.channels)
    sam.prompt_encoder.type_embedding, sam.prompt_encoder.mask_prompt = before.type_embedding, before.mask_prompt


class _FirstBlock(TwoWayBlock):
    """The document's block whose self-attention sees no positions and replaces the tokens, as the release's first."""

    attend_to_tokens = FirstTwoWayBlock.attend_to_tokens


def _first_block(sam: Sam) -> None:
    sam.mask_decoder.blocks[0].__class__ = _FirstBlock


def _narrow_cross_attention(sam: Sam) -> None:
    blocks, channels = sam.mask_decoder.blocks, sam.prompt_encoder.channels
    for block in blocks:
        narrow = ReleasedTwoWayBlock(channels, block.self_attention.heads, block.mlp.layers[0].out_features)
        block.token_to_image, block.image_to_token = narrow.token_to_image, narrow.image_to_token


class _LastLook(nn.Module):
    """A two-way block after which the tokens look at the image once more."""

    def __init__(self, block: TwoWayBlock, channels: int) -> None:
        super().__init__()
        self.block = block
        self.last_token_to_image = Attention(channels, block.self_attention.heads, channels // 2)
        self.last_norm = nn.LayerNorm(channels)

    def forward(
        self,
        tokens: Float[Tensor, "b t c"],
        image: Float[Tensor, "b l c"],
        places: Float[Tensor, "b t c"],
        grid_places: Float[Tensor, "l c"],
    ) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b l c"]]:
        tokens, image = self.block(tokens, image, places, grid_places)
        seen = self.last_token_to_image(tokens + places, image + grid_places, image)
        return self.last_norm(tokens + seen), image


def _last_look(sam: Sam) -> None:
    blocks = sam.mask_decoder.blocks
    blocks[-1] = _LastLook(blocks[-1], sam.prompt_encoder.channels)


def _thin_upscaling(sam: Sam) -> None:
    decoder, channels = sam.mask_decoder, sam.prompt_encoder.channels
    decoder.upscaling = ReleasedUpscaling(channels)
    heads = (MLP(channels, channels, channels, channels // 8) for _ in decoder.mask_heads)
    decoder.mask_heads = nn.ModuleList(heads)


def _fourth_mask(sam: Sam) -> None:
    """A fourth token with a head and a score of its own; the three that there are keep theirs."""
    decoder, channels = sam.mask_decoder, sam.prompt_encoder.channels
    decoder.mask_tokens = nn.Parameter(torch.cat([decoder.mask_tokens.detach(), torch.randn(1, channels)]))
    decoder.mask_heads.append(MLP(channels, channels, channels, channels))
    before = decoder.iou_head.layers[-1]
    decoder.iou_head.layers[-1] = after = nn.Linear(before.in_features, before.out_features + 1)
    with torch.no_grad():
        after.weight[:-1].copy_(before.weight)
        after.bias[:-1].copy_(before.bias)


OURS, PAPER = "our reading", "Segment Anything, appendix A"
SWAPS = {
    swap.name: swap
    for swap in (
        Swap("relative positions", "image encoder", "an attention knows how far apart two patches are, wherever they "
             "lie", "MViTv2", True, _relative_positions),
        Swap("windows", "image encoder", "scores inside a window cost a fraction of scores over the whole grid",
             "ViTDet", True, _windows),
        Swap("neck", "image encoder", "neighbouring places are mixed once more, and the scale is normed", OURS, False,
             _neck),
        Swap("prompt encoder", "prompt encoder", "places that nobody has to learn; a vector for a missing mask", OURS,
             False, _prompt_encoder),
        Swap("first self-attention", "mask decoder", "the tokens are their own positions at the start", OURS, True,
             _first_block),
        Swap("half-width cross attention", "mask decoder", "4096 image tokens are projected: half the width, half the "
             "work", PAPER, False, _narrow_cross_attention),
        Swap("last look", "mask decoder", "the tokens see the image once more after it has changed", OURS, False,
             _last_look),
        Swap("thin upscaling", "mask decoder", "the largest maps of a click in 64 and 32 channels", OURS, False,
             _thin_upscaling),
        Swap("fourth mask", "mask decoder", "a token for the answer to a prompt that leaves no doubt", PAPER, False,
             _fourth_mask),
    )
}  # fmt: skip
