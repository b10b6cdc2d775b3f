"""The prompt canvas without a browser: what its messages do, what goes back, and that the code it shows is true."""

import numpy as np
import pytest
import torch
from disc_predictor import RADII, DiscPredictor
from PIL import Image
from skimage import data

from samlite import SamPredictor, document_sam
from samlite.notebook.canvas import PromptCanvas
from samlite.notebook.canvas_fallback import PlainPromptCanvas
from samlite.notebook.prompt_session import PromptSession
from samlite.notebook.prompts import Prompt, Stroke, paint

HEIGHT, WIDTH = 30, 45
EVERY_KIND = [PromptSession, PromptCanvas, PlainPromptCanvas]


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def canvas(photo):
    return PromptCanvas(photo, predictor=DiscPredictor(broken_at=13))


@pytest.fixture(scope="module")
def real_predictor():
    torch.manual_seed(0)
    size = {"image_size": 128, "patch_size": 8, "width": 64, "depth": 2, "heads": 2, "channels": 32}
    return SamPredictor(document_sam(**size, decoder_heads=4, decoder_mlp=64).eval())


def from_browser(canvas, kind, **content):
    """A message as the browser sends it; returns the reply that the browser gets."""
    number = (canvas.reply["to"] or ["a view", 0])[1] + 1
    canvas._receive(canvas, {"kind": kind, "view": "a view", "number": number, **content}, [])
    assert canvas.reply["to"] == ["a view", number]
    return canvas.reply


def unpacked(packed, count, height, width):
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))
    assert len(bits) - count * height * width in range(8)  # one bit a pixel, filled up to whole bytes
    return bits[: count * height * width].reshape(count, height, width).astype(bool)


# ------------------------------------------------------------------------------------ the same in code, in every kind


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_everything_can_be_done_in_code(kind, photo):
    session = kind(photo, predictor=DiscPredictor(), clicks=[(10, 20), (30, 5, 0)], box=(3, 4, 20, 25))
    assert session.prompt == Prompt(((10, 20, 1), (30, 5, 0)), (3, 4, 20, 25))
    assert session.masks.shape == (3, HEIGHT, WIDTH) and session.masks.dtype == bool
    assert session.chosen == 1 and (session.mask == session.masks[1]).all()
    assert session.iou_predictions.shape == (3,) and session.low_res_logits.shape[0] == 3
    session.choose(2)
    assert (session.mask == session.masks[2]).all()
    session.click(40, 25)
    assert session.prompt.points[-1] == (40, 25, 1) and session.chosen == 1  # another prompt, another choice
    session.draw_box(0, 0, 9, 9)
    assert session.prompt.box == (0, 0, 9, 9)
    session.brush([(5, 5), (15, 5)], radius=2)
    assert session.prompt.strokes == (Stroke(((5, 5), (15, 5)), 2, False),)
    assert session.mask[5, 10] and session.mask.sum() > 0
    session.undo()
    assert session.prompt.strokes == ()
    session.redo()
    assert len(session.prompt.strokes) == 1
    session.clear()
    assert not session.prompt and session.masks is None and session.mask is None and session.chosen is None
    session.undo()
    assert len(session.prompt.points) == 3


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_fails_in_code_raises_and_is_remembered_and_the_prompt_stays(kind, photo):
    session = kind(photo, predictor=DiscPredictor(), clicks=[(10, 20)])
    before, masks = session.prompt, session.masks
    for action, message in [
        (lambda: session.click(WIDTH + 1, 0), "outside the photo"),
        (lambda: session.click(3, 4, 2), "a label is 1"),
        (lambda: session.click(float("nan"), 4), "x must be finite"),
        (lambda: session.draw_box(20, 20, 10, 10), "did you pass x, y, width, height"),
        (lambda: session.brush([], 3), "path has no"),
        (lambda: session.brush([(3, 3)], 0), "radius must be above 0"),
        (lambda: session.choose(3), r"k must be one of \[0, 1, 2\], 3 was given"),
    ]:
        with pytest.raises(ValueError, match=message):
            action()
        assert session.error.startswith("ValueError: ") and session.exception is not None
        assert session.prompt == before and session.masks is masks
    session.undo()
    assert session.error is None and not session.prompt
    with pytest.raises(ValueError, match="no candidate to choose yet"):
        session.choose(0)


