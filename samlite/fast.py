"""Fast paths: the same functions as the model's own, proven equal by tests, for where time is short."""

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from samlite import layers
from samlite.mask_decoder import MaskDecoder
from samlite.released.fast_decoder import FastReleasedMaskDecoder, FastReleasedPromptEncoder
from samlite.released.fast_encoder import FastReleasedImageEncoder
from samlite.released.image_encoder import ReleasedImageEncoder
from samlite.released.mask_decoder import ReleasedMaskDecoder
from samlite.released.prompt_encoder import ReleasedPromptEncoder
from samlite.sam import Sam


class FoldedMaskDecoder(MaskDecoder):
    """The document's decoder without the (B, C, 4g, 4g) map: the largest tensor of the model is never made.

    The second upsampling is linear, and so is the dot product after it. The mask vectors can therefore go through the
    upsampling backwards, once, in place of every location going through it forwards: v·(W·x) = (Wᵀ·v)·x.
    Exact up to rounding; same parameters, so weights go from one to the other.
    """

    def mask_logits(
        self, decoded_image: Float[Tensor, "b c g g"], mask_vectors: Float[Tensor, "b k c"]
    ) -> Float[Tensor, "b k h w"]:
        if layers._listeners:  # who looks at every step wants to see the map
            return super().mask_logits(decoded_image, mask_vectors)
        first, norm, second = self.upscaling.double_1, self.upscaling.norm, self.upscaling.double_2
        channels = first.out_channels
        weight = rearrange(first.weight, "c_in c_out p q -> (p q c_out) c_in")
        twice = F.linear(rearrange(decoded_image, "b c y x -> b (y x) c"), weight, first.bias.repeat(4))
        twice = twice.unflatten(-1, (4, channels))  # each location's 2×2 children, channels last
        twice = F.gelu(F.layer_norm(twice, (channels,), norm.weight, norm.bias, norm.eps))
        folded = einsum(mask_vectors, second.weight, "b k c_out, c_in c_out p q -> b k p q c_in")
        offset = mask_vectors @ second.bias  # (B, K)
        logits = rearrange(twice, "b l children c -> b (l children) c") @ rearrange(folded, "b k p q c -> b c (k p q)")
        logits = rearrange(
            logits, "b (y x p1 q1) (k p2 q2) -> b k (y p1 p2) (x q1 q2)",
            y=decoded_image.shape[-2], p1=2, q1=2, p2=2, q2=2,
        )  # fmt: skip
        return logits + offset[:, :, None, None]


def use_folded_decoder(sam: Sam) -> Sam:
    """Let a document SAM decode through ``FoldedMaskDecoder``; weights are shared, results equal. Returns ``sam``."""
    if type(sam.mask_decoder) is not MaskDecoder:
        raise TypeError(f"only the document's MaskDecoder can be folded, not {type(sam.mask_decoder).__name__}")
    sam.mask_decoder.__class__ = FoldedMaskDecoder
    return sam


FAST = {  # plain → fast
    MaskDecoder: FoldedMaskDecoder,
    ReleasedImageEncoder: FastReleasedImageEncoder,
    ReleasedPromptEncoder: FastReleasedPromptEncoder,
    ReleasedMaskDecoder: FastReleasedMaskDecoder,
}
PLAIN = {fast: plain for plain, fast in FAST.items()}


def use_fast_paths(sam: Sam) -> Sam:
    """Give every part that has a fast path its fast path; weights are shared, results equal. Returns ``sam``.

    For the released architecture they run on a CPU without gradients, and the plain path everywhere else; the
    document's has a folded decoder. The registry does this with the released models.
    """
    for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder):
        part.__class__ = FAST.get(type(part), type(part))
    return sam


def use_plain_paths(sam: Sam) -> Sam:
    """The way back: every part computes as it is read. Returns ``sam``."""
    for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder):
        part.__class__ = PLAIN.get(type(part), type(part))
        part.__dict__.pop("_kept", None)
    return sam
