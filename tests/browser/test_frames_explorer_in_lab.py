"""The frames explorer in a real JupyterLab: a click, a drag and keys in one frame change what is shown in all."""

import json

import pytest

SETUP = """
import numpy as np
from samlite.frames import PhotoFrames
from samlite.notebook.frames_explorer import FramesExplorer

photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
explorer = FramesExplorer(photo, PhotoFrames((60, 90), image_size=96, grid_size=12))
explorer
"""
NAMES = ("original", "input", "grid", "low_res")
PIXELS = """(name) => {
  const canvas = document.querySelector(`.samlite-frames canvas.${name}`);
  return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data).join();
}"""


@pytest.fixture(scope="module")
def page(open_notebook):
    page = open_notebook("frames.ipynb", SETUP)
    page.wait_for_selector(".samlite-frames figcaption span")
    for name in NAMES:
        page.wait_for_function(f"(({PIXELS})('{name}')).includes('255')")
    return page


@pytest.fixture(autouse=True)
def start(page, python):
    """Every test begins at the same place, whatever ran before."""
    python(page, "explorer.look('original', point=(30, 15))")
    words(page, "Point (30, 15) of the original frame.")


@pytest.fixture
def state(page, python):
    return lambda: eval(python(page, "(explorer.frame, *explorer.place)"))


def words(page, start):
    page.wait_for_function(
        f"document.querySelector('.samlite-frames .words').textContent.startsWith({json.dumps(start)})"
    )


def lines(page, name):
    return page.locator(f".samlite-frames figure:has(canvas.{name}) figcaption span").all_inner_texts()


def at(page, name, x, y):
    """A place of a canvas, in shares of its sides, as pixels of the page."""
    box = page.locator(f".samlite-frames canvas.{name}").bounding_box()
    return box["x"] + box["width"] * x, box["y"] + box["height"] * y


def test_a_click_in_one_frame_moves_the_point_in_all(page, state, screenshots):
    before = {name: page.evaluate(PIXELS, name) for name in NAMES}
    page.mouse.click(*at(page, "grid", 7.5 / 12, 2.5 / 12))
    words(page, "Point (7, 2) of the grid frame.")
    assert state() == ("grid", 7, 2)
    assert lines(page, "grid") == ["x, y = (7, 2)", "array[row, column]: [2, 7]"]
    assert lines(page, "input")[:2] == ["x, y = (59.5, 19.5)", "array[row, column]: [20, 60]"]
    for name, pixels in before.items():
        assert page.evaluate(PIXELS, name) != pixels, f"{name} has not changed"
    page.screenshot(path=screenshots / "frames_explorer.png")


def test_a_drag_draws_a_box_whichever_way_it_goes(page, state):
    page.mouse.move(*at(page, "low_res", 0.75, 0.5))
    page.mouse.down()
    page.mouse.move(*at(page, "low_res", 0.6, 0.4), steps=3)
    page.mouse.move(*at(page, "low_res", 0.25, 0.25), steps=3)
    page.mouse.up()
    words(page, "Box (11.5, 11.5, 35.5, 23.5) of the low-res frame.")
    assert state() == ("low_res", 11.5, 11.5, 35.5, 23.5)
    assert lines(page, "low_res") == ["XYXY = (11.5, 11.5, 35.5, 23.5)", "XYWH = (11.5, 11.5, 24, 12)"]


def test_a_second_finger_ends_the_drag_of_the_first(page, state):
    session = page.context.new_cdp_session(page)

    def touch(kind, *shares):
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(at(page, "original", *each) for each in shares)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    touch("touchStart", (0.2, 0.2))
    touch("touchStart", (0.2, 0.2), (0.7, 0.7))
    touch("touchMove", (0.1, 0.1), (0.9, 0.9))
    touch("touchEnd", (0.1, 0.1))
    touch("touchEnd")
    words(page, "Point (17.")  # 0.2 · 90 - 0.5, where the first finger came down
    page.keyboard.press("ArrowRight")
    words(page, "Point (18.")
    assert len(state()) == 3  # the frame, x and y
    touch("touchStart", (0.2, 0.2))
    touch("touchMove", (0.5, 0.5))
    touch("touchEnd")
    words(page, "Box (17.")  # one finger alone draws a box


def test_the_keyboard_does_all_of_it(page, state):
    page.focus(".samlite-frames canvas.input")
    page.keyboard.press("ArrowRight")  # 30 · 96/90 = 32
    words(page, "Point (33, 16) of the input frame.")
    page.keyboard.press("Shift+ArrowDown")
    words(page, "Point (33, 16.1) of the input frame.")
    page.keyboard.press("c")
    words(page, "Point (33, 16) of the input frame.")
    page.keyboard.press("b")
    words(page, "Box (33, 16, 57, 40) of the input frame.")
    page.keyboard.press("ArrowLeft")
    words(page, "Box (33, 16, 56, 40) of the input frame.")
    page.keyboard.press("P")  # as with caps lock
    words(page, "Point (33, 16) of the input frame.")
    page.keyboard.press("Tab")  # on to the grid
    page.keyboard.press("c")
    words(page, "Point (4, 2) of the grid frame.")
    assert state() == ("grid", 4, 2)


def test_the_padding_is_no_part_of_the_photo(page):
    page.mouse.click(*at(page, "input", 0.5, 0.9))
    page.wait_for_function("document.querySelector('.samlite-frames').textContent.includes('predict refuses it')")
    assert lines(page, "grid")[-1] == "in the padding"


def test_what_goes_wrong_is_said_in_the_widget(page, python):
    python(page, "explorer.set_state({'frame': 'grid', 'place': [99.0, 2.0]})")
    page.wait_for_function("document.querySelector('.samlite-frames .error').textContent.includes('x is -0.5…11.5')")
    page.mouse.click(*at(page, "grid", 0.5, 0.5))
    page.wait_for_function("document.querySelector('.samlite-frames .error').textContent === ''")


def test_it_says_what_it_is_and_asks_no_other_machine(page):
    labels = page.eval_on_selector_all(
        ".samlite-frames canvas", "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert len(labels) == 4 and all("frame" in label for label in labels)
    assert page.get_attribute(".samlite-frames .words", "aria-live") == "polite"
    assert page.inner_text(".samlite-frames pre").splitlines()[0].startswith("frames = PhotoFrames((60, 90)")
    assert all("127.0.0.1" in address or address.startswith(("data:", "blob:")) for address in page.requests)
    assert page.problems == []
