"""Pictures of a masked autoencoder at work: what it is shown, what it makes of the rest, how far off it is (§1.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor

from samlite.image_encoder import patchify, unpatchify
from samlite.learning.pretraining_figures import NEAREST, guesses_without_learning
from samlite.masked_autoencoder import HIDDEN_SHARE, MaskedAutoencoder, random_masking, take
from samlite.notebook.plots import Photo, bare, to_photo
from samlite.notebook.style import BLUE, GREEN, INK, ORANGE, PINK, VERMILION

HIDDEN_GREY = 128  # how a hidden patch is drawn; the encoder is shown nothing at all
LINES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), (GREEN, ":", "^"), (PINK, "-.", "D"), (VERMILION, "-", "v"))


@dataclass(frozen=True)
class Rebuilt:
    """One picture, one masking, one rebuild. ``errors`` (L,): mean squared error of each patch, hidden or not."""

    original: Photo
    shown: Photo  # visible patches, grey elsewhere
    rebuilt: Photo  # visible patches as they were, hidden ones as the model makes them
    guessed: Photo  # the same with the colour of the nearest visible patch
    visible: Int[Tensor, " v"]
    hidden: Int[Tensor, " hidden"]
    error: float  # mean over the hidden patches
    guess_error: float


@torch.no_grad()
def rebuild(
    autoencoder: MaskedAutoencoder,
    image: Float[Tensor, "3 size size"],
    hidden_share: float = HIDDEN_SHARE,
    seed: int = 0,
) -> Rebuilt:
    """Hide a share of the patches of a normalised image, and let the model rebuild them.

    For a model that was trained on pixel values (``normalised`` targets have no colour to show).
    Raises ValueError when the share leaves no patch visible, or none hidden.
    """
    encoder = autoencoder.image_encoder
    patches = patchify(image[None], encoder.patch_size)
    visible, hidden = random_masking(1, patches.shape[1], hidden_share, seed)
    answer = take(autoencoder(image[None], visible), hidden)
    guess = guesses_without_learning(patches, visible, hidden)[NEAREST]
    truth = take(patches, hidden)

    def filled(values: Float[Tensor, "1 hidden values"]) -> Photo:
        places = hidden[..., None].expand_as(values)
        return to_photo(unpatchify(patches.scatter(1, places, values), encoder.patch_size, encoder.grid_size)[0])

    return Rebuilt(
        original=to_photo(image),
        shown=with_grey(to_photo(image), hidden[0], encoder.patch_size),
        rebuilt=filled(answer),
        guessed=filled(guess),
        visible=visible[0],
        hidden=hidden[0],
        error=float((answer - truth).square().mean()),
        guess_error=float((guess - truth).square().mean()),
    )


def with_grey(picture: Photo, hidden: Int[Tensor, " hidden"], patch_size: int) -> Photo:
    """The picture with an even grey in the place of the hidden patches."""
    shown = picture.copy()
    grid = picture.shape[1] // patch_size
    for place in hidden.tolist():
        row, column = place // grid * patch_size, place % grid * patch_size
        shown[row : row + patch_size, column : column + patch_size] = HIDDEN_GREY
    return shown


def rebuilds(rows: Sequence[Rebuilt], names: Sequence[str] = (), panel: float | int = 2.5) -> Figure:
    """One row for each rebuild: what the encoder sees, what the model makes of it, the nearest colour, the truth."""
    figure = Figure(figsize=(4 * panel, (panel + 0.3) * len(rows) + 0.3), layout="constrained")
    panels = figure.subplots(len(rows), 4, squeeze=False)
    for number, (line, row) in enumerate(zip(panels, rows, strict=True)):
        hidden, patches = len(row.hidden), len(row.hidden) + len(row.visible)
        titles = [
            f"shown: {patches - hidden} of {patches}", f"rebuilt: error {row.error:.2f}",
            f"nearest colour: {row.guess_error:.2f}", "the picture",
        ]  # fmt: skip
        for axes, picture, title in zip(line, (row.shown, row.rebuilt, row.guessed, row.original), titles, strict=True):
            bare(axes, title).imshow(picture)
        if names:
            line[0].set_ylabel(names[number])
    return figure


def lines(
    curves: dict[str, tuple[Sequence[float | int], Sequence[float | int]]],
    x: str,
    y: str,
    levels: dict[str, float] | None = None,
) -> Figure:
    """Curves, each name → (x values, y values), told apart by colour, line and marker; ``levels`` lie across."""
    figure = Figure(figsize=(8.6, 4.0), layout="constrained")
    axes = figure.subplots()
    for (name, (along, up)), (colour, line, marker) in zip(curves.items(), LINES, strict=False):
        every = max(1, len(along) // 12)
        axes.plot(along, up, line, color=colour, marker=marker, markevery=every, markersize=7, label=name)
    for (name, level), line in zip((levels or {}).items(), ("--", ":", "-."), strict=False):
        axes.axhline(level, color=INK, linewidth=1.5, linestyle=line, label=name)
    axes.set(xlabel=x, ylabel=y)
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=12)
    return figure
