"""Exercises on sparse prompts: points and boxes become tokens, with the weights of the model (document §1.7.1)."""

from __future__ import annotations

from functools import partial

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_07.material import boxes, labels, places, small, tiny
from samlite.prompt_encoder import PromptEncoder


def _points_in_samlite(points: Tensor, labels: Tensor, encoder: PromptEncoder) -> dict[str, Tensor]:
    normalised = (points + 0.5) / encoder.image_size
    projected = encoder.coordinates.projection(normalised)
    position = encoder.coordinates(normalised) - projected
    return {"projected": projected, "position": position, "tokens": encoder.encode_points(points, labels)}


def _points(
    points: Tensor, labels: Tensor, encoder: PromptEncoder, *,
    shift: float = 0.5, side: int | None = None, shift_after: float = 0.0, swapped: bool = False,
    projection_from: int = 0, table_from: int = -1, table_swapped: bool = False, mode: str = "bilinear",
    align: bool = False, padding: str = "border", merge: str = "b c n 1 -> b n c", add: str = "projected position type",
    types: tuple[int, int] = (0, 1),
) -> dict[str, Tensor]:  # fmt: skip
    """Point tokens step by step, with switches for what easily goes wrong; ``…_from`` is where the frame begins."""
    where = (points + shift) / (side or encoder.image_size) + shift_after
    where = where.flip(-1) if swapped else where
    projected = encoder.coordinates.projection(2 * where - 1 if projection_from else where)
    read_at = 2 * where - 1 if table_from else where
    table = encoder.coordinates.position_table.expand(len(points), -1, -1, -1)
    read_at = rearrange(read_at.flip(-1) if table_swapped else read_at, "b n xy -> b n 1 xy")
    read = F.grid_sample(table, read_at, mode=mode, align_corners=align, padding_mode=padding)
    position = rearrange(read, merge) if "->" in merge else read.reshape(projected.shape)
    parts = {
        "projected": projected, "position": position, "type": encoder.type_embedding(torch.tensor(types)[labels])
    }  # fmt: skip
    tokens = torch.stack([parts[name] for name in add.split()]).sum(0)
    return {"projected": projected, "position": position, "tokens": tokens}


def _by_the_grid(points: Tensor, labels: Tensor, encoder: PromptEncoder) -> dict[str, Tensor]:
    return _points(points, labels, encoder, side=encoder.grid_size)


def _by_the_last_pixel(points: Tensor, labels: Tensor, encoder: PromptEncoder) -> dict[str, Tensor]:
    return _points(points, labels, encoder, shift=0.0, side=encoder.image_size - 1)


def _cell_looked_up(points: Tensor, labels: Tensor, encoder: PromptEncoder) -> dict[str, Tensor]:
    """The table indexed with [x, y] in place of [y, x], without interpolation."""
    right = _points(points, labels, encoder)
    column, row = ((points + 0.5) / encoder.image_size * encoder.grid_size).long().unbind(-1)
    position = rearrange(encoder.coordinates.position_table[:, column, row], "c b n -> b n c")
    return right | {"position": position, "tokens": right["tokens"] - right["position"] + position}