def test_wrong_arguments_at_the_start_raise(photo, real_predictor):
    for arguments, message in [
        ({"clicks": [(1, 2, 3, 4)]}, "a click is"),
        ({"clicks": [(400, 2)]}, "outside the photo"),
        ({"box": (1, 2, 3)}, "box is one"),
        ({"sam": real_predictor.model}, "both given"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            PromptSession(photo, **{"predictor": DiscPredictor(), **arguments})


def test_undo_goes_back_step_by_step_and_a_new_action_ends_redo(photo):
    session = PromptSession(photo, predictor=DiscPredictor())
    session.undo()
    session.redo()
    session.clear()  # nothing to take back, do again or clear: nothing happens
    prompts = [session.prompt]
    for x in (5, 10, 15):
        session.click(x, 10)
        prompts.append(session.prompt)
    for prompt in reversed(prompts[:-1]):
        session.undo()
        assert session.prompt == prompt
    session.redo()
    assert session.prompt == prompts[1]
    session.click(20, 20)
    session.redo()
    assert session.prompt.points == ((5, 10, 1), (20, 20, 1))


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_undo_takes_back_a_prompt_that_was_given_in_code_one_thing_at_a_time(kind, photo):
    predictor = DiscPredictor()
    stroke = Stroke(((3, 3), (9, 9)), 2)
    session = kind(photo, predictor=predictor, clicks=[(5, 10), (9, 10, 0)], box=(2, 2, 20, 20), strokes=[stroke])
    assert predictor.decoded == 1  # the model is asked once, whatever stands before
    seen = []
    while session.prompt:
        seen.append((len(session.prompt.points), session.prompt.box is not None, len(session.prompt.strokes)))
        session.undo()
    assert seen == [(2, True, 1), (2, True, 0), (2, False, 0), (1, False, 0)]


def test_the_photo_is_encoded_once_and_again_only_when_the_predictor_was_used_for_another(photo):
    predictor = DiscPredictor()
    session = PromptSession(photo, predictor=predictor)
    for x in (5, 10, 15):
        session.click(x, 10)
    assert (predictor.encoded, predictor.decoded) == (1, 3)
    predictor.set_image(np.zeros((50, 50, 3), dtype=np.uint8))
    session.click(20, 10)
    assert predictor.encoded == 3 and session.masks.shape == (3, HEIGHT, WIDTH)


# -------------------------------------------------------------------------------------------- messages of the browser


def test_messages_do_what_the_methods_do(canvas):
    assert from_browser(canvas, "click", x=20, y=15, label=1)["points"] == [[20, 15, 1]]
    assert from_browser(canvas, "click", x=5, y=6, label=0)["points"] == [[20, 15, 1], [5, 6, 0]]
    assert from_browser(canvas, "box", box=[1, 2, 11, 12])["box"] == [1, 2, 11, 12]
    reply = from_browser(canvas, "brush", path=[[3, 3], [9, 3]], radius=2, erase=False)
    assert unpacked(reply["painted"], 1, HEIGHT, WIDTH)[0, 3, 6] and canvas.prompt.strokes[0].radius == 2
    assert from_browser(canvas, "choose", k=0)["chosen"] == 0 == canvas.chosen
    assert from_browser(canvas, "undo")["painted"] is None and canvas.reply["can_redo"]
    assert from_browser(canvas, "redo")["painted"] is not None and not canvas.reply["can_redo"]
    assert from_browser(canvas, "clear")["points"] == [] and canvas.reply["masks"] is None
    assert canvas.reply["can_undo"]


def test_the_masks_travel_as_one_bit_a_pixel(canvas):
    reply = from_browser(canvas, "click", x=20, y=15, label=1)
    assert len(reply["masks"]) == -(-3 * HEIGHT * WIDTH // 8)
    assert (unpacked(reply["masks"], 3, HEIGHT, WIDTH) == canvas.masks).all()
    assert reply["iou_predictions"] == [0.5, 0.75, 0.25] and reply["chosen"] == 1
    assert reply["code"] == canvas.code and reply["decode_milliseconds"] > 0


@pytest.mark.parametrize(
    "message, text",
    [
        ({"kind": "click", "x": 13, "y": 2, "label": 1}, "RuntimeError: out of memory"),
        ({"kind": "click", "x": 100, "y": 2, "label": 1}, "outside the photo"),
        ({"kind": "click", "x": 3}, "KeyError: 'y'"),
        ({"kind": "box", "box": [5, 5, 2, 2]}, "did you pass x, y, width, height"),
        ({"kind": "choose", "k": 7}, "k must be one of"),
        ({"kind": "dance"}, "kind must be one of"),
    ],
)
def test_what_fails_is_shown_in_the_canvas_and_nowhere_else(canvas, message, text, capfd):
    from_browser(canvas, "click", x=20, y=15, label=1)
    assert text in from_browser(canvas, **message)["error"]
    assert text in canvas.error and canvas.reply["points"] == [[20, 15, 1]] and canvas.masks is not None
    assert from_browser(canvas, "click", x=21, y=15, label=1)["error"] is None and canvas.error is None
    assert capfd.readouterr() == ("", "")


def test_every_message_gets_a_reply_even_when_there_is_nothing_to_do(canvas):
    for kind in ("undo", "redo", "clear"):
        assert from_browser(canvas, kind)["points"] == []


def test_a_preview_is_sent_back_and_changes_nothing(canvas):
    sent = []
    canvas.send = lambda content, buffers: sent.append((content, buffers))
    from_browser(canvas, "click", x=20, y=15, label=1)
    prompt, reply = canvas.prompt, canvas.reply
    message = {"kind": "hover", "view": "v", "number": 9, "x": 5, "y": 5, "label": 0}
    canvas._receive(canvas, message, [])
    canvas._receive(canvas, {**message, "x": 13}, [])
    assert (canvas.prompt, canvas.reply) == (prompt, reply) and canvas.error is None
    (content, (bits,)), (failed, nothing) = sent
    assert content == {"view": "v", "number": 9, "error": None}
    (mask,) = unpacked(bits, 1, HEIGHT, WIDTH)
    assert (mask == canvas.preview(5, 5, 0)).all() and (mask != canvas.mask).any()
    assert "out of memory" in failed["error"] and nothing == []


def test_a_large_photo_is_shown_small_and_answered_in_full():
    photo = np.zeros((700, 2048, 3), dtype=np.uint8)
    canvas = PromptCanvas(photo, predictor=DiscPredictor(), clicks=[(2000, 600)])
    assert canvas.frame == {"width": 2048, "height": 700, "shown_width": 1024, "shown_height": 350}
    assert canvas.masks.shape == (3, 700, 2048)
    shown = unpacked(canvas.reply["masks"], 3, 350, 1024)
    assert (shown == canvas.masks[:, 1::2, 1::2]).all()
    assert shown[2].sum() == pytest.approx(canvas.masks[2].sum() / 4, rel=0.02)


def test_the_picture_in_the_browser_is_the_photo(canvas, photo, tmp_path):
    (tmp_path / "shown").write_bytes(canvas.picture_file)
    assert (np.array(Image.open(tmp_path / "shown")) == photo).all()


# ------------------------------------------------------------------------------------------------ the code is the truth


@pytest.mark.parametrize(
    "prompt",
    [
        {"clicks": [(200, 100)]},
        {"clicks": [(200, 100), (50.5, 20.25, 0)], "box": (10, 20, 300, 250)},
        {"box": np.array([10, 20, 300, 250])},
        {"strokes": [Stroke([(100, 100), (200, 150)], 20), Stroke([(150, 120)], 5, erase=True)]},
        {"clicks": [(np.int64(3), np.float32(4))], "strokes": [Stroke([(100, 100)], 20)]},
    ],
)
def test_the_code_that_is_shown_gives_the_same_masks(prompt, real_predictor):
    photo = data.chelsea()
    session = PromptSession(photo, predictor=real_predictor, **prompt)
    session.choose(2)
    names = {"predictor": SamPredictor(real_predictor.model), "photo": photo}
    exec(session.code, names)
    assert (names["masks"] == session.masks).all() and (names["mask"] == session.mask).all()
    assert (names["iou_predictions"] == session.iou_predictions).all()
    assert (names["low_res_logits"] == session.low_res_logits).all()


def test_the_code_of_no_prompt_only_sets_the_photo(canvas):
    assert canvas.code == "predictor.set_image(photo)"


def test_paint_covers_discs_and_lines_and_the_eraser_takes_away():
    painted = paint([Stroke([(10, 10), (30, 10)], 4), Stroke([(20, 10)], 2, erase=True)], height=20, width=40)
    assert painted.shape == (20, 40) and painted.dtype == bool
    assert painted[10, 7] and painted[10, 33] and painted[13, 25] and not painted[10, 20]
    assert not painted[16, 20] and not painted[10, 36]
    assert painted.sum() == pytest.approx(20 * 8 + 50 - 12, rel=0.15)


# ------------------------------------------------------------------------------------------------------------ on paper


def test_the_picture_shows_the_candidates_and_says_so(photo):
    session = PromptSession(photo, predictor=DiscPredictor(), clicks=[(10, 20)], box=(3, 4, 20, 25))
    titles = [axes.get_title().split("\n") for axes in session.figure().axes]
    ious = [f"predicted IoU {iou}" for iou in ("0.50", "0.75", "0.25")]
    assert titles == [["prompt"], *([f"masks[{k}]", iou] for k, iou in enumerate(ious))]
    _, metadata = session.picture()._repr_mimebundle_()
    (alt,) = (each["alt"] for each in metadata.values())  # whichever format is the smaller
    assert "foreground point at (10, 20), box from (3, 4) to (20, 25)" in alt and "masks[1] is chosen" in alt
    assert session.picture(alt="in my own words").alt == "in my own words"
    empty = PromptSession(photo, predictor=DiscPredictor())
    assert len(empty.figure().axes) == 1 and "none yet" in empty.picture().alt


# ------------------------------------------------------------------------------------------------------- the plain one


def test_the_plain_canvas_does_the_same_with_sliders_and_buttons(photo):
    plain = PlainPromptCanvas(photo, predictor=DiscPredictor(broken_at=13))

    def press(name, x=20, y=15):
        plain._x.value, plain._y.value = x, y
        plain._buttons[name].click()

    press("+ foreground")
    press("− background", 5, 6)
    press("box corner", 30, 25)
    assert plain.prompt.box is None
    press("box corner", 3, 4)
    press("brush", 40, 20)
    assert plain.prompt.points == ((20, 15, 1), (5, 6, 0)) and plain.prompt.box == (3, 4, 30, 25)
    assert [stroke.path for stroke in plain.prompt.strokes] == [((40, 20),)]
    assert plain._candidates.value == plain.chosen == 1 and "predicted IoU 0.50" in plain._candidates.options[0][0]
    plain._candidates.value = 2
    assert plain.chosen == 2 and "mask = masks[2]" in plain._code.value
    picture = plain._picture.value
    press("+ foreground", 13, 2)
    assert "out of memory" in plain._error.value and len(plain.prompt.points) == 2
    press("undo")
    assert plain._error.value == "" and plain.prompt.strokes == () and plain._picture.value != picture
    press("clear")
    assert plain._buttons["clear"].disabled and not plain._buttons["undo"].disabled and plain.masks is None
    press("box corner", 8, 9)  # a corner alone can be taken back, too
    assert "the first corner of a box at (8, 9); prompt: none yet" in plain._picture.alt
    press("clear")
    assert plain._buttons["clear"].disabled and "corner" not in plain._picture.alt
    press("box corner", 30, 25)
    assert plain.prompt.box is None
    press("box corner", 3, 4)
    assert "prompt: box from (3, 4) to (30, 25); the mask in use covers" in plain._picture.alt


def test_the_discs_of_the_test_predictor_are_discs(photo):
    masks = PromptSession(np.zeros((200, 200, 3), dtype=np.uint8), predictor=DiscPredictor(), clicks=[(100, 100)]).masks
    for mask, radius in zip(masks, RADII, strict=True):
        assert mask.sum() == pytest.approx(np.pi * radius**2, rel=0.05)
