"""What the three parts of SAM share: attention, the MLP, a LayerNorm for maps, and the naming of tensor steps.

Letters: B images, T query tokens, L key tokens, D width; heads are written out.
"""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

rearrange(torch.zeros(1), "one -> one")  # einops gets ready for PyTorch 2.6, where it cannot under torch.device("meta")

_listeners: list[Callable[[str, Tensor], None]] = []


def record(name: str, tensor: Tensor) -> Tensor:
    """Give a tensor step its name in the document; returns the tensor unchanged.

    Costs nothing unless a shape ledger listens (``samlite.shape_ledger``). The name is what chapters assert against.
    """
    for listener in _listeners:
        listener(name, tensor)
    return tensor


class Attention(nn.Module):
    """Multi-head scaled dot-product attention between two sequences.

    softmax(Q·Kᵀ / √d)·V for each head of d = D / heads channels; every query token gets one context vector, whatever
    the number of keys. ``inner_width`` (default ``width``) is where the heads live, so that a model may attend in fewer
    channels than it carries (the released decoder does, the document's does not). Raises ValueError when the heads do
    not divide it.

    Source: document §1.5.4 and §1.8.2; Vaswani et al., "Attention Is All You Need" (2017), §3.2.
    """

    def __init__(self, width: int, heads: int, inner_width: int | None = None) -> None:
        super().__init__()
        inner_width = inner_width or width
        if inner_width % heads:
            raise ValueError(f"heads must divide the width of the attention: {inner_width} channels, {heads} heads")
        self.heads = heads
        self.query_projection = nn.Linear(width, inner_width)
        self.key_projection = nn.Linear(width, inner_width)
        self.value_projection = nn.Linear(width, inner_width)
        self.output_projection = nn.Linear(inner_width, width)

    def forward(
        self, queries: Float[Tensor, "b t d"], keys: Float[Tensor, "b l d"], values: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b t d"]:
        split = "b t (heads d) -> b heads t d"
        q = rearrange(self.query_projection(queries), split, heads=self.heads)
        k = rearrange(self.key_projection(keys), split, heads=self.heads)
        v = rearrange(self.value_projection(values), split, heads=self.heads)
        context = F.scaled_dot_product_attention(q, k, v)  # a head's (T, L) scores are never stored
        return self.output_projection(rearrange(context, "b heads t d -> b t (heads d)"))

    def weights(self, queries: Float[Tensor, "b t d"], keys: Float[Tensor, "b l d"]) -> Float[Tensor, "b heads t l"]:
        """The attention weights that ``forward`` uses but does not store; each row sums to 1. For looking at."""
        split = "b t (heads d) -> b heads t d"
        q = rearrange(self.query_projection(queries), split, heads=self.heads)
        k = rearrange(self.key_projection(keys), split, heads=self.heads)
        return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)


class MLP(nn.Module):
    """Linear layers with an activation between them: ``widths`` = (in, hidden…, out).

    Acts on the last axis of any tensor. Source: document §1.5.4 (feed-forward), §1.8.2, §1.8.4.
    """

    def __init__(self, *widths: int, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.activation = activation

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of a map (B, C, H, W), separately at every location; eps 1e-6."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)
