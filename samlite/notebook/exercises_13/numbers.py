"""Tokens, windows and multiplications of the two architectures: exercises answered with numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType

import torch
from torch.utils.flop_counter import FlopCounterMode

from samlite.mask_decoder import Upscaling
from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.variants import by_seed, fill
from samlite.released.image_encoder import WindowBlock
from samlite.released.mask_decoder import ReleasedUpscaling
from samlite.released.parity import recorded
from samlite.released.sam import released_sam
from samlite.sam import Sam, document_sam


def _sequence_length(sam: Sam, points: int, boxes: int, mask: bool) -> int:
    """The tokens of the decoder for one prompt, on the meta device."""
    grid = sam.prompt_encoder.grid_size
    with torch.device("meta"), shape_ledger(sam) as ledger:
        sam.decode_masks(
            torch.zeros(1, sam.prompt_encoder.channels, grid, grid),
            points=torch.zeros(1, points, 2) if points else None,
            labels=torch.zeros(1, points, dtype=torch.long) if points else None,
            boxes=torch.zeros(1, boxes, 4) if boxes else None,
            mask=torch.zeros(1, 1, 4 * grid, 4 * grid) if mask else None,
        )
    return ledger["token_sequence"].shape[1]


@cache
def _tokens(n: int) -> Mapping[str, int]:
    """Two models and eight answers: half a second, and asked for with every mistake that a variant must recognise."""
    sizes = {"image_size": 128, "width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_mlp": 64}
    with torch.device("meta"):
        models = {"document": document_sam(**sizes), "release": released_sam(**sizes, window=3, global_blocks=(0,))}
    prompts = {
        "points": (n, 0, False), "points and a box": (n, 1, False), "a box": (0, 1, False), "a mask": (0, 0, True)
    }  # fmt: skip
    return MappingProxyType({
        f"{what}, {name}": _sequence_length(sam, *given)
        for what, given in prompts.items()
        for name, sam in models.items()
    })  # fmt: skip


def _predict_the_tokens(n: int = 1) -> Exercise:
    """The exercise for prompts of ``n`` points."""
    release = {"points": n + 6, "points and a box": n + 7, "a box": 7, "a mask": 5}
    return Exercise(
        name="predict_the_tokens",
        title="How many tokens?",
        difficulty=1,
        minutes=6,
        question=fill("""
How many tokens does the decoder's sequence have for each of these prompts, in the document's model and in the release?
"Points" stands for $points here, foreground or background; the mask comes alone.
""", points="one point" if n == 1 else f"{n} points"),
        code=fill("""
my_tokens = {
    # <answer: "points, document": ..., "points, release": ...,>
    "points, document": $n + 4,  # three masks and the IoU
    "points, release": $n + 1 + 5,  # a padding point; four masks and the IoU
    "points and a box, document": $n + 2 + 4,
    "points and a box, release": $n + 2 + 5,  # with a box there is no padding point
    "a box, document": 2 + 4,
    "a box, release": 2 + 5,
    "a mask, document": 4,
    "a mask, release": 5,  # a mask is dense: it brings no token
    # </answer>
    # <answer: "points and a box, document": ..., "points and a box, release": ...,>
    # </answer>
    # <answer: "a box, document": ..., "a box, release": ...,>
    # </answer>
    # <answer: "a mask, document": ..., "a mask, release": ...,>
    # </answer>
}

predict_the_tokens.check(my_tokens)
""", n=n),
        expected=partial(_tokens, n),
        mistakes=[
            Mistake("no padding point", "Points that come without a box get one more point in the release, which "
                    "stands for “no point here”.", lambda: {"points, release": n + 5}),
            Mistake("a padding point beside a box", "The padding point is appended only when there is no box.",
                    lambda: {"points and a box, release": n + 8}),
            Mistake("three masks in the release", "The release has a fourth mask token, for a single answer: five "
                    "output tokens.",
                    lambda: {f"{what}, release": number - 1 for what, number in release.items() if what != "points"}),
            Mistake("four masks in the document", "The document has three mask tokens and the IoU token: four.",
                    lambda: {"points, document": n + 5, "points and a box, document": n + 7, "a box, document": 7}),
            Mistake("one token for a box", "A box is two tokens, one for each corner.",
                    lambda: {"points and a box, document": n + 5, "points and a box, release": n + 6,
                             "a box, document": 5, "a box, release": 6}),
            Mistake("a token for the mask", "A mask is dense: it is added to the image and brings no token.",
                    lambda: {"a mask, document": 5, "a mask, release": 6}),
        ],
        hints=[
            "Start with the output tokens: three masks and one IoU in the document, four masks and one IoU in the "
            "release.",
            "When does the release append a padding point?",
        ],
        explanation="""
