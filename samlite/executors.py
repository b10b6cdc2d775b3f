"""Who does the work: any ``concurrent.futures.Executor``. Processes of this machine, a Dask or a Ray cluster.

Each of the three is a context manager that gives an executor. A worker is one process with one model.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from samlite.environment import pip_install


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def local_executor(workers: int, threads: int = 1) -> Iterator[Executor]:
    """``workers`` new processes of this machine. They are started fresh (spawned), for a fork of a process that has
    used torch's threads may hang; and they end with this process, however it ends.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker, initargs=(threads,)) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare_worker(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded, which is later
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker at once and without a page of traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever: the pool's queue stays open."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def dask_executor(address: str | None = None, workers: int = 1, threads: int = 1) -> Iterator[Executor]:
    """A Dask cluster: the one whose scheduler listens at ``address``, or one of this machine that lives as long as
    the ``with`` block. A worker that dies is replaced by Dask, and its shard goes to another one; the
    fourth death over one shard ends the run.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ValueError(f"Dask is not installed ({error}): {pip_install('distributed')}") from error
    if address is not None:
        with Client(address) as client:
            yield client.get_executor()
        return
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None,
        env={"OMP_NUM_THREADS": str(threads)},
    ) as cluster, Client(cluster) as client:  # fmt: skip
        yield client.get_executor()


@contextmanager
def ray_executor(
    address: str | None = None, workers: int = 1, threads: int = 1, gpus: float | int = 0
) -> Iterator[Executor]:
    """A Ray cluster: the one at ``address`` ("auto": the one that this machine is part of), or one of this machine.

    Each shard asks for ``threads`` CPUs and ``gpus`` GPUs, by which Ray decides how many run at once.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"Ray is not installed ({error}): {pip_install('ray')}") from error
    started_here = not ray.is_initialized()
    if started_here:
        here = {} if address else {"num_cpus": workers * threads, "include_dashboard": False}
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error", **here)
        except Exception as error:  # a plain Exception when a node does not come up in time
            ray.shutdown()
            raise OSError(f"Ray did not start, or could not be reached ({error})") from error
    try:
        yield RayExecutor(num_cpus=threads, num_gpus=gpus)
    finally:
        if started_here:
            ray.shutdown()


class RayExecutor(Executor):
    """Ray's tasks behind the interface of ``concurrent.futures``. ``options``: what Ray must set aside for each task.

    Ray keeps its worker processes from task to task, so what a task builds in its process is there for the next one.
    """

    def __init__(self, **options: Any) -> None:
        import ray

        self._task = ray.remote(**options)(_call)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        return self._task.remote(function, arguments, named).future()


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return function(*arguments, **named)
