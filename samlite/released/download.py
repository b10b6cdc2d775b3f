"""An official checkpoint by name → a file on this machine that is proven to be it. Only when asked.

What comes over the network goes into ``NAME.part``. A download that was stopped, however roughly, goes on from there.
The final name appears in one step, when size and SHA-256 are right. Only one process at a time writes the part: the
system takes the lock away from a process that dies.
"""

import difflib
import errno
import http.client
import os
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from samlite.released.official_files import CHECKPOINTS, Checkpoint, sha256

CHUNK = 1 << 20  # bytes asked for at once
STALL_SECONDS = 30.0  # without a byte, and a connection counts as lost
PAUSES = (1.0, 3.0, 10.0)  # seconds before each new try; a try that gets further than any before starts the row anew


class DownloadError(OSError):
    """What was tried, where, what was found, and what to do by hand, in one sentence."""


class _Interrupted(Exception):
    """A connection that ended early: worth another try."""


def official_weights(name: str) -> Path:
    """A name → its weights in the cache as safetensors; downloads and converts what is not there yet.

    Raises ValueError for an unknown name, DownloadError when the file cannot be had.
    """
    known, path = _known(name), cache_folder() / _known(name).file
    beside = path.with_suffix(".safetensors")
    return beside if _is_conversion(beside, known.sha256) else converted(fetch(name))


def fetch(name: str, folder: str | os.PathLike | None = None, url: str | None = None) -> Path:
    """A name → the official ``.pth`` in ``folder`` (the cache), with the official size and SHA-256.

    ``url``: another address of the same file. Raises ValueError for an unknown name, DownloadError for all else.
    """
    download = _Download(_known(name), Path(folder).expanduser() if folder else cache_folder(), url)
    try:
        download.folder.mkdir(parents=True, exist_ok=True)
        with download.locked():
            if not download.is_there():
                download.to_the_end()
    except DownloadError:
        raise
    except OSError as error:
        raise download.error(_disk_trouble(error)) from error
    return download.target


def converted(path: Path) -> Path:
    """The safetensors beside an official ``.pth``, made once."""
    from samlite.released.checkpoints import convert  # brings PyTorch along, which the download does without

    beside = path.with_suffix(".safetensors")
    (known,) = (known for known in CHECKPOINTS.values() if known.file == path.name)
    if _is_conversion(beside, known.sha256):
        return beside
    try:
        return convert(path)
    except (OSError, SafetensorError) as error:
        raise DownloadError(
            f"{path} is complete, but {beside.name} could not be written beside it ({error}); make room and try again, "
            f"or give the path of {path.name} itself as checkpoint"
        ) from error


def cache_folder() -> Path:
    """``SAMLITE_CACHE``, or the folder for caches of this system."""
    if named := os.environ.get("SAMLITE_CACHE"):
        return Path(named).expanduser()
    home = Path.home()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "samlite"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "samlite"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "samlite"


