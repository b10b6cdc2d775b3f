"""Automatic masks and what they are made of, against numbers of the released package."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from reference import GOLDEN, build, golden

from samlite import SamAutomaticMaskGenerator
from samlite.automatic import _paste
from samlite.boxes import near_crop_edge, non_maximum_suppression, xyxy_to_xywh
from samlite.masks import mask_iou, remove_small_regions, stability_scores
from samlite.point_grids import crop_boxes, layer_point_grids, point_grid
from samlite.rle import area_from_rle, compress_rle, decompress_rle, mask_to_rle, rle_to_mask

AMG = json.loads((GOLDEN / "std256_amg.json").read_text())
NUMBERS = json.loads((GOLDEN / "automatic_utils.json").read_text())
ARRAYS = {name: value.numpy() for name, value in golden("automatic_utils").items()}


def test_run_lengths():
    masks = ARRAYS["rle.masks"].astype(bool)
    assert len(masks) == 5
    for mask, runs, coco, area in zip(
        masks, NUMBERS["rle.uncompressed"], NUMBERS["rle.coco"], NUMBERS["rle.area"], strict=True
    ):
        rle = mask_to_rle(mask)
        assert rle == runs and area_from_rle(rle) == area_from_rle(coco) == area == mask.sum()
        assert compress_rle(rle) == coco and decompress_rle(coco) == rle
        assert np.array_equal(rle_to_mask(rle), mask) and np.array_equal(rle_to_mask(coco), mask)
    big = NUMBERS["rle.big"]
    assert mask_to_rle(ARRAYS["rle.big_mask"].astype(bool)) == big["uncompressed"]
    assert compress_rle(big["uncompressed"]) == big["coco"]


@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 1.0), (0.5, 0.25)])
def test_stability(threshold, offset):
    scores = stability_scores(torch.from_numpy(ARRAYS["stability.logits"]), threshold, offset)
    expected = ARRAYS[f"stability.score_thr{threshold}_off{offset}"]
    assert math.isnan(expected[4])
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("area", [5, 30, 100000])
@pytest.mark.parametrize("mode", ["holes", "islands"])
def test_small_regions(mode, area):
    mask, changed = remove_small_regions(ARRAYS["small.mask"].astype(bool), area, mode)
    assert changed == NUMBERS[f"small.{mode}_{area}.changed"]
    assert np.array_equal(mask, ARRAYS[f"small.{mode}_{area}"].astype(bool))


def test_small_regions_of_nothing_and_of_everything():
    empty, full = np.zeros((8, 9), bool), np.ones((8, 9), bool)
    for mask, mode, key in ((empty, "islands", "small.empty_islands"), (full, "holes", "small.full_holes")):
        cleaned, changed = remove_small_regions(mask, 10, mode)
        assert [int(cleaned.sum()), changed] == NUMBERS[key]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression(threshold):
    kept = non_maximum_suppression(ARRAYS["nms.boxes"], ARRAYS["nms.scores"], threshold)
    assert kept.tolist() == ARRAYS[f"nms.keep_{threshold}"].tolist()


def test_grids_and_crops():
    for side in (1, 4, 7):
        np.testing.assert_allclose(point_grid(side), ARRAYS[f"grid.{side}"])
    for side in (8, 9):
        assert [len(grid) for grid in layer_point_grids(side, 2, 2)] == NUMBERS[f"grid.layers_{side}_2_2"]
    cases = {
        "214x320_layers1": ((214, 320), 1), "200x300_layers2": ((200, 300), 2),
        "1500x1500_layers1": ((1500, 1500), 1), "97x140_layers3": ((97, 140), 3),
    }  # fmt: skip
    for key, (size, layers) in cases.items():
        boxes, of_layer = crop_boxes(size, layers, 512 / 1500)
        assert [list(box) for box in boxes] == NUMBERS[f"crops.{key}"]["boxes"], key
        assert of_layer == NUMBERS[f"crops.{key}"]["layers"]


def test_crop_edges():
    x1, y1, x2, y2 = NUMBERS["edge.orig"]
    near = near_crop_edge(ARRAYS["edge.uncropped"], tuple(NUMBERS["edge.crop"]), (y2 - y1, x2 - x1))
    assert near.tolist() == ARRAYS["edge.near"].astype(bool).tolist()
    corner = near_crop_edge(ARRAYS["edge.boxes"], (0, 0, 100, 80), (y2 - y1, x2 - x1))  # the photo's own border is none
    assert corner.tolist() == ARRAYS["edge.near_corner"].astype(bool).tolist() == [False, True, True, True, False]
    crop, *size = NUMBERS["uncrop.crop_hw"]
    pasted = [_paste(mask.astype(bool), tuple(crop), tuple(size)) for mask in ARRAYS["uncrop.masks_in"]]
    assert np.array_equal(pasted, ARRAYS["uncrop.masks_out"].astype(bool))
    assert xyxy_to_xywh(ARRAYS["xywh.in"]) == ARRAYS["xywh.out"].tolist()


def same_records(records, expected):
    """As sets: each expected mask has one of ours, IoU ≥ 0.99, score within 1e-3, same click."""
    assert len(records) == len(expected)
    left = list(records)
    for theirs in expected:
        mask = rle_to_mask(theirs["segmentation"])
        ours = max(left, key=lambda r: (mask_iou(rle_to_mask(r["segmentation"]), mask), -off(r, theirs)))
        left.remove(ours)
        assert mask_iou(rle_to_mask(ours["segmentation"]), mask) >= 0.99
        assert off(ours, theirs) < 1e-3
        assert abs(ours["area"] - theirs["area"]) <= 1 + 0.01 * theirs["area"]
        np.testing.assert_allclose(ours["point_coords"], theirs["point_coords"])
        np.testing.assert_allclose(ours["crop_box"], theirs["crop_box"])
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], atol=1)
        if theirs["stability_score"] is None:
            assert math.isnan(ours["stability_score"])
        else:
            assert abs(ours["stability_score"] - theirs["stability_score"]) < 1e-3


def off(ours, theirs):
    return abs(ours["predicted_iou"] - theirs["predicted_iou"])


def run(name, photo):
    case = AMG[name]
    generator = SamAutomaticMaskGenerator(build("std256"), **case["settings"])
    return generator.generate(Image.open(photo)), case["records"]


def test_automatic_masks_of_a_grid_of_our_own():
    records, expected = run("syn_point_grid", GOLDEN / "synthetic_200x300.png")
    assert len(expected) == 5
    same_records(records, expected)


def test_automatic_masks_of_a_photo():
    """The photo is not ours to give away: it is looked for beside the project."""
    photo = GOLDEN.parent.parent.parent / "shared" / "golden" / "dog_320.png"
    if not photo.is_file():
        pytest.skip(f"the official notebook's photo is not at {photo}: 14 of its records are not compared")
    records, expected = run("dog_layers0", photo)
    assert len(expected) == 14
    same_records(records, expected)
