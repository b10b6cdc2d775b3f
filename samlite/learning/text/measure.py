"""Does the phrase pick its object? Scenes nobody trained on, against chance and controls.

*Right object*: of all objects of the scene, the mask covers the one that was named best (by IoU, and at all). Controls:

- **shuffled text**: every scene gets a different phrase, that of another scene. Nothing else changes, so the gap to the
  right phrase is what reading does.
- **ranking**: candidate masks that know nothing of the phrase; the text–image model looks at the crop of each and takes
  the most similar. This needs no text token and no training of a SAM. The candidates are automatic masks, or the exact
  ones: those say how much of what is missing is the text–image model's.

Letters: B scenes, Q objects of a scene, K candidate masks, E width of an embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.learning.text import shapes
from samlite.learning.text.contrastive import SEEN_NUMBERS, Embeddings
from samlite.learning.text.vocabulary import HELD_OUT, PAIRS, SEEN
from samlite.sam import Sam

MEASURE_SEED = 20_000_003  # of scenes that no training run draws
OBJECTS = 4
PAIRS_OF = {"pairs seen in training": SEEN, "pairs never seen": HELD_OUT}


@dataclass
class Picked:
    """``iou`` (B, Q): of the mask that was chosen with every object of its scene; object 0 was named."""

    iou: Float[Tensor, "b q"]

    def figures(self) -> dict[str, float | int]:
        right = (self.iou.argmax(1) == 0) & (self.iou[:, 0] > 0)
        return {
            "scenes": len(self.iou),
            "right object": round(right.float().mean().item(), 4),
            "mean IoU": round(self.iou[:, 0].mean().item(), 4),
            "share above 0.5": round((self.iou[:, 0] > 0.5).float().mean().item(), 4),
        }


def held_out_scenes(
    pairs: Sequence[tuple[int, int]], count: int, size: int, objects: int = OBJECTS, seed: int = MEASURE_SEED
) -> shapes.DescribedScenes:
    """New scenes whose first object, the one to name, is of one of ``pairs``; the others are of seen pairs.

    Nearly all of the others share its colour or its shape (`shapes.choose_pairs`): one word alone is not enough.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.tensor([PAIRS.index(pair) for pair in pairs])
    first = numbers[torch.randint(len(numbers), (count,), generator=generator)]
    return shapes.make_scenes(shapes.choose_pairs(first, objects, SEEN_NUMBERS, generator), size, generator)


def overlaps(chosen: Bool[Tensor, "b h w"], masks: Bool[Tensor, "b q h w"]) -> Float[Tensor, "b q"]:
    """IoU of one mask a scene with every object of the scene."""
    both = (chosen[:, None] & masks).sum((-1, -2))
    return both / (chosen[:, None] | masks).sum((-1, -2)).clamp(min=1)


@torch.inference_mode()
def masks_by_text(
    sam: Sam, images: Float[Tensor, "b 3 r r"], text: Float[Tensor, "b e"], batch: int = 50
) -> Bool[Tensor, "b r r"]:
    """For each image the mask with the highest predicted IoU, prompted by one embedding and nothing else."""
    answers = []
    for pictures, embeddings in zip(images.split(batch), text.split(batch), strict=True):
        resized = F.interpolate(pictures, (sam.image_size,) * 2, mode="bilinear", antialias=True)
        embedding = sam.encode_image(sam.normalise(resized))
        logits, _ = sam.decode_masks(embedding, text=embeddings[:, None], multimask_output=False)
        answers.append(sam.resize_masks(logits, (sam.image_size,) * 2, tuple(images.shape[-2:]))[:, 0] > 0)
    return torch.cat(answers)


def pick_by_text(sam: Sam, text_model: Embeddings, scenes: shapes.DescribedScenes, shuffled: bool = False) -> Picked:
    """Name object 0 of each scene; ``shuffled``: with another scene's phrase (`phrases_of_others`), the control."""
    phrases = [scenes.phrase(b, 0) for b in range(len(scenes.images))]
    text = text_model.embed_text(phrases_of_others(phrases) if shuffled else phrases).detach()
    return Picked(overlaps(masks_by_text(sam, scenes.images, text), scenes.masks))


