"""Boxes XYXY of masks: which are duplicates, which were cut off by the border of a crop."""

import numpy as np
from jaxtyping import Bool, Float, Int, Num


def non_maximum_suppression(
    boxes: Num[np.ndarray, "n 4"], scores: Num[np.ndarray, " n"], iou_threshold: float | int
) -> Int[np.ndarray, " kept"]:
    """Indices of the boxes to keep, best score first: each suppresses later ones that overlap it by more than the
    threshold. Equal scores keep their order. Areas are (x2 − x1)·(y2 − y1); two boxes without area do not overlap.
    """
    boxes = boxes.astype(np.float32)
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        upper_left = np.maximum(boxes[best, :2], boxes[rest, :2])
        lower_right = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        intersection = (lower_right - upper_left).clip(min=0).prod(-1)
        union = area[best] + area[rest] - intersection
        iou = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
        order = rest[iou <= iou_threshold]
    return np.array(kept, dtype=np.int64)


def near_crop_edge(
    boxes: Num[np.ndarray, "n 4"], crop: tuple[int, int, int, int], original_size: tuple[int, int], tolerance: int = 20
) -> Bool[np.ndarray, " n"]:
    """True where a box in the *photo's* frame comes within ``tolerance`` pixels of a side of the crop that is no side
    of the photo: the object goes on beyond it, and another crop sees more of it.
    """
    height, width = original_size
    to_crop = np.abs(boxes - np.array(crop)) <= tolerance
    to_photo = np.abs(boxes - np.array([0, 0, width, height])) <= tolerance
    return (to_crop & ~to_photo).any(-1)


def xyxy_to_xywh(box: Num[np.ndarray, " 4"]) -> list[float] | list[int]:
    """x1, y1, x2, y2 → x1, y1, width, height, as a list."""
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def box_areas(boxes: Num[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Areas of XYXY boxes in pixels²."""
    return ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float64)
