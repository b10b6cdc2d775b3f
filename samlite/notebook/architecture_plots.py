"""The whole model as a diagram, drawn from a ledger: three parts, what flows between them, every shape (§1.2, §1.9)."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from samlite.notebook.ledger import Entry, ShapeLedger
from samlite.notebook.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER

GREY = "#555555"


@dataclass(frozen=True)
class Part:
    """One of the three parts: where it stands, its colour, the steps shown in it and those that leave it."""

    title: str
    colour: str
    place: tuple[float, float]  # column and row of its first step
    steps: tuple[str, ...]


PARTS = (
    Part("image encoder · once for a photo", BLUE, (0, 0), (
        "input", "patches", "patch_embedding", "encoded_patches", "grid", "image_embedding")),
    Part("prompt encoder · for every prompt", ORANGE, (1.35, 2.6), (
        "point_tokens", "box_tokens", "sparse_prompt_tokens", "dense_prompt")),
    Part("mask decoder · for every prompt", GREEN, (2.7, 0), (
        "token_sequence", "prompted_image", "decoded_image", "upscaled_2x", "upscaled_4x", "mask_vectors",
        "low_res_logits", "iou_predictions")),
)  # fmt: skip
HALF_WIDTH, HALF_HEIGHT = 0.47, 0.34


def parts_of(ledger: ShapeLedger) -> dict[str, list[Entry]]:
    """The steps that the diagram shows, part by part, as far as they happened.

    Raises KeyError when the ledger has not seen an image embedding, a token sequence and low-res logits.
    """
    for needed in ("image_embedding", "token_sequence", "low_res_logits"):
        ledger.all(needed)  # its KeyError says what is missing
    return {part.title: [ledger[step] for step in part.steps if step in ledger] for part in PARTS}


def architecture(ledger: ShapeLedger) -> Figure:
    """Encoder, prompt encoder and decoder with every shape of one prediction, and what flows from one to the other."""
    entries = parts_of(ledger)
    figure = Figure(figsize=(11, 8.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.62, 3.95), ylim=(7.6, -0.95), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    places: dict[str, tuple[float, float]] = {}
    for part in PARTS:
        column, row = part.place
        shown = entries[part.title]
        for offset, entry in enumerate(shown):
            places[entry.name] = (column, row + 0.98 * offset)
            _step(axes, *places[entry.name], entry, part.colour)
            if offset and part.colour != GREEN and entry.name not in ("point_tokens", "box_tokens", "dense_prompt"):
                _arrow(axes, (column, places[entry.name][1] - 0.64), (column, places[entry.name][1] - HALF_HEIGHT))
        height = 0.98 * (len(shown) - 1) + 2 * HALF_HEIGHT + 0.24
        axes.add_patch(FancyBboxPatch(
            (column - 0.56, row - HALF_HEIGHT - 0.12), 1.12, height, boxstyle="round,pad=0,rounding_size=0.08",
            fill=False, edgecolor=part.colour, linewidth=1.5, linestyle="--",
        ))  # fmt: skip
        name, when = part.title.split(" · ")
        axes.text(column, row - 0.72, name, ha="center", va="center", fontweight="bold")
        axes.text(column, row - 0.54, when, ha="center", va="center", fontsize=10, color=GREY)
    _between_the_parts(axes, places)
    _learned_tokens(axes, ledger, places["token_sequence"])
    if "masks" in ledger:  # made from the decoder's result, by interpolation alone
        x, y = places["low_res_logits"]
        _step(axes, 1.35, y + 0.95, ledger["masks"], FAINT)
        start = (x - HALF_WIDTH, y + 0.16)
        _line(axes, start, (2.07, start[1]), (2.07, y + 0.95), (1.35 + HALF_WIDTH, y + 0.95))
        axes.text(1.35, y + 1.46, "enlarged to the photo's size", ha="center", fontsize=10, color=GREY)
    return figure


def learned_tokens(ledger: ShapeLedger) -> int:
    """How many tokens the decoder adds to the prompt's."""
    prompt = ledger["sparse_prompt_tokens"].shape[1] if "sparse_prompt_tokens" in ledger else 0
    return ledger["token_sequence"].shape[1] - prompt


def _learned_tokens(axes: Axes, ledger: ShapeLedger, sequence: tuple[float, float]) -> None:
    """The decoder's own tokens, which start empty of photo and prompt, on their way into the sequence."""
    x, y = 1.35, sequence[1] - 0.14
    axes.add_patch(FancyBboxPatch(
        (x - HALF_WIDTH, y - HALF_HEIGHT), 2 * HALF_WIDTH, 2 * HALF_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.06", facecolor=PAPER, edgecolor=GREEN, linewidth=2.5, linestyle="--",
    ))  # fmt: skip
    shape = f"{learned_tokens(ledger)} × {ledger['token_sequence'].shape[-1]}"
    axes.text(x, y - 0.14, "mask and IoU tokens", ha="center", va="center", fontsize=11, fontweight="bold")
    axes.text(x, y + 0.06, shape, ha="center", va="center", fontsize=11, color=INK)
    axes.text(x, y + 0.23, "learned, the same for all", ha="center", va="center", fontsize=9, color=GREY)
    _arrow(axes, (x + HALF_WIDTH, y), (sequence[0] - HALF_WIDTH, y))


