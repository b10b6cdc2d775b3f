"""The instructor's guide: what it points to exists, and its numbers follow from what was measured."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from samlite.command_line import build_parser
from samlite.notebook.mutation_table import exercise_modules

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
CHAPTERS = {path.stem: path for path in (ROOT / "notebooks").glob("*.ipynb")}
EXERCISES = {exercise.name: exercise for module in exercise_modules() for exercise in module.EXERCISES}
PLACES = sorted(set(re.findall(r"`(\w+)#([\w-]+)`", GUIDE)))
WORDS = set(re.findall(r"`([^`\n]+)`", GUIDE))


@pytest.mark.parametrize("chapter, cell", PLACES)
def test_every_cell_exists(chapter: str, cell: str) -> None:
    assert cell in {each.id for each in nbformat.read(CHAPTERS[chapter], as_version=4).cells}


@pytest.mark.parametrize("chapter, cell", PLACES)
def test_every_cell_stands_under_the_heading_that_the_last_section_says(chapter: str, cell: str) -> None:
    (heading,) = re.findall(rf"^\| `{chapter}#{cell}` \| (.+) \|$", GUIDE, re.MULTILINE)
    above = ""
    for each in nbformat.read(CHAPTERS[chapter], as_version=4).cells:
        found = re.findall(r"^#+ (.+)$", each.source, re.MULTILINE) if each.cell_type == "markdown" else []
        if each.id == cell:
            above = found[0] if found else above
            break
        above = found[-1] if found else above
    assert heading == re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", above)


def test_every_chapter_is_there_and_every_chapter_has_its_place() -> None:
    named = {word for word in WORDS if re.fullmatch(r"\d\d[a-z]?_\w+|failure_gallery", word)}
    assert named <= set(CHAPTERS)
    assert set(CHAPTERS) <= named, "a chapter that no plan mentions"


def test_every_exercise_and_every_mistake_exists() -> None:
    tasks = {word for word in WORDS if re.match(r"(predict|write|find|choose|measure)_", word)}
    assert tasks and tasks <= set(EXERCISES)
    for line in GUIDE.splitlines():
        words = re.findall(r"`([^`]+)`", line.split("|")[-2]) if line.startswith('| "') else []
        of_line = [EXERCISES[word] for word in words if word in EXERCISES]
        for exercise in of_line:
            known = {mistake.name for mistake in exercise.mistakes}
            assert {word for word in words if word not in EXERCISES} <= known, (line, exercise.name)
        assert of_line or not words, line


def test_every_command_parses() -> None:
    for line in re.findall(r"python3 -m samlite ([^`\n]+)", GUIDE):
        words = line.split()
        build_parser(words[0]).parse_args(words)


def test_the_chapters_with_variants_are_the_ones_named() -> None:
    with_variants = {
        module.CHAPTER.split("_")[0]
        for module in exercise_modules()
        if any(exercise.variant for exercise in module.EXERCISES)
    }
    (named,) = re.findall(r"in each of the chapters ([\d\w, ]+)\.", re.sub(r"\s+", " ", GUIDE))
    assert set(re.split(", | and ", named)) == with_variants


def test_the_memory_of_a_class_follows_from_what_was_measured() -> None:
    peaks = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["peak_megabytes"]
        for path in (ROOT / "book" / "results" / "run_times").glob("*.json")
    }
    assert max(peaks.values()) < 2000 and peaks["00_start_here"] < 1000
    assert f"**{(16 - 2) // 2} kernels**" in GUIDE and f"**{(16 - 2) // 1}**" in GUIDE
