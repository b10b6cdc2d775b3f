"""The kinds of prompt side by side, drawn from the running model (document §1.3, its figure of prompt types).

From top to bottom: what a person gives, what the prompt encoder makes of it (tokens and a map), what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from samlite.masks import overlay_masks
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.plots import bare, draw_mask
from samlite.notebook.prompt_plots import mark
from samlite.notebook.style import DIVERGING, FAINT, INK, ORANGE, SEQUENTIAL, VERMILION
from samlite.predictor import SamPredictor

PINK = (204, 121, 167)


@dataclass(frozen=True)
class Encoded:
    """One prompt on its way: its arguments, its tokens, its map, and the answer, or the error that came instead."""

    arguments: Mapping[str, Any]
    tokens: Float[np.ndarray, "n c"]
    dense: Float[np.ndarray, "c g g"]
    mask: Bool[np.ndarray, "height width"] | None
    iou_prediction: float | None
    error: str = ""

    @property
    def numbers(self) -> tuple[int, int]:
        """How many numbers the prompt gives the model: in its tokens, and in its map (0 where the map is zero)."""
        return self.tokens.size, self.dense.size if self.dense.any() else 0


def encode_prompt(predictor: SamPredictor, **arguments: Any) -> Encoded:
    """Ask ``predictor`` and keep what the prompt encoder gave the decoder. An error of a prompt is kept, not raised."""
    prompt_encoder = predictor.model.prompt_encoder
    grid, channels = prompt_encoder.grid_size, prompt_encoder.channels
    with torch.no_grad(), shape_ledger(predictor.model, keep=("sparse_prompt_tokens", "dense_prompt")) as ledger:
        try:
            masks, iou_predictions, _ = predictor.predict(**arguments)
        except (ValueError, TypeError) as error:
            nothing = np.zeros((0, channels)), np.zeros((channels, grid, grid))
            return Encoded(arguments, *nothing, None, None, f"{type(error).__name__}: {error}")
    best = int(iou_predictions.argmax())
    tokens, dense = (ledger[name].tensor[0].cpu().numpy() for name in ("sparse_prompt_tokens", "dense_prompt"))
    return Encoded(arguments, tokens, dense, masks[best], float(iou_predictions[best]))


def prompt_types(photo: UInt8[np.ndarray, "height width 3"], prompts: Mapping[str, Encoded]) -> Figure:
    """One column for each named prompt: the prompt, its tokens, its map, the mask that the model trusts most.

    The tokens of all columns share one scale of colours; a map is shown by the length of its vectors.
    """
    figure = Figure(figsize=(2.25 * len(prompts) + 0.4, 8.0), layout="constrained")
    ratios = [1.0, 0.75, 1.1, 1.0]
    panels = figure.subplots(4, len(prompts), squeeze=False, height_ratios=ratios)
    limit = max((float(abs(each.tokens).max()) for each in prompts.values() if each.tokens.size), default=1.0)
    most = max(max(len(each.tokens) for each in prompts.values()), 1)
    for column, (name, prompt) in enumerate(prompts.items()):
        above, tokens, dense, answer = panels[:, column]
        _draw_prompt(bare(above, name), photo, prompt.arguments)
        _draw_tokens(bare(tokens), prompt, limit, most)
        _draw_dense(bare(dense), prompt)
        _draw_answer(bare(answer), photo, prompt)
    for axes, words in zip(panels[:, 0], ("the prompt", "sparse: tokens", "dense: map", "the answer"), strict=True):
        axes.set_ylabel(words)
    return figure


def in_words(prompts: Mapping[str, Encoded]) -> str:
    """What `prompt_types` shows: the alternative text of its picture."""
    parts = []
    for name, prompt in prompts.items():
        if prompt.error:
            parts.append(f"{name}: refused")
            continue
        map_ = "a map is added to the image" if prompt.numbers[1] else "no map"
        count = len(prompt.tokens)
        tokens = f"{count or 'no'} token{'s' * (count > 1)}"
        parts.append(f"{name}: {tokens}, {map_}, a mask of {prompt.mask.mean():.0%} of the photo")
    return f"Columns of pictures, from the prompt over its tokens and its map to the mask. {'; '.join(parts)}."


def _like_photo(axes: Axes, photo: np.ndarray) -> None:
    """An empty panel, 1 × 1, in the photo's proportions."""
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect=photo.shape[0] / photo.shape[1])


