"""The shape ledger: every named tensor step of a model, as it happens.

    with samlite.shape_ledger(sam) as ledger:
        sam.encode_image(images)
    assert ledger["patches"].shape == (1, 4096, 768)

It works on any device; on ``meta`` the full ViT-H of the document runs in seconds and nothing but shapes is computed.
"""

from __future__ import annotations

import difflib
import sys
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from samlite import layers
from samlite.masked_autoencoder import MaskedAutoencoder
from samlite.notebook.steps import MAE_STEPS, RELEASED_STEPS, STEPS, Step
from samlite.notebook.table import Table


@dataclass(frozen=True)
class Entry:
    """One step of a forward: its name, the document's section, its shape in numbers and in letters ("B, L, D").

    ``ms`` are the milliseconds since the previous step (None on the meta device). ``module`` is the path of the
    module that made the tensor, for instance "image_encoder.blocks.3.attention". ``tensor`` is None unless the
    ledger was asked to keep this step. ``count`` and ``last_module`` are for rows of a table that fold several steps.
    """

    name: str
    section: str
    shape: tuple[int, ...]
    symbols: str
    dtype: torch.dtype
    ms: float | None
    module: str
    tensor: Tensor | None = field(default=None, repr=False, compare=False)
    count: int = 1
    last_module: str = ""


class ShapeLedger(Sequence[Entry]):
    """The steps in the order in which they happened; made by ``shape_ledger``.

    ``ledger["patches"]`` is the last step of that name, ``ledger.all("encoder_block")`` all of them, ``ledger[0]`` the
    first step of all. ``ledger.names`` are the names in order, each once; ``ledger.total_ms`` is the time of all
    steps together, None when nothing was timed. Displayed in a notebook it is a table.
    """

    def __init__(self, entries: Sequence[Entry] = (), steps: Mapping[str, Step] = STEPS) -> None:
        self.entries = list(entries)
        self.steps = steps

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __contains__(self, name: object) -> bool:
        return any(name in (entry, entry.name) for entry in self.entries)

    def __getitem__(self, key: str | int | slice) -> Any:
        return self.all(key)[-1] if isinstance(key, str) else self.entries[key]

    def all(self, name: str) -> list[Entry]:
        """Every step of that name in order. Raises KeyError, with the closest name, when there is none."""
        if found := [entry for entry in self.entries if entry.name == name]:
            return found
        happened = f"recorded here: {', '.join(self.names) or 'nothing yet'}"
        if name in self.steps:
            where = f" (document §{self.steps[name].section})" if self.steps[name].section else ""
            raise KeyError(f"the step {name!r}{where} did not happen; {happened}")
        close = difflib.get_close_matches(name, [*self.names, *self.steps], n=1)
        raise KeyError(f"no step is called {name!r}{f'; did you mean {close[0]!r}?' if close else ''}; {happened}")

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(entry.name for entry in self.entries))

    @property
    def total_ms(self) -> float | None:
        times = [entry.ms for entry in self.entries if entry.ms is not None]
        return sum(times) if times else None

    def folded(self, longest_cycle: int = 4) -> list[Entry]:
        """The steps with repeated blocks folded: one entry for each step of the block, times summed, ``count`` > 1."""
        kinds = [(entry.name, entry.shape, entry.dtype) for entry in self.entries]
        rows: list[Entry] = []
        start = 0
        while start < len(kinds):
            for cycle in range(1, longest_cycle + 1):
                block, end = kinds[start : start + cycle], start + cycle
                while len(block) == cycle and kinds[end : end + cycle] == block:
                    end += cycle
                if end > start + cycle:
                    break
            else:
                cycle, end = 1, start + 1
            for offset in range(start, start + cycle):
                same = self.entries[offset:end:cycle]
                times = [entry.ms for entry in same if entry.ms is not None]
                rows.append(
                    replace(same[0], ms=sum(times) if times else None, count=len(same), last_module=same[-1].module)
                )
            start = end
        return rows

    def table(self) -> Table:
        """The folded steps as a table."""
        rows = self.folded()
        timing = "" if self.total_ms is None else f", {self.total_ms:.1f} ms"
        cells = [
            (
                row.name + (f" ×{row.count}" if row.count > 1 else ""),
                f"§{row.section}" if row.section else "",
                " × ".join(map(str, row.shape)),
                row.symbols.replace("*", "·"),
                str(row.dtype).removeprefix("torch."),
                "" if row.ms is None else f"{row.ms:.2f}",
                _from_to(row.module, row.last_module) if row.count > 1 else row.module or "(the model)",
            )
            for row in rows
        ]
        return Table(
            ("step", "document", "shape", "letters", "dtype", "ms", "module"),
            cells,
            right=["ms"],
            caption=f"{len(self)} steps{timing}",
            notes=[self.steps[row.name].meaning if row.name in self.steps else "" for row in rows],
        )

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"<shape ledger: {self.table().caption}>"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _from_to(first: str, last: str) -> str:
    """image_encoder.blocks.0.mlp, image_encoder.blocks.31.mlp → image_encoder.blocks.0…31.mlp"""
    pairs = zip(first.split("."), last.split("."), strict=False)
    return ".".join(a if a == b else f"{a}…{b}" for a, b in pairs)


