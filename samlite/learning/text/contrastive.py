"""A text–image model: a picture and the words that describe it get the same vector (CLIP; Radford et al., 2021).

    crop (B, 3, 32, 32) → convolutions → (B, E) → length 1        phrase (X, W) → mean of words → (X, E) → length 1
    similarity (B, X) = cosine · scale                            trained so that each row's right phrase wins

The external model of the document's §1.3, small. Letters: B crops, X phrases, W words of a phrase, E width of an
embedding, V words of the vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.layers import MLP, LayerNorm2d
from samlite.learning.text import shapes
from samlite.learning.text.vocabulary import PAIRS, SEEN, WORDS, Tokenizer, describe

SEEN_NUMBERS = torch.tensor([PAIRS.index(pair) for pair in SEEN])
START_SCALE = 1 / 0.07  # of the cosines: CLIP's start
LARGEST_SCALE = 100.0


@runtime_checkable
class Embeddings(Protocol):
    """What a SAM's training and its measure ask of a text–image model: this one, or CLIP (`text.clip`).

    ``width`` E of an embedding, ``crop_size`` s of a crop in pixels; embeddings have length 1.
    """

    name: str
    width: int
    crop_size: int

    def embed_text(self, phrases: str | Sequence) -> Float[Tensor, "x e"]: ...

    def embed_images(self, crops: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]: ...


class ImageTower(nn.Module):
    """Crops (B, 3, s, s), RGB in 0…255 → (B, E), not yet of length 1."""

    def __init__(self, width: int, channels: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        before = (3, *channels[:-1])
        self.halve = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1) for a, b in zip(before, channels, strict=True)
        )
        self.norms = nn.ModuleList(LayerNorm2d(c) for c in channels)
        self.head = MLP(channels[-1], channels[-1], width, activation=F.gelu)

    def forward(self, crops: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        features = crops / 127.5 - 1  # 0…255 → −1…1
        for convolution, norm in zip(self.halve, self.norms, strict=True):
            features = F.gelu(norm(convolution(features)))  # (B, 32, 16, 16), (B, 64, 8, 8), (B, 96, 4, 4)
        return self.head(features.mean((-2, -1)))


class TextTower(nn.Module):
    """Word numbers (X, W) → (X, E): the mean of the words' vectors, then a small MLP. Order does not count.

    CLIP has a transformer here. Two words, a colour and a shape, need none.
    """

    def __init__(self, width: int, words: int = len(WORDS)) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.head = MLP(width, width, width, activation=F.gelu)

    def forward(self, words: Int[Tensor, "x w"]) -> Float[Tensor, "x e"]:
        vectors = self.words(words)  # (X, W, E), zeros where there is no word
        count = (words != 0).sum(1, keepdim=True)
        return self.head(vectors.sum(1) / count)


class TextImageModel(nn.Module):
    """Both towers, a tokenizer, and a learned scale; an `Embeddings`."""

    name = "samlite coloured shapes"

    def __init__(self, width: int = 64, crop_size: int = 32) -> None:
        super().__init__()
        self.width = width
        self.crop_size = crop_size
        self.tokenizer = Tokenizer()
        self.image_tower = ImageTower(width)
        self.text_tower = TextTower(width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))

    def embed_text(self, phrases: str | Sequence) -> Float[Tensor, "x e"]:
        """Phrases → embeddings of length 1, (X, E). One string gives (1, E). Raises as `Tokenizer` does."""
        words = self.tokenizer(phrases).to(self.log_scale.device)
        return F.normalize(self.text_tower(words), dim=-1)

    def embed_images(self, crops: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        """Crops, RGB in 0…255, ``crop_size`` on a side → embeddings of length 1, (B, E)."""
        return F.normalize(self.image_tower(crops), dim=-1)

    def similarity(self, images: Float[Tensor, "b e"], texts: Float[Tensor, "x e"]) -> Float[Tensor, "b x"]:
        """Cosine of every image embedding with every text embedding, times the learned scale."""
        return images @ texts.T * self.log_scale.exp().clamp(max=LARGEST_SCALE)


def contrastive_loss(similarity: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    """Row i belongs to column i: cross-entropy over the phrases of each crop and over the crops of each phrase, halved.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), figure 3.
    """
    right = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, right) + F.cross_entropy(similarity.T, right)) / 2


def crops_with_phrases(
    generator: torch.Generator, crop_size: int, pairs: Int[Tensor, " b"] = SEEN_NUMBERS, picture: int = 64
) -> tuple[Float[Tensor, "b 3 s s"], list[str]]:
    """One crop of an object of each pair, out of a scene of its own, and a phrase for each, with or without article."""
    scenes = shapes.make_scenes(shapes.choose_pairs(pairs, 4, SEEN_NUMBERS, generator), picture, generator)
    margin = torch.rand(len(pairs), 1, generator=generator) * 0.6 + 1.0  # a mask is not always tight
    crops = shapes.crop(scenes.images, shapes.boxes_of(scenes.masks[:, :1]), crop_size, margin)
    forms = torch.randint(3, (len(pairs),), generator=generator).tolist()
    return crops, [describe(PAIRS[pair], form) for pair, form in zip(pairs.tolist(), forms, strict=True)]


def train_text_image_model(
    model: TextImageModel,
    steps: int,
    seed: int = 0,
    rate: float = 3e-3,
    watch: Callable[[int, float], None] | None = None,
) -> TextImageModel:
    """Train in place on generated crops and phrases of the ``SEEN`` pairs: every step has each pair once.

    ``watch`` is called with the step and its loss. Returns the model in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    model.train()
    with torch.enable_grad():
        for step in range(steps):
            crops, phrases = crops_with_phrases(generator, model.crop_size)
            loss = contrastive_loss(model.similarity(model.embed_images(crops), model.embed_text(phrases)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if watch:
                watch(step, loss.item())
    return model.eval()


@torch.no_grad()
def recognition(
    model: TextImageModel, pairs: Sequence[tuple[int, int]], crops_each: int = 20, seed: int = 1_000_003
) -> float:
    """The share of new crops of these pairs whose nearest phrase, among those of all ``PAIRS``, is the right one."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.tensor([PAIRS.index(pair) for pair in pairs]).repeat(crops_each)
    crops, _ = crops_with_phrases(generator, model.crop_size, numbers)
    texts = model.embed_text([describe(pair) for pair in PAIRS])
    nearest = model.similarity(model.embed_images(crops), texts).argmax(1)
    return (nearest == numbers).float().mean().item()
