"""Exercises that are answered with numbers: shapes and the length of the token sequence (document §1.7.1–§1.7.4)."""

from __future__ import annotations

import random

import torch

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.variants import by_seed, fill
from samlite.sam import Sam, document_sam

_SHAPE_STEPS = (
    "point_tokens", "box_tokens", "sparse_prompt_tokens", "mask_quartered", "dense_prompt", "token_sequence"
)  # fmt: skip


def _on_meta(**sizes: int) -> Sam:
    return document_sam(**sizes, width=16, depth=1, heads=2, device="meta").eval()


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(*shape, dtype=dtype, device="meta")


def _shapes_on_meta(side: int, channels: int, points: int, boxes: int) -> dict[str, tuple[int, ...]]:
    sam = _on_meta(image_size=side, channels=channels)
    with shape_ledger(sam) as ledger:
        sam.decode_masks(
            _empty(1, channels, side // 16, side // 16), _empty(2, points, 2), _empty(2, points, dtype=torch.long),
            _empty(2, boxes, 4), _empty(2, 1, side, side),
        )  # fmt: skip
    return {step: ledger[step].shape for step in _SHAPE_STEPS}


def _predict_the_prompt_shapes(side: int = 512, channels: int = 128, points: int = 4, boxes: int = 3) -> Exercise:
    grid, sparse = side // 16, points + 2 * boxes
    numbers = {
        "side": side,
        "channels": channels,
        "points": points,
        "boxes": boxes,
        "grid": grid,
        "both": 2 * boxes,
        "low": 4 * grid,
    }
    return Exercise(
        name="predict_the_prompt_shapes",
        title="Predict the shapes",
        difficulty=1,
        minutes=5,
        question=fill(
            """
Another model of the same kind: an input frame of $side×$side pixels, patches of 16×16, $channels channels. \
**Two** prompts at
once on one photo, each of $points points, $boxes boxes and a mask of $side×$side. Which shapes come out of six \
steps? Write plain
tuples.
""",
            **numbers,
        ),
        code=fill(
            """
shapes = {
    # <answer: "point_tokens": ..., "box_tokens": ..., "sparse_prompt_tokens": ...,>
    "point_tokens": (2, $points, $channels),
    "box_tokens": (2, 2 * $boxes, $channels),
    "sparse_prompt_tokens": (2, $points + 2 * $boxes, $channels),
    # </answer>
    # <answer: "mask_quartered": ..., "dense_prompt": ..., "token_sequence": ...,>
    "mask_quartered": (2, 16, $side // 16, $side // 16),
    "dense_prompt": (2, $channels, $side // 16, $side // 16),
    "token_sequence": (2, $points + 2 * $boxes + 4, $channels),
    # </answer>
}

predict_the_prompt_shapes.check(shapes)
""",
            **numbers,
        ),
        expected=lambda: _shapes_on_meta(side, channels, points, boxes),
        mistakes=[
            Mistake(
                "one token a box",
                "A box is two tokens, one for each of two corners.",
                lambda: {
                    "box_tokens": (2, boxes, channels),
                    "sparse_prompt_tokens": (2, points + boxes, channels),
                    "token_sequence": (2, points + boxes + 4, channels),
                },
            ),
            Mistake(
                "four corners",
                "Two opposite corners say all that a box says.",
                lambda: {
                    "box_tokens": (2, 4 * boxes, channels),
                    "sparse_prompt_tokens": (2, points + 4 * boxes, channels),
                    "token_sequence": (2, points + 4 * boxes + 4, channels),
                },
            ),
            Mistake(
                "batch forgotten",
                "The first axis counts the prompts, B.",
                lambda: {
                    "point_tokens": (points, channels),
                    "box_tokens": (2 * boxes, channels),
                    "sparse_prompt_tokens": (sparse, channels),
                    "mask_quartered": (16, grid, grid),
                    "dense_prompt": (channels, grid, grid),
                    "token_sequence": (sparse + 4, channels),
                },
            ),
            Mistake(
                "one prompt",
                "Two prompts went in; the first axis counts them.",
                lambda: {
                    "point_tokens": (1, points, channels),
                    "box_tokens": (1, 2 * boxes, channels),
                    "sparse_prompt_tokens": (1, sparse, channels),
                    "mask_quartered": (1, 16, grid, grid),
                    "dense_prompt": (1, channels, grid, grid),
                    "token_sequence": (1, sparse + 4, channels),
                },
            ),
            Mistake(
                "axes swapped",
                "A sequence is B, T, C: first which token, then what is in it.",
                lambda: {
                    "point_tokens": (2, channels, points),
                    "box_tokens": (2, channels, 2 * boxes),
                    "sparse_prompt_tokens": (2, channels, sparse),
                    "token_sequence": (2, channels, sparse + 4),
                },
            ),
            Mistake(
                "the document's own width",
                f"This model has {channels} channels, not 256.",
                lambda: {
                    "point_tokens": (2, points, 256),
                    "box_tokens": (2, 2 * boxes, 256),
                    "sparse_prompt_tokens": (2, sparse, 256),
                    "dense_prompt": (2, 256, grid, grid),
                    "token_sequence": (2, sparse + 4, 256),
                },
            ),
            Mistake(
                "output tokens too early",
                "The output tokens belong to the decoder; the sparse tokens are the prompt's alone.",
                lambda: {"sparse_prompt_tokens": (2, sparse + 4, channels)},
            ),
            Mistake(
                "halved from the mask's own size",
                f"The mask is brought to four cells a patch first, {4 * grid}×{4 * grid}, and then halved twice.",
                lambda: {"mask_quartered": (2, 16, 4 * grid, 4 * grid)},
            ),
            Mistake(
                "the document's own grid",
                f"{side} pixels in patches of 16 make a grid of {grid}.",
                lambda: {"mask_quartered": (2, 16, 64, 64), "dense_prompt": (2, channels, 64, 64)},
            ),
            Mistake(
                "channels last",
                "A map has its channels in front of its rows and columns.",
                lambda: {"mask_quartered": (2, grid, grid, 16), "dense_prompt": (2, grid, grid, channels)},
            ),
            Mistake(
                "output tokens forgotten",
                "Three mask tokens and one IoU token follow the prompt.",
                lambda: {"token_sequence": (2, sparse, channels)},
            ),
            Mistake(
                "IoU token forgotten",
                "Three mask tokens, and one more that predicts the IoU.",
                lambda: {"token_sequence": (2, sparse + 3, channels)},
            ),
            Mistake(
                "mask as a token",
                "A mask prompt is no token: it is added to the image.",
                lambda: {
                    "sparse_prompt_tokens": (2, sparse + 1, channels),
                    "token_sequence": (2, sparse + 5, channels),
                },
            ),
        ],
        hints=[
            "A point is one token, a box two. Every token has C numbers.",
            "The dense path ends at the grid, because its result is added to the image embedding.",
            "The token sequence is the prompt's tokens and four more.",
        ],
        explanation=fill(
            """
Only counts of tokens and the side of the grid are at work: N = $points, 2M = $both, four output tokens, $side \
/ 16 = $grid. The
mask's own resolution does not show up anywhere: the first thing that happens to it is that it is brought to $low×$low.
""",
            **numbers,
        ),
    )


def _draw_a_prompt(generator: random.Random) -> dict[str, int]:
    sizes = {"side": 16 * generator.randrange(17, 60), "channels": 8 * generator.randrange(9, 30)}
    return {**sizes, "points": generator.randrange(2, 13), "boxes": generator.randrange(2, 9)}


predict_the_prompt_shapes = by_seed(_predict_the_prompt_shapes, _draw_a_prompt)


def _count_on_meta(points: int, boxes: int, texts: int, mask: bool) -> int:
    sam = _on_meta(image_size=64, channels=16, text_width=8)
    with shape_ledger(sam) as ledger:
        sam.decode_masks(
            _empty(1, 16, 4, 4),
            _empty(1, points, 2) if points else None,
            _empty(1, points, dtype=torch.long) if points else None,
            _empty(1, boxes, 4) if boxes else None,
            _empty(1, 1, 16, 16) if mask else None,
            _empty(1, texts, 8) if texts else None,
        )
    return ledger["token_sequence"].shape[1]


count_the_tokens = Exercise(
    name="count_the_tokens",
    title="How long is the token sequence?",
    difficulty=1,
    minutes=5,
    question="""
How many tokens T does the mask decoder get? Write it as a function of the number of points, of boxes and of text
embeddings, and of whether there is a mask prompt.
""",
    code="""
def length_of_sequence(points, boxes, texts, mask):
    # <answer: length = ...>
    length = points + 2 * boxes + texts + 4  # the mask adds to the image, not to the sequence
    # </answer>
    return length


count_the_tokens.check(length_of_sequence)
""",
    expected=_count_on_meta,
    stages=[
        Stage("three points and two boxes", lambda: (3, 2, 0, False)),
        Stage("a box and a mask", lambda: (0, 1, 0, True)),
        Stage("nothing but a mask", lambda: (0, 0, 0, True)),
        Stage("all at once", lambda: (1, 2, 3, True)),
    ],
    mistakes=[
        Mistake("one token a box", "Each box contributes two corners.", lambda n, m, x, mask: n + m + x + 4),
        Mistake("four corners", "Two opposite corners are enough.", lambda n, m, x, mask: n + 4 * m + x + 4),
        Mistake("output tokens forgotten", "The decoder's own four tokens are in the sequence, too.",
                lambda n, m, x, mask: n + 2 * m + x),
        Mistake("IoU token forgotten", "Three masks and one IoU token make four.",
                lambda n, m, x, mask: n + 2 * m + x + 3),
        Mistake("one IoU token a mask", "One IoU token predicts the quality of all three masks.",
                lambda n, m, x, mask: n + 2 * m + x + 6),
        Mistake("mask as a token", "The mask prompt is a map. It is added to the image and takes no place in the "
                "sequence.", lambda n, m, x, mask: n + 2 * m + x + 4 + mask),
        Mistake("the released count", "The released model has five output tokens; the document's has four.",
                lambda n, m, x, mask: n + 2 * m + x + 5),
        Mistake("text forgotten", "Every text embedding is one more token.", lambda n, m, x, mask: n + 2 * m + 4),
    ],
    hints=[
        "Which prompts become tokens, and how many each?",
        "Three candidate masks and their predicted quality: how many places in the sequence do they start from?",
    ],
    explanation="""
T = N + 2M + X + 4. With 3 points and 2 boxes that is 11, beside 4096 tokens of the image. However hard one clicks, the
sequence stays short; that is why a click is cheap.
""",
)  # fmt: skip
