"""For the failure gallery: what no weights could repair, and clicks on scenes whose right answers are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from samlite.learning.evaluation import HELD_OUT_SEED
from samlite.learning.scenes import SceneGenerator
from samlite.learning.simulate import sample_clicks
from samlite.masks import mask_iou
from samlite.predictor import SamPredictor


def through_the_cells(predictor: SamPredictor, mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask as it comes back when it is written into the low-res cells and enlarged as every answer is.

    A cell holds how much of it is covered, or how far it lies from the edge, less one of several thresholds; what
    brings the mask back best is taken. Other numbers may do better still: this is the least that the cells can hold
    (document §1.8.4), whatever the weights. The photo must be set.
    """
    covered = torch.from_numpy(predictor.mask_to_logits(mask, strength=1))[None]  # -1 … 1 for none … all of a cell
    distance = _distance_in_cells(predictor, mask)
    fillings = [covered - share for share in np.linspace(-0.95, 0.8, 15)]
    fillings += [distance - cut for cut in np.linspace(-1, 0.25, 21)]
    came_back = [
        (predictor.model.resize_masks(cells, predictor.input_size, mask.shape) > 0)[0, 0].numpy() for cells in fillings
    ]
    return max(came_back, key=lambda each: float(mask_iou(each, mask)))


def _distance_in_cells(predictor: SamPredictor, mask: Bool[np.ndarray, "h w"]) -> Float[Tensor, "1 1 low_res low_res"]:
    """How far each low-res cell lies from the mask's edge, in cells: above 0 inside, below 0 outside."""
    pixels = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    in_frame = torch.from_numpy(pixels).float()[None, None]
    in_frame = F.interpolate(in_frame, predictor.input_size, mode="bilinear", antialias=True)
    (height, width), side = predictor.input_size, predictor.model.image_size
    padded = F.pad(in_frame, (0, side - width, 0, side - height), mode="replicate")
    low_res = predictor.frames.low_res_size
    return F.adaptive_avg_pool2d(padded, low_res) * low_res / max(mask.shape)


class Trial(NamedTuple):
    """One click on a scene, three answers, and the three that are right: subpart, part and whole."""

    photo: UInt8[np.ndarray, "h w 3"]
    x: int
    y: int
    masks: Bool[np.ndarray, "k h w"]
    predicted: Float[np.ndarray, " k"]
    truths: Bool[np.ndarray, "levels h w"]

    @property
    def selected(self) -> int:
        """The candidate in which the model trusts most."""
        return int(self.predicted.argmax())

    @property
    def fits(self) -> Float[np.ndarray, "k levels"]:
        """IoU of every candidate with every right answer."""
        return mask_iou(self.masks[:, None], self.truths[None])

    @property
    def conceit(self) -> float:
        """How much better the model thinks its selected mask to be than it is, taken for the level it fits best."""
        return float(self.predicted[self.selected] - self.fits[self.selected].max())


def scene_trials(predictor: SamPredictor, count: int, seed: int = HELD_OUT_SEED) -> list[Trial]:
    """``count`` scenes that training did not see, one click on each; the same seed gives the same trials."""
    generator = torch.Generator().manual_seed(seed)
    scenes = SceneGenerator(predictor.model.image_size)(count, generator)
    points, _ = sample_clicks(scenes.labels, 1, generator)
    trials = []
    for image, labels, point in zip(scenes.images, scenes.labels, points[:, 0].long(), strict=True):
        x, y = point.tolist()
        photo = image.permute(1, 2, 0).round().clamp(0, 255).byte().contiguous().numpy()
        predictor.set_image(photo)
        masks, predicted, _ = predictor.predict([[x, y]], [1])
        truths = (labels == labels[:, y, x][:, None, None]).numpy()
        trials.append(Trial(photo, x, y, masks, predicted, truths))
    return trials
