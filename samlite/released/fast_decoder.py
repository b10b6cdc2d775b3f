"""The released mask decoder on a CPU: the same numbers as `ReleasedMaskDecoder` with half the multiplications.

A click brings 7 tokens and meets 4096 image tokens, so the image's side of every step is what costs:

- before the first block has changed it, the image does not depend on the prompt. What the first block projects from
  it is computed once an image and kept; not with a mask prompt, which is added to the image beforehand;
- q·(W·x) = (Wᵀ·q)·x: a projection of 4096 image tokens is taken over by the few tokens that meet them, and likewise
  on the way out, softmax·(W·x) = W·(softmax·x). Worth it up to about 15 tokens, and with more the plain blocks run;
- a transposed 2×2 convolution with stride 2 is one matrix product with the channels last: every location becomes four,
  none of which another location touches, so that they go all the way to the masks a strip at a time.

Letters as in the decoder: B prompts, T tokens, C channels (256), L image tokens (4096).
"""

from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.layers import Attention
from samlite.mask_decoder import TwoWayBlock
from samlite.released.fast_encoder import fast_is_exact
from samlite.released.mask_decoder import ReleasedMaskDecoder
from samlite.released.prompt_encoder import ReleasedPromptEncoder

FEW_TOKENS = 15
STRIP = 512  # image tokens that are upsampled at once


class FirstProjections(NamedTuple):
    """What the first block makes of one image, and what it was made from."""

    made_from: tuple[Tensor, ...]
    image: Float[Tensor, "b l c"]
    keys: Float[Tensor, "b heads l d"]
    values: Float[Tensor, "b heads l d"]
    queries: Float[Tensor, "b heads l d"]

    def fit(self, sources: tuple[Tensor, ...]) -> bool:
        """Compared by value, which takes a millisecond: whoever changes an embedding or a weight in place is safe."""
        same = zip(self.made_from, sources, strict=True)
        return all(a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b) for a, b in same)


class FastReleasedMaskDecoder(ReleasedMaskDecoder):
    """`ReleasedMaskDecoder` with the shortcuts of this file; same parameters."""

    _kept: FirstProjections | None = None

    def forward(
        self,
        image_embedding: Float[Tensor, "#b c g g"],
        image_positions: Float[Tensor, "c g g"],
        sparse_prompt_tokens: Float[Tensor, "b prompts c"],
        dense_prompt: Float[Tensor, "#b c g g"],
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b k"]]:
        outputs = 1 + len(self.mask_tokens)
        few = outputs + sparse_prompt_tokens.shape[1] <= FEW_TOKENS
        if not (few and fast_is_exact(image_embedding)):
            return super().forward(image_embedding, image_positions, sparse_prompt_tokens, dense_prompt)
        output_tokens = torch.cat([self.iou_token, self.mask_tokens]).expand(len(sparse_prompt_tokens), -1, -1)
        tokens = torch.cat([output_tokens, sparse_prompt_tokens], dim=1)  # (B, T, 256)
        token_positions, positions = tokens, rearrange(image_positions, "c y x -> (y x) c")

        first, *others = self.blocks
        ready = self.first_projections(image_embedding, dense_prompt, positions)
        tokens, image = first_block(first, tokens, token_positions, ready)
        for block in others:
            tokens, image = next_block(block, tokens, image, token_positions, positions)
        seen = look_at_image(self.last_token_to_image, tokens + token_positions, image + positions, image)
        tokens = self.last_norm(tokens + seen)

        mask_vectors = torch.stack([head(tokens[:, 1 + k]) for k, head in enumerate(self.mask_heads)], dim=1)
        side = image_embedding.shape[-1]
        return upscale_and_multiply(self.upscaling, image, mask_vectors, side), self.iou_head(tokens[:, 0])

    def first_projections(
        self,
        image_embedding: Float[Tensor, "#b c g g"],
        dense_prompt: Float[Tensor, "#b c g g"],
        positions: Float[Tensor, "l c"],
    ) -> FirstProjections:
        """The image's side of the first block: kept from the last prompt when image, weights and "no mask" are its."""
        constant = dense_prompt.stride()[-2:] == (0, 0)  # one vector at every place, as "no mask" is
        block = self.blocks[0]
        layers = (
            block.token_to_image.key_projection, block.token_to_image.value_projection,
            block.image_to_token.query_projection,
        )  # fmt: skip
        sources = (
            image_embedding, dense_prompt[..., 0, 0] if constant else dense_prompt, positions,
            *(part for layer in layers for part in (layer.weight, layer.bias)),
        )  # fmt: skip
        kept = self._kept  # read once: another thread may put another image's in its place meanwhile
        if constant and kept is not None and kept.fit(sources):
            return kept
        image = rearrange(image_embedding + dense_prompt, "b c y x -> b (y x) c")  # (B or 1, 4096, 256)
        located = image + positions
        split = "b l (heads d) -> b heads l d"
        keys, values, queries = (
            rearrange(layer(x), split, heads=block.token_to_image.heads)
            for layer, x in zip(layers, (located, image, located), strict=True)
        )
        if not constant:
            return FirstProjections(sources, image, keys, values, queries)
        kept = self._kept = FirstProjections(tuple(part.clone() for part in sources), image, keys, values, queries)
        return kept

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}


