"""The patch explorer in a real JupyterLab: mouse, keyboard and menus choose, the kernel answers, pictures change."""

import json

import pytest

SETUP = """
import numpy as np, torch
from samlite.notebook.patch_explorer import PatchExplorer
from samlite.notebook.patch_views import PatchViews
from samlite.sam import document_sam

torch.manual_seed(0)
sam = document_sam(
    image_size=96, patch_size=8, width=32, depth=3, heads=4, channels=16, decoder_heads=2, decoder_mlp=16
)
photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
explorer = PatchExplorer(PatchViews(sam.eval(), photo), row=2, column=3)
explorer
"""
PIXELS = """(name) => {
  const canvas = document.querySelector(`.samlite-patches canvas.${name}`);
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).join();
}"""


@pytest.fixture(scope="module")
def page(open_notebook):
    page = open_notebook("patches.ipynb", SETUP)
    page.wait_for_selector(".samlite-patches .words:not(:empty)")
    page.wait_for_function(f"(({PIXELS})('photo')).includes('255')")
    return page


@pytest.fixture(autouse=True)
def start(page, python):
    """Every test begins at the same patch, whatever ran before."""
    python(page, "explorer.look(4, 2, block=0, step='image_embedding')")
    words(page, "Patch in row 4, column 2. In block 0, all heads")


@pytest.fixture
def state(page, python):
    def read():
        names = ("row", "column", "block", "head", "step")
        return tuple(eval(python(page, f"tuple(getattr(explorer, name) for name in {names})")))

    return read


def words(page, start):
    page.wait_for_function(
        f"document.querySelector('.samlite-patches .words').textContent.startsWith({json.dumps(start)})"
    )
    return page.inner_text(".samlite-patches .words")


def test_a_click_chooses_a_patch_and_its_maps_change(page, state, screenshots):
    before = {name: page.evaluate(PIXELS, name) for name in ("photo", "attention", "likeness", "patch", "red")}
    box = page.locator(".samlite-patches canvas.photo").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 7.5 / 12, box["y"] + box["height"] * 4.5 / 12)
    words(page, "Patch in row 4, column 7.")
    assert state() == (4, 7, 0, -1, "image_embedding")
    for name, pixels in before.items():
        assert page.evaluate(PIXELS, name) != pixels, f"{name} has not changed"
    page.screenshot(path=screenshots / "patch_explorer.png")


def test_the_keyboard_does_all_of_it(page, state):
    page.focus(".samlite-patches canvas.photo")
    page.keyboard.press("Control+Home")  # a key of Jupyter or of the browser
    page.keyboard.press("ArrowDown")
    words(page, "Patch in row 5, column 2.")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    words(page, "Patch in row 4, column 0.")
    for key in ("ArrowUp", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    words(page, "Patch in row 3, column 1.")
    page.keyboard.press("PageUp")
    assert "In block 1, all heads" in words(page, "Patch in row 3, column 1. In block 1")
    page.keyboard.press("Tab")  # from the photo to the block
    page.keyboard.press("ArrowRight")
    words(page, "Patch in row 3, column 1. In block 2")
    assert state()[:3] == (3, 1, 2)


def test_menus_choose_head_and_step_and_the_code_says_so(page, state):
    page.select_option(".samlite-patches select >> nth=0", "2")
    page.select_option(".samlite-patches select >> nth=1", "patches")
    page.wait_for_function("document.querySelector('.samlite-patches pre').textContent.includes(\"step='patches'\")")
    row, column, block, head, step = state()
    assert (head, step) == (2, "patches")
    assert page.inner_text(".samlite-patches pre").splitlines() == [
        f"views.vector({row}, {column})",
        f"views.attention({row}, {column}, block={block}, head=2)",
        f"views.similarity({row}, {column}, step='patches')",
    ]


def test_the_edge_of_the_grid_is_the_end(page, state):
    page.focus(".samlite-patches canvas.photo")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    words(page, "Patch in row 4, column 11.")
    assert state()[1] == 11 and not page.inner_text(".samlite-patches .error")


def test_a_look_in_code_moves_the_widget(page, python):
    python(page, "explorer.look(x=0, y=0, block=1)")
    assert "all heads" in words(page, "Patch in row 0, column 0. In block 1")


def test_it_says_what_it_is_and_asks_no_other_machine(page):
    labels = page.eval_on_selector_all(
        ".samlite-patches canvas", "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert len(labels) == 7 and all(labels)
    assert page.get_attribute(".samlite-patches .words", "aria-live") == "polite"
    assert all("127.0.0.1" in address or address.startswith(("data:", "blob:")) for address in page.requests)
    assert page.problems == []
