"""Shapes between a phrase and the mask decoder, predicted (document §1.3, §1.7.4)."""

from __future__ import annotations

import random

import torch

from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.measuring import empty
from samlite.notebook.variants import by_seed, fill
from samlite.sam import document_sam

_STEPS = ("text_tokens", "sparse_prompt_tokens", "token_sequence")


def _shapes(width: int, channels: int, points: int, boxes: int, texts: int) -> dict[str, tuple[int, ...]]:
    sam = document_sam(128, width=16, depth=1, heads=2, channels=channels, text_width=width, device="meta")

    with shape_ledger(sam) as ledger:
        sam.decode_masks(
            empty(1, channels, 8, 8), empty(2, points, 2), empty(2, points, dtype=torch.long), empty(2, boxes, 4),
            text=empty(2, texts, width),
        )  # fmt: skip
    return {"text_embeddings": (2, texts, width)} | {step: ledger[step].shape for step in _STEPS}


def _make(width: int = 512, channels: int = 128, points: int = 3, boxes: int = 1, texts: int = 2) -> Exercise:
    numbers = {"width": width, "channels": channels, "points": points, "boxes": boxes, "texts": texts}

    def shapes(texts_in_tokens: int = texts, inner: int = channels, corners: int = 2 * boxes, end: int = 4, b: int = 2):
        sparse = points + corners + texts_in_tokens
        return {
            "text_embeddings": (b, texts, width),
            "text_tokens": (b, texts_in_tokens, inner),
            "sparse_prompt_tokens": (b, sparse, inner),
            "token_sequence": (b, sparse + end, inner),
        }

    return Exercise(
        name="predict_the_text_shapes",
        title="Predict the shapes of a text prompt",
        difficulty=1,
        minutes=5,
        question=fill(
            """
A SAM with $channels channels takes the embeddings of a CLIP that is $width wide. **Two** prompts at once on one photo:
each has points ($points), boxes ($boxes) and phrases ($texts); every phrase has six words. Which four shapes are there,
from the embeddings to the decoder's sequence? `text_embeddings` are meant as the prompt encoder takes them: like
points, the prompts on the first axis and the phrases of a prompt on the second. Write plain tuples.
""",
            **numbers,
        ),
        code=fill(
            """
my_shapes = {
    # <answer: "text_embeddings": ..., "text_tokens": ...,>
    "text_embeddings": (2, $texts, $width),
    "text_tokens": (2, $texts, $channels),
    # </answer>
    # <answer: "sparse_prompt_tokens": ..., "token_sequence": ...,>
    "sparse_prompt_tokens": (2, $points + 2 * $boxes + $texts, $channels),
    "token_sequence": (2, $points + 2 * $boxes + $texts + 4, $channels),
    # </answer>
}

predict_the_text_shapes.check(my_shapes)
""",
            **numbers,
        ),
        expected=lambda: _shapes(width, channels, points, boxes, texts),
        mistakes=[
            Mistake("a token for every word", "The text model reads the words. One phrase leaves it as one vector, and "
                    "that becomes one token.", lambda: shapes(texts_in_tokens=6 * texts)),
            Mistake("width of the text model kept", "The decoder has one width, C. The text projection leads there.",
                    lambda: shapes(inner=width)),
            Mistake("text forgotten", "A phrase is a token like a point: it counts in the sequence.",
                    lambda: {"sparse_prompt_tokens": (2, points + 2 * boxes, channels),
                             "token_sequence": (2, points + 2 * boxes + 4, channels)}),
            Mistake("one token a box", "A box is two tokens, one for each of two corners.",
                    lambda: shapes(corners=boxes)),
            Mistake("released decoder", "Five output tokens are the release's; the document's decoder has four.",
                    lambda: shapes(end=5)),
            Mistake("one prompt", "Two prompts went in; the first axis counts them.", lambda: shapes(b=1)),
            Mistake("no axis for the prompts", "These are the phrases of one prompt, as `embed_text` gives them. The "
                    "prompts stand on an axis before them.", lambda: {"text_embeddings": (texts, width)}),
            Mistake("all phrases in one list", "`embed_text` may well get the phrases of both prompts in one list. The "
                    "prompt encoder must know which belong to which prompt: the first axis says it.",
                    lambda: {"text_embeddings": (2 * texts, width)}),
        ],
        hints=[
            "The text model turns a whole phrase into one vector, as wide as the text model is.",
            "A linear layer brings that vector to C. From there on it is one more sparse token: N + 2M + X, then + 4.",
        ],
        explanation="""
The words are gone when the embedding leaves the text model: a phrase is one vector, however long it is. The projection
is the only layer of the prompt encoder that knows the width of the text model.
""",
    )  # fmt: skip


def _draw(generator: random.Random) -> dict[str, int]:
    return {
        "width": generator.choice((384, 512, 640, 768, 1024)),
        "channels": generator.choice((64, 96, 128, 160, 192)),
        "points": generator.randint(1, 6),
        "boxes": generator.randint(1, 4),
        "texts": generator.randint(1, 4),
    }


predict_the_text_shapes = by_seed(_make, _draw)
