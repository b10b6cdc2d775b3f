"""Where things happen and what size costs: exercises answered with words and numbers (document §1.9)."""

from __future__ import annotations

import math
from functools import cache, partial

import torch

from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.steps import STEPS
from samlite.notebook.variants import by_seed, fill
from samlite.sam import document_sam

QUESTIONS = {
    "a photo becomes a sequence of vectors": "patches",
    "a patch learns what is elsewhere in the photo": "encoder_block",
    "a box becomes two tokens": "box_tokens",
    "a rough mask becomes a map": "dense_prompt",
    "the tokens look at the photo": "token_to_image_attention",
    "the map gets four times as many rows": "upscaled_4x",
    "a mask vector is multiplied with every place": "low_res_logits",
}


def _sections() -> dict[str, str]:
    return {question: STEPS[step].section for question, step in QUESTIONS.items()}


find_the_section = Exercise(
    name="find_the_section",
    title="Where does it happen?",
    difficulty=1,
    minutes=5,
    question="""
In which section of the document does each of these happen? Write the section as text, for instance `"1.5.6"`. The map
in this chapter may be used.
""",
    code="""
sections = {
    # <answer: "a photo becomes a sequence of vectors": ...,>
    "a photo becomes a sequence of vectors": "1.5.2",
    "a patch learns what is elsewhere in the photo": "1.5.4",
    "a box becomes two tokens": "1.7.1",
    "a rough mask becomes a map": "1.7.2",
    "the tokens look at the photo": "1.8.2",
    "the map gets four times as many rows": "1.8.3",
    "a mask vector is multiplied with every place": "1.8.4",
    # </answer>
    # <answer: "a patch learns what is elsewhere in the photo": ...,>
    # </answer>
    # <answer: "a box becomes two tokens": ...,>
    # </answer>
    # <answer: "a rough mask becomes a map": ...,>
    # </answer>
    # <answer: "the tokens look at the photo": ...,>
    # </answer>
    # <answer: "the map gets four times as many rows": ...,>
    # </answer>
    # <answer: "a mask vector is multiplied with every place": ...,>
    # </answer>
}

find_the_section.check(sections)
""",
    expected=_sections,
    mistakes=[
        Mistake("with the sign", "The number alone is asked: `\"1.5.6\"`, without §.",
                lambda: {question: f"§{section}" for question, section in _sections().items()}),
        Mistake("the projection for the cut", "§1.5.3 projects the vectors; they are cut one section before.",
                lambda: {"a photo becomes a sequence of vectors": "1.5.3"}),
        Mistake("positions for attention", "A position says where a patch is. What is elsewhere comes by attention.",
                lambda: {"a patch learns what is elsewhere in the photo": "1.5.3"}),
        Mistake("dense for sparse", "A box is sparse: two places. The dense path is for masks.",
                lambda: {"a box becomes two tokens": "1.7.2"}),
        Mistake("sparse for dense", "A rough mask is dense: a number for each place. §1.7.1 is about tokens.",
                lambda: {"a rough mask becomes a map": "1.7.1"}),
        Mistake("prompt encoder for decoder", "The prompt encoder never sees the photo. The tokens do, in the decoder.",
                lambda: {"the tokens look at the photo": "1.7.4"}),
        Mistake("dot products for upsampling", "The dot products collapse channels; rows grow one section before.",
                lambda: {"the map gets four times as many rows": "1.8.4"}),
        Mistake("upsampling for dot products", "§1.8.3 only enlarges the map. It does not know the mask vectors.",
                lambda: {"a mask vector is multiplied with every place": "1.8.3"}),
    ],
    hints=[
        "§1.5 is the image encoder, §1.7 the prompt encoder, §1.8 the mask decoder.",
        "The ledger has a column for it.",
    ],
    explanation="""
Seven sentences, seven sections: the order of the document is the order of the tensors.
""",
)  # fmt: skip


