"""Attention with relative positions as one kernel, for windows and for the whole grid (needs Triton; NVIDIA, AMD).

It reads queries, keys and values where the projection left them and writes the context where the next projection
reads it: windows are an order of reading, and neither cut nor padded nor put back. As in flash attention a program
holds a tile of queries, walks over the keys, and keeps of all scores so far their maximum and a running sum.

A step of the walk takes whole rows of the window. The columns of its keys are then the same in every step: what they
add to the scores is loaded once, before the first step, and what the row adds is one number a query and step. That is
what the decomposed bias costs here: two additions a score, and no memory.

A head of the ViT-H has 80 channels and a tile must be a power of two wide: channels go in two parts, 64 and 16.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from samlite.released.image_encoder import relative_vectors


@dataclass(frozen=True)
class Setting:
    """How the work is cut: queries of a program, rows of the window in a step of its walk, and two of Triton's own."""

    queries: int = 128
    rows: int = 1
    warps: int = 8
    stages: int = 3


LARGE = 32  # windows of so many columns and more have settings of their own
SETTINGS = {  # large? → what `tune` tries; none of them needs more registers than an H100 has
    True: (Setting(128, 1, 8, 3), Setting(64, 1, 4, 3), Setting(128, 1, 8, 2), Setting(64, 1, 4, 2),
           Setting(128, 2, 8, 2)),
    False: (Setting(64, 4, 4, 2), Setting(64, 2, 4, 2), Setting(128, 4, 8, 2), Setting(64, 4, 4, 1)),
}  # fmt: skip
chosen = {large: settings[0] for large, settings in SETTINGS.items()}  # `tune` writes here


