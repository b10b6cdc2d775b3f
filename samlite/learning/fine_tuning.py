"""Fine-tuning on a few photos and masks of one's own: the image encoder stays, the small half learns.

    photo → image encoder, once, frozen → embedding, kept (C, G, G)
    step  → some objects → a click or a box each, drawn anew → masks → loss
          → a click where the answer is wrong, with the answer as mask prompt → masks → loss

At full size the encoder costs hundreds of clicks, and it needs most of the memory of training; run once and left alone,
it costs nothing a step, so that a set of a few photos is learned on a CPU in minutes. Prompt encoder and mask decoder
learn. The document's and the released architecture go the same way: the nearest of the candidates learns most (minimum
over masks), and the one mask that ``multimask_output=False`` gives has a loss of its own.

Letters: B prompts of a step, K candidate masks, C channels, G side of the grid, H W the low-res mask frame.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from samlite.fast import use_folded_decoder
from samlite.images import read_photo
from samlite.learning import simulate
from samlite.learning.losses import iou_loss, minimum_over_masks, pairwise_iou, pairwise_mask_loss
from samlite.learning.optimiser import clipped_step
from samlite.mask_decoder import MaskDecoder
from samlite.masks import as_binary, mask_to_logits
from samlite.parts import with_parts
from samlite.predictor import SamPredictor
from samlite.sam import Sam

Example = tuple[str, Any, Any]  # a name for messages, the photo, its masks (objects, H, W)
NOT_HERE = -100.0  # the logit of cells outside the photo: no mask, no loss and no gradient


@dataclass(frozen=True)
class FineTuning:
    """What decides how a model is fine-tuned. ``boxes`` is the share of boxes among the first prompts."""

    steps: int = 200
    prompts: int = 16  # objects a step
    rate: float = 3e-4  # of AdamW; it falls to nothing along a cosine
    boxes: float = 0.5
    jitter: float = 0.1  # of a box: how far each side is moved, as a share of the box
    warm_up: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "steps": (1, 10**9), "prompts": (1, 10**6), "boxes": (0, 1), "jitter": (0, 0.5), "warm_up": (1, 10**9),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}: it must lie between {low} and {high:,}")
        if not 0 < self.rate < 1:
            raise ValueError(f"rate is {self.rate}: it must lie between 0 and 1, 3e-4 is usual")

    def rate_at(self, step: int) -> float:
        """The learning rate: warm-up, then half a cosine down to nothing."""
        falling = 0.5 + 0.5 * np.cos(np.pi * step / self.steps)
        return self.rate * min((step + 1) / self.warm_up, 1.0) * float(falling)


@dataclass
class EmbeddedSet:
    """Photos as the decoder needs them, and their objects. ``names`` of the photos; ``photo_of`` each object its photo.

    ``targets`` are shares: how much of each low-res cell the object covers. ``outside`` is True in the cells that hold
    padding and nothing of the photo: whatever the model says there is cut off, and counts neither way. ``too_small``
    says which objects cover no cell by more than half; they are left out, for no mask of this model can show them.
    """

    names: list[str]
    embeddings: Float[Tensor, "photos c g g"]
    targets: Float[Tensor, "objects h w"]
    photo_of: Int[Tensor, " objects"]
    outside: Bool[Tensor, "photos h w"]
    too_small: list[str] = field(default_factory=list)

    def of_photos(self, chosen: Sequence[int]) -> "EmbeddedSet":
        """The set of some of the photos. Raises ValueError that names them when none of them has an object."""
        here = torch.tensor([int(photo) in chosen for photo in self.photo_of], dtype=torch.bool)
        renumbered = torch.tensor([chosen.index(int(photo)) for photo in self.photo_of[here]], dtype=torch.long)
        names = [self.names[photo] for photo in chosen]
        if not here.any():
            raise ValueError(
                f"no object in {', '.join(names) or 'no photo'}: every mask there covers less than one low-res cell of "
                "this model; put photos with larger objects there, or divide the photos in another way"
            )
        rows = list(chosen)
        return EmbeddedSet(names, self.embeddings[rows], self.targets[here], renumbered, self.outside[rows])

    def without_padding(
        self, logits: Float[Tensor, "b *k h w"], objects: Int[Tensor, " #b"]
    ) -> Float[Tensor, "b *k h w"]:
        """Logits for some objects (or all for one), ``NOT_HERE`` in the cells outside their photos."""
        outside = self.outside[self.photo_of[objects]].to(logits.device)
        return logits.masked_fill(outside if logits.ndim == 3 else outside[:, None], NOT_HERE)


def embed(sam: Sam, examples: Iterable[Example], progress: bool = False) -> EmbeddedSet:
    """Encode every photo once; the set lies on the CPU, 4 MB a photo and 0.25 MB an object at full size.

    ``examples``: (name, photo, masks) each, the photo anything that `samlite.images.read_photo` takes, the masks
    (objects, H, W), binary, of the photo's size. Raises ValueError that names the photo and the mask: sizes that
    differ, an empty mask, a mask that covers the whole photo, no mask at all, no photo at all.
    """
    from tqdm import tqdm

    predictor = SamPredictor(sam)
    names, embeddings, targets, photo_of, outside, too_small = [], [], [], [], [], []
    for name, given, masks in tqdm(examples, disable=not progress, unit="photo", desc="encode"):
        photo = read_photo(given)
        checked = check_masks(name, photo.shape[:2], masks)
        predictor.set_image(photo)
        frames = predictor.frames
        for index, mask in enumerate(checked):
            share = mask_to_logits(mask, frames.image_size, frames.low_res_size, strength=0.5) + 0.5
            if (share > 0.5).any():
                targets.append(torch.from_numpy(share[0]))
                photo_of.append(len(names))
            else:
                too_small.append(f"{name}, mask {index + 1}")
        names.append(name)
        embeddings.append(predictor.features.cpu())
        index, stride = torch.arange(frames.low_res_size), frames.image_size // frames.low_res_size
        beyond_y, beyond_x = (index * stride >= extent for extent in frames.input_size)
        outside.append(beyond_y[:, None] | beyond_x)
    if not targets:
        why = f": all {len(too_small)} objects cover less than one low-res cell of this model" if too_small else ""
        raise ValueError(f"the set has no object to learn from{why}")
    return EmbeddedSet(
        names, torch.cat(embeddings), torch.stack(targets), torch.tensor(photo_of), torch.stack(outside), too_small
    )


def check_masks(name: str, photo_size: tuple[int, int], masks: Any) -> Bool[np.ndarray, "objects height width"]:
    """The masks of one photo as bool. Raises ValueError that names photo and mask, what was found and what to do."""
    try:
        masks = np.asarray(masks)
    except ValueError:  # of several sizes
        shapes = ", ".join(sorted({str(np.shape(mask)) for mask in masks}))
        raise ValueError(f"{name}: masks have shapes {shapes}; each must be the photo's, {tuple(photo_size)}") from None
    if masks.ndim != 3 or len(masks) == 0:
        raise ValueError(f"{name}: masks have shape {masks.shape}; at least one is needed, as (objects, height, width)")
    if masks.shape[1:] != tuple(photo_size):
        found, wanted = (f"{size[1]}×{size[0]}" for size in (masks.shape[1:], photo_size))
        turned = masks.shape[:0:-1] == tuple(photo_size)
        hint = "one of them lies on its side: was the photo turned by its EXIF orientation?" if turned else (
            "a mask must be drawn on the very photo, neither resized nor cropped"
        )  # fmt: skip
        raise ValueError(f"{name}: the masks are {found} (width×height), the photo is {wanted}; {hint}")
    checked = np.stack([as_binary(mask, f"{name}, mask {index + 1}") for index, mask in enumerate(masks)])
    for index, mask in enumerate(checked):
        if not mask.any():
            raise ValueError(f"{name}, mask {index + 1} is empty: remove it, or draw the object")
        if mask.all():
            raise ValueError(f"{name}, mask {index + 1} covers the whole photo: there is nothing to cut out")
    return checked


class FineTuner:
    """A model in fine-tuning: its encoder is that of the model given, prompt encoder and mask decoder are copies."""

    def __init__(self, sam: Sam, examples: EmbeddedSet, settings: FineTuning | None = None) -> None:
        self.settings = settings or FineTuning()
        self.examples = examples
        self.decoder_class = type(sam.mask_decoder)
        prompt_encoder, mask_decoder = copy.deepcopy(sam.prompt_encoder), copy.deepcopy(sam.mask_decoder)
        self.sam = with_parts(sam, prompt_encoder=prompt_encoder, mask_decoder=mask_decoder).eval()
        if type(self.sam.mask_decoder) is MaskDecoder:
            use_folded_decoder(self.sam)  # the same function in less time
        learning = [*self.sam.prompt_encoder.parameters(), *self.sam.mask_decoder.parameters()]
        self.optimiser = torch.optim.AdamW(learning, lr=self.settings.rate, weight_decay=0.0)
        self.generator = torch.Generator(self.sam.device).manual_seed(self.settings.seed)
        self.step = 0

    def tuned(self) -> Sam:
        """The model as it is now, with a decoder of the class and the thresholds that it came with."""
        decoder = copy.deepcopy(self.sam.mask_decoder)
        decoder.__class__ = self.decoder_class
        prompt_encoder = copy.deepcopy(self.sam.prompt_encoder)
        return with_parts(self.sam, prompt_encoder=prompt_encoder, mask_decoder=decoder).eval()

    def train_step(self) -> dict[str, float]:
        """One step; figures for a log: loss, and mean IoU of best and of single mask after the first prompt.

        Raises RuntimeError when loss or gradient is no finite number.
        """
        settings, learning = self.settings, self.optimiser.param_groups[0]
        learning["lr"] = settings.rate_at(self.step)
        with torch.enable_grad():
            loss, figures = prompted_loss(self.sam, self.examples, settings, self.generator)
            loss.backward()
        advice = f"try a smaller rate than {settings.rate}"
        clipped_step(learning["params"], [self.optimiser], loss, self.step, advice)
        self.step += 1
        return figures


def fine_tune(
    sam: Sam,
    examples: EmbeddedSet,
    settings: FineTuning | None = None,
    progress: bool = False,
    each_step: Callable[[FineTuner, dict[str, float]], None] | None = None,
) -> Sam:
    """A copy of ``sam`` that has learned the objects of ``examples`` (from `embed`); ``sam`` itself stays as it was.

    Both share the image encoder, which does not change. ``each_step`` is called after every step. The same settings
    give the same model. Raises RuntimeError when the loss is no longer a number.
    """
    from tqdm import tqdm

    tuner = FineTuner(sam, examples, settings)
    bar = tqdm(range(tuner.settings.steps), disable=not progress, unit="step", desc="fine-tune")
    for _ in bar:
        figures = tuner.train_step()
        bar.set_postfix({name: f"{value:.3f}" for name, value in figures.items()}, refresh=False)
        if each_step:
            each_step(tuner, figures)
    return tuner.tuned()


def prompted_loss(
    sam: Sam, examples: EmbeddedSet, settings: FineTuning, generator: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step: some objects, for each a first prompt and a correcting click."""
    device, stride = sam.device, sam.image_size // examples.targets.shape[-1]
    chosen = torch.randint(len(examples.targets), (settings.prompts,), generator=generator, device=device).cpu()
    embedding = examples.embeddings[examples.photo_of[chosen]].to(device)
    target = examples.targets[chosen].to(device)
    nothing = torch.full_like(target, -1.0)  # the first click corrects an empty mask
    point, label = simulate.correcting_clicks(nothing, target, stride, generator)
    if float(torch.rand((), generator=generator, device=device)) < settings.boxes:  # of one kind, so of one length
        prompts = {"boxes": simulate.boxes_around(target, stride, settings.jitter, generator)[:, None]}
        points, labels = torch.zeros(len(target), 0, 2, device=device), label[:, None][:, :0]
    else:
        points, labels = point[:, None], label[:, None]
        prompts = {"points": points, "labels": labels}
    cut = partial(examples.without_padding, objects=chosen)
    first, figures, previous = answer_loss(sam, embedding, target, prompts, cut)
    point, label = simulate.correcting_clicks(cut(previous), target, stride, generator)
    prompts["points"] = torch.cat([points, point[:, None]], dim=1)
    prompts["labels"] = torch.cat([labels, label[:, None]], dim=1)
    second, _, _ = answer_loss(sam, embedding, target, prompts | {"mask": previous[:, None]}, cut)
    loss = first + 0.5 * second
    return loss, {"loss": float(loss.detach()), **figures}


