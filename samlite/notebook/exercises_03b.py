"""The exercises of chapter 03b, the frames of coordinates (document §1.5, §1.7.1): boxes, cells, normalised places."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from samlite.frames import PhotoFrames, ResizeLongestSide
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.variants import fill, redraw

CHAPTER = "03b_frames"
TITLE = "chapter 03b, the frames of coordinates"
IMPORTS = "import numpy as np"

Size = tuple[int, int]


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


write_box_corners = Exercise(
    name="write_box_corners",
    title="From x, y, width, height to two corners",
    difficulty=1,
    minutes=5,
    question="""
Annotation tools and COCO files write a box as (x, y, width, height), with (x, y) its upper left corner. SAM wants
(x1, y1, x2, y2). Turn an array of boxes `(M, 4)` of the first kind into one of the second. A box that is 10 wide
reaches from x to x + 10.
""",
    code="""
def corners(boxes):
    # <answer: result = ...>
    x, y, width, height = boxes.T
    result = np.stack([x, y, x + width, y + height], axis=1)
    # </answer>
    return result


write_box_corners.check(corners)
""",
    expected=_corners,
    stages=[
        Stage("one box", lambda: (np.array([[10, 20, 50, 30]]),)),
        Stage("three boxes", lambda: (np.array([[10.5, 20, 50, 30], [0, 0, 7, 400], [300, 40, 21, 13.25]]),)),
    ],
    mistakes=[
        Mistake("XYWH passed as XYXY", "These are still a width and a height; the third and fourth number must be "
                "the second corner.", lambda boxes: boxes),
        Mistake("width and height swapped", "x goes with the width, y with the height.",
                lambda boxes: np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, :1:-1]], axis=1)),
        Mistake("x and y swapped", "Corners are (x, y): x first.", lambda boxes: _corners(boxes)[:, [1, 0, 3, 2]]),
        Mistake("corner taken for the centre", "(x, y) is the upper left corner here, not the centre.",
                lambda boxes: np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)),
        Mistake("one pixel short", "A box of width w reaches from x to x + w. With x + w − 1 you have the index of its "
                "last pixel.", lambda boxes: _corners(boxes) - [0, 0, 1, 1]),
        Mistake("subtracted", "The other way round: from corners to a width one subtracts, from a width to corners "
                "one adds.", lambda boxes: np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)),
        Mistake("axes swapped", "One row for each box: (M, 4). Yours is (4, M).", lambda boxes: _corners(boxes).T),
    ],
    hints=["`x, y, width, height = boxes.T` gives the four columns.", "The upper left corner stays as it is."],
    explanation="""
Not every mistake is noticed: (300, 40, 21, 13) is refused because its second corner lies left of the first, but
(10, 20, 50, 30) is a fine box, only another one. `predict` asks "did you pass x, y, width, height?" where it can see
it.
""",
)  # fmt: skip


def _cells(points: np.ndarray, original_size: Size, image_size: int, grid_size: int) -> np.ndarray:
    """samlite's own way: (N, 2) rows and columns."""
    moved = PhotoFrames(original_size, image_size, grid_size).move_points(points, "original", "grid")
    return np.floor(moved + 0.5).astype(int)[:, ::-1]


def _cells_with(
    points: np.ndarray, original_size: Size, image_size: int, grid_size: int, *,
    before: float = 0.0, half: float = 0.5, swapped: bool = False, by_short_side: bool = False, stretched: bool = False,
    scaled: bool = True, first: int = 0, whole: Callable[[np.ndarray], np.ndarray] = np.floor, low_res: bool = False,
) -> np.ndarray:  # fmt: skip
    """The cells by arithmetic, with switches for what easily goes wrong."""
    old_height, old_width = original_size
    longest = image_size * max(original_size) // min(original_size) if by_short_side else image_size
    height, width = ResizeLongestSide.get_preprocess_shape(old_height, old_width, longest)
    if stretched:
        height = width = image_size
    scale = np.array([width / old_width, height / old_height]) if scaled else 1.0
    patch = image_size / grid_size / (4 if low_res else 1)
    cells = whole(((points + before) * scale + half) / patch).astype(int) + first
    return cells if swapped else cells[:, ::-1]


