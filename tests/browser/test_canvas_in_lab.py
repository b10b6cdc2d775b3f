"""The prompt canvas in JupyterLab: real mouse and keyboard events, and pixels that must change."""

import time

import pytest

CELL = """
import numpy as np
from disc_predictor import DiscPredictor
from samlite.notebook.canvas import PromptCanvas
photo = np.full((300, 400, 3), 128, dtype=np.uint8)
canvas = PromptCanvas(photo, predictor=DiscPredictor(broken_at=399))
canvas
"""
GREY = [128, 128, 128]
TINTED = [64, 121, 153]  # half grey, half the colour of masks (0, 114, 178)


class Canvas:
    """What a hand and an eye do with the canvas on a page; places are pixels of the photo, 400 × 300."""

    def __init__(self, page):
        self.page, self.session = page, None
        self.root = page.locator(".samlite-canvas").first
        self.photo = self.root.locator(".samlite-photo canvas")

    def on_page(self, x, y):
        area = self.photo.bounding_box()
        return area["x"] + (x + 0.5) * area["width"] / 400, area["y"] + (y + 0.5) * area["height"] / 300

    def replies(self):
        return int(self.root.get_attribute("data-replies"))

    def wait_for(self, action):
        """Do something and wait until the kernel has replied to it."""
        before = self.replies()
        action()
        self.page.wait_for_function(
            "([node, before]) => Number(node.dataset.replies) > before", arg=[self.root.element_handle(), before]
        )
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def click(self, x, y, **how):
        self.wait_for(lambda: self.page.mouse.click(*self.on_page(x, y), **how))

    def drag(self, start, end, button="left"):
        self.page.mouse.move(*self.on_page(*start))
        self.page.mouse.down(button=button)
        for step in range(1, 9):
            share = step / 8
            self.page.mouse.move(*self.on_page(*(a + share * (b - a) for a, b in zip(start, end, strict=True))))
        self.page.mouse.up(button=button)

    def touch(self, kind, *places):
        """A real touch event, with one finger for every place; kind: "touchStart", "touchMove" or "touchEnd"."""
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(self.on_page(*place) for place in places)]
        self.session = self.session or self.page.context.new_cdp_session(self.page)
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def colour(self, x, y):
        """What the eye sees at a pixel of the photo: [red, green, blue]."""
        return self.photo.evaluate(
            """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
                 Math.floor((x + 0.5) * canvas.width / 400), Math.floor((y + 0.5) * canvas.height / 300), 1, 1).data
               ].slice(0, 3)""",
            [x, y],
        )

    def wait_for_colour(self, x, y, is_right, seconds=20):
        end = time.monotonic() + seconds
        while not is_right(self.colour(x, y)) and time.monotonic() < end:
            time.sleep(0.05)
        assert is_right(self.colour(x, y)), self.colour(x, y)

    def text(self, part):
        return self.root.locator(f".samlite-{part}").inner_text()


@pytest.fixture(scope="module")
def page(open_notebook):
    page = open_notebook("canvas.ipynb", CELL, "1 + 1", permissions=["clipboard-read", "clipboard-write"])
    page.wait_for_selector(".samlite-canvas[data-replies]", timeout=60_000)
    return page


@pytest.fixture
def canvas(page):
    """The canvas without a prompt, its keyboard focus on the photo, the mouse elsewhere."""
    canvas = Canvas(page)
    page.mouse.move(2, 2)
    canvas.photo.scroll_into_view_if_needed()
    canvas.photo.focus()
    canvas.press("Escape")
    assert page.locator(".jp-mod-commandMode").count() == 1  # where single letters are commands of JupyterLab
    if ".predict(" in canvas.text("code"):
        canvas.wait_for(lambda: canvas.press("x"))
    assert ".predict(" not in canvas.text("code")
    return canvas


def test_a_click_lays_the_mask_over_the_photo(canvas, page, python, screenshots):
    assert canvas.colour(230, 150) == GREY
    canvas.click(200, 150)
    page.screenshot(path=screenshots / "click.png")
    assert "point_coords=[[200, 150]]" in canvas.text("code") and "point_labels=[1]" in canvas.text("code")
    assert canvas.colour(230, 150) == TINTED  # radius 40: masks[1] has the highest predicted IoU
    assert canvas.colour(250, 150) == GREY
    assert python(page, "canvas.mask.sum(), canvas.chosen") == python(page, "canvas.masks[1].sum(), 1")
    assert "decode" in canvas.text("times") and "encode" in canvas.text("times")


