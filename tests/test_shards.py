"""Shards: whole or not there, whatever happens; the same bytes from any executor and after any number of kills."""

import functools
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sleepy_work import EXECUTORS, ITEMS, SleepyWork, make_all, some_items

from samlite.annotate import IN_FLIGHT
from samlite.executors import local_executor
from samlite.free_memory import peak_megabytes
from samlite.shards import MANIFEST, ShardError, ShardFolder, _as_json

TESTS = Path(__file__).parent


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_item_is_there_once_and_in_order(tmp_path):
    shards, summary = make_all(tmp_path)
    lines = list(shards.results())
    assert [line["item"] for line in lines] == ITEMS
    bad = [item for item in ITEMS if item.endswith("bad")]
    assert [line["item"] for line in lines if "error" in line] == bad
    assert summary.skipped == len(bad) and summary.photos == len(ITEMS) - len(bad)
    assert summary.masks == sum(len(line.get("annotations", ())) for line in lines)
    assert shards.count == summary.shards == 23 and len(shards.read(22)) == 2
    assert summary.named[0] == (bad[0], f"{bad[0]} is bad")
    assert f"{len(bad)} photos were skipped" in str(summary)


def test_a_second_run_touches_nothing(tmp_path):
    make_all(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("shard-*")}
    _, summary = make_all(tmp_path)
    assert summary.before == summary.shards and summary.photos == summary.masks == 0
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("shard-*")}
    assert "23 shards were there already" in str(summary)


def test_a_missing_shard_is_made_again_with_the_same_bytes(tmp_path):
    shards, _ = make_all(tmp_path)
    before = contents(tmp_path)
    for number in (0, 7, 22):
        shards.path(number).unlink()
    _, summary = make_all(tmp_path)
    assert summary.before == 20 and contents(tmp_path) == before


def test_a_shard_is_gzip_of_json_lines_that_end_with_a_report(tmp_path):
    shards, _ = make_all(tmp_path)
    *lines, last = map(json.loads, gzip.decompress(shards.path(1).read_bytes()).decode().splitlines())
    assert [line["item"] for line in lines] == ITEMS[4:8]
    masks = sum(len(line.get("annotations", ())) for line in lines)
    assert last["report"] == {
        "items": 4, "skipped": 1, "counts": {"annotations": masks}, "manifest_sha256": shards.digest
    }  # fmt: skip


@pytest.mark.parametrize(
    "change, message",
    [
        ({"work": SleepyWork(seed=1)}, "seed was 0 and is now 1"),
        ({"items": ITEMS[:-1]}, "items was 90 and is now 89; items_sha256 was"),
        ({"items": [*ITEMS[:-1], "other"]}, "items_sha256 was"),
        ({"size": 5}, "items_per_shard was 4 and is now 5"),
    ],
)
def test_other_settings_are_refused_where_shards_are(tmp_path, change, message):
    make_all(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"was begun with something else: {message}.*or another folder"):
        make_all(tmp_path, **change)
    assert contents(tmp_path) == before


def test_a_manifest_without_shards_protects_nothing(tmp_path):
    ShardFolder.begin(tmp_path, SleepyWork(seed=1), ITEMS, 4)
    shards, _ = make_all(tmp_path)
    assert shards.manifest["seed"] == 0 and len(list(ShardFolder.open(tmp_path).results())) == 90


def test_damage_is_named(tmp_path):
    shards, _ = make_all(tmp_path)
    whole = shards.path(3).read_bytes()
    for data in (whole[:-9], b"", whole[:20] + b"\xff" + whole[21:]):
        shards.path(3).write_bytes(data)
        with pytest.raises(ValueError, match="shard-000003.jsonl.gz is damaged.*delete it"):
            shards.read(3)
    shards.path(3).unlink()
    with pytest.raises(ValueError, match="is not there yet: run the same command again"):
        list(shards.results())
    other, _ = make_all(tmp_path / "other", work=SleepyWork(seed=1))
    shards.path(3).write_bytes(other.path(3).read_bytes())
    with pytest.raises(ValueError, match="does not belong to the manifest"):
        shards.read(3)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        ShardFolder.open(tmp_path)
    with pytest.raises(ValueError, match="holds no manifest.json"):
        ShardFolder.open(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="items_per_shard is 0"):
        ShardFolder.begin(tmp_path, SleepyWork(), ITEMS, 0)


