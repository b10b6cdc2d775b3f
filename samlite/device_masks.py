"""Masks on a GPU: their boxes and their runs are made there, so that only these travel, and not the pixels.

The same numbers as `samlite.masks.mask_to_box` and `samlite.rle.mask_to_rle`, which work on arrays.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from samlite.rle import Rle


def boxes_of(masks: Bool[Tensor, "n height width"]) -> Int[np.ndarray, "n 4"]:
    """The smallest box around each mask, XYXY, indices inclusive; all zeros for an empty mask."""
    columns, rows = masks.any(1).cpu().numpy(), masks.any(2).cpu().numpy()
    height, width = masks.shape[1:]
    left, top = columns.argmax(1), rows.argmax(1)
    right, bottom = width - 1 - columns[:, ::-1].argmax(1), height - 1 - rows[:, ::-1].argmax(1)
    return np.stack([left, top, right, bottom], axis=1) * rows.any(1)[:, None]


def rles_of(masks: Bool[Tensor, "n height width"]) -> list[Rle]:
    """The runs of each mask down its columns, background first."""
    count, height, width = masks.shape
    pixels = masks.transpose(1, 2).reshape(count, height * width)
    begins_inside = pixels[:, 0].tolist()
    mask, place = (pixels[:, 1:] != pixels[:, :-1]).nonzero(as_tuple=True)  # row by row, so sorted by mask
    ends = torch.bincount(mask, minlength=count).cumsum(0).tolist()
    changes = (place + 1).cpu().numpy()
    rles, start = [], 0
    for inside, end in zip(begins_inside, ends, strict=True):
        runs = np.diff(changes[start:end], prepend=0, append=height * width).tolist()
        rles.append({"size": [height, width], "counts": [0, *runs] if inside else runs})
        start = end
    return rles
