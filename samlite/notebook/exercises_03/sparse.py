"""Exercises on sparse prompts: how many tokens, and several objects in one call (document §1.3, §1.7.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from samlite.frames import ResizeLongestSide
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.measuring import empty
from samlite.notebook.variants import WORDS, by_seed, fill
from samlite.sam import document_sam

_STEPS = ("sparse_prompt_tokens", "mask_prompt", "dense_prompt", "token_sequence")


def _shapes_on_meta(prompts: int, points: int, boxes: int) -> dict[str, tuple[int, ...]]:
    sam = document_sam(depth=1, device="meta")  # the depth of the encoder does not change what a prompt becomes

    with shape_ledger(sam) as ledger:
        sam.decode_masks(
            empty(1, 256, 64, 64), points=empty(prompts, points, 2), labels=empty(prompts, points, dtype=torch.int64),
            boxes=empty(prompts, boxes, 4), mask=empty(prompts, 1, 256, 256),
        )  # fmt: skip
    return {step: ledger[step].shape for step in _STEPS}


def _predict_the_tokens(prompts: int = 5, points: int = 3, boxes: int = 2) -> Exercise:
    sparse = points + 2 * boxes
    numbers = {
        "prompts": prompts,
        "points": points,
        "boxes": boxes,
        "sparse": sparse,
        "prompts_in_words": WORDS[prompts],
        "points_in_words": WORDS[points],
        "boxes_in_words": WORDS[boxes],
    }
    return Exercise(
        name="predict_the_tokens",
        title="What a prompt becomes",
        difficulty=1,
        minutes=5,
        question=fill(
            """
The model at full size gets a batch of **$prompts_in_words** prompts on one photo. Each has $points_in_words \
points, $boxes_in_words boxes and a mask
prompt of low-res logits. Which shapes have the four tensors? `token_sequence` is what enters the decoder: the
prompt's tokens and the model's own. Write plain tuples.
""",
            **numbers,
        ),
        code=fill(
            """
shapes = {
    # <answer: "sparse_prompt_tokens": ..., "mask_prompt": ..., "dense_prompt": ..., "token_sequence": ...,>
    "sparse_prompt_tokens": ($prompts, $points + 2 * $boxes, 256),
    "mask_prompt": ($prompts, 1, 4 * 64, 4 * 64),
    "dense_prompt": ($prompts, 256, 64, 64),
    "token_sequence": ($prompts, $points + 2 * $boxes + 4, 256),
    # </answer>
}

predict_the_tokens.check(shapes)
""",
            **numbers,
        ),
        expected=lambda: _shapes_on_meta(prompts, points, boxes),
        mistakes=[
            Mistake(
                "one token a box",
                "A box is two corners, and each corner is a token.",
                lambda: {
                    "sparse_prompt_tokens": (prompts, points + boxes, 256),
                    "token_sequence": (prompts, points + boxes + 4, 256),
                },
            ),
            Mistake(
                "one token a number",
                "A box has four numbers but two corners: a token is a place.",
                lambda: {
                    "sparse_prompt_tokens": (prompts, points + 4 * boxes, 256),
                    "token_sequence": (prompts, points + 4 * boxes + 4, 256),
                },
            ),
            Mistake(
                "the mask as a token",
                "A mask prompt is dense: it becomes a map and no token.",
                lambda: {
                    "sparse_prompt_tokens": (prompts, sparse + 1, 256),
                    "token_sequence": (prompts, sparse + 5, 256),
                },
            ),
            Mistake(
                "output tokens forgotten",
                "Four tokens of the model's own join the sequence: three for the masks, one for the IoUs (§1.7.3).",
                lambda: {"token_sequence": (prompts, sparse, 256)},
            ),
            Mistake(
                "one output token too few",
                "Three masks and one vector of IoUs: four.",
                lambda: {"token_sequence": (prompts, sparse + 3, 256)},
            ),
            Mistake(
                "all prompts in one sequence",
                f"{WORDS[prompts].capitalize()} prompts are {WORDS[prompts]} sequences that never meet.",
                lambda: {
                    "sparse_prompt_tokens": (1, prompts * sparse, 256),
                    "token_sequence": (1, prompts * sparse + 4, 256),
                },
            ),
            Mistake(
                "batch forgotten",
                "The first axis counts the prompts, B.",
                lambda: {
                    "sparse_prompt_tokens": (sparse, 256),
                    "mask_prompt": (1, 256, 256),
                    "dense_prompt": (256, 64, 64),
                    "token_sequence": (sparse + 4, 256),
                },
            ),
            Mistake(
                "batch of one",
                f"One photo, but {WORDS[prompts]} prompts, each with its own answer.",
                lambda: {
                    "sparse_prompt_tokens": (1, sparse, 256),
                    "mask_prompt": (1, 1, 256, 256),
                    "dense_prompt": (1, 256, 64, 64),
                    "token_sequence": (1, sparse + 4, 256),
                },
            ),
            Mistake(
                "tokens last",
                "A sequence is B, T, C: first which token, then what is in it.",
                lambda: {"sparse_prompt_tokens": (prompts, 256, sparse), "token_sequence": (prompts, 256, sparse + 4)},
            ),
            Mistake(
                "the mask at the size of the photo",
                "A mask prompt has four cells a patch along each side, as the low-res logits have.",
                lambda: {"mask_prompt": (prompts, 1, 1024, 1024)},
            ),
            Mistake(
                "channels last",
                "The map is added to the image embedding, which has its channels in front.",
                lambda: {"dense_prompt": (prompts, 64, 64, 256)},
            ),
        ],
        hints=[
            "N points and M boxes make N + 2M tokens.",
            "The dense map must be addable to the image embedding, place by place.",
        ],
        explanation=fill(
            """
