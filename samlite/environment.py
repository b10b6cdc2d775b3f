"""A machine with Python and nothing else → a folder `.venv` in which everything runs. Standard library only.

`python_for("lab")` gives the interpreter to use: the running one when all is there, otherwise the one of `.venv` beside
`pyproject.toml`, which is made, or brought up to date, first. A marker in `.venv` holds a digest of what was asked
for, so that a second start costs no installation.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

from samlite import __version__

ROOT = Path(__file__).resolve().parent.parent  # the repository, where there is one
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
# A CPU installation takes 1.6, with the packages of the tests 2.3; pip's own temporary files the rest.
GIGABYTES_NEEDED = {"lab": 2.5, "book": 2.5, "test": 3.3}


class Requirement(NamedTuple):
    """One thing to import, the name under which pip installs it, and the versions that do."""

    module: str
    distribution: str
    at_least: str
    below: str = ""


# The same names and versions as in pyproject.toml (a test compares them), with the names to import.
RUNTIME = (
    Requirement("anywidget", "anywidget", "0.9"),
    Requirement("beartype", "beartype", "0.18"),
    Requirement("einops", "einops", "0.8"),
    Requirement("ipywidgets", "ipywidgets", "8.1"),
    Requirement("jaxtyping", "jaxtyping", "0.2.36"),
    Requirement("matplotlib", "matplotlib", "3.8"),
    Requirement("numpy", "numpy", "1.26"),
    Requirement("PIL", "pillow", "10.1"),
    Requirement("safetensors", "safetensors", "0.4.3"),
    Requirement("skimage", "scikit-image", "0.22"),
    Requirement("torch", "torch", "2.6"),
    Requirement("tqdm", "tqdm", "4.66"),
)
NOTEBOOK = (Requirement("jupyterlab", "jupyterlab", "4.2"),)
BOOK = (Requirement("jupyter_book", "jupyter-book", "1.0.4", "2"),)
TEST = (
    Requirement("distributed", "distributed", "2024.8"),
    Requirement("nbval", "nbval", "0.11"),
    Requirement("onnx", "onnx", "1.17"),
    Requirement("onnxruntime", "onnxruntime", "1.20"),
    Requirement("onnxscript", "onnxscript", "0.4"),
    Requirement("playwright", "playwright", "1.45"),
    Requirement("pycocotools", "pycocotools", "2.0.8"),
    Requirement("pypdf", "pypdf", "5.0"),
    Requirement("pytest", "pytest", "8.2"),
    Requirement("xdist", "pytest-xdist", "3.5"),
    Requirement("ray", "ray", "2.20"),
    Requirement("ruff", "ruff", "0.6"),
    Requirement("transformers", "transformers", "5.0"),
)
SCREEN = ("anywidget", "beartype", "ipywidgets", "matplotlib")  # for pages and tests: a machine that computes has none
COMPUTE = tuple(requirement for requirement in RUNTIME if requirement.module not in SCREEN)
NEEDS = {
    "compute": COMPUTE, "run": RUNTIME, "lab": RUNTIME + NOTEBOOK, "book": BOOK,
    "test": RUNTIME + NOTEBOOK + BOOK + TEST,
}  # fmt: skip


class SetupError(Exception):
    """What is in the way, and what to do about it, in one sentence or two."""


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.13.0+cpu" → (2, 13, 0)."""
    return tuple(int(number) for number in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))


def lacking(purpose: str) -> list[str]:
    """What the running interpreter lacks for a purpose, a key of `NEEDS`: one phrase each, none when all is there.

    Looks at what is installed without importing it.
    """
    phrases = []
    for module, distribution, at_least, below in NEEDS[purpose]:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version is None or importlib.util.find_spec(module) is None:
            phrases.append(f"{distribution} is not installed")
        elif version_numbers(version) < version_numbers(at_least):
            phrases.append(f"{distribution} {version} is older than {at_least}")
        elif below and version_numbers(version) >= version_numbers(below):
            phrases.append(f"{distribution} {version} is not below {below}")
    return phrases


def check_repository() -> None:
    """Raises `SetupError` when samlite was installed without its repository, so without notebooks and tests."""
    if not (ROOT / "pyproject.toml").is_file() or not (ROOT / "notebooks").is_dir():
        raise SetupError(
            f"the chapters and the tests are not beside this copy of samlite ({ROOT}): "
            "clone the repository and run the command in its folder."
        )


def environment_folder() -> Path:
    return ROOT / ".venv"


def environment_python() -> Path:
    folder = environment_folder()
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def inside_own_environment() -> bool:
    """Whether the running interpreter is the one of `.venv`."""
    return Path(sys.prefix).resolve() == environment_folder().resolve()


def _marker() -> Path:
    return environment_folder() / "samlite-installed.json"


def _digest() -> str:
    """Changes when what must be installed changes, or when the folder was moved (an editable install names it)."""
    parts = [(ROOT / name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*parts, str(ROOT).encode(), __version__.encode()])).hexdigest()


