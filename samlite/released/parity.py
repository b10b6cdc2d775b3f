"""The parity ladder: the released architecture measured, stage by stage, against other people's numbers.

Every rung is one stage of one model: what the official code computed there (files under ``tests/golden``), or what
`transformers.SamModel` computes there now with the same weights. The rungs stand in the order of the computation, so
the first one that breaks names the stage that is wrong; what follows it inherits the error.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from samlite import layers
from samlite.frames import ResizeLongestSide
from samlite.predictor import SamPredictor
from samlite.released.golden import GOLDEN, build, golden
from samlite.released.key_map import to_official
from samlite.released.transformers_names import transformers_sam
from samlite.sam import Sam

OFFICIAL, TRANSFORMERS = "official numbers", "transformers, live"
SMALL, WITH_STAGES = ("tiny", "std", "std256"), ("tiny", "std")
BLOCKS, EMBEDDING, LOGITS, IOU, GRADIENTS = 5e-6, 5e-6, 1e-5, 1e-5, 2e-5
# Of tiny's first convolution of a mask prompt. The norm behind it has two channels and gives ±1 whatever comes in, so
# its gradient is a small difference of large terms: a rounding of the mask (6e-8) moves it by 2e-4, all others by 7e-6.
ROUGH, ROUGH_GRADIENTS = "prompt_encoder.mask_downscaling.0.", 3e-4
CLEAR = 1e-3  # a mask's pixel is compared where its logit is at least so far from the threshold
SAMPLED_BLOCKS = (0, 2, 5, 8, 11)  # of vit_b
Pairs = Iterable[tuple[Tensor, Tensor]]  # ours, theirs


class Rung(NamedTuple):
    """One stage: largest and mean difference, absolute, or as a part of the largest value of the reference."""

    reference: str
    model: str
    stage: str
    largest: float
    mean: float
    tolerance: float
    unit: str  # "absolute", "of the largest value" or "of the pixels"
    values: int  # how many were compared

    @property
    def holds(self) -> bool:
        return self.largest <= self.tolerance  # False for NaN, too


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference, in the form of the other tensor: (B, L, D) fits (B, G, G, D)."""
    assert ours.numel() == theirs.numel(), (ours.shape, theirs.shape)
    return (ours.reshape(theirs.shape).float() - theirs.float()).abs().max().item() if theirs.numel() else 0.0


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """The same, as a part of the largest value of the other tensor."""
    return difference(ours, theirs) / max(theirs.abs().max().item(), 1e-12) if theirs.numel() else 0.0


@contextmanager
def recorded() -> Iterator[dict[str, list[Tensor]]]:
    """Every tensor that a model names while the block runs: name → tensors in their order."""
    seen: dict[str, list[Tensor]] = defaultdict(list)

    def listen(name: str, tensor: Tensor) -> None:
        seen[name].append(tensor)

    layers._listeners.append(listen)
    try:
        yield seen
    finally:
        layers._listeners.remove(listen)


def compare(reference: str, model: str, stage: str, pairs: Pairs, tolerance: float, relative: bool = False) -> Rung:
    """One rung from any number of pairs of tensors; a pair of different sizes is infinitely different."""
    errors = []
    for ours, theirs in pairs:
        theirs = theirs.float().cpu()
        if ours.numel() != theirs.numel():
            errors.append(torch.tensor([torch.inf]))
            continue
        error = (ours.float().cpu().reshape(theirs.shape) - theirs).abs().flatten()
        errors.append(error / theirs.abs().max().clamp(min=1e-12) if relative and theirs.numel() else error)
    every = torch.cat(errors)
    unit = "of the largest value" if relative else "absolute"
    return Rung(reference, model, stage, every.max().item(), every.mean().item(), tolerance, unit, len(every))


def compare_masks(reference: str, model: str, stage: str, masks: Iterable[tuple[Tensor, Tensor]]) -> Rung:
    """(our logits, their binary mask): the share of the clear pixels that differ, of which there may be none."""
    wrong = clear = 0
    for logits, mask in masks:
        logits = logits.cpu()
        certain = ~(logits.abs() <= CLEAR)  # NaN, too, and that is wrong
        wrong += int((((logits > 0) != mask.bool()) | ~logits.isfinite())[certain].sum())
        clear += int(certain.sum())
    share = wrong / clear if clear else math.inf
    return Rung(reference, model, stage, share, share, 0.0, "of the pixels", clear)


