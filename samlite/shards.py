"""A long list of work → immutable shards, each of them either there and whole, or not there at all.

A shard holds the results of so many items of the list, in the list's order: a gzipped file of JSON lines,
``shard-000012.jsonl.gz``, one line an item, and a last line that reports. It is written beside its place, flushed to
the disk, and then moved there in one step, so that a process may be killed at any time: the next run looks at which
shards are there and makes the others. What decides the contents stands in ``manifest.json``; a folder that was begun
with something else is refused.

Nothing here knows what the work is: a ``Work`` says what makes its results unique, and builds a function from an item
to a result that JSON can hold. This module needs Python and nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from samlite.files import whole_file
from samlite.free_memory import peak_megabytes

FORMAT = 1  # of the shards and the manifest
MANIFEST = "manifest.json"
SHARD = re.compile(r"shard-(\d{6,})\.jsonl\.gz")


@runtime_checkable
class Work(Protocol):
    """What a shard's results are made by. It travels to other processes, so it is small and can be pickled."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides a result: what JSON can hold."""

    def build(self) -> Callable[[str], dict[str, Any]]:
        """The function from one item to its result; called once in each worker process, for building may be slow.

        The function raises `BadItem` for an item that is bad in itself, which is reported and skipped; every other
        error ends the run.
        """


class Report(NamedTuple):
    """What became of one shard."""

    number: int
    items: int
    skipped: tuple[tuple[str, str], ...]  # an item and what is wrong with it
    counts: dict[str, int]  # the length of each list in the results, summed
    peak_megabytes: float | None  # the most that the worker process has held so far


class BadItem(Exception):
    """This item cannot be worked on, whoever tries; the message says what is wrong with it."""


class ShardError(RuntimeError):
    """An item that should have worked has failed, and with it the run; the message names it."""


