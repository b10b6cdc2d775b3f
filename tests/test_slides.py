"""Slides: made from the chapter's structure, complete in one file, and readable on a projector of 1280×720."""

import base64
import os
from io import BytesIO

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from samlite import book
from samlite.command_line import main
from samlite.notebook import slides
from samlite.notebook.style import INK

NOTEBOOKS = sorted((slides.ROOT / "notebooks").glob("*.ipynb"))


def chapter(*cells):
    return new_notebook(cells=[new_markdown_cell("# A title\n\nA question."), *cells])


def bodies(*cells):
    return [(slide.opens, slide.body) for slide in slides.slides_of(chapter(*cells))]


def test_a_heading_begins_a_slide_and_a_lower_one_goes_below():
    found = bodies(new_markdown_cell("## First\n\nText.\n\n### Below\n\nMore."), new_markdown_cell("Still more."))
    assert [opens for opens, _ in found] == [True, True, False, False]
    assert "<h2>First</h2>" in found[1][1] and "<h3>Below</h3>" in found[2][1]
    assert '<p class="goes-on">Below</p>' in found[3][1] and "Still more." in found[3][1]


def test_the_exercises_and_what_follows_are_left_out():
    found = bodies(new_markdown_cell("## Exercises\n\nDo it."), new_markdown_cell("## Solutions"))
    assert len(found) == 1


def test_long_code_and_the_code_of_a_picture_are_folded():
    short, long = "x = 1\nprint(x)", "\n".join(f"x = {number}" for number in range(13))
    file = BytesIO()
    Image.new("RGB", (30, 10)).save(file, format="PNG")
    data = base64.b64encode(file.getvalue()).decode()
    picture = new_output("display_data", {"image/png": data}, metadata={"image/png": {"alt": 'A "cat".'}})
    (_, first), (_, second), (_, third), (_, fourth) = bodies(
        new_code_cell(short, outputs=[new_output("stream", name="stdout", text="1 < 2")]),
        new_code_cell(long),
        new_code_cell(short, outputs=[picture]),
        new_code_cell(short, outputs=[new_output("stream", name="stdout", text="a line\n" * 16)]),
    )
    assert first.index("A question.") < first.index("print")  # a cell stands under the text that led to it
    assert "<details>" not in first and "1 &lt; 2" in first
    assert "code, 13 lines" in second
    assert '<img class="wide" alt="A &quot;cat&quot;."' in third and "<details>" in third
    assert "code, 2 lines" in fourth and fourth.count("a line") == 16  # too much together


def test_long_text_is_cut_between_paragraphs_and_points():
    words = " ".join(["word"] * 50)
    found = bodies(new_markdown_cell(f"## Long\n\n{words}\n\n{words}\n\n- {words}\n- {words}"))
    assert [opens for opens, _ in found] == [True, True, False, False, False]
    assert found[3][1].count("<li>") == 1


def test_a_comment_in_code_is_no_heading_and_links_within_the_book_are_text():
    found = bodies(
        new_markdown_cell("## Code\n\n```\nx = 1\n# not a heading\n```\n\nA [token](../book/glossary.md#token).")
    )
    assert len(found) == 2 and "not a heading" in found[1][1] and "A token." in found[1][1]
    code = bodies(new_markdown_cell('`registry["tiny"](checkpoint="x")` is Python, and no link.'))[-1][1]
    assert "[&quot;tiny&quot;](checkpoint=" in code


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_chapter_gives_slides_that_name_no_other_machine(path):
    made = slides.slides_of(nbformat.read(path, as_version=4))
    text = "".join(slide.body for slide in made)
    assert len(made) > 5 and made[0].opens and "<h1>" in made[0].body
    assert 'src="http' not in text and "not answered yet" not in text


def test_slides_is_a_command(tmp_path, capsys):
    path = tmp_path / "slides.html"
    assert main(["slides", "05", "-o", str(path)]) == 0
    written = path.read_text(encoding="utf-8")
    assert INK in written and "Reveal.initialize" in written and "{{" not in written.split("<script>")[0]
    assert main(["slides", "77"]) == 2 and "there is no chapter '77'" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["05", "03b"])
def test_no_slide_overflows_and_nothing_is_fetched(number, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    program = book.browser()
    if not program:
        message = "no Chromium or Chrome here"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    path, count = slides.write(number, tmp_path / "slides.html")
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 720})
        asked, problems = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        seen = 0
        while True:
            seen += 1
            too_much = page.evaluate(
                """() => { const slide = Reveal.getCurrentSlide().querySelector(".slide");
                return [slide.scrollHeight - slide.clientHeight, slide.scrollWidth - slide.clientWidth]; }"""
            )
            if max(too_much) > 1:
                problems.append(
                    f"slide {seen} is {too_much} pixels too large: {page.inner_text('.present .present')[:60]}"
                )
            if page.evaluate("Reveal.isLastSlide() && !Reveal.availableRoutes().down"):
                break
            page.evaluate("Reveal.next()")
        chromium.close()
    assert not problems
    assert seen == count
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
