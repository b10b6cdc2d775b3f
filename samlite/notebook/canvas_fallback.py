"""The prompt canvas for front ends that show plain ipywidgets and nothing else: sliders, buttons and a picture.

It has the arguments, methods and results of `PromptCanvas` (both are a `PromptSession`), only slower hands: two
sliders move a crosshair, buttons use it.
"""

from __future__ import annotations

import html

import ipywidgets as widgets
import numpy as np

from samlite.notebook.canvas_picture import prompt_in_words, session_figure
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.prompt_session import PromptSession


class PlainPromptCanvas(PromptSession, widgets.VBox):
    """A photo to point at with sliders and buttons. Takes the arguments and has the methods of `PromptSession`."""

    def __init__(self, photo: object, sam: object = None, **prompt: object) -> None:
        widgets.VBox.__init__(self)
        self._corner: tuple[int, int] | None = None  # the first corner of a box that waits for its second
        self._showing = False
        PromptSession.__init__(self, photo, sam, **prompt)
        height, width = self.photo.shape[:2]
        self._x = widgets.IntSlider(width // 2, 0, width - 1, description="x", continuous_update=False)
        self._y = widgets.IntSlider(height // 2, 0, height - 1, description="y", continuous_update=False)
        longest = max(height, width)
        self._radius = widgets.IntSlider(max(1, longest // 40), 1, max(2, longest // 8), description="brush radius")
        self._picture = LivePicture()
        self._candidates = widgets.ToggleButtons(description="use")
        self._said, self._error, self._code = widgets.Label(), widgets.HTML(), widgets.HTML()
        self._buttons = {
            name: widgets.Button(description=name, tooltip=tooltip, layout=widgets.Layout(width="auto"))
            for name, tooltip in {
                "+ foreground": "a point at the crosshair that belongs to the object",
                "− background": "a point at the crosshair that does not",
                "box corner": "press at the first corner, move the crosshair, press at the second",
                "brush": "paint a disc at the crosshair: a mask prompt",
                "erase": "take paint away at the crosshair",
                "undo": "take the last change back",
                "redo": "do it again",
                "clear": "take the whole prompt away",
            }.items()
        }
        for name, button in self._buttons.items():
            button.on_click(lambda _, name=name: self._press(name))
        for slider in (self._x, self._y):
            slider.observe(lambda _: self._draw(), "value")
        self._candidates.observe(self._pick, "value")
        row = widgets.Layout(flex_flow="row wrap")
        self.children = (
            self._picture,
            widgets.Box([self._x, self._y, self._radius], layout=row),
            widgets.Box(list(self._buttons.values()), layout=row),
            self._candidates, self._error, self._said, self._code,
        )  # fmt: skip
        self._changed()

    def _press(self, name: str) -> None:
        """A button was pressed; what goes wrong is shown below the photo."""
        x, y = self._x.value, self._y.value
        actions = {
            "+ foreground": lambda: self.click(x, y, 1),
            "− background": lambda: self.click(x, y, 0),
            "box corner": lambda: self._set_corner(x, y),
            "brush": lambda: self.brush([(x, y)], self._radius.value),
            "erase": lambda: self.brush([(x, y)], self._radius.value, erase=True),
            "undo": self.undo,
            "redo": self.redo,
            "clear": self._clear,
        }
        self._safely(actions[name])

    def _pick(self, change: dict) -> None:
        if not self._showing and change["new"] is not None:
            self._safely(lambda: self.choose(change["new"]))

    def _safely(self, action) -> None:
        try:
            action()
        except Exception as exception:
            self.exception = exception
            self._changed()

    def _set_corner(self, x: int, y: int) -> None:
        corner, self._corner = self._corner, (x, y) if self._corner is None else None
        if corner is None:
            self._say("First corner set: move the crosshair to the opposite one and press again.")
        else:
            self.draw_box(min(x, corner[0]), min(y, corner[1]), max(x, corner[0]), max(y, corner[1]))

    def _clear(self) -> None:
        self._corner = None
        if self.prompt:
            self.clear()
        else:
            self._say("The corner is taken back.")

    def _changed(self) -> None:
        if not self.children:
            return  # still under construction
        self._showing = True  # setting the buttons is not a choice of the reader's
        options = [] if self.masks is None else list(enumerate(self.iou_predictions))
        self._candidates.options = [(f"masks[{k}]  predicted IoU {iou:.2f}", k) for k, iou in options]
        self._candidates.value = self.chosen
        self._showing = False
        self._error.value = f"<b>⚠ {html.escape(self.error)}</b>" if self.error else ""
        decode = "" if self.decode_milliseconds is None else f", decode {self.decode_milliseconds:.0f} ms a prompt"
        self._said.value = f"{self.said} (encode {self.encode_milliseconds:.0f} ms a photo{decode})"
        self._code.value = f"<pre>{html.escape(self.code)}</pre>"
        self._buttons["undo"].disabled = not self._past
        self._buttons["redo"].disabled = not self._future
        self._buttons["clear"].disabled = not (self.prompt or self._corner)
        self._draw()

    def _draw(self) -> None:
        mask = np.zeros(self.photo.shape[:2], dtype=bool) if self.mask is None else self.mask
        figure = session_figure(self, mask[None], [""], panel=7)
        for x, y in filter(None, [(self._x.value, self._y.value), self._corner]):
            for colour, size in (("black", 4), ("white", 1.5)):
                figure.axes[0].plot(x, y, "+", color=colour, markersize=20, markeredgewidth=size)
        height, width = self.photo.shape[:2]
        words = f"Photo of {width} by {height} pixels, the crosshair at ({self._x.value}, {self._y.value})"
        if self._corner:
            words += ", the first corner of a box at ({}, {})".format(*self._corner)
        words += f"; prompt: {prompt_in_words(self)}"
        words += "." if self.mask is None else f"; the mask in use covers {self.mask.mean():.0%} of it."
        self._picture.show(figure, words)
