"""A training that fits into so many minutes on this machine: steps are timed first, then the recipe is shortened.

The learning rate falls to nothing in the recipe's last steps, so the number of steps must be known before the first.
On a GPU a small model's step costs the starting of its kernels, whatever the batch: there a batch several times as
large costs little more, and fewer steps see more scenes.
"""

import time
from dataclasses import replace

import torch

from samlite.learning.measure import wait_for
from samlite.learning.recipe import Recipe, Stage, make_batch
from samlite.learning.training import Trainer
from samlite.sam import document_sam

SPARE = 0.07  # of the time, for saving, checking and what else the clock meets


def larger_batches(recipe: Recipe, times: int) -> Recipe:
    """The recipe with ``times`` as many scenes a step."""
    if times < 1:
        raise ValueError(f"batches {times} times as large: a whole number, at least 1, is expected")
    return replace(recipe, stages=tuple(replace(stage, batch=times * stage.batch) for stage in recipe.stages))


def seconds_a_step(recipe: Recipe, device: torch.device | str, steps: int = 4) -> list[float]:
    """Of each stage, scenes included: the mean over ``steps`` after two that do not count."""
    found = []
    for stage in recipe.stages:
        short = replace(recipe, stages=(replace(stage, steps=steps + 2),))
        trainer = Trainer(short, device, document_sam(stage.image_size, **recipe.model))  # any weights take as long
        for number in range(steps + 2):
            if number == 2:
                wait_for(device)
                start = time.perf_counter()
            trainer.train_step(make_batch(trainer.recipe, number, trainer.sam.device))
        wait_for(device)
        found.append((time.perf_counter() - start) / steps)
    return found


def fitted(recipe: Recipe, seconds: list[float], minutes: float) -> Recipe:
    """The recipe with its stages, warm-up, ramp and decay shortened (or lengthened) alike, to take ``minutes``."""
    whole = sum(stage.steps * each for stage, each in zip(recipe.stages, seconds, strict=True))
    share = 60 * minutes * (1 - SPARE) / whole

    def steps(count: int) -> int:
        return max(1, int(count * share))

    stages = tuple(Stage(stage.image_size, steps(stage.steps), stage.batch) for stage in recipe.stages)
    if sum(stage.steps for stage in stages) < 10 * len(stages):
        raise ValueError(f"{minutes:g} minutes are too few: a step takes {max(seconds):.2g} s here")
    return replace(
        recipe, stages=stages, warm_up=steps(recipe.warm_up), ramp=steps(recipe.ramp),
        decay=steps(recipe.decay) if recipe.decay else 0,
    )  # fmt: skip
