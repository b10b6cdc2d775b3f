"""How a time is measured here: alternatives in turn in one process, processor seconds beside those of the clock.

Processor seconds add up the time of all threads and hardly grow when other programs are busy on the machine; the
clock's do. The alternatives take turns, so that a busy minute meets all of them. Each is called once beforehand; that
call is measured for its memory, and for its time only when it takes so long that nothing of it is warming up.
"""

import ctypes
import gc
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

SLOW = 5.0  # processor seconds of a call that needs no warming up
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Cost(NamedTuple):
    """Medians over the rounds, and the memory that one call needs beyond what the process held before."""

    cpu_seconds: float
    seconds: float
    megabytes: float | None  # None where the system does not say
    rounds: int


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = 3,
    check: Callable[[dict[str, object]], object] | None = None,
) -> dict[str, Cost]:
    """Name → cost of each call; one round runs every one of them once.

    ``check`` sees what the first calls returned, before the rounds.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}: at least one is needed")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    megabytes, answers = {}, {}
    for name, call in calls.items():
        first, megabytes[name], answer = _with_memory(call)
        if check is not None:
            answers[name] = answer
        if first[0] > SLOW:
            times[name].append(first)
    if check is not None:
        check(answers)
        answers.clear()
    for number in range(rounds):
        for name, call in calls.items():
            if len(times[name]) <= number:
                times[name].append(_timed(call))
    return {
        name: Cost(*(statistics.median(column) for column in zip(*row, strict=True)), megabytes[name], len(row))
        for name, row in times.items()
    }


def wait_for(device: torch.device | str) -> None:
    """Until a GPU has done all that it was given: a clock that is read before then times the giving alone."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def machine() -> dict[str, Any]:
    """What a figure means nothing without: processor, threads, allocator, versions, load and date."""
    settings = {name: value for name, value in os.environ.items() if name.startswith(("MALLOC_", "LD_PRELOAD"))}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "allocator": ", ".join(f"{name}={value}" for name, value in sorted(settings.items())) or "the system's own",
        "dtype": "float32",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "transformers", "segment_anything")},
    }


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def megabytes_of(call: Callable[[], object]) -> float | None:
    """The most that the process held during one call beyond what it held before, in MiB, where the system says it."""
    return _with_memory(call)[1]


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def _with_memory(call: Callable[[], object]) -> tuple[tuple[float, float], float | None, object]:
    answers: list[object] = []
    before = _forget_peak()
    times = _timed(lambda: answers.append(call()))
    return times, None if before is None else round(max(0, _status("VmHWM") - before) / 1024, 1), answers[0]


def _forget_peak() -> int | None:
    """Give freed memory back, let the system count its peak anew; returns the kilobytes held now, or None."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text("5")
        return _status("VmRSS")
    except (OSError, AttributeError, TypeError):
        return None


def _status(field: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
