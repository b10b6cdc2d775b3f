"""A piece of the fast encoder, written by the reader: the distances as further channels of queries and keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samlite.notebook.exercises import Exercise, Mistake, Stage, Verdict, WrongAnswer
from samlite.released.grid_attention import concatenated_keys, concatenated_queries

ASKED = ("queries", "keys")


def _by_their_product(queries: Tensor, keys: Tensor, width: int) -> dict[str, Any]:
    """What is compared: the scores that follow, and the shape. The channels themselves have no order."""
    return {"scores": queries @ keys.mT / width**0.5, "shape": tuple(queries.shape)}


class QueriesAndKeys(Exercise):
    """An exercise whose answer is a dict of ``queries`` and ``keys``; the checker itself multiplies them."""

    def _compare(self, result: Any, arguments: Callable[[], Sequence[Any]], where: str) -> Verdict:
        given = [result.get(name) for name in ASKED] if isinstance(result, Mapping) else [result]
        if any(each is ... for each in given):
            return self._unanswered()
        if len(given) < 2 or not all(isinstance(each, Tensor | np.ndarray) for each in given):
            raise WrongAnswer(f"{self.title}{where}: a dict with two tensors, 'queries' and 'keys', is asked")
        queries, keys = (
            torch.as_tensor(each if isinstance(each, Tensor) else np.array(each)).double() for each in given
        )
        if queries.shape != keys.shape or queries.ndim < 2:
            shapes = f"queries are {tuple(queries.shape)}, keys {tuple(keys.shape)}"
            raise WrongAnswer(f"{self.title}{where}: {shapes}. Both have the same shape, (H, L, d + 2·G)")
        width = arguments()[0].shape[-1]
        return super()._compare(_by_their_product(queries, keys, width), arguments, where)


def _in_samlite(q: Tensor, k: Tensor, by_row: Tensor, by_column: Tensor) -> dict[str, Any]:
    queries = concatenated_queries(q[None], by_row[None], by_column[None])[0]
    keys = concatenated_keys(k[None], by_row.shape[-1])[0]
    return _by_their_product(queries, keys, q.shape[-1])


def _by_steps(
    q: Tensor, k: Tensor, by_row: Tensor, by_column: Tensor, *,
    of_query: float = 0.0, of_bias: float = 0.5, swapped: bool = False, upside_down: bool = False,
    columns: bool = True, added: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Queries and keys step by step, with switches for what easily goes wrong; powers of d for the scales."""
    width, side = q.shape[-1], by_row.shape[-1]
    one = torch.eye(side).flip(0) if upside_down else torch.eye(side)
    row, column = one.repeat_interleave(side, dim=0), one.repeat(side, 1)
    if swapped:
        row, column = column, row
    biases, places = [by_row, by_column], [row, column]
    if not columns:
        biases, places = biases[:1], places[:1]
    if added:
        biases, places = [by_row + by_column], [row + column]
    scale = width**of_bias
    queries = torch.cat([q * width**of_query, *(bias * scale for bias in biases)], dim=-1)
    keys = torch.cat([k, *(place.expand(*k.shape[:-1], -1) for place in places)], dim=-1)
    return {"queries": queries, "keys": keys} | _by_their_product(queries, keys, width)


def _random(heads: int, side: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(side)
    q, k = torch.randn(2, heads, side**2, width, generator=generator)
    by_row, by_column = torch.randn(2, heads, side**2, side, generator=generator)
    return q, k, by_row, by_column


write_the_bias_as_channels = QueriesAndKeys(
    name="write_the_bias_as_channels",
    title="The distances as channels",
    difficulty=4,
    minutes=20,
    question="""
Hide the bias of the distances in wider queries and keys. You get `q` and `k` `(H, L, d)` of a square grid, row by row
from the top, and `by_row` and `by_column` `(H, L, G)`, G the side of the grid: what a query adds to the score of a key
in each row, and in each column. Return a dict of `queries` and `keys`, both `(H, L, d + 2·G)`, such that
`queries · keysᵀ / √d` is

    q · kᵀ / √d + by_row[row of the key] + by_column[column of the key]

The order of the channels is yours. The checker multiplies them.
""",
    code="""
def my_channels(q, k, by_row, by_column):
    # <answer: queries, keys = ..., ...>
    width, side = q.shape[-1], by_row.shape[-1]
    one = torch.eye(side)
    row, column = one.repeat_interleave(side, dim=0), one.repeat(side, 1)  # (L, G): 1 at the key's own row, column
    place = torch.cat([row, column], dim=-1).expand(len(k), -1, -1)
    queries = torch.cat([q, width**0.5 * by_row, width**0.5 * by_column], dim=-1)
    keys = torch.cat([k, place], dim=-1)
    # </answer>
    return {"queries": queries, "keys": keys}


write_the_bias_as_channels.check(my_channels)
""",
    expected=_in_samlite,
    stages=[
        Stage("one head, a grid of 2", lambda: _random(1, 2, 4)),
        Stage("three heads, a grid of 5", lambda: _random(3, 5, 8)),
        Stage("heads of the ViT-H, a window", lambda: _random(2, 14, 80)),
    ],
    mistakes=[
        Mistake("√d missing", "The division by √d meets the new channels, too: multiply them by √d before.",
                partial(_by_steps, of_bias=0.0)),
        Mistake("divided by √d twice", "The new channels are to be multiplied by √d, not divided.",
                partial(_by_steps, of_bias=-0.5)),
        Mistake("q scaled, too", "q · k is divided by √d as ever: leave q as it is.",
                partial(_by_steps, of_query=0.5)),
        Mistake("rows and columns swapped", "Places run row by row: the row changes every G places, the column at "
                "every one.", partial(_by_steps, swapped=True)),
        Mistake("counted from the bottom", "Row 0 is the top one, column 0 the left one.",
                partial(_by_steps, upside_down=True)),
        Mistake("columns forgotten", "A key has a row and a column.", partial(_by_steps, columns=False)),
        Mistake("rows and columns in the same channels", "Then each meets the other's ones, too: they need channels of "
                "their own.", partial(_by_steps, added=True)),
    ],
    hints=[
        "A dot product with a vector that is 1 at one place and 0 elsewhere picks the number at that place.",
        "`torch.eye(G)` has such vectors as rows; `repeat_interleave` and `repeat` put them in the order of the keys.",
    ],
    explanation="""
Nothing is approximated, and the attention needs no mask. Its products are wider, so it multiplies more; whether that is
cheaper than writing the mask down is a question to the machine.
""",
)  # fmt: skip
