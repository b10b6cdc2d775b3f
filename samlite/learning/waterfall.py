"""Each idea of the fast paths by itself: the released computation, then one idea more at a time, all equal.

The steps are small functions that put the parts of the plain and the fast paths together; the last of each is the
fast path itself. What they return is compared before anything is timed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import skimage
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from samlite.automatic import Candidates, SamAutomaticMaskGenerator
from samlite.fast import FoldedMaskDecoder
from samlite.image_encoder import patchify
from samlite.learning.measure import interleaved
from samlite.learning.peers import Calls, both, differences, in_batches
from samlite.learning.stand_in import stand_in
from samlite.mask_decoder import MaskDecoder
from samlite.released.fast_decoder import (
    FastReleasedMaskDecoder,
    first_block,
    look_at_image,
    next_block,
    upscale_and_multiply,
)
from samlite.released.fast_encoder import TILE_ROWS, Buffers, attend_in_tiles, attend_in_windows
from samlite.released.image_encoder import (
    GlobalBlock,
    RelativeAttention,
    ReleasedImageEncoder,
    WindowBlock,
    relative_vectors,
)
from samlite.sam import Sam

RELEASED = "as released"
Row = dict[str, Any]
Attend = Callable[[GlobalBlock, Tensor], Tensor]


def encoder_steps(sam: Sam, image: Float[Tensor, "1 3 size size"]) -> Calls:
    fast, plain = both(sam)
    tiles = {GlobalBlock: tiled_attention, WindowBlock: whole_windows}
    return {
        RELEASED: lambda: encode(plain.image_encoder, image, {GlobalBlock: all_scores, WindowBlock: whole_windows}),
        "attention in tiles": lambda: encode(plain.image_encoder, image, tiles),
        "padding not multiplied": lambda: encode(plain.image_encoder, image, tiles | {WindowBlock: windows_one_by_one}),
        "memory that stays": lambda: fast.encode_image(image),
    }


def encode(encoder: ReleasedImageEncoder, image: Tensor, attend: dict[type, Attend]) -> Tensor:
    """The plain encoder, with another way to attend for each kind of block."""
    tokens = encoder.patch_projection(patchify(image, encoder.patch_size)[0]) + encoder.position_embedding
    for block in encoder.blocks:
        context = attend[type(block)](block, block.attention_norm(tokens))
        tokens = tokens + block.attention.output_projection(context)
        tokens = tokens + block.mlp(block.mlp_norm(tokens))
    return encoder.neck(rearrange(tokens, "(y x) d -> 1 d y x", x=encoder.grid_size))


def all_scores(block: GlobalBlock, normed: Float[Tensor, "*b l d"]) -> Float[Tensor, "*b l d"]:
    """Every score of every head at once, and the bias as a tensor of the same size."""
    attention = block.attention
    qkv = attention.qkv_projection(normed).reshape(-1, *normed.shape[-2:-1], 3 * normed.shape[-1])
    q, k, v = rearrange(qkv, "b l (three heads d) -> three b heads l d", three=3, heads=attention.heads)
    side = round(q.shape[2] ** 0.5)
    rows, columns = (relative_vectors(table, side) for table in (attention.relative_rows, attention.relative_columns))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + RelativeAttention.position_bias(q, rows, columns)
    return rearrange(scores.softmax(dim=-1) @ v, "b heads l d -> b l (heads d)").reshape(normed.shape)


def whole_windows(block: WindowBlock, normed: Float[Tensor, "l d"]) -> Float[Tensor, "l d"]:
    """All windows at once, with their padding."""
    side, window = round(len(normed) ** 0.5), (len(block.attention.relative_rows) + 1) // 2
    missing = -side % window
    grid = torch.nn.functional.pad(rearrange(normed, "(y x) d -> y x d", y=side), (0, 0, 0, missing, 0, missing))
    windows = rearrange(grid, "(ny y) (nx x) d -> (ny nx) (y x) d", y=window, x=window)
    grid = rearrange(all_scores(block, windows), "(ny nx) (y x) d -> (ny y) (nx x) d", ny=len(grid) // window, y=window)
    return rearrange(grid[:side, :side], "y x d -> (y x) d")


def tiled_attention(block: GlobalBlock, normed: Float[Tensor, "l d"]) -> Float[Tensor, "l d"]:
    return _with_buffers(block, normed, attend_in_tiles, TILE_ROWS * round(len(normed) ** 0.5) * len(normed))


def windows_one_by_one(block: WindowBlock, normed: Float[Tensor, "l d"]) -> Float[Tensor, "l d"]:
    window = (len(block.attention.relative_rows) + 1) // 2
    return _with_buffers(block, normed, attend_in_windows, block.attention.heads * window**4)


def _with_buffers(block: GlobalBlock, normed: Tensor, attend: Callable, scores: int) -> Tensor:
    """The fast way to attend, in memory that is new each time."""
    qkv = block.attention.qkv_projection(normed)
    buffers = Buffers(qkv, torch.empty_like(normed), normed.new_empty(0, 0), normed.new_empty(scores))
    attend(block, buffers)
    return buffers.context


@dataclass(frozen=True)
class Ways:
    """How each part of the released decoder is computed."""

    first: Callable[..., tuple[Tensor, Tensor]]
    others: Callable[..., tuple[Tensor, Tensor]]
    look: Callable[..., Tensor]
    upscale: Callable[..., Tensor]


def decoder_steps(sam: Sam, embedding: Float[Tensor, "1 c g g"], points: Float[Tensor, "b 1 2"]) -> Calls:
    fast, plain = both(sam)
    decoder, kept = plain.mask_decoder, fast.mask_decoder
    assert isinstance(kept, FastReleasedMaskDecoder)
    positions = rearrange(plain.prompt_encoder.image_positions(), "c y x -> (y x) c")
    sparse, dense = plain.prompt_encoder(points, torch.ones(points.shape[:2], dtype=torch.long))
    side = embedding.shape[-1]

    def released_first(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        image = rearrange(embedding + dense, "b c y x -> b (y x) c").expand(len(tokens), -1, -1)
        return block(tokens, image, tokens, positions)

    def kept_first(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return first_block(block, tokens, tokens, kept.first_projections(embedding, dense, positions))

    def released_masks(image: Tensor, vectors: Tensor) -> Tensor:
        return decoder.mask_logits(rearrange(image, "b (y x) c -> b c y x", y=side), vectors)

    def decode(ways: Ways) -> Tensor:
        outputs = torch.cat([decoder.iou_token, decoder.mask_tokens]).expand(len(sparse), -1, -1)
        tokens = first_tokens = torch.cat([outputs, sparse], dim=1)
        tokens, image = ways.first(decoder.blocks[0], tokens)
        for block in list(decoder.blocks)[1:]:
            tokens, image = ways.others(block, tokens, image, first_tokens, positions)
        seen = ways.look(decoder.last_token_to_image, tokens + first_tokens, image + positions, image)
        tokens = decoder.last_norm(tokens + seen)
        vectors = torch.stack([head(tokens[:, 1 + k]) for k, head in enumerate(decoder.mask_heads)], dim=1)
        decoder.iou_head(tokens[:, 0])
        return ways.upscale(image, vectors)[:, 1:]

    plainly = Ways(
        released_first, lambda block, *given: block(*given), lambda attention, *given: attention(*given), released_masks
    )
    once = replace(plainly, first=kept_first)
    few = replace(once, others=next_block, look=look_at_image)
    product = replace(few, upscale=lambda image, vectors: upscale_and_multiply(decoder.upscaling, image, vectors, side))
    steps = {
        RELEASED: plainly, "once an image": once, "the few take over": few, "upsampling as a product": product
    }  # fmt: skip
    return {name: lambda ways=ways: decode(ways) for name, ways in steps.items()}


def batch_steps(sam: Sam, embedding: Float[Tensor, "1 c g g"], points: Float[Tensor, "b 1 2"]) -> Calls:
    fast, plain = both(sam)
    sizes = [size for size in (len(points), 16, 8, 4) if size <= len(points)]
    return {f"plain, {len(points)} at a time": lambda: in_batches(plain, embedding, points, len(points))} | {
        f"fast, {size} at a time": lambda size=size: in_batches(fast, embedding, points, size) for size in sizes
    }


def folded_steps(channels: int, grid: int) -> Calls:
    """The document's upsampling and dot products at one size: decoded image and mask vectors → logits."""
    plain = MaskDecoder(channels).eval()
    folded = FoldedMaskDecoder(channels).eval()
    folded.load_state_dict(plain.state_dict())
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, channels, grid, grid, generator=random)
    vectors = torch.randn(1, 3, channels, generator=random)
    return {
        "as in the document": lambda: plain.mask_logits(image, vectors),
        "vectors backwards": lambda: folded.mask_logits(image, vectors),
    }


