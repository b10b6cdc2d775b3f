"""The exercise on token-to-image attention, with the weights of the shipped model (document §1.8.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange
from torch import Tensor

from samlite.layers import Attention
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_08.material import random, views, with_large_weights

Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Attention]


def _in_samlite(
    tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, layer: Attention
) -> dict[str, Tensor]:
    queries, keys = tokens + token_positions, image + image_positions
    return {"weights": layer.weights(queries, keys), "output": layer(queries, keys, image)}


def _attention(
    tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, layer: Attention, *,
    ask_with_positions: bool = True, answer_with_positions: bool = True, values_with_positions: bool = False,
    image_asks: bool = False, query: str = "query_projection", key: str = "key_projection",
    scale: Callable[[Tensor, Tensor], float] = lambda q, tokens: math.sqrt(q.shape[-1]), axis: int = -1,
    project: bool = True,
) -> dict[str, Tensor]:  # fmt: skip
    """Token-to-image attention step by step, with switches for what easily goes wrong."""
    queries = tokens + token_positions if ask_with_positions else tokens
    keys = image + image_positions if answer_with_positions else image
    values = image + image_positions if values_with_positions else image
    if image_asks:
        queries, keys, values = image + image_positions, tokens + token_positions, tokens
    q, k, v = (
        rearrange(getattr(layer, name)(x), "b l (heads d) -> b heads l d", heads=layer.heads)
        for name, x in ((query, queries), (key, keys), ("value_projection", values))
    )
    weights = torch.softmax(q @ k.transpose(-2, -1) / scale(q, tokens), dim=axis)
    context = rearrange(weights @ v, "b heads l d -> b l (heads d)")
    return {"weights": weights, "output": layer.output_projection(context) if project else context}


def _heads_and_sequence_mixed(
    tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, layer: Attention
) -> dict[str, Tensor]:
    """Reshaped straight to (B, heads, L, C/heads): every head gets a piece of the sequence, not of the channels."""

    def split(x: Tensor) -> Tensor:
        return x.reshape(len(x), layer.heads, x.shape[1], x.shape[2] // layer.heads)

    q = split(layer.query_projection(tokens + token_positions))
    k = split(layer.key_projection(image + image_positions))
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
    context = (weights @ split(layer.value_projection(image))).reshape(tokens.shape)
    return {"weights": weights, "output": layer.output_projection(context)}


def _heads_and_batch_mixed(
    tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor, layer: Attention
) -> dict[str, Tensor]:
    """Folded into one axis as (heads B), and unfolded as if it were (B heads)."""
    right = _attention(tokens, image, token_positions, image_positions, layer)
    mixed = rearrange(rearrange(right["weights"], "b h t l -> (h b) t l"), "(b h) t l -> b h t l", b=len(tokens))
    v = rearrange(layer.value_projection(image), "b l (heads d) -> b heads l d", heads=layer.heads)
    return {"weights": mixed, "output": layer.output_projection(rearrange(mixed @ v, "b h t d -> b t (h d)"))}


def _small() -> Arguments:
    layer = with_large_weights(lambda: Attention(width=12, heads=3))
    return random(2, 5, 12), random(2, 9, 12, seed=2), random(2, 5, 12, seed=3), random(9, 12, seed=4), layer


def _of_tiny(block: int) -> Arguments:
    """What this stage of a block gets in a real decoding, and its attention with the trained weights."""
    seen = views()
    _, image = seen.before(block)
    layer = seen.layer(block, "token_to_image_attention")
    tokens = seen.tensor("token_self_attention", block)
    return tokens[None], image[None], seen.token_positions[None], seen.image_positions, layer


write_token_to_image = Exercise(
    name="write_token_to_image",
    title="The tokens look at the image",
    difficulty=4,
    minutes=30,
    question="""
Write the second stage of a two-way block, without residual and norm. You get `tokens` `(B, T, C)`, `image` `(B, L, C)`,
`token_positions` `(B, T, C)`, `image_positions` `(L, C)` and the trained `layer`, with `query_projection`,
`key_projection`, `value_projection`, `output_projection` (all C → C) and `heads`. Head 0 owns the first C / heads
channels, and so on. Positions are added to what becomes queries and keys, never to what becomes values. Return a dict
with `"weights"` `(B, heads, T, L)` and `"output"` `(B, T, C)`. Do not call `layer(…)` or `layer.weights(…)`.
""",
    code="""
