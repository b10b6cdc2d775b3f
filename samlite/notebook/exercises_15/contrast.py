"""The text–image model's heart: the table of similarities, and the loss that makes its diagonal win."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from samlite.learning.text.contrastive import contrastive_loss
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_15.material import features, numbers, words


def _similarity(
    images: Tensor, texts: Tensor, scale: float | int, *, axis: int | None = -1, power: int = 1, squared: bool = False
) -> Tensor:
    if axis is not None:
        lengths = [t.norm(dim=axis, keepdim=True) for t in (images, texts)]
        images, texts = (t / (n**2 if squared else n) for t, n in zip((images, texts), lengths, strict=True))
    return images @ texts.T * float(scale) ** power


def _transposed(images: Tensor, texts: Tensor, scale: float | int) -> Tensor:
    return _similarity(images, texts, scale).T


def _softmax(images: Tensor, texts: Tensor, scale: float | int) -> Tensor:
    return _similarity(images, texts, scale).softmax(-1)


def _one_side(images: Tensor, texts: Tensor, scale: float | int) -> Tensor:
    return F.normalize(images, dim=-1) @ texts.T * scale


write_the_similarity = Exercise(
    name="write_the_similarity",
    title="The table of similarities",
    difficulty=2,
    minutes=10,
    question="""
The towers give `images` `(B, E)`, a row for each crop, and `texts` `(X, E)`, a row for each phrase; neither has length
1 yet. Return the table `(B, X)` of the cosines between every crop and every phrase, times the number `scale`.
""",
    code="""
def my_similarity(images, texts, scale):
    # <answer: table = ...>
    images = images / images.norm(dim=-1, keepdim=True)  # every row gets length 1
    texts = texts / texts.norm(dim=-1, keepdim=True)
    table = images @ texts.T * scale  # (B, E) · (E, X) → (B, X)
    # </answer>
    return table


write_the_similarity.check(my_similarity)
""",
    expected=_similarity,
    stages=[
        Stage("two crops, three phrases", lambda: (numbers(2, 4), numbers(3, 4, seed=1), 3.0)),
        Stage("five crops, seven phrases", lambda: (numbers(5, 8, seed=2), numbers(7, 8, seed=3), 10.0)),
        Stage("six crops and their phrases, with the shipped towers", lambda: (
            *features(), words().log_scale.exp().item())),
    ],
    mistakes=[
        Mistake("not normalised", "A cosine is a dot product of vectors of length 1. Yours grows with their lengths.",
                partial(_similarity, axis=None)),
        Mistake("normalised over the wrong axis", "Each embedding is a row. You gave length 1 to the columns: the last "
                "axis is meant, dim=-1.", partial(_similarity, axis=0)),
        Mistake("divided by the squared length", "The length is the root of the sum of squares; you left out the "
                "root.", partial(_similarity, squared=True)),
        Mistake("only the crops normalised", "Both sides need length 1.", _one_side),
        Mistake("scale missing", "The cosines are right; the scale is missing.", partial(_similarity, power=0)),
        Mistake("divided by the scale", "CLIP's temperature divides, its scale multiplies. Here it is the scale.",
                partial(_similarity, power=-1)),
        Mistake("transposed", "Rows are crops, columns are phrases.", _transposed),
        Mistake("softmax", "The table holds cosines times the scale. The softmax belongs to the loss.", _softmax),
    ],
    hints=[
        "x / x.norm(dim=-1, keepdim=True) gives every row of x length 1.",
        "All dot products of rows with rows: images @ texts.T.",
    ],
    explanation="""
