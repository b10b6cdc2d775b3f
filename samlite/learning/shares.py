"""Several processes, one training run: each works on its share of every batch, and all arrive at the same model.

``torchrun --nproc-per-node 2 -m samlite train tiny`` starts two. Three things make them one run: every process makes
the same batch and keeps its own rows; whatever is drawn for a row is drawn for the whole batch and cut in the same
way, so that a row meets the same chance in any number of processes; and torch's DistributedDataParallel averages the
gradients. Losses are means over rows and shares are equally large, so the mean of the shares' gradients is the
gradient of the whole.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Share:
    """Part ``rank`` (from 0) of ``of`` equal parts of every batch."""

    rank: int = 0
    of: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return self.rank == 0

    def cut(self, whole: Tensor) -> Tensor:
        """This share's rows. Raises ValueError when the rows cannot be shared evenly."""
        if len(whole) % self.of:
            raise ValueError(f"a batch of {len(whole)} cannot be shared evenly by {self.of} processes: change "
                             "--batches, or --batch with --steps")  # fmt: skip
        count = len(whole) // self.of
        return whole[self.rank * count : (self.rank + 1) * count]

    def draw(self, make: Callable[[int], Tensor], rows: int) -> Tensor:
        """Random numbers for this share's ``rows``: ``make`` draws them for as many rows as the whole batch has."""
        return self.cut(make(rows * self.of))

    def mean(self, figures: dict[str, float]) -> dict[str, float]:
        """The means over all processes."""
        if self.of == 1:
            return figures
        values = torch.tensor(list(figures.values()), dtype=torch.float64, device=_device_of_group())
        distributed.all_reduce(values)
        return dict(zip(figures, (values / self.of).tolist(), strict=True))

    def agree(self, answer: bool) -> bool:
        """What the first process answers, in all of them: a clock differs from process to process."""
        if self.of == 1:
            return answer
        flag = torch.tensor([float(answer)], device=_device_of_group())
        distributed.broadcast(flag, 0)
        return bool(flag)

    def any(self, answer: bool) -> bool:
        """Whether one process at least says so, told to all of them."""
        if self.of == 1:
            return answer
        flag = torch.tensor([float(answer)], device=_device_of_group())
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module; in one of several processes, one whose gradients are averaged with the others'."""
        if self.of == 1:
            return module
        # What a prompt does not need gets no gradient, in one process as in several: unused parameters are found
        return DistributedDataParallel(module, find_unused_parameters=True, broadcast_buffers=False)


WHOLE = Share()


def join(device: str) -> tuple[Share, str]:
    """The share of this process and its device, from what ``torchrun`` says in the environment; alone: all of it.

    Several processes on "cuda" get a GPU each.
    """
    of = int(os.environ.get("WORLD_SIZE", "1"))
    if of == 1:
        return WHOLE, device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Share(distributed.get_rank(), of), device


def leave() -> None:
    """End what `join` began; nothing where there was nothing."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _device_of_group() -> str:
    return f"cuda:{torch.cuda.current_device()}" if distributed.get_backend() == "nccl" else "cpu"
