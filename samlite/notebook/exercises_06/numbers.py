"""Exercises that are answered with numbers: the shapes of a rebuild, and what leaving patches out saves (§1.6.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from samlite.image_encoder import ImageEncoder
from samlite.masked_autoencoder import MaskedAutoencoder, random_masking
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.ledger import shape_ledger

_SHAPE_STEPS = ("encoded_visible", "filled_up", "rebuilt_patches", "hidden_error")


def _shapes_on_meta(side: int, patch_size: int, width: int, inner: int, percent: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        encoder = ImageEncoder(side * patch_size, patch_size, width, depth=1, heads=4)
        autoencoder = MaskedAutoencoder(encoder, inner, decoder_depth=1, decoder_heads=4)
    images = torch.zeros(2, 3, side * patch_size, side * patch_size, device="meta")
    visible, hidden = random_masking(2, side**2, percent / 100, device="meta")
    with shape_ledger(autoencoder) as ledger:
        autoencoder.hidden_error(autoencoder(images, visible), images, hidden)
    return {step: ledger[step].shape for step in _SHAPE_STEPS}


def _predict_the_rebuild(side: int, patch_size: int, width: int, inner: int, percent: int) -> Exercise:
    S, P, D, A, L, values = side * patch_size, patch_size, width, inner, side**2, 3 * patch_size**2
    hidden = round(L * percent / 100)
    V = L - hidden
    return Exercise(
        name="predict_the_rebuild",
        title="Predict the shapes of a rebuild",
        difficulty=1,
        minutes=5,
        question=f"""
**Two** photos of {S}×{S} pixels, patches of {P}×{P}, an encoder {D} wide, a decoder {A} wide, and {percent} % of the
patches hidden. Which shapes have four of the steps? Write plain tuples, no code that runs a model.
""",
        code=f"""
shapes = {{
    # <answer: "encoded_visible": ..., "filled_up": ..., "rebuilt_patches": ..., "hidden_error": ...,>
    "encoded_visible": (2, {V}, {D}),
    "filled_up": (2, {L}, {A}),
    "rebuilt_patches": (2, {L}, 3 * {P} * {P}),
    "hidden_error": (2, {hidden}),
    # </answer>
}}

predict_the_rebuild.check(shapes)
""",
        expected=partial(_shapes_on_meta, side, patch_size, width, inner, percent),
        mistakes=[
            Mistake("visible and hidden exchanged", f"{percent} % are hidden, the rest is shown.", lambda: {
                "encoded_visible": (2, hidden, D), "hidden_error": (2, V)}),
            Mistake("hidden patches encoded", "Hidden patches are not blackened for the encoder: they are not there.",
                    lambda: {"encoded_visible": (2, L, D)}),
            Mistake("mask tokens forgotten", "The decoder gets a token for every place, hidden or not.", lambda: {
                "filled_up": (2, V, A), "rebuilt_patches": (2, V, values)}),
            Mistake("only the hidden rebuilt", "The decoder predicts all patches; only the loss leaves some out.",
                    lambda: {"filled_up": (2, hidden, A), "rebuilt_patches": (2, hidden, values)}),
            Mistake("not narrowed", "A linear layer brings the encoded patches to the decoder's width.", lambda: {
                "filled_up": (2, L, D)}),
            Mistake("no pixels at the end", "What is rebuilt are values of pixels, 3·P·P for each patch.", lambda: {
                "rebuilt_patches": (2, L, A)}),
            Mistake("loss of all patches", "The loss is taken on the hidden patches alone (§1.6.4).", lambda: {
                "hidden_error": (2, L)}),
            Mistake("one number for each value", "The squared errors of a patch are averaged: one number a patch.",
                    lambda: {"hidden_error": (2, hidden, values)}),
            Mistake("colours forgotten", "Every pixel of a patch has three values.", lambda: {
                "rebuilt_patches": (2, L, P * P)}),
        ],
        hints=[
            f"How many patches are there in all, and how many of them are {100 - percent} %?",
            "Up to the encoder's end there are only visible patches; the decoder has all places again.",
        ],
        variant=_redraw_rebuild,
        explanation=f"""
