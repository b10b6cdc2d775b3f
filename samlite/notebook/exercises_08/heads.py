"""The exercises on what comes out: the dot product with the mask vectors, and the IoU head (document §1.8.4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.layers import MLP
from samlite.mask_decoder import MaskDecoder
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_08.material import decoder, random, views, with_large_weights


def _small_decoder() -> MaskDecoder:
    return with_large_weights(lambda: MaskDecoder(channels=8, heads=2, mlp_width=8), seed=9)


def _masks(
    output_tokens: Tensor, upscaled: Tensor, mask_heads: nn.ModuleList, *,
    first: int = 0, head_of: Callable[[int, int], int] = lambda k, masks: k, mlp: bool = True,
    multiply: str = "b k c, b c y x -> b k y x", after: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> dict[str, Tensor]:  # fmt: skip
    """Mask vectors and logits, with switches for what easily goes wrong."""
    masks = len(mask_heads)
    vectors = [
        mask_heads[head_of(k, masks)](output_tokens[:, k + first]) if mlp else output_tokens[:, k] for k in range(masks)
    ]
    vectors = torch.stack(vectors, dim=1)
    return {"mask_vectors": vectors, "low_res_logits": after(einsum(vectors, upscaled, multiply))}


def _with_all_tokens(output_tokens: Tensor, upscaled: Tensor, mask_heads: nn.ModuleList) -> dict[str, Tensor]:
    vectors = torch.stack([mask_heads[0](output_tokens[:, k]) for k in range(output_tokens.shape[1])], dim=1)
    return {"mask_vectors": vectors, "low_res_logits": einsum(vectors, upscaled, "b k c, b c y x -> b k y x")}


def _channels_and_tokens_mixed(output_tokens: Tensor, upscaled: Tensor, mask_heads: nn.ModuleList) -> dict[str, Tensor]:
    """The vectors put side by side as columns (B, C, K), then reshaped to (B, K, C): values change places."""
    vectors = torch.stack([head(output_tokens[:, k]) for k, head in enumerate(mask_heads)], dim=-1)
    vectors = vectors.reshape(len(vectors), len(mask_heads), -1)
    return {"mask_vectors": vectors, "low_res_logits": einsum(vectors, upscaled, "b k c, b c y x -> b k y x")}


def _cosine(output_tokens: Tensor, upscaled: Tensor, mask_heads: nn.ModuleList) -> dict[str, Tensor]:
    vectors = _masks(output_tokens, upscaled, mask_heads)["mask_vectors"]
    logits = einsum(F.normalize(vectors, dim=-1), F.normalize(upscaled, dim=1), "b k c, b c y x -> b k y x")
    return {"mask_vectors": vectors, "low_res_logits": logits}


def _prompts_mixed(output_tokens: Tensor, upscaled: Tensor, mask_heads: nn.ModuleList) -> dict[str, Tensor]:
    """Every prompt's vectors held against another prompt's image."""
    vectors = _masks(output_tokens, upscaled, mask_heads)["mask_vectors"]
    return {"mask_vectors": vectors, "low_res_logits": einsum(vectors, upscaled.flip(0), "b k c, b c y x -> b k y x")}


write_mask_heads = Exercise(
    name="write_mask_heads",
    title="From tokens to masks",
    difficulty=2,
    minutes=12,
    question="""
You get the `output_tokens` `(B, K + 1, C)`, the map `upscaled` `(B, C, h, w)` and the trained `mask_heads`, a list of
K MLPs. The first K output tokens are the mask tokens, the last one is the IoU token. Bring each mask token through its
own MLP, and take the dot product of the result with the map at every place. Return a dict with `"mask_vectors"`
`(B, K, C)` and `"low_res_logits"` `(B, K, h, w)`.
""",
    code="""
def my_masks(output_tokens, upscaled, mask_heads):
    # <answer: vectors = logits = ...>
    vectors = [head(output_tokens[:, k]) for k, head in enumerate(mask_heads)]  # the IoU token is left out
    vectors = torch.stack(vectors, dim=1)  # (B, K, C)
    logits = einsum(vectors, upscaled, "b k c, b c h w -> b k h w")  # the channels are summed away
    # </answer>
    return {"mask_vectors": vectors, "low_res_logits": logits}


