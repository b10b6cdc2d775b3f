"""The exercise on the two upsamplings (document §1.8.3)."""

from __future__ import annotations

from functools import partial

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from samlite.mask_decoder import Upscaling
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_08.material import decoder, random, views, with_large_weights


def _in_samlite(image: Tensor, upscaling: Upscaling) -> dict[str, Tensor]:
    twice = F.gelu(upscaling.norm(upscaling.double_1(image)))
    return {"upscaled_2x": twice, "upscaled_4x": upscaling.double_2(twice)}


def _upscaled(
    image: Tensor, upscaling: Upscaling, *,
    multiply: str = "b c y x, c d p q -> b d y x p q", lay_out: str = "b d y x p q -> b d (y p) (x q)",
    bias: bool = True, norm: str = "channels", gelu: bool = True, gelu_twice: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Both doublings by hand, with switches for what easily goes wrong."""

    def double(x: Tensor, layer: torch.nn.ConvTranspose2d) -> Tensor:
        laid_out = rearrange(einsum(x, layer.weight, multiply), lay_out)
        return laid_out + layer.bias[:, None, None] if bias else laid_out

    def normalise(x: Tensor) -> Tensor:
        if norm == "channels":
            return upscaling.norm(x)
        if norm == "none":
            return x
        centred = x - x.mean((1, 2, 3), keepdim=True)  # one mean and one deviation for the whole map
        deviation = (centred.square().mean((1, 2, 3), keepdim=True) + upscaling.norm.eps).sqrt()
        return centred / deviation * upscaling.norm.weight[:, None, None] + upscaling.norm.bias[:, None, None]

    twice = normalise(double(image, upscaling.double_1))
    twice = F.gelu(twice) if gelu else twice
    four_times = double(twice, upscaling.double_2)
    return {"upscaled_2x": twice, "upscaled_4x": F.gelu(four_times) if gelu_twice else four_times}


def _gelu_first(image: Tensor, upscaling: Upscaling) -> dict[str, Tensor]:
    twice = upscaling.norm(F.gelu(upscaling.double_1(image)))
    return {"upscaled_2x": twice, "upscaled_4x": upscaling.double_2(twice)}


def _same_weights(image: Tensor, upscaling: Upscaling) -> dict[str, Tensor]:
    right = _in_samlite(image, upscaling)
    return right | {"upscaled_4x": upscaling.double_1(right["upscaled_2x"])}


def _copied(image: Tensor, upscaling: Upscaling) -> dict[str, Tensor]:
    """Every place copied to four, by the mean of its four matrices."""

    def double(x: Tensor, layer: torch.nn.ConvTranspose2d) -> Tensor:
        one = einsum(x, layer.weight.mean((2, 3)), "b c y x, c d -> b d y x") + layer.bias[:, None, None]
        return repeat(one, "b d y x -> b d (y p) (x q)", p=2, q=2)

    twice = F.gelu(upscaling.norm(double(image, upscaling.double_1)))
    return {"upscaled_2x": twice, "upscaled_4x": double(twice, upscaling.double_2)}


write_upscaling = Exercise(
    name="write_upscaling",
    title="Double the map, twice",
    difficulty=3,
    minutes=20,
    question="""
Write the upsampling without a convolution. You get `image` `(B, C, G, G)` and `upscaling` with `double_1`, `norm`,
`double_2`. A doubling has a `weight` `(C, C, 2, 2)` and a `bias` `(C,)`. Its four matrices `weight[:, :, p, q]` (from
C, to C) turn the vector of one place into those of its four children: row p, column q of a 2×2 square. After the first
doubling stand `upscaling.norm` (over the channels) and GELU (`F.gelu`), after the second nothing. Return a dict with
`"upscaled_2x"` `(B, C, 2G, 2G)` and `"upscaled_4x"` `(B, C, 4G, 4G)`. Do not call `double_1` or `double_2`.
""",
    code="""
def my_upscaling(image, upscaling):
    # <answer: twice = four_times = ...>
    def double(x, layer):
        children = einsum(x, layer.weight, "b c y x, c d p q -> b d y x p q")  # four vectors for each place
        return rearrange(children, "b d y x p q -> b d (y p) (x q)") + layer.bias[:, None, None]

    twice = F.gelu(upscaling.norm(double(image, upscaling.double_1)))
    four_times = double(twice, upscaling.double_2)
    # </answer>
    return {"upscaled_2x": twice, "upscaled_4x": four_times}


write_upscaling.check(my_upscaling)
""",
    expected=_in_samlite,
    stages=[
        Stage("a small map, two prompts", lambda: (
            random(2, 6, 3, 3), with_large_weights(lambda: Upscaling(6)))),
        Stage("tiny, a real photo", lambda: (
            views().tensor("decoded_image")[None], decoder().upscaling)),
    ],
    mistakes=[
        Mistake("from and to swapped", "In a transposed convolution the first axis of the weight is where the channels "
                "come from, the second where they go.",
                partial(_upscaled, multiply="b c y x, d c p q -> b d y x p q")),
        Mistake("children on their side", "Inside each 2×2 square rows and columns have changed places.",
                partial(_upscaled, lay_out="b d y x p q -> b d (y q) (x p)")),
        Mistake("four copies side by side", "Your map is the whole picture four times: the children of one place must "
                "lie beside each other, (y p) and not (p y).",
                partial(_upscaled, lay_out="b d y x p q -> b d (p y) (q x)")),
        Mistake("the map on its side", "Rows and columns of the whole map have changed places.",
                partial(_upscaled, lay_out="b d y x p q -> b d (x q) (y p)")),
        Mistake("bias forgotten", "Each doubling adds its bias to every place.", partial(_upscaled, bias=False)),
        Mistake("norm forgotten", "A norm over the channels follows the first doubling.",
                partial(_upscaled, norm="none")),
        Mistake("norm over the whole map", "The norm looks at the channels of one place at a time, not at the whole "
                "map.", partial(_upscaled, norm="map")),
        Mistake("GELU forgotten", "GELU follows the norm; without it the two doublings would be one linear map, but "
                "for the norm.", partial(_upscaled, gelu=False)),
        Mistake("GELU before the norm", "First the norm, then GELU.", _gelu_first),
        Mistake("GELU at the end", "That is the released model. Here the second doubling is followed by nothing.",
                partial(_upscaled, gelu_twice=True)),
        Mistake("the same weights twice", "Each doubling has weights of its own.", _same_weights),
        Mistake("copies for children", "All four children of your places are equal. Each has its own matrix.", _copied),
    ],
    hints=[
        "One einsum makes the four children of every place: b c y x times c d p q. Which letters remain?",
        "Then lay them out: rows (y p), columns (x q), and add the bias.",
    ],
    explanation="""
A transposed convolution whose kernel is as wide as its stride is no more than this: four matrices, and a rule where
their results go. Nothing overlaps, so no place hears of its neighbours; that has been done by the attention before.
""",
)  # fmt: skip