@pytest.mark.parametrize("how", [{"button": "right"}, {"modifiers": ["Shift"]}, {"tool": "− background"}])
def test_a_background_click_takes_away(canvas, page, how):
    canvas.click(200, 150)
    assert canvas.colour(215, 170) == TINTED
    if "tool" in how:
        canvas.root.get_by_role("button", name=how["tool"]).click()
        canvas.click(220, 170)
        canvas.root.get_by_role("button", name="+ foreground").click()
    else:
        for key in how.get("modifiers", []):
            page.keyboard.down(key)
        canvas.click(220, 170, button=how.get("button", "left"))
        for key in how.get("modifiers", []):
            page.keyboard.up(key)
    assert "point_labels=[1, 0]" in canvas.text("code")
    assert canvas.colour(205, 170) == GREY and canvas.colour(185, 150) == TINTED
    assert page.locator(".lm-Menu").count() == 0  # the right click opened no menu of JupyterLab


def test_a_drag_is_a_box_whatever_its_direction(canvas, page, screenshots):
    canvas.wait_for(lambda: canvas.drag((300, 250), (100, 50)))
    page.screenshot(path=screenshots / "box.png")
    assert "box=[100, 50, 300, 250]" in canvas.text("code")
    assert canvas.colour(250, 200) == TINTED and canvas.colour(320, 200) == GREY


def test_the_brush_paints_and_erases_a_mask_prompt(canvas, page, python, screenshots):
    canvas.root.get_by_role("button", name="brush", exact=True).click()
    canvas.wait_for(lambda: canvas.drag((100, 100), (300, 100)))
    page.screenshot(path=screenshots / "brush.png")
    assert "mask_input=predictor.mask_to_logits(painted)" in canvas.text("code")
    assert canvas.colour(200, 100) not in (GREY, TINTED) and canvas.colour(200, 140) == GREY
    canvas.wait_for(lambda: canvas.drag((200, 60), (200, 140), button="right"))
    assert "erase=True" in canvas.text("code")
    assert canvas.colour(200, 100) == GREY and canvas.colour(150, 100) != GREY
    assert python(page, "len(canvas.prompt.strokes)") == "2"


@pytest.mark.parametrize("tool", ["point / box", "brush"])
def test_a_second_finger_takes_the_first_one_back(canvas, python, page, tool):
    canvas.root.get_by_role("button", name=tool, exact=True).click()
    canvas.touch("touchStart", (80, 60))
    canvas.touch("touchMove", (100, 80))
    canvas.touch("touchStart", (100, 80), (280, 210))
    canvas.touch("touchMove", (40, 30), (360, 270))
    canvas.touch("touchEnd", (40, 30))
    canvas.touch("touchEnd")
    canvas.root.get_by_role("button", name="point / box").click()
    canvas.click(200, 150)
    prompt = python(page, "canvas.prompt.points, canvas.prompt.box, canvas.prompt.strokes")
    assert prompt == "(((200, 150, 1),), None, ())"
    canvas.touch("touchStart", (80, 60))
    canvas.touch("touchMove", (200, 150))
    canvas.wait_for(lambda: canvas.touch("touchEnd"))  # one finger alone draws a box
    assert python(page, "canvas.prompt.box is None") == "False"


def test_another_pointer_neither_moves_nor_ends_what_a_hand_does(canvas, page):
    page.mouse.move(*canvas.on_page(200, 150))
    page.mouse.down()
    for kind in ("pointermove", "pointerup", "pointercancel"):
        x, y = canvas.on_page(300, 250)
        place = {"clientX": x, "clientY": y, "pointerId": 77, "pointerType": "touch", "buttons": 1, "bubbles": True}
        canvas.photo.evaluate("(node, [kind, how]) => node.dispatchEvent(new PointerEvent(kind, how))", [kind, place])
    canvas.wait_for(lambda: page.mouse.up())
    assert "point_coords=[[200, 150]]" in canvas.text("code") and "box=" not in canvas.text("code")


def test_undo_redo_and_clear(canvas):
    canvas.click(200, 150)
    canvas.click(100, 250)
    assert canvas.colour(120, 250) == TINTED
    canvas.wait_for(lambda: canvas.root.get_by_role("button", name="undo").click())
    assert canvas.colour(120, 250) == GREY and canvas.colour(220, 150) == TINTED
    canvas.wait_for(lambda: canvas.root.get_by_role("button", name="redo").click())
    assert canvas.colour(120, 250) == TINTED
    canvas.wait_for(lambda: canvas.root.get_by_role("button", name="clear").click())
    assert canvas.colour(220, 150) == GREY
    canvas.photo.focus()
    canvas.wait_for(lambda: canvas.press("Control+z"))
    assert canvas.colour(220, 150) == TINTED and canvas.colour(120, 250) == TINTED


