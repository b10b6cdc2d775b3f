"""Masks against numbers of the release, against definitions, and against their own pictures."""

import os
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.nn import functional as F

from samlite.masks import (
    as_binary,
    mask_area,
    mask_iou,
    mask_to_box,
    mask_to_logits,
    overlay_masks,
    remove_small_regions,
    save_mask,
    save_png,
)
from samlite.rle import mask_to_rle


def disc(height=97, width=140, x=60, y=40, radius=25):
    yy, xx = np.mgrid[:height, :width]
    return (xx - x) ** 2 + (yy - y) ** 2 <= radius**2


def test_boxes_are_those_of_the_release():
    golden = load_file(Path(__file__).parent / "golden" / "preprocessing.safetensors")
    masks = golden["boxes.masks"].astype(bool)
    assert len(masks) == 7
    np.testing.assert_array_equal(mask_to_box(masks), golden["boxes.xyxy"])
    np.testing.assert_array_equal(mask_to_box(masks[3]), golden["boxes.xyxy"][3])


def test_area_and_iou():
    square, right_half = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    square[2:6, 2:6], right_half[:, 4:] = True, True
    empty = np.zeros((8, 8), bool)
    assert mask_area(np.stack([square, right_half, empty])).tolist() == [16, 32, 0]
    assert mask_iou(np.stack([square, right_half, empty, ~square]), square).tolist() == [1, 8 / 40, 0, 0]
    assert mask_iou(empty, empty) == 1


def test_as_binary():
    assert as_binary(np.array([[0, 255]], np.uint8)).tolist() == [[False, True]]
    assert as_binary(np.array([[0.0, 1.0]])).tolist() == [[False, True]]
    assert not as_binary(np.zeros((2, 2))).any()
    with pytest.raises(ValueError, match="mask has 3 different values from -1 to 2.*choose a threshold"):
        as_binary(np.array([[0, -1, 2]]))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="mask has NaN or infinite values"):
            as_binary(np.array([[0, value]]))


# -------------------------------------------------------------------------------------------------- mask as a prompt


@pytest.mark.parametrize("size", [(97, 140), (140, 97), (400, 600), (64, 64), (31, 50)])
def test_mask_to_logits_comes_back_as_the_same_mask(size):
    """Logits, enlarged, cropped and resized as the model's own answers are, give the mask back but for its border."""
    height, width = size
    mask = disc(height, width, x=width * 0.4, y=height * 0.5, radius=min(size) * 0.3)
    logits = mask_to_logits(mask, image_size=128, low_res_size=64)
    assert logits.shape == (1, 64, 64)
    assert logits.dtype == np.float32
    frame = F.interpolate(torch.from_numpy(logits)[None], (128, 128), mode="bilinear", align_corners=False)
    scale = 128 / max(size)
    photo = frame[..., : round(height * scale), : round(width * scale)]
    back = F.interpolate(photo, size, mode="bilinear", align_corners=False)[0, 0].numpy() > 0
    assert mask_iou(back, mask) > 0.93


def test_logits_say_how_much_of_a_cell_is_covered():
    mask = np.zeros((128, 128), bool)
    mask[:, :33] = True  # cells are 2×2 pixels: 16 are full, half of the next is covered
    logits = mask_to_logits(mask, image_size=128, low_res_size=64, strength=6)
    assert logits[0, 0, :16].tolist() == [6] * 16
    assert logits[0, 0, 16] == 0
    assert logits[0, 0, 17:].tolist() == [-6] * 47


def test_the_padding_is_outside_the_mask():
    logits = mask_to_logits(np.ones((64, 128), bool), image_size=128, low_res_size=64)
    assert (logits[0, :32] == 8).all()
    assert (logits[0, 32:] == -8).all()


def test_large_masks_are_averaged_not_sampled():
    stripes = np.zeros((1280, 1280), bool)
    stripes[:, ::2] = True  # a sampled picture would be all or nothing; averaged, every cell is half covered
    assert abs(mask_to_logits(stripes, image_size=128, low_res_size=64)).max() < 1e-4


def test_mask_to_logits_refuses_what_is_no_mask():
    with pytest.raises(ValueError, match=r"mask has shape \(3, 4, 5\).*one mask"):
        mask_to_logits(np.zeros((3, 4, 5), bool), 128, 64)
    with pytest.raises(ValueError, match=r"mask has shape \(0, 5\)"):
        mask_to_logits(np.zeros((0, 5), bool), 128, 64)
    with pytest.raises(ValueError, match="choose a threshold"):
        mask_to_logits(np.arange(20.0).reshape(4, 5), 128, 64)


# ----------------------------------------------------------------------------------------------------------- drawing


