"""The book: builds without a warning, holds every chapter, and asks no other machine for anything."""

import http.server
import importlib.util
import json
import os
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pypdf import PdfReader

from samlite import book

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
TABLE_OF_CONTENTS = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))


def files_of(entry: dict) -> list[str]:
    """Every page that an entry of the table of contents names, itself first, then those below it."""
    below = [part for kind in ("parts", "chapters", "sections") for part in entry.get(kind, [])]
    return [entry[name] for name in ("root", "file") if name in entry] + [
        file for part in below for file in files_of(part)
    ]


PAGES = files_of(TABLE_OF_CONTENTS)
CHAPTERS = [page for page in PAGES if re.fullmatch(r"notebooks/\d\d\w?_\w+", page)]
# Elements that fetch what they name as soon as the page is read; a plain link (`a href`) fetches when it is clicked.
FETCHING = {"script", "link", "img", "iframe", "audio", "video", "source", "embed", "object", "track", "use", "image"}


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages; the build treats every warning as an error."""
    return book.build(Path(sys.executable), tmp_path_factory.mktemp("book"))


def title_of(page: str) -> str:
    """What a page of the table of contents is headed by."""
    source = ROOT / f"{page}.ipynb"
    if source.is_file():
        text = "".join(json.loads(source.read_text(encoding="utf-8"))["cells"][0]["source"])
    else:
        text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
    return next(line[2:] for line in text.splitlines() if line.startswith("# "))


def bookmarks(outline: list) -> Iterator[Any]:
    """All marks of a PDF, those below a mark after it."""
    for entry in outline:
        yield from bookmarks(entry) if isinstance(entry, list) else [entry]


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
    assert CHAPTERS and CHAPTERS == sorted(CHAPTERS), "chapters stand in the document's order"
    assert len(PAGES) == len(set(PAGES))
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


def test_a_chapter_that_the_glossary_names_is_a_link_to_that_chapter(pages: Path) -> None:
    text = (pages / "book" / "glossary.html").read_text(encoding="utf-8")
    links = re.findall(r'href="[^"]*/notebooks/(\d\d[a-z]?)_\w+\.html">(?:<[^>]*>)*(\d\d[a-z]?)<', text)
    assert len(links) > 40 and all(leads_to == said for leads_to, said in links)
    assert {"03", "03b", "15"} <= {said for _, said in links}


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
    path = book.browser()
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


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    yield page
    page.close()


# The pictures of a page that are not there or have no words, once all have had the time to load.
BROKEN_PICTURES = """async () => {
    const pictures = [...document.querySelectorAll("article img")];
    pictures.forEach(picture => picture.loading = "eager");
    await Promise.all(pictures.map(picture => picture.decode().catch(() => null)));
    return pictures.filter(picture => !picture.naturalWidth || !picture.alt).map(picture => picture.src);
}"""
HIDDEN_HEADINGS = """() => [...document.querySelectorAll("article :is(h1, h2, h3)")]
    .filter(heading => !heading.checkVisibility() || heading.getBoundingClientRect().width < 1)
    .map(heading => heading.textContent)"""
# What sticks out of the page on the right, unless it can be scrolled by itself.
TOO_WIDE = """() => {
    const scrolls = element => element && element.tagName !== "BODY" &&
        (getComputedStyle(element).overflowX !== "visible" || scrolls(element.parentElement));
    return [...document.querySelectorAll("article *")]
        .filter(element => element.getBoundingClientRect().right > innerWidth + 1 && !scrolls(element))
        .map(element => element.tagName + ": " + element.textContent.slice(0, 60));
}"""


def test_a_browser_shows_every_page_without_a_network(page: Any, address: str) -> None:
    """Every page as a file, where a browser allows least; of the same pages from a server every fifth."""
    shown = PAGES if address.startswith("file:") else PAGES[3::5]
    asked, failed = [], []
    page.on("request", lambda request: asked.append(request.url))
    left = "net::ERR_ABORTED"  # on its way when the page was left
    page.on("requestfailed", lambda request: failed.append(request.url) if request.failure != left else None)
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    formulas = 0
    for chapter in shown:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(f"{address}/{chapter}.html")
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container svg", timeout=20_000)
            formulas += page.locator("mjx-container svg").count()
        assert not page.evaluate(BROKEN_PICTURES), chapter
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            where = f"{chapter}, {width} pixels wide"
            assert page.locator("article h1").first.is_visible(), where
            assert not page.evaluate(HIDDEN_HEADINGS), where
            assert page.evaluate("document.documentElement.scrollWidth") <= width, where
            assert not page.evaluate(TOO_WIDE), where
    assert not failed
    assert asked and all(url.startswith((address, "data:", "blob:")) for url in asked)
    assert formulas > 0, "no page shows a formula, so nothing says whether they can be shown"


def test_search_finds_a_term(page: Any, address: str) -> None:
    page.goto(f"{address}/{PAGES[0]}.html")
    page.keyboard.press("Control+k")
    page.locator("input[name=q]:visible").fill("ambiguity")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li a")
    found.first.wait_for(timeout=20_000)
    assert any("glossary" in link.get_attribute("href") for link in found.all())


def brightness(page: Any, selector: str) -> float:
    """Of the background of an element, 0 black to 255 white."""
    colour = page.locator(selector).first.evaluate("element => getComputedStyle(element).backgroundColor")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_dark_pages_keep_pictures_on_white(page: Any, pages: Path) -> None:
    page.goto(f"{pages.as_uri()}/{CHAPTERS[0]}.html")
    themes = set()
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        theme = page.locator("html").get_attribute("data-theme")
        themes.add(theme)
        if theme == "dark":
            assert brightness(page, "body") < 60
            assert brightness(page, "div.cell_output img") == 255
            assert page.locator("article img").first.evaluate("element => getComputedStyle(element).filter") == "none"
    assert themes == {"light", "dark"}


def test_a_page_prints_without_its_frame(page: Any, pages: Path) -> None:
    page.goto(f"{pages.as_uri()}/{CHAPTERS[-1]}.html")
    page.emulate_media(media="print")
    for hidden in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article", ".prev-next-footer"):
        assert not any(part.is_visible() for part in page.locator(hidden).all()), hidden
    titles = [title.inner_text() for title in page.locator("h1:visible").all()]
    assert len(titles) == 1, f"a printed page has one title, and not {titles}"
    assert page.pdf(format="A4")[:5] == b"%PDF-"


def test_the_whole_book_goes_into_one_pdf(chromium: str, tmp_path: Path) -> None:
    """Every page of the table of contents, in its order: with a bookmark that leads to where its title stands."""
    book.print_pdf(book.one_page(Path(sys.executable), tmp_path), tmp_path / "book.pdf")
    pdf = PdfReader(tmp_path / "book.pdf")
    titles = [title_of(page) for page in PAGES[1:]]
    marks = bookmarks(pdf.outline)
    starts = [next((mark for mark in marks if mark.title.strip() == title), None) for title in titles]
    assert None not in starts, f"no bookmark {titles[starts.index(None)]!r} where it is its turn"
    numbers = [pdf.get_destination_page_number(mark) for mark in starts]
    assert numbers == sorted(set(numbers)), "every page begins on a sheet of its own"
    for title, number in zip(titles, numbers, strict=True):
        text = unicodedata.normalize("NFKC", pdf.pages[number].extract_text())  # a printed fi may be one letter
        assert title in " ".join(text.split())
    for page, (first, after) in zip(PAGES[1:], pairwise([*numbers, len(pdf.pages)]), strict=True):
        if page in CHAPTERS:  # whose pictures are files beside the page
            assert any("/XObject" in sheet["/Resources"] for sheet in pdf.pages[first:after]), f"{page}: no picture"


def test_buttons_of_services_need_an_address() -> None:
    sys.path.insert(0, str(BOOK / "_extensions"))
    try:
        from launch_links import without_an_address_no_buttons
    finally:
        sys.path.pop(0)
    settings = yaml.safe_load((BOOK / "_config.yml").read_text(encoding="utf-8"))
    for url in ("", "https://github.com/someone/samlite"):
        options = {"repository_url": url, "launch_buttons": settings["launch_buttons"]}
        without_an_address_no_buttons(None, SimpleNamespace(html_theme_options=options))
        assert ("launch_buttons" in options) == bool(url)
