"""One photo, a prompt that grows, and what the model answers: all that a prompt canvas does, without any widget.

The canvases (`canvas.py`, `canvas_fallback.py`) inherit from `PromptSession` and only show it. So everything that a
hand can do on the photo can be done in code, and tested without a browser (document §1.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from samlite.images import read_photo
from samlite.notebook.prompts import Numbers, Path, Prompt, Stroke, as_box, as_point, as_stroke
from samlite.predictor import SamPredictor
from samlite.registry import sam_model_registry
from samlite.sam import Sam

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Answer:
    """What the model says to one prompt: the three results of `SamPredictor.predict`, and the candidate in use."""

    masks: Bool[np.ndarray, "k height width"]
    iou_predictions: Float[np.ndarray, " k"]
    low_res_logits: Float[np.ndarray, "k h w"]
    chosen: int


class PromptSession:
    """A photo, a predictor, and a prompt with undo; every change of the prompt asks the model again.

    Args:
        photo: path, PIL image or array, as `SamPredictor.set_image` takes it.
        sam: the model; without one, the small model that ships with samlite.
        predictor: a `SamPredictor` to use instead of a new one; it gets this photo.
        clicks: points (x, y) or (x, y, label) to begin with; label 1 is foreground (the default), 0 background.
        box: a box (x0, y0, x1, y1) to begin with.
        strokes: brush strokes to begin with.

    All coordinates are pixels of the photo, (x, y) from its top left corner. Raises what the predictor raises:
    ValueError or TypeError that name the argument. A prompt that fails is not kept: the one before it stays.
    """

    def __init__(
        self,
        photo: object,
        sam: Sam | None = None,
        *,
        predictor: SamPredictor | None = None,
        clicks: Path = (),
        box: Numbers | None = None,
        strokes: Sequence[Stroke] = (),
    ) -> None:
        if sam is not None and predictor is not None:
            raise ValueError("sam and predictor were both given; a predictor has its own model: pass one of the two")
        self.photo = read_photo(photo)  # (H, W, 3) uint8
        self.predictor = predictor or SamPredictor(sam or sam_model_registry["default"]())
        self.prompt = Prompt()
        self.answer: Answer | None = None
        self.exception: Exception | None = None
        self.said = "Click on the photo."
        self.decode_milliseconds: float | None = None
        self._past: list[Prompt] = []
        self._future: list[Prompt] = []
        start = perf_counter()
        self._show_photo_to_predictor()
        self.encode_milliseconds = 1000 * (perf_counter() - start)
        points, corners = tuple(map(as_point, clicks)), None if box is None else as_box(box)
        painted = tuple(as_stroke(stroke.path, stroke.radius, stroke.erase) for stroke in strokes)
        steps = [Prompt(points[:n]) for n in range(1, len(points) + 1)]
        steps += [] if corners is None else [Prompt(points, corners)]
        steps += [Prompt(points, corners, painted[:n]) for n in range(1, len(painted) + 1)]
        if steps:
            self._ask(steps[-1], "Prompt given in code")
            self._past += steps[:-1]  # undo takes one thing back at a time

    # What the model says

    @property
    def masks(self) -> Bool[np.ndarray, "k height width"] | None:
        """The three candidate masks (3, H, W) at the photo's size; None while there is no prompt."""
        return self.answer and self.answer.masks

    @property
    def iou_predictions(self) -> Float[np.ndarray, " k"] | None:
        """The model's own guess at the IoU of each candidate, (3,); None while there is no prompt."""
        return self.answer and self.answer.iou_predictions

    @property
    def low_res_logits(self) -> Float[np.ndarray, "k h w"] | None:
        """The candidates before resizing and thresholding; None while there is no prompt."""
        return self.answer and self.answer.low_res_logits

    @property
    def chosen(self) -> int | None:
        """Index of the candidate in use: the one of the highest predicted IoU until `choose` says otherwise."""
        return self.answer and self.answer.chosen

    @property
    def mask(self) -> Bool[np.ndarray, "height width"] | None:
        """The candidate in use (H, W); None while there is no prompt."""
        return self.answer and self.answer.masks[self.answer.chosen]

    @property
    def error(self) -> str | None:
        """Why the last action failed, in one line; None when it did not. ``exception`` has the traceback."""
        return self.exception and f"{type(self.exception).__name__}: {self.exception}"

    @property
    def code(self) -> str:
        """The Python that gives the same masks with `SamPredictor` alone, ready to paste."""
        return self.prompt.code(*self.photo.shape[:2], self.chosen)

    # What one can do

    def click(self, x: Real, y: Real, label: int = 1) -> None:
        """Add a point: label 1 says "this belongs to the object", 0 "this does not"."""
        with self._reporting():
            prompt = replace(self.prompt, points=(*self.prompt.points, as_point((x, y, label))))
            self._ask(prompt, f"{'Foreground' if label else 'Background'} point at ({x}, {y})")

    def draw_box(self, x0: Real, y0: Real, x1: Real, y1: Real) -> None:
        """Put a box around the object; it takes the place of a former box."""
        with self._reporting():
            box = as_box((x0, y0, x1, y1))
            self._ask(replace(self.prompt, box=box), f"Box from ({x0}, {y0}) to ({x1}, {y1})")

    def brush(self, path: Path, radius: Real = 10, erase: bool = False) -> None:
        """Shade the object roughly along a path of (x, y): a mask prompt (document §1.7.2)."""
        with self._reporting():
            strokes = (*self.prompt.strokes, as_stroke(path, radius, erase))
            self._ask(replace(self.prompt, strokes=strokes), "Paint taken away" if erase else "Mask painted")

    def undo(self) -> None:
        """Take the last change of the prompt back; does nothing when there is none."""
        self._step(self._past, self._future, "Undone")

    def redo(self) -> None:
        """Do again what `undo` took back; does nothing when there is nothing."""
        self._step(self._future, self._past, "Done again")

    def clear(self) -> None:
        """Take the whole prompt away; `undo` brings it back."""
        if self.prompt:
            with self._reporting():
                self._ask(Prompt(), "Prompt cleared")

    def choose(self, k: int) -> None:
        """Use candidate k: 0, 1 or 2. Raises ValueError when there is no such candidate."""
        with self._reporting():
            if self.answer is None:
                raise ValueError("there is no candidate to choose yet: give a point, a box or a painted mask first")
            if k not in range(len(self.answer.masks)):
                raise ValueError(f"k must be one of {list(range(len(self.answer.masks)))}, {k!r} was given")
            self.answer = replace(self.answer, chosen=int(k))
            self._say(f"Candidate masks[{k}] chosen")

    def preview(self, x: Real, y: Real, label: int = 1) -> Bool[np.ndarray, "height width"]:
        """The best mask (H, W) if a point were added at (x, y); the prompt stays as it is."""
        answer = self._predict(replace(self.prompt, points=(*self.prompt.points, as_point((x, y, label)))))
        return answer.masks[answer.chosen]

    def __repr__(self) -> str:
        from samlite.notebook.canvas_picture import describe

        return f"{type(self).__name__}: {describe(self)}"

    def figure(self) -> Figure:
        """The prompt and its candidates side by side, as a matplotlib figure: for pages that have no kernel."""
        from samlite.notebook.canvas_picture import candidates_figure

        return candidates_figure(self)

    def picture(self, alt: str | None = None) -> ShownImage:
        """The same as a PNG for a notebook; ``alt`` says it in words (None: made from the prompt)."""
        from samlite.notebook.canvas_picture import candidates_picture

        return candidates_picture(self, alt)

    # Within

    def _changed(self) -> None:
        """Called after every action; a widget shows what is new."""

    def _say(self, sentence: str) -> None:
        self.said, self.exception = sentence, None
        self._changed()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """An action that fails says so in ``error`` and raises: code stops, and a widget shows it."""
        try:
            yield
        except Exception as exception:
            self.said, self.exception = "The last action was not taken.", exception
            self._changed()
            raise

    def _ask(self, prompt: Prompt, said: str) -> None:
        """Ask the model; keep the prompt, in the history too, only when it could answer."""
        answer = self._predict(prompt)
        self._past.append(self.prompt)
        self._future.clear()
        self._keep(prompt, answer, said)

    def _step(self, source: list[Prompt], target: list[Prompt], said: str) -> None:
        if source:
            with self._reporting():
                answer = self._predict(source[-1])
                target.append(self.prompt)
                self._keep(source.pop(), answer, said)

    def _keep(self, prompt: Prompt, answer: Answer | None, said: str) -> None:
        self.prompt, self.answer = prompt, answer
        if answer is not None:
            said += f": best of {len(answer.masks)} candidates is masks[{answer.chosen}]"
        self._say(said + ".")

    def _predict(self, prompt: Prompt) -> Answer | None:
        if not prompt:
            return None
        if not self.predictor.is_image_set or self.predictor.get_image_embedding() is not self._image_embedding:
            self._show_photo_to_predictor()  # somebody else used the predictor for another photo meanwhile
        start = perf_counter()
        masks, iou_predictions, low_res_logits = self.predictor.predict(**prompt.arguments(self.predictor))
        self.decode_milliseconds = 1000 * (perf_counter() - start)
        return Answer(masks, iou_predictions, low_res_logits, int(np.argmax(iou_predictions)))

    def _show_photo_to_predictor(self) -> None:
        self.predictor.set_image(self.photo)
        self._image_embedding = self.predictor.get_image_embedding()
