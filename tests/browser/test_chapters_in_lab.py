"""Every chapter with a prompt canvas, opened in JupyterLab as it is committed: a click, and its mask is seen.

Only what a canvas needs is run, in the order of the chapter: the cells that bind the names that it uses, and the names
that those use. That every chapter runs as a whole is tested elsewhere, and takes longer. The canvas of the first
chapter is clicked in test_canvas_latency.py.
"""

import ast
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LOOK = """([index, before]) => { // the pixels on the screen; or what share of them has changed since the last look
  const canvas = document.querySelectorAll(".samlite-canvas .samlite-photo canvas")[index];
  const now = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const then = window.samliteLook;
  window.samliteLook = now;
  if (!before) return 0;
  let changed = 0;
  for (let i = 0; i < now.length; i += 4)
    changed += Math.abs(now[i] - then[i]) + Math.abs(now[i + 1] - then[i + 1]) + Math.abs(now[i + 2] - then[i + 2]) > 6;
  return changed / (now.length / 4);
}"""
PLACES = [(0.5, 0.4), (0.3, 0.6), (0.65, 0.7)]  # of the clicks, as shares of width and height


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def shows_a_canvas(cell) -> bool:
    said = [output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return any(words.startswith("PromptCanvas:") for words in said)


CHAPTERS = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if any(map(shows_a_canvas, code_cells(path)))]


def names_of(source: str) -> tuple[set[str], set[str]]:
    """What a cell binds, and what it uses."""
    bound, used = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
    return bound, used


def needed(cells) -> list[str]:
    """The ids of the cells that show a canvas, and of those that they need."""
    wanted, ids = set(), []
    for cell in reversed(cells):
        bound, used = names_of(cell.source)
        if shows_a_canvas(cell) or bound & wanted:
            wanted |= used
            ids.insert(0, cell.id)
    return ids


def test_the_first_chapters_have_a_canvas():
    assert {path.name[:2] for path in CHAPTERS} >= {"00", "01", "02", "03"}


@pytest.mark.parametrize("path", CHAPTERS[1:], ids=lambda path: path.stem)
def test_a_click_in_the_chapter_shows_its_mask(path, show, python, screenshots):
    cells = code_cells(path)
    page = show(path.name, nbformat.read(path, as_version=4), only=needed(cells))
    count = sum(map(shows_a_canvas, cells))
    roots = page.locator(".samlite-canvas[data-replies]")
    roots.nth(count - 1).wait_for(timeout=60_000)
    assert roots.count() == count
    for index in range(count):
        root, name = roots.nth(index), f"[out for out in Out.values() if hasattr(out, 'draw_box')][{index}]"
        photo, code = root.locator(".samlite-photo canvas"), root.locator(".samlite-code code")
        photo.scroll_into_view_if_needed()
        root.get_by_role("checkbox").uncheck()  # a preview would show a mask before the click
        height, width = ast.literal_eval(python(page, f"{name}.photo.shape[:2]"))
        for across, down in PLACES:
            photo.focus()
            page.keyboard.press("x")
            wait_for(page, code, lambda text: ".predict(" not in text)
            page.evaluate(LOOK, [index, False])
            area = photo.bounding_box()
            page.mouse.click(area["x"] + across * area["width"], area["y"] + down * area["height"])
            text = wait_for(page, code, lambda text: ".predict(" in text)
            x, y = ast.literal_eval(text.split("point_coords=[")[1].split("]]")[0] + "]")
            assert abs(x - across * width) <= 1 + width / area["width"]
            assert abs(y - down * height) <= 1 + height / area["height"]
            assert python(page, f"{name}.prompt.points") == f"(({x}, {y}, 1),)"
            share = float(python(page, f"float({name}.mask.mean())"))
            seen = page.evaluate(LOOK, [index, True])
            assert share - 0.03 < seen < share + 0.05  # some pixels have the tint already, a marker comes along
            if share > 0.01:
                break  # a mask that can be seen
        else:
            pytest.fail(f"canvas {index}: three clicks, and no mask of more than a hundredth of the photo")
    page.screenshot(path=screenshots / f"chapter_{path.stem}.png")
    assert roots.locator(".samlite-error").all_inner_texts() == [""] * count
    assert page.problems == []
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")  # its memory is wanted next
    page.context.close()


def wait_for(page, code, fits, seconds: int = 20) -> str:
    """The Python below the photo, once it fits and is drawn."""
    for _ in range(20 * seconds):
        if fits(text := code.inner_text()):
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            return text
        page.wait_for_timeout(50)
    raise AssertionError(f"the canvas still says {text!r}")
