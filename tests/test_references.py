"""The references: every work that a chapter or the code names is in them, with the same title and year."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = re.findall(
    r"^@\w+\{(\w+),\n(.*?)^\}", (ROOT / "book" / "references.bib").read_text(encoding="utf-8"), re.M | re.S
)
FIELDS = [dict(re.findall(r"^  (\w+) = \{(.*?)\},$", body, re.M | re.S)) for _, body in ENTRIES]


def plain(title: str) -> str:
    """Letters and digits alone: capitals, dashes, × and x do not make two works of one."""
    return re.sub(r"[^a-z0-9]", "", title.lower().replace("×", "x"))


WORKS = {(plain(fields["title"]), fields["year"]) for fields in FIELDS}


def sources(notebook: Path) -> list[tuple[str, str]]:
    """(title, year) of what the paragraph "Sources: …" of a chapter names: *Title* (2023)."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    paragraphs = [part for part in text.split("\n\n") if part.startswith("Sources:")]
    return [(" ".join(title.split()), year) for part in paragraphs for title, year in re.findall(NAMED, part)]


NAMED = r"\*([^*]+)\*\s+\((\d{4})\)"


def test_every_entry_is_whole() -> None:
    assert len(ENTRIES) > 20
    assert len({key for key, _ in ENTRIES}) == len(ENTRIES)
    for (key, _), fields in zip(ENTRIES, FIELDS, strict=True):
        assert {"author", "title", "year"} <= fields.keys(), key
        assert {"url", "journal"} & fields.keys(), f"{key}: nobody could find it"


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_source_of_a_chapter_is_in_the_references(notebook: Path) -> None:
    assert sources(notebook) or notebook.stem == "failure_gallery", "no paragraph that begins with 'Sources:'"
    for title, year in sources(notebook):
        found = [work for work in WORKS if work[0].startswith(plain(title)) and work[1] == year]
        assert found, f"book/references.bib lacks {title!r} ({year})"


def test_every_work_that_the_code_names_is_in_the_references() -> None:
    named = set()
    for path in (ROOT / "samlite").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        work = r'([A-Z][a-zé]+)(?: et al\.| (?:and|&) [A-Z][a-z]+),?(?: "[^"]+",?)?\s+\(?(\d{4})\)?'
        named |= set(re.findall(work, text))
    assert named
    for author, year in named:
        assert any(author in f["author"] and f["year"] == year for f in FIELDS), (author, year)
