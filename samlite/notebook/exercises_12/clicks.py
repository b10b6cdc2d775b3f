"""How many clicks and candidates everything takes. (chapter 12)"""

from __future__ import annotations

import random

from samlite.notebook.exercises import Exercise, Mistake
from samlite.notebook.variants import by_seed, fill
from samlite.point_grids import crop_boxes, layer_point_grids


def _count(side: int, layers: int, downscale: int) -> dict[str, int]:
    _, of_layer = crop_boxes((1500, 2000), layers, 512 / 1500)
    grids = layer_point_grids(side, layers, downscale)
    clicks = sum(len(grids[layer]) for layer in of_layer)
    return {"photos encoded": len(of_layer), "clicks": clicks, "candidates": 3 * clicks}


def _count_with(
    side: int, layers: int, downscale: int, *, first: int = 0, per_side: bool = False, shrink: int | None = None,
    once: bool = False, masks: int = 3,
) -> dict[str, int]:  # fmt: skip
    """The counts by arithmetic, with switches for what easily goes wrong."""
    crops = [(2**layer if per_side else 4**layer) for layer in range(first, layers + 1)]
    points = [(side // (downscale if shrink is None else shrink) ** layer) ** 2 for layer in range(first, layers + 1)]
    clicks = sum(n if once else n * c for n, c in zip(points, crops, strict=True))
    return {"photos encoded": sum(crops), "clicks": clicks, "candidates": masks * clicks}


def _count_candidates(side: int = 32, layers: int = 1, downscale: int = 2) -> Exercise:
    photos = " + ".join(f"{4**layer}" for layer in range(layers + 1))
    clicks = " + ".join(f"{4**layer} * {side // downscale**layer} ** 2" for layer in range(layers + 1))
    answer = f'    "photos encoded": {photos},\n    "clicks": {clicks},\n    "candidates": 3 * ({clicks}),'
    mistakes = [
        Mistake("three masks forgotten", "Every click gives three candidates, before any filter.",
                lambda: _count_with(side, layers, downscale, masks=1)),
        Mistake("four masks", "There are four output tokens, but one of them is for the IoU: three masks a click.",
                lambda: _count_with(side, layers, downscale, masks=4)),
        Mistake("layer 0 forgotten", "The whole photo is layer 0. It is encoded and clicked, too.",
                lambda: _count_with(side, layers, downscale, first=1)),
        Mistake("crops counted along one side", "A layer has 2ⁱ crops along *each* side: 4ⁱ in all.",
                lambda: _count_with(side, layers, downscale, per_side=True)),
        Mistake("grid not thinned out", "From layer to layer the points per side are divided by the factor.",
                lambda: _count_with(side, layers, downscale, shrink=1)),
        Mistake("thinned out in the area only", "The factor divides the points along a side, so a grid has "
                "factor² times fewer points.", lambda: _thin_by_area(side, layers, downscale)),
        Mistake("one grid a layer", "Each crop is clicked with the whole grid of its layer.",
                lambda: _count_with(side, layers, downscale, once=True)),
    ]  # fmt: skip
    return Exercise(
        name="count_candidates",
        title="How much work is everything?",
        difficulty=1,
        minutes=6,
        question=fill(
            """
`SamAutomaticMaskGenerator(model, points_per_side=$side, crop_n_layers=$layers, crop_n_points_downscale_factor=$factor)`
gets one photo. How many times does the image encoder run, how many clicks are decoded, and how many candidate masks
does that give before any filter?
""",
            side=side,
            layers=layers,
            factor=downscale,
        ),
        code=(
            'work = {\n    # <answer: "photos encoded": ..., "clicks": ..., "candidates": ...,>\n'
            + answer
            + "\n    # </answer>\n}\n\ncount_candidates.check(work)\n"
        ),
        expected=lambda: _count(side, layers, downscale),
        mistakes=mistakes,
        hints=["Layer i has 2ⁱ crops along each side of the photo, layer 0 is the photo itself.",
               "A crop of layer i is clicked on a grid of points_per_side // factorⁱ along each side."],
        explanation="""
The encoder runs once a crop, the decoder once a click. Which of them costs more depends on the model: chapter 16 counts
both.
""",
    )  # fmt: skip


def _thin_by_area(side: int, layers: int, downscale: int) -> dict[str, int]:
    clicks = sum(4**layer * (side**2 // downscale**layer) for layer in range(layers + 1))
    return {"photos encoded": sum(4**layer for layer in range(layers + 1)), "clicks": clicks, "candidates": 3 * clicks}


def _draw_counts(generator: random.Random) -> dict[str, int]:
    return {
        "side": generator.choice((16, 24, 32, 40, 48, 64)),
        "layers": generator.choice((1, 2)),
        "downscale": generator.choice((2, 4)),
    }


count_candidates = by_seed(_count_candidates, _draw_counts)
