"""The token that text becomes (document §1.3), and what it means to have picked the right object."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from samlite.learning.text.measure import masks_by_text, overlaps
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_15.material import numbers, scenes, small, tiny_text, words
from samlite.prompt_encoder import PromptEncoder


def _points(count: int, side: int) -> tuple[Tensor, Tensor]:
    points = torch.rand(2, count, 2, generator=torch.Generator().manual_seed(count)) * (side - 1)
    return points, torch.arange(2 * count).reshape(2, count) % 2


def _boxes(count: int, side: int) -> Tensor:
    corners = torch.rand(2, count, 2, 2, generator=torch.Generator().manual_seed(count)) * (side - 1)
    return corners.sort(dim=2).values.flatten(2)  # (B, M, 4): x1 y1 x2 y2


def _tokens(
    points: Tensor, labels: Tensor, boxes: Tensor, text: Tensor, encoder: PromptEncoder, *,
    order: str = "points boxes text", bias: bool = True, kind: int | None = None, unit: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    layer = encoder.text_projection
    projected = text @ layer.weight.T + (layer.bias if bias else 0)
    if kind is not None:
        projected = projected + encoder.type_embedding.weight[kind]
    if unit:
        projected = projected / projected.norm(dim=-1, keepdim=True)
    parts = {
        "points": encoder.encode_points(points, labels), "boxes": encoder.encode_boxes(boxes), "text": projected,
    }  # fmt: skip
    return {"text_tokens": projected, "sparse_prompt_tokens": torch.cat([parts[name] for name in order.split()], dim=1)}


def _tokens_in_samlite(
    points: Tensor, labels: Tensor, boxes: Tensor, text: Tensor, encoder: PromptEncoder
) -> dict[str, Tensor]:
    return {
        "text_tokens": encoder.encode_text(text),
        "sparse_prompt_tokens": encoder(points, labels, boxes, text=text)[0],
    }


def _phrases() -> Tensor:
    with torch.no_grad():
        return words().embed_text(["red star", "a blue ring"])[:, None]  # (B, X, E): two prompts of one phrase


write_the_text_token = Exercise(
    name="write_the_text_token",
    title="A phrase becomes a token",
    difficulty=2,
    minutes=10,
    question="""
You get B prompts of three kinds at once: `points` `(B, N, 2)` with `labels` `(B, N)`, `boxes` `(B, M, 4)`, and text
embeddings `text` `(B, X, E)`; and the prompt `encoder`. Return a dict of two tensors: `"text_tokens"` `(B, X, C)`, and
`"sparse_prompt_tokens"` `(B, N + 2M + X, C)`, in the order of the document's sequence with the text last. You may call
`encoder.encode_points(points, labels)` and `encoder.encode_boxes(boxes)`. For the text take only the layer's numbers,
`encoder.text_projection.weight` `(C, E)` and `.bias` `(C,)`: do by hand what the chapter lets the layer do.
""",
    code="""
def my_text_tokens(points, labels, boxes, text, encoder):
    # <answer: text_tokens = sparse = ...>
    layer = encoder.text_projection
    text_tokens = text @ layer.weight.T + layer.bias  # (B, X, E) → (B, X, C)
    places = [encoder.encode_points(points, labels), encoder.encode_boxes(boxes)]  # (B, N, C), (B, 2M, C)
    sparse = torch.cat([*places, text_tokens], dim=1)  # (B, N + 2M + X, C)
    # </answer>
    return {"text_tokens": text_tokens, "sparse_prompt_tokens": sparse}


write_the_text_token.check(my_text_tokens)
""",
    expected=_tokens_in_samlite,
    stages=[
        Stage("one point, one box, one phrase, a small encoder", lambda: (
            *_points(1, 24), _boxes(1, 24), numbers(2, 1, 6), small().prompt_encoder)),
        Stage("three points, two boxes, two phrases", lambda: (
            *_points(3, 24), _boxes(2, 24), numbers(2, 2, 6, seed=1), small().prompt_encoder)),
        Stage("“red star” and “a blue ring”, with the shipped weights", lambda: (
            *_points(2, tiny_text().image_size), _boxes(1, tiny_text().image_size), _phrases(),
            tiny_text().prompt_encoder)),
    ],
    mistakes=[
        Mistake("text first", "The order is points, corners, text.", partial(_tokens, order="text points boxes")),
        Mistake("corners last", "The order is points, corners, text.", partial(_tokens, order="points text boxes")),
        Mistake("bias missing", "A linear layer has a bias: + layer.bias.", partial(_tokens, bias=False)),
        Mistake("type of a point added", "Text has no place and no type of a point: the projection is all.",
                partial(_tokens, kind=1)),
        Mistake("brought to length 1", "The embedding has length 1 when it comes in. The token need not have.",
                partial(_tokens, unit=True)),
        Mistake("points forgotten", "The sparse tokens are those of the points, of the corners and of the text.",
                partial(_tokens, order="boxes text")),
        Mistake("boxes forgotten", "The sparse tokens are those of the points, of the corners and of the text.",
                partial(_tokens, order="points text")),
        Mistake("text forgotten", "The text tokens belong into the sequence.", partial(_tokens, order="points boxes")),
    ],
    hints=[
        "x @ weight.T + bias is what nn.Linear does.",
        "torch.cat([…], dim=1): axis 1 counts the tokens.",
    ],
    explanation="""
