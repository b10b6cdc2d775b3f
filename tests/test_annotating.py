"""The annotator's canvas counts what hands do, measures it against the truth, and is the same in code."""

import numpy as np
import pytest
from disc_predictor import DiscPredictor

from samlite.learning.annotator import Prices, Work
from samlite.notebook import annotating
from samlite.notebook.annotating import AnnotatorCanvas, PlainAnnotatorCanvas

PHOTO = np.full((120, 160, 3), 90, dtype=np.uint8)


def disc(x, y, radius):
    rows, columns = np.ogrid[:120, :160]
    return np.hypot(columns - x, rows - y) <= radius


@pytest.mark.parametrize("kind", [AnnotatorCanvas, PlainAnnotatorCanvas])
def test_clicks_are_counted_and_measured(kind) -> None:
    canvas = kind(PHOTO, disc(80, 60, 40), good_enough=0.9, predictor=DiscPredictor())
    assert canvas.iou == 0 and not canvas.good and canvas.moments == [] and canvas.clock() == "not begun"
    canvas.click(80, 60)
    canvas.choose(1)
    assert canvas.iou > 0.9 and canvas.good
    canvas.click(70, 50)
    canvas.undo()
    canvas.draw_box(40, 20, 120, 100)
    assert canvas.work == Work(masks=1, clicks=4, looks=4)  # two clicks, a box of two; and an answer to the undo
    assert [each.clicks for each in canvas.moments] == [1, 2, 2, 4]
    assert canvas.work.seconds(Prices(click=10, look=1)) == 44
    assert "4 clicks" in canvas.summary() and "79.2 s for a polygon" in canvas.summary()


def test_undo_and_redo_are_no_clicks() -> None:
    canvas = AnnotatorCanvas(PHOTO, disc(80, 60, 40), predictor=DiscPredictor(broken_at=13))
    canvas.click(80, 60)
    canvas.undo()
    canvas.redo()
    assert canvas.work == Work(masks=1, clicks=1, looks=2)  # without a prompt there was nothing to look at
    canvas.draw_box(40, 20, 120, 100)
    canvas.draw_box(40, 20, 119, 99)
    canvas.undo()
    canvas.redo()
    assert canvas.work == Work(masks=1, clicks=5, looks=6)
    with pytest.raises(RuntimeError, match="out of memory"):
        canvas.click(13, 60)
    assert canvas.work.clicks == 5  # a click that got no answer is not kept


def test_the_clock_starts_when_the_photo_is_there(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(annotating, "perf_counter", lambda: now[0])

    class Slow(DiscPredictor):
        def set_image(self, image, image_format="RGB"):
            now[0] += 100
            super().set_image(image, image_format)

    canvas = AnnotatorCanvas(PHOTO, disc(80, 60, 40), predictor=Slow(), clicks=[(80, 60)])
    assert canvas.clock() == "0 s on the clock"  # of a prompt given in code
    now[0] += 7
    canvas.click(70, 50)
    assert canvas.clock() == "7 s on the clock"


def test_the_sentence_tells_the_iou_and_the_picture_shows_the_truth() -> None:
    canvas = AnnotatorCanvas(PHOTO, disc(80, 60, 40), predictor=DiscPredictor(), clicks=[(80, 60)])
    assert f"IoU {canvas.iou:.2f}" in canvas.said and canvas.reply["said"] == canvas.said
    assert canvas.moments[0].clicks == 1
    assert len(canvas.truth_figure().axes) == 1


def test_a_truth_of_another_size_is_refused() -> None:
    for truth in (np.ones((10, 10), dtype=bool), np.zeros((120, 160), dtype=bool)):
        with pytest.raises(ValueError, match="a mask of the photo's size"):
            AnnotatorCanvas(PHOTO, truth, predictor=DiscPredictor())
