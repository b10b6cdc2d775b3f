"""A prompt and its candidate masks as a picture: for the static page, for print, and for front ends without the canvas.

Form says once more what colour says: a foreground point is a disc with a plus, a background point a square with a
minus, and a mask has a white and black rim.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from samlite.masks import COLOURS, overlay_masks
from samlite.notebook import style
from samlite.notebook.prompts import Prompt, paint

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from samlite.notebook.prompt_session import PromptSession

BLUE, ORANGE, _, PURPLE, SKY_BLUE, VERMILION = COLOURS
ROLES = {
    "foreground": BLUE,
    "background": VERMILION,
    "mask": SKY_BLUE,
    "preview": ORANGE,
    "box": ORANGE,
    "painted": PURPLE,
}


def colour(role: str) -> tuple[float, float, float]:
    """The colour of something on the canvas as matplotlib wants it, 0…1."""
    red, green, blue = ROLES[role]
    return red / 255, green / 255, blue / 255


def draw_prompt(axes: Axes, prompt: Prompt, height: int, width: int) -> None:
    """Points, box and painted pixels on axes that already show the photo."""
    if prompt.strokes:
        layer = np.zeros((height, width, 4))
        layer[paint(prompt.strokes, height, width)] = (*colour("painted"), 0.6)
        axes.imshow(layer)
    if prompt.box:
        x0, y0, x1, y1 = prompt.box
        for line_colour, line_width in (("black", 4), (colour("box"), 2)):
            axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=line_colour, linewidth=line_width)
    for x, y, label in prompt.points:
        name, form, sign = ("foreground", "o", "+") if label else ("background", "s", "_")
        axes.plot(x, y, form, markersize=11, color=colour(name), markeredgecolor="white", markeredgewidth=1.5)
        axes.plot(x, y, sign, markersize=6, color="white", markeredgewidth=1.8)


def candidates_figure(session: PromptSession) -> Figure:
    """Photo with the prompt, then one panel a candidate with its predicted IoU; the chosen one has a bold title."""
    from matplotlib.figure import Figure

    height, width = session.photo.shape[:2]
    panels = 1 + (0 if session.masks is None else len(session.masks))
    figure = Figure(figsize=(3.2 * panels, 3.2 * height / width + 0.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    axes[0].imshow(session.photo)
    axes[0].set_title("prompt")
    for k, panel in enumerate(axes[1:]):
        mask = session.masks[k]
        panel.imshow(overlay_masks(session.photo, mask, (ROLES["mask"],)))
        if mask.any() and not mask.all():
            for rim, line_width in (("black", 2.4), ("white", 1.2)):
                panel.contour(mask, levels=[0.5], colors=rim, linewidths=line_width)
        chosen = k == session.chosen
        title = f"masks[{k}]\npredicted IoU {session.iou_predictions[k]:.2f}"
        panel.set_title(title, fontweight="bold" if chosen else "normal")
        for spine in panel.spines.values():
            spine.set(visible=True, linewidth=3 if chosen else 0.5)
    for panel in axes:
        draw_prompt(panel, session.prompt, height, width)
        panel.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return figure


def describe(session: PromptSession) -> str:
    """The prompt and the answer in a sentence: the alternative text of their picture."""
    height, width = session.photo.shape[:2]
    prompt = session.prompt
    parts = [f"{'foreground' if label else 'background'} point at ({x}, {y})" for x, y, label in prompt.points]
    if prompt.box:
        parts.append("box from ({}, {}) to ({}, {})".format(*prompt.box))
    if prompt.strokes:
        parts.append(f"mask painted with {len(prompt.strokes)} brush stroke{'s' * (len(prompt.strokes) > 1)}")
    text = f"Photo of {width} by {height} pixels; prompt: {', '.join(parts) or 'none yet'}."
    if session.masks is not None:
        shares = ", ".join(f"masks[{k}] covers {mask.mean():.0%}" for k, mask in enumerate(session.masks))
        text += f" Beside it the candidates: {shares} of the photo; masks[{session.chosen}] is chosen."
    return text


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
