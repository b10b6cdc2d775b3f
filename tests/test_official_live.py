"""The official package `segment-anything`, where it is installed, beside samlite with the same weights."""

from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from samlite import SamAutomaticMaskGenerator, SamPredictor
from samlite.released.golden import GOLDEN, build
from samlite.released.official_package import is_installed, official_sam, records_difference
from samlite.released.parity import CLEAR, EMBEDDING, IOU, LOGITS, difference, relative_difference

needs_official = pytest.mark.skipif(
    not is_installed(), reason="segment-anything or torchvision is not installed: pip install -e '.[official]'"
)
PHOTO = GOLDEN / "synthetic_200x300.png"


@pytest.fixture(scope="module", params=["std", "std256"])
def models(request):
    ours = build(request.param)
    return ours, official_sam(ours)


def prompts(sam):
    """Name → what both prompt encoders are given: clicks, a box, a mask, all at once."""
    random, low_res = torch.Generator().manual_seed(3), 4 * sam.prompt_encoder.grid_size
    points = torch.rand(2, 3, 2, generator=random) * sam.image_size
    labels = torch.tensor([[1, 0, 1], [1, 1, -1]])
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.3, 0.3, 0.5, 0.4]]) * sam.image_size
    mask = 3 * torch.randn(2, 1, low_res, low_res, generator=random)
    return {
        "clicks": (points, labels, None, None), "boxes": (None, None, boxes, None),
        "masks": (None, None, None, mask), "all": (points, labels, boxes, mask),
    }  # fmt: skip


@needs_official
@torch.no_grad()
def test_image_embedding(models):
    ours, theirs = models
    image = torch.randn(1, 3, ours.image_size, ours.image_size, generator=torch.Generator().manual_seed(0))
    assert difference(ours.encode_image(image), theirs.image_encoder(image)) <= EMBEDDING


@needs_official
@torch.no_grad()
@pytest.mark.parametrize("kind", ["clicks", "boxes", "masks", "all"])
def test_prompt_encoder_and_mask_decoder(models, kind):
    ours, theirs = models
    points, labels, boxes, mask = prompts(ours)[kind]
    sparse, dense = ours.prompt_encoder(points, labels, None if boxes is None else boxes[:, None], mask)
    clicks = None if points is None else (points, labels)
    their_sparse, their_dense = theirs.prompt_encoder(points=clicks, boxes=boxes, masks=mask)
    assert difference(sparse, their_sparse) <= EMBEDDING
    assert difference(dense.expand_as(their_dense), their_dense) <= EMBEDDING
    positions = theirs.prompt_encoder.get_dense_pe()
    assert difference(ours.prompt_encoder.image_positions(), positions) <= EMBEDDING

    channels, grid = ours.prompt_encoder.channels, ours.prompt_encoder.grid_size
    embedding = torch.randn(1, channels, grid, grid, generator=torch.Generator().manual_seed(1))
    for multimask in (True, False):
        logits, iou = ours.mask_decoder.choose_masks(
            *ours.mask_decoder(embedding, ours.prompt_encoder.image_positions(), sparse, dense), multimask
        )
        their_logits, their_iou = theirs.mask_decoder(embedding, positions, their_sparse, their_dense, multimask)
        assert relative_difference(logits, their_logits) <= LOGITS
        assert difference(iou, their_iou) <= IOU


@needs_official
@pytest.mark.parametrize("multimask", [True, False])
def test_predictor(models, multimask):
    photo = np.array(Image.open(PHOTO).convert("RGB"))
    ours, theirs = SamPredictor(models[0]), import_module("segment_anything").SamPredictor(models[1])
    for predictor in (ours, theirs):
        predictor.set_image(photo)
    assert difference(ours.get_image_embedding(), theirs.get_image_embedding()) <= EMBEDDING
    given = {"point_coords": np.array([[160, 100], [40, 30]]), "point_labels": np.array([1, 0]),
             "box": np.array([60, 40, 250, 190])}  # fmt: skip
    for names in (("point_coords", "point_labels"), ("box",), tuple(given)):
        some = {name: given[name] for name in names}
        logits, iou, low_res = map(
            torch.from_numpy, ours.predict(**some, multimask_output=multimask, return_logits=True)
        )
        their_logits, their_iou, their_low_res = map(
            torch.from_numpy, theirs.predict(**some, multimask_output=multimask, return_logits=True)
        )
        assert relative_difference(low_res, their_low_res) <= LOGITS
        assert difference(iou, their_iou) <= IOU
        clear = their_logits.abs() > CLEAR
        assert torch.equal((logits > 0)[clear], (their_logits > 0)[clear])


@needs_official
@pytest.mark.parametrize("crops", [0, 1])
def test_automatic_masks(crops):
    photo, sam = np.array(Image.open(PHOTO).convert("RGB")), build("std256")
    settings = {
        "points_per_side": 8, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.06, "stability_score_offset": 0.25,
        "box_nms_thresh": 0.75, "crop_n_layers": crops, "output_mode": "uncompressed_rle",
    }  # fmt: skip
    ours = SamAutomaticMaskGenerator(sam, **settings).generate(photo)
    theirs = import_module("segment_anything").SamAutomaticMaskGenerator(official_sam(sam), **settings).generate(photo)
    assert len(theirs) >= 3
    assert records_difference(ours, theirs) <= 1e-3


def test_sets_of_records_are_compared_in_any_order():
    record = {"point_coords": [[1.0, 2.0]], "crop_box": [0, 0, 3, 2], "predicted_iou": 0.5, "stability_score": 0.75,
              "segmentation": {"size": [2, 3], "counts": [2, 4]}}  # fmt: skip
    other = record | {"segmentation": {"size": [2, 3], "counts": [0, 1, 5]}, "predicted_iou": 0.25}
    assert records_difference([record, other], [other, record]) == 0
    assert records_difference([record], [record | {"predicted_iou": 0.25}]) == 0.25
    assert records_difference([record], [record | {"segmentation": {"size": [2, 3], "counts": [2, 2, 2]}}]) == 0.5
    for without_partner in ([], [record, record], [record | {"point_coords": [[5.0, 2.0]]}]):
        assert records_difference([record], without_partner) == float("inf")
