"""The page of run times: every chapter is in it, within the limits of the book."""

import json
from pathlib import Path

import pytest

from samlite.notebook import run_times

NOTEBOOKS = run_times.ROOT / "notebooks"
LIMIT_SECONDS, CORES, LIMIT_MEGABYTES = 60, 2, 2000


@pytest.mark.parametrize("chapter", [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))])
def test_every_chapter_has_run_within_the_limits(chapter: str) -> None:
    again = f"run `python -m samlite.notebook.execute notebooks/{chapter}.ipynb`"
    assert chapter in run_times.kept(), f"no run of {chapter} was written down: {again}"
    run = run_times.kept()[chapter]
    assert run["torch"] and run["date"] and run["cores"] >= 1
    assert run["peak_megabytes"] < LIMIT_MEGABYTES
    assert run["cpu_seconds"] < LIMIT_SECONDS * CORES  # the seconds on the wall also count other programs


def test_nothing_is_written_down_for_a_chapter_that_is_gone() -> None:
    assert {chapter for chapter in run_times.kept() if not (NOTEBOOKS / f"{chapter}.ipynb").is_file()} == set()


def test_only_chapters_of_the_repository_are_kept(tmp_path: Path) -> None:
    cost = {"seconds": 1.0}
    run_times.keep(tmp_path / "05_other.ipynb", cost, tmp_path / "results")
    run_times.keep(NOTEBOOKS / "solutions" / "05_image_encoder.ipynb", cost, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    run_times.keep(NOTEBOOKS / "05_image_encoder.ipynb", cost, tmp_path / "results")
    assert run_times.kept(tmp_path / "results") == {"05_image_encoder": cost}
    assert json.loads((tmp_path / "results" / "05_image_encoder.json").read_text()) == cost