class FastReleasedPromptEncoder(ReleasedPromptEncoder):
    """`ReleasedPromptEncoder` that keeps the positions of the image tokens, which no prompt changes."""

    _kept: tuple[Tensor, Tensor] | None = None

    def image_positions(self) -> Float[Tensor, "c g g"]:
        directions = self.coordinates.directions
        if not fast_is_exact(directions):
            return super().image_positions()
        kept = self._kept
        if kept is None or kept[0].dtype != directions.dtype or not torch.equal(kept[0], directions):
            kept = self._kept = directions.clone(), super().image_positions()
        return kept[1]

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}


def first_block(
    block: TwoWayBlock, tokens: Float[Tensor, "b t c"], token_positions: Float[Tensor, "b t c"], ready: FirstProjections
) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b l c"]]:
    """The block, with the image's side of both cross attentions at hand."""
    tokens = block.attend_to_tokens(tokens, token_positions)
    look, spread = block.token_to_image, block.image_to_token
    q = _heads(look.query_projection, tokens + token_positions, look.heads)  # (B, heads, T, 16)
    scores = _with_shared(q * q.shape[-1] ** -0.5, ready.keys.transpose(-2, -1))  # (B, heads, T, 4096)
    seen = _with_shared(torch.softmax(scores, dim=-1), ready.values)  # (B, heads, T, 16)
    seen = look.output_projection(rearrange(seen, "b heads t d -> b t (heads d)"))
    tokens = block.token_to_image_norm(tokens + seen)
    tokens = block.mlp_norm(tokens + block.mlp(tokens))
    k = _heads(spread.key_projection, tokens + token_positions, spread.heads)  # (B, heads, T, 16)
    scores = _with_shared(k, ready.queries.transpose(-2, -1))  # (B, heads, T, 4096)
    image = block.image_to_token_norm(spread_to_image(spread, scores, tokens).add_(ready.image))
    return tokens, image


def next_block(
    block: TwoWayBlock,
    tokens: Float[Tensor, "b t c"],
    image: Float[Tensor, "b l c"],
    token_positions: Float[Tensor, "b t c"],
    image_positions: Float[Tensor, "l c"],
) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b l c"]]:
    """The block, with every projection of the image taken over by the tokens."""
    tokens = block.attend_to_tokens(tokens, token_positions)
    located_image, spread = image + image_positions, block.image_to_token
    seen = look_at_image(block.token_to_image, tokens + token_positions, located_image, image)
    tokens = block.token_to_image_norm(tokens + seen)
    tokens = block.mlp_norm(tokens + block.mlp(tokens))
    k = _heads(spread.key_projection, tokens + token_positions, spread.heads)
    taken_over = einsum(k, _by_head(spread.query_projection.weight, spread.heads), "b h t d, h d c -> b h t c")
    offset = einsum(k, spread.query_projection.bias.view(spread.heads, -1), "b h t d, h d -> b h t")
    scores = _against_image(taken_over, located_image) + offset[..., None]
    return tokens, block.image_to_token_norm(spread_to_image(spread, scores, tokens).add_(image))


def look_at_image(
    attention: Attention, tokens: Float[Tensor, "b t c"], keys: Float[Tensor, "b l c"], values: Float[Tensor, "b l c"]
) -> Float[Tensor, "b t c"]:
    """``attention(tokens, keys, values)`` without projecting keys and values.

    The bias of the key projection adds the same to every score of a query; a softmax does not see that.
    """
    q = _heads(attention.query_projection, tokens, attention.heads)
    q = q * q.shape[-1] ** -0.5
    taken_over = einsum(q, _by_head(attention.key_projection.weight, attention.heads), "b h t d, h d c -> b h t c")
    weights = torch.softmax(_against_image(taken_over, keys), dim=-1)  # (B, heads, T, 4096)
    seen = rearrange(weights, "b h t l -> b (h t) l") @ values  # (B, heads·T, 256)
    seen = rearrange(seen, "b (h t) c -> b h t c", h=attention.heads)
    projected = einsum(seen, _by_head(attention.value_projection.weight, attention.heads), "b h t c, h d c -> b h t d")
    projected = rearrange(projected, "b h t d -> b t (h d)") + attention.value_projection.bias  # weights sum to 1
    return attention.output_projection(projected)