With length 1 on both sides, only the direction counts: a crop with much contrast is not "more" of everything. The scale
is there for the loss: cosines lie between −1 and 1, and a softmax over such small numbers could never be sure.
""",
)  # fmt: skip


def _loss(similarity: Tensor) -> dict[str, Tensor]:
    right = torch.arange(len(similarity))
    return {
        "over_phrases": F.cross_entropy(similarity, right),
        "over_crops": F.cross_entropy(similarity.T, right),
        "loss": contrastive_loss(similarity),
    }


def _from(over_phrases: Tensor, over_crops: Tensor) -> dict[str, Tensor]:
    return {"over_phrases": over_phrases, "over_crops": over_crops, "loss": (over_phrases + over_crops) / 2}


def _swapped(similarity: Tensor) -> dict[str, Tensor]:
    right = _loss(similarity)
    return _from(right["over_crops"], right["over_phrases"])


def _same_twice(similarity: Tensor) -> dict[str, Tensor]:
    right = _loss(similarity)
    return _from(right["over_phrases"], right["over_phrases"])


def _summed(similarity: Tensor) -> dict[str, Tensor]:
    right = _loss(similarity)
    return right | {"loss": right["over_phrases"] + right["over_crops"]}


def _first_is_right(similarity: Tensor) -> dict[str, Tensor]:
    first = torch.zeros(len(similarity), dtype=torch.long)
    return _from(F.cross_entropy(similarity, first), F.cross_entropy(similarity.T, first))


def _no_logarithm(similarity: Tensor) -> dict[str, Tensor]:
    return _from(*(-t.softmax(1).diagonal().mean() for t in (similarity, similarity.T)))


def _total(similarity: Tensor) -> dict[str, Tensor]:
    right = _loss(similarity)
    return {name: value * len(similarity) for name, value in right.items()}


def _diagonal(similarity: Tensor) -> dict[str, Tensor]:
    return _from(-similarity.diagonal().mean(), -similarity.diagonal().mean())


write_contrastive_loss = Exercise(
    name="write_contrastive_loss",
    title="The contrastive loss",
    difficulty=3,
    minutes=15,
    question="""
`similarity` `(B, B)`: crop i in row i, its own phrase in column i. Return a dict of three numbers:

- `"over_phrases"`: for each crop the cross-entropy of finding its phrase among all B, the mean over the crops;
- `"over_crops"`: for each phrase the cross-entropy of finding its crop among all B, the mean over the phrases;
- `"loss"`: the mean of both.

Do it with `softmax` or `logsumexp`, not with `F.cross_entropy`.
""",
    code="""
def my_contrastive_loss(similarity):
    # <answer: over_phrases = over_crops = loss = ...>
    right = similarity.diagonal()  # (B,), crop i with its own phrase
    over_phrases = (similarity.logsumexp(dim=1) - right).mean()  # −log softmax along the row
    over_crops = (similarity.logsumexp(dim=0) - right).mean()  # −log softmax down the column
    loss = (over_phrases + over_crops) / 2
    # </answer>
    return {"over_phrases": over_phrases, "over_crops": over_crops, "loss": loss}


write_contrastive_loss.check(my_contrastive_loss)
""",
    expected=_loss,
    stages=[
        Stage("two pairs", lambda: (torch.tensor([[2.0, -1.0], [0.5, 1.0]]),)),
        Stage("six pairs at random", lambda: (numbers(6, 6, seed=5),)),
        Stage("six pairs, with the shipped towers", lambda: (_similarity(*features(), 3.0),)),
    ],
    mistakes=[
        Mistake("rows twice", "`over_crops` goes down the columns: a phrase looks for its crop.", _same_twice),
        Mistake("softmax over the wrong axis", "The phrases of one crop stand in its row: sum along the row, dim=1, "
                "for `over_phrases`, and down the column for `over_crops`.", _swapped),
        Mistake("summed, not halved", "The loss is the mean of the two.", _summed),
        Mistake("the first is always right", "The right phrase of crop i is number i, not number 0.", _first_is_right),
        Mistake("no logarithm", "Cross-entropy is minus the logarithm of the share that the right one gets.",
                _no_logarithm),
        Mistake("sum over the batch", "It is the mean over the crops (or phrases), not the sum.", _total),
        Mistake("only the right ones", "A loss that asks only for a high diagonal is met by making everything alike. "
                "The others must be in it.", _diagonal),
    ],
    hints=[
        "−log softmax(row)[i] = logsumexp(row) − row[i].",
        "The right entries are similarity.diagonal(); rows are dim 1, columns dim 0.",
    ],
    explanation="""
Every crop of the batch is a wrong answer for every other phrase: B pairs give B² − B wrong ones for nothing, and
the more there are, the more a vector has to say to be told apart. CLIP was trained with very large batches.
""",
)  # fmt: skip
