"""What an evaluation counts: overlap near the edge, clicks until good enough, how well the model knows itself.

Overlap itself is ``samlite.masks.mask_iou``. Everything here is plain NumPy on masks and numbers, for any model.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from samlite.masks import mask_iou

BOUNDARY_SHARE = 0.02  # of the picture's diagonal: Cheng et al. (2021) for photos of COCO's size
BINS = 10


def boundary_width(height: int, width: int) -> int:
    """How many pixels from the edge still count as boundary: 2 % of the diagonal, at least 1."""
    return max(1, round(BOUNDARY_SHARE * float(np.hypot(height, width))))


def inner_boundary(mask: Bool[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """The pixels of a mask at most ``width`` steps, diagonal ones too, from what is not in it, or beyond the photo.

    Raises ValueError when ``width`` is below 1.
    """
    if width < 1:
        raise ValueError(f"width is {width}: a boundary is at least 1 pixel wide")
    smallest = mask.astype(np.uint8)
    for axis in (0, 1):  # rows, then columns: far fewer comparisons than the square at once
        smallest = ndimage.minimum_filter1d(smallest, 2 * width + 1, axis, mode="constant", cval=0)
    return mask & (smallest == 0)


def boundary_iou(mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"], width: int | None = None) -> float:
    """IoU of the two inner boundaries, 0…1 (Boundary IoU; Cheng et al., 2021).

    A large mask with a wrong edge has a high IoU, for its inside outweighs its edge; here only a strip of ``width``
    pixels along each edge counts (None: 2 % of the diagonal). Two empty masks agree: 1.
    """
    width = boundary_width(*truth.shape) if width is None else width
    return float(mask_iou(inner_boundary(mask, width), inner_boundary(truth, width)))


def clicks_needed(
    ious: Float[np.ndarray, "targets clicks"], threshold: float | int
) -> tuple[Int[np.ndarray, " targets"], Bool[np.ndarray, " targets"]]:
    """(clicks until the IoU is at least ``threshold``, whether it ever was). Column 0 is the IoU after one click.

    Where it never was, the count is the number of columns: the cap. So a mean of these counts is too small by an
    amount that nobody knows, and must not be quoted without the cap and the share that never got there. A NaN, a click
    that was not made, is not good enough.
    """
    good = ious >= threshold
    reached = good.any(1)
    return np.where(reached, good.argmax(1) + 1, ious.shape[1]), reached


@dataclass(frozen=True)
class Calibration:
    """Predicted IoUs in bins of equal width over 0…1: in each, how many, their mean, and the mean of the true IoUs."""

    edges: Float[np.ndarray, " edges"]
    count: Int[np.ndarray, " bins"]
    predicted: Float[np.ndarray, " bins"]  # NaN where a bin is empty
    actual: Float[np.ndarray, " bins"]

    @property
    def error(self) -> float:
        """Expected calibration error: how far the two means of a bin lie apart, on average over all predictions."""
        filled = self.count > 0
        gap = np.abs(self.predicted[filled] - self.actual[filled])
        return float((self.count[filled] * gap).sum() / self.count.sum())

    @property
    def bias(self) -> float:
        """Mean predicted minus mean true IoU: above 0 the model thinks too well of itself."""
        filled = self.count > 0
        gap = self.predicted[filled] - self.actual[filled]
        return float((self.count[filled] * gap).sum() / self.count.sum())


def calibration(predicted: Float[np.ndarray, " n"], actual: Float[np.ndarray, " n"], bins: int = BINS) -> Calibration:
    """Does a predicted IoU of 0.8 mean an IoU of 0.8? (After Guo et al., 2017, who ask it of a class's probability.)

    The head is a regression without squashing: it may predict below 0 or above 1. Such a prediction counts in the
    first or the last bin, with its own value. Raises ValueError when there are no predictions or the numbers differ.
    """
    predicted, actual = np.asarray(predicted, np.float64), np.asarray(actual, np.float64)
    if len(predicted) == 0 or predicted.shape != actual.shape:
        raise ValueError(f"as many predicted as actual IoUs are asked, not {predicted.shape} and {actual.shape}")
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a bin is empty
        means = [np.bincount(index, values, bins) / count for values in (predicted, actual)]
    return Calibration(edges, count, *means)