@dataclass(frozen=True, eq=False)
class ShardFolder:
    """The shards of one list of work. ``manifest`` decides what they hold, ``digest`` is its SHA-256."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def begin(cls, folder: Path, work: Work, items: Sequence[str], items_per_shard: int) -> ShardFolder:
        """The folder for this work on these items: new, or begun by an earlier run with exactly the same.

        Raises ValueError when it was begun with something else; the message names what differs.
        """
        if items_per_shard < 1:
            raise ValueError(f"items_per_shard is {items_per_shard}: a shard holds at least 1")
        manifest = {
            "format": FORMAT,
            "items": len(items),
            "items_sha256": hashlib.sha256("\0".join(items).encode("utf-8", "surrogateescape")).hexdigest(),
            "items_per_shard": items_per_shard,
            **work.identity,
        }
        manifest = json.loads(_as_json(manifest))  # as it will be read: tuples have become lists
        shards = cls(Path(folder), manifest)
        shards.folder.mkdir(parents=True, exist_ok=True)
        if (shards.folder / MANIFEST).exists() and shards.finished():  # without shards there is nothing to protect
            shards._check_same(cls.open(folder).manifest)
        else:
            with whole_file(shards.folder / MANIFEST) as unfinished:
                unfinished.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8", newline="\n")
        return shards

    @classmethod
    def open(cls, folder: Path) -> ShardFolder:
        """Shards that an earlier run has begun. Raises ValueError when there are none."""
        path = Path(folder) / MANIFEST
        try:
            return cls(Path(folder), json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ValueError(f"{str(folder)!r} holds no {MANIFEST}: it is no folder of shards") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is damaged ({error}): get it again, or use another folder") from error

    def _check_same(self, before: Mapping[str, Any]) -> None:
        flat_before, flat_now = dict(_flat(before)), dict(_flat(self.manifest))
        differing = sorted(
            name for name in flat_before | flat_now if flat_before.get(name, "–") != flat_now.get(name, "–")
        )
        if differing:
            shown = "; ".join(
                f"{name} was {_short(flat_before.get(name, '–'))} and is now {_short(flat_now.get(name, '–'))}"
                for name in differing[:4]
            )
            more = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
            raise ValueError(
                f"{str(self.folder)!r} was begun with something else: {shown}{more}. Shards of two kinds must not mix: "
                "use the same settings and items again, or another folder"
            )

    @property
    def digest(self) -> str:
        return hashlib.sha256(_as_json(self.manifest).encode()).hexdigest()

    @property
    def count(self) -> int:
        """How many shards there are when all is done."""
        return -(-self.manifest["items"] // self.manifest["items_per_shard"])

    def path(self, number: int) -> Path:
        return self.folder / f"shard-{number:06d}.jsonl.gz"

    def items_of(self, number: int, items: Sequence[str]) -> list[str]:
        """The items of one shard, out of the whole list."""
        size = self.manifest["items_per_shard"]
        return list(items[number * size : (number + 1) * size])

    def finished(self) -> set[int]:
        """The numbers of the shards that are there. One that is there is whole: it came in one step."""
        found = (SHARD.fullmatch(entry.name) for entry in os.scandir(self.folder))
        return {int(match[1]) for match in found if match}

    def make(self, number: int, items: Sequence[str], work: Work) -> Report:
        """Work on the items of one shard and put it in its place. This is what runs in a worker.

        Raises ShardError when an item fails for another reason than that it is bad; then no shard is written.
        """
        with _ONE_AT_A_TIME:  # a worker with threads has one model all the same
            function = _built(work)
            lines, skipped, counts = [], [], {}
            for item in items:
                try:
                    line = {"item": item, **function(item)}
                    lines.append(_as_json(line))
                except BadItem as error:
                    line = {"item": item, "error": str(error)}
                    lines.append(_as_json(line))
                    skipped.append((item, str(error)))
                except Exception as error:
                    raise ShardError(f"{item}: {type(error).__name__}: {error}") from error
                for name, value in line.items():
                    if isinstance(value, list):
                        counts[name] = counts.get(name, 0) + len(value)
        report = {"items": len(items), "skipped": len(skipped), "counts": counts, "manifest_sha256": self.digest}
        text = "\n".join([*lines, _as_json({"report": report})]) + "\n"
        # No time and no name in the gzip header: the same work gives the same bytes.
        with whole_file(self.path(number)) as unfinished:
            unfinished.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))
        return Report(number, len(items), tuple(skipped), counts, peak_megabytes())

    def read(self, number: int) -> list[dict[str, Any]]:
        """The lines of one shard, without its report. Raises ValueError when it is damaged or of another manifest."""
        path = self.path(number)
        advice = "delete it, and the command that made it makes it again"
        try:
            *lines, last = gzip.decompress(path.read_bytes()).decode().splitlines()
            results, report = [json.loads(line) for line in lines], json.loads(last)["report"]
        except FileNotFoundError:
            raise ValueError(f"{path} is not there yet: run the same command again, it goes on") from None
        except (OSError, EOFError, zlib.error, ValueError, KeyError) as error:
            raise ValueError(f"{path} is damaged ({error}): {advice}") from error
        if report["manifest_sha256"] != self.digest or report["items"] != len(results):
            raise ValueError(f"{path} does not belong to the manifest beside it: {advice}")
        return results

    def results(self) -> Iterator[dict[str, Any]]:
        """The result of every item, in the list's order, one shard in memory at a time."""
        for number in range(self.count):
            yield from self.read(number)

    def clean(self) -> None:
        """Remove what killed processes have left half-written. Only when all shards are there."""
        for path in self.folder.glob(".*.unfinished"):
            path.unlink(missing_ok=True)


_ONE_AT_A_TIME = threading.RLock()
_LAST_BUILT: list[tuple[Work, Callable[[str], dict[str, Any]]]] = []


def _built(work: Work) -> Callable[[str], dict[str, Any]]:
    """The function of this work, built once in each process; another work's makes room for it."""
    if not _LAST_BUILT or _LAST_BUILT[0][0] != work:
        _LAST_BUILT.clear()
        _LAST_BUILT.append((work, work.build()))
    return _LAST_BUILT[0][1]


def _as_json(value: Any) -> str:
    """One line, keys in the given order, NaN refused; NumPy's numbers and arrays become plain ones."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=lambda other: other.tolist())


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} → ("a.b", 1)"""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] + "…" if re.fullmatch(r"[0-9a-f]{64}", text) else text
