"""The released SAM at any size: the same container as the document's, with the parts of the release."""

import os
from collections.abc import Collection

import torch

from samlite.released.checkpoints import load_checkpoint
from samlite.released.image_encoder import ReleasedImageEncoder
from samlite.released.mask_decoder import ReleasedMaskDecoder
from samlite.released.prompt_encoder import ReleasedPromptEncoder
from samlite.sam import Sam


def released_sam(
    image_size: int = 1024,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    window: int = 14,
    global_blocks: Collection[int] = (2, 5, 8, 11),
    patch_size: int = 16,
    channels: int = 256,
    decoder_heads: int = 8,
    decoder_mlp: int = 2048,
    mask_channels: int = 16,
    checkpoint: str | os.PathLike | None = None,
    device: torch.device | str | None = None,
) -> Sam:
    """The released SAM at any size, on any device (``"meta"`` for shapes alone).

    ``checkpoint``: a file in the official format, ``.pth`` or safetensors; without one the weights are random.

    The defaults are those of vit_b. ``window`` is the side of an attention window in patches, ``global_blocks`` the
    blocks without windows, ``mask_channels`` the channels of the mask prompt before its last projection.
    Raises ValueError when heads do not divide widths, patches do not tile the image or a global block does not
    exist, and what `load_checkpoint` raises.
    """
    if channels % 8:
        raise ValueError(f"channels is {channels}: the upscaling divides it by 8, so it must be a multiple of 8")
    device = torch.device(device or torch.empty(0).device)  # PyTorch 2.6 names no default device inside a `with`
    with torch.device("meta") if checkpoint is not None else device:  # no random numbers where others come in
        encoder = ReleasedImageEncoder(image_size, patch_size, width, depth, heads, window, global_blocks, channels)
        sam = Sam(
            encoder,
            ReleasedPromptEncoder(image_size, encoder.grid_size, channels, mask_channels),
            ReleasedMaskDecoder(channels, decoder_heads, decoder_mlp),
        )
    return sam if checkpoint is None else load_checkpoint(sam, checkpoint).to(device)
