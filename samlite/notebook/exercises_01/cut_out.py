"""An object cut out of its photo by a mask."""

from __future__ import annotations

from functools import partial

import numpy as np

from samlite.notebook.exercises import Exercise, Mistake, Stage


def _cut_out(
    photo: np.ndarray, mask: np.ndarray, *, opaque: int = 255, inside: bool = True, swapped: bool = False,
    grey: bool = False, blank: bool = False, first: bool = False,
) -> np.ndarray:  # fmt: skip
    """(H, W, 4), with switches for what easily goes wrong."""
    alpha = (mask if inside else ~mask).astype(np.uint8) * opaque
    colours = photo[..., ::-1] if swapped else photo
    colours = np.repeat(photo.mean(-1, keepdims=True).astype(np.uint8), 3, -1) if grey else colours
    colours = colours * mask[..., None] if blank else colours
    picture = np.concatenate([colours, alpha[..., None]], axis=-1)
    return np.moveaxis(picture, -1, 0) if first else picture


def _photo_and_mask(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    photo = generator.integers(1, 256, (height, width, 3), dtype=np.uint8)
    return photo, generator.random((height, width)) < 0.5


cut_it_out = Exercise(
    name="cut_it_out",
    title="Cut it out",
    difficulty=2,
    minutes=6,
    question="""
A mask says which pixels belong to the object. Make a picture of it that can be laid on another photo: take `photo`
(H, W, 3) and `mask` (H, W) and return (H, W, 4) of uint8, as the photo is: red, green, blue and *alpha*. Alpha is 255
where the object is and 0 elsewhere; the colours of the photo stay as they are, everywhere.
""",
    code="""
def cut_out(photo, mask):
    # <answer: picture = ...>
    alpha = np.where(mask, 255, 0).astype(np.uint8)
    picture = np.concatenate([photo, alpha[..., None]], axis=-1)
    # </answer>
    return picture


cut_it_out.check(cut_out)
""",
    expected=_cut_out,
    stages=[
        Stage("2×3 pixels", lambda: _photo_and_mask(2, 3, 1)),
        Stage("a larger photo", lambda: _photo_and_mask(40, 60, 2)),
    ],
    mistakes=[
        Mistake("alpha of 1", "Alpha goes from 0 to 255 as the colours do: 1 is all but invisible.",
                partial(_cut_out, opaque=1)),
        Mistake("a hole in place of the object", "Where the mask is True the picture is to be seen, and elsewhere not.",
                partial(_cut_out, inside=False)),
        Mistake("colours set to zero", "Alpha alone hides the rest. With black pixels around it the object gets a dark "
                "rim as soon as somebody resizes the picture.", partial(_cut_out, blank=True)),
        Mistake("channels first", "Height, width, and then the four numbers of a pixel.",
                partial(_cut_out, first=True)),
        Mistake("red and blue swapped", "The colours come in the order red, green, blue, and stay in it.",
                partial(_cut_out, swapped=True)),
        Mistake("grey", "The colours of the photo are asked, not their mean.", partial(_cut_out, grey=True)),
    ],
    hints=[
        "`mask[..., None]` has a last axis of length 1.",
        "`np.concatenate([...], axis=-1)` puts a fourth number behind the three of each pixel.",
        "`.astype(np.uint8)` makes bytes of alpha; without it all four become int64, and no PNG can be made of them.",
    ],
    explanation="""
This is the whole of "background removal" once there is a mask. In a PNG file such a picture keeps its transparency.
""",
)  # fmt: skip
