"""The same weights in `transformers.SamModel`, an implementation by other people, to compare with."""

from importlib import import_module

from torch import nn

from samlite.released.image_encoder import WindowBlock
from samlite.released.key_map import to_official
from samlite.sam import Sam

# Official → Hugging Face, applied in this order.
RENAMED = (
    ("image_encoder.", "vision_encoder."), ("patch_embed.proj", "patch_embed.projection"), (".blocks.", ".layers."),
    ("neck.0", "neck.conv1"), ("neck.1", "neck.layer_norm1"), ("neck.2", "neck.conv2"), ("neck.3", "neck.layer_norm2"),
    (".norm_final_attn", ".layer_norm_final_attn"), (".norm", ".layer_norm"), ("point_embeddings", "point_embed"),
    ("mask_downscaling.0", "mask_embed.conv1"), ("mask_downscaling.1", "mask_embed.layer_norm1"),
    ("mask_downscaling.3", "mask_embed.conv2"), ("mask_downscaling.4", "mask_embed.layer_norm2"),
    ("mask_downscaling.6", "mask_embed.conv3"), ("output_upscaling.0", "upscale_conv1"),
    ("output_upscaling.1", "upscale_layer_norm"), ("output_upscaling.3", "upscale_conv2"),
)  # fmt: skip
MLP_LAYERS = (("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out"))
DIRECTIONS = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


def hugging_face_name(key: str) -> str:
    """An official parameter name → the name of the same parameter in `transformers.SamModel`."""
    for old, new in RENAMED:
        key = key.replace(old, new)
    if "hypernetworks_mlps" in key or "iou_prediction_head" in key:
        head, _, tail = key.partition("layers.")
        old, new = next(pair for pair in MLP_LAYERS if f"layers.{tail}".startswith(pair[0]))
        key = head + f"layers.{tail}".replace(old, new, 1)
    return key


def transformers_sam(sam: Sam, attention: str | None = None) -> nn.Module:
    """A `transformers.SamModel` with the sizes and the weights of ours. Raises ImportError without transformers.

    ``attention``: "eager" or "sdpa", which of its two ways to attend it takes; its own choice without.
    """
    transformers = import_module("transformers")
    encoder, decoder = sam.image_encoder, sam.mask_decoder
    blocks = encoder.blocks
    window = next(((len(b.attention.relative_rows) + 1) // 2 for b in blocks if isinstance(b, WindowBlock)), 0)
    width, channels = encoder.patch_projection.out_features, sam.prompt_encoder.channels
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": width, "output_channels": channels, "num_hidden_layers": len(blocks), "mlp_dim": 4 * width,
            "num_attention_heads": blocks[0].attention.heads, "image_size": sam.image_size,
            "patch_size": encoder.patch_size, "window_size": window, "num_pos_feats": channels // 2,
            "global_attn_indexes": [i for i, b in enumerate(blocks) if not isinstance(b, WindowBlock)],
        },
        prompt_encoder_config={
            "hidden_size": channels, "image_size": sam.image_size, "patch_size": encoder.patch_size,
            "mask_input_channels": sam.prompt_encoder.mask_prompt.project.in_channels,
        },
        mask_decoder_config={
            "hidden_size": channels, "num_attention_heads": decoder.blocks[0].self_attention.heads,
            "iou_head_hidden_dim": channels,
            "mlp_dim": decoder.blocks[0].mlp.layers[0].out_features,
            "layer_norm_eps": 1e-5,  # its default, 1e-6, is not that of the release
        },
    )  # fmt: skip
    if attention is not None:  # its layers are chosen when they are built
        config._attn_implementation = attention
    state = to_official(sam.state_dict())
    directions = state.pop(DIRECTIONS)
    state = {hugging_face_name(key): value for key, value in state.items()}
    for name in ("shared_image_embedding", "prompt_encoder.shared_embedding"):
        state[f"{name}.positional_embedding"] = directions
    model = transformers.SamModel(config)
    model.load_state_dict(state, assign=True)  # strict: every name on both sides
    return model.eval()
