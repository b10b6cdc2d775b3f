"""Cost against the number of photos, blocks, prompts and grid points, and what the curves say: a line, or not."""

from typing import Any, NamedTuple

import numpy as np
import skimage
import torch

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.fast import use_fast_paths
from samlite.learning.measure import interleaved
from samlite.learning.peers import Calls
from samlite.registry import sam_model_registry
from samlite.released.sam import released_sam

CURVE_MODEL = {"image_size": 512, "width": 192, "heads": 3, "depth": 4, "global_blocks": (1, 3)}
Curves = dict[str, list[dict[str, Any]]]


def curves(small: dict[str, Any] | None = None, rounds: int = 3) -> Curves:
    """By the fast paths of small models. What a call makes is let go at once, as a program does that writes it away."""
    sizes, counts = small or CURVE_MODEL, (1, 2) if small else (1, 2, 4, 8)
    sam = use_fast_paths(released_sam(**sizes).eval())
    side, grid, channels = sam.image_size, sam.prompt_encoder.grid_size, sam.prompt_encoder.channels
    found: dict[str, Calls] = {"photos": {}, "blocks": {}, "prompts": {}, "grid points": {}}
    embedding, random = torch.randn(1, channels, grid, grid), torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, side, side, generator=random)
    one, label = torch.rand(8, 1, 2, generator=random) * side, torch.ones(8, 1, dtype=torch.long)

    def encode(model: Any, times: int) -> None:
        for _ in range(times):
            model.encode_image(image)

    def decode(times: int) -> None:
        for _ in range(times):
            sam.decode_masks(embedding, one, label)

    for count in counts:
        found["photos"][str(count)] = lambda count=count: encode(sam, count)
        deep = use_fast_paths(released_sam(**sizes | {"depth": 2 * count, "global_blocks": (0,)}).eval())
        found["blocks"][str(2 * count)] = lambda deep=deep: encode(deep, 1)
        found["prompts"][str(8 * count)] = lambda count=count: decode(count)
    tiny, photo = use_fast_paths(sam_model_registry["tiny"]()), skimage.data.astronaut()
    for across in (2, 4) if small else (8, 12, 16, 24):
        generator = SamAutomaticMaskGenerator(tiny, points_per_side=across, output_mode="coco_rle")
        found["grid points"][str(across**2)] = lambda generator=generator: generator.generate(photo)
    with torch.no_grad():
        return {
            against: [{"count": int(count), **cost._asdict()} for count, cost in interleaved(calls, rounds).items()]
            for against, calls in found.items()
        }


class Trend(NamedTuple):
    """The straight line through one curve, and how well it fits."""

    fixed: float  # processor seconds that do not depend on the count
    each: float  # processor seconds of one more
    off: float  # the largest distance of a point from the line, as a part of the largest cost
    memory: float | None  # megabytes at the largest count, divided by those at the smallest


def trends(found: Curves) -> dict[str, Trend]:
    """Least squares of processor seconds against the count."""
    result = {}
    for against, points in found.items():
        counts, times = (np.array([point[name] for point in points]) for name in ("count", "cpu_seconds"))
        each, fixed = np.polyfit(counts, times, 1)
        off = np.abs(fixed + each * counts - times).max() / times.max()
        first, last = points[0]["megabytes"], points[-1]["megabytes"]
        result[against] = Trend(float(fixed), float(each), float(off), last / first if first and last else None)
    return result


def sentence(against: str, trend: Trend) -> str:
    """The check, in words."""
    memory = "" if trend.memory is None else f"; memory at the largest count is {trend.memory:.2f} times the least's"
    return (
        f"{against}: {1e3 * trend.each:.2f} ms for each and {1e3 * max(trend.fixed, 0):.0f} ms once, "
        f"at most {trend.off:.1%} off that line{memory}"
    )
