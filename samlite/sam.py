"""SAM: image encoder, prompt encoder and mask decoder put together; encode once, decode many (document §1.2)."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.batched_call import answer_batch
from samlite.image_encoder import ImageEncoder
from samlite.layers import record
from samlite.mask_decoder import MaskDecoder
from samlite.prompt_encoder import PromptEncoder

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


class Sam(nn.Module):
    """The three parts and the way between photos and tensors.

    ``encode_image`` is the expensive half and needs no prompt; ``decode_masks`` is the cheap half and can be called
    any number of times on the same embedding (document §1.2, §1.5.7). Both architectures, the document's and the
    released one, are this container with other parts.
    """

    mask_threshold = 0.0  # a mask is where its logit is positive
    automatic_thresholds = (0.88, 0.95)  # predicted IoU and stability that an automatic mask must have
    image_format = "RGB"  # the order of the channels that the encoder was trained on

    def __init__(self, image_encoder: nn.Module, prompt_encoder: nn.Module, mask_decoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    @property
    def image_size(self) -> int:
        """Side S of the square input frame in pixels (1024 at full size)."""
        return self.image_encoder.image_size

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def normalise(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 size size"]:
        """RGB in 0…255, longest side at most S → ImageNet mean and deviation removed, padded to (B, 3, S, S).

        The padding is zeros at the right and the bottom, after normalising: it looks like the mean colour.
        """
        height, width = pixels.shape[-2:]
        if max(height, width) > self.image_size:
            raise ValueError(
                f"pixels are {height}×{width}, more than the input frame of {self.image_size}: resize first"
            )
        normalised = (pixels - self.pixel_mean) / self.pixel_std
        return record("input", F.pad(normalised, (0, self.image_size - width, 0, self.image_size - height)))

    def encode_image(self, images: Float[Tensor, "b 3 size size"]) -> Float[Tensor, "b c grid grid"]:
        """Normalised images (B, 3, 1024, 1024) → image embedding (B, 256, 64, 64) (document §1.5)."""
        return self.image_encoder(images)

    def decode_masks(
        self,
        image_embedding: Float[Tensor, "#b c grid grid"],
        points: Float[Tensor, "b n 2"] | None = None,
        labels: Int[Tensor, "b n"] | None = None,
        boxes: Float[Tensor, "b m 4"] | None = None,
        mask: Float[Tensor, "b 1 mask_h mask_w"] | None = None,
        text: Float[Tensor, "b x e"] | None = None,
        multimask_output: bool = True,
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k"]]:
        """Prompts on an embedded image → (low-res logits (B, 3, 256, 256), IoU predictions (B, 3)).

        Coordinates are pixels of the input frame (S×S), labels 1 or 0, boxes (x1, y1, x2, y2), ``mask`` logits, as a
        former answer gives them, ``text`` X embeddings of width E, (B, X, E). One embedding (batch 1) serves any number
        B of prompts (document §1.7, §1.8). ``multimask_output``: True gives all three candidates, False one mask; which
        one, the decoder's ``choose_masks`` says.

        Raises ValueError for points without labels, labels without points, another number of labels than of points,
        and for text that the model was not trained on.
        """
        if points is not None and labels is not None and points.shape[:-1] != labels.shape:
            raise ValueError(
                f"points have shape {tuple(points.shape)} and labels {tuple(labels.shape)}: (B, N, 2) and (B, N) are "
                "expected, a label for every point"
            )
        sparse, dense = self.prompt_encoder(points, labels, boxes, mask, text)
        answers = self.mask_decoder(image_embedding, self.prompt_encoder.image_positions(), sparse, dense)
        return self.mask_decoder.choose_masks(*answers, multimask_output)

    def resize_masks(
        self, low_res_logits: Float[Tensor, "b k h w"], input_size: tuple[int, int], original_size: tuple[int, int]
    ) -> Float[Tensor, "b k height width"]:
        """Low-res logits → logits at the photo's own size, by bilinear interpolation (document §1.8.4).

        (B, 3, 256, 256) → (B, 3, 1024, 1024) → without the padding (``input_size`` = height, width of the resized
        photo) → (B, 3, H, W) (``original_size``).
        """
        size = (self.image_size, self.image_size)
        logits = F.interpolate(low_res_logits, size, mode="bilinear", align_corners=False)
        logits = record("input_frame_logits", logits)[..., : input_size[0], : input_size[1]]  # (B, 3, 1024, 1024)
        return record("masks", F.interpolate(logits, original_size, mode="bilinear", align_corners=False))

    # The released package's names.

    def forward(self, batched_input: Any, multimask_output: bool) -> list[dict[str, Tensor]]:
        """Several pictures at once, each with its own prompts: `samlite.batched_call.answer_batch` says how."""
        return answer_batch(self, batched_input, multimask_output)

    def preprocess(self, x: Num[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 size size"]:
        """`normalise`, for one picture as well as for a batch, and for whole numbers."""
        return self.normalise(x.float()[None])[0] if x.ndim == 3 else self.normalise(x.float())

    def postprocess_masks(
        self, masks: Float[Tensor, "b k h w"], input_size: Sequence[int], original_size: Sequence[int]
    ) -> Float[Tensor, "b k height width"]:
        """`resize_masks`: low-res logits → logits at the photo's own size."""
        return self.resize_masks(masks, tuple(input_size), tuple(original_size))


def document_sam(
    image_size: int = 1024,
    width: int = 1280,
    depth: int = 32,
    heads: int = 16,
    channels: int = 256,
    patch_size: int = 16,
    decoder_heads: int = 8,
    decoder_mlp: int = 2048,
    text_width: int | None = None,
    device: torch.device | str | None = None,
) -> Sam:
    """The document's SAM with random weights, at any size, on any device (``"meta"`` for shapes alone).

    The defaults are the document's full size. ``text_width`` is the width of the text embeddings that the model is
    to take (None: it takes none). Raises ValueError when heads do not divide widths or patches do not tile the image.
    """
    with torch.device(device or torch.empty(0).device):  # PyTorch 2.6 names no default device inside a `with`
        encoder = ImageEncoder(image_size, patch_size, width, depth, heads, channels)
        return Sam(
            encoder,
            PromptEncoder(image_size, encoder.grid_size, channels, text_width),
            MaskDecoder(channels, decoder_heads, decoder_mlp),
        )
