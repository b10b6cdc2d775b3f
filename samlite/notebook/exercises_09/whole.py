"""What an ablation hurts, and the whole model from its parts: exercises answered with code (document §1.9)."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import skimage.data
import torch
from einops import einsum, rearrange
from torch import Tensor

from samlite.frames import ResizeLongestSide
from samlite.image_encoder import patchify
from samlite.masks import mask_iou
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.ledger import shape_ledger
from samlite.registry import sam_model_registry
from samlite.sam import Sam

Masks = dict[str, np.ndarray]


def _damage(
    reference: np.ndarray, ablated: Masks, *, least: bool = False, area: bool = False, pooled: bool = False,
    first: bool = False, changed: bool = False, dice: bool = False, worst: bool = False,
) -> list[str]:  # fmt: skip
    """Names from the most to the least damage, with switches for what easily goes wrong."""

    def likeness(masks: np.ndarray) -> float:
        if area:
            return -float(np.abs(masks.sum((1, 2)) - reference.sum((1, 2))).mean())
        if pooled:
            return float((masks & reference).sum() / (masks | reference).sum())
        if changed:
            return -float((masks != reference).mean())
        ious = mask_iou(masks, reference)[: 1 if first else None]
        return float(ious.min() if worst else (2 * ious / (1 + ious) if dice else ious).mean())

    order = sorted(ablated, key=lambda name: likeness(ablated[name]))
    return order[::-1] if least else order


def _four_switches() -> tuple[np.ndarray, Masks]:
    """Three rectangles, moved or replaced by four switches. With this seed every known mistake gives another order."""
    generator = np.random.default_rng(59)

    def rectangle() -> np.ndarray:
        x, y = generator.integers(0, 14, 2)
        width, height = generator.integers(2, 16, 2)
        mask = np.zeros((20, 20), dtype=bool)
        mask[y : y + height, x : x + width] = True
        return mask

    def disturbed(mask: np.ndarray) -> np.ndarray:
        return np.roll(mask, generator.integers(-3, 4, 2), (0, 1)) if generator.random() < 0.7 else rectangle()

    reference = np.stack([rectangle() for _ in range(3)])
    return reference, {name: np.stack([disturbed(mask) for mask in reference]) for name in "abcd"}


def _random_switches() -> tuple[np.ndarray, Masks]:
    generator = np.random.default_rng(11)
    reference = generator.random((9, 12, 12)) < 0.4
    return reference, {
        name: reference ^ (generator.random(reference.shape) < share)
        for name, share in (("p", 0.2), ("q", 0.05), ("r", 0.5), ("s", 0.1))
    }


rank_the_damage = Exercise(
    name="rank_the_damage",
    title="What hurts most?",
    difficulty=2,
    minutes=10,
    question="""
`reference` (N, H, W) holds the masks of the whole model for N clicks; `ablated` is a dict: the name of a switch → the
masks (N, H, W) with that switch off. Return the list of names, the one that changes the masks most first. Measure the
change by the mean over the clicks of the IoU with the reference. No mask is empty.
""",
    code="""
def rank(reference, ablated):
    # <answer: names = ...>
    def likeness(masks):
        both = (masks & reference).sum(axis=(1, 2))
        either = (masks | reference).sum(axis=(1, 2))
        return (both / either).mean()

    names = sorted(ablated, key=lambda name: likeness(ablated[name]))  # the least alike first
    # </answer>
    return names


rank_the_damage.check(rank)
""",
    expected=_damage,
    stages=[Stage("three clicks, four switches", _four_switches), Stage("nine clicks", _random_switches)],
    mistakes=[
        Mistake("least damage first", "A high IoU with the reference means that little has changed. Most damage first.",
                partial(_damage, least=True)),
        Mistake("areas compared", "Two masks of the same area can lie in different places.",
                partial(_damage, area=True)),
        Mistake("pixels pooled", "All intersections over all unions: then large masks count more. First one IoU a "
                "click, then the mean.", partial(_damage, pooled=True)),
        Mistake("changed pixels counted", "The share of pixels that differ is small for every small mask. Divide by "
                "the union.", partial(_damage, changed=True)),
        Mistake("dice for IoU", "That is 2 · both over the sum of the areas. The IoU divides by the union.",
                partial(_damage, dice=True)),
        Mistake("the worst click alone", "The mean over all clicks is asked, not the click that suffers most.",
                partial(_damage, worst=True)),
        Mistake("the first click alone", "The mean over all clicks is asked.", partial(_damage, first=True)),
    ],
    hints=[
        "IoU for each click first: sums over the last two axes.",
        "`sorted(names, key=…)` puts small values first.",
    ],
    explanation="""
