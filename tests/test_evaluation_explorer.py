"""Pictures of an evaluation and the explorer of its figures, on reports whose figures are known."""

import numpy as np
import pytest

from samlite.learning.bootstrap import Interval
from samlite.learning.interaction import Round
from samlite.learning.report import Answer, Report, Target
from samlite.notebook import evaluation_plots as plots
from samlite.notebook.evaluation_explorer import EvaluationExplorer

PROMPTS = ("1 click", "3 clicks", "5 clicks", "box")


def report(shift=0.0, images=("a", "a", "b", "c"), stop_at=None):
    targets = []
    for number, image in enumerate(images):
        ious = tuple(min(1.0, 0.2 * number + step + shift) for step in (0.1, 0.2, 0.3))
        answers = {prompt: Answer(ious, (0.1, 0.9, 0.3), 0.25) for prompt in PROMPTS}
        targets.append(Target(image, 0.1, answers, tuple(min(1.0, 0.3 * number + 0.1 * k) for k in range(6))))
    return Report((1, 3, 5), 6, stop_at, targets)


@pytest.fixture
def explorer():
    return EvaluationExplorer({"tiny": report(), "discs": report(-0.1)})


def test_everything_is_chosen_at_first(explorer):
    assert explorer.images == ["a", "b", "c"] and explorer.prompt == "1 click" and explorer.threshold == 0.75
    assert explorer._shown.png.startswith(b"\x89PNG")
    assert (
        "1 click on 3 of 3 images, threshold 0.75: tiny: best mask 0.60, 25% of them above; selected mask 0.50; "
        "4.0 clicks to reach it · discs: best mask 0.50"
    ) in repr(explorer)
    assert explorer._shown.alt == explorer.describe()


def test_hand_and_code_choose_alike(explorer):
    before = explorer._shown.value
    explorer.choose(images=["a"], prompt="box", threshold=0.5)
    assert explorer._shown.value != before
    assert explorer.code == "explorer.choose(images=['a'], prompt='box', threshold=0.5)"
    assert len(explorer.chosen["tiny"].targets) == 2
    explorer._images.value = ("b", "c")
    explorer._threshold.value = 0.6
    assert "box on 2 of 3 images, threshold 0.6: tiny: best mask 0.80, 100% of them above" in explorer.describe()
    explorer._images.value = ()  # nothing chosen: all count
    assert explorer.images == ["a", "b", "c"]
    assert explorer.picture().alt == explorer.describe()


@pytest.mark.parametrize(
    "choice, message",
    [
        ({"images": ["z"]}, "no image 'z'; there are a, b, c"),
        ({"prompt": "2 clicks"}, "no prompt '2 clicks'; there are 1 click"),
        ({"threshold": 0.2}, "threshold is 0.2: it must be 0.5 … 0.95"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_changes(explorer, choice, message):
    code = explorer.code
    with pytest.raises(ValueError, match=message):
        explorer.choose(**choice)
    assert explorer.code == code


def test_reports_must_fit_together():
    with pytest.raises(ValueError, match="different images"):
        EvaluationExplorer({"one": report(), "other": report(images=("a", "x"))})
    with pytest.raises(ValueError, match="stop_at=None"):
        EvaluationExplorer({"one": report(stop_at=0.85)})
    with pytest.raises(ValueError, match="none of z was evaluated"):
        report().only(["z"])


def test_intervals_stand_where_they_should():
    figure = plots.intervals({"one": Interval(0.5, 0.4, 0.7), "other": Interval(0.2, 0.1, 0.3)}, "IoU")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "other"]
    assert axes.lines[0].get_xdata().tolist() == [0.4, 0.7] and axes.lines[1].get_xdata().tolist() == [0.5]


def test_shares_fall_from_one_to_zero():
    figure = plots.shares_over_thresholds({"tiny": report().column("1 click", "oracle")}, 0.75)
    line = figure.axes[0].lines[0].get_ydata()
    assert line[0] == 1 and line[-1] == 0 and (np.diff(line) <= 0).all()


def test_every_picture_is_drawn():
    reports = {"tiny": report(), "discs": report(-0.1)}
    photo = np.full((30, 40, 3), 120, np.uint8)
    truth, mask = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    truth[5:25, 5:25], mask[5:25, 10:30] = True, True
    rounds = [Round(np.array([[15.0, 15.0]]), np.array([1]), mask[None], np.array([0.5]))]
    drawn = [
        plots.click_curves(reports),
        plots.rounds_figure(photo, rounds, [0.6], truth),
        plots.boundary_figure(photo, mask, truth),
        plots.reliability({"selected": report().calibration(), "every": report().calibration(every=True)}),
        plots.comparison(reports, "box", 0.75),
        plots.targets_figure([photo, photo], [truth[None], np.stack([truth, mask])]),
    ]
    assert [len(figure.axes) for figure in drawn] == [1, 1, 3, 4, 4, 6]
