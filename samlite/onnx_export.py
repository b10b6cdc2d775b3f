"""ONNX: the two halves of a model as files that run without PyTorch, in any language with an ONNX runtime.

    encoder: pixels (1, 3, h, w) → image_embeddings (1, 256, 64, 64)
    decoder: image_embeddings, point_coords (1, N, 2), point_labels (1, N), mask_input, has_mask_input, orig_im_size
             → masks (1, K, H, W), iou_predictions (1, K), low_res_masks (1, K, 256, 256)

The decoder's names and their order are those of the released package. A box is two points with the labels 2 and 3, its
corners. h, w, N, H and W are open: one file serves every photo and every number of points. Needs the extra ``onnx``.
"""

import importlib.util
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.environment import SetupError, pip_install
from samlite.sam import Sam

DECODER_INPUTS = (
    "image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"
)  # fmt: skip
DECODER_OUTPUTS = ("masks", "iou_predictions", "low_res_masks")
OPSET = 18


class OnnxEncoder(nn.Module):
    """A resized photo → its image embedding; mean, deviation and padding included.

    ``pixels``: RGB in 0…255, the longest side S or less.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, pixels: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 c grid grid"]:
        return self.sam.encode_image(self.sam.normalise(pixels))


class OnnxDecoder(nn.Module):
    """Prompts on an image embedding → masks of the photo's own size; the interface of the released package.

    ``point_coords`` are pixels of the input frame. ``point_labels``: 1 object, 0 background, 2 and 3 the corners of a
    box, and −1, for the released architecture alone, no point: with points and no box it wants one such point more.
    ``has_mask_input``: 1, or 0 for a ``mask_input`` that does not count. ``orig_im_size``: H, W of the photo. All
    numbers are float32, as released.

    ``one_mask``: K is 1, and which mask it is the number of points decides as in the released package (the document's
    architecture takes the best IoU prediction); without, K counts all masks of the decoder.
    """

    def __init__(self, sam: Sam, one_mask: bool = False) -> None:
        super().__init__()
        self.sam = sam
        self.one_mask = one_mask

    def forward(
        self,
        image_embeddings: Float[Tensor, "1 c grid grid"],
        point_coords: Float[Tensor, "1 n 2"],
        point_labels: Float[Tensor, "1 n"],
        mask_input: Float[Tensor, "1 1 low low"],
        has_mask_input: Float[Tensor, "1"],
        orig_im_size: Float[Tensor, "2"],
    ) -> tuple[Float[Tensor, "1 k height width"], Float[Tensor, "1 k"], Float[Tensor, "1 k low low"]]:
        prompts = self.sam.prompt_encoder
        tokens = self.sparse_tokens(point_coords, point_labels)  # (1, N, 256)
        dense = torch.where(has_mask_input > 0, prompts.mask_prompt(mask_input), prompts.absent_mask())
        logits, iou = self.sam.mask_decoder(image_embeddings, prompts.image_positions(), tokens, dense)
        if self.one_mask:
            best = self.ranking(iou, point_labels).argmax(dim=1)
            logits, iou = logits[:, best], iou[:, best]
        return self.resize(logits, orig_im_size), iou, logits

    def sparse_tokens(self, points: Float[Tensor, "1 n 2"], labels: Float[Tensor, "1 n"]) -> Float[Tensor, "1 n c"]:
        """What the prompt encoder makes of points and corners, in the order in which they come."""
        prompts = self.sam.prompt_encoder
        codes = prompts.coordinates((points + 0.5) / self.sam.image_size)
        tokens = codes + prompts.type_embedding(labels.clamp(min=0).long())
        if hasattr(prompts, "not_a_point"):  # the released architecture
            tokens = torch.where((labels < 0)[..., None], prompts.not_a_point, tokens)
        return tokens

    def ranking(self, iou: Float[Tensor, "1 k"], labels: Float[Tensor, "1 n"]) -> Float[Tensor, "1 k"]:
        """The larger, the better. Released: mask 0 comes first from three points on, and last before that."""
        if not hasattr(self.sam.prompt_encoder, "not_a_point"):
            return iou
        first = torch.zeros_like(iou)
        first[:, 0] = 1000.0
        return iou + (torch.ones_like(labels).sum() - 2.5) * first

    def resize(
        self, low_res_logits: Float[Tensor, "1 k low low"], orig_im_size: Float[Tensor, "2"]
    ) -> Float[Tensor, "1 k height width"]:
        """`Sam.resize_masks`, with sizes that are known only when the file runs."""
        side = self.sam.image_size
        logits = F.interpolate(low_res_logits, (side, side), mode="bilinear", align_corners=False)
        input_size = torch.floor(orig_im_size * (side / orig_im_size.max()) + 0.5)
        logits = self.resize_rows(logits, input_size[0], orig_im_size[0])
        logits = self.resize_rows(logits.transpose(-2, -1), input_size[1], orig_im_size[1])
        return logits.transpose(-2, -1)

    @staticmethod
    def resize_rows(
        picture: Float[Tensor, "1 k rows columns"], used: Float[Tensor, ""], wanted: Float[Tensor, ""]
    ) -> Float[Tensor, "1 k wanted columns"]:
        """The first ``used`` rows → ``wanted`` rows, each a mean of the two nearest: bilinear, one axis at a time."""
        count = wanted.long().item()
        torch._check(count >= 1)
        rows = torch.arange(count, device=picture.device)
        place = ((rows + 0.5) * (used / wanted) - 0.5).clamp(min=0)
        above = place.floor()
        below = torch.minimum(above + 1, used - 1)
        share = (place - above)[:, None]
        return picture[:, :, above.long()] * (1 - share) + picture[:, :, below.long()] * share


def export_encoder(sam: Sam, path: str | Path) -> Path:
    """Write the image encoder; input ``pixels``, output ``image_embeddings``. Returns the path.

    Raises SetupError without onnx and onnxscript, ValueError when the model is not on the CPU.
    """
    side = sam.image_size
    pixels = torch.zeros(1, 3, side - 3, side - 1)
    sizes = {"pixels": {2: torch.export.Dim("height", min=1, max=side), 3: torch.export.Dim("width", min=1, max=side)}}
    return _export(OnnxEncoder(sam), (pixels,), path, ("pixels",), ("image_embeddings",), sizes)


def export_decoder(sam: Sam, path: str | Path, one_mask: bool = False) -> Path:
    """Write prompt encoder and mask decoder as one graph (`OnnxDecoder`). Returns the path.

    Raises SetupError without onnx and onnxscript, ValueError when the model is not on the CPU.
    """
    inputs = tuple(torch.from_numpy(value) for value in decoder_inputs(sam).values())
    points = torch.export.Dim("points", min=1)
    sizes = dict.fromkeys(DECODER_INPUTS) | {"point_coords": {1: points}, "point_labels": {1: points}}
    return _export(OnnxDecoder(sam, one_mask), inputs, path, DECODER_INPUTS, DECODER_OUTPUTS, sizes)


def decoder_inputs(sam: Sam, points: int = 3, mask: bool = False, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs of the right names and shapes: an example of what the file takes, and what it is checked with."""
    random = np.random.RandomState(seed)
    side, grid = sam.image_size, sam.prompt_encoder.grid_size
    values = {
        "image_embeddings": random.standard_normal((1, sam.prompt_encoder.channels, grid, grid)),
        "point_coords": random.uniform(0, side, (1, points, 2)),
        "point_labels": np.resize([1, 0, 2, 3], (1, points)),
        "mask_input": 4 * random.standard_normal((1, 1, 4 * grid, 4 * grid)) * mask,
        "has_mask_input": np.array([mask]),
        "orig_im_size": np.array([side * 3 // 4 + 5, side * 5 // 4 + 1]),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def largest_difference(
    sam: Sam, encoder: str | Path | None, decoder: str | Path | None, one_mask: bool = False
) -> float:
    """Run exported files by onnxruntime and ``sam`` by PyTorch: the largest difference, relative to the largest value.

    Other sizes and numbers of points than those of the export. NaN where an answer is. Raises SetupError without
    onnxruntime, ValueError without a file.
    """
    if encoder is None and decoder is None:
        raise ValueError("neither encoder nor decoder was given: there is nothing to compare")
    differences = []
    side = sam.image_size
    if encoder is not None:
        for height, width in ((side, side), (side, side // 2 + 1), (side // 3, side)):
            pixels = np.random.RandomState(height).uniform(0, 255, (1, 3, height, width)).astype(np.float32)
            differences += _differences(OnnxEncoder(sam), {"pixels": pixels}, encoder)
    if decoder is not None:
        for points, mask in ((1, False), (2, True), (5, False)):
            differences += _differences(OnnxDecoder(sam, one_mask), decoder_inputs(sam, points, mask, points), decoder)
    return float(np.max(differences))  # NaN stays NaN, and is below no tolerance


def _differences(module: nn.Module, inputs: dict[str, np.ndarray], path: str | Path) -> list[float]:
    _require("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = session.run(None, inputs)
    with torch.no_grad():
        ours = module.eval()(*map(torch.from_numpy, inputs.values()))
    ours = [value.numpy() for value in (ours if isinstance(ours, tuple) else (ours,))]
    if [value.shape for value in ours] != [value.shape for value in theirs]:
        return [math.inf]
    return [float(abs(a - b).max() / max(abs(a).max(), 1e-12)) for a, b in zip(ours, theirs, strict=True)]


def _export(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: str | Path,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    sizes: dict[str, dict[int, Any] | None],
) -> Path:
    _require("onnx", "onnxscript")
    path = Path(path)
    if module.sam.device.type != "cpu":
        raise ValueError(f"the model is on {module.sam.device}: move it to the CPU for the export, sam.cpu()")
    with torch.no_grad(), _quiet():
        torch.onnx.export(
            module.eval(), inputs, path, input_names=input_names, output_names=output_names, dynamic_shapes=sizes,
            dynamo=True, opset_version=OPSET, external_data=_bytes(module) > 1 << 30, verbose=False,
        )  # fmt: skip
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's deprecations of its own, and its regrets that torchvision is not here."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(before)


def _bytes(module: nn.Module) -> int:
    return sum(value.nbytes for value in module.state_dict().values())


def _require(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(f"ONNX needs {' and '.join(missing)}: {pip_install(' '.join(missing))}")
