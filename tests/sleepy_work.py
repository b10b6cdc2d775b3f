"""Work without a model, for tests of how shards are made: each item takes a while, and says who has worked on it.

Imports nothing that is slow to import, so that a process may be started, and killed, many times.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from samlite.annotate import run
from samlite.executors import dask_executor, local_executor, ray_executor
from samlite.shards import BadItem, ShardFolder


def some_items(count):
    """Names of items, some of which are bad."""
    return [f"item-{number:03d}{'-bad' * (number % 13 == 5)}" for number in range(count)]


ITEMS = some_items(90)

EXECUTORS = {
    "threads": lambda: ThreadPoolExecutor(3),
    "processes": lambda: local_executor(2),
    "dask": lambda: dask_executor(workers=2),
    "ray": lambda: ray_executor(workers=2),
}


@dataclass(frozen=True)
class SleepyWork:
    """Item "7" → masks 0…7 % 4. ``log``: a folder in which each process that builds leaves a file."""

    seconds: float = 0.0
    seed: int = 0
    log: Path | None = None

    @property
    def identity(self):
        return {"work": "sleepy", "seed": self.seed}

    def build(self):
        if self.log is not None:
            (self.log / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return self.one

    def one(self, item):
        time.sleep(self.seconds)
        if item.endswith("bad"):
            raise BadItem(f"{item} is bad")
        if item.endswith("broken"):
            raise MemoryError("no room")
        if item.endswith("deadly"):
            os._exit(1)
        return {"annotations": [{"id": f"{item}-{k}", "seed": self.seed} for k in range(len(item) % 4)]}


def make_all(folder, items=ITEMS, work=None, size=4, executor=None):
    work = work or SleepyWork()
    shards = ShardFolder.begin(folder, work, items, size)
    with executor or ThreadPoolExecutor(2) as workers:
        return shards, run(shards, items, work, workers)