def test_the_keyboard_can_do_everything(canvas, page, python, screenshots):
    crosshair = (200, 150)
    canvas.click(*crosshair)  # where the mouse was last, the crosshair appears
    canvas.wait_for(lambda: canvas.press("u"))
    # An arrow key moves it by 8 pixels, with shift by 1.
    canvas.press("ArrowRight", "Shift+ArrowRight", "ArrowDown", "Shift+ArrowUp")
    canvas.wait_for(lambda: canvas.press("+"))
    assert f"point_coords=[[{crosshair[0] + 9}, {crosshair[1] + 7}]]" in canvas.text("code")
    canvas.press(*["ArrowLeft"] * 3)
    canvas.wait_for(lambda: canvas.press("-"))
    assert "point_labels=[1, 0]" in canvas.text("code") and "[185, 157]" in canvas.text("code")
    canvas.press("b", *["ArrowLeft"] * 2, *["ArrowUp"] * 2)
    canvas.wait_for(lambda: canvas.press("b"))
    assert "box=[169, 141, 185, 157]" in canvas.text("code")
    canvas.press("b", "ArrowLeft", "b")
    assert "different corners" in canvas.text("said")  # a box without height
    canvas.press("ArrowRight")
    canvas.press("m", *["ArrowDown"] * 3)
    canvas.wait_for(lambda: canvas.press("m"))
    assert "Stroke([(169, 141), (169, 149), (169, 157), (169, 165)], radius=10)" in canvas.text("code")
    page.screenshot(path=screenshots / "keyboard.png")
    canvas.wait_for(lambda: canvas.press("3"))
    assert python(page, "canvas.chosen") == "2" and "mask = masks[2]" in canvas.text("code")
    canvas.wait_for(lambda: canvas.press("u"))
    assert "Stroke" not in canvas.text("code")
    canvas.wait_for(lambda: canvas.press("r"))
    assert "Stroke" in canvas.text("code")
    canvas.wait_for(lambda: canvas.press("x"))
    assert ".predict(" not in canvas.text("code")
    canvas.press("b", "ArrowLeft")
    canvas.click(20, 20)  # the mouse takes over: the unfinished box is forgotten
    assert "box" not in canvas.text("code") and page.problems == []
    assert page.locator(".jp-Notebook .jp-Cell").count() == 2  # b, m, x and 3 are keys of JupyterLab, too
    assert page.evaluate("() => jupyterapp.shell.currentWidget.model.dirty")
    # Notebook 7 reads keys before the page does; what keeps it from doing so is this attribute, on the element itself.
    assert canvas.photo.get_attribute("data-lm-suppress-shortcuts") is not None
    canvas.press("Control+s")  # this one is left to Jupyter
    assert canvas.photo.get_attribute("data-lm-suppress-shortcuts") is None
    page.wait_for_function("() => !jupyterapp.shell.currentWidget.model.dirty")


def test_every_other_key_of_the_list_does_what_it_says(canvas, page, python):
    canvas.click(200, 150)
    canvas.wait_for(lambda: canvas.press("u"))
    canvas.wait_for(lambda: canvas.press("Enter"))
    canvas.press(*["ArrowRight"] * 5)
    canvas.wait_for(lambda: canvas.press("Shift+Enter"))
    assert "point_coords=[[200, 150], [240, 150]]" in canvas.text("code") and "[1, 0]" in canvas.text("code")
    for key, chosen in (("1", "0"), ("3", "2"), ("2", "1")):
        canvas.wait_for(lambda key=key: canvas.press(key))
        assert python(page, "canvas.chosen") == chosen and f"mask = masks[{chosen}]" in canvas.text("code")
    canvas.wait_for(lambda: canvas.press("Control+z"))
    assert "[240, 150]" not in canvas.text("code")
    canvas.wait_for(lambda: canvas.press("Control+y"))
    assert "[240, 150]" in canvas.text("code")
    canvas.press("]", "[")
    assert "Brush radius" in canvas.text("said")
    canvas.press("m", *["ArrowRight"] * 3, "e")
    canvas.wait_for(lambda: canvas.press("m"))
    assert "erase=True" in canvas.text("code")  # e: the stroke takes paint away
    canvas.press("m", "ArrowDown", "Escape", "b", "ArrowDown", "Escape")  # a stroke and a box left unfinished
    assert python(page, "len(canvas.prompt.strokes), canvas.prompt.box") == "(1, None)"
    preview = canvas.root.get_by_role("checkbox")
    before = preview.is_checked()
    canvas.press("p")
    assert preview.is_checked() is not before
    canvas.press("P")  # as with caps lock
    assert preview.is_checked() is before
    canvas.wait_for(lambda: canvas.press("Delete"))
    assert ".predict(" not in canvas.text("code") and page.problems == []


