"""Exercises about places: which patches are hidden, and where the mask tokens stand (document §1.6.2, §1.6.4)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_06.material import encoded, masking, shipped


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _masking(noise: Tensor, visible_count: int) -> dict[str, Tensor]:
    order = noise.argsort(dim=1)
    return {
        "visible": order[:, :visible_count].sort(dim=1).values,
        "hidden": order[:, visible_count:].sort(dim=1).values,
    }


def _ranks_for_places(noise: Tensor, visible_count: int) -> dict[str, Tensor]:
    ranks = noise.argsort(dim=1).argsort(dim=1)
    visible, hidden = ranks[:, :visible_count], ranks[:, visible_count:]
    return {"visible": visible.sort(dim=1).values, "hidden": hidden.sort(dim=1).values}


def _one_masking_for_all(noise: Tensor, visible_count: int) -> dict[str, Tensor]:
    return _masking(noise[:1].expand_as(noise), visible_count)


def _not_sorted(noise: Tensor, visible_count: int) -> dict[str, Tensor]:
    order = noise.argsort(dim=1)
    return {"visible": order[:, :visible_count], "hidden": order[:, visible_count:]}


def _exchanged(noise: Tensor, visible_count: int) -> dict[str, Tensor]:
    right = _masking(noise, visible_count)
    return {"visible": right["hidden"], "hidden": right["visible"]}


def _shuffled_along_the_batch(noise: Tensor, visible_count: int) -> dict[str, Tensor]:
    order = noise.argsort(dim=0)
    return {"visible": order[:, :visible_count], "hidden": order[:, visible_count:]}


write_masking = Exercise(
    name="write_masking",
    title="Hide patches",
    difficulty=3,
    minutes=12,
    question="""
Write the masking. You get `noise` `(B, L)`, a random number for every patch of every image, and `visible_count` V. In
each image the V patches with the **smallest** numbers stay visible. Return their places in the sequence, `"visible"`
`(B, V)`, and those of the others, `"hidden"` `(B, L − V)`, both in rising order.
""",
    code="""
def my_masking(noise, visible_count):
    # <answer: visible, hidden = ..., ...>
    order = noise.argsort(dim=1)  # (B, L): the place of the smallest number first
    visible = order[:, :visible_count].sort(dim=1).values
    hidden = order[:, visible_count:].sort(dim=1).values
    # </answer>
    return {"visible": visible, "hidden": hidden}


write_masking.check(my_masking)
""",
    expected=_masking,
    stages=[
        Stage("one image of five patches", lambda: (torch.tensor([[0.7, 0.1, 0.9, 0.3, 0.5]]), 2)),
        Stage("three images of twelve", lambda: (_noise(1, 3, 12), 3)),
        Stage("two images of full size", lambda: (_noise(2, 2, 4096), 1024)),
    ],
    mistakes=[
        Mistake("largest kept", "The smallest numbers stay visible, not the largest.",
                lambda noise, visible_count: _masking(-noise, visible_count)),
        Mistake("visible and hidden exchanged", "The first V of the order are visible.", _exchanged),
        Mistake("ranks for places", "You have the rank of each patch; asked are the places of the patches with the "
                "smallest ranks. One argsort is enough.", _ranks_for_places),
        Mistake("the same patches in every image", "Every image has its own noise, and its own masking.",
                _one_masking_for_all),
        Mistake("not in order", "The right places, in the order of the noise: sort them.", _not_sorted),
        Mistake("images shuffled", "You have sorted along the batch; patches lie along the last axis.",
                _shuffled_along_the_batch),
        Mistake("one patch too many", "The first V: `[:, :visible_count]`, without one more.",
                lambda noise, visible_count: _masking(noise, visible_count + 1)),
    ],
    hints=[
        "`argsort` gives the places in the order of their numbers.",
        "Cut the order in two, then sort each half.",
    ],
    explanation="""
