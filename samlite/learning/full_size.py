"""The full ViT-H, measured: both architectures, several batches and number formats, against the machine's own peak.

Predicted first, from shapes alone (operations on the ``meta`` device), then run. On a GPU times come from device events
and memory from its allocator. Everything also runs small and on a CPU, so that the code is tested where no GPU is.
A multiply-add counts as two operations.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.learning.measure import machine
from samlite.released.official_files import CHECKPOINTS
from samlite.released.sam import released_sam
from samlite.sam import Sam, document_sam

ARCHITECTURES = ("document", "released")
WAYS = ("eager", "sdpa", "compiled")  # all scores stored; never stored; the same, compiled
SMALL = {"width": 64, "depth": 2, "heads": 4, "channels": 32, "decoder_heads": 4, "decoder_mlp": 64, "image_size": 128}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """What is measured. ``minutes``: no new row is begun after so many."""

    device: str = "cpu"
    small: bool = False
    batches: tuple[int, ...] = (1, 2, 4, 8)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    ways: tuple[str, ...] = WAYS
    rounds: int = 5
    minutes: float = 8.0
    points_per_side: int = 32


def build(architecture: str, small: bool, device: str) -> Sam:
    """The document's or the released ViT-H with random weights, or a small model of the same architecture."""
    if architecture == "document":
        return document_sam(**SMALL if small else {}, device=device).eval()
    released = SMALL | {"window": 3, "global_blocks": (1,)} if small else CHECKPOINTS["vit_h"].sizes
    return released_sam(**released, device=device).eval()


