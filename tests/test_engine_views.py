"""The pictures of the data engine show what they are given, also with one seed and with nothing found."""

import torch

from samlite.learning.annotator import AnnotatedScene, Correction, draw_by_hand
from samlite.learning.easy_scenes import easy_scenes
from samlite.learning.engine_report import Interval
from samlite.learning.engine_run import PHASES
from samlite.notebook import engine_views, style


def results(seeds: int) -> dict:
    work = {kind: {"seconds": 3600.0 * n} for n, kind in enumerate(("drawn", "corrected", "more drawn"), 1)}
    scores = [{name: {"selected": 0.4 + 0.01 * (n + seed)} for n, name in enumerate(PHASES)} for seed in range(seeds)]
    return {"seeds": [{"scores": each, "work": work} for each in scores]}


def test_scenes_are_shown_with_and_without_masks() -> None:
    scenes = [draw_by_hand(s.image, s.objects) for s in easy_scenes(2, torch.Generator().manual_seed(0))]
    scenes.append(AnnotatedScene(scenes[0].image, scenes[0].masks[:0]))
    figure = engine_views.annotated_scenes(scenes, ["a", "b", "none"])
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "none"]
    style.drawn(figure)


def test_the_curve_has_every_line_once_and_survives_one_seed() -> None:
    for seeds in (1, 3):
        figure = engine_views.stage_curve(results(seeds))
        left, right = figure.axes
        assert set(left.get_legend_handles_labels()[1]) == set(engine_views.LINES)
        assert right.get_legend_handles_labels()[1] == ["the engine", "all drawn by hand"]
        assert right.get_xlim()[0] == 0
        style.drawn(figure)


def test_paths_costs_and_shares() -> None:
    paths = engine_views.correction_paths([Correction([0.3, 0.9], False), Correction([0.2, 0.1, 0.4], True)], 0.85)
    assert paths.axes[0].get_xlim()[1] > 3
    bars = engine_views.cost_bars({"one": Interval(20, 10, 30), "two": Interval(40, float("nan"), float("nan"))}, 79.2)
    assert {"20 s", "40 s", "by hand: 79 s"} <= {text.get_text() for text in bars.axes[0].texts}
    shares = engine_views.shares_figure({"a": {"objects": 0.5, "ground": 0.0, "wrong": 0.5}})
    assert [text.get_text() for text in shares.axes[0].texts] == ["50%", "50%"]
    confidence = engine_views.confidence_figure({"a": ([0.5], [0.25]), "b": ([0.75], [0.5])})
    assert [text.get_text() for text in confidence.axes[0].texts] == ["0.50", "0.25", "0.75", "0.50"]
    for figure in (paths, bars, shares, confidence):
        style.drawn(figure)
