"""The commands: what they list, what they need, and what they say on a machine that lacks something."""

import argparse
import os
import re
from importlib import import_module
from pathlib import Path

import pytest
from bare_machine import make_bare_clone, run_bare, write_marker

from samlite import command_line, lab


@pytest.fixture
def bare_clone(tmp_path: Path) -> Path:
    return make_bare_clone(tmp_path)


def test_help_lists_every_command_on_a_bare_machine(bare_clone: Path) -> None:
    done = run_bare(bare_clone, "--help")
    assert done.returncode == 0, done.stderr
    for name, command in command_line.COMMANDS.items():
        assert re.search(rf"^ +{name}\s", done.stdout, flags=re.MULTILINE), name  # a long name has a line of its own
        assert command.summary.split()[0] in done.stdout


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_every_command_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture) -> None:
    command = command_line.COMMANDS[name]
    module = import_module(command.module)
    assert callable(getattr(module, command.add_arguments)) and callable(getattr(module, command.run))
    with pytest.raises(SystemExit) as stopped:
        command_line.main([name, "--help"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{command.summary[0].upper()}{command.summary[1:]}." in shown  # names keep their capitals


@pytest.mark.parametrize("argv", [[], ["segmnet", "photo.png"]])
def test_a_wrong_command_names_the_right_ones(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        command_line.main(argv)
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_an_error_becomes_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise ValueError("the port is 70000, take one below 65536")

    monkeypatch.setattr(lab, "run", fail)
    assert command_line.main(["lab"]) == 2
    assert capsys.readouterr().err == "samlite: the port is 70000, take one below 65536\n"
    monkeypatch.setenv("SAMLITE_TRACEBACK", "1")
    with pytest.raises(ValueError, match="70000"):
        command_line.main(["lab"])


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_told_otherwise(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spinning threads make a click of 6 ms take 280 ms while another program keeps one of two cores busy."""
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")  # to be restored, whatever the command does to it
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    seen = []
    monkeypatch.setattr(lab, "run", lambda _: seen.append(os.environ["OMP_WAIT_POLICY"]) or 0)
    assert command_line.main(["lab"]) == 0
    assert seen == [used]


def test_threads_of_a_long_computation_may_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two threads take turns at waiting for each other, sleeping costs a training a third of its time."""
    from samlite.learning import commands

    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # to be restored, whatever the command does to it
    monkeypatch.delenv("OMP_WAIT_POLICY")
    seen = []
    monkeypatch.setattr(commands, "run_train", lambda _: seen.append(os.environ.get("OMP_WAIT_POLICY")) or 0)
    assert command_line.main(["train", "tiny"]) == 0
    assert seen == [None]


def test_a_command_that_needs_packages_says_so(bare_clone: Path) -> None:
    done = run_bare(bare_clone, "segment", "photo.png", "--point", "1,1")
    assert done.returncode == 2
    assert "is not installed" in done.stderr and "python3 -m samlite lab" in done.stderr
    assert done.stderr.count("\n") == 1, "one sentence, no traceback"


def test_a_command_goes_on_in_the_environment_that_has_everything(bare_clone: Path) -> None:
    """A `.venv` whose marker is right takes over; here it is a script that shows what it was called with."""
    if os.name == "nt":
        pytest.skip("the stand-in for Python is a shell script")
    python = bare_clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    before = run_bare(bare_clone, "evaluate", "tiny")
    write_marker(bare_clone)
    after = run_bare(bare_clone, "evaluate", "tiny")
    assert before.returncode == 2
    path, *called_with = after.stdout.split()
    assert path.split(os.pathsep)[0] == str(bare_clone)
    assert called_with == ["-m", "samlite", "evaluate", "tiny"]