class UpscalesFirst(SamAutomaticMaskGenerator):
    """Every candidate comes to the photo's size before the first filter looks at it, 64 clicks at a time."""

    def _batch(self) -> int:
        return self.points_per_batch

    def _of_points(self, points: Any, crop: Any, original_size: Any) -> Iterator[Candidates]:
        predictor, model = self.predictor, self.predictor.model
        clicks = predictor.transform.apply_coords(points, predictor.original_size)[:, None]
        clicks = torch.from_numpy(clicks).float()
        logits, iou = model.decode_masks(predictor.features, clicks, torch.ones(clicks.shape[:2], dtype=torch.long))
        logits = model.resize_masks(logits, predictor.input_size, predictor.original_size).flatten(0, 1)
        likely = iou.flatten() > self.pred_iou_thresh
        iou, points = iou.flatten()[likely].numpy(), np.repeat(points, 3, axis=0)[likely.numpy()]
        yield self._stable(logits[likely], iou, points, crop, original_size)


class ManyAtOnce(SamAutomaticMaskGenerator):
    """The filter first, still 64 clicks at a time."""

    def _batch(self) -> int:
        return self.points_per_batch


def automatic_steps(sam: Sam, photo: np.ndarray, grid: int) -> Calls:
    fast, plain = both(sam)
    settings = {"points_per_side": grid, "box_nms_thresh": 0.95, "output_mode": "uncompressed_rle"}
    steps = {
        RELEASED: UpscalesFirst(plain, **settings), "filter before upsampling": ManyAtOnce(plain, **settings),
        "fast decoder": ManyAtOnce(fast, **settings), "few at a time": SamAutomaticMaskGenerator(fast, **settings),
    }  # fmt: skip
    return {name: lambda maker=maker: maker.generate(photo) for name, maker in steps.items()}


