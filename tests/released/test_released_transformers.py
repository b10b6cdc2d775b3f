"""The same random weights in `transformers.SamModel`, an implementation by other people, give the same numbers."""

import pytest
import torch
from reference import build, difference, given_prompts, relative_difference

from samlite.released.key_map import to_official

transformers = pytest.importorskip("transformers", reason="`python -m samlite test` installs transformers")

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


def hugging_face_name(key):
    for old, new in RENAMED:
        key = key.replace(old, new)
    if "hypernetworks_mlps" in key or "iou_prediction_head" in key:
        head, _, tail = key.partition("layers.")
        old, new = next(pair for pair in MLP_LAYERS if f"layers.{tail}".startswith(pair[0]))
        key = head + f"layers.{tail}".replace(old, new, 1)
    return key


def theirs(sam, window, heads, decoder_heads=8):
    """A `SamModel` with the sizes and the weights of ours."""
    encoder, decoder = sam.image_encoder, sam.mask_decoder
    blocks = encoder.blocks
    width, channels = encoder.patch_projection.out_features, sam.prompt_encoder.channels
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": width, "output_channels": channels, "num_hidden_layers": len(blocks), "mlp_dim": 4 * width,
            "num_attention_heads": heads, "image_size": sam.image_size, "patch_size": encoder.patch_size,
            "window_size": window, "num_pos_feats": channels // 2,
            "global_attn_indexes": [i for i, b in enumerate(blocks) if type(b).__name__ == "GlobalBlock"],
        },
        prompt_encoder_config={
            "hidden_size": channels, "image_size": sam.image_size, "patch_size": encoder.patch_size,
            "mask_input_channels": sam.prompt_encoder.mask_prompt.project.in_channels,
        },
        mask_decoder_config={
            "hidden_size": channels, "num_attention_heads": decoder_heads, "iou_head_hidden_dim": channels,
            "mlp_dim": decoder.blocks[0].mlp.layers[0].out_features,
            "layer_norm_eps": 1e-5,  # its default, 1e-6, is not that of the release
        },
    )  # fmt: skip
    state = to_official(sam.state_dict())
    directions = state.pop(DIRECTIONS)
    state = {hugging_face_name(key): value for key, value in state.items()}
    for name in ("shared_image_embedding", "prompt_encoder.shared_embedding"):
        state[f"{name}.positional_embedding"] = directions
    model = transformers.SamModel(config)
    model.load_state_dict(state, assign=True)  # strict: every name on both sides
    return model.eval()


def compare(sam, model, image, embedding, *, points, labels, boxes, mask):
    """Embedding, then point, box and mask prompts, with one and with three masks."""
    with torch.no_grad():
        reference = model.get_image_embeddings(image)
        assert difference(embedding, reference) < 5e-6
        for ours, other in (
            ({"points": points, "labels": labels}, {"input_points": points[:, None], "input_labels": labels[:, None]}),
            ({"boxes": boxes}, {"input_boxes": boxes}),
            ({"boxes": boxes, "mask": mask}, {"input_boxes": boxes, "input_masks": mask}),
        ):
            for multimask in (True, False):
                logits, iou = sam.decode_masks(embedding, **ours, multimask_output=multimask)
                out = model(image_embeddings=reference, **other, multimask_output=multimask)
                assert relative_difference(logits, out.pred_masks[:, 0]) < 1e-5
                assert difference(iou, out.iou_scores[:, 0]) < 1e-5


@pytest.mark.parametrize(
    "name, window, heads, decoder_heads", [("tiny", 3, 2, 4), ("std", 5, 4, 8), ("std256", 7, 4, 8)]
)
def test_small(name, window, heads, decoder_heads):
    sam = build(name)
    image = torch.randn(1, 3, sam.image_size, sam.image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding = sam.encode_image(image)
    compare(sam, theirs(sam, window, heads, decoder_heads), image, embedding, **given_prompts(sam))


def test_full_size_vit_b(vit_b):
    compare(vit_b.sam, theirs(vit_b.sam, 14, 12), vit_b.image, vit_b.embedding, **given_prompts(vit_b.sam))
