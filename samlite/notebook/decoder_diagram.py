"""The mask decoder as a diagram, drawn from a ledger: names, shapes and repetitions are those of the model (§1.8)."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from samlite.notebook.ledger import ShapeLedger
from samlite.notebook.style import BLUE, FAINT, INK, ORANGE, PAPER

# Where the boxes stand: step → column, row. Rows 0 and 2.3 hold tokens, rows 1 and 3.3 the image.
PLACES = {
    "token_sequence": (0, 0), "prompted_image": (0, 1), "image_tokens": (1, 1),
    "token_self_attention": (2, 0), "token_to_image_attention": (3, 0), "token_mlp": (4, 0),
    "image_to_token_attention": (5, 1),
    "output_tokens": (2, 2.3), "mask_vectors": (3, 2.3), "iou_predictions": (4, 2.3),
    "decoded_image": (0, 3.3), "upscaled_2x": (1, 3.3), "upscaled_4x": (2, 3.3),
    "low_res_logits": (3, 3.3), "input_frame_logits": (4, 3.3), "masks": (5, 3.3),
}  # fmt: skip
NEEDED = tuple(step for step in PLACES if step not in ("input_frame_logits", "masks"))
IN_A_BLOCK = ("token_self_attention", "token_to_image_attention", "token_mlp", "image_to_token_attention")
HALF_WIDTH, HALF_HEIGHT, GREY = 0.42, 0.3, "#555555"


def decoder_diagram(ledger: ShapeLedger) -> Figure:
    """The document's figure of the decoder with the shapes of one decoding; blue holds tokens, orange the image.

    The last two boxes are drawn when the ledger has seen the masks enlarged. Raises KeyError when the ledger has not
    seen the decoder.
    """
    entries = {step: ledger[step] for step in NEEDED}  # a KeyError of the ledger says what is missing
    entries |= {step: ledger[step] for step in PLACES if step in ledger}
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(-0.5, 5.7), ylim=(3.85, -0.75), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)

    blocks = len(ledger.all("token_mlp"))
    axes.add_patch(Rectangle((1.5, -0.5), 4.07, 1.95, fill=False, edgecolor=FAINT, linewidth=2, linestyle="--"))
    axes.text(1.55, -0.58, f"two-way block, {blocks} times", va="bottom", fontsize=12, color=GREY)
    for step, entry in entries.items():
        _box(axes, *PLACES[step], step, entry.shape, entry.section, tokens=PLACES[step][1] in (0, 2.3))

    for start, end in (
        ("token_sequence", "token_self_attention"), ("token_self_attention", "token_to_image_attention"),
        ("token_to_image_attention", "token_mlp"), ("prompted_image", "image_tokens"),
        ("decoded_image", "upscaled_2x"), ("upscaled_2x", "upscaled_4x"), ("output_tokens", "mask_vectors"),
        ("low_res_logits", "input_frame_logits"), ("input_frame_logits", "masks"),
    ):  # fmt: skip
        if start in entries and end in entries:
            _path(axes, _side(start, "right"), _side(end, "left"))
    _path(axes, _side("image_tokens", "right"), _side("image_to_token_attention", "left"))
    _path(axes, (3, 1), _side("token_to_image_attention", "below"))
    _note(axes, 3.06, 0.64, "keys, values:\nthe image")
    _note(axes, 3.7, 1.1, "queries: the image")
    _path(axes, _side("token_mlp", "right"), (5, 0), _side("image_to_token_attention", "above"))
    _note(axes, 5.06, 0.42, "keys, values:\nthe tokens")
    _path(axes, (5, 0), (5.5, 0))
    _joint(axes, 5.57, 0, "t")
    _path(axes, _side("image_to_token_attention", "below"), (5, 1.55))
    _joint(axes, 5, 1.62, "i")

    _joint(axes, 1.4, 2.3, "t")
    _path(axes, (1.47, 2.3), _side("output_tokens", "left"))
    _joint(axes, 0, 2.78, "i")
    _path(axes, (0, 2.85), _side("decoded_image", "above"))
    _path(axes, _side("output_tokens", "above"), (2, 1.85), (4, 1.85), _side("iou_predictions", "above"))
    _note(axes, 2.9, 1.76, "IoU token, one MLP")
    _note(axes, 2.5, 2.76, "mask tokens,\none MLP each", align="center")
    _path(axes, _side("upscaled_4x", "right"), _side("low_res_logits", "left"))
    _path(axes, _side("mask_vectors", "below"), _side("low_res_logits", "above"))
    _note(axes, 3.06, 2.82, "dot product at every place")
    return figure


def describe_diagram(ledger: ShapeLedger) -> str:
    """The diagram in words, for its alternative text."""

    def shape(step: str) -> str:
        return f"{step.replace('_', ' ')} {' × '.join(map(str, ledger[step].shape))}"

    blocks = len(ledger.all("token_mlp"))
    return (
        f"A diagram of boxes and arrows. {shape('token_sequence')} and {shape('image_tokens')} go into a two-way "
        f"block, which runs {blocks} times: {', '.join(shape(step) for step in IN_A_BLOCK)}. Then "
        f"{shape('decoded_image')}, {shape('upscaled_2x')} and {shape('upscaled_4x')}; beside them "
        f"{shape('output_tokens')} and {shape('mask_vectors')}, whose dot products with the map are "
        f"{shape('low_res_logits')}; and {shape('iou_predictions')}."
    )


def _box(axes: Axes, column: float, row: float, step: str, shape: tuple[int, ...], section: str, tokens: bool) -> None:
    axes.add_patch(FancyBboxPatch(
        (column - HALF_WIDTH, row - HALF_HEIGHT), 2 * HALF_WIDTH, 2 * HALF_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.06", facecolor=PAPER, edgecolor=BLUE if tokens else ORANGE, linewidth=2.5,
    ))  # fmt: skip
    name = step.replace("_", " ").replace(" to ", " → ")
    if len(name) > 16:
        head, _, tail = name.rpartition(" ")
        name = f"{head}\n{tail}"
    axes.text(column, row - 0.1, name, ha="center", va="center", fontsize=11, fontweight="bold", linespacing=1.0)
    axes.text(column, row + 0.1, " × ".join(map(str, shape)), ha="center", va="center", fontsize=10.5)
    axes.text(column, row + 0.22, f"§{section}", ha="center", va="center", fontsize=9, color=GREY)


def _side(step: str, side: str) -> tuple[float, float]:
    column, row = PLACES[step]
    return {
        "left": (column - HALF_WIDTH, row), "right": (column + HALF_WIDTH, row),
        "above": (column, row - HALF_HEIGHT), "below": (column, row + HALF_HEIGHT),
    }[side]  # fmt: skip


def _path(axes: Axes, *places: tuple[float, float]) -> None:
    """A line through places with an arrow at its end."""
    axes.plot(*zip(*places[:-1], strict=True), color=FAINT, linewidth=2, solid_capstyle="butt")
    style = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", places[-1], places[-2], arrowprops=style)


def _joint(axes: Axes, column: float, row: float, name: str) -> None:
    """Where a line ends on one floor of the diagram and goes on below: the same letter at both places."""
    colour = BLUE if name == "t" else ORANGE
    axes.plot(column, row, "o", markersize=17, markerfacecolor=PAPER, markeredgecolor=colour, markeredgewidth=2)
    axes.text(column, row, name, ha="center", va="center", fontsize=11, color=INK)


def _note(axes: Axes, column: float, row: float, text: str, align: str = "left") -> None:
    axes.text(column, row, text, ha=align, va="center", fontsize=10, color=GREY, linespacing=1.05)
