"""Frames of coordinates, seen: the views of one photo, the explorer without a browser, and the plots."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from samlite.frames import PhotoFrames
from samlite.notebook import frames_plots, style
from samlite.notebook.frame_views import FrameViews, as_xywh, in_brackets, short
from samlite.notebook.frames_explorer import FramesExplorer

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
FRAMES = PhotoFrames((60, 90), image_size=96, grid_size=12)  # 64×96 of 96×96 is photo


@pytest.fixture
def explorer():
    return FramesExplorer(PHOTO, FRAMES, point=(45, 10))


def by_hand(explorer, frame, *place):
    """What the browser sends."""
    explorer.set_state({"frame": frame, "place": list(place)})
    return explorer.reply


def test_every_frame_has_its_picture_and_its_padding():
    views = FrameViews(PHOTO, FRAMES)
    shapes = {name: picture.shape for name, picture in views.pictures.items()}
    assert shapes == {
        "original": (60, 90, 3), "input": (96, 96, 3), "grid": (12, 12, 3), "low_res": (48, 48, 3)
    }  # fmt: skip
    assert [views.photo_size(name) for name in PhotoFrames.NAMES] == [(60, 90), (64, 96), (8, 12), (32, 48)]
    for name, first in (("input", 64), ("grid", 8), ("low_res", 32)):
        assert np.array_equal(np.unique(views.pictures[name][first:].reshape(-1, 3), axis=0), [[124, 116, 104]])


def test_without_frames_it_is_the_full_size():
    views = FrameViews(PHOTO)
    assert [views.size(name) for name in PhotoFrames.NAMES] == [(60, 90), (1024, 1024), (64, 64), (256, 256)]
    with pytest.raises(ValueError, match=r"frames belong to a photo of \(60, 90\), this one is \(90, 60\)"):
        FrameViews(PHOTO.transpose(1, 0, 2), FRAMES)


def test_a_place_is_told_in_every_frame():
    places = FrameViews(PHOTO, FRAMES).everywhere("original", (45, 10))
    scale = 96 / 90
    assert places["input"].tolist() == pytest.approx([45 * scale, 10 * 64 / 60])
    assert places["grid"].tolist() == pytest.approx([(48 + 0.5) / 8 - 0.5, (10 * 64 / 60 + 0.5) / 8 - 0.5])
    assert places["normalised"].tolist() == pytest.approx([48.5 / 96, (10 * 64 / 60 + 0.5) / 96])
    boxes = FrameViews(PHOTO, FRAMES).everywhere("grid", (1, 2, 4, 6))
    for name, box in boxes.items():
        if name != "normalised":
            assert np.allclose(FRAMES.move_boxes(np.array([1, 2, 4, 6]), "grid", name), box)


def test_the_cell_is_the_one_that_holds_the_place():
    views = FrameViews(PHOTO, FRAMES)
    assert views.cell("grid", 5.49, 1.5) == (2, 5)  # the border belongs to the next cell
    assert views.cell("grid", -0.5, 11.5) == (11, 0)  # the far edge of the frame is no cell of its own
    assert views.cell("original", 89.9, 59.6) == (59, 89)


@pytest.mark.parametrize(
    "frame, place, message",
    [
        ("photo", (1, 2), "there is no frame 'photo': the frames are original, input, grid, low_res"),
        ("original", (91, 2), r"\(91, 2\) is not in the original frame, which is 90 wide and 60 high: x is 0…90"),
        ("original", (2, -0.3), "y is 0…60"),
        ("grid", (12, 3), "x is -0.5…11.5"),
        ("input", (float("nan"), 3), "is not in the input frame"),
        ("original", (50, 10, 20, 30), "is no box .* did you pass x, y, width, height"),
        ("original", (5, 10, 5, 30), "is no box"),
        ("original", (1, 2, 3), "3 numbers were given"),
    ],
)
def test_a_place_that_is_none_is_refused(explorer, frame, place, message):
    with pytest.raises(ValueError, match=message):
        FrameViews(PHOTO, FRAMES).everywhere(frame, place)
    before = explorer.reply
    reply = by_hand(explorer, frame, *place)  # by hand nothing is raised: the widget shows it
    assert reply["error"].startswith("ValueError: ") and reply["places"] == before["places"]
    assert not by_hand(explorer, "original", 3, 4)["error"]


def test_numbers_are_written_short():
    assert [short(number) for number in (3.0, 0.5, 61.916, -0.001, -0.5, 100, -0.05)] == [
        "3", "0.5", "61.92", "0", "-0.5", "100", "-0.05"
    ]  # fmt: skip
    assert in_brackets(np.array([1.0, 2.25])) == "(1, 2.25)"
    assert as_xywh((2, 3, 10, 7)) == (2, 3, 8, 4)


# The explorer, driven as the browser drives it


def test_a_choice_of_the_browser_is_answered(explorer):
    assert explorer.reply["cells"]["grid"] == [[1, 6]]
    reply = by_hand(explorer, "low_res", 20, 30)
    assert reply["cells"]["grid"] == [[7, 5]] and reply["places"]["low_res"] == [20, 30]
    assert reply["lines"]["low_res"] == ["x, y = (20, 30)", "array[row, column]: [30, 20]"]
    assert "In the grid frame, 12 wide and 12 high: x 4.62, y 7.12, row 7 and column 5." in reply["words"]
    reply = by_hand(explorer, "original", 9, 6, 45, 30)
    assert reply["lines"]["original"] == ["XYXY = (9, 6, 45, 30)", "XYWH = (9, 6, 36, 24)"]
    assert reply["lines"]["input"][-1] == "(+ 0.5) / 96 = (0.11, 0.07, 0.51, 0.34)"
    assert "XYXY (9, 6, 45, 30), XYWH (9, 6, 36, 24)" in reply["words"]
    assert "The prompt encoder reads (0.105, 0.072, 0.505, 0.339), shares of the input's side." in reply["words"]


def test_a_hand_and_the_code_do_the_same(explorer):
    other = FramesExplorer(PHOTO, FRAMES)
    other.look("grid", box=(1, 2, 4, 6))
    by_hand(explorer, "grid", 1, 2, 4, 6)
    assert explorer.reply == other.reply
    assert {name: box.tolist() for name, box in other.places.items()} == other.reply["places"]
    for wrong in ({}, {"point": (1, 2), "box": (1, 2, 3, 4)}, {"box": (1, 2)}, {"box": (5, 5, 1, 1)}):
        with pytest.raises(ValueError, match="box"):
            other.look(**wrong)
    with pytest.raises(ValueError, match=r"a point is \(x, y\); 4 numbers"):
        other.look(point=(1, 2, 3, 4))
    assert other.reply == explorer.reply  # a refused look changes nothing


@pytest.mark.parametrize("frame, place", [("original", (9.5, 6)), ("grid", (1, 2, 4.25, 6)), ("input", (3, 90))])
def test_its_code_gives_what_is_shown(explorer, frame, place):
    by_hand(explorer, frame, *place)
    first, second, *moves = explorer.code.splitlines()
    names = {"PhotoFrames": PhotoFrames, "np": np}
    exec(f"{first}\n{second}", names)
    assert len(moves) == 3
    for move in moves:
        name = move.split('"')[3]
        assert np.allclose(eval(move, names), explorer.places[name])


def test_padding_is_called_padding(explorer):
    by_hand(explorer, "input", 10, 80)
    assert explorer.reply["lines"]["original"] == ["x, y = (9.38, 75)", "outside the photo: predict refuses it"]
    assert explorer.reply["lines"]["grid"][-1] == "in the padding"
    assert "reaches into the padding" in explorer.describe()
    by_hand(explorer, "input", 10, 60)
    assert "padding" not in explorer.describe() + str(explorer.reply["lines"])
    by_hand(explorer, "input", -0.3, 10)  # the left half of the first pixel
    assert explorer.reply["lines"]["original"][-1] == "outside the photo: predict refuses it"
    assert "padding" not in explorer.describe() + str(explorer.reply["lines"])
    assert explorer.describe().endswith("before the middle of the photo's first pixel, where predict takes no prompt.")


def test_its_name_does_not_hold_the_pictures(explorer):
    assert len(repr(explorer)) < 800 and "Point (45, 10) of the original frame" in repr(explorer)


# Pictures


def test_a_picture_carries_its_words(explorer):
    for look in ({"point": (45, 10)}, {"frame": "input", "box": (1, 2, 90, 80)}):
        explorer.look(**look)
        picture = explorer.picture()
        _, metadata = picture._repr_mimebundle_()
        assert metadata[f"image/{picture.format}"]["alt"] == explorer.describe()


def test_the_plots_draw_what_they_are_given():
    figure = frames_plots.four_frames(FrameViews(PHOTO, FRAMES), "grid", (5, 3))
    assert [axes.get_title() for axes in figure.axes] == [
        "original, 60×90", "input, 96×96", "grid, 12×12", "low-res, 48×48"
    ]  # fmt: skip
    assert figure.axes[2].lines[-1].get_xydata().tolist() == [[5, 3]]
    rules = frames_plots.two_rules(4, 12)
    ends = [line.get_xdata()[-1] for line in rules.axes[0].lines if line.get_linestyle() in ("-", "--")]
    assert ends == pytest.approx([1.5 / 12, 4.5 / 12, 7.5 / 12, 10.5 / 12, 0.5 / 12, 3.5 / 12, 6.5 / 12, 9.5 / 12])
    small = frames_plots.rows_and_columns(3, 5, x=4, y=1, box=(0, 0, 2, 2))
    assert [text.get_text() for text in small.axes[0].texts].count("[1, 4]") == 1
    for each in (figure, rules, small):
        assert np.ptp(np.asarray(style.drawn(each))) > 200  # something is on the page


def test_shapes_are_checked():
    with pytest.raises(TypeCheckError):
        FrameViews(PHOTO, FRAMES).cell("grid", "1", 2)
