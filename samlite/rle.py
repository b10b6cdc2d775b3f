"""Run-length encoding: a mask as the lengths of its runs, column by column, starting with background.

    0 1 1                          column 0: 0 0, column 1: 1 0, column 2: 1 0
    0 0 0      →  counts [2, 1, 1, 1, 1]: two outside, one inside, one outside …

COCO's format, read by most tools for masks. A mask of a 6-megapixel photo takes 6 MB as bool, some KB as runs.
``counts`` is a list of integers ("uncompressed"), or a string that holds their differences in 6 bits a character.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from samlite.masks import as_binary

Rle = dict[str, Any]  # {"size": [H, W], "counts": list of int, or str}


def mask_to_rle(mask: Shaped[np.ndarray, "height width"]) -> Rle:
    """A mask (H, W) → ``{"size": [H, W], "counts": [...]}``; the first run is background and may be 0 long.

    The mask is bool, or what `samlite.masks.as_binary` takes for it; it raises ValueError.
    """
    mask = as_binary(mask)
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    borders = np.concatenate([[0], changes, [pixels.size]])
    counts = np.diff(borders).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if pixels.size and pixels[0] else counts}


def rle_to_mask(rle: Mapping[str, Any]) -> Bool[np.ndarray, "height width"]:
    """Runs → mask (H, W); both kinds of ``counts``. Raises ValueError when they do not fill the size."""
    return from_runs(_counts(rle), *rle["size"])


def from_runs(runs: list[int], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """Lengths of runs of 0, 1, 0, 1, … down the columns → a mask. Raises ValueError when they do not fill it."""
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"its runs cover {sum(runs)} pixels, the photo has {height}·{width} = {height * width}")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def packed_rle(rle: Mapping[str, Any]) -> Rle:
    """``counts`` as an array: 4 bytes a run, where a list of Python's integers takes nine times that."""
    return {"size": list(rle["size"]), "counts": np.array(_counts(rle), np.int32)}


def listed_rle(rle: Mapping[str, Any]) -> Rle:
    """``counts`` as a list of integers, whatever they were."""
    return {"size": list(rle["size"]), "counts": _counts(rle)}


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
    """``counts`` as a list again. Raises ValueError when the text is damaged."""
    return {"size": list(rle["size"]), "counts": unpack_counts(rle["counts"])}


def unpack_counts(text: str | bytes) -> list[int]:
    """COCO's string → lengths of runs; the other way round from `compress_rle`.

    Raises ValueError when the text ends within a number or holds other characters.
    """
    codes = [code - 48 for code in (text.encode() if isinstance(text, str) else text)]
    if codes and (min(codes) < 0 or max(codes) > 63 or codes[-1] & 32):
        raise ValueError("its packed counts are damaged")
    runs: list[int] = []
    value = shift = 0
    for code in codes:
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:  # the highest bit of the last group is the sign
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def _counts(rle: Mapping[str, Any]) -> list[int]:
    counts = rle["counts"]
    if isinstance(counts, np.ndarray):
        return counts.tolist()
    return unpack_counts(counts) if isinstance(counts, (str, bytes)) else [int(run) for run in counts]
