"""A simulated annotator: first clicks, boxes, rough masks, and clicks that correct a mask (paper, appendix A).

Letters: B scenes, P prompts a scene, R side of the scene in pixels, H W the low-res mask frame.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from samlite.learning.shares import WHOLE, Share

LEVEL_SHARE = (0.3, 0.3, 0.4)  # how often a click means the subpart, the part, the whole
SMALLEST_REGION = 0.006  # of the picture; nobody can click what is smaller
TOLD_APART = 0.8  # regions that overlap more than this are one answer, not two
PADDING = -1  # the label of pixels outside the photo


def interior_depth(labels: Int[Tensor, "b 3 r r"]) -> Float[Tensor, "b 3 r r"]:
    """How deep inside its region a pixel lies: 0 at an edge, then steps of doubling distance up to 3."""
    size = labels.shape[-1]
    framed = F.pad(labels, (1,) * 4, value=PADDING - 1)  # the border of the picture is an edge
    beside, below = framed[..., 1:] == framed[..., :-1], framed[..., 1:, :] == framed[..., :-1, :]
    blocks = beside[..., 1:, :] & beside[..., :-1, :] & below[..., 1:]  # 2 × 2 pixels of one region
    depth = torch.zeros(labels.shape, device=labels.device)
    for distance in (2, 4, 8):
        reach = max(1, distance * size // 128)
        # A window of 2·reach + 1 pixels is one region where its 2·reach blocks are, in both directions
        margin = F.pad(blocks, (reach - 1,) * 4)
        depth += _all_along(_all_along(margin, 2 * reach, -1), 2 * reach, -2)
    return depth


def _all_along(flags: Tensor, width: int, axis: int) -> Tensor:
    """True where ``width`` flags in a row are all true; that many less one shorter. Doubling needs few operations."""
    reached = 1
    while reached < width:
        step = min(reached, width - reached)
        length = flags.shape[axis] - step
        flags = flags.narrow(axis, 0, length) & flags.narrow(axis, step, length)
        reached += step
    return flags


def region_areas(labels: Int[Tensor, "b 3 r r"]) -> Float[Tensor, "b 3 r r"]:
    """For every pixel and level the number of pixels of its region."""
    flat = rearrange(labels, "b level y x -> (b level) (y x)") - PADDING
    counts = torch.zeros(len(flat), int(flat.max()) + 1, device=labels.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))
    return counts.gather(1, flat).view(labels.shape)


def sample_clicks(
    labels: Int[Tensor, "b 3 r r"],
    prompts: int,
    generator: torch.Generator,
    favour_small: float | int = 0.0,
    favour_ambiguous: float | int = 1.0,
) -> tuple[Float[Tensor, "b p 2"], Int[Tensor, "b p"]]:
    """First clicks and the level that each of them means; large and small regions of a level are about as likely.

    A pixel is drawn by (1 + depth)² / area, depth 0 to 3 (`interior_depth`): inside a region the click prefers the
    interior, and the chance of a region is proportional to the mean of (1 + depth)² over it, so that a plump one is
    clicked more often than a thin one. ``favour_small``: the chance also falls with this power of the area.
    ``favour_ambiguous``: places where the three levels are three different regions are so many times as likely.
    Points are (x, y) in pixels.
    """
    batch, levels, size, _ = labels.shape
    area = region_areas(labels)
    large = (area >= SMALLEST_REGION * size * size) & (labels != PADDING)
    nested = large.all(1) & (area[:, :-1] < TOLD_APART * area[:, 1:]).all(1)
    large = large * torch.where(nested, favour_ambiguous, 1.0)[:, None]
    weight = (1 + interior_depth(labels)) ** 2 * large / area ** (1 + favour_small) + 1e-9 * (labels != PADDING)
    pixel = torch.multinomial(rearrange(weight, "b level y x -> (b level) (y x)"), prompts, True, generator=generator)
    share = torch.tensor(LEVEL_SHARE, device=labels.device).expand(batch, levels)
    level = torch.multinomial(share, prompts, True, generator=generator)
    chosen = pixel.view(batch, levels, prompts).gather(1, level[:, None])[:, 0]
    return torch.stack([chosen % size, chosen // size], dim=-1).float(), level


def regions_at(
    labels: Int[Tensor, "b 3 r r"], points: Float[Tensor, "b p 2"], stride: int
) -> Float[Tensor, "b p 3 h w"]:
    """The subpart, part and whole under every point: the covered share of each low-res pixel."""
    batch, size = len(labels), labels.shape[-1]
    x, y = points.long().unbind(-1)
    index = (y * size + x)[:, None].expand(-1, 3, -1)
    here = rearrange(labels.flatten(2).gather(2, index), "b level p -> b p level 1 1")
    regions = (labels[:, None] == here).float()
    pooled = F.avg_pool2d(rearrange(regions, "b p level y x -> (b p) level y x"), stride)
    return rearrange(pooled, "(b p) level h w -> b p level h w", b=batch)


def boxes_around(
    targets: Float[Tensor, "n h w"],
    stride: int,
    jitter: float,
    generator: torch.Generator,
    share: Share = WHOLE,
) -> Float[Tensor, "n 4"]:
    """(x1, y1, x2, y2) in input pixels around each target; each side moved by up to ``jitter`` of the box's extent."""
    edges = []
    for axis in (1, 2):  # rows collapsed: columns remain, then the other way round
        present = (targets > 0.5).any(axis)
        index = torch.arange(present.shape[1], device=targets.device)
        first = torch.where(present, index, present.shape[1]).amin(1)
        last = torch.where(present, index, -1).amax(1)
        empty = last < 0
        edges += [torch.where(empty, 0, first), torch.where(empty, 0, last)]
    x1, x2, y1, y2 = (edge.float() for edge in edges)
    box = torch.stack([x1 * stride, y1 * stride, (x2 + 1) * stride - 1, (y2 + 1) * stride - 1], dim=-1)
    extent = torch.stack([x2 - x1 + 1, y2 - y1 + 1] * 2, dim=-1) * stride
    noise = share.draw(lambda n: torch.rand(n, 4, generator=generator, device=box.device), len(box)) * 2 - 1
    return (box + noise * jitter * extent).clamp(0, targets.shape[-1] * stride - 1)


