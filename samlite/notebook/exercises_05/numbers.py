"""Exercises that are answered with numbers: shapes, places, parameters (document §1.5.2–§1.5.6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from samlite.frames import PhotoFrames
from samlite.image_encoder import ImageEncoder
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.ledger import shape_ledger
from samlite.sam import document_sam

_SHAPE_STEPS = ("patches", "patch_embedding", "grid", "image_embedding")


def _shapes_on_meta(image_size: int, patch_size: int, width: int, channels: int) -> dict[str, tuple[int, ...]]:
    sam = document_sam(image_size, width, patch_size=patch_size, depth=1, channels=channels, device="meta")
    with shape_ledger(sam) as ledger:
        sam.encode_image(torch.zeros(2, 3, image_size, image_size, device="meta"))
    return {step: ledger[step].shape for step in _SHAPE_STEPS}


def _predict_shapes(image_size: int, patch_size: int, width: int, channels: int) -> Exercise:
    side = image_size // patch_size
    patches, values = side**2, 3 * patch_size**2
    S, P, D, C, L, V = image_size, patch_size, width, channels, patches, values
    return Exercise(
        name="predict_shapes",
        title="Predict the shapes",
        difficulty=1,
        minutes=5,
        question=f"""
Another encoder of the same kind: photos of {S}×{S} pixels, patches of {P}×{P}, {D} wide, {C} channels at its end.
**Two** photos go in at once. Which shapes come out of four of its steps? Write plain tuples, no code that runs a model.
""",
        code=f"""