Such a ranking says what the *trained* model relies on. It does not say what a model needs: one that is trained without
the thing may find another way.
""",
)  # fmt: skip


@cache
def _tiny() -> Sam:
    return sam_model_registry["tiny"]()


def _whole_in_samlite(images: Tensor, point: Tensor, sam: Sam) -> dict[str, Tensor]:
    steps = ("token_sequence", "decoded_image", "mask_vectors")
    with shape_ledger(sam, keep=steps) as ledger:
        embedding = sam.encode_image(images)
        logits, predictions = sam.decode_masks(embedding, point, torch.ones(1, 1, dtype=torch.long))
    kept = {step: ledger[step].tensor for step in steps}
    return {"image_embedding": embedding, **kept, "low_res_logits": logits, "iou_predictions": predictions}


def _whole(
    images: Tensor, point: Tensor, sam: Sam, *, outputs_first: bool = False, background: bool = False,
    pixels: bool = False, places_each_block: bool = False, one_block: bool = False, iou_first: bool = False,
    one_head: bool = False, no_norm: bool = False, half: float = 0.5, no_positions: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """The whole model from its parts, with switches for what easily goes wrong."""
    encoder, prompts, decoder = sam.image_encoder, sam.prompt_encoder, sam.mask_decoder
    tokens = encoder.patch_projection(patchify(images, encoder.patch_size)) + encoder.position_embedding
    for block in encoder.blocks:
        tokens = block(tokens)
    tokens = tokens if no_norm else encoder.norm(tokens)
    grid = rearrange(tokens, "b (y x) d -> b y x d", x=encoder.grid_size)
    embedding = rearrange(encoder.channel_projection(grid), "b y x c -> b c y x")

    place = point if pixels else (point + half) / sam.image_size
    prompt = prompts.coordinates(place) + prompts.type_embedding.weight[0 if background else 1]
    outputs = torch.cat([decoder.mask_tokens, decoder.iou_token])[None]
    sequence = torch.cat([outputs, prompt] if outputs_first else [prompt, outputs], dim=1)
    positions = rearrange(prompts.image_positions(), "c y x -> (y x) c") * (0 if no_positions else 1)
    image = rearrange(embedding, "b c y x -> b (y x) c")
    tokens, token_positions = sequence, sequence
    for block in decoder.blocks[: 1 if one_block else None]:
        tokens, image = block(tokens, image, tokens if places_each_block else token_positions, positions)
    decoded = rearrange(image, "b (y x) c -> b c y x", x=encoder.grid_size)
    outputs = tokens[:, :4] if outputs_first else tokens[:, -4:]
    outputs = outputs.roll(1, 1) if iou_first else outputs
    heads = [decoder.mask_heads[0]] * 3 if one_head else decoder.mask_heads
    vectors = torch.stack([head(outputs[:, k]) for k, head in enumerate(heads)], dim=1)
    logits = einsum(vectors, decoder.upscaling(decoded), "b k c, b c y x -> b k y x")
    return {
        "image_embedding": embedding, "token_sequence": sequence, "decoded_image": decoded, "mask_vectors": vectors,
        "low_res_logits": logits, "iou_predictions": decoder.iou_head(outputs[:, -1]),
    }  # fmt: skip


def _photo(name: str, click: tuple[int, int]) -> tuple[Tensor, Tensor, Sam]:
    sam, photo = _tiny(), getattr(skimage.data, name)()
    transform = ResizeLongestSide(sam.image_size)
    pixels = torch.from_numpy(transform.apply_image(photo)).permute(2, 0, 1)[None].float()
    point = transform.apply_coords_torch(torch.tensor([[click]]), photo.shape[:2])
    return sam.normalise(pixels), point, sam


write_the_whole_model = Exercise(
    name="write_the_whole_model",
    title="The whole model from its parts",
    difficulty=5,
    minutes=45,
    question="""
From a photo to masks, in the document's order, with the trained parts and without `sam.encode_image`,
`sam.decode_masks` or a call of one of the three parts as a whole. You get normalised `images` (1, 3, S, S), one
foreground `point` (1, 1, 2), (x, y) in pixels of the input frame, and `sam`. The cell of thirty lines in this chapter
does it with bare weights; here the parts may be called: `patch_projection`, `blocks`, `norm`,
`channel_projection`, `coordinates`, `type_embedding`, `image_positions()`, `mask_tokens`, `iou_token`, `upscaling`,
`mask_heads`, `iou_head`. Return the six named steps.
""",
    code="""