def correcting_clicks(
    logits: Float[Tensor, "n h w"],
    targets: Float[Tensor, "n h w"],
    stride: int,
    generator: torch.Generator,
    share: Share = WHOLE,
) -> tuple[Float[Tensor, "n 2"], Int[Tensor, " n"]]:
    """One click each where the mask is wrong: foreground (1) on what is missing, background (0) on what is too much.

    The interior of the wrong region is preferred; a perfect mask gets a click inside the target.
    """
    answer = targets > 0.5
    wrong = ((logits > 0) != answer).float()
    depth = F.avg_pool2d(F.pad(wrong[:, None], (2,) * 4), 5, 1)[:, 0]
    weight = wrong * depth**2 + 1e-6 * answer + 1e-12
    # One draw a row, as torch.multinomial makes it: a race of exponential clocks, the heavier the faster
    clocks = share.draw(lambda n: weight.new_empty(n, weight[0].numel()).exponential_(generator=generator), len(weight))
    pixel = (weight.flatten(1) / clocks).argmax(1)
    width = targets.shape[-1]
    label = answer.flatten(1).gather(1, pixel[:, None])[:, 0].long()
    centre = torch.stack([pixel % width, pixel // width], dim=-1) * stride + (stride - 1) / 2
    return centre, label


def rough_masks(
    targets: Float[Tensor, "n h w"], generator: torch.Generator, share: Share = WHOLE
) -> Float[Tensor, "n 1 h w"]:
    """Mask prompts as a hasty brush draws them: the target blurred, shifted and thresholded elsewhere, as ± logits."""
    count, height, width = targets.shape
    noise = share.draw(lambda n: torch.randn(n, 1, 5, 5, generator=generator, device=targets.device), count)
    waves = F.interpolate(noise, (height, width), mode="bicubic", align_corners=True)
    size = 2 * (height // 12) + 1
    soft = F.avg_pool2d(F.pad(targets[:, None], (size // 2,) * 4), size, 1)
    strength = share.draw(lambda n: torch.rand(n, 1, 1, 1, generator=generator, device=targets.device), count) * 8 + 2
    return ((soft + 0.15 * waves > 0.45).float() * 2 - 1) * strength
