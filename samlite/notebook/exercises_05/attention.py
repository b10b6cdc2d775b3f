"""The exercise on self-attention, with the weights of the shipped model (document §1.5.4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from einops import rearrange
from torch import Tensor, nn

from samlite.layers import Attention
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_05.material import views


def _attention(
    tokens: Tensor, layer: Attention, *,
    split: str = "b l (heads d) -> b heads l d", merge: str = "b heads l d -> b l (heads d)",
    scale: Callable[[Tensor], float] = lambda q: math.sqrt(q.shape[-1]), axis: int = -1, project: bool = True,
    key: str = "key_projection", value: str = "value_projection",
) -> dict[str, Tensor]:  # fmt: skip
    """Self-attention step by step, with switches for what easily goes wrong."""
    q, k, v = (
        rearrange(getattr(layer, name)(tokens), split, heads=layer.heads) for name in ("query_projection", key, value)
    )
    weights = torch.softmax(q @ k.transpose(-2, -1) / scale(q), dim=axis)
    context = rearrange(weights @ v, merge, heads=layer.heads)
    return {"weights": weights, "output": layer.output_projection(context) if project else context}


def _attention_in_samlite(tokens: Tensor, layer: Attention) -> dict[str, Tensor]:
    return {"weights": layer.weights(tokens, tokens), "output": layer(tokens, tokens, tokens)}


def _heads_and_batch_mixed(tokens: Tensor, layer: Attention) -> dict[str, Tensor]:
    """Reshaped straight to (B, heads, L, D/heads): every head gets a piece of the sequence, not of the channels."""
    batch, length, width = tokens.shape

    def split(x: Tensor) -> Tensor:
        return x.reshape(batch, layer.heads, length, width // layer.heads)

    q, k = split(layer.query_projection(tokens)), split(layer.key_projection(tokens))
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
    context = (weights @ split(layer.value_projection(tokens))).reshape(batch, length, width)
    return {"weights": weights, "output": layer.output_projection(context)}


def _heads_not_merged(tokens: Tensor, layer: Attention) -> dict[str, Tensor]:
    """(B, heads, L, D/heads) reshaped straight to (B, L, D)."""
    right = _attention(tokens, layer)
    v = rearrange(layer.value_projection(tokens), "b l (heads d) -> b heads l d", heads=layer.heads)
    return right | {"output": layer.output_projection((right["weights"] @ v).reshape(tokens.shape))}


@cache
def _small_attention() -> Attention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer = Attention(width=12, heads=3)
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.4)
    return layer.eval()


def _small_tokens() -> Tensor:
    return torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(1))


def _block_of_tiny(block: int) -> tuple[Tensor, Attention]:
    """What the attention of this block gets from a real photo, and the attention itself with its trained weights."""
    seen = views()
    layer = seen.sam.image_encoder.blocks[block]
    before = seen.ledger.all("encoder_block")[block - 1] if block else seen.ledger["positioned_patches"]
    return layer.attention_norm(before.tensor), layer.attention


write_self_attention = Exercise(
    name="write_self_attention",
    title="The self-attention of one block",
    difficulty=4,
    minutes=30,
    question="""
Write self-attention yourself, with the weights of a trained model. You get the normalised `tokens` `(B, L, D)` and the
layer: its four linear layers `query_projection`, `key_projection`, `value_projection`, `output_projection` (all D → D)
and its number of `heads`. Head 0 owns the first D / heads channels, head 1 the next, and so on. Return a dict with
`"weights"` `(B, heads, L, L)`, whose rows sum to 1, and `"output"` `(B, L, D)`. Do not call `layer(…)` or
`layer.weights(…)`.
""",
    code="""
def my_self_attention(tokens, layer):
    batch, length, width = tokens.shape
    # <answer: weights, output = ..., ...>
    head_width = width // layer.heads

    def split(x):  # (B, L, D) -> (B, heads, L, D/heads)
        return x.reshape(batch, length, layer.heads, head_width).transpose(1, 2)

    q = split(layer.query_projection(tokens))
    k = split(layer.key_projection(tokens))
    v = split(layer.value_projection(tokens))
    scores = q @ k.transpose(-2, -1) / math.sqrt(head_width)  # (B, heads, L, L)
    weights = scores.softmax(dim=-1)  # over the keys: each row sums to 1
    context = (weights @ v).transpose(1, 2).reshape(batch, length, width)  # heads side by side again
    output = layer.output_projection(context)
    # </answer>
    return {"weights": weights, "output": output}


write_self_attention.check(my_self_attention)
""",
    expected=_attention_in_samlite,
    stages=[
        Stage("a small layer, two sequences", lambda: (_small_tokens(), _small_attention())),
        Stage("the first block of tiny, a real photo", lambda: _block_of_tiny(0)),
        Stage("the last block of tiny", lambda: _block_of_tiny(-1 % views().blocks)),
    ],
    mistakes=[
        Mistake("scale missing", "Dot products grow with the number of channels; divide by a square root before the "
                "softmax.", partial(_attention, scale=lambda q: 1.0)),
        Mistake("scale without the root", "Divide by the square root of a head's channels, not by their number.",
                partial(_attention, scale=lambda q: float(q.shape[-1]))),
        Mistake("scale of all channels", "A head's dot product has D / heads terms, not D: the root of that.",
                lambda tokens, layer: _attention(tokens, layer, scale=lambda q: math.sqrt(tokens.shape[-1]))),
        Mistake("softmax over the queries", "Your columns sum to 1, not your rows: every query shares out its "
                "attention over the keys, the last axis.", partial(_attention, axis=-2)),
        Mistake("softmax over the heads", "The heads compete for each pair; they should not know of each other.",
                partial(_attention, axis=1)),
        Mistake("heads and sequence mixed", "A reshape straight to (B, heads, L, D/heads) gives every head a piece of "
                "the sequence. Split the channels first, then move the heads to the front.", _heads_and_batch_mixed),
        Mistake("heads interleaved", "Head 0 owns the first D/heads channels in a row, not every heads-th one.",
                partial(_attention, split="b l (d heads) -> b heads l d", merge="b heads l d -> b l (d heads)")),
        Mistake("heads not moved back", "Before heads and channels become one axis again, they must stand side by "
                "side: transpose first.", _heads_not_merged),
        Mistake("output projection missing", "One more linear layer mixes the results of the heads.",
                partial(_attention, project=False)),
        Mistake("keys made of queries", "Both sides of your dot product come from the query projection.",
                partial(_attention, key="query_projection")),
        Mistake("keys in place of values", "The weights are right; they are to average the values, not the keys.",
                partial(_attention, value="key_projection")),
    ],
    hints=[
        "Three linear layers, then split the last axis into heads: (B, L, heads, D/heads), then the heads to the "
        "second place.",
        "q @ k.transpose(-2, -1) gives every query against every key, for each head by itself: (B, heads, L, L).",
        "Divide by the root of D/heads, softmax over the last axis, times v, heads back, output projection.",
    ],
    explanation="""
samlite never stores the L × L scores in its forward pass: a fused kernel goes through them piece by piece. Your version
stores them, which is what you want for looking, and not for 4096 patches times 16 heads. Both give the same output.
""",
)  # fmt: skip
