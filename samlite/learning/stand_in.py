"""A released decoder with made-up weights that lets as much through the filters of automatic masks as one wishes.

What automatic masks cost depends on how many candidates survive each filter, and nobody should need 375 MB of trained
weights to measure that. So: an encoder that costs nothing (the photo's colours on the grid), the decoder at full size,
and the last layers of its heads scaled so that the official thresholds let through the shares that were asked for. The
masks are regions of the photo that change from click to click.
"""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.masks import stability_scores
from samlite.point_grids import point_grid
from samlite.predictor import SamPredictor
from samlite.released.golden import recipe_tensor
from samlite.released.key_map import from_official, to_official
from samlite.released.sam import released_sam
from samlite.sam import Sam

OUTSIDE = 0.9  # share of the pixels that lie outside an average mask
PROBES = 6  # clicks along a side by which the heads are scaled


class ColourEncoder(nn.Module):
    """A photo → its blurred colours in each cell, as C waves. It takes the place of both packages' encoders."""

    def __init__(self, image_size: int, patch_size: int, channels: int) -> None:
        super().__init__()
        self.image_size = self.img_size = image_size
        self.patch_size, self.grid_size = patch_size, image_size // patch_size
        self.blocks, self.patch_projection = nn.ModuleList(), nn.Linear(3, channels)
        random = torch.Generator().manual_seed(0)
        self.patch_projection.weight.data.normal_(generator=random)
        self.patch_projection.bias.data.uniform_(0, 2 * torch.pi, generator=random)

    def forward(self, images: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b c grid grid"]:
        cells = F.avg_pool2d(F.avg_pool2d(images, self.patch_size), 5, 1, 2, count_include_pad=False)
        return rearrange(self.patch_projection(rearrange(cells, "b c y x -> b y x c")), "b y x c -> b c y x").sin()


@torch.no_grad()
def stand_in(photo: UInt8[np.ndarray, "height width 3"], likely: float, stable: float = 0.5, **sizes: int) -> Sam:
    """A model of which a share ``likely`` of the candidates passes the filter on predicted IoU on this photo, and a
    share ``stable`` of those the filter on stability, both at the model's ``automatic_thresholds``.

    ``sizes``: those of `released_sam`, for a smaller one.
    """
    sizes = {"width": 64, "depth": 0, "heads": 2, "global_blocks": ()} | sizes
    sam = released_sam(**sizes)
    state = {name: recipe_tensor(name, tuple(value.shape)) for name, value in to_official(sam.state_dict()).items()}
    for name, value in state.items():
        if "output_upscaling" in name and value.ndim == 4:  # all four children alike: no chequered masks
            state[name] = value.mean((2, 3), keepdim=True).expand_as(value).contiguous()
    sam.load_state_dict(from_official(state))
    sam.image_encoder = ColourEncoder(sam.image_size, sam.image_encoder.patch_size, sam.prompt_encoder.channels)
    logits, iou = _probe(sam.eval(), photo)
    needed_iou, needed_stability = sam.automatic_thresholds

    head = sam.mask_decoder.iou_head.layers[-1]  # 0.1·(iou − cut) + 0.88 leaves the candidates in their order
    cut = iou.quantile(1 - likely) if likely < 1 else iou.min() - 1
    head.weight.mul_(0.1)
    head.bias.sub_(cut).mul_(0.1).add_(needed_iou)

    threshold = logits.flatten()[:: max(1, logits.numel() // 10**6)].quantile(OUTSIDE)
    passing = logits[iou > cut]
    gains = np.geomspace(0.1, 100, 61)  # all logits times this: the higher, the sharper the edges
    shares = [
        (stability_scores(passing, threshold.item(), 1 / gain) >= needed_stability).float().mean() for gain in gains
    ]
    gain = float(gains[np.abs(np.array(shares) - stable).argmin()])
    for mask_head in sam.mask_decoder.mask_heads:
        mask_head.layers[-1].weight.mul_(gain)
        mask_head.layers[-1].bias.mul_(gain)
    sam.mask_threshold = threshold.item() * gain
    return sam


def _probe(sam: Sam, photo: UInt8[np.ndarray, "height width 3"]) -> tuple[Tensor, Tensor]:
    """Logits (N, h, w) and predicted IoUs (N,) of some clicks."""
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    height, width = photo.shape[:2]
    points = predictor.transform.apply_coords(point_grid(PROBES) * [width, height], (height, width))
    answers = [
        sam.decode_masks(predictor.features, points=point[None, None], labels=torch.ones(1, 1, dtype=torch.long))
        for point in torch.from_numpy(points).float()
    ]
    return torch.cat([logits[0] for logits, _ in answers]), torch.cat([iou[0] for _, iou in answers])
