"""Answers to a click without a model. Whoever claims that a model sees something must be better than these.

Each has the two methods of ``SamPredictor`` that an evaluation calls, ``set_image`` and ``predict``, and gives three
masks. For one click the three differ in size. Several clicks: what any foreground click alone would give, without the
places that also belong to a background click and lie nearer to one.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

Masks = Bool[np.ndarray, "3 h w"]


class Baseline:
    """The common part: clicks and boxes from ``at(x, y)``, the three masks of one click."""

    scores = (0.0, 0.0, 1.0)  # which mask counts as selected; no measure of quality

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self.photo = image
        self.prepare()

    def prepare(self) -> None:
        """What is the same for all clicks on a photo."""

    def at(self, x: int, y: int) -> Masks:
        """Three masks for one click."""
        raise NotImplementedError

    def inside(self, x1: int, y1: int, x2: int, y2: int) -> Masks:
        """Three masks for a box: those of a click into its middle, cut off at the box."""
        box = np.zeros(self.photo.shape[:2], bool)
        box[y1 : y2 + 1, x1 : x2 + 1] = True
        return self.at((x1 + x2) // 2, (y1 + y2) // 2) & box

    def predict(
        self, point_coords: Any = None, point_labels: Any = None, box: Any = None, mask_input: Any = None
    ) -> tuple[Bool[np.ndarray, "k h w"], Float[np.ndarray, " k"], Float[np.ndarray, "k 1 1"]]:
        """As ``SamPredictor.predict``; a baseline has no use for ``mask_input``."""
        points = np.asarray(point_coords if point_coords is not None else np.zeros((0, 2))).astype(int)
        labels = np.asarray(point_labels if point_labels is not None else np.zeros(0)).astype(int)
        yes = [self.at(x, y) for x, y in points[labels == 1].tolist()]
        yes += [self.inside(*np.asarray(box).reshape(4).astype(int).tolist())] if box is not None else []
        masks = np.any(yes, axis=0) if yes else np.zeros((3, *self.photo.shape[:2]), bool)
        if (labels == 0).any():
            no = np.any([self.at(x, y) for x, y in points[labels == 0].tolist()], axis=0)
            masks &= ~no | (self._distance(points[labels == 1]) < self._distance(points[labels == 0]))
        return masks, np.array(self.scores), np.zeros((3, 1, 1))

    def _distance(self, points: np.ndarray) -> Float[np.ndarray, "h w"]:
        """How far every pixel is from the nearest of the points; infinitely far from none."""
        y, x = np.ogrid[: self.photo.shape[0], : self.photo.shape[1]]
        away = [np.hypot(y - py, x - px) for px, py in points.tolist()]
        return np.min(away, axis=0) if away else np.full(self.photo.shape[:2], np.inf)


class ThreeDiscs(Baseline):
    """Discs of 9, 17 and 32 % of the diagonal around the click: what a model that sees nothing would answer."""

    scores = (0.0, 1.0, 0.0)
    radii = (0.09, 0.17, 0.32)

    def at(self, x: int, y: int) -> Masks:
        height, width = self.photo.shape[:2]
        rows, columns = np.ogrid[:height, :width]
        distance = np.hypot(rows - y, columns - x) / np.hypot(height, width)
        return np.stack([distance <= radius for radius in self.radii])

    def inside(self, x1: int, y1: int, x2: int, y2: int) -> Masks:
        """The ellipse that touches the box from inside, in three sizes; the middle one touches."""
        rows, columns = np.ogrid[: self.photo.shape[0], : self.photo.shape[1]]
        half_height, half_width = (y2 - y1 + 1) / 2, (x2 - x1 + 1) / 2
        distance = np.hypot((rows - (y1 + y2) / 2) / half_height, (columns - (x1 + x2) / 2) / half_width)
        box = (rows >= y1) & (rows <= y2) & (columns >= x1) & (columns <= x2)
        return np.stack([distance <= 0.7, distance <= 1, box])


class FloodFill(Baseline):
    """The connected pixels within three colour distances of the click, in smoothed Lab."""

    reaches = (8, 16, 28)

    def prepare(self) -> None:
        from skimage.color import rgb2lab

        self.lab = ndimage.gaussian_filter(rgb2lab(self.photo), (1.5, 1.5, 0))

    def at(self, x: int, y: int) -> Masks:
        distance = np.linalg.norm(self.lab - self.lab[y, x], axis=-1)
        connected = [ndimage.label(distance <= reach)[0] for reach in self.reaches]
        return np.stack([regions == regions[y, x] for regions in connected])


class Superpixels(Baseline):
    """The region under the click at three scales of a graph segmentation (Felzenszwalb & Huttenlocher, 2004)."""

    scales = (100, 300, 1000)

    def prepare(self) -> None:
        from skimage.segmentation import felzenszwalb

        self.maps = [felzenszwalb(self.photo, scale=scale, sigma=0.8, min_size=150) for scale in self.scales]

    def at(self, x: int, y: int) -> Masks:
        return np.stack([regions == regions[y, x] for regions in self.maps])

    def inside(self, x1: int, y1: int, x2: int, y2: int) -> Masks:
        """All regions that lie in the box by more than half."""
        found = []
        for regions in self.maps:
            whole = np.bincount(regions.ravel())
            within = np.bincount(regions[y1 : y2 + 1, x1 : x2 + 1].ravel(), minlength=len(whole))
            found.append((within > whole / 2)[regions])
        return np.stack(found)


def baselines() -> dict[str, Baseline]:
    """Three ways to answer without a model, by the names that tables give them."""
    return {
        "three discs": ThreeDiscs(),
        "flood fill": FloodFill(),
        "superpixels (Felzenszwalb 2004)": Superpixels(),
    }
