"""The committed notebooks: run from top to bottom, nothing left of the machine that ran them, readable by all."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
PATHS = sorted(path for path in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
MEGABYTES = 3.0
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")

each_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(NOTEBOOKS).as_posix())


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def python_of(cell: nbformat.NotebookNode) -> ast.Module:
    """The cell's syntax tree without its magics (`%timeit`, `!ls`, `?name`)."""
    lines = ["" if re.match(r"\s*[%!?]", line) else line for line in cell.source.splitlines()]
    return ast.parse("\n".join(lines))


def test_the_chapters_are_there() -> None:
    chapters = {
        "00_start_here", "01_introduction", "02_architecture", "03_prompting", "03b_frames", "04_data_engine",
        "05_image_encoder", "06_masked_autoencoder", "07_prompt_encoder", "08_mask_decoder", "09_conclusion",
        "10_training", "11_evaluation", "12_segment_everything", "13_lecture_to_release", "14_vit_h_on_a_gpu",
        "15_text_prompts", "16_eleven_million_images",
    }  # fmt: skip
    assert chapters <= {path.stem for path in PATHS if path.parent == NOTEBOOKS}
    assert chapters <= {path.stem for path in PATHS if path.parent.name == "solutions"}


@each_notebook
def test_is_a_valid_notebook(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    identifiers = [cell.id for cell in notebook.cells]
    assert len(set(identifiers)) == len(identifiers)


@each_notebook
def test_every_cell_was_run_in_order_from_a_clean_kernel(path: Path) -> None:
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts, "a chapter without code proves nothing"
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_cell_failed_or_complained(path: Path) -> None:
    for cell in code_cells(path):
        kinds = {output.get("name", output.output_type) for output in cell.outputs}
        expected = "raises-exception" in cell.metadata.get("tags", [])
        assert ("error" in kinds) == expected, f"cell {cell.execution_count}"
        assert "stderr" not in kinds, f"cell {cell.execution_count} left warnings or progress bars behind"


@each_notebook
def test_no_widget_state_is_kept(path: Path) -> None:
    assert "widgets" not in read(path).metadata


@each_notebook
def test_a_picture_stands_beside_every_widget(path: Path) -> None:
    """A static or printed page shows no widget: a picture in the same cell or the next one stands in for it."""
    cells = code_cells(path)
    kinds = [{kind for output in cell.outputs for kind in output.get("data", {})} for cell in cells]
    for cell, here, after in zip(cells, kinds, [*kinds[1:], set()], strict=True):
        if "application/vnd.jupyter.widget-view+json" in here:
            assert (here | after) & set(PICTURES), f"cell {cell.execution_count} shows a widget and no picture"


@each_notebook
def test_size(path: Path) -> None:
    assert path.stat().st_size < MEGABYTES * 1e6


@each_notebook
def test_no_path_of_the_machine_that_ran_it(path: Path) -> None:
    text = json.dumps([cell.get("outputs", []) for cell in read(path).cells])
    text = re.sub(r"(?:[A-Za-z0-9+/=]|\\n){300,}", "", text)  # of pictures, where "/tmp/" may come up by chance
    assert not re.findall(r"(?:/root|/home|/Users|/tmp|/work|C:\\\\+Users)[/\\][^\"\s]*", text)


@each_notebook
def test_every_picture_says_in_words_what_it_shows(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert "![](" not in cell.source, "a picture in the text needs words between the square brackets"
            for tag in re.findall(r"<img\b[^>]*>", cell.source):
                assert re.search(r"\balt=(\"[^\"]+\"|'[^']+')", tag), tag
        for output in cell.get("outputs", []):
            for kind in set(PICTURES) & set(output.get("data", {})):
                words = output.metadata.get(kind, {}).get("alt", "")
                assert len(words.split()) >= 3, (
                    f"the picture of cell {cell.execution_count} has no alternative text: "
                    "show it with IPython.display.Image(..., alt='...')"
                )


@each_notebook
def test_no_comparison_stands_alone(path: Path) -> None:
    """`shape == (1, 2)` on a line of its own looks like a check and is none; ruff's B015 passes it at a cell's end."""
    for cell in code_cells(path):
        for node in ast.walk(python_of(cell)):
            if isinstance(node, ast.Expr) and isinstance(node.value, (ast.Compare, ast.BoolOp)):
                pytest.fail(f"cell {cell.execution_count}: `{ast.unparse(node)}` compares without an assert")


def test_no_function_is_written_in_two_chapters() -> None:
    """A helper that two chapters need is in `samlite.notebook`."""
    written: dict[str, set[str]] = {}
    for path in PATHS:
        if path.parent == NOTEBOOKS:
            for cell in code_cells(path):
                for node in python_of(cell).body:
                    if isinstance(node, ast.FunctionDef) and not any(
                        isinstance(each, ast.Constant) and each.value is Ellipsis for each in ast.walk(node)
                    ):  # an exercise has dots
                        written.setdefault(ast.dump(node), set()).add(f"{path.stem}: {node.name}")
    assert [names for names in written.values() if len(names) > 1] == []