The lengths differ by the fourth mask token, and by the padding point where points come without a box.
""",
    )  # fmt: skip


predict_the_tokens = by_seed(_predict_the_tokens, lambda generator: {"n": generator.randint(1, 9)})


def _windows(side: int, window: int) -> dict[str, int]:
    """A released block on a grid, on the meta device."""
    with torch.device("meta"), recorded() as seen:
        WindowBlock(8, 1, window).attend(torch.zeros(1, side * side, 8))
    count, inside, _ = seen["windows"][0].shape
    return {
        "side of the padded grid": math.isqrt(count * inside), "windows": count,
        "tokens in all windows": count * inside, "of these padding": count * inside - side**2,
        "scores of one head, all windows": count * inside**2, "scores of one head, whole grid": side**4,
    }  # fmt: skip


def _count_the_windows(side: int = 64, window: int = 14) -> Exercise:
    """The exercise for a grid of ``side`` patches and windows of ``window``."""
    across = -(-side // window)
    fewer = side // window
    padded = across * window
    return Exercise(
        name="count_the_windows",
        title="Windows and padding",
        difficulty=2,
        minutes=8,
        question=fill("""
A grid of $side×$side patches is cut into windows of $window×$window, padded at the right and the bottom until they fit.
How large is everything, for one photo? A score is one product of a query with a key; padded places have both.
""", side=side, window=window),
        code=fill("""
my_numbers = {
    # <answer: "side of the padded grid": ..., "windows": ...,>
    "side of the padded grid": math.ceil($side / $window) * $window,
    "windows": math.ceil($side / $window) ** 2,
    "tokens in all windows": (math.ceil($side / $window) * $window) ** 2,
    "of these padding": (math.ceil($side / $window) * $window) ** 2 - $side**2,
    "scores of one head, all windows": math.ceil($side / $window) ** 2 * ($window**2) ** 2,
    "scores of one head, whole grid": ($side**2) ** 2,
    # </answer>
    # <answer: "tokens in all windows": ..., "of these padding": ...,>
    # </answer>
    # <answer: "scores of one head, all windows": ..., "scores of one head, whole grid": ...,>
    # </answer>
}

count_the_windows.check(my_numbers)
""", side=side, window=window),
        expected=partial(_windows, side, window),
        mistakes=[
            Mistake("the rest cut off", "No patch may be lost: the grid is padded up to whole windows, not cut down.",
                    lambda: {"side of the padded grid": fewer * window, "windows": fewer**2,
                             "tokens in all windows": (fewer * window) ** 2,
                             "scores of one head, all windows": fewer**2 * window**4}),
            Mistake("padding on both sides", "The zeros stand at the right and the bottom only.",
                    lambda: {"side of the padded grid": side + 2 * (padded - side)}),
            Mistake("one window's scores", "Every window has its own scores: times the number of windows.",
                    lambda: {"scores of one head, all windows": window**4}),
            Mistake("windows see each other", "A patch looks only at its own window, so the scores are not the square "
                    "of all tokens.", lambda: {"scores of one head, all windows": padded**4}),
            Mistake("padding left out of the scores", "Padded places are not masked: they have queries and keys.",
                    lambda: {"scores of one head, all windows": side**2 * window**2}),
            Mistake("one row of windows", "Windows stand in rows and in columns: the square.",
                    lambda: {"windows": across}),
            Mistake("padding along one side", "The padding is a strip at the right and a strip at the bottom.",
                    lambda: {"of these padding": side * (padded - side)}),
            Mistake("a score for each patch", "A score belongs to a pair of patches: the square of their number.",
                    lambda: {"scores of one head, whole grid": side**2}),
        ],
        hints=[
            "How many windows stand side by side? Round up.",
            "A window of w×w has w² tokens and (w²)² scores.",
        ],
        explanation="""
