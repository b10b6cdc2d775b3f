"""The exercise that is answered with shapes (document §1.8.1–§1.8.4)."""

from __future__ import annotations

import torch

from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.ledger import shape_ledger
from samlite.sam import document_sam

_STEPS = ("token_sequence", "image_tokens", "upscaled_4x", "mask_vectors", "low_res_logits", "iou_predictions")


def _shapes_on_meta() -> dict[str, tuple[int, ...]]:
    sizes = {"image_size": 512, "width": 64, "depth": 1, "heads": 2, "channels": 192, "decoder_heads": 6}
    sam = document_sam(**sizes, device="meta")

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device="meta")

    with shape_ledger(sam) as ledger:
        labels = torch.ones(2, 3, dtype=torch.long, device="meta")
        sam.decode_masks(zeros(1, 192, 32, 32), zeros(2, 3, 2), labels, zeros(2, 1, 4))
    tokens, image = zeros(*ledger["token_sequence"].shape), zeros(*ledger["image_tokens"].shape)
    block = sam.mask_decoder.blocks[0]
    return {
        "token_sequence": ledger["token_sequence"].shape,
        "image_tokens": ledger["image_tokens"].shape,
        "token-to-image weights": tuple(block.token_to_image.weights(tokens, image).shape),
        "image-to-token weights": tuple(block.image_to_token.weights(image, tokens).shape),
        **{step: ledger[step].shape for step in _STEPS[2:]},
    }


predict_decoder_shapes = Exercise(
    name="predict_decoder_shapes",
    title="Predict the shapes",
    difficulty=1,
    minutes=8,
    question="""
A decoder of the same kind with 192 channels and 6 heads works on a grid of 32×32 patches. **Two** prompts are decoded
at once (the first axis counts them). Each has three points and one box. Which shapes come out? Write plain tuples. The
weights of an attention are counted for each head: (prompts, heads, queries, keys).
""",
    code="""
shapes = {
    # <answer: "token_sequence": ..., "image_tokens": ...,>
    "token_sequence": (2, 3 + 2 * 1 + 4, 192),
    "image_tokens": (2, 32 * 32, 192),
    # </answer>
    # <answer: "token-to-image weights": ..., "image-to-token weights": ...,>
    "token-to-image weights": (2, 6, 9, 1024),
    "image-to-token weights": (2, 6, 1024, 9),
    # </answer>
    # <answer: "upscaled_4x": ..., "mask_vectors": ..., "low_res_logits": ..., "iou_predictions": ...,>
    "upscaled_4x": (2, 192, 4 * 32, 4 * 32),
    "mask_vectors": (2, 3, 192),
    "low_res_logits": (2, 3, 128, 128),
    "iou_predictions": (2, 3),
    # </answer>
}

predict_decoder_shapes.check(shapes)
""",
    expected=_shapes_on_meta,
    mistakes=[
        Mistake("one corner a box", "A box is two tokens, one for each of two opposite corners.", lambda: {
            "token_sequence": (2, 8, 192), "token-to-image weights": (2, 6, 8, 1024),
            "image-to-token weights": (2, 6, 1024, 8)}),
        Mistake("output tokens forgotten", "Four tokens of the model itself stand behind the prompts (§1.7.4).",
                lambda: {"token_sequence": (2, 5, 192), "token-to-image weights": (2, 6, 5, 1024),
                         "image-to-token weights": (2, 6, 1024, 5)}),
        Mistake("five output tokens", "That is the released model. The document's has three mask tokens and one IoU "
                "token.", lambda: {"token_sequence": (2, 10, 192), "token-to-image weights": (2, 6, 10, 1024)}),
        Mistake("prompts not counted", "Two prompts are decoded at once; the first axis counts them.", lambda: {
            "token_sequence": (9, 192), "image_tokens": (1024, 192)}),
        Mistake("the image once", "Each prompt has its own copy of the image tokens: the blocks change them.",
                lambda: {"image_tokens": (1, 1024, 192)}),
        Mistake("still a map", "For attention the map is laid out as a sequence of patches.", lambda: {
            "image_tokens": (2, 192, 32, 32)}),
        Mistake("queries and keys swapped", "Queries come first: they ask, one row each. Here the tokens ask the "
                "image.", lambda: {
                    "token-to-image weights": (2, 6, 1024, 9), "image-to-token weights": (2, 6, 9, 1024)}),
        Mistake("one head", "Every head has weights of its own.", lambda: {
            "token-to-image weights": (2, 9, 1024), "image-to-token weights": (2, 1024, 9)}),
        Mistake("image asks itself", "Keys and values come from the tokens here: there are as many columns as tokens.",
                lambda: {"image-to-token weights": (2, 6, 1024, 1024)}),
        Mistake("doubled once", "There are two upsamplings, each doubles both sides.", lambda: {
            "upscaled_4x": (2, 192, 64, 64), "low_res_logits": (2, 3, 64, 64)}),
        Mistake("channels shrink", "In the document the channels stay as they are; the released model goes down to an "
                "eighth.", lambda: {"upscaled_4x": (2, 24, 128, 128), "mask_vectors": (2, 3, 24)}),
        Mistake("a mask for the IoU token", "Three of the four output tokens become masks.", lambda: {
            "mask_vectors": (2, 4, 192), "low_res_logits": (2, 4, 128, 128), "iou_predictions": (2, 4)}),
        Mistake("channels kept", "The dot product adds up over the channels: they are gone.", lambda: {
            "low_res_logits": (2, 192, 128, 128)}),
        Mistake("one score", "Each of the three masks gets a score.", lambda: {"iou_predictions": (2, 1)}),
    ],
    hints=[
        "N + 2M + 4: points, corners, output tokens.",
        "An attention has one row for each query and one column for each key, in every head.",
        "Two doublings turn a side of G into 4 G; the channels stay.",
    ],
    explanation="""
T = 3 + 2 · 1 + 4 = 9 and L = 32 · 32 = 1024 are all that there is to count. Both cross attentions have T · L weights in
each head; which of the two comes first says who asks, and so how many vectors come out.
""",
)  # fmt: skip
