"""The inside of the prompt encoder as one picture, drawn from a ledger (the document's figure 1.9)."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from samlite.notebook.ledger import ShapeLedger
from samlite.notebook.prompt_plots import tokens_in_a_row
from samlite.notebook.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER

ROWS = {"points": 7.6, "boxes": 5.9, "text": 4.2, "mask": 1.3}
BOX = (2.5, 1.15)  # width and height


def _box(axes: Axes, x: float, y: float, lines: list[str], colour: str, dashed: bool = False) -> None:
    """A box centred on (x, y); the first line is its name."""
    width, height = BOX
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=PAPER, edgecolor=colour, linewidth=2.5, linestyle="--" if dashed else "-",
        )
    )  # fmt: skip
    step = 0.36
    for place, line in enumerate(lines):
        height = y + step * (len(lines) - 1) / 2 - step * place
        weight = "normal" if place else "bold"
        axes.text(x, height, line, ha="center", va="center", fontsize=11.5, fontweight=weight)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], words: str = "") -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": FAINT, "linewidth": 2})
    if words:
        above, _, below = words.partition("\n")
        middle, height = (start[0] + end[0]) / 2 - 0.1, (start[1] + end[1]) / 2
        axes.text(middle, height + 0.12, above, ha="center", va="bottom", fontsize=10.5)
        axes.text(middle, height - 0.14, below, ha="center", va="top", fontsize=10.5)


def _shape(ledger: ShapeLedger, name: str) -> str:
    return " × ".join(map(str, ledger[name].shape))


def token_names(ledger: ShapeLedger) -> list[str]:
    """What each token of the sequence is, in order, counted from the shapes of a ledger (document §1.7.4).

    All are numbered from 0; a corner has the number of its box and, after the point, 0 (first) or 1 (second).
    """
    counts = {name: ledger[name].shape[1] if name in ledger else 0 for name in ("point_tokens", "box_tokens")}
    texts = ledger["text_tokens"].shape[1] if "text_tokens" in ledger else 0
    masks = ledger["token_sequence"].shape[1] - ledger["sparse_prompt_tokens"].shape[1] - 1
    return [
        *(f"point {i}" for i in range(counts["point_tokens"])),
        *(f"corner {i // 2}.{i % 2}" for i in range(counts["box_tokens"])),
        *(f"text {i}" for i in range(texts)),
        *(f"mask {i}" for i in range(masks)),
        "IoU",
    ]


def diagram_in_words(ledger: ShapeLedger) -> str:
    """What `prompt_encoder_diagram` shows, for who cannot see it."""
    sparse = [name for name in ("point_tokens", "box_tokens", "text_tokens") if name in ledger]
    parts = [f"{name.replace('_', ' ')} {_shape(ledger, name)}" for name in sparse]
    dense = [name for name in ("mask_prompt", "mask_halved", "mask_quartered") if name in ledger]
    path = ", then ".join(f"{name.replace('_', ' ')} {_shape(ledger, name)}" for name in [*dense, "dense_prompt"])
    return (
        f"Above, {' and '.join(parts) or 'no sparse prompt'} become one sequence and meet the output tokens: the token "
        f"sequence, {_shape(ledger, 'token_sequence')}, drawn token by token: {', '.join(token_names(ledger))}. Below, "
        f"{path}, added to the image embedding: {_shape(ledger, 'prompted_image')}. Both go to the mask decoder."
    )


def prompt_encoder_diagram(ledger: ShapeLedger) -> Figure:
    """Prompts → tokens and a dense map → what the mask decoder gets, with the shapes of one prediction's ledger.

    The ledger must hold ``decode_masks`` of one prompt of any kinds. A kind that was not given is not drawn.
    Source: document §1.7, figure 1.9.
    """
    figure = Figure(figsize=(13.4, 7.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.3, 18.9), ylim=(0.5, 8.6), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    half, names = BOX[0] / 2, token_names(ledger)
    batch, channels = ledger["token_sequence"].shape[0], ledger["token_sequence"].shape[2]

    kinds = {
        "points": ("point_tokens", f"{batch} × N × 2", "coordinates\n+ position + type"),
        "boxes": ("box_tokens", f"{batch} × M × 4", "each corner\nas a point"),
        "text": ("text_tokens", f"{batch} × X × E", "projected\nE → C"),
    }
    given = [kind for kind, (step, *_) in kinds.items() if step in ledger]
    joined = sum(ROWS[kind] for kind in given) / len(given) if given else ROWS["boxes"]
    for kind in given:
        step, letters, how = kinds[kind]
        y = ROWS[kind]
        _box(axes, 1.0, y, [kind, letters], INK)
        _arrow(axes, (1.0 + half, y), (6.0 - half, y), how)
        _box(axes, 6.0, y, [step.replace("_", " "), _shape(ledger, step), f"§{ledger[step].section}"], BLUE)
        _arrow(axes, (6.0 + half, y), (9.9 - half, joined))
    _box(axes, 9.9, joined, ["sparse tokens", _shape(ledger, "sparse_prompt_tokens"), "§1.7.1"], BLUE)

    outputs = ledger["token_sequence"].shape[1] - ledger["sparse_prompt_tokens"].shape[1]
    _box(axes, 9.9, 4.2, ["output tokens", f"{outputs} × {channels}, learned", "§1.7.3"], GREEN)
    size = min(0.5, 5.6 / len(names))
    left = 12.6
    tokens_in_a_row(axes, names, left, joined - 0.55, size)
    sequence_end = left + size * len(names)
    axes.text(
        left, joined + 1.0, f"token sequence {_shape(ledger, 'token_sequence')}  §1.7.4", fontsize=11.5,
        fontweight="bold", va="bottom",
    )  # fmt: skip
    _arrow(axes, (9.9 + half, joined), (left - 0.1, joined + 0.15))
    _arrow(axes, (9.9 + half, 4.2), (left - 0.1, joined - 0.3))

    y = ROWS["mask"]
    steps = [name for name in ("mask_prompt", "mask_halved", "mask_quartered") if name in ledger]
    places = [1.0, 4.05, 7.1]
    words = {"mask_prompt": "mask prompt", "mask_halved": "halved", "mask_quartered": "quartered"}
    for place, name in zip(places, steps, strict=False):
        _box(axes, place, y, [words[name], _shape(ledger, name), "§1.7.2"], ORANGE)
    for start, end in zip(places, [*places[1:], 10.15], strict=True):
        if steps:
            _arrow(axes, (start + half, y), (end - half, y))
    dense = "zeros: no mask" if not steps else "§1.7.2"
    _box(axes, 10.15, y, ["dense prompt", _shape(ledger, "dense_prompt"), dense], ORANGE, dashed=not steps)
    axes.text(12.5, y, "+", ha="center", va="center", fontsize=26, fontweight="bold")
    _arrow(axes, (10.15 + half, y), (12.25, y))
    _box(axes, 12.5, 2.95, ["image embedding", _shape(ledger, "prompted_image"), "§1.5"], INK)
    _arrow(axes, (12.5, 2.95 - BOX[1] / 2), (12.5, y + 0.22))
    _arrow(axes, (12.75, y), (14.9 - half, y))
    _box(axes, 14.9, y, ["prompted image", _shape(ledger, "prompted_image"), "§1.7.4"], ORANGE)

    _box(axes, 17.5, 3.6, ["mask decoder", "§1.8"], GREEN)
    _arrow(axes, (min(sequence_end, 17.5), joined - 0.6), (17.5, 3.6 + BOX[1] / 2))
    _arrow(axes, (14.9 + half, y), (17.5, 3.6 - BOX[1] / 2))
    return figure