A point's token says where; a text token says what. It has no coordinates in it: the decoder's attention has to find the
place. That is why the image embedding must know colours and shapes, and why this SAM was trained anew.
""",
)  # fmt: skip


def _picked(chosen: Tensor, masks: Tensor, named: Tensor) -> dict[str, Tensor]:
    iou = overlaps(chosen, masks)
    best = iou.argmax(1)
    return {"iou": iou, "right": (best == named) & (iou.amax(1) > 0)}


def _by(chosen: Tensor, masks: Tensor, named: Tensor, kind: str) -> dict[str, Tensor]:
    both = (chosen[:, None] & masks).sum((-1, -2)).float()
    either = (chosen[:, None] | masks).sum((-1, -2)).clamp(min=1)
    own, whole = masks.sum((-1, -2)).clamp(min=1), chosen.sum((-1, -2)).clamp(min=1)[:, None]
    iou = {"covered": both / own, "inside": both / whole, "dice": 2 * both / (own + whole)}.get(kind, both / either)
    right = (iou.argmax(1) == named) & (iou.amax(1) > 0)
    if kind == "empty counts":
        right = iou.argmax(1) == named
    if kind == "not empty":
        right = (iou.argmax(1) == named) & chosen.any(-1).any(-1)
    if kind == "first":
        right = (iou.argmax(1) == 0) & (iou.amax(1) > 0)
    if kind == "half":
        right = iou.gather(1, named[:, None])[:, 0] > 0.5
    if kind == "touches":
        right = iou.gather(1, named[:, None])[:, 0] > 0
    return {"iou": iou, "right": right}


def _squares() -> tuple[Tensor, Tensor, Tensor]:
    """Four objects in a row; masks that fit one, touch two, take in everything, lie beside all, or are empty."""
    masks = torch.zeros(6, 4, 8, 16, dtype=torch.bool)
    for q in range(4):
        masks[:, q, 2:6, 4 * q : 4 * q + 3] = True
    chosen = torch.zeros(6, 8, 16, dtype=torch.bool)
    chosen[0], chosen[2, 2:6, :7], chosen[3] = masks[0, 1], True, masks[3, 3]
    chosen[2, 2:6, 0] = False
    chosen[4, 2:4, 8:10] = True
    chosen[5, :2] = True  # not empty, and yet it touches nothing
    return chosen, masks, torch.tensor([1, 0, 0, 3, 2, 0])


def _real() -> tuple[Tensor, Tensor, Tensor]:
    """The last two phrases name an object that the mask may touch at most."""
    some = scenes()
    named = torch.tensor([0, 1, 2, 3, 1, 2])
    with torch.no_grad():
        text = words().embed_text([some.phrase(b, q) for b, q in enumerate(named.tolist())])
    return masks_by_text(tiny_text(), some.images, text).clone(), some.masks, named


write_the_right_object = Exercise(
    name="write_the_right_object",
    title="The right object",
    difficulty=3,
    minutes=15,
    question="""
How often does a phrase pick its object? You get for B scenes the mask that was `chosen` `(B, R, R)`, the exact `masks`
`(B, Q, R, R)` of all Q objects, both boolean, and `named` `(B,)`, the number of the object that was named. Return a
dict of two tensors:

- `"iou"` `(B, Q)`: the intersection over union of the chosen mask with every object of its scene;
- `"right"` `(B,)`, boolean: of all objects the named one has the highest IoU, and it is above zero. A mask that touches
  nothing is never right.
""",
    code="""
def my_right_object(chosen, masks, named):
    # <answer: iou = right = ...>
    intersection = (chosen[:, None] & masks).sum(dim=(-1, -2))  # (B, Q)
    union = (chosen[:, None] | masks).sum(dim=(-1, -2))
    iou = intersection / union
    right = (iou.argmax(dim=1) == named) & (iou.amax(dim=1) > 0)
    # </answer>
    return {"iou": iou, "right": right}


write_the_right_object.check(my_right_object)
""",
    expected=_picked,
    stages=[
        Stage("squares", _squares),
        Stage("six scenes, phrases answered by tiny_text", _real),
    ],
    mistakes=[
        Mistake("covered share", "You divide by the object alone: a mask of the whole picture would then fit each of "
                "them.", partial(_by, kind="covered")),
        Mistake("share inside", "You divide by the chosen mask alone: one pixel inside the object would be perfect.",
                partial(_by, kind="inside")),
        Mistake("dice", "2 · intersection over the sum of the areas is the dice coefficient. The union counts what "
                "both have only once.", partial(_by, kind="dice")),
        Mistake("an empty mask counts", "Where every IoU is 0, argmax gives number 0. That is no choice: ask that the "
                "highest is above zero.", partial(_by, kind="empty counts")),
        Mistake("only an empty mask is no choice", "A mask may hold pixels and touch no object: ask that the highest "
                "IoU is above zero.", partial(_by, kind="not empty")),
        Mistake("the first is named", "The named object is number named[b], not number 0.", partial(_by, kind="first")),
        Mistake("above one half", "The question is which object was picked, not how well it was cut out.",
                partial(_by, kind="half")),
        Mistake("touching is enough", "The named object must have the highest IoU of all.",
                partial(_by, kind="touches")),
    ],
    hints=[
        "chosen[:, None] & masks has the shape (B, Q, R, R); its sum over the last two axes is the intersection.",
        "iou.argmax(dim=1) says which object of each scene fits best; iou.amax(dim=1) how well.",
    ],
    explanation="""
Picking and cutting out are two abilities, and one number for both would hide which of them failed. The table of the
chapter has both: the right object, and the mean IoU with it.
""",
)  # fmt: skip