write_encode_points = Exercise(
    name="write_encode_points",
    title="Points become tokens",
    difficulty=3,
    minutes=20,
    question="""
Write the token of a point yourself, with the weights of the model. You get `points` `(B, N, 2)`, x and y in pixels of
the input frame, `labels` `(B, N)`, and the prompt `encoder` with

- `image_size`, the side of the input frame;
- `coordinates.projection`, a linear layer 2 → C for coordinates in 0…1;
- `coordinates.position_table` `(C, G, G)`, to be read bilinearly; beyond its outermost centres it stays as it is there;
- `type_embedding`, with type 0 for background and 1 for foreground; `type_embedding(labels)` is `(B, N, C)`.

Return a dict of three tensors `(B, N, C)`: `"projected"`, the projected coordinates; `"position"`, what the table
holds at that place; `"tokens"`, the sum of both and of the type. Do not call `encoder.coordinates(…)`. A pixel's
centre lies half a pixel in.
""",
    code="""
def my_point_tokens(points, labels, encoder):
    # <answer: projected = position = tokens = ...>
    normalised = (points + 0.5) / encoder.image_size  # the centre of pixel 0 lies half a pixel in
    projected = encoder.coordinates.projection(normalised)  # (B, N, C)

    table = encoder.coordinates.position_table.expand(len(points), -1, -1, -1)  # (B, C, G, G)
    where = (2 * normalised - 1)[:, :, None]  # (B, N, 1, 2); grid_sample counts from -1 to 1, x first
    read = F.grid_sample(table, where, align_corners=False, padding_mode="border")  # (B, C, N, 1)
    position = rearrange(read, "b c n 1 -> b n c")

    tokens = projected + position + encoder.type_embedding(labels)
    # </answer>
    return {"projected": projected, "position": position, "tokens": tokens}


write_encode_points.check(my_point_tokens)
""",
    expected=_points_in_samlite,
    stages=[
        Stage("one point, a small encoder", lambda: (
            torch.tensor([[[7.0, 17.0]]]), torch.tensor([[1]]), small().prompt_encoder)),
        Stage("two prompts of four points", lambda: (
            places(2, 4, 2, size=24), labels(2, 4), small().prompt_encoder)),
        Stage("points at the edge", lambda: (
            torch.tensor([[[0.0, 0.0], [23.0, 0.0], [11.0, 23.0]]]), labels(1, 3), small().prompt_encoder)),
        Stage("tiny with its trained weights", lambda: (
            places(2, 5, 2, size=tiny().image_size, seed=3), labels(2, 5), tiny().prompt_encoder)),
    ],
    mistakes=[
        Mistake("half a pixel missing", "Pixel 0 reaches from 0 to 1, its centre lies at 0.5: add it first.",
                partial(_points, shift=0.0)),
        Mistake("half a picture off", "The half is half a pixel: add it before you divide by the size.",
                partial(_points, shift=0.0, shift_after=0.5)),
        Mistake("divided by the last pixel", "From the left edge of the frame to the right one it is S pixels, "
                "not S − 1.", _by_the_last_pixel),
        Mistake("normalised by the grid", "The points are pixels of the input frame, not cells: divide by its side.",
                _by_the_grid),
        Mistake("table read with x and y swapped", "grid_sample wants x first, although the table has its rows first.",
                partial(_points, table_swapped=True)),
        Mistake("x and y swapped", "x comes first, everywhere.", partial(_points, swapped=True)),
        Mistake("projection from −1…1", "Only grid_sample counts from −1 to 1; the linear layer was trained with 0…1.",
                partial(_points, projection_from=-1)),
        Mistake("table read from 0…1", "grid_sample wants −1…1: your points all lie in the lower right quarter.",
                partial(_points, table_from=0)),
        Mistake("table read without interpolation", "You take the nearest cell. Between two centres the position is "
                "between theirs: bilinear.", partial(_points, mode="nearest")),
        Mistake("a cell looked up, column first", "You index the table with [column, row] and take the cell as it is. "
                "Rows come first in a map, and it is to be read bilinearly.", _cell_looked_up),
        Mistake("align_corners", "With align_corners=True the centres of the outer cells are moved to the edge of the "
                "picture. They lie half a cell inside.", partial(_points, align=True)),
        Mistake("zeros outside", "Near the edge your table fades to zero. It is to stay as it is in its outermost "
                "centre: padding_mode.", partial(_points, padding="zeros")),
        Mistake("reshaped, not moved", "grid_sample gives (B, C, N, 1). A reshape to (B, N, C) mixes tokens and "
                "channels; an axis has to move.", partial(_points, merge="reshape")),
        Mistake("type missing", "Without a type the decoder cannot tell foreground from background.",
                partial(_points, add="projected position")),
        Mistake("position missing", "Your token is the projected coordinates and the type alone.",
                partial(_points, add="projected type")),
        Mistake("coordinates missing", "Your token is position and type alone.",
                partial(_points, add="position type")),
        Mistake("types swapped", "Type 1 is foreground, as label 1 is.", partial(_points, types=(1, 0))),
        Mistake("types of corners", "Types 2 and 3 are for the corners of boxes.", partial(_points, types=(2, 3))),
    ],
    hints=[
        "(points + 0.5) / encoder.image_size lies in 0…1. The projection takes that as it is.",
        "F.grid_sample reads a map (B, C, G, G) at places (B, N, 1, 2) that count from −1 to 1: 2 · normalised − 1.",
        "Its result is (B, C, N, 1); the table must be expanded to B maps first. Mind align_corners and padding_mode.",
    ],
    explanation="""
The two terms of the position say the same thing in two ways. The projection is smooth and global: along any direction
it grows or falls forever. The table is local: each entry can be learned by itself, and what is between two entries is
their mixture. Only their sum and the type enter the decoder; no one can tell from a token which part came from where.
""",
)  # fmt: skip


