"""What the full ViT-H is measured with: models, ways to run them, counted operations, clocks and memory.

Predicted first, from shapes alone (operations on the ``meta`` device), then run. On a GPU times come from device events
and memory from its allocator. Everything also runs small and on a CPU, so that the code is tested where no GPU is.
A multiply-add counts as two operations. The rows of the measurement are in `samlite.learning.full_size_rows`.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from samlite.learning.measure import machine
from samlite.released.gpu_encoder import EncoderAtWork
from samlite.released.image_encoder import WindowBlock
from samlite.released.official_files import CHECKPOINTS
from samlite.released.sam import released_sam
from samlite.released.transformers_names import transformers_sam
from samlite.sam import Sam, document_sam

ARCHITECTURES = ("document", "released")
SMALL = {"width": 64, "depth": 2, "heads": 4, "channels": 32, "decoder_heads": 4, "decoder_mlp": 64, "image_size": 128}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LIVELY = 0.3  # deviation of the tables of relative positions, which are zero in a new model: a check must see them


class Way(NamedTuple):
    """How an encoder is run. ``attention``: a name of `way_of`; None is the encoder's own."""

    attention: str | None = None
    compiled: bool = False
    graph: bool = False
    stored: bool = False  # attention with all scores stored

    def applies(self, architecture: str, device: str) -> bool:
        """Whether there is such a thing: the document has no relative positions, a CPU no graphs and no Triton."""
        only_gpu = self.graph or self.attention in ("triton", "flex")
        return (self.attention is None or architecture == "released") and (device != "cpu" or not only_gpu)


PEER = "transformers"  # the way of another package, released architecture, its attention "sdpa"
WAYS = {
    "eager": Way(stored=True),
    "sdpa": Way(),
    "compiled": Way(compiled=True),
    "graph": Way(compiled=True, graph=True),
    "concatenated": Way("concatenated"),
    "concatenated-compiled": Way("concatenated", compiled=True),
    "flex-compiled": Way("flex", compiled=True),
    "triton": Way("triton"),
    "triton-compiled": Way("triton", compiled=True),
    "triton-graph": Way("triton", compiled=True, graph=True),
    PEER: Way(),
}


def ways_of(architecture: str, device: str, chosen: tuple[str, ...]) -> list[str]:
    """Those of the ``chosen`` ways that there are for this architecture on this device."""
    applicable = [name for name in chosen if WAYS[name].applies(architecture, device)]
    return [name for name in applicable if name != PEER or architecture == "released"]


@dataclass(frozen=True)
class Plan:
    """What is measured. ``minutes``: no new row is begun after so many. ``rounds``: medians over so many, at least."""

    device: str = "cpu"
    small: bool = False
    batches: tuple[int, ...] = (1, 2, 4, 8)
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    ways: tuple[str, ...] = tuple(WAYS)
    rounds: int = 5
    minutes: float = 8.0
    points_per_side: int = 32


def build(architecture: str, small: bool, device: str) -> Sam:
    """The document's or the released ViT-H with random weights, or a small model of the same architecture."""
    if architecture == "document":
        return document_sam(**SMALL if small else {}, device=device).eval()
    sizes = SMALL | {"window": 3, "global_blocks": (1,)} if small else CHECKPOINTS["vit_h"].sizes
    sam = released_sam(**sizes, device=device).eval()
    for name, parameter in sam.image_encoder.named_parameters():
        if "relative" in name:
            nn.init.normal_(parameter, std=LIVELY)
    return sam


def operations(encoder: nn.Module) -> int:
    """Operations of one image through an encoder on ``meta``: products of matrices and convolutions, × 2."""
    image = torch.empty(1, 3, encoder.image_size, encoder.image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        encoder(image)
    return counter.get_total_flops()


def padding_operations(encoder: nn.Module) -> int:
    """Those of them that project padded places of windows, which the plain path does and nobody needs."""
    wasted = 0
    for block in encoder.blocks:
        if isinstance(block, WindowBlock):
            window = (len(block.attention.relative_rows) + 1) // 2
            padded = encoder.grid_size + -encoder.grid_size % window
            weights = block.attention.qkv_projection.weight.numel() + block.attention.output_projection.weight.numel()
            wasted += 2 * (padded**2 - encoder.grid_size**2) * weights
    return wasted


def matmul_peak(device: str, dtype: torch.dtype, side: int = 8192, rounds: int = 5) -> float:
    """Operations a second of one large product of matrices: the most that this machine does in practice."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, device, rounds)


def encoder_by(encoder: nn.Module, sam: Sam, dtype: torch.dtype, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Images → embedding by the way of that name. ``encoder`` has the ``dtype``, ``sam`` the original weights."""
    way = WAYS[name]
    if name != PEER:
        return EncoderAtWork(encoder, dtype, way.attention, way.compiled, way.graph)
    model = transformers_sam(sam, "sdpa").to(device=sam.device, dtype=dtype)
    return lambda images: model.get_image_embeddings(images.to(dtype)).float()


def backend(way: str, device: str) -> AbstractContextManager:
    """What PyTorch's attention may choose from: with all scores stored, or, on a GPU, never so."""
    if WAYS[way].stored:
        return sdpa_kernel(SDPBackend.MATH)
    if device == "cpu" or way == PEER:
        return nullcontext()
    fused = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION")
    return sdpa_kernel([getattr(SDPBackend, name) for name in fused if hasattr(SDPBackend, name)])


def seconds_of(call: Callable[[], object], device: str, rounds: int, at_least: float = 0.0) -> float:
    """Median over the rounds, after two calls that do not count; more rounds, up to 30, until ``at_least`` seconds."""
    for _ in range(2):
        call()
    times = [_once(call, device) for _ in range(rounds)]
    while sum(times) < at_least and len(times) < 30:
        times.append(_once(call, device))
    return statistics.median(times)


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


def where(device: str) -> dict[str, Any]:
    """The device, versions, settings and date that the rows belong to."""
    found = {**machine(), "device": device, "gpu": None}
    del found["dtype"]
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": card.name, "gpu_gigabytes": round(card.total_memory / 1e9, 1), "cuda": torch.version.cuda,
            "float32_products": torch.get_float32_matmul_precision(),
        }  # fmt: skip
    return found


class Memory:
    """The most that was allocated on a GPU within ``with``, beyond what was there before; None on a CPU."""

    def __init__(self, device: str) -> None:
        self.device, self.megabytes = device, None

    def __enter__(self) -> "Memory":
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.startswith("cuda"):
            self.megabytes = (torch.cuda.max_memory_allocated(self.device) - self.before) / 2**20
