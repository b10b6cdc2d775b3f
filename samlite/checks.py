"""``python -m samlite test``: every check of the project, part by part, and a summary. Standard library only.

Two files at once, where there are two cores: nothing here measures speed, but for bounds that any machine keeps.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from samlite import environment

CELL_SECONDS = 300
NBVAL = ["--nbval-lax", "--nbval-current-env", f"--nbval-cell-timeout={CELL_SECONDS}"]
BOOK = "tests/test_book.py"
PYTEST = ["-m", "pytest", "-n", str(min(2, os.cpu_count() or 1)), "--dist", "loadfile"]  # a chapter takes up to 1.7 GB

PARTS = {
    "lint": ["-m", "ruff", "check", "."],
    "unit": [*PYTEST, "tests", "--ignore=tests/browser", f"--ignore={BOOK}"],
    "notebooks": [*PYTEST, *NBVAL, "notebooks"],
    "pages": [*PYTEST, BOOK, "tests/browser"],
}


class Outcome(NamedTuple):
    """What one part came to."""

    part: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"only these parts: {', '.join(PARTS)} (without any: all of them)"
    )
    parser.add_argument("--cpu", action="store_true", help="install PyTorch's smaller build without CUDA (Linux)")


def run(arguments: argparse.Namespace) -> int:
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        raise ValueError(f"there is no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    python = environment.python_for("test", cpu=arguments.cpu)
    outcomes = [run_part(python, part) for part in PARTS if not arguments.parts or part in arguments.parts]
    print(summary(outcomes), flush=True)
    return int(any(outcome.failed for outcome in outcomes))


def run_part(python: Path, part: str) -> Outcome:
    """Runs one part with its output in view. A part that ends badly, or runs no test, counts as failed."""
    print(f"\n=== {part} ===", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [str(python), *PARTS[part]]
        if "pytest" in command:
            command.append(f"--junitxml={report}")
        variables = environment.child_variables()
        if "-n" in command:
            variables.setdefault("OMP_NUM_THREADS", "1")  # each of the two has a core
        variables.pop("PYTHONDONTWRITEBYTECODE", None)  # a hundred processes import samlite: compile it once
        code = subprocess.run(command, cwd=environment.ROOT, env=variables).returncode
        counts = read_report(report) if "pytest" in command else (int(code == 0), int(code != 0), 0)
    return judge(part, code, counts, time.monotonic() - started)


def read_report(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit report; all zero when there is none."""
    passed = failed = skipped = 0
    if report.is_file():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            total = int(suite.get("tests", 0))
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            left_out = int(suite.get("skipped", 0))
            passed, failed, skipped = passed + total - bad - left_out, failed + bad, skipped + left_out
    return passed, failed, skipped


def judge(part: str, code: int, counts: tuple[int, int, int], seconds: float) -> Outcome:
    """Counts at least one failure where the exit code, or the lack of any test, says so."""
    passed, failed, skipped = counts
    if part == "pages" and os.environ.get("CI") == "true":
        failed, skipped = failed + skipped, 0  # a reader may lack a browser, the project's own checks may not
    if failed == 0 and (code != 0 or passed + skipped == 0):
        failed = 1
    return Outcome(part, passed, failed, skipped, seconds)


def summary(outcomes: list[Outcome]) -> str:
    """A table of the parts, a word on what was skipped, and a last line with the totals."""
    lines = ["", "=== summary ===", f"{'part':<11}{'passed':>7}{'failed':>7}{'skipped':>8}{'seconds':>9}"]
    for part, passed, failed, skipped, seconds in outcomes:
        lines.append(f"{part:<11}{passed:>7}{failed:>7}{skipped:>8}{seconds:>9.0f}")
    if any(outcome.skipped for outcome in outcomes if outcome.part == "pages"):
        lines.append("The browser tests were skipped: install Chromium or Chrome, or name it in SAMLITE_CHROMIUM.")
    totals = [sum(counts) for counts in zip(*((o.passed, o.failed, o.skipped) for o in outcomes), strict=True)]
    lines.append(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped")
    return "\n".join(lines)