def _boxes_in_samlite(boxes: Tensor, encoder: PromptEncoder) -> Tensor:
    return encoder.encode_boxes(boxes)


def _boxes(
    boxes: Tensor, encoder: PromptEncoder, *,
    corners: str = "b m (corner xy) -> b m corner xy", types: tuple[int, ...] | None = (2, 3), shift: float = 0.5,
    swapped: bool = False, by_grid: bool = False, sizes: bool = False, order: str = "b m corner c -> b (m corner) c",
) -> Tensor:  # fmt: skip
    """Corner tokens step by step, with switches for what easily goes wrong."""
    two = rearrange(boxes, corners, xy=2, corner=2)
    if sizes:  # x, y, width, height taken for what they are not
        two = torch.stack([two[..., 0, :], two[..., 0, :] + two[..., 1, :]], dim=-2)
    two = two.flip(-1) if swapped else two
    normalised = (two + shift) / (encoder.grid_size if by_grid else encoder.image_size)
    code = encoder.coordinates(rearrange(normalised, "b m corner xy -> b (m corner) xy"))
    tokens = rearrange(code, "b (m corner) c -> b m corner c", corner=2)
    if types is not None:
        tokens = tokens + encoder.type_embedding.weight[list(types)]
    return rearrange(tokens, order)


def _types_out_of_step(boxes: Tensor, encoder: PromptEncoder) -> Tensor:
    """All first corners, then all second ones, but types 2, 3, 2, 3, …"""
    bare = _boxes(boxes, encoder, types=None, order="b m corner c -> b (corner m) c")
    return bare + encoder.type_embedding.weight[torch.arange(bare.shape[1]) % 2 + 2]


def _one_token_a_box(boxes: Tensor, encoder: PromptEncoder) -> Tensor:
    return _boxes(boxes, encoder, order="b m corner c -> b m corner c").mean(2)


