"""What a chapter shows of the model card is what the card says: a chapter that older weights executed is noticed."""

import json
from pathlib import Path

from samlite.registry import TINY_WEIGHTS

CHAPTER = Path(__file__).resolve().parent.parent / "notebooks" / "01_introduction.ipynb"


def test_chapter_01_shows_the_figures_on_photos_of_the_card() -> None:
    figures = json.loads(TINY_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))["figures"]["photos"]
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    (output,) = next(cell["outputs"] for cell in cells if cell["id"] == "card")
    shown = [" ".join(line.split()) for line in "".join(output["data"]["text/plain"]).splitlines()]
    for name, row in figures.items():
        expected = " ".join([name, *(f"{row[column]:.3f}" for column in ("oracle", "share above 0.75", "selected"))])
        assert expected in shown, f"execute {CHAPTER.name} again: the card says {expected!r}"
