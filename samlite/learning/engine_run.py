"""One seed of the data engine from end to end, with its controls; what is finished is kept and not done again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.files import whole_file
from samlite.learning.annotator import AnnotatedScene, Correction, Prices, Work, correct_proposals, draw_by_hand
from samlite.learning.data_engine import (
    EngineRecipe,
    first_model,
    fit,
    generator_for,
    held_out_scenes,
    make_scenes,
    measure,
)
from samlite.learning.easy_scenes import KnownScene
from samlite.sam import Sam

MATCH = 0.75  # IoU at which an automatic mask counts as an object, or as the ground
UNFILTERED = 8  # scenes that are annotated without filters, too, to see what the filters do


@dataclass(frozen=True)
class Phase:
    """A training: where it starts, which data it sees, and what it is called in tables."""

    start: str | None
    data: tuple[str, ...]
    stream: str
    title: str


PHASES = {
    "stage_1": Phase(None, ("drawn",), "first", "stage 1: drawn by hand"),
    "stage_2": Phase("stage_1", ("drawn", "corrected"), "second", "stage 2: and corrected"),
    "stage_3": Phase("stage_2", ("drawn", "corrected", "automatic"), "third", "stage 3: and automatic"),
    "control_2": Phase("stage_1", ("drawn",), "second", "stage-1 data, steps of stage 2"),
    "control_3": Phase("control_2", ("drawn",), "third", "stage-1 data, steps of stage 3"),
    "control_3_with_2": Phase("stage_2", ("drawn", "corrected"), "third", "data of stages 1 and 2, steps of stage 3"),
    "by_hand": Phase("stage_1", ("drawn", "more drawn"), "second", "drawn by hand for the cost of stage 2"),
}


def photo_of(image: Float[Tensor, "3 r r"]) -> UInt8[np.ndarray, "r r 3"]:
    """A scene's picture as a photo."""
    return image.permute(1, 2, 0).round().to(torch.uint8).numpy()


def annotate_alone(sam: Sam, scenes: Sequence[KnownScene], recipe: EngineRecipe) -> list[AnnotatedScene]:
    """Stage 3: every mask of a grid of clicks that passes the filters; nobody looks."""
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=recipe.points_per_side,
        pred_iou_thresh=recipe.predicted_iou,
        stability_score_thresh=recipe.stability,
        box_nms_thresh=recipe.duplicates,
    )
    found = []
    for scene in scenes:
        masks = [record["segmentation"] for record in generator.generate(photo_of(scene.image))]
        empty = np.zeros((0, *scene.image.shape[1:]), dtype=bool)
        found.append(AnnotatedScene(scene.image, torch.from_numpy(np.stack(masks) if masks else empty)))
    return found


def best_overlaps(masks: Bool[Tensor, "m r r"], regions: Bool[Tensor, "n r r"]) -> Float[Tensor, " m"]:
    """For every mask the IoU with the region that fits it best."""
    one, other = masks.flatten(1).float(), regions.flatten(1).float()
    both = one @ other.T
    return (both / (one.sum(1)[:, None] + other.sum(1) - both).clamp(min=1)).amax(1)


def judge(found: Sequence[AnnotatedScene], scenes: Sequence[KnownScene]) -> dict[str, float]:
    """What automatic masks are, against the truth: shares of the masks, and the share of the objects that were found.

    A mask is an object, or the ground, where their IoU reaches `MATCH`; else it is wrong: a piece, or several at once.
    """
    objects = ground = recalled = masks = there = 0
    for annotated, scene in zip(found, scenes, strict=True):
        there += len(scene.objects)
        if not len(annotated.masks):
            continue
        is_object = best_overlaps(annotated.masks, scene.objects) >= MATCH
        is_ground = best_overlaps(annotated.masks, ~scene.objects.any(0, keepdim=True)) >= MATCH
        masks += len(annotated.masks)
        objects += int(is_object.sum())
        ground += int((is_ground & ~is_object).sum())
        recalled += int((best_overlaps(scene.objects, annotated.masks) >= MATCH).sum())
    count = max(1, masks)
    return {
        "masks": masks,
        "masks a scene": masks / len(scenes),
        "objects": objects / count,
        "ground": ground / count,
        "wrong": (masks - objects - ground) / count,
        "objects found": recalled / max(1, there),
    }