def phrases_of_others(phrases: Sequence[str]) -> list[str]:
    """For each scene the phrase of the next scene that has a different one (after the last comes the first).

    With few phrases the next scene often has the same one, and a model that reads would then be right by reading.
    Raises ValueError when all phrases are the same.
    """
    if len(set(phrases)) < 2:
        raise ValueError(
            f"{len(phrases)} scenes name {len(set(phrases))} phrase: shuffled text needs two different ones, "
            "so take more scenes"
        )
    return [
        next(other for other in (*phrases[b + 1 :], *phrases[:b]) if other != phrase)
        for b, phrase in enumerate(phrases)
    ]


@torch.inference_mode()
def rank_masks(
    text_model: Embeddings,
    image: Float[Tensor, "3 r r"],
    candidates: Bool[Tensor, "k r r"],
    text: Float[Tensor, "1 e"],
) -> Float[Tensor, " k"]:
    """Cosine of the phrase with the crop around each candidate mask. No model of masks is asked."""
    crops = shapes.crop(image[None], shapes.boxes_of(candidates)[None], text_model.crop_size)
    return (text_model.embed_images(crops) @ text.T)[:, 0]


def pick_by_ranking(
    text_model: Embeddings,
    scenes: shapes.DescribedScenes,
    candidates_of: Callable[[int], Bool[Tensor, "k r r"]],
) -> Picked:
    """For each scene the candidate that the text–image model finds most similar to the phrase; none: an empty mask."""
    chosen = torch.zeros_like(scenes.masks[:, 0])
    for b, image in enumerate(scenes.images):
        candidates = candidates_of(b)
        if len(candidates):
            text = text_model.embed_text(scenes.phrase(b, 0)).detach()
            chosen[b] = candidates[rank_masks(text_model, image, candidates, text).argmax()]
    return Picked(overlaps(chosen, scenes.masks))


def automatic_candidates(sam: Sam, image: Float[Tensor, "3 r r"], points_per_side: int = 6) -> Bool[Tensor, "k r r"]:
    """Masks without a phrase: the automatic ones that cover less than a quarter of the picture."""
    generator = SamAutomaticMaskGenerator(sam, points_per_side=points_per_side)
    records = generator.generate(image.permute(1, 2, 0).byte().numpy())
    masks = [torch.from_numpy(record["segmentation"]) for record in records]
    masks = [mask for mask in masks if mask.float().mean() < 0.25]
    return torch.stack(masks) if masks else torch.zeros(0, *image.shape[1:], dtype=torch.bool)


def measure(
    sam: Sam,
    text_model: Embeddings,
    masks_from: Sam | None = None,
    count: int = 200,
    size: int = 128,
    watch: Callable[[str], None] | None = None,
) -> dict[str, dict[str, dict[str, float | int]]]:
    """The table: for seen and never seen pairs, the text prompt, chance and the controls.

    ``masks_from``: the model that gives automatic masks to rank (None: that row is left out).
    """
    table: dict[str, dict[str, dict[str, float | int]]] = {}
    for name, pairs in PAIRS_OF.items():
        scenes = held_out_scenes(pairs, count, size)
        rows = table[name] = {}
        rows["text prompt"] = pick_by_text(sam, text_model, scenes).figures()
        rows["shuffled text"] = pick_by_text(sam, text_model, scenes, shuffled=True).figures()
        rows["chance"] = {"scenes": count, "right object": round(1 / scenes.masks.shape[1], 4)}
        if masks_from is not None:
            candidates = [automatic_candidates(masks_from, image) for image in scenes.images]
            rows["ranking automatic masks"] = pick_by_ranking(text_model, scenes, candidates.__getitem__).figures()
        rows["ranking exact masks"] = pick_by_ranking(text_model, scenes, scenes.masks.__getitem__).figures()
        if watch:
            watch(name)
    return table