@cache
def _growth(side: int, factor: int) -> dict[str, int]:
    """The document's model for photos of two sizes, on the meta device; ratios of what it makes."""

    def sizes(side: int) -> dict[str, int]:
        sam = document_sam(image_size=side, depth=1, device="meta")
        click, label = torch.zeros(1, 1, 2, device="meta"), torch.ones(1, 1, dtype=torch.long, device="meta")
        with shape_ledger(sam) as ledger:
            sam.decode_masks(sam.encode_image(torch.zeros(1, 3, side, side, device="meta")), click, label)
        patches = ledger["patches"].shape[1]
        return {
            "patches": patches,
            "weights of the patch projection": sam.image_encoder.patch_projection.weight.numel(),
            "numbers in the table of patch positions": sam.image_encoder.position_embedding.numel(),
            "scores of one attention head in the encoder": patches * patches,
            "tokens in the decoder's sequence": ledger["token_sequence"].shape[1],
            "numbers in the low-res logits": math.prod(ledger["low_res_logits"].shape),
        }

    small, large = sizes(side), sizes(factor * side)
    return {name: large[name] // small[name] for name in small}


def _predict_the_growth(side: int = 1024, factor: int = 2) -> Exercise:
    """The exercise for photos of ``side`` pixels and of ``factor`` times as many along each side."""
    square = factor**2
    return Exercise(
        name="predict_the_growth",
        title="Twice the photo" if factor == 2 else f"{factor} times the photo",
        difficulty=2,
        minutes=8,
        question=fill("""
The same model, built for photos of $large×$large instead of $side×$side, with the same patches of 16×16. By which
factor does each of these grow? Whole numbers; 1 means that it stays.
""", side=side, large=factor * side),
        code=fill("""
factors = {
    # <answer: "patches": ..., "weights of the patch projection": ...,>
    "patches": $factor * $factor,
    "weights of the patch projection": 1,
    "numbers in the table of patch positions": $square,
    "scores of one attention head in the encoder": $square * $square,
    "tokens in the decoder's sequence": 1,
    "numbers in the low-res logits": $square,
    # </answer>
    # <answer: "numbers in the table of patch positions": ..., "scores of one attention head in the encoder": ...,>
    # </answer>
    # <answer: "tokens in the decoder's sequence": ..., "numbers in the low-res logits": ...,>
    # </answer>
}

predict_the_growth.check(factors)
""", factor=factor, square=square),
        expected=partial(_growth, side, factor),
        mistakes=[
            Mistake("one side counted", "Both sides grow, so the number of patches grows with the square.",
                    lambda: {"patches": factor, "numbers in the table of patch positions": factor,
                             "numbers in the low-res logits": factor}),
            Mistake("scores grow with the patches", "Every patch looks at every patch: scores grow with the square.",
                    lambda: {"scores of one attention head in the encoder": square}),
            Mistake("a weight for each patch", "The same projection is applied to every patch. More patches need no "
                    "more weights.", lambda: {"weights of the patch projection": square}),
            Mistake("the table stays", "The table has a vector for each place of the grid; there are more now.",
                    lambda: {"numbers in the table of patch positions": 1}),
            Mistake("the photo in the sequence", "The decoder's sequence holds prompt and output tokens. The photo is "
                    "a map beside it.", lambda: {"tokens in the decoder's sequence": square}),
            Mistake("always 256 × 256", "Low-res logits have four cells along each patch, so they grow with the grid.",
                    lambda: {"numbers in the low-res logits": 1}),
        ],
        hints=[
            "The patches grow with both sides. What has one number for each patch, and what for each pair of patches?",
            "Which of these does not know how large the photo is?",
        ],
        explanation="""
Weights belong to the function, not to the photo, except for two tables of positions: the patches' and the prompts'. The
scores of attention are the only thing here that grows with the square of the number of patches; that is what the
windows of the released encoder are for.
""",
    )  # fmt: skip


predict_the_growth = by_seed(
    _predict_the_growth,
    lambda generator: {"side": generator.choice((512, 768, 1024, 1536)), "factor": generator.choice((2, 3, 4))},
)
