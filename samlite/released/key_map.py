"""Official parameter names ↔ ours: the same numbers under two sets of names, in both directions.

Most parameters only change their name. Three change their form: the patch projection (a strided convolution there, a
linear layer on flattened patches here, the same function), the position table (a grid there, a sequence here) and the
four type vectors (four parameters there, the rows of one here).
"""

import re
from collections.abc import Iterable, Mapping
from itertools import product

import torch
from einops import rearrange
from torch import Tensor

PROJECTIONS = {
    "q_proj": "query_projection",
    "k_proj": "key_projection",
    "v_proj": "value_projection",
    "out_proj": "output_projection",
}
ATTENTIONS = {
    "transformer.layers.#.self_attn": "blocks.#.self_attention",
    "transformer.layers.#.cross_attn_token_to_image": "blocks.#.token_to_image",
    "transformer.layers.#.cross_attn_image_to_token": "blocks.#.image_to_token",
    "transformer.final_attn_token_to_image": "last_token_to_image",
}
# Official → ours; # is a number that stays, and a .weight or .bias at the end stays too.
NAMES = {
    "image_encoder.pos_embed": "image_encoder.position_embedding",
    "image_encoder.patch_embed.proj": "image_encoder.patch_projection",
    "image_encoder.blocks.#.norm1": "image_encoder.blocks.#.attention_norm",
    "image_encoder.blocks.#.attn.qkv": "image_encoder.blocks.#.attention.qkv_projection",
    "image_encoder.blocks.#.attn.rel_pos_h": "image_encoder.blocks.#.attention.relative_rows",
    "image_encoder.blocks.#.attn.rel_pos_w": "image_encoder.blocks.#.attention.relative_columns",
    "image_encoder.blocks.#.attn.proj": "image_encoder.blocks.#.attention.output_projection",
    "image_encoder.blocks.#.norm2": "image_encoder.blocks.#.mlp_norm",
    "image_encoder.blocks.#.mlp.lin1": "image_encoder.blocks.#.mlp.layers.0",
    "image_encoder.blocks.#.mlp.lin2": "image_encoder.blocks.#.mlp.layers.1",
    "image_encoder.neck.0": "image_encoder.neck.project",
    "image_encoder.neck.1": "image_encoder.neck.norm_1",
    "image_encoder.neck.2": "image_encoder.neck.mix",
    "image_encoder.neck.3": "image_encoder.neck.norm_2",
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": "prompt_encoder.coordinates.directions",
    "prompt_encoder.not_a_point_embed.weight": "prompt_encoder.not_a_point",
    "prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask",
    "prompt_encoder.mask_downscaling.0": "prompt_encoder.mask_prompt.halve_1",
    "prompt_encoder.mask_downscaling.1": "prompt_encoder.mask_prompt.norm_1",
    "prompt_encoder.mask_downscaling.3": "prompt_encoder.mask_prompt.halve_2",
    "prompt_encoder.mask_downscaling.4": "prompt_encoder.mask_prompt.norm_2",
    "prompt_encoder.mask_downscaling.6": "prompt_encoder.mask_prompt.project",
    "mask_decoder.iou_token.weight": "mask_decoder.iou_token",
    "mask_decoder.mask_tokens.weight": "mask_decoder.mask_tokens",
    "mask_decoder.transformer.layers.#.norm1": "mask_decoder.blocks.#.self_attention_norm",
    "mask_decoder.transformer.layers.#.norm2": "mask_decoder.blocks.#.token_to_image_norm",
    "mask_decoder.transformer.layers.#.mlp.lin1": "mask_decoder.blocks.#.mlp.layers.0",
    "mask_decoder.transformer.layers.#.mlp.lin2": "mask_decoder.blocks.#.mlp.layers.1",
    "mask_decoder.transformer.layers.#.norm3": "mask_decoder.blocks.#.mlp_norm",
    "mask_decoder.transformer.layers.#.norm4": "mask_decoder.blocks.#.image_to_token_norm",
    "mask_decoder.transformer.norm_final_attn": "mask_decoder.last_norm",
    "mask_decoder.output_upscaling.0": "mask_decoder.upscaling.double_1",
    "mask_decoder.output_upscaling.1": "mask_decoder.upscaling.norm",
    "mask_decoder.output_upscaling.3": "mask_decoder.upscaling.double_2",
    "mask_decoder.output_hypernetworks_mlps.#.layers.#": "mask_decoder.mask_heads.#.layers.#",
    "mask_decoder.iou_prediction_head.layers.#": "mask_decoder.iou_head.layers.#",
} | {
    f"mask_decoder.{attention}.{projection}": f"mask_decoder.{ATTENTIONS[attention]}.{PROJECTIONS[projection]}"
    for attention, projection in product(ATTENTIONS, PROJECTIONS)
}  # fmt: skip

PATCHES, OUR_PATCHES = "image_encoder.patch_embed.proj.weight", "image_encoder.patch_projection.weight"
POSITIONS, OUR_POSITIONS = "image_encoder.pos_embed", "image_encoder.position_embedding"
TYPES = tuple(f"prompt_encoder.point_embeddings.{kind}.weight" for kind in range(4))
OUR_TYPES = "prompt_encoder.type_embedding.weight"


def renamed(names: Iterable[str], table: Mapping[str, str]) -> dict[str, str]:
    """Each name → its name by the table; a name that the table does not know keeps it."""
    patterns = [
        (re.compile(re.escape(old).replace(r"\#", r"(\d+)") + r"(\.weight|\.bias)?"), new) for old, new in table.items()
    ]
    result = {}
    for name in names:
        result[name] = name
        for pattern, new in patterns:
            if found := pattern.fullmatch(name):
                *numbers, suffix = found.groups(default="")
                for number in numbers:
                    new = new.replace("#", number, 1)
                result[name] = new + suffix
                break
    return result


def from_official(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A complete official state dict → the state dict of ``released_sam``. Names that are unknown stay as they are."""
    ours = renamed(official, NAMES)
    state = {ours[name]: value for name, value in official.items() if name not in TYPES}
    state[OUR_TYPES] = torch.cat([official[name] for name in TYPES])  # 4 × (1, 256) → (4, 256)
    state[OUR_PATCHES] = rearrange(official[PATCHES], "d c p q -> d (c p q)")
    state[OUR_POSITIONS] = rearrange(official[POSITIONS], "1 y x d -> (y x) d")
    return state


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a ``released_sam`` → official names and forms; the inverse of ``from_official``."""
    theirs = renamed(state, {ours: official for official, ours in NAMES.items()})
    official = {theirs[name]: value for name, value in state.items() if name != OUR_TYPES}
    official |= dict(zip(TYPES, state[OUR_TYPES].split(1), strict=True))  # (4, 256) → 4 × (1, 256)
    if OUR_POSITIONS in state:  # an encoder that is not the released one has no table
        patch, side = (round(number**0.5) for number in (state[OUR_PATCHES].shape[1] / 3, len(state[OUR_POSITIONS])))
        official[PATCHES] = rearrange(state[OUR_PATCHES], "d (c p q) -> d c p q", p=patch, q=patch)
        official[POSITIONS] = rearrange(state[OUR_POSITIONS], "(y x) d -> 1 y x d", y=side)
    return official