L = {side} · {side} = {L} patches, of which V = {V} are shown. The encoder never meets the other {hidden}. The decoder
sees all places, in its own width {A}, and gives pixels back; the loss picks the {hidden} hidden ones out.
""",
    )  # fmt: skip


def _redraw_rebuild(seed: int) -> Exercise:
    """Another size. The number of patches is a multiple of 20, so that every share is a whole number of patches."""
    draw = np.random.default_rng(seed)
    side, patch_size = 10 * int(draw.integers(1, 4)), int(draw.choice([8, 16]))
    width, inner = 64 * int(draw.integers(5, 12)), 32 * int(draw.choice([3, 4, 5, 7]))
    return _predict_the_rebuild(side, patch_size, width, inner, int(draw.choice([60, 70, 75, 80, 85, 90])))


predict_the_rebuild = _predict_the_rebuild(side=20, patch_size=16, width=640, inner=192, percent=80)


def _flop(tokens: int, width: int, *, linear: int = 24, products: int = 4) -> int:
    return linear * tokens * width**2 + products * tokens**2 * width


def _saving(patches: int, width: int, hidden_share: float) -> float:
    visible = round(patches * (1 - hidden_share))
    return _flop(patches, width) / _flop(visible, width)


def _saving_with(
    patches: int, width: int, hidden_share: float, *,
    kept: bool = True, whole: Callable[[float], int] = round, **counts: int,
) -> float:  # fmt: skip
    """The ratio with switches for what easily goes wrong."""
    visible = whole(patches * (1 - hidden_share if kept else hidden_share))
    return _flop(patches, width, **counts) / _flop(visible, width, **counts)


def _redraw_saving(seed: int) -> Exercise:
    draw = np.random.default_rng(seed)

    def sizes(*shares: float) -> tuple[int, int, float]:
        return 400 * int(draw.integers(1, 12)), 64 * int(draw.integers(1, 20)), float(draw.choice(shares))

    drawn = [sizes(0.6, 0.8, 0.9), sizes(0.8, 0.9)]  # with 0.6 the product is exact, and rounding down does no harm
    return replace(
        count_the_saving,
        stages=[Stage(f"model {number}", lambda sizes=sizes: sizes) for number, sizes in enumerate(drawn, 1)],
    )


count_the_saving = Exercise(
    name="count_the_saving",
    title="What the encoder saves",
    difficulty=2,
    minutes=10,
    question="""
How many times fewer FLOP does one encoder block need when it gets the visible patches alone? Count the four linear
layers of the attention (2 · tokens · width² each), the two of the MLP, which is four times as wide inside, and the two
products of tokens with tokens (2 · tokens² · width each, all heads together). The visible patches are a whole number:
`round`. Return all divided by visible.
""",
    code="""
def saving(patches, width, hidden_share):
    # <answer: times = ...>
    def flop(tokens):
        attention = 4 * 2 * tokens * width**2
        mlp = 2 * 2 * tokens * width * 4 * width
        products = 2 * 2 * tokens**2 * width
        return attention + mlp + products

    visible = round(patches * (1 - hidden_share))
    times = flop(patches) / flop(visible)
    # </answer>
    return times


count_the_saving.check(saving)
""",
    expected=_saving,
    stages=[
        Stage("few patches, a narrow block", lambda: (16, 8, 0.75)),
        Stage("the document's ViT-H", lambda: (4096, 1280, 0.75)),
        Stage("nine of ten hidden", lambda: (4000, 1280, 0.9)),
    ],
    mistakes=[
        Mistake("only the number of tokens", "The products of tokens with tokens shrink by more than that: they go "
                "with the square.", partial(_saving_with, products=0)),
        Mistake("only the square", "Linear layers and MLP go with the number of tokens, not with its square.",
                partial(_saving_with, linear=0)),
        Mistake("MLP forgotten", "Two thirds of the linear work are in the MLP.", partial(_saving_with, linear=8)),
        Mistake("an MLP that does not widen", "Inside, the MLP is four times as wide.",
                partial(_saving_with, linear=12)),
        Mistake("one product", "Queries meet keys, and weights meet values: two products.",
                partial(_saving_with, products=2)),
        Mistake("visible and hidden exchanged", "The hidden share is what the encoder does not get.",
                partial(_saving_with, kept=False)),
        Mistake("rounded down", "4000 · (1 − 0.9) is 399.99… in floating point: round, do not cut.",
                partial(_saving_with, whole=int)),
        Mistake("upside down", "All divided by visible: a number above 1.",
                lambda patches, width, hidden_share: 1 / _saving(patches, width, hidden_share)),
    ],
    hints=[
        "Write a function of the number of tokens, and call it twice.",
        "Linear layers: 4 · 2 + 2 · 2 · 4 = 24 times tokens · width². Products: 4 times tokens² · width.",
    ],
    variant=_redraw_saving,
    explanation="""
With three quarters hidden the linear layers become four times cheaper, the products of tokens with tokens sixteen
times; with nine tenths it is ten and a hundred. The whole lies between, nearer to the second the more patches there are
for a given width.
""",
)  # fmt: skip
