"""The decoder explorer in a real JupyterLab: mouse, keyboard and menus choose, the kernel decodes, pictures change."""

import json
import time

import pytest

SETUP = """
import numpy as np, torch
from samlite.notebook.decoder_explorer import DecoderExplorer
from samlite.notebook.decoder_views import DecoderViews
from samlite.sam import document_sam

torch.manual_seed(0)
sizes = {"image_size": 96, "patch_size": 8, "width": 32, "depth": 1, "heads": 4}
sam = document_sam(**sizes, channels=16, decoder_heads=2, decoder_mlp=16)
photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
explorer = DecoderExplorer(DecoderViews(sam.eval(), photo), 30, 20, box=[20, 10, 60, 50])
explorer
"""
PIXELS = """(name) => {
  const canvas = document.querySelector(`.samlite-decoder canvas.${name}`);
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).join();
}"""


@pytest.fixture(scope="module")
def page(open_notebook):
    page = open_notebook("decoder.ipynb", SETUP)
    page.wait_for_selector(".samlite-decoder .words:not(:empty)")
    page.wait_for_function(f"(({PIXELS})('photo')).includes('255')")
    return page


@pytest.fixture(autouse=True)
def start(page, python):
    """Every test begins with the same click, whatever ran before."""
    python(page, "explorer.look(30, 20, block=0, stage='token_to_image_attention', token=0)")
    words(page, "Click at (30, 20). Block 0, token to image attention, mean of all heads, token point 0")


@pytest.fixture
def state(page, python):
    def read():
        names = ("x", "y", "block", "stage", "token", "head")
        return tuple(eval(python(page, f"tuple(getattr(explorer, name) for name in {names})")))

    return read


def words(page, start):
    page.wait_for_function(
        f"document.querySelector('.samlite-decoder .words').textContent.startsWith({json.dumps(start)})"
    )
    return page.inner_text(".samlite-decoder .words")


def test_a_click_moves_the_prompt_and_everything_changes(page, state, screenshots):
    before = {name: page.evaluate(PIXELS, name) for name in ("photo", "attention", "logits")}
    box = page.locator(".samlite-decoder canvas.photo").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 70.5 / 90, box["y"] + box["height"] * 40.5 / 60)
    words(page, "Click at (70, 40).")
    assert state()[:2] == (70, 40)
    for name, pixels in before.items():
        assert page.evaluate(PIXELS, name) != pixels, f"{name} has not changed"
    page.screenshot(path=screenshots / "decoder_explorer.png")


def test_a_drag_ends_where_the_hand_ends(page, state):
    box = page.locator(".samlite-decoder canvas.photo").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 80.5 / 90, box["y"] + box["height"] * 50.5 / 60, steps=40)
    page.mouse.up()
    words(page, "Click at (80, 50).")
    assert state()[:2] == (80, 50)


def test_the_keyboard_does_all_of_it(page, state):
    page.focus(".samlite-decoder canvas.photo")
    page.keyboard.press("ArrowRight")  # a thirty-second of the longer side: 3 pixels
    words(page, "Click at (33, 20).")
    page.keyboard.press("Shift+ArrowDown")
    words(page, "Click at (33, 21).")
    page.keyboard.press("End")
    words(page, "Click at (33, 21). Block 0, token to image attention, mean of all heads, token IoU")
    page.keyboard.press("PageUp")
    page.keyboard.press("s")
    page.keyboard.press("H")  # as with caps lock
    words(page, "Click at (33, 21). Block 1, image to token attention, head 0, token IoU")
    page.keyboard.press("Home")
    page.keyboard.press("Tab")  # from the photo to the block
    page.keyboard.press("ArrowLeft")
    words(page, "Click at (33, 21). Block 0, image to token attention, head 0, token point 0")
    assert state() == (33, 21, 0, "image_to_token_attention", 0, 0)


def test_menus_choose_and_the_code_says_so(page, state):
    page.select_option(".samlite-decoder select >> nth=0", "token_self_attention")
    page.select_option(".samlite-decoder select >> nth=1", "4")
    page.select_option(".samlite-decoder select >> nth=2", "1")
    words(page, "Click at (30, 20). Block 0, token self attention, head 1, token mask 1")
    assert state()[3:] == ("token_self_attention", 4, 1)
    assert page.inner_text(".samlite-decoder pre").splitlines() == [
        "views.prompt([[30, 20]], [1], box=[20, 10, 60, 50])",
        "views.matrix(0, head=1)[4]",
        "views.masks[1]",
    ]
    assert "rows ask, columns answer" in page.get_attribute(".samlite-decoder canvas.attention", "aria-label")


def test_the_same_failure_twice_does_not_end_it(page, python, state):
    python(page, "setattr(explorer, '_see', lambda **chosen: 1 / 0)")
    page.focus(".samlite-decoder canvas.photo")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.samlite-decoder .error').textContent.includes('ZeroDivision')")
    page.keyboard.press("ArrowRight")
    end = time.monotonic() + 10
    while state()[0] != 36:  # nothing on the page tells that the kernel has failed again
        assert time.monotonic() < end
    python(page, "delattr(explorer, '_see')")
    page.keyboard.press("ArrowRight")
    words(page, "Click at (39, 20).")
    assert not page.inner_text(".samlite-decoder .error")


def test_a_look_in_code_moves_the_widget(page, python):
    python(page, "explorer.look(0, 0, block=1, token=6)")
    assert "token IoU" in words(page, "Click at (0, 0). Block 1")


def test_it_says_what_it_is_and_asks_no_other_machine(page):
    labels = page.eval_on_selector_all(
        ".samlite-decoder canvas", "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert len(labels) == 3 and all(labels)
    assert page.get_attribute(".samlite-decoder .words", "aria-live") == "polite"
    assert all("127.0.0.1" in address or address.startswith(("data:", "blob:")) for address in page.requests)
    assert page.problems == [] and not page.inner_text(".samlite-decoder .error")
