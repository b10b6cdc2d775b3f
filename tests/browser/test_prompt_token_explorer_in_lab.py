"""The prompt token explorer in a real JupyterLab: mouse, keyboard and menus move the point, pictures change."""

import json

import pytest

SETUP = """
import numpy as np, torch
from samlite.notebook.prompt_token_explorer import PromptTokenExplorer
from samlite.notebook.prompt_token_views import PromptTokenViews
from samlite.sam import document_sam

torch.manual_seed(0)
sam = document_sam(
    image_size=96, patch_size=8, width=32, depth=1, heads=4, channels=16, decoder_heads=2, decoder_mlp=16
)
photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
explorer = PromptTokenExplorer(PromptTokenViews(sam.eval(), photo), x=30, y=20)
explorer
"""
PIXELS = """(place) => {
  const canvas = document.querySelectorAll(".samlite-token canvas")[place];
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).join();
}"""
CANVASES = 6  # photo, likeness, three summands and their sum


@pytest.fixture(scope="module")
def page(open_notebook):
    page = open_notebook("prompt_token.ipynb", SETUP)
    page.wait_for_selector(".samlite-token .words:not(:empty)")
    page.wait_for_function(f"(({PIXELS})(0)).includes('255')")
    return page


@pytest.fixture(autouse=True)
def start(page, python):
    """Every test begins at the same place, whatever ran before."""
    python(page, "explorer.look(30, 20, kind='foreground point', term='position code')")
    words(page, "Foreground point at x = 30, y = 20. By position code")


@pytest.fixture
def state(page, python):
    def read():
        return eval(python(page, "tuple(getattr(explorer, name) for name in ('x', 'y', 'kind', 'term'))"))

    return read


def words(page, start):
    page.wait_for_function(
        f"document.querySelector('.samlite-token .words').textContent.startsWith({json.dumps(start)})"
    )
    return page.inner_text(".samlite-token .words")


def test_a_click_moves_the_point_and_its_pictures_change(page, state, screenshots):
    before = [page.evaluate(PIXELS, place) for place in range(CANVASES)]
    box = page.locator(".samlite-token canvas.photo").bounding_box()
    # x = 60 of the photo's 90 pixels is 64 of the frame's 96; the middle of that pixel lies at 64.5 / 96
    page.mouse.click(box["x"] + box["width"] * 64.5 / 96, box["y"] + box["height"] * 32.5 / 96)
    words(page, "Foreground point at x = 60, y = 30.")
    assert state() == (60, 30, "foreground point", "position code")
    changed = [page.evaluate(PIXELS, place) != before[place] for place in range(CANVASES)]
    assert changed[:4] == [True] * 4 and changed[5]  # not the type
    page.screenshot(path=screenshots / "prompt_token_explorer.png")


def test_a_click_beside_the_photo_stays_on_it(page, state):
    box = page.locator(".samlite-token canvas.photo").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.95)  # padding
    words(page, "Foreground point at x = 45, y = 59.")
    assert not page.inner_text(".samlite-token .error")


def test_the_keyboard_does_all_of_it(page, state):
    page.focus(".samlite-token canvas.photo")
    page.keyboard.press("Control+End")  # a key of Jupyter or of the browser
    for key in ("ArrowUp", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    words(page, "Foreground point at x = 32, y = 19.")
    page.keyboard.press("Shift+ArrowDown")  # a cell of 8 pixels of the frame is 7.5 of the photo
    words(page, "Foreground point at x = 32, y = 27.")
    page.keyboard.press("End")
    words(page, "Foreground point at x = 89, y = 27.")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    words(page, "First corner at x = 89, y = 27.")
    page.keyboard.press("PageDown")
    page.keyboard.press("PageDown")
    words(page, "Background point at x = 89, y = 27.")
    assert state()[:3] == (89, 27, "background point")


def test_menus_choose_kind_and_term_and_the_code_says_so(page, state):
    page.select_option(".samlite-token select >> nth=0", "second corner")
    page.select_option(".samlite-token select >> nth=1", "learned position")
    words(page, "Second corner at x = 30, y = 20. By learned position")
    assert page.inner_text(".samlite-token pre").splitlines() == [
        "views.summands(30, 20, kind='second corner')",
        "views.similarity(30, 20, term='learned position')",
    ]
    assert state()[2:] == ("second corner", "learned position")


def test_it_says_what_it_is_and_asks_no_other_machine(page):
    labels = page.eval_on_selector_all(
        ".samlite-token canvas", "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert len(labels) == CANVASES and all(labels)
    assert page.get_attribute(".samlite-token .words", "aria-live") == "polite"
    assert all("127.0.0.1" in address or address.startswith(("data:", "blob:")) for address in page.requests)
    assert page.problems == []
