"""The environment that the commands run in: found, made, or what stands in the way said in one sentence."""

import argparse
import ast
import os
import shutil
import sys
import venv
from pathlib import Path

import pytest
from bare_machine import ROOT, make_bare_clone, run_bare, write_marker

from samlite import __main__, environment


@pytest.fixture
def bare_clone(tmp_path: Path) -> Path:
    return make_bare_clone(tmp_path)


def test_this_environment_lacks_nothing() -> None:
    assert environment.lacking("lab") == []
    assert environment.lacking("test") == []
    assert environment._everything_imports("test")


def test_lacking_names_what_is_absent_too_old_or_too_new(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        environment.Requirement("no_such_module", "no-such-thing", "1.0"),
        environment.Requirement("torch", "torch", "99.0"),
        environment.Requirement("numpy", "numpy", "1.0", "1.5"),
        environment.Requirement("einops", "einops", "0.1"),
    )
    monkeypatch.setitem(environment.NEEDS, "lab", rows)
    absent, too_old, too_new = environment.lacking("lab")
    assert absent == "no-such-thing is not installed"
    assert too_old.startswith("torch 2") and too_old.endswith("is older than 99.0")
    assert too_new.startswith("numpy ") and too_new.endswith("is not below 1.5")


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("1.0.4.post1", (1, 0, 4)), ("9rc1", (9,)), ("0.11", (0, 11))]
)
def test_version_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert environment.version_numbers(version) == numbers


def test_an_environment_that_has_everything_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "inside_own_environment", lambda: False)
    monkeypatch.setattr(environment, "_install", lambda *_: pytest.fail("nothing needs to be installed"))
    assert environment.python_for("lab") == Path(sys.executable)


def test_what_was_installed_is_compiled_but_for_the_tests_of_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    tmp_path = tmp_path / "tests"  # a folder of this name above them is not theirs
    monkeypatch.setattr(environment, "environment_folder", lambda: tmp_path / "own")
    venv.create(tmp_path / "own", symlinks=os.name != "nt")
    (packages,) = (tmp_path / "own").rglob("site-packages")
    (packages / "one" / "tests").mkdir(parents=True)
    for name in ("one/good.py", "one/tests/other.py"):
        (packages / name).write_text("answer = 42\n")
    (packages / "one" / "bad.py").write_text("{{ a template }} of a package\n")
    environment._compile()
    assert {path.name.split(".")[0] for path in packages.rglob("*.pyc")} == {"good"}


def test_what_is_missing_is_installed_for_the_python_that_runs() -> None:
    assert environment.pip_install("onnx") == f"{sys.executable} -m pip install onnx"


def test_an_environment_is_ready_until_what_it_must_hold_changes(
    bare_clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", bare_clone)
    assert not environment.environment_is_ready("lab")
    (bare_clone / ".venv").mkdir()
    write_marker(bare_clone)
    assert environment.environment_is_ready("lab") and environment.environment_is_ready("run")
    assert not environment.environment_is_ready("test")
    write_marker(bare_clone, test=True)
    assert environment.environment_is_ready("test") and environment.environment_is_ready("lab")
    with (bare_clone / "requirements.txt").open("a") as requirements:
        requirements.write("one-more\n")
    assert not environment.environment_is_ready("lab")
    (bare_clone / ".venv" / "samlite-installed.json").write_text("half a fi")
    assert not environment.environment_is_ready("lab")


def test_an_old_python_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert __main__.too_old() is None
    monkeypatch.setattr(__main__, "MINIMUM_PYTHON", (99, 0))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "python3.12" else None)
    assert "needs Python 3.10 or newer and this is" in __main__.too_old()
    assert "use `python3.12 -m samlite` instead" in __main__.too_old()


@pytest.mark.parametrize("name", ["__init__", "__main__"])
def test_an_old_python_can_read_that_far(name: str) -> None:
    """Syntax that Python 3.6 refuses would turn "this Python is too old" into a SyntaxError."""
    tree = ast.parse((ROOT / "samlite" / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 6))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "__future__" not in {node.module for node in imports}, "3.6 does not know `annotations`"


def test_without_the_repository_there_is_nothing_to_open(bare_clone: Path) -> None:
    (bare_clone / "notebooks").rmdir()
    done = run_bare(bare_clone, "lab")
    assert done.returncode == 2 and "clone the repository" in done.stderr


def test_without_a_network_the_set_up_says_so_and_leaves_no_marker(bare_clone: Path) -> None:
    """A real `.venv`, a real pip, and an index that refuses every connection."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    done = run_bare(bare_clone, "lab", PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="", **nowhere)
    assert done.returncode == 2
    assert "no network" in done.stderr.splitlines()[-1]
    assert (bare_clone / ".venv" / "pyvenv.cfg").is_file()
    assert not (bare_clone / ".venv" / "samlite-installed.json").exists()


def test_a_full_disk_is_noticed_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: argparse.Namespace(free=1e9))
    for purpose, needed in (("lab", 2.5), ("test", 3.3)):
        with pytest.raises(environment.SetupError, match=rf"only 1\.0 GB are free .* {needed} are needed"):
            environment._install(purpose, cpu=False)


def test_without_venv_debian_users_learn_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(environment.SetupError, match=rf"sudo apt install python3\.{sys.version_info[1]}-venv` "):
        environment._make_environment()


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<pip>: "
            "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')'\n"
            "ERROR: No matching distribution found for torch==2.13.0",
            "no network",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "there is no torch==2.13.0 for Python"),
        ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'", "may not write"),
        ("some\nERROR: the last line counts\n", "pip failed: ERROR: the last line counts"),
        ("", "it said nothing"),
    ],
)
def test_explain(output: str, sentence: str) -> None:
    explained = environment.explain(output, "pip failed")
    assert explained.startswith("pip failed: ") and sentence in explained and "\n" not in explained
