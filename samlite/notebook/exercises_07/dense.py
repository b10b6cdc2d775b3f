"""Exercises on the dense path and on what the decoder gets, with the weights of the model (§1.7.2–§1.7.4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_07.material import boxes, labels, mask_logits, places, small, tiny
from samlite.notebook.ledger import shape_ledger
from samlite.prompt_encoder import MaskPromptEncoder
from samlite.sam import Sam

_DENSE_STEPS = ("mask_prompt", "mask_halved", "mask_quartered")


def _dense_in_samlite(mask: Tensor, layers: MaskPromptEncoder) -> dict[str, Tensor]:
    with shape_ledger(layers, keep=_DENSE_STEPS) as ledger:
        dense = layers(mask)
    return {step: ledger[step].tensor for step in _DENSE_STEPS} | {"dense_prompt": dense}


def _resize(mask: Tensor, side: int, **how: object) -> Tensor:
    how = {"mode": "bilinear", "antialias": True} | how
    return mask if mask.shape[-1] == side else F.interpolate(mask, (side, side), **how)


def _norm_of_whole_map(norm: nn.Module, x: Tensor) -> Tensor:
    centred = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True, correction=0)
    return centred * norm.weight[:, None, None] + norm.bias[:, None, None]


def _dense(
    mask: Tensor, layers: MaskPromptEncoder, *,
    resize: Callable[[Tensor, int], Tensor] = _resize, change: Callable[[Tensor], Tensor] = lambda mask: mask,
    activation: Callable[[Tensor], Tensor] = F.gelu, norm: Callable[[nn.Module, Tensor], Tensor] = lambda n, x: n(x),
    norm_last: bool = False, activation_at_end: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """The dense path step by step, with switches for what easily goes wrong."""
    prompt = change(resize(mask, layers.mask_size))

    def after(layer: nn.Module, x: Tensor) -> Tensor:
        return norm(layer, activation(x)) if norm_last else activation(norm(layer, x))

    halved = after(layers.norm_1, layers.halve_1(prompt))
    quartered = after(layers.norm_2, layers.halve_2(halved))
    dense = layers.project(quartered)
    dense = activation(dense) if activation_at_end else dense
    return dict(zip((*_DENSE_STEPS, "dense_prompt"), (prompt, halved, quartered, dense), strict=True))


def _layers(sam: Sam) -> MaskPromptEncoder:
    return sam.prompt_encoder.mask_prompt


write_the_dense_path = Exercise(
    name="write_the_dense_path",
    title="A mask becomes a map",
    difficulty=2,
    minutes=15,
    question="""
Write the way of a mask prompt yourself (§1.7.2). You get `mask` `(B, 1, h, w)`, logits of any resolution, and the
trained `layers`: `mask_size`, the side that the mask is first brought to; `halve_1` and `halve_2`, convolutions that
halve the side; `norm_1` and `norm_2`; `project`, a 1×1 convolution. A GELU follows each norm. Resizing is bilinear,
with `antialias=True`, and is left out when the mask has its size already. Return a dict with `"mask_prompt"` (the
resized mask), `"mask_halved"`, `"mask_quartered"` and `"dense_prompt"`.
""",
    code="""
def my_dense_path(mask, layers):
    # <answer: prompt = halved = quartered = dense = ...>
    prompt, size = mask, (layers.mask_size, layers.mask_size)
    if prompt.shape[-2:] != size:
        prompt = F.interpolate(prompt, size, mode="bilinear", antialias=True)
    halved = F.gelu(layers.norm_1(layers.halve_1(prompt)))  # 1 -> 4 channels
    quartered = F.gelu(layers.norm_2(layers.halve_2(halved)))  # 4 -> 16 channels
    dense = layers.project(quartered)  # 16 -> C channels
    # </answer>
    return {"mask_prompt": prompt, "mask_halved": halved, "mask_quartered": quartered, "dense_prompt": dense}


