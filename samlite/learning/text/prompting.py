"""A SAM that takes text: trained so that one more token, the embedding of a phrase, picks the object (document §1.3).

One step: scenes of coloured shapes → encode each once → for every object a prompt that is nothing but its embedding →
20 · focal + dice, the minimum over the three masks, the squared error of the predicted IoU. A few clicks are trained
along, so that the model stays one that can be pointed at. ``source`` says where the embedding comes from: "image", the
object's crop, as in the paper (no phrase is needed to train), or "text", its description.

A helper is trained along and thrown away, like the one of `samlite.learning.affinity`: a linear layer reads an
embedding from every place of the image embedding, and it has to be most like that of the object that lies there.

Letters: B scenes, Q objects of a scene, E width of an embedding, C channels, G side of the grid.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.fast import use_folded_decoder
from samlite.learning.initialise import initialise
from samlite.learning.losses import iou_loss, minimum_over_masks, pairwise_iou, pairwise_mask_loss
from samlite.learning.optimiser import build_optimisers, clipped_step, full_rates, move_average, set_rates
from samlite.learning.recipe import check_at_least, normalised, step_generator
from samlite.learning.text import shapes
from samlite.learning.text.contrastive import SEEN_NUMBERS, Embeddings
from samlite.registry import TRAINED_HERE_THRESHOLDS
from samlite.sam import Sam, document_sam

SOURCES = ("image", "text")


@dataclass(frozen=True)
class TextRecipe:
    """Everything that decides what a run gives, beside the text–image model."""

    model: dict[str, int] = field(
        default_factory=lambda: {
            "image_size": 64, "patch_size": 8, "width": 128, "depth": 4, "heads": 4,
            "channels": 64, "decoder_heads": 4, "decoder_mlp": 128,
        }
    )  # fmt: skip
    source: str = "image"
    steps: int = 900
    batch: int = 16
    clicks: int = 1  # a scene
    warm_up: int = 60
    decay: int = 250  # steps at the end in which the learning rate falls to nothing
    average: float = 0.98
    helper: float = 1.0  # weight of the helper's loss
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, steps=1, batch=1, clicks=1, warm_up=1, decay=1)

    def rate_at(self, step: int) -> float:
        return min(1.0, (step + 1) / self.warm_up, (self.steps - step) / self.decay)


class PlaceReader(nn.Module):
    """The helper: (B, C, G, G) → an embedding for each of 2×2 places a cell, (B, 2G, 2G, E) → one loss, a scalar."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(channels, 4 * width, kernel_size=1)

    def forward(
        self, embedding: Float[Tensor, "b c g g"], masks: Float[Tensor, "b q r r"], meant: Float[Tensor, "b q e"]
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of "which object lies here, or none", ground and objects weighted evenly: a scalar."""
        codes = rearrange(self.read(embedding), "b (p q e) y x -> b (y p) (x q) e", p=2, q=2)
        cover = F.adaptive_avg_pool2d(masks, codes.shape[1])  # (B, Q, 2G, 2G)
        here = torch.cat([(1 - cover.sum(1, keepdim=True)).clamp(min=0), cover], dim=1).argmax(1)  # 0: the ground
        logits = 10 * einsum(F.normalize(codes, dim=-1), meant, "b y x e, b q e -> b q y x")
        logits = torch.cat([torch.full_like(logits[:, :1], 5.0), logits], dim=1)
        losses = F.cross_entropy(logits, here, reduction="none")
        return (losses[here == 0].mean() + losses[here != 0].mean()) / 2


class TextTrainer:
    """A SAM in training on the embeddings of ``text_model``, which stays as it is."""

    def __init__(self, recipe: TextRecipe, text_model: Embeddings) -> None:
        if recipe.source not in SOURCES:
            raise ValueError(f"source is {recipe.source!r}: it must be one of {', '.join(SOURCES)}")
        self.recipe, self.text_model, self.step, self.seconds = recipe, text_model, 0, 0.0
        torch.manual_seed(recipe.seed)
        self.sam = use_folded_decoder(document_sam(text_width=text_model.width, **recipe.model))
        initialise(self.sam, normalised(self.scenes(0).images))
        projection = self.sam.prompt_encoder.text_projection
        nn.init.orthogonal_(projection.weight, gain=projection.out_features**0.5)  # a token as long as the others
        nn.init.zeros_(projection.bias)
        self.sam.train()
        self.helper = PlaceReader(recipe.model["channels"], text_model.width)
        self.average = {name: value.clone() for name, value in self.sam.state_dict().items()}
        self.optimisers = (
            *build_optimisers(self.sam), torch.optim.AdamW(self.helper.parameters(), lr=1.5e-3, weight_decay=0.0)
        )  # fmt: skip
        self.base_rates = full_rates(self.optimisers)

    def scenes(self, step: int) -> shapes.DescribedScenes:
        """The scenes of one step; 3 to 5 objects, in pairs that may be seen."""
        generator = step_generator(self.recipe.seed, step, 0)
        objects = 3 + int(torch.randint(3, (1,), generator=generator))
        first = SEEN_NUMBERS[torch.randint(len(SEEN_NUMBERS), (self.recipe.batch,), generator=generator)]
        pairs = shapes.choose_pairs(first, objects, SEEN_NUMBERS, generator)
        return shapes.make_scenes(pairs, self.recipe.model["image_size"], generator)

    @torch.no_grad()
    def embeddings(self, scenes: shapes.DescribedScenes, generator: torch.Generator) -> Float[Tensor, "b q e"]:
        """The embedding of every object, from its crop or from its description."""
        batch, objects = scenes.pairs.shape
        if self.recipe.source == "image":
            margin = torch.rand(batch, objects, generator=generator) * 0.6 + 1.0
            crops = shapes.crop(scenes.images, shapes.boxes_of(scenes.masks), self.text_model.crop_size, margin)
            return self.text_model.embed_images(crops).unflatten(0, (batch, objects))
        phrases = [scenes.phrase(b, q) for b in range(batch) for q in range(objects)]
        return self.text_model.embed_text(phrases).unflatten(0, (batch, objects))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        scenes, generator = self.scenes(step), step_generator(self.recipe.seed, step, 1)
        meant = self.embeddings(scenes, generator)
        batch, objects = scenes.pairs.shape
        masks = scenes.masks.float()
        stride = masks.shape[-1] // (4 * self.sam.image_encoder.grid_size)
        targets = F.avg_pool2d(masks, stride)
        embedding = self.sam.encode_image(normalised(scenes.images))

        many = repeat(embedding, "b c y x -> (b q) c y x", q=objects)
        answers = rearrange(targets, "b q h w -> (b q) 1 h w")
        logits, predicted = self.sam.decode_masks(many, text=rearrange(meant, "b q e -> (b q) 1 e"))
        overlap = pairwise_iou(logits.detach(), answers)[..., 0]  # (B·Q, 3)
        loss = minimum_over_masks(pairwise_mask_loss(logits, answers)).mean() + iou_loss(predicted, overlap).mean()

        clicked = torch.randint(objects, (batch, self.recipe.clicks), generator=generator)
        clicked = (torch.arange(batch)[:, None] * objects + clicked).flatten()
        pixel = torch.multinomial(masks.flatten(0, 1).flatten(1)[clicked], 1, generator=generator)  # (B·clicks, 1)
        point = torch.stack([pixel % masks.shape[-1], pixel // masks.shape[-1]], dim=-1).float()
        by_click, predicted_click = self.sam.decode_masks(many[clicked], point, torch.ones_like(pixel))
        overlap_click = pairwise_iou(by_click.detach(), answers[clicked])[..., 0]
        loss = loss + 0.5 * minimum_over_masks(pairwise_mask_loss(by_click, answers[clicked])).mean()
        loss = loss + 0.5 * iou_loss(predicted_click, overlap_click).mean()
        helped = self.helper(embedding, masks, meant)
        best = predicted.argmax(1, keepdim=True)
        figures = {"loss": loss, "text": overlap.gather(1, best).mean(), "click": overlap_click.amax(1).mean(),
                   "places": helped}  # fmt: skip
        return loss + self.recipe.helper * helped, {name: float(value.detach()) for name, value in figures.items()}

    def train_step(self) -> dict[str, float]:
        """One step; figures for the log. Raises RuntimeError when loss or gradient is no finite number."""
        set_rates(self.optimisers, self.base_rates, self.recipe.rate_at(self.step))
        loss, figures = self.loss(self.step)
        loss.backward()
        clipped_step(self.sam.parameters(), self.optimisers, loss, self.step)
        self.step += 1
        move_average(self.average, self.sam, self.recipe.average, self.step)
        return figures

    def train(self, watch: Callable[[int, dict[str, float]], None] | None = None) -> Sam:
        """Train to the end of the recipe; ``watch`` is called after every step. Returns the averaged model."""
        started = time.process_time()
        with torch.enable_grad():
            while self.step < self.recipe.steps:
                figures = self.train_step()
                if watch:
                    watch(self.step, figures)
        self.seconds += time.process_time() - started
        return self.averaged()

    def averaged(self) -> Sam:
        """The averaged weights in eval mode, marked as trained on this text model's embeddings."""
        sam = document_sam(text_width=self.text_model.width, **self.recipe.model)
        sam.load_state_dict(self.average)
        sam.automatic_thresholds = TRAINED_HERE_THRESHOLDS
        sam.prompt_encoder.trained_on_text = self.text_model.name
        return sam.eval()