def answer_loss(
    sam: Sam,
    embedding: Float[Tensor, "#b c g g"],
    target: Float[Tensor, "b h w"],
    prompts: dict[str, Tensor],
    cut: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, ""], dict[str, float], Float[Tensor, "b h w"]]:
    """Loss of the candidates and of the single mask, their mean IoUs, and the single mask's logits without gradient.

    ``cut`` takes the padding out of logits before they are judged. The logits that come back are the decoder's own, as
    a mask prompt has them.
    """
    sparse, dense = sam.prompt_encoder(**prompts)
    answers = sam.mask_decoder(embedding, sam.prompt_encoder.image_positions(), sparse, dense)
    losses, figures = [], {}
    for name, several in (("best", True), ("single", False)):
        logits, predicted = sam.mask_decoder.choose_masks(*answers, several)
        judged = cut(logits)
        overlap = pairwise_iou(judged.detach(), target[:, None])[..., 0]  # (B, K)
        loss = minimum_over_masks(pairwise_mask_loss(judged, target[:, None])) + iou_loss(predicted, overlap)
        losses.append(loss.mean())
        figures[name] = float(overlap.amax(1).mean())
    return losses[0] + losses[1], figures, logits[:, 0].detach()


@torch.no_grad()
def measure(sam: Sam, examples: EmbeddedSet, clicks: int = 4, seed: int = 1) -> dict[str, dict[str, float]]:
    """Mean IoU on every object for "click" (``clicks`` different ones each), "box", and "box, one correction".

    In the low-res frame, the frame of training: "best" of the candidates, and "single", the mask of
    ``multimask_output=False``. The same seed clicks the same places.
    """
    stride = sam.image_size // examples.targets.shape[-1]
    sums: dict[str, dict[str, list[float]]] = {}
    for index in range(len(examples.targets)):
        generator = torch.Generator(sam.device).manual_seed(seed * 1_000_003 + index)
        target = examples.targets[index : index + 1].to(sam.device)
        cut = partial(examples.without_padding, objects=torch.tensor([index]))
        several = target.expand(clicks, -1, -1)
        embedding = examples.embeddings[examples.photo_of[index]][None].to(sam.device)
        point, label = simulate.correcting_clicks(torch.full_like(several, -1.0), several, stride, generator)
        box = {"boxes": simulate.boxes_around(target, stride, 0.0, generator)[:, None]}
        clicked = {"points": point[:, None], "labels": label[:, None]}
        _, figures, _ = answer_loss(sam, embedding, several, clicked, cut)
        found = {"click": figures}
        _, found["box"], previous = answer_loss(sam, embedding, target, box, cut)
        point, label = simulate.correcting_clicks(cut(previous), target, stride, generator)
        corrected = box | {"points": point[:, None], "labels": label[:, None], "mask": previous[:, None]}
        _, found["box, one correction"], _ = answer_loss(sam, embedding, target, corrected, cut)
        for kind, row in found.items():
            for name, value in row.items():
                sums.setdefault(kind, {}).setdefault(name, []).append(value)
    return {kind: {name: float(np.mean(values)) for name, values in row.items()} for kind, row in sums.items()}
