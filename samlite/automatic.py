"""`SamAutomaticMaskGenerator`: every object of a photo, without a prompt (document §1.4, stage three; paper §4).

    points of a grid → 3 masks each → predicted IoU high? → stable? → not cut off by a crop? → no duplicate → record

A grid of clicks takes the place of a person; what the model thinks of its own answers takes the place of her eyes.
Names, arguments, order of the filters and record keys are those of the released package. Different, with the same
records: the filter on the predicted IoU comes before the masks are brought to the photo's size, and they are brought
there a few at a time and kept as runs, so that memory does not grow with the number of masks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from samlite import memory
from samlite.boxes import box_areas, near_crop_edge, non_maximum_suppression, xyxy_to_xywh
from samlite.device_masks import boxes_of, rles_of
from samlite.images import read_photo
from samlite.masks import mask_to_box, remove_small_regions, stability_scores
from samlite.point_grids import Box, check_point_grids, crop_boxes, layer_point_grids
from samlite.predictor import SamPredictor
from samlite.rle import Rle, area_from_rle, compress_rle, listed_rle, mask_to_rle, packed_rle, rle_to_mask
from samlite.sam import Sam

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
RUNS_ON_DEVICE = {"cuda"}  # where boxes and runs are made, so that only they travel
# Of logits at the photo's size that are held at once; on a CPU, also prompts × cells of the grid decoded at once. A CPU
# wants little of both: large tensors leave its caches, and are given back to the system and asked for again.
UPSCALING_BYTES, CPU_UPSCALING_BYTES, CPU_CELLS = 2**28, 2**24, 2**14


@dataclass
class Candidates:
    """N masks of one or several crops, in the photo's frame, each field with N entries."""

    rles: list[Rle]  # packed: hundreds of masks of a large photo are kept at once
    boxes: Int[np.ndarray, "n 4"]  # XYXY
    iou_predictions: Float[np.ndarray, " n"]
    stability: Float[np.ndarray, " n"]
    points: Float[np.ndarray, "n 2"]
    crops: Int[np.ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.rles)

    def take(self, chosen: Int[np.ndarray, " m"]) -> "Candidates":
        """Those at the given places, in that order."""
        return Candidates([self.rles[i] for i in chosen], *(getattr(self, f.name)[chosen] for f in fields(self)[1:]))

    @staticmethod
    def join(parts: "Sequence[Candidates]") -> "Candidates":
        """One after the other."""
        arrays = (np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Candidates)[1:])
        return Candidates([rle for part in parts for rle in part.rles], *arrays)

    @staticmethod
    def none() -> "Candidates":
        """No mask at all, in the shapes of some."""
        empty = np.zeros((0, 4), np.int64)
        return Candidates([], empty, np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros((0, 2)), empty)


