"""A prompt and its candidate masks as a picture: for static pages, for print, for front ends without the canvas."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.figure import Figure
from PIL import Image

from samlite.masks import COLOURS
from samlite.notebook import style
from samlite.notebook.plots import masks_over_photo
from samlite.notebook.prompts import paint
from samlite.notebook.style import INK, ORANGE

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage

    from samlite.notebook.prompt_session import PromptSession

_blue, _orange, _green, _pink, _sky, _vermilion = COLOURS
# What has which colour in the browser, (red, green, blue).
ROLES = {
    "mask": _blue, "foreground": _blue, "background": _vermilion,
    "box": _orange, "preview": _green, "painted": _pink,
}  # fmt: skip


def session_figure(
    session: PromptSession, masks: Bool[np.ndarray, "k height width"], titles: list[str], panel: float | int = 2.4
) -> Figure:
    """The photo once for each mask, ``panel`` inches wide, with the mask and the whole prompt on it."""
    figure = masks_over_photo(session.photo, masks, titles, session.prompt.points, panel)
    for axes in figure.axes:
        if session.prompt.strokes:
            layer = np.zeros((*session.photo.shape[:2], 4), dtype=np.uint8)
            layer[paint(session.prompt.strokes, *session.photo.shape[:2])] = (*ROLES["painted"], 150)
            axes.imshow(layer)
        if session.prompt.box:
            x0, y0, x1, y1 = session.prompt.box
            for colour, line_width in ((INK, 4), (ORANGE, 2)):
                axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=colour, linewidth=line_width)
    return figure


def candidates_figure(session: PromptSession) -> Figure:
    """Photo with the prompt, then one panel a candidate with its predicted IoU; the chosen one is framed."""
    nothing = np.zeros((1, *session.photo.shape[:2]), dtype=bool)
    if session.masks is None:
        return session_figure(session, nothing, ["prompt"])
    titles = [f"masks[{k}]\npredicted IoU {iou:.2f}" for k, iou in enumerate(session.iou_predictions)]
    figure = session_figure(session, np.concatenate([nothing, session.masks]), ["prompt", *titles])
    figure.set_figheight(figure.get_figheight() + 0.4)  # the titles have two lines
    chosen = figure.axes[1 + session.chosen]
    chosen.title.set_fontweight("bold")
    for spine in chosen.spines.values():
        spine.set(visible=True, linewidth=4, color=INK)
    return figure


def describe(session: PromptSession) -> str:
    """The prompt and the answer in a sentence: the alternative text of their picture."""
    height, width = session.photo.shape[:2]
    text = f"Photo of {width} by {height} pixels; prompt: {prompt_in_words(session)}."
    if session.masks is not None:
        shares = ", ".join(f"masks[{k}] covers {mask.mean():.0%}" for k, mask in enumerate(session.masks))
        text += f" Beside it the candidates: {shares} of the photo; masks[{session.chosen}] is chosen."
    return text


def prompt_in_words(session: PromptSession) -> str:
    """Points, box and strokes in the order in which they are drawn; "none yet" where there is nothing."""
    prompt = session.prompt
    parts = [f"{'foreground' if label else 'background'} point at ({x}, {y})" for x, y, label in prompt.points]
    if prompt.box:
        parts.append("box from ({}, {}) to ({}, {})".format(*prompt.box))
    if prompt.strokes:
        parts.append(f"mask painted with {len(prompt.strokes)} brush stroke{'s' * (len(prompt.strokes) > 1)}")
    return ", ".join(parts) or "none yet"


def candidates_picture(session: PromptSession, alt: str | None = None) -> ShownImage:
    """`candidates_figure` as an IPython image that carries its alternative text."""
    return style.picture(candidates_figure(session), alt or describe(session))


def encode_picture(photo: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A photo as file bytes for a browser: PNG, exact, up to a megapixel; JPEG above."""
    file = BytesIO()
    small = photo.shape[0] * photo.shape[1] <= 2**20
    options = {"format": "PNG", "compress_level": 1} if small else {"format": "JPEG", "quality": 92}
    Image.fromarray(photo).save(file, **options)
    return file.getvalue()
