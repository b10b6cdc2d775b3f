"""The instructors' guide names cells; JupyterLab goes to one by the address."""

import shutil
from pathlib import Path

import pytest

CHAPTER = Path(__file__).parents[2] / "notebooks" / "00_start_here.ipynb"
ACTIVE = """(name) => {
  const panel = window.jupyterapp?.shell?.currentWidget;
  const cell = panel?.content?.activeCell;
  if (cell?.model?.id !== name) return false;
  const area = cell.node.getBoundingClientRect();
  return area.height > 0 && area.top < window.innerHeight && area.bottom > 0;
}"""


@pytest.mark.parametrize("name", ["canvas", "time"])
def test_the_address_leads_to_a_cell(lab, browser, name):
    address, notebooks = lab
    shutil.copyfile(CHAPTER, notebooks / CHAPTER.name)
    page = browser.new_context(viewport={"width": 1300, "height": 900}).new_page()
    try:
        page.goto(f"{address}/lab/tree/{CHAPTER.name}#cell-id={name}")
        page.wait_for_function(ACTIVE, arg=name, timeout=60_000)
        other = "photo" if name == "canvas" else "ledger"
        page.evaluate("(name) => { window.location.hash = `cell-id=${name}`; }", other)  # typed into an open chapter
        page.reload()
        page.wait_for_function(ACTIVE, arg=other, timeout=60_000)
    finally:
        page.context.close()