class _Recorder:
    """Writes one ledger: a listener of ``record``, with hooks that tell which module made a tensor.

    ``record`` is one function for all models, so the listener looks at who called it: a step is this model's when the
    nearest method of a module among the callers is a method of one of its modules. Hooks alone would not do, because
    ``Sam.normalise`` and its like are no module calls. Hooks refine the path: to the module that returned the tensor.
    """

    def __init__(self, model: nn.Module, keep: Collection[str], ledger: ShapeLedger) -> None:
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.keep = keep
        self.ledger = ledger
        self.clock = perf_counter()
        self.depth = 0  # of module calls: the outermost one starts the clock anew
        self.returned: tuple[weakref.ref[Tensor], str] | None = None

    def before(self, module: nn.Module, arguments: Any) -> None:
        if not self.depth:
            self.clock = perf_counter()
        self.depth += 1

    def after(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self.depth -= 1
        if isinstance(output, Tensor):
            self.returned = (weakref.ref(output), self.paths[id(module)])

    def listen(self, name: str, tensor: Tensor) -> None:
        if (path := self._path_of_caller()) is None:
            return  # another model's step
        if self.returned and self.returned[0]() is tensor:
            path = self.returned[1]
        if tensor.device.type == "cuda":
            torch.cuda.synchronize(tensor.device)
        elif tensor.device.type == "mps":
            torch.mps.synchronize()
        now = perf_counter()
        section, symbols, _ = self.ledger.steps.get(name, ("", "", ""))
        self.ledger.entries.append(
            Entry(
                name=name,
                section=section,
                shape=tuple(tensor.shape),
                symbols=symbols,
                dtype=tensor.dtype,
                ms=None if tensor.is_meta else (now - self.clock) * 1000,
                module=path,
                tensor=tensor.detach() if name in self.keep else None,
            )
        )
        self.clock = perf_counter()

    def _path_of_caller(self) -> str | None:
        frame = sys._getframe(1)
        while frame := frame.f_back:
            caller = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
            if isinstance(caller, nn.Module):
                return self.paths.get(id(caller))
        return None


def steps_of(model: nn.Module) -> Mapping[str, Step]:
    """The named steps of a model of this kind: the masked autoencoder's, the released SAM's, or the document's."""
    if isinstance(model, MaskedAutoencoder):
        return MAE_STEPS
    released = any(type(module).__module__.startswith("samlite.released") for module in model.modules())
    return RELEASED_STEPS if released else STEPS


@contextmanager
def shape_ledger(model: nn.Module, keep: Collection[str] = ()) -> Iterator[ShapeLedger]:
    """Write down every named tensor step of a model: name, document section, shape, dtype, milliseconds, module.

    Only this model's steps are written, whatever else runs; ledgers may be nested. The ledger stays readable after
    the ``with`` block, and nothing is left behind in the model, whether the block ends well or with an error.
    ``keep`` names steps whose tensors are kept too (``ledger["patches"].tensor``), which costs their memory.

    Raises TypeError when ``model`` is not a module, ValueError when ``keep`` holds an unknown name.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"shape_ledger listens to a model, {type(model).__name__} was given: build one first")
    keep = {keep} if isinstance(keep, str) else set(keep)
    steps = steps_of(model)
    if unknown := keep - set(steps):
        raise ValueError(f"keep names no step: {', '.join(sorted(unknown))}; samlite.notebook.steps has all names")
    recorder = _Recorder(model, keep, ledger := ShapeLedger(steps=steps))
    hooks = []
    try:
        for module in model.modules():
            hooks.append(module.register_forward_pre_hook(recorder.before))
            hooks.append(module.register_forward_hook(recorder.after, always_call=True))
        layers._listeners.append(recorder.listen)
        yield ledger
    finally:
        if recorder.listen in layers._listeners:
            layers._listeners.remove(recorder.listen)
        for hook in hooks:
            hook.remove()
