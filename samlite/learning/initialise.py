"""How the small model starts: four measures against the plateau at which it answers every click with discs."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from samlite.image_encoder import ImageEncoder, patchify
from samlite.masked_autoencoder import wave_table
from samlite.sam import Sam

QUERY_KEY, VALUE_OUTPUT = 0.7, -0.4  # Trockman & Kolter, "Mimetic Initialization of Self-Attention Layers" (2023)


@torch.no_grad()
def initialise(sam: Sam, images: Float[Tensor, "b 3 size size"]) -> None:
    """Start ``sam`` from statistics of normalised ``images`` (B, 3, S, S); changes it in place."""
    initialise_encoder(sam.image_encoder, images)
    for block in sam.mask_decoder.blocks:
        for attention in (block.token_to_image, block.image_to_token):
            tie_queries_and_keys(attention, gain=1.5)


@torch.no_grad()
def initialise_encoder(encoder: ImageEncoder, images: Float[Tensor, "b 3 size size"]) -> None:
    """The part of ``initialise`` that concerns the image encoder; ``images`` (B, 3, S, S), normalised."""
    whiten_patches(encoder.patch_projection, patchify(images, encoder.patch_size))
    encoder.position_embedding.copy_(wave_table(encoder.grid_size, encoder.position_embedding.shape[1]) * 0.5)
    for block in encoder.blocks:
        mimic(block.attention)


def deepened_state(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """A model's state dict for an encoder of ``depth`` blocks, which at first answers just as the old one did.

    New blocks stand evenly between the old ones, each a copy of the one before it whose two last layers are zero: it
    adds nothing until it has learned to (Wu et al., 2024, "LLaMA Pro"). Raises ValueError when ``depth`` is smaller
    than the old one.
    """
    start = "image_encoder.blocks."
    rest = {name: value for name, value in state.items() if not name.startswith(start)}
    old = 1 + max(int(name.removeprefix(start).split(".")[0]) for name in state.keys() - rest.keys())
    if depth < old:
        raise ValueError(f"an encoder of {old} blocks does not become one of {depth}: at least {old} are needed")
    for new in range(depth):
        source = new * old // depth
        is_copy = new > 0 and (new - 1) * old // depth == source
        for name in [name for name in state if name.startswith(f"{start}{source}.")]:
            last = name.removeprefix(f"{start}{source}.")
            adds = last.startswith(("attention.output_projection.", "mlp.layers.1."))
            rest[f"{start}{new}.{last}"] = torch.zeros_like(state[name]) if is_copy and adds else state[name].clone()
    return rest


def whiten_patches(projection: nn.Linear, patches: Float[Tensor, "b l v"]) -> None:
    """The patch projection becomes the main directions of real patches (B, L, 3·P·P), each of the same variance."""
    flat = rearrange(patches, "b l v -> (b l) v")
    mean = flat.mean(0)
    covariance = torch.cov((flat - mean).T)
    variance, directions = torch.linalg.eigh(covariance)
    width = projection.out_features
    variance, directions = variance.flip(0)[:width], directions.flip(1)[:, :width]
    scale = 0.5 / (variance + 0.02 * covariance.diagonal().mean()).sqrt()
    projection.weight.zero_()
    projection.weight[: len(scale)] = (directions * scale).T
    projection.bias.copy_(-projection.weight @ mean)


def mimic(attention: nn.Module) -> None:
    """Query·key near 0.7·identity and value·output near −0.4·identity, plus noise, as in trained transformers.

    ``attention``: self-attention of width D, its projections (D, D).
    """
    width = attention.query_projection.in_features
    head_width = width // attention.heads
    for head in range(attention.heads):
        rows = slice(head * head_width, (head + 1) * head_width)
        query, key = _factor(QUERY_KEY, head_width, width)
        attention.query_projection.weight[rows], attention.key_projection.weight[rows] = query, key
    value, output = _factor(VALUE_OUTPUT, width, width)
    attention.value_projection.weight.copy_(value)
    attention.output_projection.weight.copy_(output.T)
    for layer in (
        attention.query_projection,
        attention.key_projection,
        attention.value_projection,
        attention.output_projection,
    ):
        layer.bias.zero_()


def _factor(identity: float, rank: int, width: int) -> tuple[Float[Tensor, "rank width"], Float[Tensor, "rank width"]]:
    """A, B of shape (rank, width) with Aᵀ·B near identity·I + |identity|·noise, by a truncated SVD."""
    goal = identity * torch.eye(width) + abs(identity) * torch.randn(width, width) / width**0.5
    left, values, right = torch.linalg.svd(goal)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).T, root[:, None] * right[:rank]


def tie_queries_and_keys(attention: nn.Module, gain: float) -> None:
    """Queries and keys start as the same function: a token then attends to image places with a code like its own.

    The two projections have the same shape and keep it; their weights are the queries' times ``gain``.
    """
    attention.query_projection.weight.mul_(gain)
    attention.key_projection.weight.copy_(attention.query_projection.weight)
    attention.key_projection.bias.copy_(attention.query_projection.bias)
