"""What flows and what changes: exercises that are answered with shapes and with True or False (document §1.2)."""

from __future__ import annotations

import random
from functools import cache

import skimage.data
import torch

from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.exercises_02.material import tiny
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.tensor_follower import changed_steps, follow
from samlite.notebook.variants import WORDS, by_seed, fill
from samlite.predictor import SamPredictor
from samlite.sam import document_sam


def _shapes_at_full_size(points: int, boxes: int) -> dict[str, tuple[int, ...]]:
    """Points and boxes through the full-size decoder, on the meta device: shapes alone, without B."""
    sam = document_sam(depth=1, device="meta")
    with shape_ledger(sam) as ledger:
        sam.decode_masks(
            torch.zeros(1, 256, 64, 64, device="meta"),
            points=torch.zeros(1, points, 2, device="meta"),
            labels=torch.ones(1, points, dtype=torch.long, device="meta"),
            boxes=torch.zeros(1, boxes, 4, device="meta"),
        )
    steps = ("sparse_prompt_tokens", "token_sequence", "image_tokens", "upscaled_4x", "mask_vectors", "low_res_logits")
    return {step: ledger[step].shape[1:] for step in steps}


def _predict_what_flows(points: int = 3, boxes: int = 2) -> Exercise:
    sparse = points + 2 * boxes
    numbers = {
        "points": points,
        "boxes": boxes,
        "points_in_words": WORDS[points].capitalize(),
        "boxes_in_words": WORDS[boxes],
    }
    return Exercise(
        name="predict_what_flows",
        title="What flows",
        difficulty=1,
        minutes=6,
        question=fill(
            """
$points_in_words points and $boxes_in_words boxes are given to the full-size model, whose image embedding is \
256 × 64 × 64. For this one
prompt (so without the axis B), what are the shapes of the sparse prompt tokens, the whole token sequence, the image as
tokens, the map after both upsamplings, the mask vectors, and the low-res logits?
""",
            **numbers,
        ),
        code=fill(
            """
shapes = {
    # <answer: "sparse_prompt_tokens": ..., "token_sequence": ..., "image_tokens": ...,>
    "sparse_prompt_tokens": ($points + 2 * $boxes, 256),
    "token_sequence": ($points + 2 * $boxes + 4, 256),
    "image_tokens": (64 * 64, 256),
    "upscaled_4x": (256, 4 * 64, 4 * 64),
    "mask_vectors": (3, 256),
    "low_res_logits": (3, 4 * 64, 4 * 64),
    # </answer>
    # <answer: "upscaled_4x": ..., "mask_vectors": ..., "low_res_logits": ...,>
    # </answer>
}

predict_what_flows.check(shapes)
""",
            **numbers,
        ),
        expected=lambda: _shapes_at_full_size(points, boxes),
        mistakes=[
            Mistake(
                "a box is one token",
                "A box is two corners, and each corner is a token.",
                lambda: {"sparse_prompt_tokens": (points + boxes, 256), "token_sequence": (points + boxes + 4, 256)},
            ),
            Mistake(
                "output tokens forgotten",
                "Four tokens belong to the model itself: three masks and one IoU.",
                lambda: {"token_sequence": (sparse, 256)},
            ),
            Mistake(
                "three output tokens",
                "Three for the masks and one more for the predicted IoUs.",
                lambda: {"token_sequence": (sparse + 3, 256), "mask_vectors": (4, 256)},
            ),
            Mistake(
                "channels first",
                "In a sequence the tokens come first and the channels last.",
                lambda: {"image_tokens": (256, 4096), "mask_vectors": (256, 3)},
            ),
            Mistake(
                "upscaled once",
                "There are two upsamplings, and each doubles both sides.",
                lambda: {"upscaled_4x": (256, 128, 128), "low_res_logits": (3, 128, 128)},
            ),
            Mistake(
                "the released channels",
                "32 channels are what the released decoder keeps. The document keeps 256.",
                lambda: {"upscaled_4x": (32, 256, 256), "mask_vectors": (3, 32)},
            ),
            Mistake(
                "the input frame",
                "1024 × 1024 comes after interpolation; low-res logits have four cells a patch.",
                lambda: {"upscaled_4x": (256, 1024, 1024), "low_res_logits": (3, 1024, 1024)},
            ),
        ],
        hints=[
            "N points and M boxes give N + 2M tokens. How many does the decoder add?",
            "64 → 128 → 256, and the channels stay.",
        ],
        explanation="""
The prompt changes one number alone, the length of the token sequence. Everything else is decided by the photo's grid
and by the number of candidates.
""",
    )