def my_token_to_image(tokens, image, token_positions, image_positions, layer):
    # <answer: weights, output = ..., ...>
    def split(x):  # (B, length, C) -> (B, heads, length, C/heads)
        return rearrange(x, "b length (heads c) -> b heads length c", heads=layer.heads)

    q = split(layer.query_projection(tokens + token_positions))  # the tokens ask
    k = split(layer.key_projection(image + image_positions))  # the image answers
    v = split(layer.value_projection(image))  # and gives what it holds, without its positions
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, T, L)
    weights = scores.softmax(dim=-1)  # every token shares itself out over the patches
    context = rearrange(weights @ v, "b heads t c -> b t (heads c)")  # (B, T, C)
    output = layer.output_projection(context)
    # </answer>
    return {"weights": weights, "output": output}


write_token_to_image.check(my_token_to_image)
""",
    expected=_in_samlite,
    stages=[
        Stage("a small layer, two prompts", _small),
        Stage("the first block of tiny, a real photo", lambda: _of_tiny(0)),
        Stage("the last block of tiny", lambda: _of_tiny(views().blocks - 1)),
    ],
    mistakes=[
        Mistake("softmax over the tokens", "Your columns sum to 1: the tokens compete for each patch. Every token "
                "shares out its own attention over the patches, the last axis.", partial(_attention, axis=-2)),
        Mistake("softmax over the heads", "The heads compete for each pair; they should not know of each other.",
                partial(_attention, axis=1)),
        Mistake("scale missing", "Divide the dot products by a square root before the softmax.",
                partial(_attention, scale=lambda q, tokens: 1.0)),
        Mistake("scale of the full width", "A head's dot product has C / heads terms, not C: the root of that.",
                partial(_attention, scale=lambda q, tokens: math.sqrt(tokens.shape[-1]))),
        Mistake("scale without the root", "Divide by the square root of a head's channels, not by their number.",
                partial(_attention, scale=lambda q, tokens: float(q.shape[-1]))),
        Mistake("heads and sequence mixed", "A reshape straight to (B, heads, L, C/heads) gives every head a piece of "
                "the sequence. Split the channels first, then move the heads.", _heads_and_sequence_mixed),
        Mistake("heads and batch mixed", "Heads and prompts were folded into one axis in one order and unfolded in the "
                "other: a head of one prompt has become another prompt's.", _heads_and_batch_mixed),
        Mistake("queries and keys swapped", "Your image asks and the tokens answer. That is the fourth stage; here the "
                "tokens ask.", partial(_attention, image_asks=True)),
        Mistake("projections swapped", "The query projection belongs to the tokens, the key projection to the image.",
                partial(_attention, query="key_projection", key="query_projection")),
        Mistake("image positions forgotten", "The keys are made of image + image_positions: without them a click "
                "cannot find its patch.", partial(_attention, answer_with_positions=False)),
        Mistake("token positions forgotten", "The queries are made of tokens + token_positions.",
                partial(_attention, ask_with_positions=False)),
        Mistake("positions in the values", "The weights are right. Values are made of the image alone: positions say "
                "where to read, they are not what is read.", partial(_attention, values_with_positions=True)),
        Mistake("output projection missing", "One more linear layer mixes the results of the heads.",
                partial(_attention, project=False)),
    ],
    hints=[
        "Who asks? The tokens: T rows of weights, and T vectors come out.",
        "Three different sums go into the three projections: tokens with positions, image with positions, image alone.",
        "Split the channels into heads, q @ k.transpose(-2, -1), divide by the root of C/heads, softmax over the last "
        "axis, times v, heads side by side, output projection.",
    ],
    explanation="""
The result has as many vectors as there are queries, T, whatever the number of patches. The layer in samlite computes
the same without storing the weights.
""",
)  # fmt: skip
