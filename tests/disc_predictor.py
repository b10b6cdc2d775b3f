"""A predictor without a model: the masks of every prompt are known beforehand, so a test can say what must be seen."""

import time

import numpy as np

from samlite.images import read_photo
from samlite.predictor import SamPredictor
from samlite.prompt_checks import check_box, check_points

RADII = (20, 40, 80)


class DiscPredictor(SamPredictor):
    """Candidates: discs of three sizes around the foreground points, minus small ones around the background points;
    the box and the painted pixels as they are. Checks its input as `SamPredictor` does. ``broken_at``: an x at which
    it fails like a model that has run out of memory. ``pause``: seconds that a prompt takes. ``encoded`` and
    ``decoded`` count.
    """

    def __init__(self, broken_at=None):
        self.broken_at, self.pause, self.encoded, self.decoded = broken_at, 0.0, 0, 0
        self.reset_image()

    def set_image(self, image, image_format="RGB"):
        self.photo = read_photo(image, image_format)
        self.original_size = self.photo.shape[:2]
        self.is_image_set = True
        self.features = object()  # another one for every photo
        self.encoded += 1

    def get_image_embedding(self):
        return self.features

    def mask_to_logits(self, mask, strength=8.0):
        assert mask.shape == self.original_size
        return mask[None]

    def predict(self, point_coords=None, point_labels=None, box=None, mask_input=None):
        self.decoded += 1
        time.sleep(self.pause)
        height, width = self.original_size
        y, x = np.mgrid[:height, :width]
        masks = np.zeros((3, height, width), dtype=bool)
        if mask_input is not None:
            masks |= mask_input
        if box is not None:
            ((x0, y0, x1, y1),) = check_box(box, self.original_size)
            masks |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        if point_coords is not None:
            points, labels = check_points(point_coords, point_labels, self.original_size)
            if self.broken_at is not None and (points[:, 0] == self.broken_at).any():
                raise RuntimeError("out of memory, as far as this test is concerned")
            for (px, py), label in zip(points, labels, strict=True):
                distance = np.hypot(x - px, y - py)
                for k, radius in enumerate(RADII):
                    masks[k] = masks[k] | (distance <= radius) if label else masks[k] & (distance > radius / 2)
        low_res_logits = masks[:, ::8, ::8].astype(np.float32) - 0.5
        return masks, np.array([0.5, 0.75, 0.25], dtype=np.float32), low_res_logits