B = $prompts, N = $points, M = $boxes: N + 2M = $sparse tokens of the prompt and four of the model. The mask \
prompt does not change the length
of any sequence; it is added to the image. The released model has five output tokens in the place of four.
""",
            **numbers,
        ),
    )


def _draw_prompts(generator: random.Random) -> dict[str, int]:
    return {name: generator.randrange(2, 13) for name in ("prompts", "points", "boxes")}


predict_the_tokens = by_seed(_predict_the_tokens, _draw_prompts)

Objects = Sequence[dict[str, Sequence]]


def _together(
    objects: Objects, transform: ResizeLongestSide, original_size: tuple[int, int], *,
    corners: bool = True, turned: bool = False, swapped: bool = False, moved: int = 1, one_scale: bool = False,
    normalised: bool = False, with_labels: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """The batch, with switches for what easily goes wrong."""
    given = np.array([each["points"] for each in objects], dtype=np.float64)  # (B, N, 3)
    points, labels = given[..., :2], given[..., 2]
    boxes = np.array([each["box"] for each in objects], dtype=np.float64)  # (B, 4), x y width height
    boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) if corners else boxes
    size = original_size[::-1] if turned else original_size

    def into_the_frame(places: np.ndarray) -> np.ndarray:
        if swapped:
            places = places[..., ::-1]
        if one_scale:
            return places * transform.target_length / max(original_size)
        for _ in range(moved):
            places = transform.apply_coords(places, size)
        return (places + 0.5) / transform.target_length if normalised else places

    points, boxes = into_the_frame(points), into_the_frame(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    points = np.concatenate([points, labels[..., None]], axis=-1) if with_labels else points
    return {
        "point_coords": torch.from_numpy(points.copy()).float(),
        "point_labels": torch.from_numpy(labels).long(),
        "boxes": torch.from_numpy(boxes).float(),
    }


def _changed(**changes: object) -> object:
    """A mistake of shape: the right batch, with some of its tensors laid out otherwise."""

    def answer(objects: Objects, transform: ResizeLongestSide, original_size: tuple[int, int]) -> dict[str, Tensor]:
        right = _together(objects, transform, original_size)
        return right | {name: change(right[name]) for name, change in changes.items()}

    return answer


def _two_objects() -> tuple[Objects, ResizeLongestSide, tuple[int, int]]:
    objects = [
        {"points": [(10, 20, 1), (30, 25, 0), (14, 18, 1)], "box": (5, 6, 40, 30)},
        {"points": [(70, 50, 1), (60, 12, 1), (81, 3, 0)], "box": (50, 2, 35, 55)},
    ]
    return objects, ResizeLongestSide(96), (61, 90)


def _four_objects() -> tuple[Objects, ResizeLongestSide, tuple[int, int]]:
    generator = np.random.default_rng(3)
    objects = [
        {
            "points": [(int(x), int(y), int(label)) for x, y, label in generator.integers(1, (427, 613, 2), (2, 3))],
            "box": tuple(int(number) for number in generator.integers(5, 200, 4)),
        }
        for _ in range(4)
    ]
    return objects, ResizeLongestSide(1024), (613, 427)


combine_prompts = Exercise(
    name="combine_prompts",
    title="Several objects in one call",
    difficulty=3,
    minutes=15,
    question="""
