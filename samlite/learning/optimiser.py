"""Muon for the matrices of the transformer blocks, AdamW for the rest.

Muon (Jordan et al., 2024) follows the nearest orthogonal matrix to the averaged gradient, so that all directions of a
matrix learn at the same pace. torch ships one since 2.9 in bfloat16; this one is float32 and runs on older versions
and on processors without bfloat16.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from samlite.learning.shares import WHOLE, Share


def orthogonalise(matrix: Float[Tensor, "*batch rows columns"], steps: int = 5) -> Float[Tensor, "*batch rows columns"]:
    """Push all singular values of a batch of matrices (…, rows, columns) near 1, by a Newton–Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315  # the quintic of Jordan et al.
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum → orthogonalise → step, scaled to the size of AdamW's steps (0.2·√longest side; Liu et al., 2025)."""

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            same_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    same_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in same_shape.items():
                directions = []
                for parameter in parameters:
                    average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                    average.lerp_(parameter.grad, 1 - group["momentum"])
                    directions.append(parameter.grad.lerp(average, group["momentum"]))  # Nesterov
                steps = orthogonalise(torch.stack(directions)) * 0.2 * max(shape) ** 0.5
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=group["lr"])


def build_optimisers(
    model: nn.Module, muon_lr: float = 3e-3, adam_lr: float = 1.5e-3, weight_decay: float = 0.05
) -> tuple[Muon, torch.optim.AdamW]:
    """Muon for every weight matrix inside a transformer block of a model (its "blocks"); AdamW for all others."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        (matrices if "blocks." in name and parameter.ndim == 2 else rest).append(parameter)
    adam = torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    return Muon(matrices, lr=muon_lr, weight_decay=weight_decay), adam


class NotFiniteError(RuntimeError, ValueError):
    """A loss or a gradient that is no number, or infinite. A ValueError, too, so that a command says it in words."""


def clipped_step(
    parameters: Iterable[nn.Parameter],
    optimisers: Sequence[torch.optim.Optimizer],
    loss: Float[Tensor, ""],
    step: int,
    advice: str = "what was saved before is as it was; another seed may do",
    share: Share = WHOLE,
) -> None:
    """One step of all ``optimisers`` after ``loss.backward()``, the norm of the gradient of ``parameters`` cut to 1.

    The gradient is then forgotten. Raises NotFiniteError with ``step`` and ``advice``, in all processes of ``share``
    alike, when loss or gradient is no finite number: before any weight has changed.
    """
    norm = nn.utils.clip_grad_norm_(parameters, 1.0)
    finite = bool(torch.isfinite(loss.detach()) & torch.isfinite(norm))
    if share.any(not finite):
        raise NotFiniteError(
            f"the loss is {float(loss.detach())}, the norm of its gradient {float(norm)} at step {step}: {advice}"
        )
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def full_rates(optimisers: Sequence[torch.optim.Optimizer]) -> list[float]:
    """The learning rates that they were built with."""
    return [optimiser.param_groups[0]["lr"] for optimiser in optimisers]


def set_rates(optimisers: Sequence[torch.optim.Optimizer], full: Sequence[float], share: float | int) -> None:
    """Each optimiser gets this ``share`` of its ``full`` learning rate."""
    for optimiser, rate in zip(optimisers, full, strict=True):
        optimiser.param_groups[0]["lr"] = rate * share


@torch.no_grad()
def move_average(average: dict[str, Tensor], model: nn.Module, decay: float | int, step: int) -> None:
    """The exponential moving average of a model's state, one step on; in the first steps it forgets faster."""
    decay = min(decay, (1 + step) / (10 + step))
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - decay)