write_mask_heads.check(my_masks)
""",
    expected=_masks,
    stages=[
        Stage("a small decoder, two prompts", lambda: (
            random(2, 4, 8), random(2, 8, 5, 5, seed=2), _small_decoder().mask_heads)),
        Stage("tiny, a real photo", lambda: (
            views().tensor("output_tokens")[None], views().upscaled()[None], decoder().mask_heads)),
    ],
    mistakes=[
        Mistake("IoU token taken for a mask token", "Off by one: the IoU token is the last of the four, so the mask "
                "tokens begin at 0. (In the released model it comes first.)", partial(_masks, first=1)),
        Mistake("a mask for the IoU token", "The IoU token has no mask: only the first K tokens are mask tokens.",
                _with_all_tokens),
        Mistake("one MLP for all", "Each mask token has an MLP of its own.",
                partial(_masks, head_of=lambda k, masks: 0)),
        Mistake("MLPs in the wrong order", "Token k goes with MLP k.",
                partial(_masks, head_of=lambda k, masks: masks - 1 - k)),
        Mistake("MLPs forgotten", "A mask token becomes a mask vector only by its MLP.", partial(_masks, mlp=False)),
        Mistake("channels and tokens mixed", "The vectors were put side by side as columns and then reshaped: stack "
                "them along axis 1, so that each is a row.", _channels_and_tokens_mixed),
        Mistake("masks on their side", "Rows and columns of your masks have changed places.",
                partial(_masks, multiply="b k c, b c y x -> b k x y")),
        Mistake("another prompt's image", "Prompt b's vectors belong to prompt b's map.", _prompts_mixed),
        Mistake("cosine for dot product", "Nothing is normalised here: length counts, too.", _cosine),
        Mistake("already squashed", "Logits are asked; a sigmoid is not part of the decoder.",
                partial(_masks, after=torch.sigmoid)),
        Mistake("already cut", "Logits are asked; the threshold comes after the enlargement.",
                partial(_masks, after=lambda logits: (logits > 0).float())),
    ],
    hints=[
        "`enumerate(mask_heads)` gives k and the MLP of token k; the last token is left over.",
        "The dot product sums over c: `b k c, b c h w -> b k h w`.",
    ],
    explanation="""
This is the whole of a dynamic mask head. Map and vector have both heard the prompt, the map through image-to-token
attention; which of the two decides is measured in the chapter ("How dynamic is it?").
""",
)  # fmt: skip


def _small_iou_head() -> MLP:
    return with_large_weights(lambda: MLP(8, 8, 8, 3), seed=4)


def _iou(
    output_tokens: Tensor, iou_head: MLP, *,
    token: Callable[[Tensor], Tensor] = lambda tokens: tokens[:, -1], activation: Callable[[Tensor], Tensor] = F.relu,
    last: Callable[[Tensor], Tensor] = lambda scores: scores, biases: bool = True, layers: slice = slice(None),
) -> Tensor:  # fmt: skip
    """The IoU head layer by layer, with switches for what easily goes wrong."""
    x = token(output_tokens)
    chosen = list(iou_head.layers)[layers]
    for place, layer in enumerate(chosen):
        x = F.linear(x, layer.weight, layer.bias if biases else None)
        if place < len(chosen) - 1:
            x = activation(x)
    return last(x)


write_iou_head = Exercise(
    name="write_iou_head",
    title="The IoU head",
    difficulty=2,
    minutes=8,
    question="""
You get the `output_tokens` `(B, K + 1, C)`, the IoU token last, and `iou_head`, whose `layers` are three linear layers.
ReLU stands between them, and nothing after the last one. Return the predicted IoUs `(B, K)`. Do not call `iou_head(…)`.
""",
    code="""
def my_iou_head(output_tokens, iou_head):
    # <answer: scores = ...>
    first, second, third = iou_head.layers
    x = output_tokens[:, -1]  # the IoU token, (B, C)
    x = first(x).relu()
    x = second(x).relu()
    scores = third(x)  # (B, K): not squashed, so it may leave 0…1
    # </answer>
    return scores


write_iou_head.check(my_iou_head)
""",
    expected=lambda output_tokens, iou_head: iou_head(output_tokens[:, -1]),
    stages=[
        Stage("a small head, five prompts", lambda: (random(5, 4, 8), _small_iou_head())),
        Stage("tiny, a real photo", lambda: (views().tensor("output_tokens")[None], decoder().iou_head)),
    ],
    mistakes=[
        Mistake("a mask token taken for the IoU token", "The IoU token is the last of the output tokens, not the "
                "first.", partial(_iou, token=lambda tokens: tokens[:, 0])),
        Mistake("off by one", "That is the last mask token; the IoU token comes after it.",
                partial(_iou, token=lambda tokens: tokens[:, -2])),
        Mistake("all tokens", "Only the IoU token is asked, not the mean of all.",
                partial(_iou, token=lambda tokens: tokens.mean(1))),
        Mistake("the first prompt only", "Each of the B prompts has its own IoU token.",
                partial(_iou, token=lambda tokens: tokens[0, -1])),
        Mistake("ReLU forgotten", "Without ReLU between them three linear layers are one.",
                partial(_iou, activation=lambda x: x)),
        Mistake("GELU for ReLU", "The decoder's MLPs have ReLU; GELU is the encoder's.",
                partial(_iou, activation=F.gelu)),
        Mistake("ReLU at the end", "Nothing follows the last layer.", partial(_iou, last=F.relu)),
        Mistake("sigmoid at the end", "The scores are not squashed: this is a regression, and it may leave 0…1.",
                partial(_iou, last=torch.sigmoid)),
        Mistake("biases forgotten", "Each linear layer adds its bias.", partial(_iou, biases=False)),
        Mistake("one layer skipped", "There are three layers.", partial(_iou, layers=slice(0, None, 2))),
    ],
    hints=["`output_tokens[:, -1]` is the IoU token.", "Three layers, ReLU after the first two."],
    explanation="""
The head never sees the masks. It predicts from one token how well they will fit; that token has looked at the image and
at the mask tokens in the blocks before.
""",
)  # fmt: skip
