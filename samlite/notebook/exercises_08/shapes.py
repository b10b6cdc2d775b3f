"""The exercise that is answered with shapes (document §1.8.1–§1.8.4)."""

from __future__ import annotations

import random

import torch

from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.variants import WORDS, by_seed, fill
from samlite.sam import document_sam

_STEPS = ("token_sequence", "image_tokens", "upscaled_4x", "mask_vectors", "low_res_logits", "iou_predictions")


def _shapes_on_meta(channels: int, heads: int, grid: int, points: int) -> dict[str, tuple[int, ...]]:
    sam = document_sam(16 * grid, width=64, depth=1, heads=2, channels=channels, decoder_heads=heads, device="meta")

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device="meta")

    with shape_ledger(sam) as ledger:
        labels = torch.ones(2, points, dtype=torch.long, device="meta")
        sam.decode_masks(zeros(1, channels, grid, grid), zeros(2, points, 2), labels, zeros(2, 1, 4))
    tokens, image = zeros(*ledger["token_sequence"].shape), zeros(*ledger["image_tokens"].shape)
    block = sam.mask_decoder.blocks[0]
    return {
        "token_sequence": ledger["token_sequence"].shape,
        "image_tokens": ledger["image_tokens"].shape,
        "token-to-image weights": tuple(block.token_to_image.weights(tokens, image).shape),
        "image-to-token weights": tuple(block.image_to_token.weights(image, tokens).shape),
        **{step: ledger[step].shape for step in _STEPS[2:]},
    }


def _predict_decoder_shapes(channels: int = 192, heads: int = 6, grid: int = 32, points: int = 3) -> Exercise:
    sparse, patches, low = points + 2, grid**2, 4 * grid
    tokens = sparse + 4
    numbers = {
        "channels": channels,
        "heads": heads,
        "grid": grid,
        "points": points,
        "tokens": tokens,
        "patches": patches,
        "low": low,
        "points_in_words": WORDS[points],
    }
    return Exercise(
        name="predict_decoder_shapes",
        title="Predict the shapes",
        difficulty=1,
        minutes=8,
        question=fill(
            """
A decoder of the same kind with $channels channels and $heads heads works on a grid of $grid×$grid patches. \
**Two** prompts are decoded
at once (the first axis counts them). Each has $points_in_words points and one box. Which shapes come out? \
Write plain tuples. The
weights of an attention are counted for each head: (prompts, heads, queries, keys).
""",
            **numbers,
        ),
        code=fill(
            """
shapes = {
    # <answer: "token_sequence": ..., "image_tokens": ...,>
    "token_sequence": (2, $points + 2 * 1 + 4, $channels),
    "image_tokens": (2, $grid * $grid, $channels),
    # </answer>
    # <answer: "token-to-image weights": ..., "image-to-token weights": ...,>
    "token-to-image weights": (2, $heads, $tokens, $patches),
    "image-to-token weights": (2, $heads, $patches, $tokens),
    # </answer>
    # <answer: "upscaled_4x": ..., "mask_vectors": ..., "low_res_logits": ..., "iou_predictions": ...,>
    "upscaled_4x": (2, $channels, 4 * $grid, 4 * $grid),
    "mask_vectors": (2, 3, $channels),
    "low_res_logits": (2, 3, $low, $low),
    "iou_predictions": (2, 3),
    # </answer>
}

predict_decoder_shapes.check(shapes)
""",
            **numbers,
        ),
        expected=lambda: _shapes_on_meta(channels, heads, grid, points),
        mistakes=[
            Mistake(
                "one corner a box",
                "A box is two tokens, one for each of two opposite corners.",
                lambda: {
                    "token_sequence": (2, sparse + 3, channels),
                    "token-to-image weights": (2, heads, sparse + 3, patches),
                    "image-to-token weights": (2, heads, patches, sparse + 3),
                },
            ),
            Mistake(
                "output tokens forgotten",
                "Four tokens of the model itself stand behind the prompts (§1.7.4).",
                lambda: {
                    "token_sequence": (2, sparse, channels),
                    "token-to-image weights": (2, heads, sparse, patches),
                    "image-to-token weights": (2, heads, patches, sparse),
                },
            ),
            Mistake(
                "five output tokens",
                "That is the released model. The document's has three mask tokens and one IoU token.",
                lambda: {
                    "token_sequence": (2, sparse + 5, channels),
                    "token-to-image weights": (2, heads, sparse + 5, patches),
                },
            ),
            Mistake(
                "prompts not counted",
                "Two prompts are decoded at once; the first axis counts them.",
                lambda: {"token_sequence": (tokens, channels), "image_tokens": (patches, channels)},
            ),
            Mistake(
                "the image once",
                "Each prompt has its own copy of the image tokens: the blocks change them.",
                lambda: {"image_tokens": (1, patches, channels)},
            ),
            Mistake(
                "still a map",
                "For attention the map is laid out as a sequence of patches.",
                lambda: {"image_tokens": (2, channels, grid, grid)},
            ),
            Mistake(
                "queries and keys swapped",
                "Queries come first: they ask, one row each. Here the tokens ask the image.",
                lambda: {
                    "token-to-image weights": (2, heads, patches, tokens),
                    "image-to-token weights": (2, heads, tokens, patches),
                },
            ),
            Mistake(
                "one head",
                "Every head has weights of its own.",
                lambda: {
                    "token-to-image weights": (2, tokens, patches),
                    "image-to-token weights": (2, patches, tokens),
                },
            ),
            Mistake(
                "image asks itself",
                "Keys and values come from the tokens here: there are as many columns as tokens.",
                lambda: {"image-to-token weights": (2, heads, patches, patches)},
            ),
            Mistake(
                "doubled once",
                "There are two upsamplings, each doubles both sides.",
                lambda: {
                    "upscaled_4x": (2, channels, 2 * grid, 2 * grid),
                    "low_res_logits": (2, 3, 2 * grid, 2 * grid),
                },
            ),
            Mistake(
                "channels shrink",
                "In the document the channels stay as they are; the released model goes down to an eighth.",
                lambda: {"upscaled_4x": (2, channels // 8, low, low), "mask_vectors": (2, 3, channels // 8)},
            ),
            Mistake(
                "a mask for the IoU token",
                "Three of the four output tokens become masks.",
                lambda: {
                    "mask_vectors": (2, 4, channels),
                    "low_res_logits": (2, 4, low, low),
                    "iou_predictions": (2, 4),
                },
            ),
            Mistake(
                "channels kept",
                "The dot product adds up over the channels: they are gone.",
                lambda: {"low_res_logits": (2, channels, low, low)},
            ),
            Mistake("one score", "Each of the three masks gets a score.", lambda: {"iou_predictions": (2, 1)}),
        ],
        hints=[
            "N + 2M + 4: points, corners, output tokens.",
            "An attention has one row for each query and one column for each key, in every head.",
            "Two doublings turn a side of G into 4 G; the channels stay.",
        ],
        explanation=fill(
            """
T = $points + 2 · 1 + 4 = $tokens and L = $grid · $grid = $patches are all that there is to count. Both cross \
attentions have T · L weights in
each head; which of the two comes first says who asks, and so how many vectors come out.
""",
            **numbers,
        ),
    )


def _draw_a_decoder(generator: random.Random) -> dict[str, int]:
    heads = generator.choice((2, 3, 4, 6))
    sizes = {"channels": 8 * heads * generator.randrange(4, 12), "heads": heads}
    return {**sizes, "grid": generator.randrange(12, 60), "points": generator.randrange(2, 13)}


predict_decoder_shapes = by_seed(_predict_decoder_shapes, _draw_a_decoder)