find_the_cells = Exercise(
    name="find_the_cells",
    title="From points of the photo to cells of the grid",
    difficulty=2,
    minutes=10,
    question="""
You get `points` `(N, 2)`, (x, y) in pixels of a photo of `original_size` = (height, width). The photo is resized so
that its longest side is `image_size`; both new sides are rounded to whole pixels. Points go to the input frame by
x · scale, each axis by new side / old side. Then the photo is padded at the right or at the bottom to a square, and the
square is cut into `grid_size` × `grid_size` cells. In the input frame (0, 0) is the *centre* of the first pixel. In
which cells do the points lie? Return whole numbers `(N, 2)`, and mind the order: row, column, as an array is indexed.
""",
    code="""
def cells(points, original_size, image_size, grid_size):
    # <answer: result = ...>
    old_height, old_width = original_size
    scale = image_size / max(original_size)
    height, width = int(old_height * scale + 0.5), int(old_width * scale + 0.5)
    in_input_frame = points * [width / old_width, height / old_height]
    patch_size = image_size / grid_size
    columns_and_rows = np.floor((in_input_frame + 0.5) / patch_size).astype(int)
    result = columns_and_rows[:, ::-1]
    # </answer>
    return result


find_the_cells.check(cells)
""",
    expected=_cells,
    stages=[
        # (402.8, 300) lies in column 43 where the new sides are whole, and in 42 with one scale for both axes
        # (187, 33) lies in column 19, and in 20 by the rule for pictures
        # 14.75 and 29.8 lie half a pixel before the border of two cells, once they are in the input frame
        Stage("a wide photo, a small model", lambda: (
            np.array([[14.75, 40], [71, 29.8], [0, 0], [89, 59]]), (60, 90), 96, 12)),
        Stage("a tall photo, the full size", lambda: (
            np.array([[100, 480], [413, 7], [399, 599], [250.4, 33], [402.8, 300], [187, 33]]), (600, 420), 1024, 64)),
    ],
    mistakes=[
        Mistake("x and y swapped", "Row first: y chooses the row, x the column.", partial(_cells_with, swapped=True)),
        Mistake("scaled by the short side", "It is the longest side that becomes image_size.",
                partial(_cells_with, by_short_side=True)),
        Mistake("half a pixel forgotten", "(0, 0) is the centre of the first pixel, so the frame begins at −0.5: add "
                "half a pixel before you divide.", partial(_cells_with, half=0.0)),
        Mistake("half a pixel too early", "That is the rule for pictures. Prompts are scaled first, and the half pixel "
                "is one of the input frame.", partial(_cells_with, before=0.5, half=0.0)),
        Mistake("padding forgotten", "Both sides are scaled alike; the short side does not fill the square.",
                partial(_cells_with, stretched=True)),
        Mistake("not resized", "The points are in pixels of the photo, the cells cover pixels of the input frame.",
                partial(_cells_with, scaled=False)),
        Mistake("counted from 1", "The first row and the first column are 0.", partial(_cells_with, first=1)),
        Mistake("rounded", "A cell holds everything from its left border to its right one: floor, not round.",
                partial(_cells_with, whole=np.round)),
        Mistake("low-res cells", "These are the cells of the low-res masks, four to a patch in each direction.",
                partial(_cells_with, low_res=True)),
    ],
    hints=[
        "Three steps: photo → input frame, each axis by new side / old side; half a pixel; divide by a cell's side.",
        "The new sides are `int(old * scale + 0.5)`, with the scale of the longest side.",
        "`[:, ::-1]` turns (x, y) into (y, x).",
    ],
    explanation="""
`PhotoFrames.move_points(points, "original", "grid")` gives the same without the floor: coordinates that count cells
from the centre of the first one. Rounding those and flooring yours is the same thing, except on the border between two
cells.
""",
)  # fmt: skip


