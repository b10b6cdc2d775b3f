"""The parts put together: exercises that are answered with code (document §1.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import skimage.data
import torch
from torch import Tensor

from samlite.frames import ResizeLongestSide
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_02.material import tiny
from samlite.sam import Sam

Encode = Callable[[Tensor], Tensor]
Decode = Callable[..., tuple[Tensor, Tensor]]


class _WornEncoder:
    """An encoder that gives something else each time that it runs: who runs it twice can be seen in the answer."""

    def __init__(self, encode: Encode) -> None:
        self.encode, self.runs = encode, 0

    def __call__(self, images: Tensor) -> Tensor:
        self.runs += 1
        return self.encode(images) * self.runs


def _decode_many(
    encode: Encode, decode: Decode, images: Tensor, clicks: Tensor, *, again: bool = False, at_once: bool = False,
    last: bool = False, swapped: bool = False, background: bool = False, first_mask: bool = False,
) -> Tensor:  # fmt: skip
    """Low-res logits for every click, with switches for what easily goes wrong."""
    clicks = clicks.flip(-1) if swapped else clicks
    label = torch.zeros if background else torch.ones
    embedding = encode(images)
    if at_once:
        return decode(embedding, points=clicks[None], labels=label(1, len(clicks), dtype=torch.long))[0]
    answers = []
    for number, click in enumerate(clicks):
        embedding = encode(images) if again and number else embedding
        answers.append(decode(embedding, points=click[None, None], labels=label(1, 1, dtype=torch.long))[0])
    logits = answers[-1] if last else torch.cat(answers)
    return logits[:, 0] if first_mask else logits


def _toy_model() -> tuple[Encode, Decode, Tensor, Tensor]:
    def decode(embedding: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x, y = points.sum(1).unbind(-1)
        place = (x + 10 * y + 100 * labels.sum(1) + 1000 * labels.shape[1])[:, None, None, None]
        logits = embedding.mean(1, keepdim=True) + place * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
        return logits, logits.mean((2, 3))

    images = torch.arange(48, dtype=torch.float32).reshape(1, 3, 4, 4)
    return _WornEncoder(lambda batch: batch + 1), decode, images, torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 3.0]])


def _real_model() -> tuple[Encode, Decode, Tensor, Tensor]:
    sam = tiny()
    transform = ResizeLongestSide(sam.image_size)
    pixels = torch.from_numpy(transform.apply_image(skimage.data.chelsea())).permute(2, 0, 1)[None].float()
    clicks = torch.tensor([[40.0, 30.0], [90.0, 20.0], [70.0, 60.0]]) * sam.image_size / 128
    return _WornEncoder(sam.encode_image), sam.decode_masks, sam.normalise(pixels), clicks


encode_once_decode_many = Exercise(
    name="encode_once_decode_many",
    title="Encode once, decode many",
    difficulty=3,
    minutes=12,
    question="""
Somebody clicks B times on one photo, and each click is about **another object**. You get `encode(images)`, which gives
the image embedding of `images` (1, 3, S, S); `decode(embedding, points=…, labels=…)`, which gives (low-res logits,
IoU predictions) for points (1, N, 2) and labels (1, N), whole numbers, 1 for foreground; and `clicks` (B, 2), (x, y)
in the input frame. Return the low-res logits of all clicks, (B, 3, h, w). Encoding is expensive, and this
encoder wears out: it gives something else when it runs a second time.
""",
    code="""
def answer_clicks(encode, decode, images, clicks):
    # <answer: logits = ...>
    embedding = encode(images)  # once
    foreground = torch.ones(1, 1, dtype=torch.long)
    answers = []
    for click in clicks:
        low_res_logits, iou_predictions = decode(embedding, points=click[None, None], labels=foreground)
        answers.append(low_res_logits)  # (1, 3, h, w)
    logits = torch.cat(answers)
    # </answer>
    return logits


encode_once_decode_many.check(answer_clicks)
""",
    expected=_decode_many,
    stages=[Stage("a toy model", _toy_model), Stage("tiny, a real photo", _real_model)],
    mistakes=[
        Mistake("encoded again", "The encoder ran once for each click. It does not know the click: run it once, before "
                "the loop.", partial(_decode_many, again=True)),
        Mistake("one object for all clicks", "All clicks went into one prompt, and so describe one object together. "
                "Asked is a prompt for each.", partial(_decode_many, at_once=True)),
        Mistake("only the last answer", "Every click has an answer; yours has that of the last one.",
                partial(_decode_many, last=True)),
        Mistake("x and y swapped", "Clicks are (x, y), and decode wants them so.", partial(_decode_many, swapped=True)),
        Mistake("background clicks", "Label 1 says that a point belongs to the object; 0 says that it does not.",
                partial(_decode_many, background=True)),
        Mistake("the first mask alone", "All three candidates of each click are asked.",
                partial(_decode_many, first_mask=True)),
    ],
    hints=[
        "What can stand before the loop?",
        "One click (2,) is a prompt of one point: (1, 1, 2). `click[None, None]`.",
    ],
    explanation="""
