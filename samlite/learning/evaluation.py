"""How good are the masks? One protocol for generated scenes and for photos with known regions.

Every answer is scored twice: ``oracle`` takes the best of the returned masks, ``selected`` the one with the highest
predicted IoU. Beside the means stands the share of targets above 0.75, because a model that sees nothing and answers
every click with discs has a fair mean and almost no such share.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from samlite.images import read_photo
from samlite.learning import simulate
from samlite.learning.losses import pairwise_iou
from samlite.learning.scenes import SceneGenerator
from samlite.predictor import SamPredictor
from samlite.sam import Sam

HELD_OUT_SEED = 2_000_003  # training seeds its generators far away from here
GOOD = 0.75
TOLD_APART = 0.8  # regions that overlap more than this are one answer, not two
RECOGNISED = 0.5
Segmenter = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass
class Scores:
    """IoU of the best and of the selected mask for every target."""

    oracle: list[float]
    selected: list[float]

    def summary(self) -> dict[str, float]:
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
    """
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
    told = (off_diagonal.amax(1) < TOLD_APART) & large
    overlap = pairwise_iou(logits, answers)
    best = [
        overlap[:, list(way), [0, 1, 2]].amin(1)
        for way in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    ]
    found = told & (torch.stack(best).amax(0) > RECOGNISED)
    return int(told.sum()), int(found.sum())


def interior_point(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """(x, y) of the pixel farthest from the mask's edge; the photo's border counts as an edge."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(x), int(y)


def labelled_photos(folder: Path) -> Iterator[tuple[Path, list[Int[np.ndarray, "h w"]]]]:
    """Photos NAME.jpg with label maps NAME.0.png, NAME.1.png … (one a person), as BSDS500 can be laid out.

    Raises FileNotFoundError when the folder holds no such pair.
    """
    found = False
    for path in sorted(Path(folder).glob("*.jpg")):
        maps = [np.asarray(read_label_map(p)) for p in sorted(path.parent.glob(f"{path.stem}.*.png"))]
        if maps:
            found = True
            yield path, maps
    if not found:
        raise FileNotFoundError(f"{folder} holds no NAME.jpg with label maps NAME.0.png, NAME.1.png …")


def read_label_map(path: Path) -> Int[np.ndarray, "h w"]:
    """A PNG whose pixel values number the regions."""
    from skimage.io import imread

    labels = imread(path)
    if labels.ndim != 2:
        raise ValueError(f"{path} is no label map: expected H×W numbers, found shape {labels.shape}")
    return labels.astype(np.int64)


def evaluate_photos(
    segmenter: Segmenter, folder: Path, stride: int = 1, smallest: float = 0.01, progress: bool = False
) -> dict[str, float]:
    """One click at the most interior point of every region that covers at least ``smallest`` of its photo.

    ``segmenter(photo H×W×3 uint8, point (2,)) → masks (K, H, W) bool, scores (K,)`` is called photo by photo with the
    same array object, so that it can keep an embedding. Every ``stride``-th photo is used.
    """
    from tqdm import tqdm

    scores = Scores([], [])
    photos = list(labelled_photos(folder))[::stride]
    for path, maps in tqdm(photos, disable=not progress, unit="photo"):
        photo = read_photo(path)
        for labels in maps:
            for value in np.unique(labels):
                target = labels == value
                if target.mean() < smallest:
                    continue
                masks, confidence = segmenter(photo, np.array(interior_point(target), np.float32))
                overlap = (masks & target).sum((1, 2)) / np.maximum((masks | target).sum((1, 2)), 1)
                scores.oracle.append(float(overlap.max()))
                scores.selected.append(float(overlap[int(np.argmax(confidence))]))
    return {"photos": len(photos), **scores.summary()}


class _OncePerPhoto:
    """Keeps what ``prepare`` made of the last photo."""

    def __init__(self, prepare: Callable[[np.ndarray], object]) -> None:
        self.prepare, self.photo, self.value = prepare, None, None

    def __call__(self, photo: np.ndarray) -> object:
        if self.photo is not photo:
            self.photo, self.value = photo, self.prepare(photo)
        return self.value


def model_segmenter(sam: Sam) -> Segmenter:
    """One foreground click with ``sam``."""
    predictor = SamPredictor(sam)
    encode = _OncePerPhoto(predictor.set_image)

    def segment(photo: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        encode(photo)
        masks, predicted, _ = predictor.predict(point[None], np.array([1]))
        return masks, predicted

    return segment


def three_discs(photo: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Discs of 9, 17 and 32 % of the diagonal around the click: what a model that sees nothing would answer."""
    height, width = photo.shape[:2]
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - point[1], x - point[0]) / np.hypot(height, width)
    return np.stack([distance <= radius for radius in (0.09, 0.17, 0.32)]), np.array([0.0, 1.0, 0.0])


def flood_segmenter() -> Segmenter:
    """The connected pixels within three colour distances of the click, in smoothed Lab."""
    from skimage.color import rgb2lab

    prepare = _OncePerPhoto(lambda photo: ndimage.gaussian_filter(rgb2lab(photo), (1.5, 1.5, 0)))

    def segment(photo: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lab = prepare(photo)
        x, y = point.astype(int)
        distance = np.linalg.norm(lab - lab[y, x], axis=-1)
        connected = [ndimage.label(distance <= reach)[0] for reach in (8, 16, 28)]
        return np.stack([regions == regions[y, x] for regions in connected]), np.array([0.0, 0.0, 1.0])

    return segment


def superpixel_segmenter() -> Segmenter:
    """The region under the click at three scales of a graph segmentation (Felzenszwalb & Huttenlocher, 2004)."""
    from skimage.segmentation import felzenszwalb

    prepare = _OncePerPhoto(
        lambda photo: [felzenszwalb(photo, scale=s, sigma=0.8, min_size=150) for s in (100, 300, 1000)]
    )

    def segment(photo: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = point.astype(int)
        return np.stack([regions == regions[y, x] for regions in prepare(photo)]), np.array([0.0, 0.0, 1.0])

    return segment


def baselines() -> dict[str, Segmenter]:
    """Three ways to answer a click without a model."""
    return {
        "three discs": three_discs,
        "flood fill": flood_segmenter(),
        "superpixels (Felzenszwalb 2004)": superpixel_segmenter(),
    }
