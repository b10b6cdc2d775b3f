"""What a training needs that may be stopped at any moment and go on later: it stops between steps, and its log fits."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from samlite.files import whole_file


class StoppedBetweenSteps(KeyboardInterrupt):
    """Somebody wanted to stop; the step was finished, and everything is saved. A second wish is a KeyboardInterrupt."""


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Whether somebody wants to stop, to be asked between steps: what is saved then holds whole steps only.

        with asked_to_stop() as asked:
            while not asked():
                step()

    In the block the first signal that would raise KeyboardInterrupt (Ctrl-C; SIGTERM where its handler is
    ``signal.default_int_handler``) is remembered, and the second one raises it at once, wherever the step is. In a
    thread other than the main one, where Python lets nobody handle signals, the answer is always False.
    """
    here = threading.current_thread() is threading.main_thread()
    both = (signal.SIGINT, signal.SIGTERM) if here else ()
    taken = [number for number in both if signal.getsignal(number) is signal.default_int_handler]
    asked: list[int] = []

    def give_back() -> None:
        for number in taken:
            signal.signal(number, signal.default_int_handler)

    def remember(number: int, frame: object) -> None:
        asked.append(number)
        give_back()

    for number in taken:
        signal.signal(number, remember)
    try:
        yield lambda: bool(asked)
    finally:
        give_back()


def forget_after(log: Path, step: int) -> None:
    """Take the lines of later steps out of ``log`` (JSON lines with a "step"), and one that a kill cut short.

    A run that was killed goes on from a step before its last line: it makes those steps again, and logs them again.
    """
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    if kept != lines:
        with whole_file(log) as unfinished:
            unfinished.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
