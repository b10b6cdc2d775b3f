"""Automatic masks: every argument, every record key, nothing that survives, large photos."""

import inspect
import json
import sys

import numpy as np
import pytest
import skimage.data
import torch
from bad_inputs import small_sam
from own_process import numbers
from pycocotools import mask as coco_mask

from samlite import SamAutomaticMaskGenerator, SamPredictor, document_sam, sam_model_registry
from samlite import automatic as module
from samlite.masks import mask_area, mask_iou, mask_to_box, stability_scores
from samlite.memory import TooLittleMemoryError
from samlite.point_grids import crop_boxes
from samlite.rle import decompress_rle, mask_to_rle, rle_to_mask

KEYS = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}
OPEN = {"pred_iou_thresh": 0, "stability_score_thresh": 0}


@pytest.fixture(scope="module")
def tiny():
    return sam_model_registry["tiny"]()


@pytest.fixture(scope="module")
def photo():
    return skimage.data.coffee()[::2, ::2]


def generate(model, photo, **arguments):
    return SamAutomaticMaskGenerator(model, **{"points_per_side": 5, **arguments}).generate(photo)


def test_records_say_what_their_masks_are(tiny, photo):
    records = generate(tiny, photo, **OPEN)
    assert len(records) > 10
    for record in records:
        mask = record["segmentation"]
        assert record.keys() == KEYS
        assert mask.dtype == bool and mask.shape == photo.shape[:2]
        assert record["area"] == mask.sum()
        x1, y1, x2, y2 = mask_to_box(mask)
        assert record["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        assert record["crop_box"] == [0, 0, photo.shape[1], photo.shape[0]]
        ((x, y),) = record["point_coords"]
        assert 0 < x < photo.shape[1] and 0 < y < photo.shape[0]
    json.dumps([{k: v for k, v in record.items() if k != "segmentation"} for record in records])


def test_every_record_is_an_answer_of_the_predictor_and_every_good_answer_a_record(tiny, photo):
    """The long way round: each click by hand, all masks at the photo's size, filters afterwards."""
    thresholds = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.1}
    records = generate(tiny, photo, **thresholds, box_nms_thresh=1.0)
    predictor = SamPredictor(tiny)
    predictor.set_image(photo)
    expected = []
    height, width = photo.shape[:2]
    for row in range(5):
        for column in range(5):
            click = [(column + 0.5) / 5 * width, (row + 0.5) / 5 * height]
            logits, iou, _ = predictor.predict([click], [1], return_logits=True)
            stable = stability_scores(torch.from_numpy(logits), 0.0, 1.0).numpy()
            expected += [
                (click, i, s, m) for i, s, m in zip(iou, stable, logits > 0, strict=True) if i > 0.3 and s >= 0.1
            ]
    assert len(records) == len(expected) > 5
    for click, iou, stable, mask in expected:
        best = min(
            records, key=lambda r: abs(r["predicted_iou"] - iou) + np.abs(np.subtract(r["point_coords"], click)).sum()
        )
        assert abs(best["predicted_iou"] - iou) < 1e-5 and abs(best["stability_score"] - stable) < 1e-2
        assert mask_iou(best["segmentation"], mask) > 0.99


def test_thresholds_and_duplicates(tiny, photo):
    everything = generate(tiny, photo, **OPEN, box_nms_thresh=1.0)
    assert all(r["predicted_iou"] > 0.55 for r in generate(tiny, photo, **OPEN | {"pred_iou_thresh": 0.55}))
    assert all(r["stability_score"] >= 0.6 for r in generate(tiny, photo, **OPEN | {"stability_score_thresh": 0.6}))
    fewer = generate(tiny, photo, **OPEN, box_nms_thresh=0.3)
    assert 0 < len(fewer) < len(everything) == 75
    wider = generate(tiny, photo, **OPEN, box_nms_thresh=1.0, stability_score_offset=3.0)
    assert np.nanmean([r["stability_score"] for r in wider]) < np.nanmean([r["stability_score"] for r in everything])