def ladder(full: bool = False, device: str = "cpu", build: Callable[..., Sam] = build) -> Iterator[Rung]:
    """Every rung in turn, as it is measured; ``full`` adds vit_b at 1024×1024.

    Without `transformers` its rungs are missing. Raises FileNotFoundError without the golden files.
    """
    for name in WITH_STAGES:
        yield from official_stages(name, build(name).to(device))
    yield gradients(build("tiny").to(device))
    yield windows(lambda name, window: build(name, window=window).to(device))
    yield from predictor(build("std256").to(device))
    if find_spec("transformers"):
        for name in SMALL:
            sam = build(name).to(device)
            size = (1, 3, sam.image_size, sam.image_size)
            yield from live(name, sam, torch.randn(size, generator=torch.Generator().manual_seed(0)))
    if full:
        sam = build("vit_b").to(device)
        yield from full_size(sam)
        if find_spec("transformers"):
            yield from live("vit_b", sam, full_size_image())


def prompts_of(stages: dict[str, Tensor], case: str) -> dict[str, Tensor | None]:
    """The prompts of one golden case, as `decode_masks` takes them."""
    given = {name: stages.get(f"case.{case}.in.{name}") for name in ("point_coords", "point_labels", "boxes", "masks")}
    boxes = given["boxes"]
    return {
        "points": given["point_coords"],
        "labels": given["point_labels"],
        "boxes": None if boxes is None else boxes[:, None],  # (B, 4) → (B, 1, 4)
        "mask": given["masks"],
    }


def decode_all_four(
    sam: Sam, embedding: Float[Tensor, "1 c g g"], prompts: dict[str, Tensor | None]
) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 4"]]:
    """The decoder's four masks and scores, before one or three of them are chosen."""
    on_device = {name: value if value is None else value.to(sam.device) for name, value in prompts.items()}
    sparse, dense = sam.prompt_encoder(**on_device)
    return sam.mask_decoder(embedding, sam.prompt_encoder.image_positions(), sparse, dense)


@torch.no_grad()
def official_stages(model: str, sam: Sam) -> Iterator[Rung]:
    """A synthetic picture through every stage, with every combination of prompts that the files have."""
    stages = golden(f"{model}_stages")

    def rung(stage: str, pairs: Pairs, tolerance: float, relative: bool = False) -> Rung:
        return compare(OFFICIAL, model, stage, pairs, tolerance, relative)

    photo = ResizeLongestSide(sam.image_size).apply_image(stages["image_u8"].numpy())
    pixels = sam.preprocess(rearrange(torch.from_numpy(photo), "y x c -> 1 c y x").to(sam.device))
    yield rung("preprocessing", [(pixels, stages["preprocessed"])], EMBEDDING)
    with recorded() as seen:
        embedding = sam.encode_image(stages["preprocessed"].to(sam.device))
    yield rung("patch embedding", [(seen["patch_embedding"][0], stages["enc.patch_embed"])], BLOCKS, True)
    for index, block in enumerate(seen["encoder_block"]):
        kind = type(sam.image_encoder.blocks[index]).__name__.removesuffix("Block").lower()
        yield rung(f"encoder block {index} ({kind})", [(block, stages[f"enc.block{index}"])], BLOCKS, True)
    yield rung("neck, first half", [(seen["projected_grid"][0], stages["enc.neck1"])], BLOCKS, True)
    yield rung("image embedding", [(embedding, stages["enc.out"])], EMBEDDING)
    yield rung("image positions", [(sam.prompt_encoder.image_positions(), stages["dense_pe"])], EMBEDDING)

    answers = {}
    for case in dict.fromkeys(key.split(".")[1] for key in stages if key.startswith("case.")):
        with recorded() as seen:
            logits, iou = decode_all_four(sam, embedding, prompts_of(stages, case))
        steps = {
            "sparse": seen["sparse_prompt_tokens"][0], "dense": seen["dense_prompt"][0],
            "layer0.queries": seen["token_mlp"][0], "layer0.keys": seen["image_to_token_attention"][0],
            "layer1.queries": seen["token_mlp"][1], "layer1.keys": seen["image_to_token_attention"][1],
            "hs": seen["last_token_to_image_attention"][0], "upscaled": seen["upscaled_4x"][0],
            "hyper": seen["mask_vectors"][0], "low_res4": logits, "iou4": iou,
        }  # fmt: skip
        answers[case] = {name: (step, stages.get(f"case.{case}.{name}")) for name, step in steps.items()}
    names = {
        "sparse": "sparse prompt tokens", "dense": "dense prompt",
        "layer0.queries": "two-way block 0, tokens", "layer0.keys": "two-way block 0, image",
        "layer1.queries": "two-way block 1, tokens", "layer1.keys": "two-way block 1, image",
        "hs": "last token-to-image attention", "upscaled": "upscaled image", "hyper": "mask vectors",
        "low_res4": "low-res logits", "iou4": "predicted IoU",
    }  # fmt: skip
    for name, stage in names.items():
        pairs = [answer[name] for answer in answers.values() if answer[name][1] is not None and answer[name][1].numel()]
        yield rung(stage, pairs, *((IOU, False) if name == "iou4" else (LOGITS, True)))
    sizes = tuple(stages["meta.input_size"].tolist()), tuple(stages["image_u8"].shape[:2])
    masks = [
        (sam.resize_masks(answer["low_res4"][0][:, :1], *sizes), stages[f"case.{case}.postprocessed_single_mask"])
        for case, answer in answers.items()
    ]
    yield compare_masks(OFFICIAL, model, "masks", masks)
    yield from batched_call(model, sam, stages)


