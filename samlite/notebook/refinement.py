"""Click, look, correct: the loop in which a mask is refined, against a truth that is known (document §1.3).

A real annotator sees what is wrong. Here a function does: it clicks where the mask is wrong most deeply, so that every
step can be measured. `samlite.learning.simulate` does the same for training, by chance and in batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from samlite.learning import simulate
from samlite.learning.annotator import correcting_click
from samlite.learning.losses import pairwise_iou
from samlite.learning.scenes import SceneGenerator
from samlite.masks import mask_iou
from samlite.notebook.plots import masks_over_photo
from samlite.notebook.prompt_plots import mark
from samlite.notebook.style import INK, PAPER
from samlite.predictor import SamPredictor
from samlite.sam import Sam

SEED = 3_000_017  # far from the seeds of training and of evaluation


@dataclass(frozen=True)
class Round:
    """One round of the loop: the click that was added, the answer, and what it is worth.

    ``chosen`` is the candidate with the highest predicted IoU; ``iou`` is its true one, ``best_iou`` that of the best
    candidate.
    """

    click: tuple[int, int, int]  # x, y, label
    masks: Bool[np.ndarray, "k height width"]
    iou_predictions: Float[np.ndarray, " k"]
    low_res_logits: Float[np.ndarray, "k h w"]
    chosen: int
    iou: float
    best_iou: float

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        """The candidate in use."""
        return self.masks[self.chosen]


def refine(
    predictor: SamPredictor,
    truth: Bool[np.ndarray, "height width"],
    rounds: int = 5,
    keep_logits: bool = True,
) -> list[Round]:
    """The loop on the photo that ``predictor`` holds. Every round adds one correcting click to those before.

    ``keep_logits``: from the second round on the low-res logits of the chosen candidate go in as ``mask_input``, as in
    training. Ends early when the mask is perfect. Raises ValueError when ``truth`` is empty or not of the photo's size.
    """
    if truth.shape != predictor.original_size or not truth.any():
        raise ValueError(
            f"truth has shape {truth.shape} and {truth.sum()} pixels: a mask of the photo's size "
            f"{predictor.original_size} with at least one pixel is expected"
        )
    done: list[Round] = []
    mask, logits = np.zeros_like(truth), None
    while len(done) < rounds and (mask != truth).any():
        clicks = [each.click for each in done] + [correcting_click(mask, truth)]
        answer = predictor.predict(
            point_coords=[click[:2] for click in clicks],
            point_labels=[click[2] for click in clicks],
            mask_input=logits if keep_logits else None,
        )
        masks, iou_predictions, low_res_logits = answer
        chosen = int(iou_predictions.argmax())
        true = mask_iou(masks, truth)
        done.append(Round(clicks[-1], *answer, chosen, float(true[chosen]), float(true.max())))
        mask, logits = masks[chosen], low_res_logits[chosen : chosen + 1]
    return done


def rounds_figure(
    photo: UInt8[np.ndarray, "height width 3"],
    rounds: Sequence[Round],
    truth: Bool[np.ndarray, "height width"],
    panel: float | int = 3.2,
) -> Figure:
    """Round after round: the mask, all clicks so far, and the outline of the truth as a dashed line."""
    titles = [f"click {number}\nIoU {each.iou:.2f}" for number, each in enumerate(rounds, 1)]
    figure = masks_over_photo(photo, np.stack([each.mask for each in rounds]), titles, panel=panel)
    figure.set_figheight(figure.get_figheight() + 0.4)  # the titles have two lines
    for number, axes in enumerate(figure.axes, 1):
        for colour, width in ((INK, 3.5), (PAPER, 1.8)):
            axes.contour(truth, levels=[0.5], colors=colour, linewidths=width, linestyles="dashed")
        for x, y, label in (each.click for each in rounds[:number]):
            mark(axes, x, y, "foreground point" if label else "background point")
    return figure


@torch.inference_mode()
def refine_scenes(sam: Sam, scenes: int = 16, clicks: int = 8, rounds: int = 5) -> dict[str, Float[np.ndarray, " r"]]:
    """The loop on generated scenes: mean IoU of the chosen mask after 1, 2, … clicks, with the logits and without.

    Both begin with the same first clicks, ``clicks`` on each of so many ``scenes``; each click means a subpart, a part
    or a whole, and the truth is that region. One scene after the other, so that memory does not grow with their number.
    """
    generator = torch.Generator(sam.device)
    generator.manual_seed(SEED)
    stride = sam.image_size // (4 * sam.image_encoder.grid_size)
    made = SceneGenerator(sam.image_size, device=sam.device)(scenes, generator)
    points, level = simulate.sample_clicks(made.labels, clicks, generator)
    names = {"with the previous logits": True, "clicks alone": False}
    curves = {name: np.zeros(rounds) for name in names}
    for image, labels, first, meant in zip(made.images, made.labels, points, level, strict=True):
        regions = simulate.regions_at(labels[None], first[None], stride)[0]  # (P, 3, h, w)
        target = regions[torch.arange(clicks), meant]
        embedding = sam.encode_image(sam.normalise(image[None]))
        where, label = first[:, None], torch.ones(clicks, 1, dtype=torch.long, device=first.device)
        answer = sam.decode_masks(embedding, where, label)  # the first round is that of both
        for name, keep in names.items():
            generator.manual_seed(SEED + 1)  # both are corrected by the same chance
            curves[name] += _corrected(sam, embedding, where, label, answer, target, stride, generator, rounds, keep)
    return {name: curve / scenes for name, curve in curves.items()}


def _corrected(
    sam: Sam, embedding: Tensor, where: Tensor, label: Tensor, answer: tuple[Tensor, Tensor], target: Tensor,
    stride: int, generator: torch.Generator, rounds: int, keep: bool,
) -> Float[np.ndarray, " r"]:  # fmt: skip
    """Mean IoU of the chosen masks of one scene, round after round, the first one being answered already."""
    curve = []
    while True:
        logits, predicted = answer
        previous = logits[torch.arange(len(logits)), predicted.argmax(-1)]
        curve.append(float(pairwise_iou(previous[:, None], target[:, None]).mean()))
        if len(curve) == rounds:
            return np.array(curve)
        point, kind = simulate.correcting_clicks(previous, target, stride, generator)
        where, label = torch.cat([where, point[:, None]], 1), torch.cat([label, kind[:, None]], 1)
        answer = sam.decode_masks(embedding, where, label, mask=previous[:, None] if keep else None)
