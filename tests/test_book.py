"""The book: builds without a warning, holds every chapter, and asks no other machine for anything."""

import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
TABLE_OF_CONTENTS = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter["file"] for chapter in TABLE_OF_CONTENTS["chapters"]]
SECTIONS = [section["file"] for chapter in TABLE_OF_CONTENTS["chapters"] for section in chapter.get("sections", [])]
PAGES = [TABLE_OF_CONTENTS["root"], *CHAPTERS, *SECTIONS]
# Elements that fetch what they name as soon as the page is read; a plain link (`a href`) fetches when it is clicked.
FETCHING = {"script", "link", "img", "iframe", "audio", "video", "source", "embed", "object", "track", "use", "image"}


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages; the build treats every warning as an error."""
    output = tmp_path_factory.mktemp("book")
    start = "from jupyter_book.cli.main import main; main()"  # version 1 has no `python -m jupyter_book`
    options = ["--config", "book/_config.yml", "--toc", "book/_toc.yml", "--path-output", str(output), "-W"]
    command = [sys.executable, "-c", start, "build", ".", *options]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", errors="replace")
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return output / "_build" / "html"


class References(HTMLParser):
    """Collects (element, address) of everything that a page fetches, and the pictures without a text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.pictures: list[str | None] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag == "img":
            self.pictures.append(named.get("alt"))
        if tag in FETCHING and not (tag == "link" and named.get("rel") in ("canonical", "license")):
            addresses = (named.get(name) for name in ("src", "href", "data", "poster", "xlink:href"))
            self.found += [(tag, address) for address in addresses if address]


def test_every_chapter_has_its_page(pages: Path) -> None:
    notebooks = [chapter for chapter in CHAPTERS if chapter.startswith("notebooks/")]
    assert notebooks == sorted(notebooks), "chapters stand in the document's order"
    for chapter in PAGES:
        assert (pages / f"{chapter}.html").is_file()
    first = (pages / "book" / "index.html").read_text(encoding="utf-8")
    assert "python3 -m samlite lab" in first


def test_every_notebook_is_in_the_book() -> None:
    notebooks = (path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    on_disk = {path.relative_to(ROOT).with_suffix("").as_posix() for path in notebooks}
    assert on_disk == {page for page in PAGES if page.startswith("notebooks/")}


def test_no_page_fetches_from_another_machine(pages: Path) -> None:
    fetched = {(page.name, *reference) for page in pages.rglob("*.html") for reference in References(page).found}
    assert any(address.startswith("../_static") for _, _, address in fetched)
    assert not {entry for entry in fetched if re.match(r"(https?:)?//", entry[2])}


def test_no_style_fetches_from_another_machine(pages: Path) -> None:
    styles = list(pages.rglob("*.css"))
    assert styles
    for style in styles:
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_picture_of_a_page_has_a_text(pages: Path) -> None:
    texts = [(page.name, text) for page in pages.rglob("*.html") for text in References(page).pictures]
    assert texts, "a book about pictures without any?"
    for page, text in texts:
        assert text, f"{page} has a picture without alternative text"
        assert not re.search(r"\.(png|jpe?g|svg)$", text), f"{page}: {text!r} is a file's name, no text"


def test_vendored_files_are_the_published_ones() -> None:
    import hashlib

    spec = importlib.util.spec_from_file_location("vendor_page_assets", BOOK / "vendor_page_assets.py")
    vendor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vendor)
    listed = dict(target for files in vendor.ASSETS.values() for target in files.values())
    on_disk = {path.relative_to(vendor.VENDOR).as_posix(): path for path in vendor.VENDOR.rglob("*") if path.is_file()}
    assert set(on_disk) == {*listed, "README.md"}
    for name, digest in listed.items():
        assert hashlib.sha256(on_disk[name].read_bytes()).hexdigest() == digest, name


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome. Skips without one, except in the project's own checks."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("SAMLITE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        message = "no Chromium on the path: install it, or name one in SAMLITE_CHROMIUM"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    return path


@pytest.fixture(params=["file", "http"])
def address(request: pytest.FixtureRequest, pages: Path) -> Iterator[str]:
    """Where the pages start: as files, and from a web server on this machine."""
    if request.param == "file":
        yield pages.as_uri()
        return

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pages))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_browser_shows_the_book_without_a_network(chromium: str, address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    asked, failed = [], []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
        formulas = 0
        for chapter in PAGES:
            page.goto(f"{address}/{chapter}.html", wait_until="networkidle")
            written = page.locator(".math").count()
            if written:
                page.wait_for_selector("mjx-container svg", timeout=20_000)
                formulas += page.locator("mjx-container svg").count()
            assert page.locator("article h1").first.is_visible()
        browser.close()
    assert not failed
    assert asked and all(url.startswith((address, "data:", "blob:")) for url in asked)
    assert formulas > 0, "no page shows a formula, so nothing says whether they can be shown"