`SamPredictor` is this: `set_image` encodes and keeps, `predict` decodes. The batch axis of `decode_masks` would even
answer all B clicks in one call, with points of shape (B, 1, 2).
""",
)  # fmt: skip


def _predict(
    photo: np.ndarray, click: tuple[int, int], sam: Sam, transform: ResizeLongestSide, *,
    moved: bool = True, normalised: bool = True, turned: bool = False,
    cropped: bool = True, swapped: bool = False, half: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """A photo and a click to masks, with switches for what easily goes wrong."""
    size = photo.shape[:2]
    pixels = torch.from_numpy(transform.apply_image(photo)).permute(2, 0, 1)[None].float()
    input_size = tuple(pixels.shape[-2:])
    images = sam.normalise(pixels)
    if not normalised:
        images = torch.nn.functional.pad(pixels, (0, sam.image_size - input_size[1], 0, sam.image_size - input_size[0]))
    place = np.array([click[::-1] if swapped else click], dtype=float)
    point = transform.apply_coords(place, size[::-1] if turned else size) if moved else place
    point = torch.from_numpy(point + 0.5 * half).float()[None]
    logits, _ = sam.decode_masks(sam.encode_image(images), point, torch.ones(1, 1, dtype=torch.long))
    whole = (sam.image_size, sam.image_size)
    masks = sam.resize_masks(logits, input_size if cropped else whole, size)
    return {"input": images, "point": point, "low_res_logits": logits, "mask_logits": masks}


def _photo_and_click(name: str, click: tuple[int, int]) -> Callable[[], tuple[Any, ...]]:
    return lambda: (getattr(skimage.data, name)(), click, tiny(), ResizeLongestSide(tiny().image_size))


write_the_predictor = Exercise(
    name="write_the_predictor",
    title="From a photo to masks",
    difficulty=4,
    minutes=20,
    question="""
Put it all together without `SamPredictor`. You get `photo` (H, W, 3), uint8; `click`, (x, y) in the photo's own
pixels; `sam`; and `transform`, a `ResizeLongestSide`. `transform.apply_image(photo)` gives (h, w, 3), and
`transform.apply_coords_torch(coords, (H, W))` moves places into the input frame. `sam.normalise` takes pixels
(1, 3, h, w) and pads; `sam.encode_image`, `sam.decode_masks(embedding, points, labels)` and
`sam.resize_masks(logits, input_size, original_size)` do the rest. Return four steps: `"input"` (1, 3, S, S), `"point"`
(1, 1, 2), floats in the input frame, `"low_res_logits"` (1, 3, 4G, 4G) and `"mask_logits"` (1, 3, H, W). Labels are
whole numbers, `torch.long`.
""",
    code="""
def predict(photo, click, sam, transform):
    # <answer: images = point = low_res_logits = mask_logits = ...>
    resized = transform.apply_image(photo)  # (h, w, 3)
    images = sam.normalise(torch.from_numpy(resized).permute(2, 0, 1)[None].float())
    point = transform.apply_coords_torch(torch.tensor([[click]]), photo.shape[:2])
    embedding = sam.encode_image(images)
    low_res_logits, iou_predictions = sam.decode_masks(embedding, point, torch.ones(1, 1, dtype=torch.long))
    mask_logits = sam.resize_masks(low_res_logits, resized.shape[:2], photo.shape[:2])
    # </answer>
    return {"input": images, "point": point, "low_res_logits": low_res_logits, "mask_logits": mask_logits}


write_the_predictor.check(predict)
""",
    expected=_predict,
    stages=[
        Stage("tiny, a photo wider than high", _photo_and_click("coffee", (290, 165))),
        Stage("tiny, another photo", _photo_and_click("chelsea", (180, 105))),
    ],
    mistakes=[
        Mistake("pixels not normalised", "The encoder was trained on colours without their mean and divided by their "
                "spread: `sam.normalise`.", partial(_predict, normalised=False)),
        Mistake("the click was not moved", "The photo was resized, and the click has to go along: "
                "`apply_coords_torch`.", partial(_predict, moved=False)),
        Mistake("height and width swapped", "`apply_coords_torch` wants the size of the photo as (height, width).",
                partial(_predict, turned=True)),
        Mistake("x and y swapped", "A click is (x, y).", partial(_predict, swapped=True)),
        Mistake("half a pixel too far", "The prompt encoder adds the half pixel itself.", partial(_predict, half=True)),
        Mistake("padding left in", "The masks still hold the padding, pressed into the photo's size: `input_size` is "
                "the part of the input frame that the photo fills.", partial(_predict, cropped=False)),
    ],
    hints=[
        "Five lines for five calls: resize, normalise, move the click, encode and decode, resize back.",
        "`input_size` is the height and width of the *resized* photo, before padding.",
    ],
    explanation="""
That is all of `SamPredictor`, but for what it refuses: it says what is wrong with a photo or a prompt before a mask
of the wrong thing comes back.
""",
)  # fmt: skip
