"""The released image encoder on a CPU: the same numbers as `ReleasedImageEncoder` in less time and memory.

What costs the plain encoder its time beside the multiplications themselves, and what is done about it here:

- the scores of a global block are 12 × 4096 × 4096 numbers, the bias of the distances as many again. They are made
  in tiles, one head and 8 rows of the grid at a time: the bias is written into the tile, the products of queries and
  keys are added to it, the softmax replaces it, and the next tile uses the same memory;
- large tensors that are freed and allocated anew cost a page fault for every 4096 bytes. All large ones are made
  once an image and used by every block; norms and MLPs run in strips of tokens, so that the rest stays small;
- a padded place of a window has no content, so its query, key and value are the projection's bias. They are copied
  there and not multiplied: 4096 tokens are, and not 4900.

Only where nothing is differentiated and nobody listens: otherwise the plain encoder runs.
"""

import math
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from samlite import layers
from samlite.image_encoder import patchify
from samlite.released.image_encoder import (
    GlobalBlock,
    RelativeAttention,
    ReleasedImageEncoder,
    WindowBlock,
    distance_scores,
    relative_vectors,
)

TILE_ROWS = 8  # rows of the grid whose queries are scored at once
STRIP = 1024  # tokens that are normed, projected and sent through the MLP at once


def fast_is_exact(tensor: Tensor) -> bool:
    """Whether nobody could tell: no gradients, ledger or autocast, no compiler or tracer that looks on."""
    unseen = not (
        torch.is_grad_enabled() or layers._listeners or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling() or torch.jit.is_tracing()
    )  # fmt: skip
    return unseen and tensor.device.type == "cpu"


class Buffers(NamedTuple):
    """What every block of one image writes into."""

    qkv: Float[Tensor, "l three_d"]
    context: Float[Tensor, "l d"]  # what the attention brings, before the output projection
    hidden: Float[Tensor, "strip four_d"]  # of the MLP
    scores: Float[Tensor, " numbers"]

    @classmethod
    def of(cls, tokens: Float[Tensor, "l d"], blocks: list[GlobalBlock]) -> "Buffers":
        count, width = tokens.shape
        scores = TILE_ROWS * math.isqrt(count) * count
        for block in blocks:
            if isinstance(block, WindowBlock):
                scores = max(scores, block.attention.heads * _window(block) ** 4)
        hidden = max(block.mlp.layers[0].out_features for block in blocks)
        return cls(
            tokens.new_empty(count, 3 * width),
            tokens.new_empty(count, width),
            tokens.new_empty(min(STRIP, count), hidden),
            tokens.new_empty(scores),
        )


