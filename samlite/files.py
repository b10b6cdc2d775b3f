"""A file in one step: written beside its place, flushed to the disk, then moved there, so that under its name stands a
whole file at any time, the old one or the new one, whenever the process is killed. Needs Python and nothing else.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike, alone: bool = False) -> Iterator[Path]:
    """The path to write to in place of ``path``, which it becomes when the ``with`` block ends without an error.

        with whole_file("state.pt") as unfinished:
            torch.save(state, unfinished)

    An error in the block, or a full disk, leaves the old file and nothing else. A process that is killed leaves the old
    file and, beside it, one whose name begins with a dot and ends in ``.unfinished``. That name tells processes and
    machines apart, for several may write the same file; where ``alone`` says that no other does, it does not, and the
    next run takes the place of what was left. The folder must be there.
    """
    path = Path(path)
    writer = "" if alone else f".{socket.gethostname()}.{os.getpid()}"
    unfinished = path.with_name(f".{path.name}{writer}.unfinished")
    try:
        yield unfinished
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    if os.name == "posix":  # the folder's entry must reach the disk, too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