@triton.jit
def _attend(
    qkv, bias, by_row, by_column, context, scale, heads, width, side, window, across,
    HEAD: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, QUERIES: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, GAPS: tl.constexpr, PADDED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    LOG2E: tl.constexpr = 1.4426950408889634
    tile, place = tl.program_id(0), tl.program_id(1)
    head, place = place % heads, place // heads
    image, place = place // (across * across), place % (across * across)
    top, left = place // across * window, place % across * window
    tokens = image.to(tl.int64) * side * side  # places times channels pass 2³¹ from some hundred pictures on

    # Queries: place in the window → place on the grid
    index = tile * QUERIES + tl.arange(0, QUERIES)
    y, x = top + index // window, left + index % window
    real = (index < window * window) & (y < side) & (x < side)
    query = tl.where(real, tokens + y * side + x, tokens)
    first, second = tl.arange(0, FIRST), FIRST + tl.arange(0, SECOND if SECOND else 16)
    at = qkv + query[:, None] * (3 * width) + head * HEAD
    q1 = tl.load(at + first[None, :], mask=real[:, None] & (first < HEAD)[None, :], other=0.0)
    if SECOND:
        q2 = tl.load(at + second[None, :], mask=real[:, None] & (second < HEAD)[None, :], other=0.0)

    # Keys: a step has ROWS rows of the window, each padded to COLUMNS, a power of two
    n = tl.arange(0, ROWS * COLUMNS)
    row_in_step, column = n // COLUMNS, n % COLUMNS
    key_x = left + column
    distances = (query * heads + head) * window  # where a query's numbers for the rows (columns) begin
    added_by_column = (
        tl.load(
            by_column + distances[:, None] + column[None, :], mask=real[:, None] & (column < window)[None, :], other=0.0
        ).to(tl.float32)
        * LOG2E
    )
    if PADDED:  # what a place without content projects to
        of_head = bias + head * HEAD
        empty_k1 = tl.load(of_head + width + first, mask=first < HEAD, other=0.0)
        empty_v1 = tl.load(of_head + 2 * width + first, mask=first < HEAD, other=0.0)
        if SECOND:
            empty_k2 = tl.load(of_head + width + second, mask=second < HEAD, other=0.0)
            empty_v2 = tl.load(of_head + 2 * width + second, mask=second < HEAD, other=0.0)

    largest = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    sum1 = tl.zeros([QUERIES, FIRST], tl.float32)
    if SECOND:
        sum2 = tl.zeros([QUERIES, SECOND], tl.float32)
    for start in range(0, window, ROWS):
        row = start + row_in_step
        key_y = top + row
        exists = (row < window) & (column < window)
        inside = exists & (key_y < side) & (key_x < side)
        key = tl.where(inside, tokens + key_y * side + key_x, tokens)
        keys = qkv + key * (3 * width) + head * HEAD + width
        k1 = tl.load(keys[None, :] + first[:, None], mask=inside[None, :] & (first < HEAD)[:, None], other=0.0)
        if PADDED:
            k1 = tl.where(inside[None, :], k1, empty_k1[:, None])
        scores = tl.dot(q1, k1, input_precision=PRECISION)
        if SECOND:
            k2 = tl.load(keys[None, :] + second[:, None], mask=inside[None, :] & (second < HEAD)[:, None], other=0.0)
            if PADDED:
                k2 = tl.where(inside[None, :], k2, empty_k2[:, None])
            scores = tl.dot(q2, k2, scores, input_precision=PRECISION)

        added = added_by_column
        for r in tl.static_range(ROWS):
            number = tl.load(by_row + distances + start + r, mask=real & (start + r < window), other=0.0)
            if ROWS == 1:
                added += number.to(tl.float32)[:, None] * LOG2E
            else:
                added += tl.where(row_in_step == r, 1.0, 0.0)[None, :] * number.to(tl.float32)[:, None] * LOG2E
        scores = scores * (scale * LOG2E) + added
        if GAPS:
            scores = tl.where(exists[None, :], scores, float("-inf"))

        new = tl.maximum(largest, tl.max(scores, 1))
        weights, shrink = tl.exp2(scores - new[:, None]), tl.exp2(largest - new)
        total = total * shrink + tl.sum(weights, 1)
        largest = new
        weights = weights.to(qkv.dtype.element_ty)
        values = keys + width
        v1 = tl.load(values[:, None] + first[None, :], mask=inside[:, None] & (first < HEAD)[None, :], other=0.0)
        if PADDED:
            v1 = tl.where(inside[:, None], v1, empty_v1[None, :])
        sum1 = tl.dot(weights, v1, sum1 * shrink[:, None], input_precision=PRECISION)
        if SECOND:
            v2 = tl.load(values[:, None] + second[None, :], mask=inside[:, None] & (second < HEAD)[None, :], other=0.0)
            if PADDED:
                v2 = tl.where(inside[:, None], v2, empty_v2[None, :])
            sum2 = tl.dot(weights, v2, sum2 * shrink[:, None], input_precision=PRECISION)

    to = context + query[:, None] * width + head * HEAD
    type = context.dtype.element_ty
    tl.store(to + first[None, :], (sum1 / total[:, None]).to(type), mask=real[:, None] & (first < HEAD)[None, :])
    if SECOND:
        tl.store(to + second[None, :], (sum2 / total[:, None]).to(type), mask=real[:, None] & (second < HEAD)[None, :])


def grid_attention(
    qkv: Float[Tensor, "b l three_d"],
    bias: Float[Tensor, " three_d"],
    relative_rows: Float[Tensor, "n d"],
    relative_columns: Float[Tensor, "m d"],
    heads: int,
    window: int,
) -> Float[Tensor, "b l width"]:
    """Every place of a grid attends to its window: queries, keys and values of (B, G·G) places → context (B, G·G, D).

    ``bias`` of their projection is what padded places have, ``relative_rows`` and ``relative_columns`` are the tables
    of `RelativeAttention`; ``window`` = G is the whole grid. Raises ValueError where Triton cannot run.
    """
    if qkv.device.type == "cpu" and isinstance(_attend, triton.runtime.JITFunction):
        raise ValueError("this kernel runs on a GPU, or interpreted: set TRITON_INTERPRET=1 before Triton is imported")
    side = math.isqrt(qkv.shape[1])
    places = torch.arange(side, device=qkv.device) % window  # of a row or a column within its window
    rows, columns = relative_vectors(relative_rows, window)[places], relative_vectors(relative_columns, window)[places]
    q = rearrange(qkv, "b (y x) (three h d) -> three b y x h d", three=3, h=heads, y=side)[0]
    by_row = einsum(q, rows, "b y x h d, y key_y d -> b y x h key_y").contiguous()
    by_column = einsum(q, columns, "b y x h d, x key_x d -> b y x h key_x").contiguous()
    return torch.ops.samlite.grid_attention(qkv.contiguous(), bias, by_row, by_column, heads, window)


def tune(window: int, seconds: Callable[[], float]) -> dict[Setting, float | None]:
    """Try every setting for windows of this size and keep the fastest; setting → ``seconds()``, None where it fails.

    Raises RuntimeError when none works.
    """
    times: dict[Setting, float | None] = {}
    for setting in SETTINGS[window >= LARGE]:
        chosen[window >= LARGE] = setting
        try:
            times[setting] = seconds()
        except Exception:  # more registers or shared memory than this card has
            times[setting] = None
    working = {setting: time for setting, time in times.items() if time is not None}
    if not working:
        raise RuntimeError(f"no setting of the kernel works for windows of {window}")
    chosen[window >= LARGE] = min(working, key=working.__getitem__)
    return times


def _launch(qkv: Tensor, bias: Tensor, by_row: Tensor, by_column: Tensor, heads: int, window: int) -> Tensor:
    batch, places, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    side, head = math.isqrt(places), width // heads
    across = -(-side // window)
    setting, columns = chosen[window >= LARGE], triton.next_power_of_2(window)
    first = max(16, 1 << (head.bit_length() - 1))
    context = torch.empty(batch, places, width, dtype=qkv.dtype, device=qkv.device)
    grid = (-(-(window**2) // setting.queries), batch * across**2 * heads)
    _attend[grid](
        qkv, bias, by_row, by_column, context, head**-0.5, heads, width, side, window, across,
        HEAD=head, FIRST=first, SECOND=max(16, triton.next_power_of_2(head - first)) if head > first else 0,
        QUERIES=setting.queries, ROWS=setting.rows, COLUMNS=columns, GAPS=columns > window or window % setting.rows > 0,
        PADDED=bool(side % window), PRECISION="ieee" if qkv.dtype == torch.float32 else "tf32",
        num_warps=setting.warps, num_stages=setting.stages,
    )  # fmt: skip
    return context


# As an operator of PyTorch's own, so that torch.compile and CUDA graphs take it as they take a product of matrices.
_operator = torch.library.custom_op(
    "samlite::grid_attention", _launch, mutates_args=(),
    schema="(Tensor qkv, Tensor bias, Tensor by_row, Tensor by_column, int heads, int window) -> Tensor",
)  # fmt: skip


@_operator.register_fake
def _shape(qkv: Tensor, bias: Tensor, by_row: Tensor, by_column: Tensor, heads: int, window: int) -> Tensor:
    return qkv.new_empty(qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3)