class SamAutomaticMaskGenerator:
    """All masks of a photo that pass the filters.

        records = SamAutomaticMaskGenerator(sam_model_registry["tiny"]()).generate("photo.jpg")

    ``points_per_side``: clicks along a side of the grid; or ``point_grids``, one (N, 2) array of shares 0…1 for each
    layer of crops (exactly one of the two).
    ``points_per_batch``: clicks decoded at once, at most; a CPU takes fewer where that is faster.
    ``pred_iou_thresh``: the predicted IoU must be above it; 0 or less turns the filter off.
    ``stability_score_thresh``, ``stability_score_offset``: `stability_scores` at this offset must reach it; 0 or less
    turns the filter off. None, for both thresholds, is what the model was measured to need:
    ``model.automatic_thresholds``, 0.88 and 0.95 for the released ones.
    ``box_nms_thresh``: of two masks of one crop whose boxes overlap by more IoU, the one with the lower prediction
    goes. ``crop_nms_thresh``: the same between crops, where the smaller crop wins.
    ``crop_n_layers``, ``crop_overlap_ratio``, ``crop_n_points_downscale_factor``: see `point_grids`.
    ``min_mask_region_area``: holes and islands of fewer pixels are removed from a mask. It is no lower limit for
    masks: a mask that is one small region stays as it is.
    ``output_mode``: what ``segmentation`` is in a record: "binary_mask" (H, W) bool, "uncompressed_rle" or "coco_rle".
    ``progress``: show a bar.

    Memory beyond the model's own: `UPSCALING_BYTES` (on a CPU `CPU_UPSCALING_BYTES`) and twice that again in between,
    or one mask where that is more, whatever the number of points; and the records. In mode "binary_mask" these are H·W
    bytes each: take "coco_rle" for large photos.

    Raises ValueError that names the argument when one is out of its range.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float | int | None = None,
        stability_score_thresh: float | int | None = None,
        stability_score_offset: float | int = 1.0,
        box_nms_thresh: float | int = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float | int = 0.7,
        crop_overlap_ratio: float | int = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence | None = None,
        min_mask_region_area: float | int = 0,
        output_mode: str = "binary_mask",
        *,
        progress: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f'model is a {type(model).__name__}: a model is expected, as sam_model_registry["tiny"]() '
                            "makes it")  # fmt: skip
        if (points_per_side is None) == (point_grids is None):
            raise ValueError("exactly one of points_per_side and point_grids must be given, the other None")
        measured = model.automatic_thresholds
        self.pred_iou_thresh = measured[0] if pred_iou_thresh is None else pred_iou_thresh
        self.stability_score_thresh = measured[1] if stability_score_thresh is None else stability_score_thresh
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            _check(name, getattr(self, name), -np.inf, 1, "a share, 1 at most; 0 or less turns the filter off")
        _check("stability_score_offset", stability_score_offset, 0, np.inf, "a distance between logits, not negative")
        _check("box_nms_thresh", box_nms_thresh, 0, 1, "an IoU, 0 to 1")
        _check("crop_nms_thresh", crop_nms_thresh, 0, 1, "an IoU, 0 to 1")
        expected = "a whole number from 0 to 8 (a layer has 4 times the last's crops)"
        _check("crop_n_layers", crop_n_layers, 0, 8, expected, True)
        _check("crop_overlap_ratio", crop_overlap_ratio, 0, 0.99, "a share of the photo's short side, less than 1")
        _check("min_mask_region_area", min_mask_region_area, 0, np.inf, "a number of pixels, not negative")
        _check("points_per_batch", points_per_batch, 1, np.inf, "a whole number, at least 1", True)
        downscale = crop_n_points_downscale_factor
        _check("crop_n_points_downscale_factor", downscale, 1, np.inf, "a whole number, at least 1", True)
        if output_mode not in OUTPUT_MODES:
            raise ValueError(f"output_mode is {output_mode!r}: it must be one of {', '.join(map(repr, OUTPUT_MODES))}")
        if point_grids is None:
            smallest = downscale**crop_n_layers
            expected = f"at least {smallest} for these layers, a whole number"
            _check("points_per_side", points_per_side, smallest, np.inf, expected, True)
            self.point_grids = layer_point_grids(points_per_side, crop_n_layers, downscale)
        else:
            self.point_grids = check_point_grids(point_grids, crop_n_layers + 1)
        self.predictor = SamPredictor(model)
        self.points_per_batch = points_per_batch
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.progress = progress

    @torch.no_grad()
    def generate(self, image: Any, image_format: str = "RGB") -> list[dict[str, Any]]:
        """Photo (as for `SamPredictor.set_image`) → a record for each mask; an empty list when none passes.

        Keys, in the photo's own pixels: ``segmentation`` (see ``output_mode``), ``area``, ``bbox`` [x, y, width,
        height], ``predicted_iou``, ``point_coords`` [[x, y]] of the click, ``stability_score``, ``crop_box`` [x, y,
        width, height].

        Raises as `SamPredictor.set_image` does.
        """
        photo = read_photo(image, image_format)
        try:
            found = self._of_all_crops(photo)
        finally:
            self.predictor.reset_image()
        if self.min_mask_region_area > 0:
            found = self._without_small_regions(found)
        return [self._record(found, index) for index in range(len(found))]

    def _of_all_crops(self, photo: UInt8[np.ndarray, "height width 3"]) -> Candidates:
        size = photo.shape[:2]
        crops, layers = crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio)
        total = sum(len(self.point_grids[layer]) for layer in layers)
        with tqdm(total=total, disable=not self.progress, unit="point", desc="automatic masks") as bar:
            parts = [self._of_crop(photo, crop, layer, bar) for crop, layer in zip(crops, layers, strict=True)]
        found = Candidates.join(parts)
        if len(crops) == 1 or len(found) == 0:
            return found
        prefer_small_crops = 1 / box_areas(found.crops)
        return found.take(non_maximum_suppression(found.boxes, prefer_small_crops, self.crop_nms_thresh))

    def _of_crop(self, photo: UInt8[np.ndarray, "height width 3"], crop: Box, layer: int, bar: tqdm) -> Candidates:
        """Encode the crop once, click on every point of its grid, drop duplicates."""
        x1, y1, x2, y2 = crop
        self.predictor.set_image(np.ascontiguousarray(photo[y1:y2, x1:x2]))
        points = self.point_grids[layer] * [x2 - x1, y2 - y1]  # (N, 2), in the crop's pixels
        parts = []
        for start in range(0, len(points), self._batch()):
            batch = points[start : start + self._batch()]
            with memory.out_of_memory_in_words("automatic masks", self.predictor.device, "lower points_per_batch, "):
                parts.extend(self._of_points(batch, crop, photo.shape[:2]))
            bar.update(len(batch))
        if not parts:
            return Candidates.none()
        found = Candidates.join(parts)
        return found.take(non_maximum_suppression(found.boxes, found.iou_predictions, self.box_nms_thresh))

    def _batch(self) -> int:
        if self.predictor.device.type != "cpu":
            return self.points_per_batch
        return max(1, min(self.points_per_batch, CPU_CELLS // self.predictor.frames.grid_size**2))

    def _of_points(
        self, points: Float[np.ndarray, "b 2"], crop: Box, original_size: tuple[int, int]
    ) -> Iterator[Candidates]:
        """Masks of B clicks that pass all filters but that for duplicates, a few at a time."""
        predictor, model = self.predictor, self.predictor.model
        clicks = predictor.transform.apply_coords(points, predictor.original_size)[:, None]
        clicks = torch.from_numpy(clicks).float().to(predictor.device)  # (B, 1, 2), in the input frame
        foreground = torch.ones(clicks.shape[:2], dtype=torch.long, device=predictor.device)
        logits, iou = model.decode_masks(predictor.features, points=clicks, labels=foreground)  # (B, K, h, w), (B, K)
        if self.pred_iou_thresh > 0:
            prompt, candidate = torch.nonzero(iou > self.pred_iou_thresh, as_tuple=True)
        else:
            prompt, candidate = torch.nonzero(torch.ones_like(iou), as_tuple=True)
        logits, iou, points = logits[prompt, candidate], iou[prompt, candidate], points[prompt.cpu().numpy()]
        height, width = predictor.original_size
        limit = CPU_UPSCALING_BYTES if predictor.device.type == "cpu" else UPSCALING_BYTES
        at_once = max(1, limit // (4 * (height * width + model.image_size**2)))
        for start in range(0, len(logits), at_once):
            here = slice(start, start + at_once)
            yield self._at_full_size(logits[here], iou[here].cpu().numpy(), points[here], crop, original_size)

    def _at_full_size(
        self,
        low_res_logits: Float[Tensor, "n h w"],
        iou: Float[np.ndarray, " n"],
        points: Float[np.ndarray, "n 2"],
        crop: Box,
        original_size: tuple[int, int],
    ) -> Candidates:
        predictor, model = self.predictor, self.predictor.model
        logits = model.resize_masks(low_res_logits[None], predictor.input_size, predictor.original_size)[0]  # (n, H, W)
        return self._stable(logits, iou, points, crop, original_size)

    def _stable(
        self,
        logits: Float[Tensor, "n height width"],
        iou: Float[np.ndarray, " n"],
        points: Float[np.ndarray, "n 2"],
        crop: Box,
        original_size: tuple[int, int],
    ) -> Candidates:
        model = self.predictor.model
        stability = stability_scores(logits, model.mask_threshold, self.stability_score_offset)
        stable = torch.ones_like(stability, dtype=torch.bool)
        if self.stability_score_thresh > 0:
            stable = stability >= self.stability_score_thresh
        boxes, whole, rles = self._boxes_and_runs(logits[stable] > model.mask_threshold, crop, original_size)
        stable, (x, y) = stable.cpu().numpy(), crop[:2]
        crops = np.tile(np.array(crop), (len(rles), 1))
        points = (points[stable] + [x, y])[whole]
        return Candidates(rles, boxes[whole], iou[stable][whole], stability.cpu().numpy()[stable][whole], points, crops)

    def _boxes_and_runs(
        self, masks: Bool[Tensor, "n h w"], crop: Box, original_size: tuple[int, int]
    ) -> tuple[Int[np.ndarray, "n 4"], Bool[np.ndarray, " n"], list[Rle]]:
        """Boxes of all masks in the photo's frame, which masks the crop does not cut off, and the runs of those."""
        offset = np.array([*crop[:2], *crop[:2]])
        if masks.device.type in RUNS_ON_DEVICE:
            boxes = boxes_of(masks) + offset
            whole = ~near_crop_edge(boxes, crop, original_size)
            masks = masks[torch.from_numpy(whole).to(masks.device)]
            return boxes, whole, [packed_rle(rle) for rle in rles_of(_paste_all(masks, crop, original_size))]
        pixels = masks.cpu().numpy()
        boxes = mask_to_box(pixels) + offset
        whole = ~near_crop_edge(boxes, crop, original_size)
        return boxes, whole, [packed_rle(mask_to_rle(_paste(mask, crop, original_size))) for mask in pixels[whole]]

    def _without_small_regions(self, found: Candidates) -> Candidates:
        """Clean every mask, then drop duplicates once more; of two, the one that needed no cleaning stays."""
        untouched = np.ones(len(found))
        for index, rle in enumerate(found.rles):
            mask, holes = remove_small_regions(rle_to_mask(rle), self.min_mask_region_area, "holes")
            mask, islands = remove_small_regions(mask, self.min_mask_region_area, "islands")
            if holes or islands:
                untouched[index] = 0
                found.rles[index], found.boxes[index] = packed_rle(mask_to_rle(mask)), mask_to_box(mask)
        threshold = max(self.box_nms_thresh, self.crop_nms_thresh)
        return found.take(non_maximum_suppression(found.boxes, untouched, threshold))

    def _record(self, found: Candidates, index: int) -> dict[str, Any]:
        rle = found.rles[index]
        modes = {"binary_mask": rle_to_mask, "uncompressed_rle": listed_rle, "coco_rle": compress_rle}
        return {
            "segmentation": modes[self.output_mode](rle),
            "area": area_from_rle(rle),
            "bbox": xyxy_to_xywh(found.boxes[index]),
            "predicted_iou": float(found.iou_predictions[index]),
            "point_coords": [found.points[index].tolist()],
            "stability_score": float(found.stability[index]),
            "crop_box": xyxy_to_xywh(found.crops[index]),
        }


def _paste(mask: np.ndarray, crop: Box, original_size: tuple[int, int]) -> np.ndarray:
    """A mask of a crop → of the photo."""
    if mask.shape == tuple(original_size):
        return mask
    x1, y1, x2, y2 = crop
    whole = np.zeros(original_size, dtype=bool)
    whole[y1:y2, x1:x2] = mask
    return whole


def _paste_all(
    masks: Bool[Tensor, "n h w"], crop: Box, original_size: tuple[int, int]
) -> Bool[Tensor, "n height width"]:
    """Masks of a crop → of the photo, where they are."""
    x1, y1, x2, y2 = crop
    height, width = original_size
    return F.pad(masks, (x1, width - x2, y1, height - y2))


def _check(name: str, value: Any, low: float, high: float, expected: str, whole: bool = False) -> None:
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    number = isinstance(value, kinds) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}: {expected} is expected")