shapes = {{
    # <answer: "patches": ..., "patch_embedding": ..., "grid": ..., "image_embedding": ...,>
    "patches": (2, ({S} // {P}) ** 2, 3 * {P} * {P}),
    "patch_embedding": (2, ({S} // {P}) ** 2, {D}),
    "grid": (2, {S} // {P}, {S} // {P}, {D}),
    "image_embedding": (2, {C}, {S} // {P}, {S} // {P}),
    # </answer>
}}

predict_shapes.check(shapes)
""",
        expected=partial(_shapes_on_meta, image_size, patch_size, width, channels),
        mistakes=[
            Mistake("one row of patches", f"There are {side} patches in a row, and {side} rows.", lambda: {
                "patches": (2, side, values), "patch_embedding": (2, side, width)}),
            Mistake("colours forgotten", "Every pixel of a patch has three values.", lambda: {
                "patches": (2, patches, patch_size**2)}),
            Mistake("pixels for patches", "A patch is one token, however many pixels it has.", lambda: {
                "patches": (2, image_size**2, 3), "patch_embedding": (2, image_size**2, width)}),
            Mistake("one photo", "Two photos went in; the first axis counts them.", lambda: {
                "patches": (1, patches, values), "patch_embedding": (1, patches, width), "grid": (1, side, side, width),
                "image_embedding": (1, channels, side, side)}),
            Mistake("batch forgotten", "The first axis counts the photos, B.", lambda: {
                "patches": (patches, values), "patch_embedding": (patches, width), "grid": (side, side, width),
                "image_embedding": (channels, side, side)}),
            Mistake("axes swapped", "A sequence is B, L, D: first which token, then what is in it.", lambda: {
                "patches": (2, values, patches), "patch_embedding": (2, width, patches)}),
            Mistake("not projected", "The linear layer has changed the width of every token.", lambda: {
                "patch_embedding": (2, patches, values), "image_embedding": (2, width, side, side)}),
            Mistake("channels first too early", "The grid still has its channels last.", lambda: {
                "grid": (2, width, side, side)}),
            Mistake("channels last", "The decoder wants its channels in front of the rows and columns.", lambda: {
                "image_embedding": (2, side, side, channels)}),
        ],
        hints=[
            "How many patches fit beside each other, and how many below each other?",
            "A patch vector holds every value of the patch: its pixels, times the colours.",
            "Only two steps change the width of a token: the projection at the beginning and the one at the end.",
        ],
        variant=_redraw_shapes,
        explanation=f"""
Only three sizes are at work: ({S} / {P})² = {L} patches, 3 · {P} · {P} = {V} values in each, and the two widths. The
model that the checker runs is on the `meta` device; it has the shapes and no numbers.
""",
    )  # fmt: skip


def _redraw_shapes(seed: int) -> Exercise:
    """Another encoder. No two of its sizes are equal, so that one cannot pass for another."""
    draw = np.random.default_rng(seed)
    patch_size, side = int(draw.choice([8, 16, 32])), int(draw.integers(20, 40))
    width, channels = int(draw.choice([640, 896, 1152])), 16 * int(draw.integers(5, 14))
    return _predict_shapes(side * patch_size, patch_size, width, channels)


predict_shapes = _predict_shapes(image_size=768, patch_size=32, width=1024, channels=192)


def _place(x: int, y: int, photo_size: tuple[int, int], image_size: int, patch_size: int) -> int:
    """samlite's own way, through the frames of a photo."""
    grid = image_size // patch_size
    column, row = PhotoFrames(photo_size, image_size, grid).move_points(np.array([x, y]), "original", "grid").round()
    return int(row) * grid + int(column)


def _place_with(
    x: int, y: int, photo_size: tuple[int, int], image_size: int, patch_size: int, *,
    scaled: bool = True, swapped: bool = False, by_short_side: bool = False, first: int = 0,
    whole: Callable[[float], int] = math.floor,
    row_length: Callable[[int, int, tuple[int, int]], int] = lambda grid, patch_size, size: grid,
) -> int:  # fmt: skip
    """The place by arithmetic, with switches for what easily goes wrong."""
    side = min(photo_size) if by_short_side else max(photo_size)
    scale = image_size / side if scaled else 1.0
    column, row = (whole((place * scale + 0.5) / patch_size) for place in (x, y))
    if swapped:
        row, column = column, row
    size = (round(photo_size[0] * scale), round(photo_size[1] * scale))
    return row * row_length(image_size // patch_size, patch_size, size) + column + first


find_the_patch = Exercise(
    name="find_the_patch",
    title="From a click to a token",
    difficulty=2,
    minutes=10,
    question="""
A reader clicks on the pixel (x, y) of a photo of `photo_size` = (height, width). The photo is resized so that its
longest side is `image_size` pixels, then padded at the right or at the bottom to a square. Which place has the patch
under the click in the sequence of patches? Count from 0.
""",
    code="""
def place_in_sequence(x, y, photo_size, image_size, patch_size):
    # <answer: place = ...>
    scale = image_size / max(photo_size)
    column = int((x * scale + 0.5) // patch_size)
    row = int((y * scale + 0.5) // patch_size)
    patches_in_a_row = image_size // patch_size  # of the padded square
    place = row * patches_in_a_row + column
    # </answer>
    return place


find_the_patch.check(place_in_sequence)
""",
    expected=_place,
    stages=[
        Stage("a square photo that needs no resizing", lambda: (53, 37, (64, 64), 64, 16)),
        Stage("a photo that is larger than the input frame", lambda: (700, 410, (1200, 1600), 1024, 16)),
        Stage("a high photo, padded at the right", lambda: (333, 871, (1000, 500), 512, 16)),
    ],
    mistakes=[
        Mistake("x and y swapped", "x runs along a row and so chooses the column; y chooses the row.",
                partial(_place_with, swapped=True)),
        Mistake("not resized", "The click is in pixels of the photo, the patches are in pixels of the input frame.",
                partial(_place_with, scaled=False)),
        Mistake("scaled by the short side", "It is the longest side that becomes image_size.",
                partial(_place_with, by_short_side=True)),
        Mistake("counted from 1", "The first patch has place 0.", partial(_place_with, first=1)),
        Mistake("rounded", "A patch holds the pixels from its left border to its right one: divide and drop the "
                "rest, whatever it is.", partial(_place_with, whole=round)),
        Mistake("rounded up", "The first pixels belong to patch 0: divide and drop the rest.",
                partial(_place_with, whole=math.ceil)),
        Mistake("rows as long as the photo", "The padding is made of patches too: a row of the grid is always "
                "image_size / patch_size long.",
                partial(_place_with, row_length=lambda grid, patch_size, size: size[1] // patch_size)),
        Mistake("rows one too long", "A row has image_size / patch_size patches; yours has one more.",
                partial(_place_with, row_length=lambda grid, patch_size, size: grid + 1)),
    ],
    hints=[
        "Three frames: pixels of the photo → pixels of the input frame → patches. One scale, one division.",
        "Row and column first; then count all patches of the rows above.",
    ],
    explanation="""
In samlite this is `PatchViews.patch_at` and `PatchViews.index`. The half pixel is there because (0, 0) is the *centre*
of the first pixel, whose border is at −0.5; it matters only for a click on the border of two patches. Nothing of a
token's place is left in its values: the position vectors have to tell the encoder where it came from.
""",
)  # fmt: skip


def _count(image_size: int, patch_size: int, width: int, depth: int, channels: int) -> int:
    with torch.device("meta"):
        encoder = ImageEncoder(image_size, patch_size, width, depth, heads=4, channels=channels)
    return sum(parameter.numel() for parameter in encoder.parameters())


def _counted(
    image_size: int, patch_size: int, width: int, depth: int, channels: int, *,
    biases: int = 1, positions: int = 1, norms: int = 1, last_norm: int = 1, attention: int = 4, mlp: int = 4,
    patches: int | None = None,
) -> int:  # fmt: skip
    """The count by arithmetic, with switches for what is easily forgotten."""
    patches = (image_size // patch_size) ** 2 if patches is None else patches
    values = 3 * patch_size**2
    block = attention * (width**2 + biases * width) + 2 * mlp * width**2 + biases * (mlp + 1) * width
    block += norms * 2 * 2 * width
    ends = values * width + biases * width + width * channels + biases * channels
    return ends + positions * patches * width + depth * block + norms * last_norm * 2 * width


def _redraw_encoders(seed: int) -> Exercise:
    draw = np.random.default_rng(seed)

    def sizes() -> tuple[int, int, int, int, int]:
        patch_size = int(draw.integers(3, 9))
        image_size, width, depth = patch_size * int(draw.integers(3, 9)), 4 * int(draw.integers(2, 20)), 2
        return image_size, patch_size, width, depth + int(draw.integers(0, 4)), int(draw.integers(3, 40))

    drawn = [sizes(), sizes()]
    return replace(
        count_parameters,
        stages=[Stage(f"encoder {number}", lambda sizes=sizes: sizes) for number, sizes in enumerate(drawn, 1)],
    )


count_parameters = Exercise(
    name="count_parameters",
    title="Count the parameters",
    difficulty=2,
    minutes=12,
    question="""
Write a function that counts the numbers which an image encoder learns, by arithmetic alone. Every linear layer has a
bias. A block has two norms, attention (queries, keys, values, output) and an MLP that is four times as wide inside.
After the last block comes one more norm. Each norm has a scale and a shift for every channel.
""",
    code="""
def parameters(image_size, patch_size, width, depth, channels):
    # <answer: total = ...>
    patches = (image_size // patch_size) ** 2
    patch_projection = 3 * patch_size**2 * width + width
    positions = patches * width
    attention = 4 * (width * width + width)
    mlp = (width * 4 * width + 4 * width) + (4 * width * width + width)
    norm = 2 * width
    block = norm + attention + norm + mlp
    channel_projection = width * channels + channels
    total = patch_projection + positions + depth * block + norm + channel_projection
    # </answer>
    return total


count_parameters.check(parameters)
""",
    expected=_count,
    stages=[
        Stage("a very small encoder", lambda: (16, 4, 8, 1, 2)),
        Stage("a small one", lambda: (128, 8, 64, 3, 32)),
        Stage("the document's ViT-H", lambda: (1024, 16, 1280, 32, 256)),
    ],
    mistakes=[
        Mistake("biases forgotten", "Every linear layer also adds one number to each output.",
                partial(_counted, biases=0)),
        Mistake("positions forgotten", "Every patch of the grid has a learned vector of its own (§1.5.3).",
                partial(_counted, positions=0)),
        Mistake("norms forgotten", "Every norm has two numbers for each channel.", partial(_counted, norms=0)),
        Mistake("last norm forgotten", "One more norm follows the last block.", partial(_counted, last_norm=0)),
        Mistake("output of the attention forgotten", "Attention has four linear layers: the heads' results are "
                "put together by one more.", partial(_counted, attention=3)),
        Mistake("an MLP that does not widen", "Inside, the MLP is four times as wide.", partial(_counted, mlp=1)),
        Mistake("one block", "There are depth blocks, each with weights of its own.",
                lambda image_size, patch_size, width, depth, channels:
                    _counted(image_size, patch_size, width, 1, channels)),
        Mistake("positions for one row only", "The grid has as many rows as columns.",
                lambda image_size, patch_size, width, depth, channels: _counted(
                    image_size, patch_size, width, depth, channels, patches=image_size // patch_size)),
    ],
    hints=[
        "A linear layer from a to b has a · b weights and b biases.",
        "The four linear layers of the attention are all width → width; heads only share them out.",
        "Positions: how many patches are there, and how long is the vector of each?",
    ],
    variant=_redraw_encoders,
    explanation="""
Almost everything is in the blocks: 12 · width² each, plus small change. That is why a model's size is quoted by its
width and its depth. The size of the photo only enters through the table of positions.
""",
)  # fmt: skip
