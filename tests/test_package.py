"""The shape of the package itself: what may import what, what works without PyTorch, what a wheel holds."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import skimage
from packaging.requirements import Requirement
from PIL import Image

import samlite
from samlite import __main__, environment
from samlite.command_line import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "samlite"
FILES = sorted(PACKAGE.rglob("*.py"))
# What runs before anything is installed, and may speak to the person at the keyboard.
BARE = ("__init__", "__main__", "command_line", "environment", "lab", "checks", "book", "doctor")
COMMAND_FILES = [
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".") for path in PACKAGE.rglob("*command*.py")
]
MAY_PRINT = {*BARE, *COMMAND_FILES}
PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
MODEL = ("layers", *PARTS, "masked_autoencoder", "batched_call", "sam")


def module_name(path: Path) -> str:
    """samlite/notebook/ledger.py → notebook.ledger"""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file: dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            found.add(node.module)
            # `from samlite import environment` imports a module as well
            found.update(f"{node.module}.{alias.name}" for alias in node.names if node.module == "samlite")
    return found


def foreign(path: Path) -> set[str]:
    """The top-level names of what a file imports from outside the standard library."""
    return {name.split(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("part", MODEL)
def test_the_model_stands_alone(part: str) -> None:
    path = PACKAGE / f"{part}.py"
    assert foreign(path) <= {"torch", "einops", "jaxtyping", "samlite"}
    own = {name for name in imports_of(path) if name.startswith("samlite")}
    allowed = {"masked_autoencoder": {"samlite.layers", "samlite.image_encoder"}, "batched_call": {"samlite.memory"}}
    allowed |= {"layers": set(), "sam": {f"samlite.{name}" for name in ("layers", "batched_call", *PARTS)}}
    assert own <= allowed.get(part, {"samlite.layers"})


@pytest.mark.parametrize("part", [*PARTS, "sam"])
def test_the_released_parts_stand_on_the_documents(part: str) -> None:
    path = PACKAGE / "released" / f"{part}.py"
    assert foreign(path) <= {"torch", "einops", "jaxtyping", "samlite"}
    own = {name for name in imports_of(path) if name.startswith("samlite")}
    parts = {f"samlite.released.{name}" for name in (*PARTS, "checkpoints")}
    assert own <= ({"samlite.sam", *parts} if part == "sam" else {"samlite.layers", f"samlite.{part}"})


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_one_way(path: Path) -> None:
    """model ← released ← predictor ← learning ← notebook; commands import any of them, `command_line` none."""
    name = module_name(path)
    forbidden = ["samlite.released"] if name in (*MODEL, "predictor") else []
    if not name.startswith("notebook") and name not in MAY_PRINT:
        forbidden.append("samlite.notebook")
    if not name.startswith(("notebook", "learning")) and name not in MAY_PRINT:
        forbidden.append("samlite.learning")
    if name == "__init__":
        forbidden.clear()  # its imports are for type checkers; `test_bare_python` shows that they cost nothing
    if name.startswith("learning"):
        forbidden.append("samlite.notebook")
    upwards = {imported for imported in imports_of(path) if imported.startswith(tuple(forbidden))}
    assert not upwards, f"{name} imports {upwards}, which stands above it"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_commands_print(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    lines = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert not lines or module_name(path) in MAY_PRINT, f"the library never prints, but it does in lines {lines}"


@pytest.mark.parametrize("name", BARE)
def test_the_first_steps_need_the_standard_library_alone(name: str) -> None:
    at_the_top = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8")).body
    roots = {
        (node.names[0].name if isinstance(node, ast.Import) else node.module).split(".")[0]
        for node in at_the_top
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert roots <= {*sys.stdlib_module_names, "samlite"}


def test_bare_python_imports_samlite() -> None:
    """-S leaves out everything that pip installed; -I the folder and the variables that could bring it back."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import samlite, samlite.command_line, samlite.doctor;"
        "assert 'torch' not in sys.modules and 'SamPredictor' in dir(samlite);"
        "print(samlite.__version__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == samlite.__version__


