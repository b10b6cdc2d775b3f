"""Where automatic masks click: grids of points, and the crops that they are laid over once more.

Layer 0 is the whole photo. Layer i cuts it into 2ⁱ × 2ⁱ overlapping crops; each is encoded as a photo of its own, so
that small things are seen larger. Points are shares of a crop's width and height, 0…1.
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels; x2 and y2 lie just outside


def point_grid(points_per_side: int) -> Float[np.ndarray, "n 2"]:
    """n² points (x, y) in the middles of n × n equal cells, row by row."""
    middles = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = np.meshgrid(middles, middles)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def layer_point_grids(points_per_side: int, crop_n_layers: int, downscale: int) -> list[Float[np.ndarray, "n 2"]]:
    """One grid a layer; from layer to layer the points per side are divided by ``downscale`` (rounded down)."""
    return [point_grid(points_per_side // downscale**layer) for layer in range(crop_n_layers + 1)]


def crop_boxes(
    original_size: tuple[int, int], crop_n_layers: int, overlap_ratio: float | int
) -> tuple[list[Box], list[int]]:
    """The crops of all layers, and the layer of each; the first is the whole photo.

    ``overlap_ratio``: the overlap of two neighbours in the first layer, as a share of the photo's short side; it is
    halved from layer to layer, as the crops are. Sides are rounded up, so that in a photo of few pixels the last crops
    of a row or column would lie beyond its edge: these are left out.
    """
    height, width = original_size
    boxes: list[Box] = [(0, 0, width, height)]
    layers = [0]
    for layer in range(1, crop_n_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * 2 / per_side)
        crop_width, crop_height = (_crop_side(side, per_side, overlap) for side in (width, height))
        for i, k in product(range(per_side), range(per_side)):
            x, y = (crop_width - overlap) * i, (crop_height - overlap) * k
            if x >= width or y >= height:
                continue
            boxes.append((x, y, min(x + crop_width, width), min(y + crop_height, height)))
            layers.append(layer)
    return boxes, layers


def _crop_side(side: int, per_side: int, overlap: int) -> int:
    return math.ceil((overlap * (per_side - 1) + side) / per_side)


def check_point_grids(grids: Sequence, layers: int) -> list[Float[np.ndarray, "n 2"]]:
    """Grids that a caller gives: one (N, 2) array of shares 0…1 for each layer. Raises ValueError that says which."""
    if len(grids) != layers:
        raise ValueError(f"point_grids has {len(grids)} grids: one a layer is expected, crop_n_layers + 1 = {layers}")
    checked = []
    for layer, grid in enumerate(grids):
        array = np.asarray(grid, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
            raise ValueError(f"point_grids[{layer}] has shape {array.shape}: (N, 2) is expected, N at least 1")
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(
                f"point_grids[{layer}] has values from {array.min():g} to {array.max():g}: points are shares of the "
                "photo's width and height, 0 to 1, not pixels"
            )
        checked.append(array)
    return checked
