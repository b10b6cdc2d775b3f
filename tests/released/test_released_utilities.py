"""The pieces of the released architecture alone: relative positions, windows, Fourier codes; against the official."""

import numpy as np
import pytest
import torch
from einops import rearrange
from reference import build, difference, golden, recorded
from torch.nn import functional as F

from samlite.released.image_encoder import RelativeAttention, WindowBlock, relative_vectors
from samlite.released.prompt_encoder import FourierEncoding

ENCODER = 5e-6  # absolute


@pytest.mark.parametrize("key", sorted(golden("window_variants")))
def test_windows_of_any_size(key):
    """No padding, padding, a window as large as the grid, a window larger than the grid."""
    size, window = (int(part[3:]) for part in key.partition(".")[0].split("_"))
    sam = build("std" if size == 128 else "std256", window=window)
    image = np.random.RandomState(100 + size + window).standard_normal((1, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        embedding = sam.encode_image(torch.from_numpy(image))
    assert difference(embedding[:, ::4], golden("window_variants")[key]) < ENCODER


@pytest.fixture(scope="module")
def utilities():
    return golden("encoder_utilities")


@pytest.mark.parametrize("name, side", [("q5k5", 5), ("q7k7_interpolated", 7)])
def test_relative_position_vectors(utilities, name, side):
    """The official function also knows grids of two different sizes, which no released model has."""
    assert difference(relative_vectors(utilities["relpos.table"], side), utilities[f"relpos.{name}"]) < 1e-6


def test_what_relative_positions_add_to_the_scores(utilities):
    rows, columns = (relative_vectors(utilities[f"relpos.add_rel_{axis}"], n) for axis, n in (("h", 3), ("w", 4)))
    bias = RelativeAttention.position_bias(utilities["relpos.add_q"][:, None], rows, columns)
    assert difference(bias[:, 0], utilities["relpos.add_out"]) < 1e-5


def test_windows_of_a_grid(utilities):
    """Of 7×9 places. Ours are square, so two rows of zeros are added, which the padding to whole windows adds too."""
    grid, expected = utilities["window.in"], utilities["window.out4"]
    block = WindowBlock(width=3, heads=1, side=4)
    with torch.no_grad(), recorded() as seen:
        block.attend(rearrange(F.pad(grid, (0, 0, 0, 0, 0, 2)), "b y x d -> b (y x) d"))
    windows = rearrange(seen["windows"][0], "(b n) (y x) d -> b n y x d", b=2, y=4)
    assert torch.equal(windows[:, :6], rearrange(expected, "(b n) y x d -> b n y x d", b=2))
    assert not windows[:, 6:].any()


def test_fourier_codes(utilities):
    encoding = FourierEncoding(16, grid_size=5)
    encoding.directions = utilities["pe.matrix"]
    points = utilities["pe.coords_in"] / torch.tensor([64, 32])
    assert difference(encoding(points), utilities["pe.coords_out_image_hw_32x64"]) < 1e-5
    y, x = torch.meshgrid((torch.arange(5) + 0.5) / 5, (torch.arange(7) + 0.5) / 7, indexing="ij")
    codes = rearrange(encoding(torch.stack([x, y], dim=-1)), "y x c -> c y x")
    assert difference(codes, utilities["pe.grid_5x7"]) < 1e-5


def test_relative_positions_stretch_a_table_by_interpolation():
    table = torch.randn(9, 6)
    assert torch.equal(relative_vectors(table, 5)[1, 3], table[1 - 3 + 4])
    stretched = F.interpolate(table.T[None], size=13, mode="linear")[0].T
    torch.testing.assert_close(relative_vectors(table, 7)[6, 0], stretched[12])