def test_an_item_that_breaks_the_work_ends_the_run_and_keeps_what_is_done(tmp_path):
    items = [*ITEMS[:20], "broken", *ITEMS[20:]]
    with pytest.raises(ShardError, match="broken: MemoryError: no room"):
        make_all(tmp_path, items, executor=ThreadPoolExecutor(1))
    finished = ShardFolder.open(tmp_path).finished()
    assert finished >= set(range(5)) and 5 not in finished


def test_a_result_that_json_cannot_hold_names_its_item(tmp_path):
    class NoNumber(SleepyWork):
        def one(self, item):
            return {"score": float("nan")}

    shards = ShardFolder.begin(tmp_path, NoNumber(), ["a.jpg"], 4)
    with pytest.raises(ShardError, match="^a.jpg: ValueError: .*JSON"):
        shards.make(0, ["a.jpg"], NoNumber())
    assert not shards.finished()


def test_a_worker_that_dies_is_one_sentence(tmp_path):
    with pytest.raises(ShardError, match="a worker process died.*: try fewer workers"):
        make_all(tmp_path, ["a", "deadly"], size=1, executor=local_executor(1))


class KilledWorker(Exception):
    """Dask's, by name."""


class RayTaskError(Exception):
    """Ray's: what a task raised, in a wrapper whose text is a page long."""

    cause = ShardError("deadly: MemoryError: no room")


@pytest.mark.parametrize(
    "raised, says",
    [(KilledWorker("over and over"), "worker processes died.*: try fewer"), (RayTaskError("a\nb"), "^deadly: MemoryE")],
)
def test_errors_of_clusters_are_one_sentence(tmp_path, raised, says):
    class Cluster(ThreadPoolExecutor):
        def submit(self, *_):
            future = Future()
            future.set_exception(raised)
            return future

    with pytest.raises(ShardError, match=says):
        make_all(tmp_path, ["a", "deadly"], size=1, executor=Cluster(1))


def test_numbers_of_numpy_are_plain_and_nan_is_refused():
    assert _as_json({"b": np.float32(0.5), "a": np.array([1, 2])}) == '{"b":0.5,"a":[1,2]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        _as_json({"a": float("nan")})


# --------------------------------------------------------------------------------------------- executors of all kinds


