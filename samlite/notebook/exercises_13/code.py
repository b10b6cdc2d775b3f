"""Two pieces of the release, written by the reader: the Fourier code of a place, and attention within windows."""

from __future__ import annotations

import math
from functools import cache, partial

import skimage.data
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.swaps import with_windows
from samlite.predictor import SamPredictor
from samlite.registry import sam_model_registry
from samlite.released.image_encoder import RelativeAttention, WindowBlock
from samlite.released.parity import recorded
from samlite.released.prompt_encoder import FourierEncoding


def _fourier(
    points: Tensor, directions: Tensor, size: int, *, half: float = 0.5, centred: bool = True,
    turn: float = 2 * math.pi, flipped: bool = False, cosine_first: bool = False, mixed: bool = False,
) -> Tensor:  # fmt: skip
    """The code of places step by step, with switches for what easily goes wrong."""
    places = (points.flip(-1) if flipped else points) + half
    places = places / size
    angles = turn * ((2 * places - 1 if centred else places) @ directions)
    waves = [angles.sin(), angles.cos()]
    if mixed:
        return torch.stack(waves, dim=-1).flatten(-2)
    return torch.cat(waves[::-1] if cosine_first else waves, dim=-1)


def _fourier_in_samlite(points: Tensor, directions: Tensor, size: int) -> Tensor:
    encoding = FourierEncoding(2 * directions.shape[1], grid_size=1)
    encoding.directions = directions
    return encoding((points + 0.5) / size)


def _directions(channels: int) -> Tensor:
    return torch.randn(2, channels // 2, generator=torch.Generator().manual_seed(channels))


def _places(size: int, count: int) -> Tensor:
    return torch.rand(2, count, 2, generator=torch.Generator().manual_seed(count)) * size


write_fourier_code = Exercise(
    name="write_fourier_code",
    title="The code of a place",
    difficulty=3,
    minutes=15,
    question="""
Write the release's code of a place. You get `points` `(B, N, 2)` in pixels of the input frame, the fixed random
`directions` `(2, C/2)` and the side of the input frame, `size`. Go to the centre of the pixel, to 0…1, and to −1…1;
project on the directions; turn the result into angles, a whole turn for each unit; return the sines and then the
cosines, `(B, N, C)`.
""",
    code="""
def my_code(points, directions, size):
    # <answer: code = ...>
    places = (points + 0.5) / size  # the centre of the pixel, in 0…1
    angles = 2 * math.pi * ((2 * places - 1) @ directions)  # (B, N, C/2)
    code = torch.cat([angles.sin(), angles.cos()], dim=-1)
    # </answer>
    return code


write_fourier_code.check(my_code)
""",
    expected=_fourier_in_samlite,
    stages=[
        Stage("three places, four channels", lambda: (_places(8, 3), _directions(4), 8)),
        Stage("the full size", lambda: (_places(1024, 5), _directions(256), 1024)),
    ],
    mistakes=[
        Mistake("no half pixel", "A coordinate names the centre of a pixel, which lies half a pixel in.",
                partial(_fourier, half=0.0)),
        Mistake("0…1 in place of −1…1", "The release stretches the places to −1…1 before it projects them.",
                partial(_fourier, centred=False)),
        Mistake("half a turn", "A unit along a direction is a whole turn: 2π.", partial(_fourier, turn=math.pi)),
        Mistake("no turn at all", "The projections are in turns; sine and cosine want radians.",
                partial(_fourier, turn=1.0)),
        Mistake("x and y swapped", "The first row of the directions belongs to x.", partial(_fourier, flipped=True)),
        Mistake("cosines first", "The sines come first. A checkpoint knows only that order.",
                partial(_fourier, cosine_first=True)),
        Mistake("sines and cosines interleaved", "First all sines, then all cosines, not in turn.",
                partial(_fourier, mixed=True)),
    ],
    hints=[
        "`points + 0.5` first; then divide; then `2 * … - 1`.",
        "`@` multiplies the last axis of the places with the two rows of the directions.",
    ],
    explanation="""
Nothing here is learned. The directions are drawn once and stored with the weights, for the decoder learns to read
this code and no other.
""",
)  # fmt: skip


def _windowed(
    tokens: Tensor, attention: RelativeAttention, window: int, *,
    split: str = "b (ny y) (nx x) d -> (b ny nx) (y x) d", pad: tuple[int, int] = (0, 1), cut: bool = False,
    last: bool = False, back: str = "(b ny nx) (y x) d -> b (ny y) (nx x) d",
) -> dict[str, Tensor]:  # fmt: skip
    """Attention within windows step by step, with switches for what easily goes wrong."""
    side = math.isqrt(tokens.shape[1])
    missing = -side % window
    grid = rearrange(tokens, "b (y x) d -> b y x d", y=side)
    if cut:
        grid = grid[:, : side - side % window, : side - side % window]
        count = side // window
    else:
        before, after = (missing * share for share in pad)
        grid = F.pad(grid, (0, 0, before, after, before, after))
        count = grid.shape[1] // window
    strided = "(y ny)" in split
    sizes = {"ny": count, "nx": count} if strided else {"y": window, "x": window}
    windows = rearrange(grid, split, **sizes)
    grid = rearrange(attention(windows), back, ny=count, nx=count, y=window, x=window)
    if cut:
        grid = F.pad(grid, (0, 0, 0, side - grid.shape[2], 0, side - grid.shape[1]))
    grid = grid[:, -side:, -side:] if last else grid[:, :side, :side]
    return {"windows": windows, "output": rearrange(grid, "b y x d -> b (y x) d")}


def _windowed_in_samlite(tokens: Tensor, attention: RelativeAttention, window: int) -> dict[str, Tensor]:
    block = WindowBlock(tokens.shape[-1], attention.heads, window)
    block.attention = attention
    with recorded() as seen:
        output = block.attend(tokens)
    return {"windows": seen["windows"][0], "output": output}


@cache
def _small_attention(window: int) -> RelativeAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layer = RelativeAttention(width=8, heads=2, side=window)
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.5)
    return layer.eval()