def _draw_prompt(axes: Axes, photo: np.ndarray, arguments: Mapping[str, Any]) -> None:
    if "text" in arguments:
        _like_photo(axes, photo)
        axes.text(0.5, 0.5, "a phrase,\nturned into a vector\nby another model", ha="center", va="center", fontsize=12)
        return
    axes.imshow(_with_mask(photo, arguments.get("mask_input")))
    points, labels = arguments.get("point_coords", ()), arguments.get("point_labels", ())
    for (x, y), label in zip(points, labels, strict=True):
        mark(axes, x, y, "foreground point" if label else "background point")
    boxes = [arguments["box"]] if "box" in arguments else arguments.get("boxes", ())
    for x1, y1, x2, y2 in boxes:
        for colour, width in ((INK, 5), (ORANGE, 2.5)):
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width))


def _with_mask(photo: np.ndarray, mask_input: Float[np.ndarray, "1 h w"] | None) -> np.ndarray:
    """The photo with the positive cells of a mask prompt tinted; a cell stands for the photo's pixels below it."""
    if mask_input is None:
        return photo
    height, width = photo.shape[:2]
    cells = max(height, width) / mask_input.shape[-1]
    rows, columns = ((np.arange(side) + 0.5) // cells for side in (height, width))
    covered = mask_input[0][rows.astype(int)[:, None], columns.astype(int)] > 0
    return overlay_masks(photo, covered, (PINK,), 0.6)


def _draw_tokens(axes: Axes, prompt: Encoded, limit: float, most: int) -> None:
    count, channels = len(prompt.tokens), prompt.dense.shape[0]
    axes.set(xlim=(-0.5, channels - 0.5), ylim=(most - 0.4, -0.6))
    for row, token in enumerate(prompt.tokens):
        extent = (-0.5, channels - 0.5, row + 0.42, row - 0.42)
        axes.imshow(token[None], cmap=DIVERGING, vmin=-limit, vmax=limit, extent=extent, aspect="auto")
    axes.set(xlim=(-0.5, channels - 0.5), ylim=(most - 0.4, -0.6))
    axes.set_xlabel(f"{count} × {channels} numbers" if count else "no token")


def _draw_dense(axes: Axes, prompt: Encoded) -> None:
    channels, rows, columns = prompt.dense.shape
    if prompt.numbers[1]:
        axes.imshow(np.linalg.norm(prompt.dense, axis=0), cmap=SEQUENTIAL)
        axes.set_xlabel(f"{channels} × {rows} × {columns} numbers")
        return
    axes.imshow(np.zeros((rows, columns)), cmap="Greys", vmin=0, vmax=1)
    axes.add_patch(Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=FAINT, linewidth=1.5, linestyle="--"))
    axes.text((columns - 1) / 2, (rows - 1) / 2, "nothing\nadded", ha="center", va="center", color=INK)


def _draw_answer(axes: Axes, photo: np.ndarray, prompt: Encoded) -> None:
    if prompt.mask is None:
        _like_photo(axes, photo)
        axes.text(0.5, 0.5, "refused", ha="center", va="center", color=VERMILION, fontweight="bold")
        axes.add_patch(Rectangle((0.02, 0.02), 0.96, 0.96, fill=False, edgecolor=VERMILION, linewidth=3))
        return
    draw_mask(axes, photo, prompt.mask)
    axes.set_xlabel(f"predicted IoU {prompt.iou_prediction:.2f}")
