"""Masks as COCO writes them: polygons, or runs of pixels ("RLE"), see `samlite.rle`.

Of COCO's three ways a file may use any, mask by mask: a list of polygons, ``{"size": [h, w], "counts": [5, 3, …]}``, or
the same with the counts packed into text. COCO's own C code is not needed. Source: the COCO format (Lin et al., 2014).
"""

import numpy as np
from jaxtyping import Bool

from samlite.rle import rle_to_mask


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
    return rle_to_mask(segmentation)


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