def spread_to_image(
    attention: Attention, scores: Float[Tensor, "b heads t l"], tokens: Float[Tensor, "b t c"]
) -> Float[Tensor, "b l c"]:
    """What every image token takes from the few tokens, output projection included, from unscaled scores."""
    v = _heads(attention.value_projection, tokens, attention.heads)  # (B, heads, T, 16)
    brought = einsum(v, _by_head(attention.output_projection.weight.T, attention.heads), "b h t d, h d c -> b h t c")
    weights = torch.softmax(scores * v.shape[-1] ** -0.5, dim=2)  # over the tokens
    weights = rearrange(weights, "b h t l -> b (h t) l")
    bias = attention.output_projection.bias.expand(*weights.shape[::2], -1)
    return torch.baddbmm(bias, weights.transpose(1, 2), rearrange(brought, "b h t c -> b (h t) c"))


def upscale_and_multiply(
    upscaling: nn.Module, image: Float[Tensor, "b l c"], mask_vectors: Float[Tensor, "b k thin"], side: int
) -> Float[Tensor, "b k h w"]:
    """Both upsamplings and the dot products, channels last, strip by strip: (B, 4096, 256) → (B, K, 256, 256).

    No place sees another, so what is in between need not exist for all of them at once: it stays in the caches.
    """
    first, norm, second = upscaling.double_1, upscaling.norm, upscaling.double_2
    logits = image.new_empty(*mask_vectors.shape[:2], 16 * image.shape[1])  # (B, K, 4096 · 4 · 4)
    for one_image, vectors, result in zip(image, mask_vectors, logits, strict=True):
        for start in range(0, len(one_image), STRIP):
            twice = _four_children(first, one_image[start : start + STRIP])  # (512, 4, 64)
            twice = torch.ops.aten.gelu_(F.layer_norm(twice, norm.weight.shape, norm.weight, norm.bias, norm.eps))
            places = torch.ops.aten.gelu_(_four_children(second, twice)).flatten(0, 2)  # (512 · 4 · 4, 32)
            torch.mm(vectors, places.T, out=result[:, 16 * start : 16 * start + len(places)])
    return rearrange(logits, "b k (y x p1 q1 p2 q2) -> b k (y p1 p2) (x q1 q2)", y=side, x=side, p1=2, q1=2, p2=2, q2=2)


def _four_children(layer: nn.ConvTranspose2d, x: Float[Tensor, "... c_in"]) -> Float[Tensor, "... 4 c_out"]:
    weight = rearrange(layer.weight, "c_in c_out p q -> (p q c_out) c_in")
    return F.linear(x, weight, layer.bias.repeat(4)).unflatten(-1, (4, layer.out_channels))


def _heads(projection: nn.Linear, tokens: Float[Tensor, "b t c"], heads: int) -> Float[Tensor, "b heads t d"]:
    return rearrange(projection(tokens), "b t (heads d) -> b heads t d", heads=heads)


def _by_head(weight: Float[Tensor, "inner c"], heads: int) -> Float[Tensor, "heads d c"]:
    return rearrange(weight, "(heads d) c -> heads d c", heads=heads)


def _with_shared(
    rows: Float[Tensor, "b heads t inner"], image: Float[Tensor, "#b heads inner outer"]
) -> Float[Tensor, "b heads t outer"]:
    """A product with the image's side; when all prompts share it, it is not copied for each of them."""
    if len(image) == len(rows):
        return rows @ image
    products = rearrange(rows, "b heads t inner -> 1 heads (b t) inner") @ image
    return rearrange(products, "1 heads (b t) outer -> b heads t outer", t=rows.shape[2])  # B may be 0, T is not


def _against_image(rows: Float[Tensor, "b heads t c"], image: Float[Tensor, "b l c"]) -> Float[Tensor, "b heads t l"]:
    products = rearrange(rows, "b h t c -> b (h t) c") @ image.transpose(1, 2)
    return rearrange(products, "b (h t) l -> b h t l", h=rows.shape[1])