def test_overlay_tints_the_inside_and_leaves_the_outside():
    photo = skimage.data.astronaut()
    mask = disc(512, 512, 220, 130, 90)
    drawn = overlay_masks(photo, mask, colours=((255, 0, 0),), opacity=0.5)
    np.testing.assert_array_equal(drawn[~mask], photo[~mask])
    inside = disc(512, 512, 220, 130, 85)
    np.testing.assert_allclose(drawn[inside], photo[inside] * 0.5 + np.array([127.5, 0, 0]), atol=0.51)
    assert drawn[130, 220 + 90].tolist() == [255, 0, 0]  # the rim, in the full colour


def test_overlay_of_several_masks_uses_one_colour_each():
    photo = np.zeros((20, 30, 3), np.uint8)
    masks = np.zeros((2, 20, 30), bool)
    masks[0, :, :10], masks[1, :, 20:] = True, True
    drawn = overlay_masks(photo, masks, colours=((200, 0, 0), (0, 200, 0)), opacity=1)
    assert (drawn[:, :10] == (200, 0, 0)).all()
    assert (drawn[:, 10:20] == 0).all()
    assert (drawn[:, 20:] == (0, 200, 0)).all()


@pytest.mark.parametrize("inside", [np.uint8(1), np.uint8(255), np.float32(1)])
def test_masks_of_numbers_are_drawn_and_saved_as_masks(inside, tmp_path):
    mask, photo = disc(), np.zeros((97, 140, 3), np.uint8)
    numbers = mask * inside
    np.testing.assert_array_equal(overlay_masks(photo, numbers), overlay_masks(photo, mask))
    save_mask(tmp_path / "mask.png", numbers)
    with Image.open(tmp_path / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.where(mask, 255, 0))
    with pytest.raises(ValueError, match="choose a threshold"):
        save_mask(tmp_path / "mask.png", np.arange(20.0).reshape(4, 5))


# ------------------------------------------------------------------------------------------------------------ saving


def test_saved_mask_is_an_eight_bit_png_of_its_own_size(tmp_path):
    mask = disc()
    save_mask(tmp_path / "mask.png", mask)
    with Image.open(tmp_path / "mask.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (140, 97))
        np.testing.assert_array_equal(np.asarray(picture), np.where(mask, 255, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def test_a_mask_that_cannot_be_written_leaves_the_old_one_and_no_rest(tmp_path, monkeypatch):
    save_mask(tmp_path / "mask.png", disc())
    before = (tmp_path / "mask.png").read_bytes()

    def full_disk(self, path, format):
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_mask(tmp_path / "mask.png", ~disc())
    assert (tmp_path / "mask.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]


def test_the_new_mask_takes_its_name_when_it_is_complete(tmp_path, monkeypatch):
    save_mask(tmp_path / "mask.png", disc())
    replace = os.replace

    def checked(unfinished, path):
        for file, expected in ((unfinished, ~disc()), (path, disc())):
            with Image.open(file) as picture:
                np.testing.assert_array_equal(np.asarray(picture) == 255, expected)
        replace(unfinished, path)
        moved.append(path)

    moved = []
    monkeypatch.setattr(os, "replace", checked)
    save_mask(tmp_path / "mask.png", ~disc())
    assert moved == [tmp_path / "mask.png"]


def test_masks_are_written_as_png_only(tmp_path):
    with pytest.raises(ValueError, match="must end in .png"):
        save_png(tmp_path / "mask.jpg", np.zeros((4, 4), np.uint8))


def test_masks_of_a_png_are_counted_as_masks():
    """0 and 255 as uint8, as files have it: the same answers as bool, and label maps are refused."""
    mask = disc()
    png = mask.astype(np.uint8) * 255
    assert mask_iou(png, mask) == 1 and mask_area(png) == mask.sum()
    assert mask_to_box(png).tolist() == mask_to_box(mask).tolist()
    assert mask_to_rle(png) == mask_to_rle(mask)
    holed = mask & ~disc(radius=2)
    cleaned, changed = remove_small_regions(holed.astype(np.uint8), 50, "holes")
    assert changed and np.array_equal(cleaned, mask)
    labels = mask.astype(int) + disc(radius=5)
    for refuses in (mask_area, mask_to_box, mask_to_rle, lambda m: mask_iou(m, mask)):
        with pytest.raises(ValueError, match="3 different values from 0 to 2"):
            refuses(labels)


def test_an_overlay_takes_photos_by_the_usual_rules():
    photo = np.random.default_rng(0).integers(0, 256, (97, 140, 3), dtype=np.uint8)
    assert np.array_equal(overlay_masks(photo / np.float32(255), disc()), overlay_masks(photo, disc()))
    with pytest.raises(ValueError, match="opacity is 50: a share from 0 to 1"):
        overlay_masks(photo, disc(), opacity=50)
    with pytest.raises(ValueError, match=r"masks have shape \(1, 4, 4\): the photo's height and width are \("):
        overlay_masks(photo, np.ones((1, 4, 4), bool))


def test_one_mask_goes_into_one_file(tmp_path):
    with pytest.raises(ValueError, match=r"mask has shape \(3, 97, 140\): one mask, H×W"):
        save_mask(tmp_path / "a.png", np.stack([disc()] * 3))