def _between_the_parts(axes: Axes, places: dict[str, tuple[float, float]]) -> None:
    right = {name: (x + HALF_WIDTH, y) for name, (x, y) in places.items()}
    left = {name: (x - HALF_WIDTH, y) for name, (x, y) in places.items()}
    embedding, prompted = right["image_embedding"], left["prompted_image"]
    around = places["prompted_image"][1] + 0.12
    _line(axes, embedding, (0.68, embedding[1]), (0.68, around), (prompted[0], around))
    note = "all that the decoder learns of the\nphoto; the dense prompt is added"
    axes.text(0.74, around - 0.1, note, fontsize=10, color=GREY, va="bottom")
    if "sparse_prompt_tokens" in places:
        start, end = right["sparse_prompt_tokens"], left["token_sequence"]
        _line(axes, start, (1.97, start[1]), (1.97, end[1] + 0.14), (end[0], end[1] + 0.14))
        if "point_tokens" in places and "box_tokens" in places:  # past the corners, into the one sequence
            above, below = left["point_tokens"], left["sparse_prompt_tokens"]
            _line(axes, above, (above[0] - 0.05, above[1]), (above[0] - 0.05, below[1]), below)
    if "dense_prompt" in places:
        start = right["dense_prompt"]
        _line(axes, start, (2.07, start[1]), (2.07, prompted[1] - 0.12), (prompted[0], prompted[1] - 0.12))
    chain = [n for n in ("prompted_image", "decoded_image", "upscaled_2x", "upscaled_4x") if n in places]
    for above, below in zip(chain, chain[1:], strict=False):
        _arrow(axes, (places[above][0], places[above][1] + HALF_HEIGHT),
               (places[below][0], places[below][1] - HALF_HEIGHT))  # fmt: skip
    side = 3.42
    if "mask_vectors" in places:
        _line(axes, right["token_sequence"], (side, right["token_sequence"][1]), (side, right["mask_vectors"][1]),
              right["mask_vectors"])  # fmt: skip
        _line(axes, (side, right["mask_vectors"][1]), (side, right["iou_predictions"][1]), right["iou_predictions"])
        axes.text(side + 0.05, 3.4, "two two-way\nblocks; then\nthe output\ntokens", fontsize=10, color=GREY)
        _arrow(axes, (2.7, places["mask_vectors"][1] + HALF_HEIGHT), (2.7, places["low_res_logits"][1] - HALF_HEIGHT))
        up, low = left["upscaled_4x"], left["low_res_logits"]
        _line(axes, up, (2.16, up[1]), (2.16, low[1]), low)
        axes.text(2.76, low[1] - 0.5, "dot products", va="center", fontsize=10, color=GREY)


def in_words(ledger: ShapeLedger) -> str:
    """The diagram in words, for its alternative text."""

    def named(entry: Entry) -> str:
        return f"{entry.name.replace('_', ' ')} {' × '.join(map(str, entry.shape))}"

    parts = (f"{title.split(' · ')[0]}: {', '.join(map(named, steps))}" for title, steps in parts_of(ledger).items())
    return (
        "A diagram of three parts with their tensors. "
        + ". ".join(parts)
        + ". The image embedding and the prompt's tokens and map go into the mask decoder, which adds "
        + f"{learned_tokens(ledger)} learned tokens of its own."
        + (f" Its low-res logits are enlarged to {named(ledger['masks'])}." if "masks" in ledger else "")
    )


def _step(axes: Axes, x: float, y: float, entry: Entry, colour: str) -> None:
    axes.add_patch(FancyBboxPatch(
        (x - HALF_WIDTH, y - HALF_HEIGHT), 2 * HALF_WIDTH, 2 * HALF_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.06", facecolor=PAPER, edgecolor=colour, linewidth=2.5,
    ))  # fmt: skip
    axes.text(x, y - 0.14, entry.name.replace("_", " "), ha="center", va="center", fontsize=11, fontweight="bold")
    axes.text(x, y + 0.06, " × ".join(map(str, entry.shape)), ha="center", va="center", fontsize=11, color=INK)
    axes.text(x, y + 0.23, f"§{entry.section}", ha="center", va="center", fontsize=9, color=GREY)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


def _line(axes: Axes, *places: tuple[float, float]) -> None:
    """A line around corners with an arrow at its end."""
    axes.plot(*zip(*places[:-1], strict=True), color=FAINT, linewidth=2, solid_capstyle="butt")
    _arrow(axes, places[-2], places[-1])