def test_the_candidates_stand_side_by_side_and_can_be_chosen(canvas, page, python):
    canvas.click(200, 150)
    candidates = canvas.root.locator(".samlite-candidates button")
    assert [text.split("IoU ")[1] for text in candidates.all_inner_texts()] == ["0.50", "0.75", "0.25"]
    assert [node.get_attribute("aria-pressed") for node in candidates.all()] == ["false", "true", "false"]
    canvas.wait_for(lambda: candidates.nth(2).click())
    assert canvas.colour(250, 150) == TINTED  # radius 80
    assert python(page, "canvas.chosen") == "2"
    assert "mask = masks[2]" in canvas.text("code")


def test_a_failure_is_shown_in_the_canvas_and_the_prompt_stays(canvas, page, python, screenshots):
    canvas.click(200, 150)
    canvas.click(399, 20)
    page.screenshot(path=screenshots / "error.png")
    assert "out of memory" in canvas.text("error")
    assert "point_coords=[[200, 150]]" in canvas.text("code") and canvas.colour(220, 150) == TINTED
    assert "out of memory" in python(page, "canvas.error")
    canvas.click(100, 250)
    assert canvas.text("error") == ""


def test_the_preview_follows_the_mouse_and_asks_one_question_at_a_time(canvas, page, python):
    canvas.root.get_by_role("checkbox").check()
    page.mouse.move(*canvas.on_page(100, 100))
    canvas.wait_for_colour(120, 100, lambda colour: colour not in (GREY, TINTED))  # but in the colour of previews
    assert python(page, "canvas.masks is None") == "True"
    page.mouse.move(2, 2)
    canvas.wait_for_colour(120, 100, lambda colour: colour == GREY)
    before = int(python(page, "(setattr(canvas.predictor, 'pause', 0.1), canvas.predictor.decoded)[1]"))
    start = time.monotonic()
    for step in range(100):
        page.mouse.move(*canvas.on_page(100 + step, 100))
    asked = int(python(page, "canvas.predictor.decoded")) - before
    most = 2 + (time.monotonic() - start) / 0.2  # an answer takes 0.1 seconds, and the rest after it as long again
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)
    later = int(python(page, "(setattr(canvas.predictor, 'pause', 0), canvas.predictor.decoded)[1]")) - before
    assert 1 <= asked <= most and later <= asked + 1  # a hundred movements, few questions, and none left in a queue


def test_the_code_can_be_copied(canvas, page):
    canvas.click(200, 150)
    canvas.root.get_by_role("button", name="copy").click()
    page.wait_for_function("() => document.querySelector('.samlite-said').textContent === 'Copied.'")
    assert page.evaluate("navigator.clipboard.readText()") == canvas.root.locator("code").last.inner_text()


def test_places_are_pixels_of_the_photo_on_a_scaled_page_and_the_page_stays_at_home(open_notebook, lab, screenshots):
    cell = CELL.replace("(300, 400, 3)", "(1500, 2000, 3)")  # five times the other photo, shown with 1024 pixels
    page = open_notebook("large.ipynb", cell, device_scale_factor=2, viewport={"width": 700, "height": 1000})
    page.wait_for_selector(".samlite-canvas[data-replies]", timeout=60_000)
    page.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    page.wait_for_selector("#jupyterlab-splash", state="detached")  # it lies over the page while a theme loads
    canvas = Canvas(page)
    canvas.root.evaluate("(node) => { node.style.transform = 'scale(0.8)'; node.style.transformOrigin = '0 0'; }")
    canvas.photo.scroll_into_view_if_needed()
    pixel = 2000 / canvas.photo.bounding_box()["width"]  # pixels of the photo in one of the page
    canvas.click(200, 150)
    page.screenshot(path=screenshots / "dark_narrow_scaled.png")
    x, y = map(int, canvas.text("code").split("point_coords=[[")[1].split("]]")[0].split(", "))
    assert abs(x - 1002) <= pixel and abs(y - 752) <= pixel
    address, _ = lab
    assert not [url for url in page.requests if not url.startswith((address, "data:", "blob:"))]
    assert page.problems == []