@pytest.mark.parametrize("name", samlite.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(samlite, name)
    assert value.__doc__, f"samlite.{name} has no docstring"
    assert name in dir(samlite)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SamPredicter'"):
        samlite.SamPredicter  # noqa: B018


def test_versions_agree() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", samlite.__version__)
    try:
        installed = importlib.metadata.version("samlite")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("samlite is not installed here, it runs from its folder")
    assert installed == samlite.__version__, "install samlite again: `pip install -e .`"


def test_requirements_agree() -> None:
    """One list for pip (pyproject.toml), one for readers (requirements.txt), one that runs before pip: all the same."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML by itself")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=" + ".".join(map(str, __main__.MINIMUM_PYTHON))

    def as_text(table: tuple[environment.Requirement, ...]) -> set[str]:
        return {f"{row.distribution}>={row.at_least}" + (f",<{row.below}" if row.below else "") for row in table}

    extras = project["optional-dependencies"]
    assert set(project["dependencies"]) == as_text(environment.RUNTIME)
    assert set(extras["notebook"]) == as_text(environment.NOTEBOOK)
    assert set(extras["book"]) == as_text(environment.BOOK)
    assert set(extras["test"]) == as_text(environment.TEST)

    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    assert lines[-1] == "-e ."
    for_readers = {Requirement(line).name: Requirement(line) for line in lines[:-1]}
    declared = [*project["dependencies"], *extras["notebook"], *extras["book"], "nbval>=0.11"]
    assert set(for_readers) == {Requirement(line).name for line in declared}
    for requirement in map(Requirement, declared):
        if requirement.name != "torch":
            assert for_readers[requirement.name].specifier == requirement.specifier
    (pin,) = for_readers["torch"].specifier
    assert pin.operator == "==" and pin.version in Requirement("torch>=2.6").specifier


PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_shows_commands_that_exist() -> None:
    shown = re.findall(r"^python3 -m samlite ([^#\n]+)", README, flags=re.MULTILINE)
    assert [line.strip() for line in shown[:2]] == ["lab", "test"], "the two commands come first"
    for line in shown:
        words = line.split()
        assert build_parser(words[0]).parse_args(words).command == words[0]
    assert {line.split()[0] for line in shown} == set(COMMANDS)


def test_the_readme_shows_python_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.print", lambda *_: None)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["masks"].shape == (3, 512, 512) and names["iou_predictions"].shape == (3,)


def test_the_readme_gives_a_reason_for_every_dependency() -> None:
    named = {Requirement(name).name for name in re.findall(r"^    \"([a-z-]+)", PYPROJECT, flags=re.MULTILINE)}
    extras = re.findall(r"^(?:notebook|book|onnx|test) = \[(.*)\]", PYPROJECT, flags=re.MULTILINE)
    named |= set(re.findall(r"\"([a-z-]+)", " ".join(extras)))
    table = README.split("## What it stands on")[1].split("\n## ")[0]
    for name in named:
        assert re.search(rf"^\|[^|]*\b{name}\b[^|]*\| \S", table, flags=re.MULTILINE), f"no reason for {name}"


def test_a_wheel_holds_the_weights_and_the_canvas(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    shipped = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in shipped:
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    wheel_only = ["--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *wheel_only, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {path.relative_to(ROOT).as_posix() for path in shipped} <= inside
    assert "samlite/notebook/canvas.js" in inside and "samlite/weights/tiny.safetensors" in inside
    assert {name.split("/")[0] for name in inside} == {"samlite", f"samlite-{samlite.__version__}.dist-info"}


def test_the_model_and_its_training_say_their_shapes() -> None:
    """No public function or ``forward`` takes or gives a bare Tensor or array, but those that take any shape."""
    any_shape = {
        "record", "listen", "cut", "draw", "difference", "relative_difference", "fast_is_exact", "check_finite",
        "check_inside", "image", "zeroed",
    }  # fmt: skip
    measuring = {"full_size_bench.py", "peers.py", "waterfall.py"}  # hand on what they time
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name in measuring or "exercises" in str(path):
            continue
        module = ast.parse(path.read_text("utf-8")).body
        methods = [each for node in module if isinstance(node, ast.ClassDef) for each in node.body]
        for node in [*module, *methods]:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in any_shape:
                arguments = [*node.args.args, *node.args.kwonlyargs, node.args.vararg]
                given = [each.annotation for each in arguments if each is not None] + [node.returns]
                if any(
                    each is not None and ast.unparse(each) in ("Tensor", "torch.Tensor", "np.ndarray") for each in given
                ):
                    found.append(f"{path.name}: {node.name}")
    assert found == []