def _find_cells_by_hand(points: np.ndarray, size: Size, image_size: int, grid_size: int) -> Exercise:
    """The same question about three points of one photo; its answer is numbers and not a function."""
    names = ("A", "B", "C")
    new_height, new_width = ResizeLongestSide.get_preprocess_shape(*size, image_size)
    numbers = {"height": size[0], "width": size[1], "image_size": image_size, "grid_size": grid_size}
    steps = [
        f"(int(({y} * {new_height} / {size[0]} + 0.5) // {image_size // grid_size}), "
        f"int(({x} * {new_width} / {size[1]} + 0.5) // {image_size // grid_size}))"
        for x, y in points.tolist()
    ]

    def named(cells: np.ndarray) -> dict[str, tuple[int, ...]]:
        return {name: tuple(cell) for name, cell in zip(names, cells.tolist(), strict=True)}

    return replace(
        find_the_cells,
        question=fill(
            """
A photo is $width pixels wide and $height high. It is resized so that its longest side is $image_size; both new sides
are rounded to whole pixels. Points go to the input frame by x · scale, each axis by new side / old side. Then the photo
is padded at the right or at the bottom to a square, and the square is cut into $grid_size × $grid_size cells. In the
input frame (0, 0) is the *centre* of the first pixel. Three pixels are clicked, as (x, y) in the photo: $points. In
which cells do they lie? Write whole numbers, and mind the order: (row, column), as an array is indexed.
""",
            points=", ".join(f"{name} = ({x}, {y})" for name, (x, y) in zip(names, points.tolist(), strict=True)),
            **numbers,
        ),
        code=(
            'cells = {\n    # <answer: "A": ..., "B": ..., "C": ...,>\n'
            + "".join(f'    "{name}": {step},\n' for name, step in zip(names, steps, strict=True))
            + "    # </answer>\n}\n\nfind_the_cells.check(cells)\n"
        ),
        expected=lambda: named(_cells(points, size, image_size, grid_size)),
        stages=(),
        mistakes=[
            replace(
                mistake,
                answer=lambda answer=mistake.answer: named(np.asarray(answer(points, size, image_size, grid_size))),
            )
            for mistake in find_the_cells.mistakes
        ],
        variant=None,
    )


def _draw_three_points(generator: random.Random) -> dict[str, object]:
    height, width = generator.randrange(300, 1200), generator.randrange(300, 1200)
    points = [(generator.randrange(width), generator.randrange(height)) for _ in range(3)]
    image_size, grid_size = generator.choice(((512, 32), (768, 48), (1024, 64), (256, 32)))
    return {"points": np.array(points), "size": (height, width), "image_size": image_size, "grid_size": grid_size}


find_the_cells.variant = partial(redraw, _find_cells_by_hand, _draw_three_points)


def _normalise(points: np.ndarray, original_size: Size, image_size: int) -> np.ndarray:
    return (ResizeLongestSide(image_size).apply_coords(points, original_size) + 0.5) / image_size


def _normalise_with(
    points: np.ndarray, original_size: Size, image_size: int, *,
    before: float = 0.0, after: float = 0.5, one_scale: bool = False, turned: bool = False, scaled: bool = True,
    divide_by: str = "image", swapped: bool = False, centred: bool = False,
) -> np.ndarray:  # fmt: skip
    """The normalised place by arithmetic, with switches for what easily goes wrong."""
    old_height, old_width = original_size[::-1] if turned else original_size
    height, width = ResizeLongestSide.get_preprocess_shape(old_height, old_width, image_size)
    scale = np.array([width / old_width, height / old_height])
    scale = scale.max() if one_scale else scale if scaled else 1.0
    sides = {"image": image_size, "last": image_size - 1, "photo": np.array([width, height])}
    normalised = ((points + before) * scale + after) / sides[divide_by]
    normalised = 2 * normalised - 1 if centred else normalised
    return normalised[:, ::-1] if swapped else normalised