def operations(encoder: nn.Module) -> int:
    """Operations of one image through an encoder on ``meta``: products of matrices and convolutions, × 2."""
    image = torch.empty(1, 3, encoder.image_size, encoder.image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        encoder(image)
    return counter.get_total_flops()


def matmul_peak(device: str, dtype: torch.dtype, side: int = 8192, rounds: int = 5) -> float:
    """Operations a second of one large product of matrices: the most that this machine does in practice."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, device, rounds)


def seconds_of(call: Callable[[], object], device: str, rounds: int) -> float:
    """Median over the rounds, after two calls that do not count."""
    for _ in range(2):
        call()
    return statistics.median(_once(call, device) for _ in range(rounds))


def _once(call: Callable[[], object], device: str) -> float:
    if not device.startswith("cuda"):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    call()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000


@torch.no_grad()
def rows(plan: Plan) -> Iterator[dict[str, Any]]:
    """One row a measurement, as soon as it is there; what does not fit into memory is a row that says so."""
    begun = time.monotonic()
    side = 256 if plan.small else 8192
    peaks = {}
    for name in plan.dtypes:
        peaks[name] = matmul_peak(plan.device, DTYPES[name], side, plan.rounds)
        yield {"what": "matmul peak", "dtype": name, "side": side, "tera_operations_a_second": peaks[name] / 1e12}
    for architecture in ARCHITECTURES:
        per_image = operations(build(architecture, plan.small, "meta").image_encoder)
        yield {"what": "predicted", "architecture": architecture, "operations_an_image": per_image}
        sam = build(architecture, plan.small, plan.device)
        yield from _decode(sam, architecture, plan)
        yield _everything(sam, architecture, plan)
        for dtype in plan.dtypes:
            yield _agreement(sam, architecture, dtype, plan)
            sam.image_encoder.to(DTYPES[dtype])
            for way in plan.ways:
                encoder = torch.compile(sam.image_encoder) if way == "compiled" else sam.image_encoder
                for batch in plan.batches:
                    if time.monotonic() - begun > 60 * plan.minutes:
                        return
                    row = {"what": "encode", "architecture": architecture, "dtype": dtype, "way": way, "batch": batch}
                    yield row | _encode(encoder, sam, batch, way, plan, per_image, peaks[dtype])
            sam.image_encoder.to(torch.float32)


def _encode(
    encoder: nn.Module, sam: Sam, batch: int, way: str, plan: Plan, per_image: int, peak: float
) -> dict[str, Any]:
    size = sam.image_size
    images = torch.randn(batch, 3, size, size, device=plan.device, dtype=next(encoder.parameters()).dtype)
    with sdpa_kernel(SDPBackend.MATH) if way == "eager" else nullcontext():
        try:
            _forget_peak(plan.device)
            embedding = encoder(images)
            grid = sam.prompt_encoder.grid_size
            assert embedding.shape == (batch, SMALL["channels"] if plan.small else 256, grid, grid)
            seconds = seconds_of(lambda: encoder(images), plan.device, plan.rounds)
        except torch.OutOfMemoryError:
            return {"out_of_memory": True}
    return {
        "seconds": seconds,
        "images_a_second": batch / seconds,
        "share_of_peak": per_image * batch / seconds / peak,
        "peak_megabytes": _peak(plan.device),
    }


def _decode(sam: Sam, architecture: str, plan: Plan) -> Iterator[dict[str, Any]]:
    """One photo encoded, then clicks: 1 at once and 64 at once. Prompts and masks stay in float32 always."""
    embedding = sam.encode_image(torch.randn(1, 3, sam.image_size, sam.image_size, device=plan.device))
    for prompts in (1, 64):
        points, labels = _clicks(sam, prompts, plan.device)
        low_res_logits, iou = sam.decode_masks(embedding, points, labels)
        low = 4 * sam.prompt_encoder.grid_size
        assert low_res_logits.shape == (prompts, 3, low, low) and iou.shape == (prompts, 3)
        seconds = seconds_of(lambda p=points, q=labels: sam.decode_masks(embedding, p, q), plan.device, plan.rounds)
        yield {
            "what": "decode", "architecture": architecture, "dtype": "float32", "prompts": prompts, "seconds": seconds,
            "prompts_a_second": prompts / seconds,
        }  # fmt: skip


def _clicks(sam: Sam, prompts: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.rand(prompts, 1, 2, device=device) * sam.image_size
    return points, torch.ones(prompts, 1, dtype=torch.long, device=device)


def _agreement(sam: Sam, architecture: str, dtype: str, plan: Plan) -> dict[str, Any]:
    """IoU of the masks of 16 clicks, encoder in ``dtype`` against encoder in float32; random weights."""
    image = torch.randn(1, 3, sam.image_size, sam.image_size, device=plan.device)
    prompts = _clicks(sam, 16, plan.device)
    exact = sam.decode_masks(sam.encode_image(image), *prompts)[0] > 0
    sam.image_encoder.to(DTYPES[dtype])
    masks = sam.decode_masks(sam.encode_image(image.to(DTYPES[dtype])).float(), *prompts)[0] > 0
    sam.image_encoder.to(torch.float32)
    union = (masks | exact).sum((-2, -1)).clamp(min=1)
    iou = (masks & exact).sum((-2, -1)) / union
    return {"what": "agreement", "architecture": architecture, "dtype": dtype, "mask_iou": iou.mean().item()}


def _everything(sam: Sam, architecture: str, plan: Plan) -> dict[str, Any]:
    """Automatic masks of one photo, filters off, so that random weights do the work of trained ones."""
    photo = torch.randint(0, 256, (sam.image_size * 3 // 4, sam.image_size, 3), dtype=torch.uint8).numpy()
    generator = SamAutomaticMaskGenerator(
        sam, plan.points_per_side, pred_iou_thresh=0, stability_score_thresh=0, output_mode="coco_rle"
    )
    start = time.perf_counter()
    records = generator.generate(photo)
    return {
        "what": "automatic masks", "architecture": architecture, "dtype": "float32", "masks": len(records),
        "points": plan.points_per_side**2, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def where(device: str) -> dict[str, Any]:
    """The device, versions and date that the rows belong to."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {**machine(), "device": device, "gpu": name}


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.startswith("cuda") else None