def environment_is_ready(purpose: str) -> bool:
    """Whether `.venv` holds what "run", "lab", "book" or "test" needs, as far as its marker says."""
    try:
        marker = json.loads(_marker().read_text(encoding="utf-8"))
        return marker["digest"] == _digest() and (purpose != "test" or marker["test"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def python_for(purpose: str, cpu: bool = False) -> Path:
    """The interpreter for "lab", "book" or "test", after making sure that everything needed is installed for it.

    `cpu` takes PyTorch's smaller CPU build. Raises `SetupError`.
    """
    check_repository()
    if not inside_own_environment() and not lacking(purpose) and _everything_imports(purpose):
        return Path(sys.executable)
    if not environment_is_ready(purpose):
        _install(purpose, cpu)
    return environment_python()


def _everything_imports(purpose: str) -> bool:
    imports = "import " + ", ".join(requirement.module for requirement in NEEDS[purpose])
    return subprocess.run([sys.executable, "-c", imports], capture_output=True).returncode == 0


def _install(purpose: str, cpu: bool) -> None:
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < (needed := GIGABYTES_NEEDED[purpose]):
        raise SetupError(f"only {free:.1f} GB are free where {ROOT} lies and {needed} are needed: make room.")
    _say(f"Installing PyTorch, JupyterLab and the rest into {environment_folder()} (only now; this takes minutes).")
    if not cpu and sys.platform == "linux" and not shutil.which("nvidia-smi"):
        _say("No NVIDIA GPU was found: if the download turns out huge, stop it and add --cpu to the command.")
    _make_environment()
    _marker().unlink(missing_ok=True)  # half an installation must not look like a whole one
    _pip("--upgrade", "pip", "setuptools>=77")  # a new pip needs half the time of the one that comes with Python
    if cpu:
        torch_line = next(line for line in _requirement_lines() if line.startswith("torch"))
        _pip("--index-url", CPU_WHEELS, torch_line)
    _pip("-r", "requirements.txt", *(["--no-build-isolation", "-e", ".[test]"] if purpose == "test" else []))
    _compile()
    _quiet_jupyterlab()
    _marker().write_text(json.dumps({"digest": _digest(), "test": purpose == "test"}), encoding="utf-8")


def _requirement_lines() -> list[str]:
    return (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def _make_environment() -> None:
    folder = environment_folder()
    if _runs(environment_python(), "import pip"):
        return
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        package = f"python3.{sys.version_info[1]}-venv"
        raise SetupError(
            f"this Python came without its venv module: on Debian and Ubuntu `sudo apt install {package}` brings it."
        )
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode != 0:
        raise SetupError(explain(made.stdout, f"could not make the virtual environment {folder}"))


def _quiet_jupyterlab() -> None:
    """In this environment JupyterLab neither asks about news before the first chapter nor looks for updates."""
    settings = environment_folder() / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    silence = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (settings / "overrides.json").write_text(json.dumps(silence), encoding="utf-8")


def _runs(python: Path, code: str) -> bool:
    try:
        return subprocess.run([str(python), "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


def _pip(*arguments: str) -> None:
    quiet = [] if sys.stdout.isatty() else ["--quiet"]  # a person sees the progress, a log only what went wrong
    options = ["--no-compile", "--disable-pip-version-check", *quiet]
    command = [str(environment_python()), "-m", "pip", "install", *options, *arguments]
    silent = {**os.environ, "PYTHONWARNINGS": "ignore"}  # setuptools warns of editable installations, in nine lines
    process = subprocess.Popen(command, cwd=ROOT, env=silent, stderr=subprocess.PIPE, text=True, errors="replace")
    complaints = []
    for line in process.stderr:
        complaints.append(line)
        sys.stderr.write(line)
    if process.wait() != 0:
        raise SetupError(explain("".join(complaints), f"`pip install {' '.join(arguments)}` failed"))


def _compile() -> None:
    """Python's own step of an installation, on all cores; pip would take a minute for it on one."""
    python = str(environment_python())
    where = [python, "-I", "-X", "utf8", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    folder = subprocess.run(where, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    tests = re.escape(folder) + r".*[/\\]tests?[/\\]"  # the packages' own: not imported here, some not even Python
    command = [python, "-W", "ignore", "-m", "compileall", "-qq", "-j", "0", "-x", tests, folder]
    subprocess.run(command)  # what fails here compiles later, or says then what is wrong with it


def explain(output: str, what: str) -> str:
    """One sentence for what pip or venv printed in `output`; `what` says which step failed."""
    if re.search(r"No space left|Errno 28|not enough space|disk is full", output, re.IGNORECASE):
        return f"{what}: the disk is full. Make room and run the same command again."
    if re.search(
        r"ConnectionError|ConnectionReset|connection broken|ConnectTimeout|ReadTimeout|IncompleteRead|ProxyError|"
        r"name resolution|getaddrinfo|nodename nor servname|Network is unreachable",
        output,
    ):
        return f"{what}: no network, or no way to the package index. The first start needs one; later ones do not."
    missing = re.search(r"No matching distribution found for (\S+)", output)
    if missing:
        return (
            f"{what}: there is no {missing[1]} for Python {sys.version_info[0]}.{sys.version_info[1]} on this system. "
            "Use another Python (3.10 to 3.13 have the most packages), or change that line of requirements.txt."
        )
    if re.search(r"Permission denied|Errno 13", output):
        return f"{what}: this user may not write to {ROOT}. Clone into a folder of your own."
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"{what}: {lines[-1] if lines else 'it said nothing'}"


def pip_install(what: str) -> str:
    """The line that installs something for the running interpreter, whichever `pip` the shell would find."""
    return f"{sys.executable} -m pip install {what}"


def child_variables() -> dict[str, str]:
    """The environment variables for programs started in the environment: they find this copy of samlite first."""
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *([path] if path else [])])}


def replace_process(python: Path, arguments: list[str]) -> NoReturn:
    """Goes on as another program, so that Ctrl+C reaches that program alone."""
    command = [str(python), *arguments]
    sys.stdout.flush()
    if os.name != "nt":
        os.execve(command[0], command, child_variables())
    process = subprocess.Popen(command, env=child_variables())  # Windows cannot replace a process
    while True:
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:
            continue  # the program got it too and decides


def _say(sentence: str) -> None:
    print(sentence, flush=True)