class FastReleasedImageEncoder(ReleasedImageEncoder):
    """`ReleasedImageEncoder` with the shortcuts of this file; same parameters."""

    def forward(self, images: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b c grid grid"]:
        if not fast_is_exact(images):
            return super().forward(images)
        return torch.cat([self.encode_one(image) for image in images.split(1)])

    def encode_one(self, image: Float[Tensor, "1 3 size size"]) -> Float[Tensor, "1 c grid grid"]:
        """One image at a time: the memory does not grow with their number."""
        tokens = self.patch_projection(patchify(image, self.patch_size)[0]).add_(self.position_embedding)  # (4096, 768)
        buffers = Buffers.of(tokens, list(self.blocks)) if len(self.blocks) else None
        for block in self.blocks:
            run_block(block, tokens, buffers)
        return self.neck(rearrange(tokens, "(y x) d -> 1 d y x", x=self.grid_size))


def run_block(block: GlobalBlock, tokens: Float[Tensor, "l d"], buffers: Buffers) -> None:
    """``block(tokens)``, written over ``tokens``."""
    attention, strips = block.attention, range(0, len(tokens), STRIP)
    for first in strips:
        normed = block.attention_norm(tokens[first : first + STRIP])
        _linear(attention.qkv_projection, normed, buffers.qkv[first : first + STRIP])
    attend = attend_in_windows if isinstance(block, WindowBlock) else attend_in_tiles
    attend(block, buffers)
    first_layer, last_layer = block.mlp.layers
    for first in strips:
        strip = tokens[first : first + STRIP]
        _add_linear(attention.output_projection, buffers.context[first : first + STRIP], strip)
        hidden = buffers.hidden[: len(strip), : first_layer.out_features]
        _linear(first_layer, block.mlp_norm(strip), hidden)
        _add_linear(last_layer, torch.ops.aten.gelu_(hidden), strip)


def attend_in_tiles(block: GlobalBlock, buffers: Buffers) -> None:
    """Every patch attends to every patch: ``buffers.qkv`` → ``buffers.context``."""
    attention = block.attention
    side = math.isqrt(len(buffers.qkv))
    q, k, v = rearrange(buffers.qkv, "l (three heads d) -> three heads l d", three=3, heads=attention.heads)
    context = rearrange(buffers.context, "l (heads d) -> heads l d", heads=attention.heads)
    rows, columns = _relative(attention, side)
    for head in range(attention.heads):
        for row in range(0, side, TILE_ROWS):
            tile = slice(row * side, (row + TILE_ROWS) * side)
            weights = attention_weights(
                q[head : head + 1, tile], k[head : head + 1], rows[row : row + TILE_ROWS], columns, buffers.scores
            )
            torch.mm(weights[0], v[head], out=context[head, tile])


def attend_in_windows(block: WindowBlock, buffers: Buffers) -> None:
    """Every patch attends to its window: ``buffers.qkv`` → ``buffers.context``, window by window."""
    attention, window = block.attention, _window(block)
    side = math.isqrt(len(buffers.qkv))
    grid = rearrange(buffers.qkv, "(y x) values -> y x values", y=side)
    context = rearrange(buffers.context, "(y x) d -> y x d", y=side)
    rows, columns = _relative(attention, window)
    padded = grid.new_empty(window, window, grid.shape[-1])
    for y in range(0, side, window):
        for x in range(0, side, window):
            inside = grid[y : y + window, x : x + window]
            height, width = inside.shape[:2]
            padded[:height, :width] = inside
            padded[height:] = padded[:height, width:] = attention.qkv_projection.bias  # what the padding projects to
            q, k, v = rearrange(padded, "y x (three heads d) -> three heads (y x) d", three=3, heads=attention.heads)
            weights = attention_weights(q, k, rows, columns, buffers.scores)
            seen = rearrange(weights @ v, "heads (y x) d -> y x (heads d)", y=window)
            context[y : y + window, x : x + window] = seen[:height, :width]


def attention_weights(
    q: Float[Tensor, "heads queries d"],
    k: Float[Tensor, "heads keys d"],
    rows: Float[Tensor, "y key_y d"],
    columns: Float[Tensor, "x key_x d"],
    buffer: Float[Tensor, " numbers"],
) -> Float[Tensor, "heads queries keys"]:
    """softmax(q·k / √d + bias of the distances), made in ``buffer`` from its first step to its last."""
    by_row, by_column = (scores[0] for scores in distance_scores(q[None], rows, columns))  # (heads, queries, side)
    scores = buffer[: by_row.numel() * by_column.shape[-1]].view(*by_row.shape, by_column.shape[-1])
    torch.add(by_row[..., :, None], by_column[..., None, :], out=scores)
    scores = scores.flatten(-2)
    torch.baddbmm(scores, q, k.transpose(-2, -1), alpha=q.shape[-1] ** -0.5, out=scores)
    return torch.softmax(scores, dim=-1, out=scores)


def _window(block: WindowBlock) -> int:
    return (len(block.attention.relative_rows) + 1) // 2


def _relative(
    attention: RelativeAttention, side: int
) -> tuple[Float[Tensor, "side side d"], Float[Tensor, "side side d"]]:
    return relative_vectors(attention.relative_rows, side), relative_vectors(attention.relative_columns, side)


def _linear(layer: torch.nn.Module, x: Float[Tensor, "l d_in"], out: Float[Tensor, "l d_out"]) -> None:
    if type(layer) is torch.nn.Linear:
        torch.addmm(layer.bias, x, layer.weight.T, out=out)
    else:  # one of `samlite.precision`
        layer.into(x, out)


def _add_linear(layer: torch.nn.Module, x: Float[Tensor, "l d_in"], out: Float[Tensor, "l d_out"]) -> None:
    """out + layer(x), written over ``out``."""
    if type(layer) is torch.nn.Linear:
        out.add_(layer.bias).addmm_(x, layer.weight.T)
    else:
        out.add_(layer(x))