def test_the_models_own_thresholds_are_the_default(tiny, photo):
    generator = SamAutomaticMaskGenerator(tiny)
    assert (generator.pred_iou_thresh, generator.stability_score_thresh) == tiny.automatic_thresholds
    assert document_sam(device="meta").automatic_thresholds == (0.88, 0.95)
    assert generate(tiny, photo, points_per_side=8)


def test_output_modes_agree(tiny, photo):
    binary, runs, strings = (
        generate(tiny, photo, **OPEN, output_mode=mode) for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    assert len(binary) == len(runs) == len(strings) > 0
    for mask, plain, text in zip(binary, runs, strings, strict=True):
        assert mask_to_rle(mask["segmentation"]) == plain["segmentation"] == decompress_rle(text["segmentation"])


def test_coco_reads_our_runs(tiny, photo):
    for record in generate(tiny, photo, **OPEN, output_mode="coco_rle"):
        mask = coco_mask.decode(record["segmentation"])
        assert np.array_equal(mask.astype(bool), rle_to_mask(record["segmentation"]))
        assert coco_mask.area(record["segmentation"]) == record["area"]


def test_crops(tiny, photo):
    records = generate(tiny, photo, **OPEN, crop_n_layers=1, crop_n_points_downscale_factor=2)
    height, width = photo.shape[:2]
    crops = {tuple(r["crop_box"]) for r in records}
    assert (0, 0, width, height) in crops and len(crops) > 1
    for record in records:
        x, y, w, h = record["crop_box"]
        ((px, py),) = record["point_coords"]
        assert x <= px <= x + w and y <= py <= y + h
        outside = record["segmentation"].copy()
        outside[y : y + h, x : x + w] = False
        assert not outside.any() and record["segmentation"].shape == (height, width)


def test_small_regions_are_no_limit_for_masks(tiny, photo):
    rough = generate(tiny, photo, **OPEN)
    limit = 2 * min(r["area"] for r in rough) + 1
    clean = generate(tiny, photo, **OPEN, min_mask_region_area=limit)
    assert clean and len(clean) <= len(rough)
    assert any(0 < r["area"] < limit for r in clean)
    changed = [r for r in clean if not any(np.array_equal(r["segmentation"], q["segmentation"]) for q in rough)]
    assert changed
    for record in clean:
        assert record["area"] == mask_area(record["segmentation"])


def test_own_point_grids(tiny, photo):
    records = generate(tiny, photo, **OPEN, points_per_side=None, point_grids=[[[0.5, 0.25]]], box_nms_thresh=1.0)
    height, width = photo.shape[:2]
    assert len(records) == 3 and all(r["point_coords"] == [[0.5 * width, 0.25 * height]] for r in records)


@pytest.mark.parametrize("layers", [0, 1])
def test_nothing_survives(tiny, photo, layers):
    assert generate(tiny, photo, pred_iou_thresh=1.0, crop_n_layers=layers, min_mask_region_area=10) == []


def test_blank_and_thin_photos(tiny):
    for shape in ((40, 60, 3), (300, 20, 3), (1, 12, 3)):
        for record in generate(tiny, np.full(shape, 128, np.uint8), **OPEN):
            assert record["segmentation"].shape == shape[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points_per_side": None}, "exactly one of points_per_side and point_grids"),
        ({"point_grids": [[[0.5, 0.5]]]}, "exactly one of points_per_side and point_grids"),
        ({"points_per_side": 0}, "points_per_side is 0: at least 1"),
        (
            {"points_per_side": 4, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2},
            "at least 8 for these layers",
        ),
        ({"points_per_side": None, "point_grids": [[[5, 0.5]]]}, "shares of the photo's width and height, 0 to 1"),
        ({"points_per_side": None, "point_grids": [[0.5, 0.5]]}, r"point_grids\[0\] has shape \(2,\)"),
        ({"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1}, "point_grids has 1 grids"),
        ({"pred_iou_thresh": 88}, "pred_iou_thresh is 88: a share, 1 at most"),
        ({"stability_score_thresh": 95}, "stability_score_thresh is 95: a share, 1 at most"),
        ({"stability_score_offset": -1}, "stability_score_offset is -1"),
        ({"box_nms_thresh": 1.5}, "box_nms_thresh is 1.5: an IoU"),
        ({"crop_nms_thresh": float("nan")}, "crop_nms_thresh is nan"),
        ({"crop_n_layers": -1}, "crop_n_layers is -1"),
        ({"crop_overlap_ratio": 1.0}, "crop_overlap_ratio is 1.0"),
        ({"crop_n_points_downscale_factor": 0}, "crop_n_points_downscale_factor is 0"),
        ({"points_per_batch": 0}, "points_per_batch is 0"),
        ({"min_mask_region_area": -3}, "min_mask_region_area is -3"),
        ({"output_mode": "png"}, "output_mode is 'png': it must be one of 'binary_mask'"),
        ({"points_per_batch": 2.5}, "points_per_batch is 2.5: a whole number, at least 1"),
        ({"points_per_side": 8.5}, "points_per_side is 8.5: at least 1 for these layers, a whole number"),
        ({"points_per_side": float("inf")}, "points_per_side is inf"),
        ({"crop_n_layers": 1.5}, "crop_n_layers is 1.5: a whole number from 0 to 8"),
        ({"crop_n_points_downscale_factor": 1.5}, "crop_n_points_downscale_factor is 1.5: a whole number"),
    ],
)
def test_arguments_out_of_range(tiny, arguments, message):
    generator = object.__new__(SamAutomaticMaskGenerator)
    with pytest.raises(ValueError, match=message):  # unwrapped: the types are checked under pytest alone
        inspect.unwrap(SamAutomaticMaskGenerator.__init__)(generator, tiny, **arguments)


def test_a_photo_of_few_pixels_has_no_empty_crops():
    boxes, layers = crop_boxes((20, 20), 3, 512 / 1500)
    assert len(boxes) == len(layers) and {0, 1, 2, 3} == set(layers)
    assert all(x1 < x2 <= 20 and y1 < y2 <= 20 for x1, y1, x2, y2 in boxes)
    photo = np.full((20, 20, 3), 128, np.uint8)
    for record in generate(small_sam(), photo, **OPEN, points_per_side=1, crop_n_layers=3):
        assert record["segmentation"].shape == (20, 20)


def test_memory_that_runs_out_is_said_in_words(tiny, photo, monkeypatch):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    for step in ("decode_masks", "resize_masks"):
        with monkeypatch.context() as context:
            context.setattr(type(tiny), step, full)
            with pytest.raises(TooLittleMemoryError, match="^automatic masks found .* lower points_per_batch"):
                generate(tiny, photo, **OPEN)


def test_full_size_logits_are_made_a_few_at_a_time(tiny, photo, monkeypatch):
    expected = generate(tiny, photo, **OPEN, output_mode="coco_rle")
    sizes = []
    resize = type(tiny).resize_masks
    monkeypatch.setattr(type(tiny), "resize_masks", lambda *a: sizes.append(a[1].shape[1]) or resize(*a))
    monkeypatch.setattr(module, "CPU_UPSCALING_BYTES", 4 * 4 * (photo.shape[0] * photo.shape[1] + tiny.image_size**2))
    assert generate(tiny, photo, **OPEN, output_mode="coco_rle") == expected
    assert max(sizes) == 4 and len(sizes) > 10


MEMORY = """
import numpy as np
from samlite import SamAutomaticMaskGenerator, sam_model_registry
from samlite.free_memory import peak_megabytes
rng = np.random.default_rng(0)
small = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
photo = np.kron(small, np.ones((100, 100, 1), dtype=np.uint8))
generator = SamAutomaticMaskGenerator(sam_model_registry["tiny"](), 6, pred_iou_thresh=0, stability_score_thresh=0,
                                      box_nms_thresh=1.0, output_mode="coco_rle")
before = peak_megabytes()
records = generator.generate(photo)
print(photo.shape[0] * photo.shape[1], len(records), before, peak_megabytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the figure holds what the tests have held")
def test_memory_of_a_photo_of_six_megapixels():
    """108 masks of 6,000,000 pixels: as logits 2.6 GB, as bool 0.65 GB."""
    ((pixels, masks, before, peak),) = numbers(MEMORY)
    assert pixels == 6_000_000 and masks > 60
    assert peak - before < 250  # MiB, seen: 92; for the photo, a few masks at a time, and their runs