def _draw_a_prompt(generator: random.Random) -> dict[str, int]:
    return {"points": generator.randrange(2, 13), "boxes": generator.randrange(2, 13)}


predict_what_flows = by_seed(_predict_what_flows, _draw_a_prompt)

STEPS_ASKED = (
    "image_embedding", "image_positions", "sparse_prompt_tokens", "prompted_image", "token_sequence", "decoded_image",
    "low_res_logits", "iou_predictions",
)  # fmt: skip


@cache
def _what_changes() -> dict[str, bool]:
    """A click, and the same click with the first answer as mask prompt: asked of tiny."""
    predictor = SamPredictor(tiny())
    photo = skimage.data.coffee()
    first = follow(predictor, photo, point_coords=[(290, 165)], point_labels=[1])
    logits = first["low_res_logits"].tensor[0, :1].numpy()
    second = follow(predictor, photo, point_coords=[(290, 165)], point_labels=[1], mask_input=logits)
    changed = changed_steps(first, second)
    return {step: changed[step] for step in STEPS_ASKED}


say_what_changes = Exercise(
    name="say_what_changes",
    title="What changes with a mask prompt?",
    difficulty=2,
    minutes=8,
    question="""
The same photo and the same click, once alone and once with a candidate of the first answer as mask prompt. For which of
these steps do the numbers change? Write True or False behind each.
""",
    code="""
changes = {
    # <answer: "image_embedding": ..., "image_positions": ..., "sparse_prompt_tokens": ..., "prompted_image": ...,>
    "image_embedding": False,
    "image_positions": False,
    "sparse_prompt_tokens": False,
    "prompted_image": True,
    "token_sequence": False,
    "decoded_image": True,
    "low_res_logits": True,
    "iou_predictions": True,
    # </answer>
    # <answer: "token_sequence": ..., "decoded_image": ..., "low_res_logits": ..., "iou_predictions": ...,>
    # </answer>
}

say_what_changes.check(changes)
""",
    expected=_what_changes,
    mistakes=[
        Mistake("the photo is read again", "The image encoder gets the photo alone; no prompt changes what it makes.",
                lambda: {"image_embedding": True}),
        Mistake("positions follow the prompt", "The code of the grid's places is the same for every photo and prompt.",
                lambda: {"image_positions": True}),
        Mistake("the mask comes in later", "It is added to the image embedding: that sum is the prompted image.",
                lambda: {"prompted_image": False}),
        Mistake("the map stays as it was", "In every two-way block the image looks at the tokens, too: what the "
                "decoder makes of the photo depends on the prompt.", lambda: {"decoded_image": False}),
        Mistake("a mask is a token", "A mask prompt is dense: it adds no token, and changes none before the decoder.",
                lambda: {"sparse_prompt_tokens": True, "token_sequence": True}),
        Mistake("one IoU for all prompts", "Each prompt gets masks of its own, and a prediction for each of them.",
                lambda: {"low_res_logits": False, "iou_predictions": False}),
    ],
    hints=[
        "Which of the steps happen before the prompt is known? Which belong to the click alone?",
        "`image_to_token_attention` is the fourth stage of a block: who looks at whom?",
    ],
    explanation="""
A mask prompt meets the photo before the first block, in the prompted image. The tokens know nothing of it until they
look at the image.
""",
)  # fmt: skip
