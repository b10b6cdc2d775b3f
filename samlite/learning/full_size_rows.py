"""The rows of ``python -m samlite vit-h``, the most important first: each is there as soon as it is measured.

A way that fails on a machine is a row that says so, and the next one begins.
"""

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from samlite.learning.full_size import (
    ARCHITECTURES,
    DTYPES,
    Plan,
    build,
    matmul_peak,
    operations,
    padding_operations,
    seconds_of,
)
from samlite.learning.full_size_bench import Bench, Job, Row, clicks_for, mask_iou, photos
from samlite.registry import sam_model_registry
from samlite.released.gpu_encoder import DecoderAtWork, EncoderAtWork
from samlite.released.grid_attention import way_of
from samlite.sam import Sam


@torch.no_grad()
def rows(plan: Plan) -> Iterator[Row]:
    """One row a measurement. The last one says how long it took, and whether time ran out."""
    begun, found = time.monotonic(), []
    for head, measure in jobs(plan, found):
        if time.monotonic() - begun > 60 * plan.minutes:
            yield {"what": "end", "minutes": (time.monotonic() - begun) / 60, "not_begun": head}
            return
        found.append(head | attempt(measure))
        yield found[-1]
    yield {"what": "end", "minutes": (time.monotonic() - begun) / 60, "not_begun": None}


def attempt(measure: Callable[[], Row]) -> Row:
    """What was measured, or what was in the way of it."""
    try:
        return measure()
    except torch.OutOfMemoryError:
        return {"out_of_memory": True}
    except Exception as error:  # whatever it is, the other rows are still to come
        return {"error": f"{type(error).__name__}: {error}"[:600]}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def jobs(plan: Plan, found: list[Row]) -> Iterator[Job]:
    """In order of importance. ``found`` fills up as they are done: what comes next may depend on it."""
    for name in sorted(plan.dtypes):  # bfloat16 first
        yield {"what": "matmul peak", "dtype": name}, partial(_peak_of, plan, name)
    for architecture in reversed(ARCHITECTURES):
        yield {"what": "predicted", "architecture": architecture}, partial(_predicted, plan, architecture)
    ways = plan.ways
    if plan.device.startswith("cuda") and any("triton" in way for way in ways):
        yield {"what": "check", "way": "triton"}, _checked_apart
        if "error" in found[-1]:
            ways = tuple(way for way in ways if "triton" not in way)
        else:
            yield {"what": "tuned", "way": "triton"}, partial(_tuned, plan)
    benches = [Bench(plan, architecture, ways, found) for architecture in reversed(ARCHITECTURES)]
    for bench in benches:
        yield from bench.first()
        yield from bench.decoding()
        bench.drop()  # so that a card of 8 GB holds one model at a time
    yield {"what": "agreement", "model": "tiny, trained"}, partial(_agreement_of_tiny, plan)
    yield from benches[0].attention_alone()
    for bench in benches:
        yield from bench.rest()
        bench.drop()


def _peak_of(plan: Plan, dtype: str) -> Row:
    side = 256 if plan.small else 8192
    peak = matmul_peak(plan.device, DTYPES[dtype], side, 20 if plan.device.startswith("cuda") else plan.rounds)
    return {"side": side, "tera_operations_a_second": peak / 1e12}


def _predicted(plan: Plan, architecture: str) -> Row:
    encoder = build(architecture, plan.small, "meta").image_encoder
    return {"operations_an_image": operations(encoder), "of_padding": padding_operations(encoder)}


def _checked_apart() -> Row:
    """The kernel in a process of its own: what it breaks there, it does not break here."""
    command = [sys.executable, "-c", "from samlite.learning.full_size_rows import check; print(check())"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, cwd=root)
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return {"relative_difference": float(done.stdout.split()[-1])}


@torch.no_grad()
def check(side: int = 64) -> float:
    """The kernel against the plain way, at the ViT-H's sizes: the largest relative difference."""
    from samlite.released.image_encoder import RelativeAttention

    largest = 0.0
    for window, dtype in ((side, torch.bfloat16), (14, torch.bfloat16)):
        torch.manual_seed(0)
        attention = RelativeAttention(1280, 16, window).to("cuda", dtype)
        for table in (attention.relative_rows, attention.relative_columns):
            nn.init.normal_(table, std=0.3)
        qkv = torch.randn(2, side**2, 3 * 1280, device="cuda", dtype=dtype)
        result, expected = (way_of(name)(attention, qkv, window).float() for name in ("triton", "masked"))
        largest = max(largest, ((result - expected).norm() / expected.norm()).item())
    if not largest < 0.03:
        raise ValueError(f"the kernel differs by {largest}")
    return largest


def _tuned(plan: Plan) -> Row:
    """Every setting of the kernel, for windows and for the whole grid; the fastest stays."""
    from samlite.released.image_encoder import RelativeAttention
    from samlite.released.triton_attention import tune

    found = {}
    for window in (64, 14):
        attention = RelativeAttention(1280, 16, window).to(plan.device, torch.bfloat16)
        qkv = torch.randn(4, 4096, 3 * 1280, device=plan.device, dtype=torch.bfloat16)
        run = partial(way_of("triton"), attention, qkv, window)
        times = tune(window, lambda run=run: seconds_of(run, plan.device, plan.rounds))
        found[f"window_{window}"] = {str(setting): seconds for setting, seconds in times.items()}
    return found


def _agreement_of_tiny(plan: Plan) -> Row:
    """Trained weights: IoU of masks with the encoder, and with the decoder too, in bfloat16; clicks on four photos."""
    sam = sam_model_registry["tiny"]().to(plan.device).eval()
    images = photos(1 if plan.small else 4, sam.image_size).to(plan.device)
    encoder = EncoderAtWork(sam.image_encoder, torch.bfloat16)
    half = Sam(encoder, sam.prompt_encoder, DecoderAtWork(sam.mask_decoder)).to(plan.device)
    points, labels = clicks_for(sam, 64, plan.device)
    found: dict[str, list[float]] = {"mask_iou": [], "mask_iou_decoder_too": []}
    for image in images.split(1):
        expected, _ = sam.decode_masks(sam.encode_image(image), points, labels)
        embedding = encoder(image)
        found["mask_iou"].append(mask_iou(sam.decode_masks(embedding, points, labels)[0], expected))
        found["mask_iou_decoder_too"].append(mask_iou(half.decode_masks(embedding, points, labels)[0], expected))
    return {name: float(np.mean(values)) for name, values in found.items()}
