"""Masks as COCO writes them: polygons, or runs of pixels ("RLE"), counted down one column after the other.

Of COCO's three ways a file may use any, mask by mask: a list of polygons, ``{"size": [h, w], "counts": [5, 3, …]}``, or
the same with the counts packed into text. COCO's own C code is not needed. Source: the COCO format (Lin et al., 2014)
and the file ``maskApi.c`` of its tools, for the packed text.
"""

import numpy as np
from jaxtyping import Bool


def decode_segmentation(segmentation: object, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """One ``segmentation`` entry of a COCO file → a mask of its photo's size.

    Raises ValueError that says what the entry is when it is none of the three kinds, or when its size is another one.
    """
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= set(segmentation):
        raise ValueError(
            f"a segmentation is a list of polygons or a dict with 'size' and 'counts', not {segmentation!r:.60}"
        )
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its runs fill {segmentation['size']} (height, width), the photo has [{height}, {width}]")
    counts = segmentation["counts"]
    runs = unpack_counts(counts) if isinstance(counts, (str, bytes)) else [int(run) for run in counts]
    return from_runs(runs, height, width)


def from_runs(runs: list[int], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """Lengths of runs of 0, 1, 0, 1, … down the columns → a mask. Raises ValueError when they do not fill it."""
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"its runs cover {sum(runs)} pixels, the photo has {height}·{width} = {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def unpack_counts(text: str | bytes) -> list[int]:
    """Packed counts → lengths of runs.

    Each number is cut into groups of five bits, the lowest first; a sixth bit says that another group follows, and 48
    makes a printable character of it. From the fourth number on, what is written is the difference to the number two
    before. Raises ValueError when the text ends within a number or holds other characters.
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


def _from_polygons(polygons: list, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centre lies in any of the polygons; each is x1, y1, x2, y2, … with (0, 0) the photo's corner."""
    from skimage.draw import polygon2mask

    mask = np.zeros((height, width), bool)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon is a list of at least 3 pairs x, y, not {polygon!r:.60}")
        corners = np.array(polygon, float).reshape(-1, 2)[:, ::-1] - 0.5  # the centre of pixel 0 is at 0.5
        mask |= polygon2mask((height, width), corners)
    return mask
