"""What Apple's GPU lacks is not asked of it: no float64 reaches a device, and no operation that it does not have.

It could not be run on a Mac. In its place every operation of PyTorch on the way from photo to mask is watched: on the
CPU, where all of it runs, and on the meta device, where what is moved to a device is really moved.
"""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import samlite
from samlite import SamAutomaticMaskGenerator, SamPredictor, document_sam, released_sam
from samlite.prompt_encoder import CoordinateEncoding

SMALL = {"image_size": 64, "patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_mlp": 32}
PHOTO = np.random.RandomState(0).randint(0, 256, (40, 64, 3), dtype=np.uint8)


class LikeApplesGpu(TorchDispatchMode):
    """Raises where an operation makes float64, or moves it to a device, or is one that some versions lack."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        from_numpy = function is torch.ops.aten.lift_fresh.default  # only gives an array the face of a tensor
        if not from_numpy and any(tensor.dtype in (torch.float64, torch.complex128) for tensor in made):
            raise TypeError(f"{function} makes float64, which MPS does not have")
        if "grid_sampler" in str(function) and args[3] != 0:
            raise TypeError("grid_sample on MPS has no padding but zeros before PyTorch 2.11")
        if "_aa" in str(function):
            raise TypeError("antialiased resizing is not on MPS in every version: only through the fallback to the CPU")
        return result


def model(kind: str, device: str = "cpu") -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "document":
        return document_sam(**SMALL, device=device).eval()
    return released_sam(**SMALL, window=3, global_blocks=(), device=device).eval()


def test_the_guard_sees_what_it_should():
    with LikeApplesGpu():
        torch.ones(2).half()
        with pytest.raises(TypeError, match="makes float64"):
            torch.ones(2).double()
        with pytest.raises(TypeError, match="makes float64"):
            torch.from_numpy(np.ones(2)).to("meta")
        torch.from_numpy(np.ones(2)).float().to("meta")
        with pytest.raises(TypeError, match="no padding but zeros"):
            torch.nn.functional.grid_sample(
                torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 1, 2), padding_mode="border", align_corners=False
            )


@pytest.mark.parametrize("kind", ["document", "released"])
def test_from_photo_to_mask_without_float64(kind: str):
    predictor = SamPredictor(model(kind))
    with LikeApplesGpu():
        predictor.set_image(PHOTO)
        side = predictor.frames.low_res_size
        _, _, logits = predictor.predict([[10.5, 20.0], [3, 4]], [1, 0], box=[1, 2, 30, 35])
        predictor.predict(mask_input=logits[:1], multimask_output=False)
        predictor.predict(boxes=[[1, 2, 30, 35], [2, 3, 20, 30]], return_logits=True)
        assert logits.shape[-1] == side
        generator = SamAutomaticMaskGenerator(predictor.model, 3, pred_iou_thresh=-9, stability_score_thresh=0)
        generator.generate(PHOTO)


@pytest.mark.parametrize("kind", ["document", "released"])
def test_what_is_moved_to_a_device_is_float32(kind: str):
    predictor = SamPredictor(model(kind, "meta"))
    with LikeApplesGpu():
        predictor.set_image(PHOTO)
        points = predictor.transform.apply_coords(np.array([[[10.5, 20.0]]]), PHOTO.shape[:2])
        masks, scores, _ = predictor.predict_torch(predictor._tensor(points)[0], torch.ones(1, 1, device="meta"))
        for prompt in ({"point_coords": [[10, 20]], "point_labels": [1]}, {"box": [1, 2, 30, 35]}):
            with pytest.raises(NotImplementedError, match="[Mm]eta"):  # the way back: there is nothing to bring
                predictor.predict(**prompt)
    assert masks.device.type == scores.device.type == "meta" and scores.dtype == torch.float32


def test_whole_models_are_float32():
    for kind in ("document", "released"):
        sam = model(kind)
        assert {t.dtype for t in (*sam.parameters(), *sam.buffers())} == {torch.float32}


def test_places_outside_the_table_get_its_edge():
    """As grid_sample's padding_mode="border" does, which not every device has."""
    encoding = CoordinateEncoding(8, 4)
    places = torch.rand(2, 50, 2) * 3 - 1
    expected = torch.nn.functional.grid_sample(
        encoding.position_table.expand(2, -1, -1, -1), (2 * places - 1)[:, :, None], align_corners=False,
        padding_mode="border",
    )[..., 0].mT  # fmt: skip
    with torch.no_grad():
        found = encoding(places) - encoding.projection(places)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("0", "0")])
def test_the_rest_falls_back_to_the_cpu_unless_told_otherwise(given, used):
    name = "PYTORCH_ENABLE_MPS_FALLBACK"
    variables = {key: value for key, value in os.environ.items() if key != name} | ({name: given} if given else {})
    code = f"import os, samlite; print(os.environ[{name!r}])"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == used


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU")
def test_tiny_on_mps():
    masks = {}
    for device in ("cpu", "mps"):
        predictor = SamPredictor(samlite.sam_model_registry["tiny"](device=device))
        predictor.set_image(PHOTO)
        masks[device] = predictor.predict([[30, 20]], [1], return_logits=True)[0]
    np.testing.assert_allclose(masks["mps"], masks["cpu"], atol=0.05)
