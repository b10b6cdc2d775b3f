"""Run-length encoding: a mask as the lengths of its runs, column by column, starting with background.

    0 1 1                          column 0: 0 0, column 1: 1 0, column 2: 1 0
    0 0 0      →  counts [2, 1, 1, 1, 1]: two outside, one inside, one outside …

COCO's format, read by most tools for masks. A mask of a 6-megapixel photo takes 6 MB as bool, some KB as runs.
``counts`` is a list of integers ("uncompressed"), or a string that holds their differences in 6 bits a character.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

Rle = dict[str, Any]  # {"size": [H, W], "counts": list of int, or str}


def mask_to_rle(mask: Bool[np.ndarray, "height width"]) -> Rle:
    """A mask (H, W) → ``{"size": [H, W], "counts": [...]}``; the first run is background and may be 0 long."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    borders = np.concatenate([[0], changes, [pixels.size]])
    counts = np.diff(borders).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if pixels.size and pixels[0] else counts}


def rle_to_mask(rle: Mapping[str, Any]) -> Bool[np.ndarray, "height width"]:
    """Runs → mask (H, W); both kinds of ``counts``. Raises ValueError when they do not fill the size."""
    height, width = rle["size"]
    counts = _counts(rle)
    if sum(counts) != height * width:
        raise ValueError(f"rle has runs of {sum(counts)} pixels in all, its size {height}×{width} has {height * width}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def area_from_rle(rle: Mapping[str, Any]) -> int:
    """Pixels inside the mask, without unpacking it."""
    return sum(_counts(rle)[1::2])


def compress_rle(rle: Mapping[str, Any]) -> Rle:
    """``counts`` as COCO's string. From the fourth run on a run is stored less the run two before it.

    Each number is cut into groups of 5 bits, lowest first, with a sixth bit "more follows"; the sign of the last group
    goes on to the left; a group is written as the character 48 + its value.
    """
    counts = _counts(rle)
    characters = []
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group = number & 31
            number >>= 5  # keeps the sign
            more = number != (-1 if group & 16 else 0)
            characters.append(chr(48 + (group | 32 * more)))
    return {"size": list(rle["size"]), "counts": "".join(characters)}


def decompress_rle(rle: Mapping[str, Any]) -> Rle:
    """``counts`` as a list again. Raises ValueError for a string that ends within a number."""
    text = rle["counts"]
    if isinstance(text, bytes):
        text = text.decode("ascii")
    counts: list[int] = []
    number = shift = 0
    for character in text:
        group = ord(character) - 48
        number |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    if shift:
        raise ValueError(f"rle ends within a number, after {len(counts)} runs: its string was cut off")
    return {"size": list(rle["size"]), "counts": counts}


def _counts(rle: Mapping[str, Any]) -> list[int]:
    return rle["counts"] if isinstance(rle["counts"], list) else decompress_rle(rle)["counts"]
