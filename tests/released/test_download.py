"""The download of a checkpoint by name, from a server on this machine that behaves badly in every way there is."""

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from reference import SIZES, official_weights

from samlite import sam_model_registry
from samlite.command_line import main
from samlite.released import download
from samlite.released.download import DownloadError, cache_folder, fetch
from samlite.released.download import official_weights as weights_of
from samlite.released.official_files import CHECKPOINTS, Checkpoint

CONTENT = random.Random(1).randbytes(300_000)
FILE = CHECKPOINTS["vit_b"].file
ROOT = Path(__file__).parents[2]


class Server(ThreadingHTTPServer):
    """Serves ``content``; the other attributes say how badly."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}/{FILE}"
        self.content = CONTENT
        self.ranges = True  # whether Range is honoured
        self.cut = []  # after so many bytes each answer ends, one entry an answer, then no more
        self.stall = 0.0  # seconds that a cut answer stays open
        self.announced = None  # a Content-Length that is a lie; False: none at all
        self.status, self.kind = 200, "application/octet-stream"
        self.pause, self.step = 0.0, 1 << 16  # seconds before every `step` bytes
        self.starts = []  # where each answer began

    def handle_error(self, request, client_address):
        """Clients that go away are what these tests are about."""


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        body = server.content[start:]
        server.starts.append(start)
        if server.status == 200 and start >= len(server.content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start and server.status == 200 else server.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Type", server.kind)
        if server.announced is not False:
            self.send_header("Content-Length", str(server.announced or len(body)))
        self.end_headers()
        cut = server.cut.pop(0) if server.cut else None
        for first in range(0, len(body[:cut]), server.step):
            time.sleep(server.pause)
            self.wfile.write(body[:cut][first : first + server.step])
            self.wfile.flush()
        if cut is not None:
            time.sleep(server.stall)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """The server, and a table in which vit_b is its content."""
    monkeypatch.setattr(download, "PAUSES", (0.01, 0.01))
    server = Server()
    serve(server, monkeypatch, CONTENT)
    monkeypatch.setattr(Checkpoint, "address", property(lambda self: server.url))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def serve(server, monkeypatch, content, **changes):
    server.content = content
    changes |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    monkeypatch.setitem(CHECKPOINTS, "vit_b", CHECKPOINTS["vit_b"]._replace(**changes))


def assert_right(path, folder):
    assert path == folder / FILE and path.read_bytes() == CONTENT
    assert not (folder / f"{FILE}.part").exists()


def refused(folder, server):
    """The sentence; nothing has the final name, and it says what, where and what to do."""
    with pytest.raises(DownloadError) as caught:
        fetch("vit_b", folder)
    assert not (folder / FILE).exists()
    message = str(caught.value)
    for part in (FILE, server.url, str(folder), f"{len(CONTENT):,} bytes", f"by hand: fetch {server.url}"):
        assert part in message
    assert "\n" not in message
    return message


def test_once_and_then_no_more(server, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert_right(fetch("vit_b", folder), folder)
    assert_right(fetch("vit_b", folder), folder)
    assert server.starts == [0]


def test_from_another_address(server, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoint, "address", property(lambda self: "http://127.0.0.1:1/nobody"))
    assert_right(fetch("vit_b", tmp_path, server.url), tmp_path)
    with pytest.raises(DownloadError, match="does not begin with http"):
        fetch("vit_b", tmp_path, "ftp://127.0.0.1/file")


@pytest.mark.parametrize("stall", [0.0, 1.0])
def test_truncated_and_stalled_answers_are_resumed(server, tmp_path, monkeypatch, stall):
    if stall:
        monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    server.cut, server.stall = [100_000, 100_000], stall
    assert_right(fetch("vit_b", tmp_path), tmp_path)
    assert server.starts == [0, 100_000, 200_000]


def test_progress_earns_new_tries(server, tmp_path):
    server.cut = [20_000] * 14  # far more than there are pauses
    assert_right(fetch("vit_b", tmp_path), tmp_path)
    assert len(server.starts) == 15


def test_a_server_that_ignores_range_starts_again(server, tmp_path):
    server.ranges, server.cut = False, [100_000, 50_000]
    assert_right(fetch("vit_b", tmp_path), tmp_path)
    assert server.starts == [0, 0, 0]


def test_a_server_that_never_gets_further(server, tmp_path):
    server.ranges, server.cut = False, [100_000] * 9
    assert f"the connection ended after 100,000 of {len(CONTENT):,} bytes" in refused(tmp_path, server)
    assert len(server.starts) == 3, "one try, and one after each pause"
    server.cut, server.ranges = [], True
    assert_right(fetch("vit_b", tmp_path), tmp_path)
    assert server.starts[-1] == 100_000, "what was received was kept"


def test_a_server_that_stalls_for_good(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    server.cut, server.stall = [0] * 9, 1.0
    assert "nothing came for 0.3 seconds after 0 of" in refused(tmp_path, server)


def test_no_network(server, tmp_path, monkeypatch):
    server.url = "http://127.0.0.1:1/" + FILE
    assert "no network, or the connection was lost" in refused(tmp_path, server)


@pytest.mark.parametrize("status", [200, 404])
def test_a_web_page(server, tmp_path, status):
    server.content, server.status, server.kind = b"<!DOCTYPE html><p>log in first", status, "text/html"
    (tmp_path / f"{FILE}.part").write_bytes(CONTENT[:10_000])
    server.ranges = False
    expected = "the answer is a web page" if status == 200 else "the server answered 404"
    assert expected in refused(tmp_path, server)
    assert (tmp_path / f"{FILE}.part").read_bytes() == CONTENT[:10_000], "the page took nothing away"
    server.kind = "application/octet-stream"
    assert (expected if status == 404 else "web page") in refused(tmp_path, server)
    assert len(server.starts) == 2, "another try would find the same"


def test_a_server_in_trouble_is_asked_again(server, tmp_path):
    server.status = 503
    assert "the server answered 503" in refused(tmp_path, server)
    assert len(server.starts) == 3


@pytest.mark.parametrize("more", [-1000, 1000])
def test_another_size_is_announced(server, tmp_path, more):
    server.announced = len(CONTENT) + more
    assert f"the server announces {len(CONTENT) + more:,} bytes" in refused(tmp_path, server)


def test_no_size_is_announced(server, tmp_path):
    server.announced = False
    assert_right(fetch("vit_b", tmp_path), tmp_path)
    (tmp_path / FILE).unlink()
    server.content = CONTENT + b"more"
    assert "more than 300,000 bytes came" in refused(tmp_path, server)
    server.content = CONTENT[:-5]
    assert "has no more than 299,995 bytes" in refused(tmp_path, server)


def test_the_right_size_and_the_wrong_digest(server, tmp_path):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    message = refused(tmp_path, server)
    assert hashlib.sha256(server.content).hexdigest() in message and CHECKPOINTS["vit_b"].sha256 in message
    assert [path.name for path in tmp_path.iterdir()] == [f"{FILE}.lock"]
    assert len(server.starts) == 1


@pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 1])
def test_a_part_with_wrong_bytes_gets_one_new_start(server, tmp_path, size):
    (tmp_path / f"{FILE}.part").write_bytes(b"x" * size)
    assert_right(fetch("vit_b", tmp_path), tmp_path)
    assert server.starts == ([1000, 0] if size == 1000 else [0])


def test_a_wrong_file_under_the_final_name_is_moved_aside(server, tmp_path):
    (tmp_path / FILE).write_bytes(b"damaged")
    assert_right(fetch("vit_b", tmp_path), tmp_path)
    assert (tmp_path / f"{FILE}.damaged").read_bytes() == b"damaged"


def test_a_full_disk(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9000, 0, 9000))
    assert "the disk has 9,000 bytes free and 300,000 are missing" in refused(tmp_path, server)
    monkeypatch.undo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_disk_that_fills_up_on_the_way(server, tmp_path):
    (tmp_path / f"{FILE}.part").symlink_to("/dev/full")
    assert "the disk is full" in refused(tmp_path, server)


def test_folders_that_cannot_be_used(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "the folder cannot be used" in refused(tmp_path / "file" / "folder", server)

    def forbidden(self, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    assert f"no permission to write {tmp_path}; name another folder" in refused(tmp_path, server)


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match="'vit-b'; there are vit_b, vit_l, vit_h; did you mean 'vit_b'"):
        fetch("vit-b", tmp_path)


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMLITE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SAMLITE_CACHE")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "samlite") or os.name == "nt"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "samlite" or os.name == "nt"


def test_two_at_once_download_once(server, tmp_path):
    server.pause, server.step = 0.02, 20_000
    paths = []
    both = [threading.Thread(target=lambda: paths.append(fetch("vit_b", tmp_path))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(paths) == 2 and server.starts == [0]
    assert_right(paths[0], tmp_path)


def test_a_model_by_name_and_never_unasked(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAMLITE_CACHE", str(tmp_path / "cache"))
    torch.save(official_weights("tiny"), tmp_path / "small.pth")
    serve(server, monkeypatch, (tmp_path / "small.pth").read_bytes(), sizes=SIZES["tiny"])
    sam_model_registry["vit_b"]()
    with pytest.raises(FileNotFoundError, match="checkpoint='vit_b' downloads it"):
        sam_model_registry["vit_b"](checkpoint="vit_bb")
    with pytest.raises(ValueError, match="vit_l is another model's checkpoint"):
        sam_model_registry["vit_b"](checkpoint="vit_l")
    assert server.starts == [] and not (tmp_path / "cache").exists()

    by_name = sam_model_registry["vit_b"](checkpoint="vit_b")
    by_path = sam_model_registry["vit_b"](checkpoint=tmp_path / "small.pth")
    assert all(torch.equal(value, by_path.state_dict()[name]) for name, value in by_name.state_dict().items())
    converted = weights_of("vit_b")
    assert converted == (tmp_path / "cache" / FILE).with_suffix(".safetensors")
    made = converted.stat().st_mtime_ns
    assert main(["download", "vit_b"]) == 0
    assert str(converted) in capsys.readouterr().out and converted.stat().st_mtime_ns == made
    assert server.starts == [0], "one download, one conversion"

    converted.write_bytes(converted.read_bytes()[:-9])
    assert weights_of("vit_b") == converted and converted.stat().st_size > 9
    sam_model_registry["vit_b"](checkpoint="vit_b")


def test_the_command_says_it_in_one_sentence(server, tmp_path, capsys):
    assert main(["download", "vit_x"]) == 2
    assert "did you mean" in capsys.readouterr().err
    server.status = 404
    assert main(["download", "vit_b", "--folder", str(tmp_path), "--url", server.url]) == 2
    assert "samlite: " in (said := capsys.readouterr().err) and "404" in said and "Traceback" not in said


PROGRAM = """
import sys
from samlite.released.download import fetch
from samlite.released.official_files import CHECKPOINTS
folder, url, size, digest = sys.argv[1:]
CHECKPOINTS["vit_b"] = CHECKPOINTS["vit_b"]._replace(size=int(size), sha256=digest)
fetch("vit_b", folder, url)
"""


def test_killed_twenty_times_and_right_in_the_end(server, tmp_path):
    """A kill cannot be caught: whatever is on the disk at that moment is what the next process finds."""
    known, rng = CHECKPOINTS["vit_b"], random.Random(20)
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), server.url, str(known.size), known.sha256]
    start = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "stderr": subprocess.DEVNULL}
    server.pause, server.step = 0.01, 300
    target, part = tmp_path / FILE, tmp_path / f"{FILE}.part"
    kept = [0]
    for kill in range(20):
        answers = len(server.starts)
        process = subprocess.Popen(program, **start)
        deadline = time.monotonic() + 20
        while kill % 4 and len(server.starts) == answers and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)  # three of four are killed while bytes come, the others at any point from the start on
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.wait()
        assert not target.exists() or target.read_bytes() == CONTENT
        kept.append(part.stat().st_size if part.exists() else 0)
        assert kept[-1] >= kept[-2], "nothing that was received is lost"
        assert CONTENT.startswith(part.read_bytes() if kept[-1] else b"")
    server.pause = 0.0
    assert subprocess.run(program, timeout=30, **start).returncode == 0
    assert_right(target, tmp_path)
    assert set(server.starts) <= set(kept), "every answer began where the killed process had ended"
    assert len(set(server.starts)) > 8
