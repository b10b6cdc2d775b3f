"""`python -m samlite test`: counts what its parts did, and is never better than the worst of them."""

import sys
from pathlib import Path

import pytest

from samlite import checks, command_line, environment


def test_a_part_counts_what_its_tests_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "test_three.py"
    file.write_text(
        "import pytest\ndef test_good(): pass\ndef test_bad(): assert 0\ndef test_later(): pytest.skip('later')\n"
    )
    monkeypatch.setitem(checks.PARTS, "unit", ["-m", "pytest", "-p", "no:cacheprovider", str(file)])
    outcome = checks.run_part(Path(sys.executable), "unit")
    assert outcome[:4] == ("unit", 1, 1, 1)
    assert checks.summary([outcome]).splitlines()[-1] == "1 passed, 1 failed, 1 skipped"


@pytest.mark.parametrize(
    ("part", "code", "counts", "ci", "failed"),
    [
        ("unit", 0, (5, 0, 0), "", 0),
        ("unit", 1, (5, 0, 0), "", 1),  # the tests passed and the run did not
        ("unit", 1, (4, 2, 0), "", 2),
        ("unit", 0, (0, 0, 0), "", 1),  # no test ran at all
        ("pages", 0, (0, 0, 3), "", 0),  # a reader without a browser
        ("pages", 0, (0, 0, 3), "true", 3),  # the project's own checks
        ("unit", 0, (5, 0, 1), "true", 0),
    ],
)
def test_judge(
    part: str, code: int, counts: tuple[int, int, int], ci: str, failed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    assert checks.judge(part, code, counts, 1.0).failed == failed


def test_a_reader_without_a_browser_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "")
    skipped = checks.judge("pages", 0, (0, 0, 3), 1.0)
    assert "SAMLITE_CHROMIUM" in checks.summary([skipped])
    assert "SAMLITE_CHROMIUM" not in checks.summary([checks.judge("unit", 0, (1, 0, 3), 1.0)])


def test_the_exit_code_says_whether_anything_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "python_for", lambda purpose, cpu: Path(sys.executable))
    monkeypatch.setitem(checks.PARTS, "lint", ["-c", "raise SystemExit(0)"])
    assert command_line.main(["test", "lint"]) == 0
    monkeypatch.setitem(checks.PARTS, "lint", ["-c", "raise SystemExit(3)"])
    assert command_line.main(["test", "lint"]) == 1


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["test", "units"]) == 2
    assert "there is no part 'units'" in capsys.readouterr().err
