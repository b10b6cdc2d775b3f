"""Touch the mask decoder: move the click, choose block, stage, token and head; as a widget, as code and as a picture.

The kernel decodes and colours, `decoder_explorer.js` draws. A choice travels as six small traits, the answer as one
dict with two small maps (document §1.8).
"""

from __future__ import annotations

import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from samlite.notebook import attention_views, style
from samlite.notebook.decoder_views import ATTENTION_STAGES, DecoderViews
from samlite.notebook.explorer import MEAN_OF_HEADS, Explorer, browser_side, coloured, png_of

SELF, TO_IMAGE, TO_TOKEN = ATTENTION_STAGES


class DecoderExplorer(Explorer):
    """A photo with a click that can be moved, and what one token does in one stage of the decoder.

        views = DecoderViews(sam, photo)
        explorer = DecoderExplorer(views, x=290, y=165)
        explorer                                                 # the widget
        explorer.look(x=300, y=180, block=1, token=1, head=0)    # the same in code; x, y in pixels of the photo
        explorer.picture()                                       # the same for the printed page

    ``block``, ``stage`` (one of ``ATTENTION_STAGES``), ``token`` (its place in the sequence) and ``head`` (None is the
    mean of all heads) choose what is seen; ``box`` is a further prompt that stays where it is.
    Raises ValueError for a pixel, block, stage, token or head that is not there.
    """

    _CHOICES = ("x", "y", "block", "stage", "token", "head")
    _esm = browser_side("decoder_explorer.js")

    picture_file = traitlets.Bytes().tag(sync=True)
    x = traitlets.Float(0).tag(sync=True)
    y = traitlets.Float(0).tag(sync=True)
    block = traitlets.Int(0).tag(sync=True)
    stage = traitlets.Unicode(TO_IMAGE).tag(sync=True)
    token = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(MEAN_OF_HEADS).tag(sync=True)

    def __init__(
        self,
        views: DecoderViews,
        x: float | int,
        y: float | int,
        block: int = 0,
        stage: str = TO_IMAGE,
        token: int = 0,
        head: int | None = None,
        box: list | tuple | None = None,
    ) -> None:
        super().__init__()
        self.views, self.box = views, box
        self.picture_file = png_of(views.photo, longest=960)
        self.token = token
        self.look(x, y, block=block, stage=stage, head=head)
        height, width = views.photo.shape[:2]
        self.sizes = {
            "width": width,
            "height": height,
            "blocks": views.blocks,
            "heads": views.heads,
            "stages": list(ATTENTION_STAGES),
            "tokens": views.token_names,
            "box": list(box) if box is not None else [],
        }
        self._listen()

    def look(
        self,
        x: float | int | None = None,
        y: float | int | None = None,
        *,
        block: int | None = None,
        stage: str | None = None,
        token: int | None = None,
        head: int | None = None,
    ) -> None:
        """Move the click, and choose what to see. What is not given stays, except ``head``: without it, the mean."""
        if (x is None) != (y is None):
            raise ValueError("x and y come together: a pixel of the photo has both")
        if head is not None and head < 0:
            raise ValueError(f"there is no head {head}: heads count from 0, and None is their mean")
        self._choose(
            {
                "x": self.x if x is None else float(x),
                "y": self.y if y is None else float(y),
                "block": self.block if block is None else block,
                "stage": self.stage if stage is None else stage,
                "token": self.token if token is None else token,
                "head": MEAN_OF_HEADS if head is None else head,
            }
        )

    def __repr__(self) -> str:  # ipywidgets would write out every byte of the photo
        chosen = (f"{name}={getattr(self, name)!r}" for name in ("x", "y", "block", "stage", "token"))
        return f"DecoderExplorer({', '.join(chosen)}, head={self.chosen_head})"

    @property
    def chosen_head(self) -> int | None:
        return None if self.head == MEAN_OF_HEADS else self.head

    def figure(self) -> Figure:
        """What is shown, as a figure: the photo with the prompt, the attention, and the mask logits."""
        self._prompt(self.x, self.y)  # the views may have seen another prompt since
        views, name = self.views, self.views.token_names[self.token]
        ratio = views.photo.shape[0] / views.photo.shape[1]
        figure = Figure(figsize=(10, 3.3 * ratio + 0.9), layout="constrained")
        photo, attention, logits = figure.subplots(1, 3)
        photo.imshow(views.photo)
        photo.set(xticks=[], yticks=[], title="the prompt")
        photo.spines[:].set_visible(False)
        attention_views.draw_prompt(photo, views)
        of_head = "mean" if self.chosen_head is None else f"head {self.head}"
        if self.stage == SELF:
            attention_views.draw_matrix(attention, views.matrix(self.block, self.chosen_head))
            attention.set_yticks(range(len(views.token_names)), views.token_names, fontsize=11)
            attention.set_xticks(range(len(views.token_names)), views.token_names, fontsize=11, rotation=90)
            attention.set_title(f"block {self.block}, token self-attention,\n{of_head}: {name}")
            attention_views.frame_row(attention, self.token, len(views.token_names))
        else:
            values = views.map(self.block, self.stage, self.token, self.chosen_head)
            title = f"block {self.block}, {attention_views.STAGE_NAMES[self.stage]},\n{of_head}: {name}"
            attention_views.draw_map(attention, views, values, title)
        k = self._mask_of(self.token)
        attention_views.draw_map(
            logits, views, views.tensor("low_res_logits")[k], f"logits of mask {k}", diverging=True, cross=False
        )
        return figure

    def _prompt(self, x: float, y: float) -> None:
        """Decode the click, unless it is the one that was decoded last."""
        views = self.views
        seen = [getattr(views, name, None) for name in ("points", "labels", "box")]
        if seen != [[[x, y]], [1], None if self.box is None else list(self.box)]:
            views.prompt([[x, y]], [1], self.box)

    def _mask_of(self, token: int) -> int:
        """The mask that belongs to a token: its own, or, for a token that has none, the one predicted to be best."""
        k = token - self.views.prompts
        return k if 0 <= k < len(self.views.masks) else int(self.views.iou_predictions.argmax())

    def _see(self, x: float, y: float, block: int, stage: str, token: int, head: int) -> dict[str, object]:
        views, chosen_head = self.views, None if head == MEAN_OF_HEADS else head
        self._prompt(x, y)
        views.require_token(token)
        name, names = views.token_names[token], views.token_names
        call = f"{block}, {stage!r}, token={token}, head={chosen_head}"
        if stage == SELF:
            values = views.matrix(block, chosen_head)
            colours, peak = coloured(values, style.SEQUENTIAL), []
            most = int(values[token].argmax())
            found = f"it looks most at {names[most]}, with {float(values[token, most]):.0%} of its attention"
            call = f"views.matrix({block}, head={chosen_head})[{token}]"
        else:
            values = views.map(block, stage, token, chosen_head)
            most = float(views.in_photo(values).max())
            colours = coloured((values / most).clamp(max=1).sqrt(), style.SEQUENTIAL)
            peak = list(attention_views.peak_of(views, values))
            place = f"({peak[0]:.0f}, {peak[1]:.0f})"
            outside = views.outside(values)
            found = (
                f"it looks most at {place}, with {most:.0%} of its attention; {outside:.0%} goes to the padding"
                if stage == TO_IMAGE
                else f"the patch at {place} listens to it most, with {most:.0%} of its attention"
            )
            call = f"views.map({call})"
        k = self._mask_of(token)
        logits = views.tensor("low_res_logits")[k]
        of_head = "mean of all heads" if chosen_head is None else f"head {head}"
        right, bottom = (edge + 0.5 for edge in attention_views.extent_of(views)[1:3])
        box = "" if self.box is None else f", box={list(self.box)}"
        return {
            "map": colours,
            "cells": len(values),
            "over_photo": stage != SELF,
            "extent": [right, bottom],  # where the map ends, in pixels of the photo from its upper left edge
            "peak": peak,
            "logits": coloured(_around_half(logits), style.DIVERGING),
            "logit_cells": len(logits),
            "mask": k,
            "words": (
                f"Click at ({x:g}, {y:g}). Block {block}, {stage.replace('_', ' ')}, {of_head}, token {name}: {found}. "
                f"Mask {k} covers {views.masks[k].mean():.0%} of the photo, predicted IoU "
                f"{views.iou_predictions[k]:.2f}."
            ),
            "code": f"views.prompt([[{x:g}, {y:g}]], [1]{box})\n{call}\nviews.masks[{k}]",
            "error": "",
        }


def _around_half(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Values of either sign → 0…1 with zero in the middle, by the square root, so that faint ones can be seen."""
    share = values / (values.abs().max() + 1e-12)
    return 0.5 + share.sign() * share.abs().sqrt() / 2
