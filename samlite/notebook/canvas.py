"""The prompt canvas: a photo to point at, in JupyterLab, Notebook 7, VS Code and Colab (document §1.3, §1.7).

This half holds the model and the prompt (`PromptSession`); `canvas.js` draws them and turns hands into messages.
A message is a small dict, ``{"kind": "click", "x": 3, "y": 4, "label": 1}``; the answer is one synced dict, in which
every mask is one bit a pixel. No build step, no request to anywhere else.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import numpy as np
import traitlets
from jaxtyping import Bool
from PIL import Image

from samlite.notebook.canvas_picture import ROLES, encode_picture
from samlite.notebook.prompt_session import PromptSession
from samlite.notebook.prompts import paint

LONGEST_SHOWN_SIDE = 1024  # of the picture in the browser; masks and coordinates stay those of the photo


class PromptCanvas(PromptSession, anywidget.AnyWidget):
    """A photo to click on. Takes the arguments and has the methods of `PromptSession`; display it to touch it.

    Left click: foreground point. Right or shift click: background point. Drag: box. Brush (button or key ``m``):
    mask prompt. Every key is listed under "Mouse and keys" below the photo.

        canvas = PromptCanvas(photo, clicks=[(320, 180)])
        canvas                                # the widget
        canvas.mask, canvas.iou_predictions   # what the model said, up to date with every click
        canvas.code                           # the same in Python
    """

    _esm = Path(__file__).with_name("canvas.js")

    picture_file = traitlets.Bytes().tag(sync=True)
    frame = traitlets.Dict().tag(sync=True)
    colours = traitlets.Dict({role: list(colour) for role, colour in ROLES.items()}).tag(sync=True)
    reply = traitlets.Dict().tag(sync=True)

    def __init__(self, photo: object, sam: object = None, **prompt: object) -> None:
        anywidget.AnyWidget.__init__(self)
        self._replied_to = None  # [view, number] of the last message that was acted on
        PromptSession.__init__(self, photo, sam, **prompt)
        height, width = self.photo.shape[:2]
        scale = min(1, LONGEST_SHOWN_SIDE / max(height, width))
        self._shown_size = max(1, round(scale * width)), max(1, round(scale * height))  # (w, h), as PIL has it
        shown = self.photo if scale == 1 else np.asarray(Image.fromarray(self.photo).resize(self._shown_size))
        self.picture_file = encode_picture(shown)
        shown_width, shown_height = self._shown_size
        self.frame = {"width": width, "height": height, "shown_width": shown_width, "shown_height": shown_height}
        self.on_msg(self._receive)
        self._changed()

    def _changed(self) -> None:
        if not self.frame:
            return  # still under construction
        painted = paint(self.prompt.strokes, *self.photo.shape[:2]) if self.prompt.strokes else None
        self.reply = {
            "to": self._replied_to,
            "points": [list(point) for point in self.prompt.points],
            "box": self.prompt.box and list(self.prompt.box),
            "painted": None if painted is None else self._pack(painted[None]),
            "masks": None if self.masks is None else self._pack(self.masks),
            "iou_predictions": [] if self.masks is None else [float(iou) for iou in self.iou_predictions],
            "chosen": self.chosen,
            "code": self.code,
            "said": self.said,
            "error": self.error,
            "encode_milliseconds": self.encode_milliseconds,
            "decode_milliseconds": self.decode_milliseconds,
            "can_undo": bool(self._past),
            "can_redo": bool(self._future),
        }

    def _pack(self, masks: Bool[np.ndarray, "k height width"]) -> bytes:
        """Masks at the photo's size → those of the shown picture, one bit a pixel, mask after mask, row by row."""
        shown_width, shown_height = self._shown_size
        if masks.shape[1:] == (shown_height, shown_width):
            return np.packbits(masks).tobytes()
        rows = (np.arange(shown_height) + 0.5) * masks.shape[1] // shown_height
        columns = (np.arange(shown_width) + 0.5) * masks.shape[2] // shown_width
        return np.packbits(masks[:, rows.astype(int)[:, None], columns.astype(int)]).tobytes()

    # Messages of the browser

    def _receive(self, _widget: object, message: dict, _buffers: object) -> None:
        """One action of a hand. If it fails, the widget shows why: an exception here would end up in a log."""
        if message.get("kind") == "hover":
            self._reply_to_hover(message)
            return
        self._replied_to = [message.get("view"), message.get("number")]
        try:
            self._act(message)
        except Exception as exception:
            self.exception = exception
        if self.reply["to"] != self._replied_to or self.reply["error"] != self.error:
            self._changed()  # nothing was there to undo, or the message itself was wrong

    def _act(self, message: dict) -> None:
        actions = {
            "click": lambda: self.click(message["x"], message["y"], message["label"]),
            "box": lambda: self.draw_box(*message["box"]),
            "brush": lambda: self.brush(message["path"], message["radius"], message["erase"]),
            "choose": lambda: self.choose(message["k"]),
            "undo": self.undo,
            "redo": self.redo,
            "clear": self.clear,
        }
        if message.get("kind") not in actions:
            raise ValueError(f"kind must be one of {list(actions)}, the browser sent {message.get('kind')!r}")
        actions[message["kind"]]()

    def _reply_to_hover(self, message: dict) -> None:
        """A preview goes straight back to the view that asked, and changes nothing that is kept."""
        reply = {"view": message.get("view"), "number": message.get("number"), "error": None}
        try:
            buffers = [self._pack(self.preview(message["x"], message["y"], message["label"])[None])]
        except Exception as exception:
            reply["error"], buffers = f"{type(exception).__name__}: {exception}", []
        self.send(reply, buffers)