class Engine:
    """The engine of one recipe, which keeps the weights of every finished phase in ``folder`` (None: keeps nothing).

    ``told(phase, share)`` hears how far a training is.
    """

    def __init__(
        self,
        recipe: EngineRecipe,
        folder: Path | None = None,
        told: Callable[[str, float], None] = lambda phase, share: None,
    ) -> None:
        self.recipe, self.folder, self.told = recipe, folder, told
        self.data: dict[str, list[AnnotatedScene]] = {}
        self.corrections: list[Correction] = []
        self.models: dict[str, Sam] = {}
        self.scenes: dict[str, list[KnownScene]] = {}

    def train(self, name: str) -> Sam:
        """The model of a phase; the phases and the data that it needs are made first."""
        if name in self.models:
            return self.models[name]
        phase, recipe = PHASES[name], self.recipe
        for kind in phase.data:
            self.annotate(kind)
        data = [scene for kind in phase.data for scene in self.data[kind]]
        steps = recipe.steps if phase.start else recipe.first_steps
        sam = copy.deepcopy(self.train(phase.start)) if phase.start else first_model(recipe, data)
        kept = self.folder / f"{name}.pt" if self.folder else None
        if kept and kept.exists():
            sam.load_state_dict(torch.load(kept, weights_only=True))
            sam.eval()
        else:
            done = iter(range(1, steps + 1))
            generator = generator_for(recipe.seed, phase.stream)
            fit(sam, data, recipe, steps, generator, lambda loss: self.told(name, next(done) / steps))
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(kept, alone=True) as unfinished:
                    torch.save(sam.state_dict(), unfinished)
        self.models[name] = sam
        return sam

    def annotate(self, kind: str) -> list[AnnotatedScene]:
        """The annotated scenes of a kind: "drawn", "corrected", "automatic", or "more drawn" for what stage 2 cost."""
        if kind in self.data:
            return self.data[kind]
        recipe = self.recipe
        if kind == "more drawn":
            paid = sum((scene.work for scene in self.annotate("corrected")), Work()).seconds()
            self.data[kind] = self._draw_for(paid)
            return self.data[kind]
        scenes = self.scenes[kind] = make_scenes(recipe, getattr(recipe, kind), kind)
        if kind == "drawn":
            self.data[kind] = [draw_by_hand(scene.image, scene.objects) for scene in scenes]
        elif kind == "corrected":
            sam = self.train("stage_1")
            pairs = [
                correct_proposals(sam, scene.image, scene.objects, recipe.good_enough, recipe.most_clicks)
                for scene in scenes
            ]
            self.data[kind] = [annotated for annotated, _ in pairs]
            self.corrections = [correction for _, corrections in pairs for correction in corrections]
        else:
            self.data[kind] = annotate_alone(self.train("stage_2"), scenes, recipe)
        return self.data[kind]

    def _draw_for(self, seconds: float) -> list[AnnotatedScene]:
        """As many scenes drawn by hand as these seconds pay for, the last one in part."""
        polygons = round(seconds / Prices().polygon)
        drawn = []
        for scene in make_scenes(self.recipe, polygons, "more drawn"):  # one object a scene at least
            objects = scene.objects[:polygons]
            polygons -= len(objects)
            if len(objects):
                drawn.append(draw_by_hand(scene.image, objects))
        return drawn

    def result(self, phases: Sequence[str] = tuple(PHASES)) -> dict[str, Any]:
        """Train the phases, measure each on the held-out scenes; with the work of people and what the filters did."""
        held_out = held_out_scenes(self.recipe)
        scores = {name: measure(self.train(name), held_out) for name in phases}
        again = {name: cost_of_correcting(self.train(name), held_out, self.recipe) for name in phases}
        work = {kind: sum((scene.work for scene in data), Work()) for kind, data in self.data.items()}
        told: dict[str, Any] = {"seed": self.recipe.seed, "scores": scores}
        told["work"] = {kind: {**asdict(each), "seconds": each.seconds()} for kind, each in work.items()}
        told["held out"] = {name: {**asdict(each), "seconds": each.seconds()} for name, each in again.items()}
        told["scenes"] = {kind: len(data) for kind, data in self.data.items()}
        told["corrections"] = [[[round(iou, 3) for iou in each.ious], each.drawn] for each in self.corrections]
        if "automatic" in self.data:
            scenes = self.scenes["automatic"]
            told["automatic"] = judge(self.data["automatic"], scenes)
            few = scenes[:UNFILTERED]
            told["unfiltered"] = judge(annotate_without_filters(self.train("stage_2"), few, self.recipe), few)
        return told


def cost_of_correcting(sam: Sam, scenes: Sequence[KnownScene], recipe: EngineRecipe) -> Work:
    """What an annotator would do on these scenes with the proposals of ``sam``; the masks are not kept."""
    pairs = (correct_proposals(sam, s.image, s.objects, recipe.good_enough, recipe.most_clicks) for s in scenes)
    return sum((annotated.work for annotated, _ in pairs), Work())


def annotate_without_filters(sam: Sam, scenes: Sequence[KnownScene], recipe: EngineRecipe) -> list[AnnotatedScene]:
    """The same grid with confidence and stability ignored; of duplicates one still stays."""
    return annotate_alone(sam, scenes, replace(recipe, predicted_iou=0.0, stability=0.0))


def begin(recipe: EngineRecipe, folder: Path) -> Path:
    """The folder of a seed, with its recipe in it. Raises ValueError if it was begun with another one."""
    mine, begun = asdict(recipe), folder / "recipe.json"
    if begun.exists() and json.loads(begun.read_text(encoding="utf-8")) != mine:
        raise ValueError(f"{folder} was begun with another recipe: choose another --run folder, or delete this one")
    folder.mkdir(parents=True, exist_ok=True)
    if not begun.exists():
        with whole_file(begun, alone=True) as unfinished:
            unfinished.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")
    return folder


def run_seed(recipe: EngineRecipe, folder: Path, told: Callable[[str, float], None]) -> dict[str, Any]:
    """The result of one seed, read from ``folder`` if it is there. Raises ValueError if that was another recipe."""
    path = begin(recipe, folder) / "result.json"
    if path.exists():
        return json.loads(path.read_text())
    result = Engine(recipe, folder, told).result()
    with whole_file(path, alone=True) as unfinished:
        unfinished.write_text(json.dumps(result) + "\n")
    return result
