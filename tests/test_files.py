"""Whole files: under a name stands the old file or the new one, never a part, whenever the writer is killed."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import samlite
from samlite.files import whole_file

ROOT = Path(samlite.__file__).parent

WRITER = """
import os, signal, sys
from samlite.files import whole_file

path, moment = sys.argv[1:]


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


move = os.replace
if moment == "between write and move":
    os.replace = die
if moment == "after the move":
    os.replace = lambda *paths: (move(*paths), die())
with whole_file(path, alone="state" in path) as unfinished:
    with open(unfinished, "wb") as file:
        file.write(b"new")
        file.flush()
        if moment == "while writing":
            die()
        file.write(b" and whole")
"""


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.skipif(os.name != "posix", reason="kills a process without a warning")
@pytest.mark.parametrize("name", ["shard.gz", "state.pt"])  # of many writers, of one alone
@pytest.mark.parametrize(
    "moment, left, beside",
    [
        ("while writing", b"old", b"new"),
        ("between write and move", b"old", b"new and whole"),
        ("after the move", b"new and whole", None),
        ("never", b"new and whole", None),
    ],
)
def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path, name, moment, left, beside):
    path = tmp_path / name
    path.write_bytes(b"old")
    command = [sys.executable, "-c", WRITER, str(path)]
    done = subprocess.run([*command, moment], env={**os.environ, "PYTHONPATH": str(ROOT.parent)}, check=False)
    assert done.returncode == (0 if moment == "never" else -signal.SIGKILL)
    found = contents(tmp_path)
    assert found.pop(name) == left
    assert list(found.values()) == ([] if beside is None else [beside])
    assert all(re.fullmatch(rf"\.{re.escape(name)}(\..+)?\.unfinished", other) for other in found)

    with whole_file(path, alone="state" in name) as unfinished:  # the next run goes on
        unfinished.write_bytes(b"newest")
    found = contents(tmp_path)
    assert found.pop(name) == b"newest"
    assert len(found) == (0 if beside is None or "state" in name else 1)  # one who is alone takes the place of the rest


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full_disk(*_):
        raise OSError("disk full")

    if broken != "write":
        monkeypatch.setattr(os, broken, full_disk)
    with pytest.raises(OSError, match="disk full"), whole_file(path) as unfinished:
        unfinished.write_bytes(b"new")
        if broken == "write":
            full_disk()
    assert contents(tmp_path) == {"file": b"old"}


def test_two_writers_do_not_take_each_others_file(tmp_path, monkeypatch):
    with whole_file(tmp_path / "file") as first:
        monkeypatch.setattr(os, "getpid", lambda: 4711)
        with whole_file(tmp_path / "file") as second:
            assert first != second
            first.write_bytes(b"same")
            second.write_bytes(b"same")
        assert contents(tmp_path) == {"file": b"same", first.name: b"same"}
    assert contents(tmp_path) == {"file": b"same"}


def test_without_a_folder_there_is_no_file(tmp_path):
    with pytest.raises(OSError), whole_file(tmp_path / "nowhere" / "file") as unfinished:
        unfinished.write_bytes(b"new")
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_in_samlite_moves_a_file_into_place():
    """A second such helper would be a second place for the same mistake. The download goes on with a part of a file."""
    moves = re.compile(r"os\.(replace|rename)\(|\.rename\(|\.replace\((path|target)\b|shutil\.move\(")
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if moves.search(path.read_text("utf-8"))}
    assert found == {"files.py", "released/download.py"}
