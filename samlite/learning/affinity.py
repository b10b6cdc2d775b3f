"""A helper in training: which places of the picture belong together? Thrown away afterwards, like the MAE's decoder.

A click teaches the encoder about one region at a time. A generated scene knows more: for every two places whether they
lie in one subpart, one part, one whole. A linear layer reads a short code for each level from the image embedding, and
the codes of two places should agree exactly when their labels do. That is 3 · A · 4L answers a scene in the place of a
few, for next to no arithmetic. The document and the paper have no such loss; the model that ships has no such layer.

Letters: B scenes, C channels, G side of the grid, L = G·G patches, A anchors, E width of a code.
"""

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.learning.shares import WHOLE, Share
from samlite.learning.simulate import PADDING

LEVELS = 3


class AffinityHead(nn.Module):
    """Image embedding (B, C, G, G) → how often pairs of places agree with the labels: one loss for the batch."""

    def __init__(self, channels: int, code: int = 16, anchors: int = 192) -> None:
        super().__init__()
        self.anchors = anchors
        self.codes = nn.Conv2d(channels, 4 * LEVELS * code, kernel_size=1)  # four places a patch, a code for each level
        self.scale = nn.Parameter(torch.full((LEVELS, 1, 1), 6.0))
        self.offset = nn.Parameter(torch.full((LEVELS, 1, 1), -3.0))

    def forward(
        self,
        embedding: Float[Tensor, "b c g g"],
        labels: Int[Tensor, "b 3 s s"],
        generator: torch.Generator,
        share: Share = WHOLE,
    ) -> Float[Tensor, ""]:
        """Binary cross-entropy of "same region", same and different weighted evenly; padding does not count."""
        codes = rearrange(
            self.codes(embedding), "b (p q level e) y x -> b level (y p x q) e", p=2, q=2, level=LEVELS
        )  # (B, 3, 4L, E)
        codes = F.normalize(codes, dim=-1)
        stride = labels.shape[-1] // (2 * embedding.shape[-1])
        places = labels[..., stride // 2 :: stride, stride // 2 :: stride].flatten(2)  # (B, 3, 4L)
        count = places.shape[-1]
        chosen = share.draw(
            lambda n: torch.randint(count, (n, self.anchors), generator=generator, device=places.device), len(places)
        )
        index = chosen[:, None].expand(-1, LEVELS, -1)  # (B, 3, A)
        anchor_codes = codes.gather(2, index[..., None].expand(-1, -1, -1, codes.shape[-1]))
        anchor_labels = places.gather(2, index)
        logits = einsum(anchor_codes, codes, "b level a e, b level n e -> b level a n") * self.scale + self.offset
        inside = places != PADDING
        counts = (inside.gather(2, index)[..., None] & inside[:, :, None]).float()
        same = (anchor_labels[..., None] == places[:, :, None]).float() * counts
        other = counts - same
        missed = (F.softplus(-logits) * same).sum(-1) / same.sum(-1).clamp(min=1)
        confused = (F.softplus(logits) * other).sum(-1) / other.sum(-1).clamp(min=1)
        return (missed + confused).mean() / 2
