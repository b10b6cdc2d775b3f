"""Chapters are run in place, and keep nothing of the machine that ran them."""

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from samlite.notebook.execute import main, run

PICTURE = """from IPython.display import Image
import base64
dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
Image(data=base64.b64decode(dot), format="png", alt="one red dot")"""


def test_a_chapter_is_run_in_place(tmp_path):
    path = tmp_path / "chapter.ipynb"
    cells = [new_markdown_cell("# Title"), new_code_cell("from pathlib import Path\nx = 6"), new_code_cell("x * 7")]
    cells += [new_code_cell(PICTURE), new_code_cell("Path('here').touch()\nimport ipywidgets\nipywidgets.IntSlider()")]
    cells[2].metadata.update({"mystnb": {"image": {"alt": "of an earlier run"}}})
    stale = new_notebook(cells=cells, metadata={"widgets": {}, "language_info": {"name": "python", "version": "3.1"}})
    nbformat.write(stale, path)
    assert main([str(path)]) == 0

    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in notebook.cells[1:]]
    assert counts == [1, 2, 3, 4]
    assert notebook.cells[2].outputs[0].data["text/plain"] == "42" and not notebook.cells[2].metadata
    assert notebook.cells[3].metadata == {"mystnb": {"image": {"alt": "one red dot"}}}
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert "execution" not in notebook.cells[1].metadata  # the times of a run
    assert (tmp_path / "here").exists()  # the kernel works where the notebook lies


def test_a_chapter_that_fails_is_left_as_it_was(tmp_path):
    path = tmp_path / "chapter.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0")]), path)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        main([str(path)])
    assert path.read_bytes() == before


def test_a_run_tells_what_it_cost(tmp_path):
    notebook = new_notebook(cells=[new_code_cell("held = b'x' * 400_000_000")])
    cost = run(notebook, tmp_path)
    assert len(notebook.cells) == 1  # the question to the kernel leaves no trace
    assert cost["seconds"] > 0 and cost["cores"] >= 1 and cost["device"] == "cpu" and cost["torch"] is None
    if cost["peak_megabytes"] is not None:  # not on Windows
        assert 400 < cost["peak_megabytes"] < 700 and cost["cpu_seconds"] > 0