You have marked B objects on one photo of `original_size` = (height, width). `objects` is a list of dicts: `"points"`
is a list of N triples (x, y, label), `"box"` is (x, y, width, height); all in pixels of the photo. Make the three
tensors that `predictor.predict_torch` takes, so that one call answers all objects: `"point_coords"` `(B, N, 2)`,
`"point_labels"` `(B, N)` and `"boxes"` `(B, 4)`, two corners, in the **input** frame. `transform` is a
`ResizeLongestSide`, as in `predictor.transform`: `transform.apply_coords(places, original_size)` moves an array
`(…, 2)` of places (x, y), `transform.apply_boxes(corners, original_size)` an array `(…, 4)` of corners.
""",
    code="""
def together(objects, transform, original_size):
    # <answer: points = labels = boxes = ...>
    marks = np.array([each["points"] for each in objects])  # (B, N, 3)
    x, y, width, height = np.array([each["box"] for each in objects]).T  # four times (B,)
    corners = np.stack([x, y, x + width, y + height], axis=1)  # (B, 4)
    points = torch.from_numpy(transform.apply_coords(marks[..., :2], original_size)).float()
    labels = torch.from_numpy(marks[..., 2]).long()
    boxes = torch.from_numpy(transform.apply_boxes(corners, original_size)).float()
    # </answer>
    return {"point_coords": points, "point_labels": labels, "boxes": boxes}


combine_prompts.check(together)
""",
    expected=_together,
    stages=[Stage("two objects, a wide photo", _two_objects), Stage("four objects, a tall photo", _four_objects)],
    mistakes=[
        Mistake("XYWH passed as XYXY", "The box is still x, y, width, height; two corners are asked.",
                partial(_together, corners=False)),
        Mistake("still in the photo's pixels", "predict_torch takes the input frame: transform.apply_coords and "
                "apply_boxes lead there.", partial(_together, moved=0)),
        Mistake("moved twice", "Once is enough: these coordinates went through the transform two times.",
                partial(_together, moved=2)),
        Mistake("height and width swapped", "original_size is (height, width), and the transform wants it so.",
                partial(_together, turned=True)),
        Mistake("x and y swapped", "Points are (x, y), boxes x1, y1, x2, y2.", partial(_together, swapped=True)),
        Mistake("one scale for both axes", "Close. The short side of the photo was rounded to whole pixels, so each "
                "axis has its own scale: use the transform.", partial(_together, one_scale=True)),
        Mistake("normalised too early", "Dividing by the image size is the prompt encoder's work.",
                partial(_together, normalised=True)),
        Mistake("labels among the coordinates", "A point is (x, y) here; its label has a tensor of its own.",
                partial(_together, with_labels=True)),
        Mistake("all in one prompt", "This is one prompt with all the points: the model would look for one object. "
                "The first axis counts the objects.", _changed(
                    point_coords=lambda points: points.reshape(1, -1, 2), point_labels=lambda x: x.reshape(1, -1),
                    boxes=lambda boxes: boxes[None])),
        Mistake("axes swapped", "The objects come first, then the points of each.", _changed(
            point_coords=lambda points: points.transpose(0, 1), point_labels=lambda labels: labels.T)),
        Mistake("only the first object", "Each object has a row.", _changed(
            point_coords=lambda points: points[:1], point_labels=lambda labels: labels[:1],
            boxes=lambda boxes: boxes[:1])),
        Mistake("labels forgotten", "Background points have the label 0.", _changed(point_labels=torch.ones_like)),
    ],
    hints=[
        "`np.array([each[\"points\"] for each in objects])` has the shape (B, N, 3).",
        "First make corners of the boxes, then let the transform move points and boxes.",
        "`torch.from_numpy(…).float()` for places, `.long()` for labels.",
    ],
    explanation="""
A batch is many prompts on one photo: the embedding is computed once and used for all of them. That works because
every prompt has the same N; to mix prompts of different lengths, call the model once for each length. M boxes around
*one* object are something else: `(B, M, 4)`, all in one sequence.
""",
)  # fmt: skip
