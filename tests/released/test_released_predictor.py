"""The released architecture behind the predictor, end to end, against what the official predictor answers."""

import numpy as np
import pytest
import torch
from PIL import Image
from reference import GOLDEN, build, difference, golden, relative_difference
from safetensors.torch import load_file

from samlite import SamPredictor

ENCODER, LOGITS, IOU = 5e-6, 1e-5, 1e-5  # absolute; of the largest logit; absolute

SHARED = GOLDEN.parent.parent.parent / "shared" / "golden"  # a photo that is not ours to ship lies beside a checkout


@pytest.fixture(scope="module", params=["syn", "dog"])
def pictured(request):
    """A predictor with its picture set, the picture's short name, and the official numbers."""
    predictor = SamPredictor(build("std256"))
    if request.param == "syn":
        predictor.set_image(Image.open(GOLDEN / "synthetic_200x300.png"))
        return predictor, "syn", golden("std256_predictor")
    if not (SHARED / "dog_320.png").is_file():
        pytest.skip(f"the photo of the dog is not part of this repository, and not at {SHARED} either: not compared")
    predictor.set_image(Image.open(SHARED / "dog_320.png"))
    return predictor, "dog", load_file(SHARED / "std256_predictor.safetensors")


POINTS, LABELS, BOX = [(160, 100), (40, 30), (250, 180)], [1, 0, 1], (60, 40, 250, 190)
PREDICTOR_CASES = {
    "point": {"point_coords": POINTS[:1], "point_labels": LABELS[:1]},
    "points": {"point_coords": POINTS, "point_labels": LABELS},
    "box": {"box": BOX},
    "box_bg": {"box": BOX, "point_coords": [(100, 60)], "point_labels": [0]},
    "refine": {"point_coords": [(160, 100), (250, 180)], "point_labels": [1, 0]},
    "maskonly": {},
}


@pytest.mark.parametrize("case", PREDICTOR_CASES)
def test_predictor_end_to_end(pictured, case):
    predictor, picture, expected = pictured
    given = dict(PREDICTOR_CASES[case])
    if case in ("refine", "maskonly"):
        given["mask_input"] = expected[f"{picture}.refine.in_mask"]
    kinds = [kind for kind in ("multi", "single") if f"{picture}.{case}.{kind}.iou" in expected]
    assert kinds
    for kind in kinds:
        logits, iou, low_res = predictor.predict(**given, multimask_output=kind == "multi", return_logits=True)
        key = f"{picture}.{case}.{kind}"
        mask = np.unpackbits(expected[f"{key}.masks"].numpy(), axis=-1, count=logits.shape[-1]).astype(bool)
        clear = np.abs(logits) > 1e-3
        assert logits.shape == mask.shape and ((logits > 0) == mask)[clear].all() and clear.mean() > 0.99
        assert difference(torch.from_numpy(iou), expected[f"{key}.iou"]) < IOU
        if f"{key}.low_res" in expected:
            assert relative_difference(torch.from_numpy(low_res), expected[f"{key}.low_res"]) < LOGITS
        if f"{key}.low_res_every4" in expected:
            every4 = torch.from_numpy(low_res[:, ::4, ::4].copy())
            assert relative_difference(every4, expected[f"{key}.low_res_every4"]) < LOGITS


def test_predictor_embedding(pictured):
    predictor, picture, expected = pictured
    assert predictor.input_size == tuple(expected[f"{picture}.input_size"].tolist())
    assert difference(predictor.get_image_embedding()[:, ::8], expected[f"{picture}.features_every8"]) < ENCODER


def test_predictor_reads_bgr(pictured):
    predictor, picture, expected = pictured
    path = GOLDEN / "synthetic_200x300.png" if picture == "syn" else SHARED / "dog_320.png"
    features = expected["syn.features_every8" if picture == "syn" else "dog.bgr_features_every8"]
    rgb = np.array(Image.open(path).convert("RGB"))
    other = SamPredictor(predictor.model)
    other.set_image(np.ascontiguousarray(rgb[..., ::-1]), image_format="RGB")
    swapped = other.get_image_embedding()
    other.set_image(np.ascontiguousarray(rgb[..., ::-1]), image_format="BGR")
    assert difference(other.get_image_embedding()[:, ::8], features) < ENCODER
    assert difference(other.get_image_embedding(), swapped) > 100 * ENCODER
