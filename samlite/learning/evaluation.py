"""How good are the masks? The short protocol of the model card: generated scenes, and one click on photos.

The long one, with corrections, boundaries, calibration and intervals, is ``samlite.learning.report``.

Every answer is scored twice: ``oracle`` takes the best of the returned masks, ``selected`` the one with the highest
predicted IoU. Beside the means stands the share of targets above 0.75, because a model that sees nothing and answers
every click with discs has a fair mean and almost no such share.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from samlite.learning import simulate
from samlite.learning.interaction import Predictor, interior_point
from samlite.learning.losses import pairwise_iou
from samlite.learning.photo_sets import PhotoSetError, read_photo_set
from samlite.learning.scenes import SceneGenerator
from samlite.learning.targets import HELD_OUT_SEED, SMALLEST, photo_examples
from samlite.masks import mask_iou
from samlite.sam import Sam

GOOD = 0.75
RECOGNISED = 0.5


@dataclass
class Scores:
    """IoU of the best and of the selected mask for every target."""

    oracle: list[float]
    selected: list[float]

    def summary(self) -> dict[str, float]:
        """Number of targets, means, share. Raises ValueError when there is no target."""
        if not self.oracle:
            raise ValueError("there is no target to score")
        oracle, selected = np.array(self.oracle), np.array(self.selected)
        return {
            "targets": len(oracle),
            "oracle": round(float(oracle.mean()), 4),
            "share above 0.75": round(float((oracle > GOOD).mean()), 4),
            "selected": round(float(selected.mean()), 4),
        }


@torch.inference_mode()
def evaluate_scenes(sam: Sam, count: int = 500, clicks: int = 8, batch: int = 20) -> dict[str, dict[str, float]]:
    """Prompts of every kind on ``count`` held-out generated scenes in full detail; a table kind → figures.

    Each click means one level (subpart, part or whole) of what lies under it, as in training. "levels" counts clicks
    whose three right answers differ: how often the three masks are those three (each above 0.5 IoU, one to one).
    Every ``batch`` scenes have a seed of their own: another ``batch`` asks about other scenes, and only figures with
    the same one (20 in the model's card) can be compared. Raises ValueError when ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}: at least one scene is needed")
    size, stride = sam.image_size, sam.image_size // (4 * sam.image_encoder.grid_size)
    kinds = ("1 click", "2 clicks", "3 clicks", "box", "rough mask alone", "rough mask and click")
    scores = {kind: Scores([], []) for kind in kinds}
    ambiguous = recognised = 0
    for first in range(0, count, batch):
        generator = torch.Generator(sam.device).manual_seed(HELD_OUT_SEED + first)
        scenes = SceneGenerator(size, device=sam.device)(min(batch, count - first), generator)
        points, level = simulate.sample_clicks(scenes.labels, clicks, generator)
        answers = rearrange(simulate.regions_at(scenes.labels, points, stride), "b p level h w -> (b p) level h w")
        target = answers[torch.arange(len(answers)), level.flatten()]
        embedding = repeat(sam.encode_image(sam.normalise(scenes.images)), "b c y x -> (b p) c y x", p=clicks)
        click = rearrange(points, "b p xy -> (b p) 1 xy")
        foreground = torch.ones(len(click), 1, dtype=torch.long, device=sam.device)

        logits, predicted = sam.decode_masks(embedding, click, foreground)
        _add(scores["1 click"], logits, predicted, target)
        told, found = _levels(logits, answers)
        ambiguous, recognised = ambiguous + told, recognised + found

        prompts = {"points": click, "labels": foreground}
        for kind in ("2 clicks", "3 clicks"):
            previous = logits[torch.arange(len(logits)), predicted.argmax(-1)]
            point, label = simulate.correcting_clicks(previous, target, stride, generator)
            prompts["points"] = torch.cat([prompts["points"], point[:, None]], dim=1)
            prompts["labels"] = torch.cat([prompts["labels"], label[:, None]], dim=1)
            logits, predicted = sam.decode_masks(embedding, **prompts, mask=previous[:, None])
            _add(scores[kind], logits, predicted, target)
        boxes = simulate.boxes_around(target, stride, 0.0, generator)[:, None]
        _add(scores["box"], *sam.decode_masks(embedding, boxes=boxes), target)
        rough = simulate.rough_masks(target, generator)
        _add(scores["rough mask alone"], *sam.decode_masks(embedding, mask=rough), target)
        _add(scores["rough mask and click"], *sam.decode_masks(embedding, click, foreground, mask=rough), target)
    table = {kind: kept.summary() for kind, kept in scores.items()}
    table["levels"] = {"targets": ambiguous, "recognised": round(recognised / max(1, ambiguous), 4)}
    return table


def _add(scores: Scores, logits: Float[Tensor, "n k h w"], predicted: Float[Tensor, "n k"], target: Tensor) -> None:
    overlap = pairwise_iou(logits, target[:, None])[..., 0]
    scores.oracle += overlap.amax(-1).tolist()
    scores.selected += overlap.gather(1, predicted.argmax(-1, keepdim=True))[:, 0].tolist()


def _levels(logits: Float[Tensor, "n k h w"], answers: Float[Tensor, "n 3 h w"]) -> tuple[int, int]:
    """(clicks with three different right answers, clicks where the three masks are those answers)."""
    between = pairwise_iou(answers - 0.5, answers)
    off_diagonal = between[:, [0, 0, 1], [1, 2, 2]]
    large = (answers > 0.5).float().mean((2, 3)).amin(1) >= simulate.SMALLEST_REGION
    told = (off_diagonal.amax(1) < simulate.TOLD_APART) & large
    overlap = pairwise_iou(logits, answers)
    best = [
        overlap[:, list(way), [0, 1, 2]].amin(1)
        for way in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    ]
    found = told & (torch.stack(best).amax(0) > RECOGNISED)
    return int(told.sum()), int(found.sum())


def evaluate_photos(
    predictor: Predictor, folder: Path, stride: int = 1, smallest: float = SMALLEST, progress: bool = False
) -> dict[str, float]:
    """One click at the most interior point of every region that covers at least ``smallest`` of its photo.

    ``predictor``: a ``SamPredictor``, or a baseline. ``folder``: photos with masks, as ``read_photo_set`` finds them.
    Every ``stride``-th photo is used; "photos" counts those with such a region. Raises PhotoSetError when there are
    none.
    """
    from tqdm import tqdm

    scores = Scores([], [])
    photos, used = read_photo_set(folder)[::stride], 0
    for example in tqdm(photo_examples(photos, smallest), total=len(photos), disable=not progress, unit="photo"):
        used += 1
        predictor.set_image(example.photo)
        for truth in example.masks:
            masks, predicted, _ = predictor.predict([interior_point(truth)], [1])
            overlap = mask_iou(masks, truth)
            scores.oracle.append(float(overlap.max()))
            scores.selected.append(float(overlap[int(predicted.argmax())]))
    if not used:
        raise PhotoSetError(
            f"no mask of the {len(photos)} photos of {folder} that were looked at covers at least {smallest:.2%} of "
            "its photo: there is nothing to score"
        )
    return {"photos": used, **scores.summary()}
