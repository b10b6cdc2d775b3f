"""An exercise about the loss: on which patches, and against which values (document §1.6.4)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from samlite.image_encoder import patchify
from samlite.masked_autoencoder import random_masking, take
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_06.material import masking, rebuilt, shipped, two_scenes


def _loss(
    rebuilt: Tensor, patches: Tensor, hidden: Tensor, *,
    which: str = "hidden", whole: bool = False, unbiased: bool = True, root: bool = True, both: bool = False,
    centred: bool = True, absolute: bool = False, summed: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Both losses, with switches for what easily goes wrong."""

    def normalised(values: Tensor) -> Tensor:
        axes = (1, 2) if whole else (2,)
        mean = values.mean(dim=axes, keepdim=True) if centred else 0.0
        variance = values.var(dim=axes, keepdim=True, unbiased=unbiased) + 1e-6
        return (values - mean) / (variance.sqrt() if root else variance)

    def chosen(values: Tensor) -> Tensor:
        if which == "all":
            return values
        if which == "hidden":
            return take(values, hidden)
        everything = torch.ones(values.shape[:2], dtype=torch.bool).scatter(1, hidden, False)
        return values[everything].reshape(len(values), -1, values.shape[-1])

    def compared(answer: Tensor, target: Tensor) -> Tensor:
        difference = chosen(answer) - chosen(target)
        each = difference.abs() if absolute else difference.square()
        return each.sum(-1).mean() if summed else each.mean()

    answer = normalised(rebuilt) if both else rebuilt
    return {"pixels": compared(rebuilt, patches), "patterns": compared(answer, normalised(patches))}


def _small() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rebuilt, patches = torch.randn(2, 2, 8, 12, generator=generator).unbind(0)
    return rebuilt, patches * 2 + 3, random_masking(2, 8, generator=1)[1]


def _real() -> tuple[Tensor, Tensor, Tensor]:
    return rebuilt().clone(), patchify(two_scenes(), shipped().image_encoder.patch_size), masking()[1]


def _one_patch() -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(1, 2, 3), torch.tensor([[[9.0, 9, 9], [1, 2, 6]]]), torch.tensor([[1]])


write_the_loss = Exercise(
    name="write_the_loss",
    title="The loss, twice",
    difficulty=4,
    minutes=15,
    question="""
Write both losses of a masked autoencoder. You get `rebuilt` and `patches`, both `(B, L, 3·P·P)`, and the places that
are `hidden` `(B, L − V)`. Return two numbers: `"pixels"`, the mean squared error of the hidden patches; and
`"patterns"`, the same against patches from which their own mean is subtracted and which are divided by their own
spread, `sqrt(patch.var() + 1e-6)`, patch by patch.
""",
    code="""
def my_loss(rebuilt, patches, hidden):
    # <answer: pixels, patterns = ..., ...>
    places = hidden[..., None].expand(-1, -1, patches.shape[-1])
    answer, target = rebuilt.gather(1, places), patches.gather(1, places)
    pixels = (answer - target).square().mean()
    mean, variance = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
    patterns = (answer - (target - mean) / (variance + 1e-6).sqrt()).square().mean()
    # </answer>
    return {"pixels": pixels, "patterns": patterns}


write_the_loss.check(my_loss)
""",
    expected=_loss,
    stages=[
        Stage("one hidden patch of three values", _one_patch),
        Stage("two small images", _small),
        Stage("the trained autoencoder, two scenes", _real),
    ],
    mistakes=[
        Mistake("loss of all patches", "Visible patches could be copied: they have no part in the loss (§1.6.4).",
                partial(_loss, which="all")),
        Mistake("loss of the visible patches", "You have the patches that were shown; asked are the others.",
                partial(_loss, which="visible")),
        Mistake("normalised over the whole image", "Every patch is normalised by its own mean and spread.",
                partial(_loss, whole=True)),
        Mistake("the rebuild normalised too", "Only the target is normalised; the model has to learn its scale.",
                partial(_loss, both=True)),
        Mistake("divided by the variance", "The spread is the square root of the variance.",
                partial(_loss, root=False)),
        Mistake("mean kept", "Subtract each patch's mean before you divide.", partial(_loss, centred=False)),
        Mistake("another variance", "`var()` divides by one less than the number of values; yours by their number.",
                partial(_loss, unbiased=False)),
        Mistake("absolute error", "Squared errors are asked.", partial(_loss, absolute=True)),
        Mistake("summed over the values", "The mean goes over the values of a patch, too.",
                partial(_loss, summed=True)),
    ],
    hints=[
        "Take the hidden patches out of both first: `gather(1, places)` with `places` of shape (B, L − V, 3·P·P).",
        "`keepdim=True` keeps mean and variance in a shape that can be subtracted.",
    ],
    explanation="""
The pixel loss is mostly about colour and light, which neighbours give away. With patterns as the target a plain patch
is as loud as a striped one, and the colour counts for nothing: He et al. found that it makes better encoders.
""",
)  # fmt: skip
