"""What chapters measure again and again: tensors without contents, operations, milliseconds, relative differences."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Shaped[Tensor, "*shape"]:
    """A tensor of this shape on the meta device: it has a shape and no contents."""
    return torch.zeros(*shape, dtype=dtype, device="meta")


def counted(run: Callable[[], object]) -> int:
    """The FLOP of what ``run()`` computes, without gradients."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def milliseconds(action: Callable[[], object], times: int = 7) -> float:
    """Median time of an action."""
    taken = []
    for _ in range(times):
        start = perf_counter()
        action()
        taken.append(1000 * (perf_counter() - start))
    return median(taken)


def relative(a: Float[Tensor, "*any"], b: Float[Tensor, "*any"]) -> float:
    """How large the difference is, measured by b."""
    return ((a - b).norm() / b.norm()).item()