write_normalise = Exercise(
    name="write_normalise",
    title="What the prompt encoder reads",
    difficulty=2,
    minutes=10,
    question="""
Write the way of a click from the photo into the prompt encoder: `points` `(N, 2)`, (x, y) in pixels of a photo of
`original_size` = (height, width) → `(N, 2)` in 0…1, where 0 is the left or upper edge of the **padded** square and 1
its right or lower edge. Prompts go to the input frame by x · scale, each axis by new side / old side (sides are
rounded to whole pixels); there (0, 0) is the *centre* of the first pixel.
""",
    code="""
def normalise(points, original_size, image_size):
    # <answer: result = ...>
    old_height, old_width = original_size
    scale = image_size / max(original_size)
    height, width = int(old_height * scale + 0.5), int(old_width * scale + 0.5)
    in_input_frame = points * [width / old_width, height / old_height]
    result = (in_input_frame + 0.5) / image_size
    # </answer>
    return result


write_normalise.check(normalise)
""",
    expected=_normalise,
    stages=[
        Stage("a wide photo, a small model", lambda: (np.array([[44.0, 10], [0, 0], [220, 150]]), (300, 451), 128)),
        Stage("a tall photo, the full size", lambda: (np.array([[100.0, 480], [413, 7]]), (613, 427), 1024)),
    ],
    mistakes=[
        Mistake("half a pixel forgotten", "(0, 0) is the centre of the first pixel, half a pixel from the edge.",
                partial(_normalise_with, after=0.0)),
        Mistake("half a pixel too early", "That is the rule for pictures. Prompts are scaled first, and the half pixel "
                "is one of the input frame.", partial(_normalise_with, before=0.5, after=0.0)),
        Mistake("half a pixel to the wrong side", "Add it: the edge lies at −0.5, and there the result is 0.",
                partial(_normalise_with, after=-0.5)),
        Mistake("padding forgotten", "The square is normalised as a whole: divide both axes by image_size.",
                partial(_normalise_with, divide_by="photo")),
        Mistake("off by one", "A side of S pixels is S long from edge to edge; S − 1 lie between the first and the "
                "last centre.", partial(_normalise_with, divide_by="last")),
        Mistake("half a pixel forgotten, and one scale", "(0, 0) is the centre of the first pixel, not its corner: add "
                "0.5 before you divide. And each axis has its own scale, new side / old side, because sides are "
                "rounded to whole pixels.", partial(_normalise_with, after=0.0, one_scale=True)),
        Mistake("half a pixel too early, and one scale", "Half a pixel is added in the input frame, after scaling. And "
                "each axis has its own scale, new side / old side, because sides are rounded to whole pixels.",
                partial(_normalise_with, before=0.5, after=0.0, one_scale=True)),
        Mistake("one scale for both axes", "Close. The short side was rounded to whole pixels, so its scale differs "
                "a little: new side / old side for each axis.", partial(_normalise_with, one_scale=True)),
        Mistake("height and width swapped", "original_size is (height, width); x is scaled by the widths.",
                partial(_normalise_with, turned=True)),
        Mistake("x and y swapped", "The prompt encoder reads (x, y): x first.", partial(_normalise_with, swapped=True)),
        Mistake("not resized", "The points are still in pixels of the photo.", partial(_normalise_with, scaled=False)),
        Mistake("from −1 to 1", "0…1 is asked; −1…1 is what torch's grid_sample wants.",
                partial(_normalise_with, centred=True)),
    ],
    hints=[
        "Photo → input frame first; that is `points * [width / old_width, height / old_height]`.",
        "The square's edges lie at −0.5 and at image_size − 0.5.",
    ],
    explanation="""
`SamPredictor.predict` does the first half with `transform.apply_coords`, `PromptEncoder.encode_points` the second.
The two rules, x · scale here and (x + 0.5) · scale − 0.5 for pictures, differ by half a pixel at most when the photo
is larger than the input frame. The checker is strict about it all the same, and so is the comparison with the
released model.
""",
)  # fmt: skip

EXERCISES = (write_box_corners, find_the_cells, write_normalise)