Sorting random numbers is a shuffle, and a shuffle cut in two is a random choice without repetition: V is exactly the
same in every image, so the visible patches of a batch make a plain tensor.
""",
)  # fmt: skip


def _fill_up(narrow: Tensor, visible: Tensor, mask_token: Tensor, patches: int) -> Tensor:
    tokens = mask_token.repeat(len(narrow), patches, 1)
    return tokens.scatter(1, visible[..., None].expand_as(narrow), narrow)


def _at_the_end(narrow: Tensor, visible: Tensor, mask_token: Tensor, patches: int, *, first: bool = False) -> Tensor:
    batch, count, _ = narrow.shape
    masks = mask_token.repeat(batch, patches - count, 1)
    return torch.cat([masks, narrow] if first else [narrow, masks], dim=1)


def _added(narrow: Tensor, visible: Tensor, mask_token: Tensor, patches: int) -> Tensor:
    tokens = mask_token.repeat(len(narrow), patches, 1)
    return tokens.scatter_add(1, visible[..., None].expand_as(narrow), narrow)


write_fill_up = Exercise(
    name="write_fill_up",
    title="Back to their places",
    difficulty=3,
    minutes=12,
    question="""
Write the step before the decoder. You get `narrow` `(B, V, A)`, the encoded visible patches; `visible` `(B, V)`, their
places; the learned `mask_token` `(A,)`; and the number of `patches` L. Return `(B, L, A)`: every encoded patch at its
place, the mask token at all others. (Positions are added later.)
""",
    code="""
def my_fill_up(narrow, visible, mask_token, patches):
    # <answer: tokens = ...>
    tokens = mask_token.repeat(len(narrow), patches, 1)  # (B, L, A): the mask token everywhere
    places = visible[..., None].expand_as(narrow)  # (B, V) -> (B, V, A): the same place for every channel
    tokens = tokens.scatter(1, places, narrow)
    # </answer>
    return tokens


write_fill_up.check(my_fill_up)
""",
    expected=_fill_up,
    stages=[
        Stage("two of four places", lambda: (torch.tensor([[[1.0, 2], [3, 4]]]), torch.tensor([[0, 2]]),
                                             torch.tensor([-1.0, -2]), 4)),
        Stage("two images, each with its own places", lambda: (
            torch.arange(12.0).reshape(2, 3, 2) + 1, torch.tensor([[0, 2, 5], [1, 3, 4]]),
            torch.tensor([-1.0, -2]), 6)),
        Stage("the trained autoencoder, two scenes", lambda: (
            encoded().clone(), masking()[0], shipped().mask_token.detach(), shipped().image_encoder.grid_size**2)),
    ],
    mistakes=[
        Mistake("mask tokens at the end", "The visible patches stand side by side now; each has a place of its own in "
                "the picture.", _at_the_end),
        Mistake("mask tokens at the beginning", "The visible patches stand side by side at the end; each has a place "
                "of its own in the picture.", partial(_at_the_end, first=True)),
        Mistake("the places of the first image", "Every image has its own visible places.",
                lambda narrow, visible, mask_token, patches: _fill_up(
                    narrow, visible[:1].expand_as(visible), mask_token, patches)),
        Mistake("zeros for the mask token", "At a hidden place stands the learned token, not nothing.",
                lambda narrow, visible, mask_token, patches: _fill_up(narrow, visible, 0 * mask_token, patches)),
        Mistake("mask token added everywhere", "At a visible place there is no mask token at all.", _added),
        Mistake("one place too far", "Places count from 0.",
                lambda narrow, visible, mask_token, patches: _fill_up(
                    narrow, (visible + 1) % patches, mask_token, patches)),
        Mistake("visible patches backwards", "The first encoded patch belongs to the first visible place.",
                lambda narrow, visible, mask_token, patches: _fill_up(
                    narrow, visible.flip(1), mask_token, patches)),
    ],
    hints=[
        "Begin with the mask token everywhere: `mask_token.repeat(B, L, 1)`.",
        "`tokens.scatter(1, places, narrow)` writes along axis 1; `places` needs the shape of `narrow`.",
    ],
    explanation="""
Forgetting the way back is the classic slip: the shapes are right, the loss even falls a little, and the decoder is told
wrong places. One mask token is enough for all, because its position is added in the next step.
""",
)  # fmt: skip
