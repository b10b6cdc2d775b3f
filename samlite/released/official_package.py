"""The same weights in the official package `segment-anything`, where it is installed, to compare with."""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from torch import nn

from samlite.masks import mask_iou
from samlite.released.image_encoder import ReleasedImageEncoder, WindowBlock
from samlite.released.key_map import to_official
from samlite.rle import rle_to_mask
from samlite.sam import PIXEL_MEAN, PIXEL_STD, Sam

PACKAGES = ("segment_anything", "torchvision")  # the first imports the second and does not ask for it


def is_installed() -> bool:
    return all(find_spec(package) for package in PACKAGES)


def official_sam(sam: Sam) -> nn.Module:
    """The official `Sam` with the sizes and the weights of ours. Raises ImportError where it is not installed.

    An encoder that is not the released one serves both.
    """
    parts = import_module("segment_anything.modeling")
    encoder, prompts, decoder = sam.image_encoder, sam.prompt_encoder, sam.mask_decoder
    first = decoder.blocks[0]
    official = parts.Sam(
        _official_encoder(encoder, prompts.channels) if isinstance(encoder, ReleasedImageEncoder) else encoder,
        parts.PromptEncoder(
            embed_dim=prompts.channels, image_embedding_size=(encoder.grid_size,) * 2,
            input_image_size=(encoder.image_size,) * 2, mask_in_chans=prompts.mask_prompt.project.in_channels,
        ),
        parts.MaskDecoder(
            transformer_dim=prompts.channels, iou_head_hidden_dim=decoder.iou_head.layers[0].out_features,
            transformer=parts.TwoWayTransformer(
                depth=len(decoder.blocks), embedding_dim=prompts.channels, num_heads=first.self_attention.heads,
                mlp_dim=first.mlp.layers[0].out_features,
            ),
        ),
        list(PIXEL_MEAN), list(PIXEL_STD),
    )  # fmt: skip
    state = to_official(sam.state_dict())
    if official.image_encoder is encoder:
        state = {name: value for name, value in state.items() if not name.startswith("image_encoder.")}
        state |= {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    official.load_state_dict(state, assign=True)  # shared; strict: every name on both sides
    official.mask_threshold = sam.mask_threshold
    return official.eval()


def _official_encoder(encoder: ReleasedImageEncoder, channels: int) -> nn.Module:
    blocks = encoder.blocks
    windows = [(len(b.attention.relative_rows) + 1) // 2 for b in blocks if isinstance(b, WindowBlock)]
    return import_module("segment_anything.modeling").ImageEncoderViT(
        depth=len(blocks), embed_dim=encoder.patch_projection.out_features, img_size=encoder.image_size,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), num_heads=blocks[0].attention.heads,
        patch_size=encoder.patch_size, use_rel_pos=True, window_size=windows[0] if windows else 0,
        global_attn_indexes=[i for i, b in enumerate(blocks) if not isinstance(b, WindowBlock)], out_chans=channels,
    )  # fmt: skip


def records_difference(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> float:
    """Two lists of automatic masks with runs as ``segmentation``, compared as sets: 0 when they hold the same.

    Every record of theirs takes the one of ours with the same click and crop whose mask is nearest; the largest of
    1 − IoU of the masks and of the distances of both scores counts. Infinite when one has no partner.
    """
    if len(ours) != len(theirs):
        return float("inf")
    left, worst = list(ours), 0.0
    for record in theirs:
        mask = rle_to_mask(record["segmentation"])
        partners = [
            (_distance(other, record, mask), index) for index, other in enumerate(left)
            if all(abs(a - b) < 1e-3 for a, b in zip(_place(other), _place(record), strict=True))
        ]  # fmt: skip
        if not partners:
            return float("inf")
        distance, index = min(partners)
        worst = float(np.maximum(worst, distance))  # NaN stays NaN
        del left[index]
    return worst


def _place(record: dict[str, Any]) -> list[float]:
    return [*record["point_coords"][0], *record["crop_box"]]


def _distance(record: dict[str, Any], other: dict[str, Any], other_mask: Any) -> float:
    scores = (abs(record[name] - other[name]) for name in ("predicted_iou", "stability_score"))
    return float(np.max([1 - float(mask_iou(rle_to_mask(record["segmentation"]), other_mask)), *scores]))
