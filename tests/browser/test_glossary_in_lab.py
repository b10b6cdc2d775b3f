"""A link to a term in a real JupyterLab: it opens the glossary as a page, not as text, and goes to the term."""

import shutil
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
TERM = "flop"  # the last one: without going there it would be out of sight
TERM_HEADING = f'.jp-MarkdownViewer h3[data-jupyter-id="{TERM}"]'


def test_a_link_to_a_term_opens_the_glossary_at_the_term(browser, lab, screenshots):
    address, folder = lab
    for name in ("book", "links"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "book" / "glossary.md", folder / "book")
    text = new_markdown_cell(f"Counted in [FLOP](../book/glossary.md#{TERM}).")
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(new_notebook(cells=[text], metadata=kernel), folder / "links" / "chapter.ipynb")
    page = browser.new_page(viewport={"width": 1300, "height": 800})
    page.goto(f"{address}/lab/tree/links/chapter.ipynb?reset")
    page.wait_for_selector("#jupyterlab-splash", state="detached", timeout=60_000)
    page.locator(".jp-MarkdownOutput a", has_text="FLOP").click(timeout=60_000)
    heading = page.locator(TERM_HEADING)
    heading.wait_for(timeout=60_000)
    in_sight = f"() => (y => 0 <= y && y < 800)(document.querySelector('{TERM_HEADING}').getBoundingClientRect().y)"
    page.wait_for_function(in_sight, timeout=20_000)
    page.wait_for_timeout(500)  # and it stays there
    page.screenshot(path=screenshots / "glossary.png")
    assert 0 <= heading.bounding_box()["y"] < 800, "the term is not in sight"
    page.close()
