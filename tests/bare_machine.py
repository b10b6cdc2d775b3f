"""A machine on which nothing is installed: a copy of what the first steps need, and a Python that has no packages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# `-I -S`: no variables, no folder, nothing that pip installed: Python as it comes.
BARE_PYTHON = [sys.executable, "-I", "-S"]


def make_bare_clone(tmp_path: Path) -> Path:
    """A copy of what the first steps need, without a `.venv` and with a folder for notebooks."""
    clone = tmp_path / "clone"
    (clone / "samlite").mkdir(parents=True)
    (clone / "notebooks").mkdir()
    for path in (ROOT / "samlite").glob("*.py"):
        shutil.copy(path, clone / "samlite")
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, clone)
    return clone


def run_bare(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """`python -m samlite ARGUMENTS` in the clone, by a Python that has nothing installed."""
    code = f"import sys; sys.path.insert(0, {str(clone)!r}); from samlite.command_line import main; sys.exit(main())"
    return subprocess.run(
        [*BARE_PYTHON, "-c", code, *arguments],
        cwd=clone, capture_output=True, text=True, timeout=120, env={**os.environ, **variables},
    )  # fmt: skip


def write_marker(clone: Path, test: bool = False) -> None:
    """Marks the clone's `.venv` as complete, with the digest that samlite itself would write."""
    code = f"import sys; sys.path.insert(0, {str(clone)!r}); from samlite import environment as e; print(e._digest())"
    digest = subprocess.run([*BARE_PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    (clone / ".venv" / "samlite-installed.json").write_text(json.dumps({"digest": digest, "test": test}))
