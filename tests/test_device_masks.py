"""Boxes and runs made on a device are those made from arrays."""

import numpy as np
import torch

from samlite import automatic
from samlite.automatic import SamAutomaticMaskGenerator, _paste, _paste_all
from samlite.device_masks import boxes_of, rles_of
from samlite.masks import mask_to_box
from samlite.registry import sam_model_registry
from samlite.rle import mask_to_rle


def some_masks():
    masks = np.random.default_rng(0).random((6, 13, 17)) > 0.7
    masks[0], masks[1] = False, True  # empty, full
    masks[2, :, 0] = True
    return masks


def test_equal_to_those_of_arrays():
    masks = some_masks()
    assert (boxes_of(torch.from_numpy(masks)) == mask_to_box(masks)).all()
    assert rles_of(torch.from_numpy(masks)) == [mask_to_rle(mask) for mask in masks]
    none = torch.zeros(0, 4, 5, dtype=torch.bool)
    assert rles_of(none) == [] and boxes_of(none).shape == (0, 4)


def test_pasted():
    masks, crop, size = some_masks(), (3, 2, 20, 15), (19, 40)
    pasted = _paste_all(torch.from_numpy(masks), crop, size)
    assert (pasted.numpy() == np.stack([_paste(mask, crop, size) for mask in masks])).all()


def test_the_same_records(monkeypatch):
    """The way that a GPU takes, here on a CPU: a whole photo, crops too."""
    generator = SamAutomaticMaskGenerator(sam_model_registry["tiny"](), 4, crop_n_layers=1, output_mode="coco_rle")
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    photo[20:60, 30:80] = (200, 30, 30)
    expected = generator.generate(photo)
    assert expected
    monkeypatch.setattr(automatic, "RUNS_ON_DEVICE", {"cpu"})
    assert generator.generate(photo) == expected
