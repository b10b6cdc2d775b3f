"""What is to be counted in chapter 14: operations, memory of the scores, share of the peak."""

from __future__ import annotations

import random
from typing import Any

from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.variants import by_seed, fill


def _block(places: int, width: int) -> dict[str, int]:
    return {
        "queries, keys, values, output": 2 * places * 4 * width**2,
        "scores and weighted sum": 2 * 2 * places**2 * width,
        "MLP": 2 * places * 8 * width**2,
    }


def _count_a_block(places: int = 2304, width: int = 768) -> Exercise:
    right = _block(places, width)
    first, second, third = right

    def times(a: float = 1, b: float = 1, c: float = 1) -> dict[str, int]:
        return {first: int(a * right[first]), second: int(b * right[second]), third: int(c * right[third])}

    return Exercise(
        name="count_a_block",
        title="The operations of one block",
        difficulty=2,
        minutes=8,
        question=fill(
            """
One global block of a transformer has $places tokens of width $width; inside its MLP the width is four times as large.
How many operations do its products take? A multiply-add counts as two; leave out biases, norms, softmax and GELU.
""",
            places=places,
            width=width,
        ),
        code=f"""
my_block = {{
    # <answer: {first!r}: ..., {second!r}: ..., {third!r}: ...,>
    {first!r}: 2 * {places} * 4 * {width}**2,
    {second!r}: 2 * 2 * {places}**2 * {width},
    {third!r}: 2 * {places} * 8 * {width}**2,
    # </answer>
}}

count_a_block.check(my_block)
""",
        expected=lambda: right,
        mistakes=[
            Mistake("three projections", "Queries, keys and values, and the projection of the output: four.",
                    lambda: times(a=0.75)),
            Mistake("one product of attention", "Queries times keys, and then weights times values: two products.",
                    lambda: times(b=0.5)),
            Mistake("one layer of the MLP", "Out to four times the width and back: two layers.", lambda: times(c=0.5)),
            Mistake("MLP without its width", "Its inner layer is four times as wide.", lambda: times(c=0.25)),
            Mistake("attention linear in the tokens", "Every token looks at every token: their number counts squared.",
                    lambda: right | {second: right[second] // places}),
            Mistake("multiply-adds counted once", "A multiply-add is two operations: a product and a sum.",
                    lambda: times(0.5, 0.5, 0.5)),
        ],
        hints=["A linear layer from a to b on L tokens takes 2 · L · a · b operations.",
               "The scores are (L, L), each a dot product over the width, all heads together."],
        explanation="""
Two of the three grow with the tokens, one with their square. At 4096 tokens of width 1280 the square
is larger than the projections; at twice the photo's side it would be four times as large against them.
""",
    )  # fmt: skip


def _scores(heads: int, places: int, size: int) -> float:
    return heads * places**2 * size / 2**20


def _measure_the_scores(heads: int = 12, grid: int = 96, size: int = 2) -> Exercise:
    places = grid**2
    numbers = {4: "float32", 2: "bfloat16"}[size]
    return Exercise(
        name="measure_the_scores",
        title="The scores of one layer",
        difficulty=1,
        minutes=4,
        question=fill(
            """
The plain way of attention stores the scores of every pair of tokens, for every head. A photo is a grid of $grid × $grid
patches, there are $heads heads, and a number is a $numbers. How many MiB (2²⁰ bytes) do the scores of one layer take?
""",
            grid=grid, heads=heads, numbers=numbers,
        ),
        code=f"""
# <answer: my_mebibytes = ...>
my_mebibytes = {heads} * ({grid} * {grid}) ** 2 * {size} / 2**20
# </answer>

measure_the_scores.check(my_mebibytes)
""",
        expected=lambda: _scores(heads, places, size),
        mistakes=[
            Mistake("heads forgotten", "Every head has scores of its own.", lambda: _scores(1, places, size)),
            Mistake("not squared", "Every token looks at every token: a grid of G × G has G² tokens, so G⁴ pairs.",
                    lambda: _scores(heads, grid, size)),
            Mistake("numbers, not bytes", "A number takes more than one byte.", lambda: _scores(heads, places, 1)),
            Mistake("the other number format", "float32 has 4 bytes, bfloat16 has 2.",
                    lambda: _scores(heads, places, 6 - size)),
            Mistake("millions of bytes", "MiB are 2²⁰ bytes.", lambda: heads * places**2 * size / 1e6),
            Mistake("GiB", "MiB are asked, 2²⁰ bytes.", lambda: _scores(heads, places, size) / 1024),
        ],
        hints=["Tokens first: the grid has G · G of them."],
        explanation="""
Twice the photo's side is sixteen times the bytes. The fused kernels of `scaled_dot_product_attention` never store the
scores: they walk over the keys in pieces and keep a running sum.
""",
    )  # fmt: skip


def _share(batch: int, operations: float, milliseconds: float, peak: float) -> float:
    return batch * operations / (milliseconds / 1000) / (peak * 1e12)


def _find_the_share(batch: int = 8, tera: float = 5.96, milliseconds: int = 120, peak: int = 800) -> Exercise:
    right = _share(batch, tera * 1e12, milliseconds, peak)
    return Exercise(
        name="find_the_share",
        title="How busy is the card?",
        difficulty=2,
        minutes=5,
        question=fill(
            """
An encoder takes $tera · 10¹² operations an image. On some card a batch of $batch images takes $milliseconds ms, and
the largest product of matrices that was measured on it runs at $peak · 10¹² operations a second. Which share of that
peak does the encoder reach (0…1)?
""",
            tera=tera, batch=batch, milliseconds=milliseconds, peak=peak,
        ),
        code=f"""
# <answer: my_share = ...>
my_share = {batch} * {tera}e12 / ({milliseconds} / 1000) / {peak}e12
# </answer>

find_the_share.check(my_share)
""",
        expected=lambda: right,
        mistakes=[
            Mistake("batch forgotten", "The time is that of the whole batch.", lambda: right / batch),
            Mistake("upside down", "Reached over possible: a share is at most 1.", lambda: 1 / right),
            Mistake("milliseconds taken for seconds", "1 ms is 0.001 s.", lambda: right / 1000),
            Mistake("percent", "A share is asked, 0…1.", lambda: 100 * right),
            Mistake("counted twice", "The operations count a multiply-add as two already.", lambda: 2 * right),
        ],
        hints=["Operations a second first, then divide by the peak."],
        explanation="""
The peak is one that was measured, not the one of the data sheet, which no product reaches. What is missing to 1 is time
in which the card moves bytes or waits: norms, softmax, small windows, starting kernels.
""",
    )  # fmt: skip


def _draw_block(generator: random.Random) -> dict[str, Any]:
    return {"places": generator.choice((256, 576, 1024, 2304)), "width": generator.choice((192, 384, 768, 1024))}


def _draw_scores(generator: random.Random) -> dict[str, Any]:
    return {
        "heads": generator.choice((6, 8, 12, 16)),
        "grid": generator.choice((32, 48, 96)),
        "size": generator.choice((2, 4)),
    }


def _draw_share(generator: random.Random) -> dict[str, Any]:
    while True:
        numbers = {
            "batch": generator.choice((2, 4, 8, 16)), "tera": generator.choice((0.97, 2.99, 5.96, 7.91)),
            "milliseconds": generator.randrange(90, 400, 10), "peak": generator.choice((200, 300, 600, 800)),
        }  # fmt: skip
        share = _share(numbers["batch"], numbers["tera"] * 1e12, numbers["milliseconds"], numbers["peak"])
        if share < 0.95:  # no card does more than its peak
            return numbers


count_a_block = by_seed(_count_a_block, _draw_block)
measure_the_scores = by_seed(_measure_the_scores, _draw_scores)
find_the_share = by_seed(_find_the_share, _draw_share)
