"""What a training learns from, when scenes of several stages are mixed in its batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.variants import by_seed

STAGES = ("drawn", "corrected", "automatic")


def _mixture(
    scenes: Mapping[str, int], masks: Mapping[str, int], wrong: Mapping[str, float], steps: int, batch: int,
    per_scene: int, limit: float, *,
    by_masks: bool = False, equal: bool = False, plain_mean: bool = False, own_only: bool = False,
    whole_scenes: bool = False, control: str = "all but the last", weight: str = "right",
) -> dict[str, Any]:  # fmt: skip
    """The mixture of a batch, with switches for what easily goes wrong."""
    n, m, p = (np.array([of[stage] for stage in scenes], dtype=float) for of in (scenes, masks, wrong))
    share = np.ones(len(n)) / len(n) if equal else (n * m if by_masks else n) / (n * m if by_masks else n).sum()
    draws = steps * batch * (1 if whole_scenes else per_scene / m[0])
    others = {"all but the last": n[:-1].sum(), "all": n.sum(), "the first": n[0]}[control]
    kept, faults = n[:-1].sum(), (n * p)[:-1].sum()
    weights: dict[str, Callable[[], float]] = {
        "right": lambda: (limit * kept - faults) / (n[-1] * (p[-1] - limit)),
        "in proportion": lambda: limit / (share @ p),
        "others free of faults": lambda: limit * kept / (n[-1] * (p[-1] - limit)),
        "as a share": lambda: (limit * kept - faults) / (kept * (p[-1] - limit)),
        "whole stage": lambda: (limit * kept - faults) / (p[-1] - limit),
    }
    return {
        "share": tuple(share.tolist()),
        "wrong": float(p.mean() if plain_mean else p[-1] if own_only else share @ p),
        "seen": float(draws / n.sum()),
        "seen in the control": float(draws / others),
        "weight": float(weights[weight]()),
    }


def _make(
    one: tuple[Any, ...] = ((6, 16, 32), (4, 3, 5), (0.0, 0.05, 0.6), 160, 8, 3, 0.2),
    other: tuple[Any, ...] = ((5, 12, 40), (6, 4, 3), (0.0, 0.1, 0.45), 200, 6, 2, 0.3),
) -> Exercise:
    def once(given: tuple[Any, ...]) -> Callable[[], tuple[Any, ...]]:
        return lambda: (*(dict(zip(STAGES, values, strict=True)) for values in given[:3]), *given[3:])

    return Exercise(
        name="write_the_mixture",
        title="What stage 3 learns from",
        difficulty=3,
        minutes=20,
        question="""
`scenes`, `masks` and `wrong` are dicts with the stages as keys, the last stage last: how many scenes a stage has
brought, how many masks each of them has, and which share of these masks is wrong. The training of the last stage takes
`steps`. A step draws `batch` scenes, each scene as likely as any other, and of each of them `per_scene` of its masks,
each as likely as any other. Return a dict:

- `share`: the shares of the drawn masks that come from each stage, in their order;
- `wrong`: the share of the drawn masks that is wrong;
- `seen`: how often one mask of the *first* stage is drawn in the training, on average;
- `seen in the control`: the same in the control, with as many steps and the data of all stages but the last;
- `weight`: how many times as likely as another scene a scene of the last stage must be, so that a share of `limit` of
  the drawn masks is wrong.
""",
        code="""
def mixture(scenes, masks, wrong, steps, batch, per_scene, limit):
    # <answer: share = learned_wrong = seen = seen_in_the_control = weight = ...>
    n, p = np.array(list(scenes.values())), np.array(list(wrong.values()))
    share = n / n.sum()
    learned_wrong = (share * p).sum()
    draws = steps * batch * per_scene / masks["drawn"]
    seen, seen_in_the_control = draws / n.sum(), draws / n[:-1].sum()
    # (faults of the others + w · n · p) / (scenes of the others + w · n) = limit, solved for w
    weight = (limit * n[:-1].sum() - (n * p)[:-1].sum()) / (n[-1] * (p[-1] - limit))
    # </answer>
    return {
        "share": share, "wrong": learned_wrong, "seen": seen, "seen in the control": seen_in_the_control,
        "weight": weight,
    }


write_the_mixture.check(mixture)
""",
        expected=_mixture,
        stages=[Stage("a small engine", once(one)), Stage("another one", once(other))],
        mistakes=[
            Mistake("every mask as likely", "Scenes are drawn first, and from each as many masks: a scene with many "
                    "masks counts no more than one with few.", partial(_mixture, by_masks=True)),
            Mistake("plain mean of the stages", "The stages are drawn unequally often: weigh each by its share.",
                    partial(_mixture, plain_mean=True)),
            Mistake("a third for each stage", "A stage with more scenes is drawn more often.",
                    partial(_mixture, equal=True)),
            Mistake("the new data alone", "The data of the earlier stages stay in the training.",
                    partial(_mixture, own_only=True)),
            Mistake("scenes for masks", "That is how often a scene is drawn. Of its masks only `per_scene` are drawn "
                    "each time.", partial(_mixture, whole_scenes=True)),
            Mistake("a control with the new data", "The control leaves out the data whose worth is asked.",
                    partial(_mixture, control="all")),
            Mistake("another question's control", "Only what is asked may differ: this control keeps the data of all "
                    "earlier stages, not of the first alone.", partial(_mixture, control="the first")),
            Mistake("in proportion", "With fewer of the last stage's scenes there are fewer drawn masks to divide by, "
                    "too.", partial(_mixture, weight="in proportion")),
            Mistake("the others free of faults", "The earlier stages bring wrong masks as well; they use up a part of "
                    "the limit.", partial(_mixture, weight="others free of faults")),
            Mistake("the stage for the scene", "That is the last stage as a whole. Divide by its number of scenes.",
                    partial(_mixture, weight="whole stage")),
            Mistake("chance of stages, not of scenes", "Compare one scene with one scene, not all of the last stage "
                    "with all of the others.", partial(_mixture, weight="as a share")),
        ],
        hints=[
            "The numbers of masks in a scene do not enter the shares. They enter only how often *one* mask is drawn.",
            "All draws of scenes: `steps · batch`. One scene's share of them: 1 / (number of scenes).",
            "With weight w the share that is wrong is (faults of the others + w · n · p) / (scenes of the others + "
            "w · n), n and p those of the last stage. Set it to `limit`.",
        ],
        explanation="""
A stage that needs no people brings the most scenes, and so most of every batch: the engine learns mainly from itself,
unless someone chooses otherwise. A weight below 1 is such a choice. And the control is not free of a fault of its own:
it sees its few masks more often, and may learn them by heart.
""",
    )  # fmt: skip


def _draw(draw: random.Random) -> Mapping[str, Any]:
    def engine() -> tuple[Any, ...]:
        return (
            (draw.randint(4, 10), draw.randint(11, 20), draw.randint(24, 60)),
            tuple(draw.sample((3, 4, 5, 6, 7), 3)),
            (0.0, draw.choice((0.02, 0.04, 0.05, 0.08)), draw.choice((0.4, 0.5, 0.55, 0.6, 0.7))),
            10 * draw.randint(10, 40), draw.choice((4, 6, 8)), draw.choice((2, 3)), draw.choice((0.15, 0.2, 0.25, 0.3)),
        )  # fmt: skip

    return {"one": engine(), "other": engine()}


write_the_mixture = by_seed(_make, _draw)