class _Download:
    """One file on its way: where it comes from, where it goes, and how far it is."""

    def __init__(self, known: Checkpoint, folder: Path, url: str | None) -> None:
        self.known, self.folder, self.url = known, folder.absolute(), url or known.address
        self.target = self.folder / known.file
        self.part = self.folder / f"{known.file}.part"
        if not self.url.startswith(("http://", "https://")):
            raise self.error("this address does not begin with http:// or https://")

    def error(self, found: str) -> DownloadError:
        by_hand = f"fetch {self.known.address} with a browser and save it as {self.target}"
        return DownloadError(
            f"{self.known.file} ({self.known.size:,} bytes) could not be downloaded from {self.url} into "
            f"{self.folder}: {found}; by hand: {by_hand}"
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Waits while another process downloads the same file into the same folder."""
        with (self.folder / f"{self.known.file}.lock").open("ab") as file:
            if not _try_lock(file):
                with self.bar("another process downloads it") as bar:
                    while not _try_lock(file):
                        bar.update(self.have() - bar.n)
                        time.sleep(0.2)
            yield

    def bar(self, what: str) -> tqdm:
        return tqdm(
            total=self.known.size, initial=self.have(), unit="B", unit_scale=True, desc=f"{self.known.file}: {what}"
        )

    def have(self) -> int:
        """Bytes in the part."""
        return self.part.stat().st_size if self.part.exists() else 0

    def is_there(self) -> bool:
        """Whether the final name holds the right file; a wrong one is moved aside."""
        if not self.target.exists():
            return False
        if self.target.stat().st_size == self.known.size and sha256(self.target) == self.known.sha256:
            return True
        os.replace(self.target, self.target.with_name(f"{self.known.file}.damaged"))
        return False

    def to_the_end(self) -> None:
        """Fill the part, prove it, give it its name. A resumed part that is wrong gets one new start."""
        if self.have() > self.known.size:
            self.part.unlink()
        resumed = self.have() > 0
        free, needed = shutil.disk_usage(self.folder).free, self.known.size - self.have()
        if free < needed:
            raise self.error(f"the disk has {free:,} bytes free and {needed:,} are missing; make room")
        self.fill()
        if (digest := sha256(self.part)) == self.known.sha256:
            os.replace(self.part, self.target)
            return
        self.part.unlink()
        if not resumed:
            raise self.error(f"what came has the SHA-256 {digest} and not {self.known.sha256}; it was deleted")
        self.to_the_end()

    def fill(self) -> None:
        """Request after request, each from where the part ends, until it is complete."""
        failures, furthest = 0, self.have()
        with self.bar("download") as bar:
            while (have := self.have()) < self.known.size:
                try:
                    with self.request(have) as response:
                        self.receive(response, bar)
                    found = "the connection ended"
                except _Interrupted as interruption:
                    found = str(interruption)
                if (have := self.have()) >= self.known.size:
                    break
                if have > furthest:
                    failures, furthest = 0, have
                if failures == len(PAUSES):
                    raise self.error(
                        f"{found} after {have:,} of {self.known.size:,} bytes, at the last of {failures + 1} tries; "
                        "the next call goes on from there"
                    )
                time.sleep(PAUSES[failures])
                failures += 1

    def request(self, start: int) -> http.client.HTTPResponse:
        request = urllib.request.Request(self.url, headers={"User-Agent": "samlite"})
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            return urllib.request.urlopen(request, timeout=STALL_SECONDS)
        except urllib.error.HTTPError as error:
            answer = f"the server answered {error.code} {error.reason}"
            if error.code == 416:
                raise self.error(f"{answer}, the file there has no more than {start:,} bytes") from error
            if error.code < 500 and error.code not in (408, 429):
                raise self.error(answer) from error
            raise _Interrupted(answer) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise self.error(f"the server's certificate is not valid here ({reason.verify_message})") from error
            raise _Interrupted(_network_trouble(reason)) from error

    def receive(self, response: http.client.HTTPResponse, bar: tqdm) -> None:
        """An answer's bytes → the end of the part, or its start where the server begins anew."""
        size, start = self.known.size, self.have()
        if response.status != 206:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise self.error(f"bytes from {start:,} on were asked for, {response.headers.get('Content-Range')!r} came")
        announced = response.headers.get("Content-Length", "")
        chunk = self.read(response, min(CHUNK, size - start))
        is_page = chunk.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))
        if is_page or response.headers.get_content_type() == "text/html":
            raise self.error("the answer is a web page and no checkpoint (a log-in page of the network, or an error)")
        if announced.isdigit() and start + int(announced) != size:
            raise self.error(f"the server announces {start + int(announced):,} bytes, {size:,} are expected")
        end = size if announced else size + 1  # without an announcement, one byte more shows a file that is too long
        with self.part.open("ab" if start else "wb") as file:
            while chunk:
                file.write(chunk)
                file.flush()  # what was received outlives this process
                start += len(chunk)
                bar.update(start - bar.n)
                chunk = self.read(response, min(CHUNK, end - start)) if start < end else b""
            os.fsync(file.fileno())
        if start > size:
            self.part.unlink()
            raise self.error(f"more than {size:,} bytes came: it is another file, and was deleted")

    @staticmethod
    def read(response: http.client.HTTPResponse, most: int) -> bytes:
        try:
            return response.read1(most)
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(_network_trouble(error)) from error


def _known(name: str) -> Checkpoint:
    if name in CHECKPOINTS:
        return CHECKPOINTS[name]
    close = difflib.get_close_matches(name, CHECKPOINTS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"no official checkpoint is called {name!r}; there are {', '.join(CHECKPOINTS)}{hint}")


def _is_conversion(path: Path, digest: str) -> bool:
    """Whether a safetensors was made from the file with this digest."""
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("source_sha256") == digest
    except (SafetensorError, OSError):
        return False


def _try_lock(file: BinaryIO) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _network_trouble(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {STALL_SECONDS:g} seconds"
    return f"no network, or the connection was lost ({error or type(error).__name__})"


def _disk_trouble(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}; make room, and what was received is kept"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"there is no permission to write{where}; name another folder with --folder or SAMLITE_CACHE"
    return f"the folder cannot be used ({error.strerror or error}{where}); name another with --folder or SAMLITE_CACHE"
