"""Frames: the longest side resized as in the release, and every way between two frames exact."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional as F

from samlite.frames import PhotoFrames, ResizeLongestSide

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN / "preprocessing.safetensors")


def test_longest_side_shapes_are_those_of_the_release():
    shapes = json.loads((GOLDEN / "longest_side_shapes.json").read_text())
    assert len(shapes) == 9
    for name, expected in shapes.items():
        size, target = name.split("->")
        height, width = map(int, size.split("x"))
        assert ResizeLongestSide.get_preprocess_shape(height, width, int(target)) == tuple(expected), name


@pytest.mark.parametrize("way", ["down", "up"])
def test_resized_pictures_are_those_of_the_release(golden, way):
    resized = ResizeLongestSide(64).apply_image(golden[f"resize.{way}_in"])
    np.testing.assert_array_equal(resized, golden[f"resize.{way}_out"])


def test_tensors_are_resized_as_in_the_release(golden):
    resized = ResizeLongestSide(64).apply_image_torch(torch.from_numpy(golden["resize.torch_in"]))
    np.testing.assert_allclose(resized.numpy(), golden["resize.torch_out"], atol=1e-5, rtol=1e-6)


def test_coordinates_are_scaled_as_in_the_release(golden):
    transform, size = ResizeLongestSide(64), (37, 81)
    points, boxes = golden["coords.in"], golden["coords.boxes_in"]
    before = points.copy()
    np.testing.assert_allclose(transform.apply_coords(points, size), golden["coords.out"], rtol=1e-12)
    np.testing.assert_allclose(transform.apply_boxes(boxes, size), golden["coords.boxes_out"], rtol=1e-12)
    np.testing.assert_array_equal(points, before)
    moved = transform.apply_coords_torch(torch.from_numpy(points), size)
    assert moved.dtype == torch.float32
    np.testing.assert_allclose(moved, golden["coords.out"], rtol=1e-6)
    moved = transform.apply_boxes_torch(torch.from_numpy(boxes).long(), size)
    np.testing.assert_allclose(moved, golden["coords.boxes_out"], rtol=1e-6)


SIZES = [(97, 140), (140, 97), (128, 128), (2000, 1500), (5, 7)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("source", "target"), list(permutations(PhotoFrames.NAMES, 2)))
def test_every_way_between_two_frames_and_back_is_exact(size, source, target):
    frames = PhotoFrames(size, image_size=128, grid_size=16)
    points = np.random.default_rng(0).uniform(-3, 150, (4, 5, 2))
    there = frames.move_points(points, source, target)
    assert not np.allclose(there, points) or size == (128, 128)
    np.testing.assert_allclose(frames.move_points(there, target, source), points, atol=1e-9)
    boxes = points.reshape(4, 5, 2)[:, :2].reshape(4, 4)
    np.testing.assert_allclose(frames.move_boxes(boxes, source, target).reshape(4, 2, 2), there[:, :2], atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_the_way_to_the_input_frame_is_that_of_the_predictor(size):
    points = np.random.default_rng(0).uniform(0, 100, (6, 2))
    frames = PhotoFrames(size, image_size=128, grid_size=16)
    expected = ResizeLongestSide(128).apply_coords(points, size)
    np.testing.assert_allclose(frames.move_points(points, "original", "input"), expected, rtol=1e-12)


def test_rounded_grid_coordinates_say_which_patch_holds_a_pixel():
    frames = PhotoFrames((128, 128), image_size=128, grid_size=16)  # patches of 8
    pixels = np.stack(np.meshgrid(np.arange(128), np.arange(128)), axis=-1)
    np.testing.assert_array_equal(np.rint(frames.move_points(pixels, "input", "grid")), pixels // 8)


@pytest.mark.parametrize("frame", ["grid", "low_res"])
def test_frames_agree_with_the_interpolation_of_masks(frame):
    """A map whose value is its own x coordinate, enlarged by torch, says where each input pixel reads it."""
    frames = PhotoFrames((128, 128), image_size=128, grid_size=16)
    cells = {"grid": 16, "low_res": frames.low_res_size}[frame]
    ramp = torch.arange(cells, dtype=torch.float64).expand(1, 1, cells, cells)
    read_at = F.interpolate(ramp, (128, 128), mode="bilinear", align_corners=False)[0, 0, 0].numpy()
    x = np.arange(128)
    expected = frames.move_points(np.stack([x, x], axis=-1), "input", frame)[:, 0]
    inside = (expected >= 0) & (expected <= cells - 1)  # beyond the outermost centres interpolation holds still
    assert inside.sum() > 110
    np.testing.assert_allclose(read_at[inside], expected[inside], atol=1e-12)


def test_half_a_pixel_lies_between_the_rule_for_prompts_and_the_rule_for_pictures():
    """The module says: prompts are off by 0.5 · |1 − scale| pixels of the input frame. Here: 512 → 128, 0.375."""
    frames = PhotoFrames((512, 512), image_size=128, grid_size=16)
    ramp = torch.arange(512, dtype=torch.float64).expand(1, 1, 512, 512)
    small = F.interpolate(ramp, (128, 128), mode="bilinear", align_corners=False)[0, 0, 0].numpy()  # x seen by pixels
    prompts = frames.move_points(np.stack([small, small], axis=-1), "original", "input")[:, 0]
    np.testing.assert_allclose(prompts - np.arange(128), 0.5 * (1 - 128 / 512), atol=1e-12)


def test_sizes_of_the_frames_at_full_size():
    frames = PhotoFrames((480, 640), image_size=1024, grid_size=64)
    assert (frames.input_size, frames.patch_size, frames.low_res_size) == ((768, 1024), 16, 256)


def test_unknown_frame_is_named():
    with pytest.raises(ValueError, match="no frame 'photo': the frames are original, input, grid, low_res"):
        PhotoFrames((10, 10), 128, 16).move_points(np.zeros((1, 2)), "photo", "grid")


def test_the_aspect_ratio_may_reach_its_limit():
    assert PhotoFrames((10, 160), image_size=128, grid_size=16).input_size == (8, 128)
    with pytest.raises(ValueError, match="about 16:1"):
        PhotoFrames((10, 171), image_size=128, grid_size=16)


def test_several_boxes_around_each_object_keep_their_shape():
    """(B, M, 4) is M boxes around each of B objects, and not B·M objects."""
    transform, boxes = ResizeLongestSide(64), np.arange(24.0).reshape(2, 3, 4)
    moved = transform.apply_boxes(boxes, (37, 81))
    assert moved.shape == (2, 3, 4) and np.array_equal(moved[1], transform.apply_boxes(boxes[1], (37, 81)))
    assert transform.apply_boxes_torch(torch.from_numpy(boxes), (37, 81)).shape == (2, 3, 4)
    assert transform.apply_boxes(boxes[0, 0], (37, 81)).shape == (1, 4)
