"""Rungs of the parity ladder that the official package computes now, with the same weights, where it is installed."""

from collections.abc import Iterator
from importlib import import_module

import numpy as np
import torch
from PIL import Image

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.predictor import SamPredictor
from samlite.released.golden import GOLDEN, build
from samlite.released.official_package import official_sam, records_difference
from samlite.released.parity import CLEAR, EMBEDDING, IOU, LOGITS, Rung, compare, compare_masks

LIVE = "official code, live"
PROMPTS = (
    {"point_coords": np.array([[160, 100], [40, 30]]), "point_labels": np.array([1, 0])},
    {"box": np.array([60, 40, 250, 190])},
)
AUTOMATIC = {
    "points_per_side": 8, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.06, "stability_score_offset": 0.25,
    "box_nms_thresh": 0.75, "crop_n_layers": 1, "output_mode": "uncompressed_rle",
}  # fmt: skip


def live_official(name: str = "std256", device: str = "cpu") -> Iterator[Rung]:
    """A photo's way through both predictors, and all of its masks. Raises ImportError without the package."""
    package, sam = import_module("segment_anything"), build(name).to(device)
    official = official_sam(sam).to(device)
    photo = np.array(Image.open(GOLDEN / "synthetic_200x300.png").convert("RGB"))
    ours, theirs = SamPredictor(sam), package.SamPredictor(official)
    for predictor in (ours, theirs):
        predictor.set_image(photo)
    pair = (ours.get_image_embedding(), theirs.get_image_embedding())
    yield compare(LIVE, name, "predictor, image embedding", [pair], EMBEDDING)
    answers = [
        tuple(torch.from_numpy(part) for part in predictor.predict(**prompt, return_logits=True))
        for prompt in PROMPTS for predictor in (ours, theirs)
    ]  # fmt: skip
    pairs = list(zip(answers[::2], answers[1::2], strict=True))
    yield compare(LIVE, name, "predictor, low-res logits", [(a[2], b[2]) for a, b in pairs], LOGITS, True)
    yield compare(LIVE, name, "predictor, predicted IoU", [(a[1], b[1]) for a, b in pairs], IOU)
    yield compare_masks(LIVE, name, "predictor, masks", [(a[0], b[0] > 0) for a, b in pairs])
    records = [
        generator(model, **AUTOMATIC).generate(photo)
        for generator, model in (
            (SamAutomaticMaskGenerator, sam), (package.SamAutomaticMaskGenerator, official),
        )
    ]  # fmt: skip
    worst = records_difference(*records)
    yield Rung(LIVE, name, "automatic masks, with crops", worst, worst, CLEAR, "1 − IoU, or score", len(records[1]))