With windows the scores grow in proportion to the number of patches; over the whole grid, with its square.
""",
    )  # fmt: skip


count_the_windows = by_seed(
    _count_the_windows,
    lambda generator: {"side": generator.choice((24, 32, 48, 64, 80)), "window": generator.randint(5, 15)},
)


def _multiplications(channels: int, grid: int) -> dict[str, int]:
    """Counted while the parts run on the meta device; two FLOP are one multiplication and its addition."""

    def counted(part: torch.nn.Module, masks: int) -> tuple[int, int, int]:
        each = []
        with torch.device("meta"):
            image = torch.zeros(1, channels, grid, grid)
            for double in (part.double_1, part.double_2):
                with FlopCounterMode(display=False) as counter:
                    image = double(image)
                each.append(counter.get_total_flops() // 2)
        return each[0], each[1], masks * image[0].numel()

    with torch.device("meta"):
        parts = {"document": (Upscaling(channels), 3), "release": (ReleasedUpscaling(channels), 4)}
    names = ("first doubling", "second doubling", "dot products")
    return {
        f"{name}, {of}": number
        for of, (part, masks) in parts.items()
        for name, number in zip(names, counted(part, masks), strict=True)
    }


def _price_the_upscaling(channels: int = 256, grid: int = 64) -> Exercise:
    """The exercise for a decoder of ``channels`` on a grid of ``grid`` places."""
    right = _multiplications(channels, grid)
    return Exercise(
        name="price_the_upscaling",
        title="The price of thin maps",
        difficulty=3,
        minutes=15,
        question=fill("""
The document doubles a map of $channels channels twice and keeps the channels; the release goes $channels → $quarter →
$eighth. How many multiplications is each step, for one click on a grid of $grid×$grid? A doubling is a 2×2 transposed
convolution with stride 2: every place makes four, each by a linear map of its own. The document has 3 masks, the
release computes all 4 of its own. Biases, norms and GELUs do not count.
""", channels=channels, quarter=channels // 4, eighth=channels // 8, grid=grid),
        code=fill("""
C, G = $channels, $grid
multiplications = {
    # <answer: "first doubling, document": ..., "first doubling, release": ...,>
    "first doubling, document": G * G * 4 * C * C,
    "second doubling, document": (2 * G) ** 2 * 4 * C * C,
    "dot products, document": 3 * (4 * G) ** 2 * C,
    "first doubling, release": G * G * 4 * C * (C // 4),
    "second doubling, release": (2 * G) ** 2 * 4 * (C // 4) * (C // 8),
    "dot products, release": 4 * (4 * G) ** 2 * (C // 8),
    # </answer>
    # <answer: "second doubling, document": ..., "second doubling, release": ...,>
    # </answer>
    # <answer: "dot products, document": ..., "dot products, release": ...,>
    # </answer>
}

price_the_upscaling.check(multiplications)
""", channels=channels, grid=grid),
        expected=lambda: _multiplications(channels, grid),
        mistakes=[
            Mistake("additions counted too", "Multiplications are asked: half of the FLOP.",
                    lambda: {name: 2 * number for name, number in right.items()}),
            Mistake("one child of four", "Every place makes four places, each by its own linear map.",
                    lambda: {name: number // 4 for name, number in right.items() if "first" in name}),
            Mistake("the second doubling on the small grid", "The second doubling starts from a map that has four "
                    "times as many places.",
                    lambda: {name: number // 4 for name, number in right.items() if "second" in name}),
            Mistake("all channels in the release", "The release thins the channels with every doubling.",
                    lambda: {f"{name}, release": right[f"{name}, document"]
                             for name in ("first doubling", "second doubling")}),
            Mistake("three masks in the release", "The release computes all four masks and then chooses.",
                    lambda: {"dot products, release": right["dot products, release"] * 3 // 4}),
            Mistake("long mask vectors in the release", "A mask vector of the release has an eighth of the channels.",
                    lambda: {"dot products, release": right["dot products, release"] * 8}),
            Mistake("dot products on the first map", "The dot product is taken at every place of the map that has been "
                    "doubled twice.",
                    lambda: {name: number // 16 for name, number in right.items() if "dot" in name}),
        ],
        hints=[
            "One linear map from a to b channels is a·b multiplications. How often is it applied?",
            "The first doubling starts at G² places, the second at (2G)².",
        ],
        explanation="""
The two doublings of the document are most of its click. Thinner maps are the largest saving of the release's decoder.
""",
    )  # fmt: skip


price_the_upscaling = by_seed(
    _price_the_upscaling,
    lambda generator: {"channels": generator.choice((64, 96, 128, 192)), "grid": generator.choice((16, 24, 32, 48))},
)