def my_sam(images, point, sam):
    steps = {}
    # <answer: steps["image_embedding"] = ...>
    encoder, prompts, decoder = sam.image_encoder, sam.prompt_encoder, sam.mask_decoder
    size = encoder.patch_size
    patches = rearrange(images, "b c (y p) (x q) -> b (y x) (c p q)", p=size, q=size)
    tokens = encoder.patch_projection(patches) + encoder.position_embedding
    for block in encoder.blocks:
        tokens = block(tokens)
    grid = rearrange(encoder.norm(tokens), "b (y x) d -> b y x d", x=encoder.grid_size)
    steps["image_embedding"] = rearrange(encoder.channel_projection(grid), "b y x c -> b c y x")

    place = (point + 0.5) / sam.image_size
    prompt = prompts.coordinates(place) + prompts.type_embedding.weight[1]
    outputs = torch.cat([decoder.mask_tokens, decoder.iou_token])[None]
    steps["token_sequence"] = torch.cat([prompt, outputs], dim=1)

    tokens = first_tokens = steps["token_sequence"]
    image = rearrange(steps["image_embedding"], "b c y x -> b (y x) c")
    positions = rearrange(prompts.image_positions(), "c y x -> (y x) c")
    for block in decoder.blocks:
        tokens, image = block(tokens, image, first_tokens, positions)
    steps["decoded_image"] = rearrange(image, "b (y x) c -> b c y x", x=encoder.grid_size)

    outputs = tokens[:, 1:]  # the prompt has done its work
    vectors = [head(outputs[:, k]) for k, head in enumerate(decoder.mask_heads)]
    steps["mask_vectors"] = torch.stack(vectors, dim=1)
    upscaled = decoder.upscaling(steps["decoded_image"])
    steps["low_res_logits"] = einsum(steps["mask_vectors"], upscaled, "b k c, b c y x -> b k y x")
    steps["iou_predictions"] = decoder.iou_head(outputs[:, -1])
    # </answer>
    # <answer: steps["token_sequence"] = steps["decoded_image"] = steps["mask_vectors"] = ...>
    # </answer>
    # <answer: steps["low_res_logits"] = steps["iou_predictions"] = ...>
    # </answer>
    return steps


write_the_whole_model.check(my_sam)
""",
    expected=_whole_in_samlite,
    stages=[
        Stage("tiny, a cat", lambda: _photo("chelsea", (180, 105))),
        Stage("tiny, a cup", lambda: _photo("coffee", (290, 165))),
    ],
    mistakes=[
        Mistake("last norm forgotten", "A norm follows the last block of the encoder.", partial(_whole, no_norm=True)),
        Mistake("output tokens first", "The prompt's tokens come first, then three masks, then the IoU.",
                partial(_whole, outputs_first=True)),
        Mistake("a background point", "The types are numbered: 0 is background, 1 is foreground.",
                partial(_whole, background=True)),
        Mistake("coordinates not normalised", "The code of a place takes (xy + 0.5) / S, which lies in 0…1.",
                partial(_whole, pixels=True)),
        Mistake("no half pixel", "A coordinate names the centre of a pixel: (xy + 0.5) / S.",
                partial(_whole, half=0.0)),
        Mistake("the image without positions", "The image side has positions of its own, `image_positions()`.",
                partial(_whole, no_positions=True)),
        Mistake("positions from the last block", "The tokens' positions are their first vectors, in both blocks.",
                partial(_whole, places_each_block=True)),
        Mistake("one two-way block", "The two-way block runs twice, each time with weights of its own.",
                partial(_whole, one_block=True)),
        Mistake("the IoU token as a mask", "Three masks first, the IoU token last: yours are one place off.",
                partial(_whole, iou_first=True)),
        Mistake("one MLP for all masks", "Each mask token has an MLP of its own.", partial(_whole, one_head=True)),
    ],
    hints=[
        "A handful of lines makes the image embedding: chapter 05.",
        "Four make the token sequence: a place, a type, four learned tokens, and their order. Chapter 07.",
        "A two-way block takes tokens, image and the positions of both, and gives tokens and image: chapter 08.",
    ],
    explanation="""
Two dozen lines. What they leave out is in the parts: attention, MLPs, norms; chapters 05, 07 and 08 write those by
hand.
""",
)  # fmt: skip