def _small_tokens(side: int, images: int) -> Tensor:
    return torch.randn(images, side * side, 8, generator=torch.Generator().manual_seed(side))


@cache
def _first_block_of_tiny() -> tuple[Tensor, RelativeAttention, int]:
    """The trained attention of tiny's first block in windows that do not fit its grid, and what it gets of a photo."""
    sam = sam_model_registry["tiny"]()
    window = next(size for size in range(3, 99) if sam.image_encoder.grid_size % size)
    with torch.no_grad(), recorded() as seen:
        SamPredictor(sam).set_image(skimage.data.coffee())
    block = with_windows(sam, window).image_encoder.blocks[0]
    return block.attention_norm(seen["positioned_patches"][0]).detach(), block.attention, window


write_window_attention = Exercise(
    name="write_window_attention",
    title="Attention within windows",
    difficulty=4,
    minutes=30,
    question="""
Write the attention of a windowed block. You get the normalised `tokens` `(B, L, D)` of a square grid, row by row; the
layer `attention`, which maps `(n, window², D)` to the same shape; and `window`, the side of a window. Pad the grid with
zeros at the right and the bottom until whole windows fit; cut it into windows, row by row of windows, image after
image; attend; put the windows back and take the padding away. Return a dict with `"windows"`, before the attention,
`(B·windows, window², D)`, and `"output"` `(B, L, D)`.
""",
    code="""
def my_window_attention(tokens, attention, window):
    # <answer: windows, output = ..., ...>
    side = math.isqrt(tokens.shape[1])
    missing = -side % window
    grid = rearrange(tokens, "b (y x) d -> b y x d", y=side)
    grid = F.pad(grid, (0, 0, 0, missing, 0, missing))  # zeros at the right and the bottom
    count = (side + missing) // window
    windows = rearrange(grid, "b (ny y) (nx x) d -> (b ny nx) (y x) d", y=window, x=window)
    grid = rearrange(
        attention(windows), "(b ny nx) (y x) d -> b (ny y) (nx x) d", ny=count, nx=count, y=window
    )
    output = rearrange(grid[:, :side, :side], "b y x d -> b (y x) d")
    # </answer>
    return {"windows": windows, "output": output}


write_window_attention.check(my_window_attention)
""",
    expected=_windowed_in_samlite,
    stages=[
        Stage("a grid of 4, windows of 2", lambda: (_small_tokens(4, 1), _small_attention(2), 2)),
        Stage("two grids of 5, windows of 3: padding", lambda: (_small_tokens(5, 2), _small_attention(3), 3)),
        Stage("the first block of tiny, a real photo", _first_block_of_tiny),
    ],
    mistakes=[
        Mistake("every other patch", "A window is a block of neighbours, not every n-th patch.",
                partial(_windowed, split="b (y ny) (x nx) d -> (b ny nx) (y x) d",
                        back="(b ny nx) (y x) d -> b (y ny) (x nx) d")),
        Mistake("columns before rows inside a window", "Inside a window the patches run row by row, as in the grid. "
                "Relative positions depend on it.",
                partial(_windowed, split="b (ny y) (nx x) d -> (b ny nx) (x y) d",
                        back="(b ny nx) (x y) d -> b (ny y) (nx x) d")),
        Mistake("columns of windows first", "The windows run row by row.",
                partial(_windowed, split="b (ny y) (nx x) d -> (b nx ny) (y x) d",
                        back="(b nx ny) (y x) d -> b (ny y) (nx x) d")),
        Mistake("windows before images", "All windows of the first image come first.",
                partial(_windowed, split="b (ny y) (nx x) d -> (ny nx b) (y x) d",
                        back="(ny nx b) (y x) d -> b (ny y) (nx x) d")),
        Mistake("windows put back transposed", "The windows went out by rows and came back by columns.",
                partial(_windowed, back="(b nx ny) (y x) d -> b (ny y) (nx x) d")),
        Mistake("padding at the left and the top", "The zeros stand at the right and the bottom.",
                partial(_windowed, pad=(1, 0), last=True)),
        Mistake("the rest cut off", "No patch may be lost: pad up to whole windows.", partial(_windowed, cut=True)),
        Mistake("the wrong corner kept", "The padding is at the right and the bottom: keep the first rows and columns.",
                partial(_windowed, last=True)),
    ],
    hints=[
        "`-side % window` is how many rows are missing.",
        "The pattern `b (ny y) (nx x) d -> (b ny nx) (y x) d` cuts the grid, with `y=window, x=window`.",
        "The way back is the same pattern, read from right to left.",
    ],
    explanation="""
Eight of the twelve blocks of vit_b do this. The padding is not masked: the bias of the projection gives it keys and
values, and a copy that masks it gives other numbers than the release.
""",
)  # fmt: skip
