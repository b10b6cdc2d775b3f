"""``python -m samlite handout``, ``grade`` and ``slides``: homework, verdicts on it, and chapters as slides."""

import argparse
from itertools import groupby
from pathlib import Path

import nbformat

from samlite.notebook import slides
from samlite.notebook.grading import SECONDS, grade, handout, write_csv


def add_handout_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chapter", required=True, metavar="NUMBER", help="whose exercises, for instance 05")
    parser.add_argument("--seed", type=int, required=True, help="which variant; the same seed gives the same numbers")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the notebook (homework-CHAPTER-SEED.ipynb)")


def run_handout(arguments: argparse.Namespace) -> int:
    """Write the notebook. Raises ValueError when it is there already or there are no exercises, and OSError."""
    if arguments.seed < 0:
        raise ValueError(f"a seed is a whole number from 0 on, {arguments.seed} was given")
    path = arguments.output or Path(f"homework-{arguments.chapter}-{arguments.seed}.ipynb")
    if path.exists():
        raise ValueError(f"{path} is there already, perhaps with answers in it: move it, or name another file with -o")
    notebook = handout(arguments.chapter, arguments.seed)
    path.write_text(nbformat.writes(notebook), encoding="utf-8")
    print(f"Wrote {path}.")
    return 0


def add_grade_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="FILE", help="notebooks made by `handout`, solved")
    parser.add_argument("--seed", type=int, help="the variant that all had to solve (default: the one each file names)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one notebook (default: %(default)s)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write the rows as a table")


def run_grade(arguments: argparse.Namespace) -> int:
    """Print the points of every notebook: 0, also where some could not be graded. Their rows say why."""
    rows = []
    files = [file for path in arguments.notebooks for file in _named(path)]
    graded = grade(files, arguments.seed, arguments.seconds)
    for file, group in groupby(graded, key=lambda row: row.file):
        of_one = list(group)
        rows += of_one
        print(f"{file}: {sum(row.points for row in of_one)} of {sum(row.of for row in of_one)} points")
        for row in of_one:
            reason = row.mistake or ("" if row.verdict in ("right", "empty") else row.message)
            print(f"  {row.exercise or '–':<28}{row.verdict:<9}{row.points} of {row.of}  {reason}".rstrip(), flush=True)
    if arguments.csv:
        write_csv(rows, arguments.csv)
    return 0


def _named(path: Path) -> list[Path]:
    """The files that a name with a star stands for, where the shell has left it as it was: Windows does."""
    return sorted(path.parent.glob(path.name)) or [path] if "*" in path.name and not path.exists() else [path]


def run_slides(arguments: argparse.Namespace) -> int:
    """Write the slides. Raises ValueError for an unknown chapter, OSError where nothing can be written."""
    path, count = slides.write(arguments.chapter, arguments.output)
    print(f"Wrote {path}: {count} slides. Open it in a browser; arrow keys right and down, f for the full screen.")
    return 0


add_slides_arguments = slides.add_arguments