@pytest.fixture
def available(request, monkeypatch):
    """The name of an executor, or a skip where its package is missing."""
    if request.param in ("dask", "ray"):
        package = {"dask": "distributed", "ray": "ray"}[request.param]
        pytest.importorskip(package, reason=f"pip install 'samlite[{request.param}]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "120000")  # Ray's own processes start slowly on a busy machine
    if request.param == "ray" and (reason := made_by("ray").refused):
        busy = "timed out" in reason.lower()  # anything else is a mistake of ours
        pytest.skip(reason) if busy or os.environ.get("CI") != "true" else pytest.fail(reason)
    return request.param


class Made(NamedTuple):
    """What an executor made: files, the process of each model that was built, and why it did not start, if so."""

    files: dict[str, bytes]
    builders: list[str]
    refused: str | None = None


@functools.cache
def made_by(name):
    """Ray takes ten seconds to start, and gives up after half a minute, which a very busy machine may need."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder) / "out", Path(folder) / "log"
        log.mkdir()
        with ExitStack() as running:
            try:
                executor = running.enter_context(EXECUTORS[name]())
                assert executor.submit(abs, -1).result(60) == 1
            except OSError as error:
                return Made({}, [], str(error))
            make_all(out, work=SleepyWork(0.01, log=log), executor=nullcontext(executor))
        return Made(contents(out), [path.name.split("-")[0] for path in log.iterdir()])


@pytest.mark.parametrize("available", EXECUTORS, indirect=True)
def test_each_executor_gives_the_same_and_builds_once_a_worker(available, tmp_path):
    make_all(tmp_path / "alone", executor=ThreadPoolExecutor(1))
    made = made_by(available)
    assert made.refused is None and made.files == contents(tmp_path / "alone")
    builders = made.builders
    assert len(builders) == len(set(builders)) and 1 <= len(builders) <= 3


RUNNER = """
import sys
from pathlib import Path
from sleepy_work import EXECUTORS, SleepyWork, make_all, some_items

if __name__ == "__main__":
    out, executor, seconds, count = sys.argv[1:]
    make_all(Path(out), some_items(int(count)), SleepyWork(float(seconds)), executor=EXECUTORS[executor]())
"""

# How often each is killed. SAMLITE_TEST_KILLS=20 does it that often to all of them: Dask and Ray take seconds to start.
KILLS = {"processes": 20, "dask": 2, "ray": 2}


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
@pytest.mark.parametrize("available", KILLS, indirect=True)
def test_killed_at_random_and_resumed_it_gives_exactly_the_undisturbed_output(available, tmp_path):
    """The whole process group is killed, some time after it has begun or after it has made its next shard."""
    kills = int(os.environ.get("SAMLITE_TEST_KILLS", KILLS[available]))
    items = 4 * 5 * (kills + 1)  # shards of four, and more of them than can be made between the kills
    make_all(tmp_path / "undisturbed", some_items(items))
    out, runner, generator = tmp_path / "out", tmp_path / "runner.py", random.Random(0)
    runner.write_text(RUNNER)
    command = [sys.executable, str(runner), str(out), available]

    def count():
        return len(list(out.glob("shard-*"))) if out.exists() else 0

    seen, unfinished = [], 0
    for _ in range(kills):
        with (tmp_path / "said").open("w") as said:
            process = subprocess.Popen(
                [*command, "0.05", str(items)], start_new_session=True, stdout=subprocess.DEVNULL, stderr=said
            )
        before, deadline = count(), time.monotonic() + (180 if generator.random() < 0.7 else generator.random())
        while count() == before and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        time.sleep(generator.random() * 0.25)
        if process.poll() is not None:
            reason = (tmp_path / "said").read_text(errors="replace")[-2000:]
            too_busy = available == "ray" and "timed out" in reason.lower()  # as above
            (pytest.skip if too_busy else pytest.fail)(f"it ended by itself, before it was killed: {reason}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen.append(count())
        unfinished += bool(list(out.glob(".*.unfinished")))
        if out.exists() and (out / MANIFEST).exists():
            shards = ShardFolder.open(out)
            for number in shards.finished():  # what is there is whole
                shards.read(number)
    print(f"{available}: {kills} kills, shards there after each: {seen}; half-written files seen {unfinished} times")
    assert seen == sorted(seen) and seen[-1] > 0
    subprocess.run(
        [*command, "0", str(items)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300
    )
    assert contents(out) == contents(tmp_path / "undisturbed")


# ------------------------------------------------------------------------------------------------------------- memory


def test_shards_are_handed_out_a_few_at_a_time_and_results_are_not_kept(tmp_path):
    """What grows with the number of items is the list of their names, and nothing else."""
    items = [f"item-{number}" for number in range(2 * IN_FLIGHT)]
    most = 0

    class Counting(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            nonlocal most
            self.out = {future for future in getattr(self, "out", ()) if not future.done()}
            future = super().submit(function, *arguments)
            self.out.add(future)
            most = max(most, len(self.out))
            return future

    _, summary = make_all(tmp_path, items, size=1, executor=Counting(1))
    assert summary.photos == len(items) and most <= IN_FLIGHT
    assert len(vars(summary)["named"]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own count is taken")
def test_a_workers_peak_is_its_own_and_not_its_parents():
    held = b"x" * 600_000_000  # the worker is started by a process that holds this
    with local_executor(1) as executor:
        assert executor.submit(peak_megabytes).result() < 400 < len(held) / 1e6


def test_the_recorded_memory_is_flat_from_10_to_1000_photos():
    recorded = json.loads((TESTS.parent / "book" / "results" / "annotate_memory.json").read_text(encoding="utf-8"))
    held = {row["photos"]: row["worker_megabytes"] for row in recorded["rows"]}
    assert {10, 100, 1000} <= set(held)
    assert held[1000] < 1.05 * held[100] and held[1000] < 1.25 * held[10]