write_the_dense_path.check(my_dense_path)
""",
    expected=_dense_in_samlite,
    stages=[
        Stage("a mask of the right size", lambda: (mask_logits(1, 24), _layers(small()))),
        Stage("two masks, larger", lambda: (mask_logits(2, 77, seed=1), _layers(small()))),
        Stage("a mask that is too small", lambda: (mask_logits(1, 11, seed=2), _layers(small()))),
        Stage("tiny with its trained weights", lambda: (
            mask_logits(1, tiny().image_size, seed=3), _layers(tiny()))),
    ],
    mistakes=[
        Mistake("not brought to size", "The mask must have four cells a patch before it is halved twice; otherwise the "
                "result is no map of the grid.", partial(_dense, resize=lambda mask, side: mask)),
        Mistake("nearest cell", "You pick single values of the mask; bilinear is asked for.",
                partial(_dense, resize=partial(_resize, mode="nearest", antialias=False))),
        Mistake("no antialias", "When a mask shrinks, bilinear alone looks at four values and skips the rest.",
                partial(_dense, resize=partial(_resize, antialias=False))),
        Mistake("align_corners", "The corners of both masks are made to meet at pixel centres; here edges meet edges.",
                partial(_dense, resize=partial(_resize, antialias=False, align_corners=True))),
        Mistake("made binary", "The prompt is logits: how sure, not only which side.",
                partial(_dense, change=lambda mask: (mask > 0).float())),
        Mistake("made probabilities", "The prompt is logits; no sigmoid comes before the first layer.",
                partial(_dense, change=torch.sigmoid)),
        Mistake("mask on its side", "Rows and columns have changed places.",
                partial(_dense, change=lambda mask: mask.transpose(-2, -1))),
        Mistake("GELU missing", "Without an activation three layers are one linear map, but for the norms.",
                partial(_dense, activation=lambda x: x)),
        Mistake("ReLU", "This path was trained with GELU.", partial(_dense, activation=F.relu)),
        Mistake("norm missing", "A norm stands between each halving and its GELU.",
                partial(_dense, norm=lambda norm, x: x)),
        Mistake("norm after GELU", "First the norm, then the GELU.", partial(_dense, norm_last=True)),
        Mistake("norm over the whole map", "LayerNorm2d looks at the channels of one place, not at the whole map.",
                partial(_dense, norm=_norm_of_whole_map)),
        Mistake("GELU at the end", "Nothing follows the projection: its result is added to the image embedding, which "
                "has either sign.", partial(_dense, activation_at_end=True)),
    ],
    hints=[
        "F.interpolate(mask, (side, side), mode=\"bilinear\", antialias=True), but only when the size differs.",
        "Twice: convolution, norm, GELU. Then the projection and nothing more.",
    ],
    explanation="""
Each 2×2 convolution with stride 2 puts four neighbours into one cell and gives it four times the channels: 1 → 4 → 16.
After two of them a cell of the grid holds what 4×4 cells of the mask said, and no other. The projection only brings it
to the width of the image embedding.
""",
)  # fmt: skip


def _arguments(sam: Sam, batch: int, mask: bool, seed: int) -> tuple[object, ...]:
    size, encoder = sam.image_size, sam.prompt_encoder
    shape = (1, encoder.channels, encoder.grid_size, encoder.grid_size)
    embedding = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (
        places(batch, 2, 2, size=size, seed=seed), labels(batch, 2), boxes(batch, 1, size=size, seed=seed),
        mask_logits(batch, 4 * encoder.grid_size, seed=seed) if mask else None, embedding, sam,
    )  # fmt: skip


def _input_in_samlite(points, labels, boxes, mask, image_embedding, sam):
    with shape_ledger(sam, keep=("token_sequence", "prompted_image")) as ledger:
        sam.decode_masks(image_embedding, points, labels, boxes, mask)
    return {step: ledger[step].tensor for step in ("token_sequence", "prompted_image")}


def _input(
    points, labels, boxes, mask, image_embedding, sam, *,
    order: str = "points boxes masks iou", image: Callable[[Tensor, Tensor], Tensor] = torch.add,
    without_mask: Callable[[Sam], Tensor | None] = lambda sam: None,
    sequence: Callable[[Tensor, Tensor | None], Tensor] = lambda tokens, dense: tokens,
):  # fmt: skip
    """What the decoder gets, put together with switches for what easily goes wrong."""
    encoder, decoder, batch = sam.prompt_encoder, sam.mask_decoder, len(points)
    parts = {
        "points": encoder.encode_points(points, labels),
        "boxes": encoder.encode_boxes(boxes),
        "masks": decoder.mask_tokens.expand(batch, -1, -1),
        "iou": decoder.iou_token.expand(batch, -1, -1),
    }
    tokens = torch.cat([parts[name] for name in order.split()], dim=1)
    dense = without_mask(sam) if mask is None else encoder.mask_prompt(mask)
    prompted = image_embedding if dense is None else image(image_embedding, dense)
    return {"token_sequence": sequence(tokens, dense), "prompted_image": prompted}


def _dense_as_tokens(tokens: Tensor, dense: Tensor | None) -> Tensor:
    return tokens if dense is None else torch.cat([tokens, rearrange(dense, "b c y x -> b (y x) c")], dim=1)


def _empty_mask(sam: Sam) -> Tensor:
    side = sam.prompt_encoder.mask_prompt.mask_size
    return sam.prompt_encoder.mask_prompt(torch.zeros(1, 1, side, side))


build_the_decoders_input = Exercise(
    name="build_the_decoders_input",
    title="What the mask decoder gets",
    difficulty=3,
    minutes=15,
    question="""