def waterfall(plan: Any) -> Iterator[Row]:
    """Every step of every waterfall, as it is measured; ``plan`` is that of the benchmark."""
    with torch.no_grad():
        sam, photo = plan.released(), skimage.data.astronaut()
        random = torch.Generator().manual_seed(0)
        image = torch.randn(1, 3, sam.image_size, sam.image_size, generator=random)
        channels, grid = sam.prompt_encoder.channels, sam.prompt_encoder.grid_size
        embedding = torch.randn(1, channels, grid, grid, generator=random)
        points = torch.rand(plan.prompts, 1, 2, generator=random) * sam.image_size
        yield from _rows("encoder", f"encode a photo, {plan.name}", encoder_steps(sam, image), plan.rounds)
        clicks = decoder_steps(sam, embedding, points[:1])
        yield from _rows("decoder", f"decode a click, {plan.name}", clicks, 3 * plan.rounds)
        several = batch_steps(sam, embedding, points)
        yield from _rows("batch", f"decode {len(points)} clicks, {plan.name}", several, plan.rounds)
        folded = folded_steps(channels, grid)
        yield from _rows("folded", f"upsample {channels} channels from {grid}×{grid}", folded, 3 * plan.rounds)
        made_up = stand_in(photo, 0.5, image_size=sam.image_size)
        across = max(2, plan.grid // 2)
        steps = automatic_steps(made_up, photo, across)
        yield from _rows("automatic", f"automatic masks, {across}×{across} points, released decoder", steps, 1)


def _rows(part: str, what: str, calls: Calls, rounds: int) -> Iterator[Row]:
    reference = next(iter(calls))
    found: dict[str, float] = {}
    costs = interleaved(calls, rounds, lambda answers: found.update(differences(answers, reference)))
    for step, cost in costs.items():
        yield {"part": part, "what": what, "step": step, **cost._asdict(), "difference": found[step]}
