"""Attention with relative positions in several ways: one function, different cost.

Score of query place (y, x) and key place (y', x'), with the tables R of the rows and C of the columns:

    q·k / √d + q·R[y, y'] + q·C[x, x']

The last two terms take few numbers apart: ``by_row`` (L, side) for every y', ``by_column`` (L, side) for every x'. Put
together for all pairs they are heads·L² numbers an image, one gigabyte in a global block of the full ViT-H. The ways
here differ in how they avoid that.

- ``masked``: put together after all, as a mask. On a GPU in bfloat16 half a gigabyte; the plainest one.
- ``concatenated``: the two terms are dot products, too. by_row · e(y') = by_row[y'], where e(y') is 1 at y' and 0
  elsewhere. So q' = [q, by_row·√d, by_column·√d] and k' = [k, e(y'), e(x')] give q'·k' / √d = the score above, and the
  fastest attention that there is, without any mask, computes it. The price is width: d + 2·side for d.
- ``flex``: PyTorch's FlexAttention writes a kernel that adds the terms to every score. Compiled; for GPUs.

A fourth way, a kernel of our own, is in `samlite.released.triton_attention`.

Letters: L places of a window, d channels of a head; ``n`` in a signature counts windows, or images.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention

from samlite.released.image_encoder import RelativeAttention, distance_scores, relative_vectors

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]  # q, k, v, by_row, by_column → context
Way = Callable[[RelativeAttention, Tensor, int], Tensor]  # parameters, (B, G·G, 3·D), window → (B, G·G, D)
FLEX_WIDTHS = (16, 32, 64, 128, 256)


def masked(
    q: Float[Tensor, "n heads l d"],
    k: Float[Tensor, "n heads l d"],
    v: Float[Tensor, "n heads l d"],
    by_row: Float[Tensor, "n heads l side"],
    by_column: Float[Tensor, "n heads l side"],
) -> Float[Tensor, "n heads l d"]:
    """The terms of all pairs at once, as a mask that is added to the scores."""
    bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(-2)  # (windows, heads, L, L)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def concatenated(
    q: Float[Tensor, "n heads l d"],
    k: Float[Tensor, "n heads l d"],
    v: Float[Tensor, "n heads l d"],
    by_row: Float[Tensor, "n heads l side"],
    by_column: Float[Tensor, "n heads l side"],
) -> Float[Tensor, "n heads l d"]:
    """The terms as further channels of queries and keys; no mask."""
    width = q.shape[-1]
    queries, keys = concatenated_queries(q, by_row, by_column), concatenated_keys(k, by_row.shape[-1])
    values = F.pad(v, (0, keys.shape[-1] - width))  # flash attention wants one width for all three
    return F.scaled_dot_product_attention(queries, keys, values, scale=width**-0.5)[..., :width]


def concatenated_queries(
    q: Float[Tensor, "n heads l d"], by_row: Float[Tensor, "n heads l side"], by_column: Float[Tensor, "n heads l side"]
) -> Float[Tensor, "n heads l wide"]:
    """q' = [q, by_row·√d, by_column·√d]: the attention divides all of it by √d."""
    scale = math.sqrt(q.shape[-1])
    return torch.cat([q, by_row * scale, by_column * scale], dim=-1)


def concatenated_keys(k: Float[Tensor, "n heads l d"], side: int) -> Float[Tensor, "n heads l wide"]:
    """k' = [k, 1 at the key's row, 1 at the key's column]."""
    one = torch.eye(side, dtype=k.dtype, device=k.device)
    row, column = repeat(one, "y key_y -> (y x) key_y", x=side), repeat(one, "x key_x -> (y x) key_x", y=side)
    place = torch.cat([row, column], dim=-1)  # (L, 2·side), the same for every window and head
    return torch.cat([k, place.expand(*k.shape[:2], -1, -1)], dim=-1)


