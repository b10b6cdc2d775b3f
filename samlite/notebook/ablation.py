"""Switch off one thing at a time: what is a choice of the architecture worth to a model that was trained with it?

    with ABLATIONS["no types"].off(sam):
        masks, *_ = predictor.predict(...)

Nothing stays behind: hooks go, parameters get their values back, also after an error. An ablation at inference says
what the *trained* model relies on. A model that had been trained without the thing might have found another way; that
is another, more expensive experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from samlite.learning import simulate
from samlite.learning.losses import pairwise_iou
from samlite.learning.scenes import SceneGenerator
from samlite.sam import Sam

SEED = 5_000_011  # far from the seeds of training and of evaluation


@contextmanager
def silenced(*modules: nn.Module) -> Iterator[None]:
    """Modules that give zeros: what they would have added to a residual stream is missing."""
    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(_hooked(module, lambda _module, _inputs, output: torch.zeros_like(output)))
        yield


@contextmanager
def passed_by(*modules: nn.Module) -> Iterator[None]:
    """Modules that hand on what came in: one tensor as it is, of several the first ones."""

    def hand_on(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> object:
        return inputs[: len(output)] if isinstance(output, tuple) else inputs[0]

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(_hooked(module, hand_on))
        yield


@contextmanager
def replaced_by(module: nn.Module, other: nn.Module) -> Iterator[None]:
    """A module whose work another one does, with its own weights."""
    with _hooked(module, lambda _module, inputs, _output: other(*inputs)):
        yield


@contextmanager
def zeroed(*parameters: Tensor) -> Iterator[None]:
    """Parameters that are zero for a while."""
    values = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter in parameters:
                parameter.zero_()
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., object]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _no_image_positions(sam: Sam) -> Iterator[None]:
    """The image tokens of the decoder without the code of their places; prompts keep theirs."""
    encoder = sam.prompt_encoder
    right = encoder.image_positions
    encoder.image_positions = lambda: torch.zeros_like(right())  # on the instance, in front of the method
    try:
        yield
    finally:
        del encoder.image_positions


@dataclass(frozen=True)
class Ablation:
    """One switch: its name, the document's section of what it takes away, what that is, and how."""

    name: str
    section: str
    what: str
    off: Callable[[Sam], AbstractContextManager[None]]

    @property
    def in_encoder(self) -> bool:
        """Whether it changes the image embedding; what comes later in the document leaves that as it is."""
        return self.section.startswith("1.5.")


def _every(sam: Sam, name: str) -> list[nn.Module]:
    return [getattr(block, name) for block in sam.mask_decoder.blocks]


ABLATIONS = {
    ablation.name: ablation
    for ablation in (
        Ablation("no patch positions", "1.5.3", "the learned position of each patch",
                 lambda sam: zeroed(sam.image_encoder.position_embedding)),
        Ablation("no patch attention", "1.5.4", "self-attention in all encoder blocks: every patch is alone",
                 lambda sam: silenced(*(block.attention for block in sam.image_encoder.blocks))),
        Ablation("half the encoder", "1.5.4", "the second half of the encoder's blocks",
                 lambda sam: passed_by(*list(sam.image_encoder.blocks)[(len(sam.image_encoder.blocks) + 1) // 2 :])),
        Ablation("no prompt places", "1.7.1", "the code of the prompt's places; its types are left",
                 lambda sam: silenced(sam.prompt_encoder.coordinates)),
        Ablation("no types", "1.7.1", "foreground or background, first or second corner",
                 lambda sam: zeroed(sam.prompt_encoder.type_embedding.weight)),
        Ablation("no dense prompt", "1.7.2", "what a mask prompt adds to the image",
                 lambda sam: silenced(sam.prompt_encoder.mask_prompt)),
        Ablation("no image places", "1.8.2", "the code of the grid's places in the decoder", _no_image_positions),
        Ablation("no token self-attention", "1.8.2", "tokens looking at each other, in both blocks",
                 lambda sam: silenced(*_every(sam, "self_attention"))),
        Ablation("no token-to-image", "1.8.2", "tokens looking at the image, in both blocks",
                 lambda sam: silenced(*_every(sam, "token_to_image"))),
        Ablation("no token-to-image in block 2", "1.8.2", "the second look of the tokens at the image",
                 lambda sam: silenced(_every(sam, "token_to_image")[-1])),
        Ablation("no image-to-token", "1.8.2", "the image looking at the tokens, in both blocks",
                 lambda sam: silenced(*_every(sam, "image_to_token"))),
        Ablation("one two-way block", "1.8.2", "the second two-way block as a whole",
                 lambda sam: passed_by(sam.mask_decoder.blocks[-1])),
        Ablation("one MLP for all masks", "1.8.4", "the own MLP of the second and the third mask token",
                 lambda sam: _one_head(sam)),
    )
}  # fmt: skip


@contextmanager
def _one_head(sam: Sam) -> Iterator[None]:
    first, *others = sam.mask_decoder.mask_heads
    with ExitStack() as stack:
        for head in others:
            stack.enter_context(replaced_by(head, first))
        yield


@dataclass(frozen=True)
class Scenery:
    """Scenes with prompts whose answer is known: made once, asked of every ablated model."""

    images: Tensor  # (B, 3, S, S), normalised
    points: Tensor  # (B·P, 1, 2)
    rough: Tensor  # (B·P, 1, h, w), rough mask prompts
    truths: Tensor  # (B·P, h, w)
    prompts: int  # P, prompts a scene

    @classmethod
    def make(cls, sam: Sam, scenes: int = 12, prompts: int = 6) -> Scenery:
        """``scenes`` generated scenes with ``prompts`` clicks and rough masks each; always the same ones."""
        generator = torch.Generator().manual_seed(SEED)
        made = SceneGenerator(sam.image_size)(scenes, generator)
        points, level = simulate.sample_clicks(made.labels, prompts, generator)
        stride = sam.image_size // (4 * sam.prompt_encoder.grid_size)
        answers = rearrange(simulate.regions_at(made.labels, points, stride), "b p level h w -> (b p) level h w")
        truths = answers[torch.arange(len(answers)), level.flatten()]
        rough = simulate.rough_masks(truths, generator)
        return cls(sam.normalise(made.images), rearrange(points, "b p xy -> (b p) 1 xy"), rough, truths, prompts)

    @torch.no_grad()
    def encoded(self, sam: Sam) -> Float[Tensor, "b c g g"]:
        """The scenes' image embedding, which all prompts share."""
        return sam.encode_image(self.images)

    @torch.no_grad()
    def quality(self, sam: Sam, embedding: Float[Tensor, "b c g g"] | None = None, with_mask: bool = False) -> float:
        """Mean IoU of the best candidate for a click (and a rough mask) against what was meant.

        ``embedding`` spares the encoder, where nothing in it has changed since ``encoded``.
        """
        embedding = self.encoded(sam) if embedding is None else embedding
        foreground = torch.ones(len(self.points), 1, dtype=torch.long)
        many = repeat(embedding, "b c y x -> (b p) c y x", p=self.prompts)
        logits, _ = sam.decode_masks(many, self.points, foreground, mask=self.rough if with_mask else None)
        return pairwise_iou(logits, self.truths[:, None])[..., 0].amax(1).mean().item()
