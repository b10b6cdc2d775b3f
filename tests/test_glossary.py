"""The glossary and the page of notation: they say what the model says, and every link to a term leads somewhere."""

import json
import re
from pathlib import Path

import pytest

from samlite.notebook import notation
from samlite.notebook.steps import STEPS
from samlite.sam import document_sam

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "book" / "glossary.md"
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LAST_CHAPTER = 16
LINK = re.compile(r"\]\(([^)\s]*glossary\.md#[^)\s]*)\)")


def terms() -> dict[str, str]:
    """The anchor of every term, and its text."""
    parts = re.split(r"^### (.+)\n", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    texts = [re.split(r"^## ", text, flags=re.MULTILINE)[0] for text in parts[1::2]]
    return {heading.replace(" ", "-"): text.strip() for heading, text in zip(parts[::2], texts, strict=True)}


def links_of(page: Path) -> list[str]:
    if page.suffix == ".md":
        return LINK.findall(page.read_text(encoding="utf-8"))
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return [link for cell in cells if cell["cell_type"] == "markdown" for link in LINK.findall("".join(cell["source"]))]


def test_headings_are_written_like_their_anchors() -> None:
    """JupyterLab keeps the case of a heading in its anchor, the book and GitHub do not: small letters suit all."""
    for anchor in terms():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", anchor), anchor


def test_every_term_has_a_text_and_says_where_it_is_shown() -> None:
    for term, text in terms().items():
        definition, place = text.rsplit("\n\n", 1)
        assert len(definition.split()) >= 5, term
        assert re.search(r"\bchapters? \d\d", place), term
        assert re.search(r"document §1\.\d|Not in the document", place, re.IGNORECASE), term


def test_shapes_are_those_of_the_model() -> None:
    letters = notation.full_size_letters(document_sam(device="meta"))
    lines = re.findall(r"^Step .*$", GLOSSARY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        name = re.match(r"Step `(\w+)`", line)[1]
        step, _, place = line.partition(" · ")
        assert step == notation.step_line(name, STEPS[name], letters)
        assert f"§{STEPS[name].section}" in place


@pytest.mark.parametrize("page", [*CHAPTERS, *sorted((ROOT / "book").glob("*.md"))], ids=lambda page: page.name)
def test_every_link_to_a_term_leads_to_one(page: Path) -> None:
    for link in links_of(page):
        path, anchor = link.split("#")
        assert (page.parent / path).resolve() == GLOSSARY, f"{link} does not lead there from {page.parent.name}/"
        assert anchor in terms(), f"no term #{anchor}: add it, or use one of {', '.join(sorted(terms()))}"


def test_every_term_is_used_once_all_chapters_are_there() -> None:
    written = {int(path.name[:2]) for path in CHAPTERS if path.name[:2].isdigit()}
    if missing := set(range(LAST_CHAPTER + 1)) - written:
        pytest.skip(f"chapters {sorted(missing)} are not written yet")
    used = {link.split("#")[1] for path in CHAPTERS for link in links_of(path)}
    assert not terms().keys() - used, "terms that no chapter links to"


def test_the_page_of_notation_is_up_to_date() -> None:
    written = notation.PAGE.read_text(encoding="utf-8")
    assert written == notation.page(), "run `python -m samlite.notebook.notation`"


def test_every_letter_of_a_shape_is_explained() -> None:
    used = {letter for step in STEPS.values() for letter in re.findall("[A-Z]", step.symbols)}
    assert used <= notation.LETTERS.keys()
