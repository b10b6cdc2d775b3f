"""The answers of four models: shapes, predicted."""

from __future__ import annotations

import random

import torch

from samlite.frames import PhotoFrames
from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.variants import by_seed, fill
from samlite.sam import document_sam


def _answers_of_four_models(classes: int, objects: int, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Three by definition; the last one asked of the full-size model on meta."""
    sam = document_sam(depth=1, device="meta")
    frames = PhotoFrames((height, width), sam.image_size, sam.prompt_encoder.grid_size)
    click, label = torch.zeros(1, 1, 2, device="meta"), torch.ones(1, 1, dtype=torch.int64, device="meta")
    logits, _ = sam.decode_masks(torch.zeros(1, 256, 64, 64, device="meta"), click, label)
    masks = sam.resize_masks(logits, frames.input_size, frames.original_size)
    return {
        "class scores": (classes,),
        "boxes": (objects, 4),
        "semantic map": (classes, height, width),
        "promptable masks": tuple(masks.shape[1:]),
    }


def _predict_the_answers(classes: int = 80, objects: int = 12, height: int = 480, width: int = 640) -> Exercise:
    numbers = {"classes": classes, "objects": objects, "height": height, "width": width}
    return Exercise(
        name="predict_the_answers",
        title="Four models, four answers",
        difficulty=1,
        minutes=4,
        question=fill(
            """
One photo, $width pixels wide and $height high. Four models that know $classes classes, or none: a \
**classifier** gives a score for
each class; a **detector** has found $objects objects and gives a box for each; a **semantic segmenter** gives \
a score for
each class at each pixel, classes first; a **promptable** one, ours, is given one click. Which shapes have the class
scores, the boxes, the semantic map and the masks, for this one photo (so without the axis B)? Write plain tuples.
""",
            **numbers,
        ),
        code=fill(
            """
shapes = {
    # <answer: "class scores": ..., "boxes": ..., "semantic map": ..., "promptable masks": ...,>
    "class scores": ($classes,),
    "boxes": ($objects, 4),
    "semantic map": ($classes, $height, $width),
    "promptable masks": (3, $height, $width),
    # </answer>
}

predict_the_answers.check(shapes)
""",
            **numbers,
        ),
        expected=lambda: _answers_of_four_models(classes, objects, height, width),
        mistakes=[
            Mistake(
                "width first",
                "A picture in an array has its rows first: height, then width.",
                lambda: {"semantic map": (classes, width, height), "promptable masks": (3, width, height)},
            ),
            Mistake(
                "classes in a promptable model",
                "A promptable model has no classes; its first axis counts candidates.",
                lambda: {"promptable masks": (classes, height, width)},
            ),
            Mistake(
                "one mask",
                "One click has several meanings, and the model answers with three candidates.",
                lambda: {"promptable masks": (1, height, width)},
            ),
            Mistake("one corner", "A box is two corners of two numbers each.", lambda: {"boxes": (objects, 2)}),
            Mistake(
                "a box for each class",
                "A detector gives a box for each object that it found.",
                lambda: {"boxes": (classes, 4)},
            ),
            Mistake(
                "the winner alone",
                "A score for each class is asked, not the class that wins.",
                lambda: {"class scores": (1,), "semantic map": (1, height, width)},
            ),
            Mistake(
                "the model's frame",
                "Masks come back at the size of the photo, whatever size the model reads.",
                lambda: {"promptable masks": (3, 1024, 1024)},
            ),
        ],
        hints=[
            "Which of the four answers depend on the size of the photo, and which on the number of classes?",
            "Nobody tells the promptable model what classes there are.",
        ],
        explanation="""
Two of the four have an axis of classes, and the detector keeps a list of class scores beside its boxes: all of these
were fixed when somebody wrote down a list of names. The promptable answer has none: its axes are candidates, height and
width.
""",
    )


def _draw_four_models(generator: random.Random) -> dict[str, int]:
    sides = {"height": 20 * generator.randrange(12, 60), "width": 20 * generator.randrange(12, 80)}
    return {"classes": generator.randrange(20, 200), "objects": generator.randrange(5, 20), **sides}


predict_the_answers = by_seed(_predict_the_answers, _draw_four_models)