write_encode_boxes = Exercise(
    name="write_encode_boxes",
    title="Boxes become tokens",
    difficulty=2,
    minutes=15,
    question="""
Write the tokens of boxes yourself. You get `boxes` `(B, M, 4)` as x1, y1, x2, y2 in pixels of the input frame, and the
prompt `encoder`. This time you may call `encoder.coordinates(…)`: it takes coordinates `(B, n, 2)` in 0…1 and returns
projection and position together. The types are the rows of `encoder.type_embedding.weight`: 0 background, 1
foreground, 2 first corner, 3 second corner. Return the tokens `(B, 2M, C)`, box by box: first corner, second corner,
first corner, …
""",
    code="""
def my_box_tokens(boxes, encoder):
    # <answer: tokens = ...>
    corners = boxes.reshape(len(boxes), -1, 2)  # (B, M, 4) -> (B, 2M, 2): x1, y1 | x2, y2 | x1, y1 | …
    normalised = (corners + 0.5) / encoder.image_size
    which = torch.arange(corners.shape[1]) % 2  # 0, 1, 0, 1, …
    tokens = encoder.coordinates(normalised) + encoder.type_embedding.weight[2 + which]
    # </answer>
    return tokens


write_encode_boxes.check(my_box_tokens)
""",
    expected=_boxes_in_samlite,
    stages=[
        Stage("one box, a small encoder", lambda: (torch.tensor([[[3.0, 5.0, 16.0, 21.0]]]), small().prompt_encoder)),
        Stage("two prompts of three boxes", lambda: (boxes(2, 3, size=24, seed=2), small().prompt_encoder)),
        Stage("tiny with its trained weights", lambda: (
            boxes(2, 2, size=tiny().image_size, seed=4), tiny().prompt_encoder)),
    ],
    mistakes=[
        Mistake("types of points", "0 and 1 are background and foreground; corners have types 2 and 3.",
                partial(_boxes, types=(0, 1))),
        Mistake("types one too low", "You have foreground and first corner in place of first and second corner.",
                partial(_boxes, types=(1, 2))),
        Mistake("one type for both corners", "Then the decoder cannot tell the upper left from the lower right.",
                partial(_boxes, types=(2, 2))),
        Mistake("corner types swapped", "Type 2 is the first corner, x1, y1.", partial(_boxes, types=(3, 2))),
        Mistake("type missing", "A corner without its type is a nameless place.", partial(_boxes, types=None)),
        Mistake("first corners first", "All first corners stand in front of all second ones; box by box is asked for.",
                partial(_boxes, order="b m corner c -> b (corner m) c")),
        Mistake("types out of step", "You have all first corners, then all second ones, but types that alternate.",
                _types_out_of_step),
        Mistake("second corner first", "x1, y1 comes first.", lambda boxes, encoder: _boxes(
            boxes.roll(2, -1), encoder, types=(3, 2))),
        Mistake("x beside x", "You have paired x1 with x2 and y1 with y2. A corner is an x and a y.",
                partial(_boxes, corners="b m (xy corner) -> b m corner xy")),
        Mistake("x and y swapped", "x comes first, everywhere.", partial(_boxes, swapped=True)),
        Mistake("width and height", "The last two numbers are the second corner itself, not the size of the box.",
                partial(_boxes, sizes=True)),
        Mistake("half a pixel missing", "A pixel's centre lies half a pixel in: add it before you divide.",
                partial(_boxes, shift=0.0)),
        Mistake("normalised by the grid", "Boxes are in pixels of the input frame: divide by its side.",
                partial(_boxes, by_grid=True)),
        Mistake("one token a box", "You have averaged the two corners; both stay, as two tokens.", _one_token_a_box),
        Mistake("corners in the channels", "Both corners stand in one token, twice as wide; they are two tokens.",
                partial(_boxes, order="b m corner c -> b m (corner c)")),
        Mistake("boxes in the batch", "Every box has become a prompt of its own. M boxes belong to one prompt, in one "
                "sequence.", partial(_boxes, order="b m corner c -> (b m) corner c")),
        Mistake("still two axes", "Box and corner are two axes; one sequence is asked for.",
                partial(_boxes, order="b m corner c -> b m corner c")),
    ],
    hints=[
        "Four numbers are two corners: (B, M, 4) → (B, 2M, 2). Here a plain reshape does the right thing. Why?",
        "The types go 2, 3, 2, 3, … along the sequence.",
    ],
    explanation="""
A box is nothing but two points of other types. The reshape works because x1, y1, x2, y2 lie in memory in just that
order. Note what is lost: with several boxes in a sequence, nothing says which second corner belongs to which first
one.
""",
)  # fmt: skip