def batched_call(model: str, sam: Sam, stages: dict[str, Tensor]) -> Iterator[Rung]:
    """Two pictures in one call: one with a point, one with two boxes."""
    transform = ResizeLongestSide(sam.image_size)
    batch = []
    for photo in (stages["image_u8"].numpy(), stages["forward.image2_u8"].numpy()):
        image = rearrange(torch.from_numpy(transform.apply_image(photo)), "y x c -> c y x")
        batch.append({"image": image, "original_size": photo.shape[:2]})
    batch[0] |= {name: stages[f"case.fg1.in.{name}"] for name in ("point_coords", "point_labels")}
    boxes = stages["forward.image2_boxes_original_frame"]
    batch[1]["boxes"] = transform.apply_boxes_torch(boxes, batch[1]["original_size"])
    answers = sam(batch, multimask_output=True)
    pairs = [(answer["low_res_logits"], stages[f"forward.out{i}.low_res_logits"]) for i, answer in enumerate(answers)]
    yield compare(OFFICIAL, model, "batched call, low-res logits", pairs, LOGITS, True)
    pairs = [(answer["iou_predictions"], stages[f"forward.out{i}.iou_predictions"]) for i, answer in enumerate(answers)]
    yield compare(OFFICIAL, model, "batched call, predicted IoU", pairs, IOU)


def gradients(sam: Sam) -> Rung:
    """Of one loss with respect to every parameter but those that rounding decides.

    These are the biases of keys, which softmax does not see, and the first convolution of a mask prompt (`ROUGH`).
    """
    stages, expected = golden("tiny_stages"), golden("tiny_grads")
    del expected["loss"]
    point, box = (
        {name: None if value is None else value.to(sam.device) for name, value in prompts_of(stages, case).items()}
        for case in ("point_mask", "box")
    )
    sparse, dense = sam.prompt_encoder(**point)
    sparse = torch.cat([sparse, sam.prompt_encoder(boxes=box["boxes"])[0]], dim=1)
    embedding = sam.encode_image(stages["preprocessed"].to(sam.device))
    logits, iou = sam.mask_decoder(embedding, sam.prompt_encoder.image_positions(), sparse, dense)
    (logits.square().mean() + iou.square().sum()).backward()
    values = sam.state_dict(keep_vars=True).items()
    ours = to_official({key: torch.zeros_like(v) if v.grad is None else v.grad for key, v in values})
    told = (key for key in expected if not key.endswith("k_proj.bias") and not key.startswith(ROUGH))
    pairs = [(ours[key], expected[key]) for key in told]
    return compare(OFFICIAL, "tiny", "gradients", pairs, GRADIENTS, True)


@torch.no_grad()
def windows(build_window: Callable[[str, int], Sam]) -> Rung:
    """Windows that need padding and windows that do not, as large as the grid and larger: the embedding."""
    pairs = []
    for key, expected in golden("window_variants").items():
        size, window = (int(part[3:]) for part in key.partition(".")[0].split("_"))
        sam = build_window("std" if size == 128 else "std256", window)
        image = np.random.RandomState(100 + size + window).standard_normal((1, 3, size, size)).astype(np.float32)
        pairs.append((sam.encode_image(torch.from_numpy(image).to(sam.device))[:, ::4], expected))
    return compare(OFFICIAL, "std, std256", "windows of any size", pairs, EMBEDDING)


