"""Touch a place in one frame and see it in all others: as a widget, as code and as a picture (document §1.5, §1.7.1).

The kernel moves the numbers with `PhotoFrames`, `frames_explorer.js` draws them. A place travels as two small traits,
the frame's name and two or four numbers; the answer is one dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from samlite.frames import PhotoFrames
from samlite.notebook.canvas_picture import encode_picture
from samlite.notebook.explorer import Explorer, browser_side
from samlite.notebook.frame_views import IN_WORDS, FrameViews, as_xywh, in_brackets, short
from samlite.notebook.prompts import Numbers

LONGEST_SHOWN_SIDE = 640  # of a picture in the browser; the numbers stay those of the frame


class FramesExplorer(Explorer):
    """The four frames of a photo side by side. A click puts a point into all of them, a drag a box.

        explorer = FramesExplorer(photo)                                  # the frames of the document's full size
        explorer = FramesExplorer(photo, predictor.frames)                # those of a model
        explorer                                                          # the widget
        explorer.look("original", point=(220, 130))                       # the same in code
        explorer.look("grid", box=(3, 2, 7, 6))
        explorer.places["low_res"]                                        # the numbers in one frame
        explorer.picture()                                                # the same for the printed page

    Raises ValueError for a frame that is not there, and for a place that is not in its frame.
    """

    _CHOICES = ("frame", "place")
    _esm = browser_side("frames_explorer.js")

    picture_files = traitlets.Dict().tag(sync=True)
    frame = traitlets.Unicode("original").tag(sync=True)
    place = traitlets.List(trait=traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        photo: Any,
        frames: PhotoFrames | None = None,
        *,
        point: Numbers | None = None,
        box: Numbers | None = None,
    ) -> None:
        super().__init__()
        self.views = FrameViews(photo, frames)
        self.picture_files = {name: encode_picture(_for_screen(p)) for name, p in self.views.pictures.items()}
        self.sizes = {
            name: {"size": list(self.views.size(name)), "photo": list(self.views.photo_size(name))}
            for name in PhotoFrames.NAMES
        }
        if point is None and box is None:
            height, width = self.views.frames.original_size
            point = (width // 3, height // 2)
        self.look(point=point, box=box)
        self._listen()

    def look(self, frame: str = "original", *, point: Numbers | None = None, box: Numbers | None = None) -> None:
        """Choose a point (x, y) or a box (x1, y1, x2, y2), in the numbers of one frame."""
        if (point is None) == (box is None):
            raise ValueError("give a point (x, y) or a box (x1, y1, x2, y2), one of the two")
        chosen, expected = (box, 4) if point is None else (point, 2)
        if len(chosen) != expected:
            what = "a point is (x, y)" if expected == 2 else "a box is (x1, y1, x2, y2)"
            raise ValueError(f"{what}; {len(chosen)} numbers were given")
        self._choose({"frame": frame, "place": [float(number) for number in chosen]})

    def __repr__(self) -> str:  # ipywidgets would write out every byte of the pictures
        return f"FramesExplorer: {self.describe()}"

    @property
    def places(self) -> dict[str, np.ndarray]:
        """The chosen place in every frame, and under "normalised" as the prompt encoder reads it."""
        return self.views.everywhere(self.frame, self.place)

    def figure(self) -> Figure:
        """What is shown, as a figure: the four frames with the place in each."""
        from samlite.notebook.frames_plots import four_frames

        return four_frames(self.views, self.frame, self.place)

    def _see(self, frame: str, place: list[float]) -> dict[str, object]:
        places = self.views.everywhere(frame, place)
        return {
            "places": {name: numbers.tolist() for name, numbers in places.items()},
            "lines": {name: numbers_of(self.views, name, places) for name in PhotoFrames.NAMES},
            "cells": {
                name: [list(self.views.cell(name, x, y)) for x, y in places[name].reshape(-1, 2)]
                for name in PhotoFrames.NAMES
            },
            "words": in_words(self.views, frame, places),
            "code": _code(self.views.frames, frame, place),
            "error": "",
        }


def numbers_of(views: FrameViews, name: str, places: dict[str, np.ndarray]) -> list[str]:
    """The lines below one frame: its own coordinates, and what an array or another convention makes of them."""
    numbers = places[name]
    outside, padding = not views.in_photo(places["original"]), views.in_padding(places["original"])
    note = ["outside the photo: predict refuses it"] if outside and name == "original" else []
    note += ["in the padding"] if padding and name != "original" else []
    if len(numbers) == 2:
        row, column = views.cell(name, *numbers)
        lines = [f"x, y = {in_brackets(numbers)}"] + ([] if name == "original" and outside else [f"[{row}, {column}]"])
        lines[1:] = [f"array[row, column]: {line}" for line in lines[1:]]
    else:
        lines = [f"XYXY = {in_brackets(numbers)}", f"XYWH = {in_brackets(as_xywh(numbers))}"]
    if name == "input":
        precision = 3 if len(numbers) == 2 else 2  # four numbers have to stay in one line
        digits = ", ".join(f"{number:.{precision}f}" for number in places["normalised"])
        lines.append(f"(+ 0.5) / {views.frames.image_size} = ({digits})")
    return lines + note


def in_words(views: FrameViews, frame: str, places: dict[str, np.ndarray]) -> str:
    """One place in every frame, in a few sentences."""
    sentences = [f"{'Point' if len(places[frame]) == 2 else 'Box'} {in_brackets(places[frame])} of the "]
    sentences[0] += f"{IN_WORDS[frame]} frame."
    for name in PhotoFrames.NAMES:
        height, width = views.size(name)
        where = f"In the {IN_WORDS[name]} frame, {width} wide and {height} high:"
        if len(places[name]) == 2:
            x, y = places[name]
            row, column = views.cell(name, x, y)
            cell = "" if name == "original" and not views.in_photo(places[name]) else f", row {row} and column {column}"
            sentences.append(f"{where} x {short(x)}, y {short(y)}{cell}.")
        else:
            sentences.append(f"{where} XYXY {in_brackets(places[name])}, XYWH {in_brackets(as_xywh(places[name]))}.")
    read = ", ".join(f"{number:.3f}" for number in places["normalised"])
    sentences.append(f"The prompt encoder reads ({read}), shares of the input's side.")
    if views.in_padding(places["original"]):
        sentences.append("It reaches into the padding, which is no part of the photo.")
    elif not views.in_photo(places["original"]):
        sentences.append("It lies before the middle of the photo's first pixel, where predict takes no prompt.")
    return " ".join(sentences)


def _code(frames: PhotoFrames, frame: str, place: list[float]) -> str:
    kind = "points" if len(place) == 2 else "boxes"
    written = ", ".join(f"{number:.10g}" for number in place)
    others = [name for name in PhotoFrames.NAMES if name != frame]
    return "\n".join(
        [
            f"frames = PhotoFrames({frames.original_size}, image_size={frames.image_size}, "
            f"grid_size={frames.grid_size})",
            f"place = np.array([{written}])  # {'x, y' if kind == 'points' else 'x1, y1, x2, y2'}, {frame} frame",
            *(f'frames.move_{kind}(place, "{frame}", "{name}")' for name in others),
        ]
    )


def _for_screen(picture: np.ndarray) -> np.ndarray:
    """A picture with its longest side at most ``LONGEST_SHOWN_SIDE``; smaller ones as they are, pixel for pixel."""
    height, width = picture.shape[:2]
    scale = LONGEST_SHOWN_SIDE / max(height, width)
    if scale >= 1:
        return picture
    return np.asarray(Image.fromarray(picture).resize((max(1, round(scale * width)), max(1, round(scale * height)))))