def flex(
    q: Float[Tensor, "n heads l d"],
    k: Float[Tensor, "n heads l d"],
    v: Float[Tensor, "n heads l d"],
    by_row: Float[Tensor, "n heads l side"],
    by_column: Float[Tensor, "n heads l side"],
) -> Float[Tensor, "n heads l d"]:
    """The terms added to each score by a kernel that PyTorch writes."""
    width, side = q.shape[-1], by_row.shape[-1]
    missing = next(wide for wide in FLEX_WIDTHS if wide >= width) - width
    q, k, v = (F.pad(x, (0, missing)) for x in (q, k, v))

    compiled = torch.compiler.is_compiling()  # together with what is around it, or alone
    scale, attend = width**-0.5, flex_attention if compiled else _compiled_flex()
    return attend(
        q, k, v, scale=scale,
        score_mod=lambda score, n, head, query, key: score
        + by_row[n, head, query, key // side] + by_column[n, head, query, key % side],
    )[..., :width]  # fmt: skip


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=False)


def in_windows(attend: Attend) -> Way:
    """A way to attend, for a whole grid: cut into windows, attended within each, put back.

    A padded place of a window has no content: its query, key and value are the projection's bias. They are written
    there, not multiplied. A window as large as the grid is the whole of it, and nothing is padded.
    """

    def way(attention: RelativeAttention, qkv: Float[Tensor, "b l three_d"], window: int) -> Float[Tensor, "b l d"]:
        side = math.isqrt(qkv.shape[1])
        missing = -side % window
        grid = rearrange(qkv, "b (y x) d -> b y x d", y=side)
        if missing:
            grid = pad_with(attention.qkv_projection.bias, grid, missing)
        q, k, v = rearrange(
            grid, "b (ny y) (nx x) (three heads d) -> three (b ny nx) heads (y x) d",
            three=3, heads=attention.heads, y=window, x=window,
        )  # fmt: skip
        rows, columns = (
            relative_vectors(attention.relative_rows, window),
            relative_vectors(attention.relative_columns, window),
        )
        context = attend(q, k, v, *distance_scores(q, rows, columns))
        count = (side + missing) // window
        context = rearrange(
            context, "(b ny nx) heads (y x) d -> b (ny y) (nx x) (heads d)", ny=count, nx=count, y=window
        )
        return rearrange(context[:, :side, :side], "b y x d -> b (y x) d")

    return way


def pad_with(
    value: Float[Tensor, " d"], grid: Float[Tensor, "b y x d"], missing: int
) -> Float[Tensor, "b padded_y padded_x d"]:
    """``missing`` rows and columns more, at the bottom and at the right, each place ``value``."""
    right = value.expand(*grid.shape[:2], missing, -1)
    grid = torch.cat([grid, right], dim=2)
    return torch.cat([grid, value.expand(grid.shape[0], missing, grid.shape[2], -1)], dim=1)


WAYS: dict[str, Way] = {
    "masked": in_windows(masked), "concatenated": in_windows(concatenated), "flex": in_windows(flex)
}  # fmt: skip


def way_of(name: str) -> Way:
    """The way to attend of that name. Raises ValueError when there is none, ImportError for "triton" without Triton."""
    if name in WAYS:
        return WAYS[name]
    if name != "triton":
        raise ValueError(f"no way to attend is called {name!r}: there are {', '.join(WAYS)} and triton")
    from samlite.released.triton_attention import grid_attention

    def kernel(attention: RelativeAttention, qkv: Float[Tensor, "b l three_d"], window: int) -> Float[Tensor, "b l d"]:
        rows, columns = attention.relative_rows, attention.relative_columns
        return grid_attention(qkv, attention.qkv_projection.bias, rows, columns, attention.heads, window)

    return kernel


def attention_operations(window: int, side: int, heads: int, width: int) -> int:
    """Operations of the two products of attention in all windows of a grid; ``width`` is that of one head."""
    return 4 * heads * width * (-(-side // window) * window**2) ** 2
