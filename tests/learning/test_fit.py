"""A recipe shortened to the minutes that there are."""

from dataclasses import replace

import pytest

from samlite.learning import fit
from samlite.learning.recipe import TINY, Recipe, Stage


def test_takes_the_minutes_and_keeps_its_shape():
    seconds = [0.05, 0.1, 0.2]
    short = fit.fitted(TINY, seconds, 10)
    taken = sum(stage.steps * each for stage, each in zip(short.stages, seconds, strict=True))
    assert 0.9 * 600 < taken < 600
    assert [stage.image_size for stage in short.stages] == [stage.image_size for stage in TINY.stages]
    ratio = short.steps / TINY.steps
    for name in ("warm_up", "ramp", "decay"):
        assert getattr(short, name) == pytest.approx(ratio * getattr(TINY, name), rel=0.05)
    assert short.decay < short.steps
    assert fit.fitted(replace(TINY, decay=0), seconds, 10).decay == 0


def test_too_few_minutes():
    with pytest.raises(ValueError, match="minutes are too few: a step takes 50 s here"):
        fit.fitted(TINY, [50.0] * len(TINY.stages), 1)


def test_larger_batches():
    assert [s.batch for s in fit.larger_batches(TINY, 8).stages] == [8 * s.batch for s in TINY.stages]
    with pytest.raises(ValueError, match="at least 1"):
        fit.larger_batches(TINY, 0)


def test_steps_are_timed():
    model = TINY.model | {"width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_mlp": 32}
    recipe = Recipe(model=model, stages=(Stage(64, 5, 2), Stage(128, 5, 2)), shapes=(2, 4), clicks=2, second_round=1)
    seconds = fit.seconds_a_step(recipe, "cpu", steps=1)
    assert len(seconds) == 2 and min(seconds) > 0
