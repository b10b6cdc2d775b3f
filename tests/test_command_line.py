"""The commands: what they list, what they need, and what they say on a machine that lacks something."""

import argparse
import ast
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from importlib import import_module
from pathlib import Path

import pytest

from samlite import __main__, checks, command_line, doctor, environment, lab
from samlite.registry import sam_model_registry
from samlite.sam import document_sam

ROOT = Path(__file__).resolve().parent.parent
# `-I -S`: no variables, no folder, nothing that pip installed: Python as it comes.
BARE_PYTHON = [sys.executable, "-I", "-S"]


@pytest.fixture
def bare_clone(tmp_path: Path) -> Path:
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


# The table of commands


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
    assert command.summary.split()[0].lower() in capsys.readouterr().out.lower()


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


def write_marker(clone: Path, test: bool = False) -> None:
    """Marks the clone's `.venv` as complete, with the digest that samlite itself would write."""
    code = f"import sys; sys.path.insert(0, {str(clone)!r}); from samlite import environment as e; print(e._digest())"
    digest = subprocess.run([*BARE_PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    (clone / ".venv" / "samlite-installed.json").write_text(json.dumps({"digest": digest, "test": test}))


# The environment


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
    with pytest.raises(environment.SetupError, match=r"only 1\.0 GB are free"):
        environment._install("lab", cpu=False)


def test_without_venv_debian_users_learn_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(environment.SetupError, match="sudo apt install python3-venv"):
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


# lab


def test_lab_opens_the_first_chapter() -> None:
    assert (ROOT / lab.FIRST_CHAPTER).is_file()
    arguments = lab.jupyter_arguments(browser=False, port=9999)
    assert "--no-browser" in arguments and "--port=9999" in arguments
    assert "--no-browser" not in lab.jupyter_arguments()


def test_lab_serves_the_first_chapter(tmp_path: Path) -> None:
    """The real command, from start to shutdown, with settings of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    variables = {**os.environ, **{name: str(tmp_path / name) for name in folders}, "JUPYTER_TOKEN": "t"}
    log = tmp_path / "log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "samlite", "lab", "--no-browser", f"--port={port}"]
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        found = None
        deadline = time.monotonic() + 60
        while found is None and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            try:
                url = f"http://127.0.0.1:{port}/api/contents/{lab.FIRST_CHAPTER}?content=0&token=t"
                with urllib.request.urlopen(url, timeout=5) as response:
                    found = json.load(response)
            except OSError:
                time.sleep(0.3)
        assert found is not None and found["path"] == lab.FIRST_CHAPTER, log.read_text()
        assert f"/lab/tree/{lab.FIRST_CHAPTER}?token=" in log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


# test


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
        ("browser", 0, (0, 0, 3), "", 0),  # a reader without a browser
        ("browser", 0, (0, 0, 3), "true", 3),  # the project's own checks
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
    skipped = checks.judge("browser", 0, (0, 0, 3), 1.0)
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


# doctor


@pytest.fixture
def small_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model with random weights in the place of the shipped one."""

    def build() -> object:
        return document_sam(image_size=64, patch_size=8, width=32, depth=1, heads=2, channels=32, decoder_mlp=32).eval()

    monkeypatch.setitem(sam_model_registry, "default", build)


def test_doctor_reports_what_an_issue_needs(small_default: None, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["python"]["version"] == sys.version.split()[0]
    assert report["packages"]["torch"].startswith("2.") and set(report["packages"]) == set(doctor.PACKAGES)
    assert report["memory"]["total_gb"] > 0 and report["disk"]["free_gb"] > 0
    cpu = report["trials"][0]
    assert cpu["device"] == "cpu" and cpu["masks"] == [1, 3, 64, 64] and cpu["finite"]
    assert cpu["encode_ms"] > 0 and cpu["click_ms"] > 0


def test_doctor_speaks_in_a_table(small_default: None, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "64×64" in text and "click on cpu" in text and "Everything that the chapters need is here." in text


def test_doctor_names_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.safetensors").write_bytes(b"abc")
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    (weights,) = doctor.shipped_weights()
    assert weights["file"] == "small.safetensors"
    assert weights["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_doctor_says_how_to_get_missing_weights(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def build() -> None:
        raise FileNotFoundError("no weights at tiny.safetensors: train them with `python -m samlite train tiny`")

    monkeypatch.setitem(sam_model_registry, "default", build)
    assert command_line.main(["doctor"]) == 1
    assert "python -m samlite train tiny" in capsys.readouterr().out


def test_doctor_works_without_pytorch(bare_clone: Path) -> None:
    done = run_bare(bare_clone, "doctor", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["packages"]["torch"] is None and report["torch"] is None and report["trials"] == []
    assert "torch is not installed" in report["problems"][0]
    assert "python3 -m samlite lab" in report["problems"][0]
    assert report["memory"]["total_gb"] is None or report["memory"]["total_gb"] > 0