def predictor(sam: Sam) -> Iterator[Rung]:
    """A photo's way through `SamPredictor`, by a point and by a box."""
    expected, ours = golden("std256_predictor"), SamPredictor(sam)
    ours.set_image(Image.open(GOLDEN / "synthetic_200x300.png"))
    pairs = [(ours.get_image_embedding()[:, ::8], expected["syn.features_every8"])]
    yield compare(OFFICIAL, "std256", "predictor, image embedding", pairs, EMBEDDING)
    logits, scores, masks = [], [], []
    for case, given in (("point", ([(160, 100)], [1])), ("box", (None, None, (60, 40, 250, 190)))):
        for kind in ("multi", "single"):
            key = f"syn.{case}.{kind}"
            full, iou, low_res = ours.predict(*given, multimask_output=kind == "multi", return_logits=True)
            logits.append((torch.from_numpy(low_res), expected[f"{key}.low_res"]))
            scores.append((torch.from_numpy(iou), expected[f"{key}.iou"]))
            bits = np.unpackbits(expected[f"{key}.masks"].numpy(), axis=-1, count=full.shape[-1])
            masks.append((torch.from_numpy(full), torch.from_numpy(bits)))
    yield compare(OFFICIAL, "std256", "predictor, low-res logits", logits, LOGITS, True)
    yield compare(OFFICIAL, "std256", "predictor, predicted IoU", scores, IOU)
    yield compare_masks(OFFICIAL, "std256", "predictor, masks", masks)


@torch.no_grad()
def live(model: str, sam: Sam, image: Float[Tensor, "1 3 size size"]) -> Iterator[Rung]:
    """`transformers.SamModel` with the same weights on the same picture: embedding, points, a box, a box and a mask."""
    other, image = transformers_sam(sam).to(sam.device), image.to(sam.device)
    embedding, reference = sam.encode_image(image), other.get_image_embeddings(image)
    yield compare(TRANSFORMERS, model, "image embedding", [(embedding, reference)], EMBEDDING)
    random, low_res = torch.Generator().manual_seed(1), 4 * sam.prompt_encoder.grid_size
    points = (torch.rand(1, 3, 2, generator=random) * sam.image_size).to(sam.device)
    labels = torch.tensor([[1, 0, 1]], device=sam.device)
    boxes = torch.tensor([[[0.2, 0.3, 0.7, 0.9]]], device=sam.device) * sam.image_size
    mask = 3 * torch.randn(1, 1, low_res, low_res, generator=random).to(sam.device)
    logits, scores = [], []
    for ours, theirs in (
        ({"points": points, "labels": labels}, {"input_points": points[:, None], "input_labels": labels[:, None]}),
        ({"boxes": boxes}, {"input_boxes": boxes}),
        ({"boxes": boxes, "mask": mask}, {"input_boxes": boxes, "input_masks": mask}),
    ):
        for multimask in (True, False):
            low_res_logits, iou = sam.decode_masks(embedding, **ours, multimask_output=multimask)
            out = other(image_embeddings=reference, **theirs, multimask_output=multimask)
            logits.append((low_res_logits, out.pred_masks[:, 0]))
            scores.append((iou, out.iou_scores[:, 0]))
    yield compare(TRANSFORMERS, model, "low-res logits", logits, LOGITS, True)
    yield compare(TRANSFORMERS, model, "predicted IoU", scores, IOU)


def full_size_image() -> Float[Tensor, "1 3 1024 1024"]:
    """The picture of the full-size samples: noise, black from column 900 on."""
    image = np.random.RandomState(2024).standard_normal((1, 3, 1024, 1024)).astype(np.float32)
    image[..., 900:] = 0
    return torch.from_numpy(image)


@torch.no_grad()
def full_size(sam: Sam) -> Iterator[Rung]:
    """vit_b at 1024×1024: samples of five blocks, the embedding, two points and a box."""
    expected = golden("vitb_fullsize_samples")
    with recorded() as seen:
        embedding = sam.encode_image(full_size_image().to(sam.device))
    for index in SAMPLED_BLOCKS:
        block = rearrange(seen["encoder_block"][index], "b (y x) d -> b y x d", y=64)[:, ::8, ::8, ::16]
        pair = (block, expected[f"enc.block{index}_s8_c16"])
        yield compare(OFFICIAL, "vit_b", f"encoder block {index}", [pair], BLOCKS, True)
    pair = (embedding[:, ::8, ::4, ::4], expected["enc.out_c8_s4"])
    yield compare(OFFICIAL, "vit_b", "image embedding", [pair], EMBEDDING)
    points = {"points": expected["points"], "labels": torch.ones(2, 1, dtype=torch.long)}
    logits, scores = [], []
    for key, given in (("", points), ("box.", {"boxes": expected["box"][:, None]})):
        low_res, iou = decode_all_four(sam, embedding, given)
        logits.append((low_res[..., ::8, ::8], expected[f"{key}low_res4_s8"]))
        scores.append((iou, expected[f"{key}iou4"]))
    yield compare(OFFICIAL, "vit_b", "low-res logits", logits, LOGITS, True)
    yield compare(OFFICIAL, "vit_b", "predicted IoU", scores, IOU)
