"""A simulated person in front of a picture: clicks where the answer is most wrong, and looks again.

The rules are those of interactive segmentation (Sofiiuk et al., 2022; the paper, appendix D): nothing is left to
chance, so two models see the same first click, and afterwards each the clicks that its own mistakes ask for.
Training has a cheaper person, who clicks at random inside an error (``simulate.correcting_clicks``).
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from samlite.masks import mask_to_box


@runtime_checkable
class Predictor(Protocol):
    """What is asked of a model here: the two methods of ``SamPredictor``, the official one's or a baseline's."""

    def set_image(self, image: UInt8[np.ndarray, "h w 3"]) -> None: ...

    def predict(
        self, point_coords: object = None, point_labels: object = None, box: object = None, mask_input: object = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


class Round(NamedTuple):
    """A prompt and the answer to it: K candidates and what the model thinks of each."""

    points: Float[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]
    masks: Bool[np.ndarray, "k h w"]
    predicted: Float[np.ndarray, " k"]

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The selected candidate: the one with the highest predicted IoU."""
        return self.masks[int(self.predicted.argmax())]


def interior_point(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """(x, y) of the pixel farthest from the mask's edge; the photo's border counts as an edge.

    Raises ValueError when the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask is empty: it has no pixel to click")
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(x), int(y)


def largest_region(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest of the regions that a mask falls into; pixels that touch at a corner only are not connected."""
    regions, count = ndimage.label(mask)
    if count < 2:
        return mask
    return regions == 1 + int(np.bincount(regions.ravel())[1:].argmax())


def correcting_click(
    mask: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"], clicked: Int[np.ndarray, "n 2"] | None = None
) -> tuple[int, int, int]:
    """(x, y, label) of the most interior point of the largest error region: 1 where the mask lacks it, 0 where not.

    Places in ``clicked`` (x, y) are not clicked twice. A mask without an error gets a foreground click in the truth.
    Another rule than `samlite.learning.annotator.correcting_click`, which looks for the *deepest* mistake, not for the
    one with most pixels.
    """
    free = np.ones_like(truth)
    if clicked is not None and len(clicked):
        x, y = np.asarray(clicked).astype(int).T
        free[y, x] = False
    lacking, too_much = (largest_region(wrong & free) for wrong in (truth & ~mask, mask & ~truth))
    label = int(lacking.sum() >= too_much.sum())
    region = lacking if label else too_much
    if not region.any():
        region, label = (truth & free if (truth & free).any() else truth), 1
    return (*interior_point(region), label)


def click_rounds(predictor: Predictor, truth: Bool[np.ndarray, "h w"]) -> Iterator[Round]:
    """One click, then a correcting one, and so on without end; the photo must be set.

    The first click is the most interior point of the truth. Each further one corrects the *selected* mask, for that is
    what a person would be shown, and the model gets all clicks and that mask's logits.
    Take as many as you want: ``for round in itertools.islice(click_rounds(predictor, truth), 5)``.
    """
    points, labels, previous = [interior_point(truth)], [1], None
    while True:
        masks, predicted, logits = predictor.predict(np.array(points, np.float64), np.array(labels), None, previous)
        answer = Round(np.array(points, np.float64), np.array(labels), masks, predicted)
        yield answer
        previous = logits[predicted.argmax()][None]
        x, y, label = correcting_click(answer.mask, truth, np.array(points))
        points.append((x, y))
        labels.append(label)


def box_round(predictor: Predictor, truth: Bool[np.ndarray, "h w"]) -> Round:
    """The answer to the tight box around the truth; the photo must be set.

    A box one pixel thin gets one more on each side, as far as the photo goes: 1 → 3 pixels. Raises ValueError when the
    truth is empty.
    """
    if not truth.any():
        raise ValueError("the truth is empty: there is no box around it")
    x1, y1, x2, y2 = mask_to_box(truth).tolist()
    height, width = truth.shape
    x1, x2 = (x1, x2) if x1 < x2 else (max(0, x1 - 1), min(width, x2 + 1))
    y1, y2 = (y1, y2) if y1 < y2 else (max(0, y1 - 1), min(height, y2 + 1))
    masks, predicted, _ = predictor.predict(None, None, np.array([x1, y1, x2, y2]), None)
    return Round(np.zeros((0, 2)), np.zeros(0, np.int64), masks, predicted)
