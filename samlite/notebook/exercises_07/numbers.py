"""Exercises that are answered with numbers: shapes and the length of the token sequence (document §1.7.1–§1.7.4)."""

from __future__ import annotations

import torch

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.ledger import shape_ledger
from samlite.sam import Sam, document_sam

_SHAPE_STEPS = (
    "point_tokens", "box_tokens", "sparse_prompt_tokens", "mask_quartered", "dense_prompt", "token_sequence"
)  # fmt: skip


def _on_meta(**sizes: int) -> Sam:
    return document_sam(**sizes, width=16, depth=1, heads=2, device="meta").eval()


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(*shape, dtype=dtype, device="meta")


def _shapes_on_meta() -> dict[str, tuple[int, ...]]:
    sam = _on_meta(image_size=512, channels=128)
    with shape_ledger(sam) as ledger:
        sam.decode_masks(
            _empty(1, 128, 32, 32), _empty(2, 4, 2), _empty(2, 4, dtype=torch.long), _empty(2, 3, 4),
            _empty(2, 1, 512, 512),
        )  # fmt: skip
    return {step: ledger[step].shape for step in _SHAPE_STEPS}


predict_the_prompt_shapes = Exercise(
    name="predict_the_prompt_shapes",
    title="Predict the shapes",
    difficulty=1,
    minutes=5,
    question="""
Another model of the same kind: an input frame of 512×512 pixels, patches of 16×16, 128 channels. **Two** prompts at
once on one photo, each of 4 points, 3 boxes and a mask of 512×512. Which shapes come out of six steps? Write plain
tuples.
""",
    code="""
shapes = {
    # <answer: "point_tokens": ..., "box_tokens": ..., "sparse_prompt_tokens": ...,>
    "point_tokens": (2, 4, 128),
    "box_tokens": (2, 2 * 3, 128),
    "sparse_prompt_tokens": (2, 4 + 2 * 3, 128),
    # </answer>
    # <answer: "mask_quartered": ..., "dense_prompt": ..., "token_sequence": ...,>
    "mask_quartered": (2, 16, 512 // 16, 512 // 16),
    "dense_prompt": (2, 128, 512 // 16, 512 // 16),
    "token_sequence": (2, 4 + 2 * 3 + 4, 128),
    # </answer>
}

predict_the_prompt_shapes.check(shapes)
""",
    expected=_shapes_on_meta,
    mistakes=[
        Mistake("one token a box", "A box is two tokens, one for each of two corners.", lambda: {
            "box_tokens": (2, 3, 128), "sparse_prompt_tokens": (2, 7, 128), "token_sequence": (2, 11, 128)}),
        Mistake("four corners", "Two opposite corners say all that a box says.", lambda: {
            "box_tokens": (2, 12, 128), "sparse_prompt_tokens": (2, 16, 128), "token_sequence": (2, 20, 128)}),
        Mistake("batch forgotten", "The first axis counts the prompts, B.", lambda: {
            "point_tokens": (4, 128), "box_tokens": (6, 128), "sparse_prompt_tokens": (10, 128),
            "mask_quartered": (16, 32, 32), "dense_prompt": (128, 32, 32), "token_sequence": (14, 128)}),
        Mistake("one prompt", "Two prompts went in; the first axis counts them.", lambda: {
            "point_tokens": (1, 4, 128), "box_tokens": (1, 6, 128), "sparse_prompt_tokens": (1, 10, 128),
            "mask_quartered": (1, 16, 32, 32), "dense_prompt": (1, 128, 32, 32), "token_sequence": (1, 14, 128)}),
        Mistake("axes swapped", "A sequence is B, T, C: first which token, then what is in it.", lambda: {
            "point_tokens": (2, 128, 4), "box_tokens": (2, 128, 6), "sparse_prompt_tokens": (2, 128, 10),
            "token_sequence": (2, 128, 14)}),
        Mistake("the document's own width", "This model has 128 channels, not 256.", lambda: {
            "point_tokens": (2, 4, 256), "box_tokens": (2, 6, 256), "sparse_prompt_tokens": (2, 10, 256),
            "dense_prompt": (2, 256, 32, 32), "token_sequence": (2, 14, 256)}),
        Mistake("output tokens too early", "The output tokens belong to the decoder; the sparse tokens are the "
                "prompt's alone.", lambda: {"sparse_prompt_tokens": (2, 14, 128)}),
        Mistake("halved from the mask's own size", "The mask is brought to four cells a patch first, 128×128, and "
                "then halved twice.", lambda: {"mask_quartered": (2, 16, 128, 128)}),
        Mistake("the document's own grid", "512 pixels in patches of 16 make a grid of 32.", lambda: {
            "mask_quartered": (2, 16, 64, 64), "dense_prompt": (2, 128, 64, 64)}),
        Mistake("channels last", "A map has its channels in front of its rows and columns.", lambda: {
            "mask_quartered": (2, 32, 32, 16), "dense_prompt": (2, 32, 32, 128)}),
        Mistake("output tokens forgotten", "Three mask tokens and one IoU token follow the prompt.", lambda: {
            "token_sequence": (2, 10, 128)}),
        Mistake("IoU token forgotten", "Three mask tokens, and one more that predicts the IoU.", lambda: {
            "token_sequence": (2, 13, 128)}),
        Mistake("mask as a token", "A mask prompt is no token: it is added to the image.", lambda: {
            "sparse_prompt_tokens": (2, 11, 128), "token_sequence": (2, 15, 128)}),
    ],
    hints=[
        "A point is one token, a box two. Every token has C numbers.",
        "The dense path ends at the grid, because its result is added to the image embedding.",
        "The token sequence is the prompt's tokens and four more.",
    ],
    explanation="""
Only counts of tokens and the side of the grid are at work: N = 4, 2M = 6, four output tokens, 512 / 16 = 32. The
mask's own resolution does not show up anywhere: the first thing that happens to it is that it is brought to 128×128.
""",
)  # fmt: skip


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
