"""The parity ladder to look at: as a table, as a picture, and with one stage spoiled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from samlite.notebook.style import BLUE, FAINT, INK, VERMILION
from samlite.notebook.table import Table
from samlite.released.image_encoder import RelativeAttention, WindowBlock
from samlite.released.parity import Rung
from samlite.released.prompt_encoder import FourierEncoding
from samlite.sam import Sam

NOTHING = 1e-9  # where a difference of zero stands on the picture's axis


def rungs_of(table: dict[str, Any]) -> list[Rung]:
    """The rungs that ``python -m samlite parity --json`` wrote."""
    return [Rung(**{name: row[name] for name in Rung._fields}) for row in table["rungs"]]


def ladder_table(rungs: Sequence[Rung], caption: str = "") -> Table:
    """One row for each rung: against whom, which model, which stage, how far apart, how far is allowed."""
    columns = ["largest", "mean", "allowed"]
    rows = [
        (rung.stage, rung.model, rung.reference, f"{rung.largest:.1e}", f"{rung.mean:.1e}", f"{rung.tolerance:.0e}",
         rung.unit, "holds" if rung.holds else "BROKEN")
        for rung in rungs
    ]  # fmt: skip
    return Table(["stage", "model", "against", *columns, "unit", ""], rows, right=columns, caption=caption)


def ladder_picture(rungs: Sequence[Rung], title: str = "") -> Figure:
    """Rungs from the top: how far apart on a logarithmic axis, a bar at what is allowed, a cross where it breaks."""
    figure = Figure(figsize=(10, 0.31 * len(rungs) + 1.5), layout="constrained")
    axes = figure.subplots()
    for row, rung in enumerate(rungs):
        error = rung.largest if math.isfinite(rung.largest) else 1e3
        error = min(max(error, NOTHING), 1e3)
        colour = BLUE if rung.holds else VERMILION
        axes.plot([NOTHING / 3, error], [row, row], color=colour, linewidth=1.5)
        axes.plot(error, row, marker="o" if rung.holds else "X", color=colour, markersize=8 if rung.holds else 11)
        if rung.tolerance:
            axes.plot([rung.tolerance] * 2, [row - 0.4, row + 0.4], color=INK, linewidth=2)
    names = [rung.stage + ("" if rung.holds else "  ✗") for rung in rungs]
    axes.set_yticks(range(len(rungs)), names, fontsize=12)
    axes.set(xscale="log", xlim=(NOTHING / 3, 2e3), ylim=(len(rungs) - 0.4, -0.6), title=title)
    axes.set_xticks([NOTHING, 1e-7, 1e-5, 1e-3, 1e-1, 1e1], ["none", "1e-7", "1e-5", "1e-3", "0.1", "10"])
    axes.set_xlabel("largest difference; the upright bar is what is allowed")
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    return figure


def ladder_in_words(rungs: Sequence[Rung]) -> str:
    """What the picture shows, for those who cannot see it."""
    broken = [rung.stage for rung in rungs if not rung.holds]
    if not broken:
        return f"A ladder of {len(rungs)} stages; every difference is smaller than allowed."
    return f"A ladder of {len(rungs)} stages, {len(broken)} of them broken; the first broken one is {broken[0]}."


@contextmanager
def _patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """An attribute replaced by what ``make`` makes of it, and put back."""
    kept = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, make(getattr(owner, name)))
    try:
        yield
    finally:
        setattr(owner, name, kept)


def _masked_padding(right: Callable) -> Callable:
    def attend(self: WindowBlock, tokens: torch.Tensor) -> torch.Tensor:
        """Padded places without query, key and value, as if the bias did not reach them."""
        projection = self.attention.qkv_projection
        with _patched(projection, "bias", lambda bias: nn.Parameter(torch.zeros_like(bias))):
            return right(self, tokens)

    return attend


@dataclass(frozen=True)
class Spoil:
    """A slip that is easily made in writing the release anew: the stage it sits in, what it is, how to make it."""

    stage: str
    what: str
    made: Callable[[Sam], Any]  # a context manager


def _half_the_places(sam: Sam) -> Any:
    def without(right: Callable) -> Callable:
        return lambda self, places: right(self, places - 0.5 / sam.image_size)

    return _patched(FourierEncoding, "forward", without)


def _swapped(right: Callable) -> staticmethod:
    return staticmethod(lambda queries, rows, columns: right(queries, columns, rows))


SPOILS = {
    "rows and columns of the relative positions": Spoil(
        "encoder block 0 (window)", "the two tables change places; every shape stays right",
        lambda sam: _patched(RelativeAttention, "position_bias", _swapped)),
    "nothing in the padding of a window": Spoil(
        "encoder block 0 (window)", "queries, keys and values without their bias, so that padding is really empty",
        lambda sam: _patched(WindowBlock, "attend", _masked_padding)),
    "no half pixel": Spoil(
        "image positions", "a place is taken at the corner of its pixel in place of its centre", _half_the_places),
    "no padding point": Spoil(
        "sparse prompt tokens", "the point that is none gets a vector of zeros",
        lambda sam: _patched(sam.prompt_encoder, "not_a_point", lambda p: nn.Parameter(torch.zeros_like(p)))),
    "another eps in the decoder's norms": Spoil(
        "two-way block 0, tokens", "1e-3 in place of 1e-5 in one LayerNorm",
        lambda sam: _patched(sam.mask_decoder.blocks[0].mlp_norm, "eps", lambda _: 1e-3)),
    "no last look at the image": Spoil(
        "last token-to-image attention", "the last attention is left out; its norm stays",
        lambda sam: _patched(sam.mask_decoder.last_token_to_image, "output_projection", _Nothing)),
}  # fmt: skip


class _Nothing(nn.Module):
    """Zeros in place of what a projection would give."""

    def __init__(self, projection: nn.Linear) -> None:
        super().__init__()
        self.width = projection.out_features

    def forward(self, context: Float[Tensor, "*any inner"]) -> Float[Tensor, "*any out"]:
        return context.new_zeros(*context.shape[:-1], self.width)