Put together the two inputs of the mask decoder (§1.7.3, §1.7.4). You get `points`, `labels` and `boxes` of B prompts,
a `mask` `(B, 1, h, w)` or `None`, one `image_embedding` `(1, C, G, G)` and the model `sam`. From it you may use
`sam.prompt_encoder.encode_points`, `.encode_boxes` and `.mask_prompt` (the dense path), `sam.mask_decoder.mask_tokens`
`(3, C)` and `sam.mask_decoder.iou_token` `(1, C)`. Return a dict with `"token_sequence"` `(B, T, C)` and
`"prompted_image"`, whose batch is that of the mask, or 1 without one.
""",
    code="""
def my_decoder_input(points, labels, boxes, mask, image_embedding, sam):
    # <answer: tokens = image = ...>
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    sparse = torch.cat([encoder.encode_points(points, labels), encoder.encode_boxes(boxes)], dim=1)
    outputs = torch.cat([decoder.mask_tokens, decoder.iou_token])  # (4, C), the same for every prompt
    tokens = torch.cat([sparse, outputs.expand(len(sparse), -1, -1)], dim=1)
    image = image_embedding if mask is None else image_embedding + encoder.mask_prompt(mask)
    # </answer>
    return {"token_sequence": tokens, "prompted_image": image}


build_the_decoders_input.check(my_decoder_input)
""",
    expected=_input_in_samlite,
    stages=[
        Stage("one prompt of every kind, a small model", lambda: _arguments(small(), 1, True, 1)),
        Stage("two prompts, no mask", lambda: _arguments(small(), 2, False, 2)),
        Stage("three prompts of every kind", lambda: _arguments(small(), 3, True, 3)),
        Stage("tiny with its trained weights", lambda: _arguments(tiny(), 2, True, 4)),
    ],
    mistakes=[
        Mistake("output tokens first", "That is the order of the released model. In the document the prompt comes "
                "first, then the output tokens.", partial(_input, order="masks iou points boxes")),
        Mistake("released order", "The released model begins with its IoU token; here it comes last.",
                partial(_input, order="iou masks points boxes")),
        Mistake("IoU token before the masks", "Three mask tokens, then the IoU token.",
                partial(_input, order="points boxes iou masks")),
        Mistake("boxes before points", "Points come first.", partial(_input, order="boxes points masks iou")),
        Mistake("IoU token forgotten", "One more output token follows the three masks.",
                partial(_input, order="points boxes masks")),
        Mistake("output tokens forgotten", "The decoder starts its masks from four tokens of its own.",
                partial(_input, order="points boxes")),
        Mistake("mask as tokens", "The dense prompt belongs to the image, not into the sequence.",
                partial(_input, sequence=_dense_as_tokens)),
        Mistake("prompts in one sequence", "The tokens of all prompts stand in one sequence; each prompt has its own.",
                partial(_input, sequence=lambda tokens, dense: rearrange(tokens, "b t c -> 1 (b t) c"))),
        Mistake("multiplied", "Image embedding and dense prompt are added, element by element.",
                partial(_input, image=torch.mul)),
        Mistake("channels beside channels", "The two maps are added, not laid beside each other.",
                partial(_input, image=lambda image, dense: torch.cat(
                    [image.expand(len(dense), -1, -1, -1), dense], dim=1))),
        Mistake("image forgotten", "The dense prompt replaces nothing: it is added to the image embedding.",
                partial(_input, image=lambda image, dense: dense)),
        Mistake("an empty mask for none", "A mask prompt of zeros says “undecided everywhere”, and the dense path "
                "turns that into a map that is not zero. No mask adds nothing.",
                partial(_input, without_mask=_empty_mask)),
    ],
    hints=[
        "One torch.cat along the tokens for the prompt, one for the output tokens, one to join them.",
        "The output tokens are the same for all prompts: expand them to B.",
        "Without a mask the prompted image is the image embedding itself.",
    ],
    explanation="""
Nothing is computed here, things are only laid side by side and added. That is all that the prompt encoder's end
amounts to: whatever the prompt was, the decoder gets one sequence and one map.
""",
)  # fmt: skip
