"""Pictures of text prompts, and a field to type one into (document §1.3).

The field is made of ipywidgets; what is typed, `TextPromptBox.look` does in code and `picture` on the printed page.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from ipywidgets import HTML, Dropdown, Text, VBox
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from samlite.learning.text.contrastive import Embeddings
from samlite.learning.text.shapes import DescribedScenes
from samlite.notebook import style
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.plots import bare, draw_mask
from samlite.predictor import SamPredictor

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage

Photo = UInt8[np.ndarray, "height width 3"]


def as_photos(images: Float[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """RGB in 0…255, channels first → what everything else calls a photo."""
    return rearrange(images.round().clamp(0, 255).byte(), "b c h w -> b h w c").numpy()


def similarity_table(
    similarity: Float[Tensor, "b x"], crops: Float[Tensor, "b 3 s s"], phrases: Sequence[str], title: str = ""
) -> Figure:
    """Cosines of B crops with X phrases: the crops in front of the rows, the phrases below the columns."""
    rows, columns = similarity.shape
    figure = Figure(figsize=(2.6 + 0.62 * columns, 2.4 + 0.62 * rows), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(similarity.numpy(), cmap=style.DIVERGING, vmin=-1, vmax=1)
    for row in range(rows):
        for column in range(columns):
            value = float(similarity[row, column])
            colour = style.PAPER if abs(value) > 0.6 else style.INK
            axes.text(column, row, f"{round(value, 1) + 0.0:.1f}", ha="center", va="center", fontsize=11, color=colour)
    axes.set_xticks(range(columns), phrases, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(yticks=[], title=title)
    axes.spines[:].set_visible(False)
    for row, crop in enumerate(as_photos(crops)):
        inset = axes.inset_axes((-1.35, row - 0.44, 0.8, 0.88), transform=axes.transData)
        bare(inset).imshow(crop)
    figure.colorbar(shown, ax=axes, shrink=0.7, label="cosine")
    return figure


def answers_to_phrases(
    photo: Photo, masks: Bool[np.ndarray, "x height width"], phrases: Sequence[str], panel: float | int = 3.0
) -> Figure:
    """One photo, and beside it the mask that each phrase gave."""
    figure = Figure(figsize=(panel * (len(phrases) + 1), panel + 0.5), layout="constrained")
    first, *others = figure.subplots(1, len(phrases) + 1)
    bare(first, "the scene").imshow(photo)
    for axes, mask, phrase in zip(others, masks, phrases, strict=True):
        draw_mask(axes, photo, mask, f"“{phrase}”")
    return figure


def controls(tables: Mapping[str, Mapping[str, Mapping[str, float | int]]]) -> Figure:
    """Share of right objects: the text prompt and its controls, for pairs seen and never seen, as paired bars."""
    names = list(next(iter(tables.values())))
    figure = Figure(figsize=(10, 0.75 * len(names) + 1.6), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(tables)
    for number, (pairs, rows) in enumerate(tables.items()):
        shares = [rows[name]["right object"] for name in names]
        places = np.arange(len(names)) + (number - (len(tables) - 1) / 2) * height
        axes.barh(places, shares, height * 0.92, color=(style.BLUE, style.ORANGE)[number % 2], label=pairs)
        for place, share in zip(places, shares, strict=True):
            axes.text(share + 0.01, place, f"{share:.0%}", va="center", fontsize=12)
    axes.axvline(tables[pairs]["chance"]["right object"], color=style.INK, linewidth=1.5, linestyle="--")
    axes.set(yticks=range(len(names)), yticklabels=names, xlim=(0, 1.1), xlabel="share of scenes: the right object")
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure


def controls_in_words(tables: Mapping[str, Mapping[str, Mapping[str, float | int]]]) -> str:
    """The alternative text of `controls`."""
    said = [
        f"{pairs}: " + ", ".join(f"{name} {row['right object']:.0%}" for name, row in rows.items())
        for pairs, rows in tables.items()
    ]
    return "Bars of the share of scenes in which the right object was found. " + ". ".join(said) + "."


class TextPromptBox(VBox):
    """Type a phrase, see the object: a field, a choice of scene, and the picture.

        box = TextPromptBox(words, predictor, scenes)
        box                                    # the widget; Enter sends the phrase
        box.look("red star", scene=2)          # the same in code
        box.picture()                          # the same for the printed page

    ``words`` embeds, ``predictor`` holds the SAM. ``look`` raises what the text model raises for a word that it does
    not know; typed by hand, the same sentence stands below the field.
    """

    def __init__(self, words: Embeddings, predictor: SamPredictor, scenes: DescribedScenes, phrase: str = "") -> None:
        self.words, self.predictor, self.scenes = words, predictor, scenes
        self.photos = as_photos(scenes.images)
        self._encoded: int | None = None  # scene, and below its embedding
        self._embedding: Tensor | None = None
        self._setting = False
        self.field = Text(description="phrase", continuous_update=False, placeholder="red star")
        self.choice = Dropdown(options=[(f"scene {n}", n) for n in range(len(self.photos))], description="photo")
        self.shown = LivePicture("560px")
        self.said = HTML()
        super().__init__([self.choice, self.field, self.shown, self.said])
        self.look(phrase or scenes.phrase(0, 0), scene=0)
        self.field.observe(self._by_hand, names="value")
        self.choice.observe(self._by_hand, names="value")

    def look(self, phrase: str, scene: int | None = None) -> None:
        """Ask for a phrase, in the scene shown or another one."""
        scene = self.choice.value if scene is None else scene
        if not 0 <= scene < len(self.photos):
            raise ValueError(f"scene is {scene}: there are {len(self.photos)}, from 0")
        with torch.no_grad():
            text = self.words.embed_text(phrase)  # raises before anything has changed
        there = self.predictor.get_image_embedding() if self.predictor.is_image_set else None
        if scene != self._encoded or there is not self._embedding:  # somebody else may have set another photo
            self.predictor.set_image(self.photos[scene])
            self._encoded, self._embedding = scene, self.predictor.get_image_embedding()
        masks, self.scores, _ = self.predictor.predict(text=text)
        self.mask: Bool[np.ndarray, "height width"] = masks[self.scores.argmax()]
        self.phrase, self.scene = phrase, scene
        self._setting = True  # two changes that are answered already
        try:
            self.field.value, self.choice.value = phrase, scene
        finally:
            self._setting = False
        self.shown.show(self.figure(), self.describe())
        self.said.value = html.escape(self.describe())

    @property
    def code(self) -> str:
        """The Python that gives the same."""
        return (
            f"predictor.set_image(photos[{self.scene}])\n"
            f"masks, scores, _ = predictor.predict(text=words.embed_text({self.phrase!r}))\n"
            "mask = masks[scores.argmax()]"
        )

    def covered(self) -> str:
        """The description of the object that the mask covers best, "" where it covers none."""
        objects = self.scenes.masks[self.scene].numpy()
        both = (objects & self.mask).sum((-1, -2)) / np.maximum((objects | self.mask).sum((-1, -2)), 1)
        return self.scenes.phrase(self.scene, int(both.argmax())) if both.max() > 0 else ""

    def describe(self) -> str:
        """What is shown, in words."""
        found = self.covered()
        what = f"covers the {found} best" if found else "covers no object"
        return (
            f"“{self.phrase}” in scene {self.scene}: the chosen mask {what}; predicted IoU "
            f"{float(self.scores.max()):.2f}."
        )

    def figure(self) -> Figure:
        """The scene, and the scene with the mask."""
        photo = self.photos[self.scene]
        figure = Figure(figsize=(7.6, 4.1), layout="constrained")
        left, right = figure.subplots(1, 2)
        bare(left, f"scene {self.scene}").imshow(photo)
        draw_mask(right, photo, self.mask, f"“{self.phrase}”")
        return figure

    def picture(self) -> ShownImage:
        """`figure` as a picture for the page, with `describe` as its alternative text."""
        return style.picture(self.figure(), self.describe())

    def __repr__(self) -> str:
        return f"TextPromptBox({self.phrase!r}, scene={self.scene})"

    def _by_hand(self, _change: object) -> None:
        phrase, scene = self.field.value, self.choice.value
        if self._setting:
            return
        if (phrase, scene) == (self.phrase, self.scene):
            self.said.value = html.escape(self.describe())  # an error may stand there
            return
        try:
            self.look(phrase, scene)
        except Exception as error:  # shown below the field: raised here it would end up in a log
            self.said.value = f"<b>{html.escape(str(error))}</b>"
