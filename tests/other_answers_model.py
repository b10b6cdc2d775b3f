"""Right answers to the exercises about the model, written otherwise than samlite's: einsum, loops, NumPy, floats."""

import numpy as np
import torch

from samlite.frames import PhotoFrames


def unfolded(images, patch_size):
    """torch's own way to cut patches, with its last two axes put right."""
    return torch.nn.functional.unfold(images, patch_size, stride=patch_size).transpose(1, 2)


class WithEinsum(torch.nn.Module):
    """A module is an answer, too; and NumPy's arrays are results."""

    def forward(self, tokens, layer):
        q, k, v = (
            linear(tokens).unflatten(-1, (layer.heads, -1))
            for linear in (layer.query_projection, layer.key_projection, layer.value_projection)
        )
        scores = torch.einsum("blhd,bshd->bhls", q, k) * (tokens.shape[-1] // layer.heads) ** -0.5
        weights = torch.exp(scores - scores.logsumexp(-1, keepdim=True))
        context = torch.einsum("bhls,bshd->blhd", weights, v).flatten(2)
        return {"weights": weights.numpy(), "output": layer.output_projection(context)}


def in_one_expression(images, encoder):
    positioned = encoder.patch_projection(unfolded(images, encoder.patch_size)) + encoder.position_embedding
    encoded = encoder.norm(torch.nn.Sequential(*encoder.blocks)(positioned))
    embedding = encoder.channel_projection(encoded).transpose(1, 2).unflatten(2, (encoder.grid_size, -1))
    return {"positioned_patches": positioned, "encoded_patches": encoded, "image_embedding": embedding, "mine": 1}


def without_the_half_pixel(x, y, photo_size, image_size, patch_size):
    scale = image_size / max(photo_size)
    return (y * scale // patch_size) * (image_size // patch_size) + x * scale // patch_size  # a float


def corner_after_corner(boxes, encoder):
    first, second = ((boxes[..., ends] + 0.5) / encoder.image_size for ends in (slice(0, 2), slice(2, 4)))
    types = encoder.type_embedding.weight
    tokens = [encoder.coordinates(first) + types[2], encoder.coordinates(second) + types[3]]
    return torch.stack(tokens, dim=2).flatten(1, 2)


def four_cells_mixed(points, labels, encoder):
    """The table read without grid_sample, in single steps."""
    grid, table = encoder.grid_size, encoder.coordinates.position_table
    normalised = (points + 0.5) / encoder.image_size
    place = (normalised * grid - 0.5).clamp(0, grid - 1)
    low = place.long().clamp(max=grid - 2)
    share = (place - low).unsqueeze(-1)  # (B, N, 2, 1)
    at = [[table[:, low[..., 1] + i, low[..., 0] + j].permute(1, 2, 0) for j in (0, 1)] for i in (0, 1)]
    rows = [left * (1 - share[:, :, 0]) + right * share[:, :, 0] for left, right in at]
    position = rows[0] * (1 - share[:, :, 1]) + rows[1] * share[:, :, 1]
    projected = encoder.coordinates.projection(normalised)
    tokens = projected + position + encoder.type_embedding.weight[labels]
    return {"projected": projected, "position": position, "tokens": tokens}


def cells_through_the_frames(points, original_size, image_size, grid_size):
    frames = PhotoFrames(original_size, image_size, grid_size)
    return np.flip(frames.move_points(points, "original", "grid").round(), axis=1)  # floats


def as_arrays(points, labels, click, iou_predictions, low_res_logits):
    return {
        "point_coords": np.array([*points, click[:2]]), "point_labels": torch.tensor([*labels, click[2]]),
        "mask_input": torch.from_numpy(low_res_logits[[iou_predictions.argmax()]]),
    }  # fmt: skip


def each_head_alone(tokens, image, token_positions, image_positions, layer):
    width = tokens.shape[-1] // layer.heads
    q, k = layer.query_projection(tokens + token_positions), layer.key_projection(image + image_positions)
    v, weights, contexts = layer.value_projection(image), [], []
    for q_head, k_head, v_head in zip(q.split(width, -1), k.split(width, -1), v.split(width, -1), strict=True):
        weights.append(((q_head / width**0.5) @ k_head.mT).softmax(-1))
        contexts.append(weights[-1] @ v_head)
    return {"weights": torch.stack(weights, 1), "output": layer.output_projection(torch.cat(contexts, -1))}


def with_pixel_shuffle(image, upscaling):
    """torch's pixel_shuffle wants channels, rows and columns of the children in one axis, channels first."""

    def double(x, layer):
        children = torch.nn.functional.conv2d(x, layer.weight.flatten(1).T[:, :, None, None])
        return torch.nn.functional.pixel_shuffle(children, 2) + layer.bias[:, None, None]

    twice = torch.nn.functional.gelu(upscaling.norm(double(image, upscaling.double_1)))
    return {"upscaled_2x": twice, "upscaled_4x": double(twice, upscaling.double_2)}


def with_matrices(output_tokens, upscaled, mask_heads):
    vectors = [head(token) for head, token in zip(mask_heads, output_tokens.unbind(1), strict=False)]
    logits = torch.stack(vectors, 1) @ upscaled.flatten(2)
    return {"mask_vectors": torch.stack(vectors, 1), "low_res_logits": logits.unflatten(-1, upscaled.shape[2:])}


def in_a_loop(tokens, image, token_positions, image_positions, block):
    def look(x):
        return block.token_to_image(x + token_positions, image + image_positions, image)

    stages = {
        "token_self_attention": lambda x: block.self_attention(x + token_positions, x + token_positions, x),
        "token_to_image_attention": look,
        "token_mlp": block.mlp,
    }
    norms = (block.self_attention_norm, block.token_to_image_norm, block.mlp_norm)
    results, now = {}, tokens
    for (name, stage), norm in zip(stages.items(), norms, strict=True):
        results[name] = now = norm(now + stage(now))
    answers = block.image_to_token(image + image_positions, now + token_positions, now)
    return results | {"image_to_token_attention": block.image_to_token_norm(image + answers)}


OTHER_ANSWERS = {
    "look_it_up": lambda photo, points: torch.from_numpy(photo)[tuple(torch.tensor(points).T.flip(0))],
    "write_token_to_image": each_head_alone,
    "write_two_way_block": in_a_loop,
    "write_upscaling": with_pixel_shuffle,
    "write_mask_heads": with_matrices,
    "write_iou_head": lambda tokens, head: head(tokens)[:, -1],  # every token through it, the last one kept
    "write_box_corners": lambda boxes: torch.from_numpy(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])),
    "find_the_cells": cells_through_the_frames,
    "write_refinement_step": as_arrays,
    "write_patchify": unfolded,
    "write_self_attention": WithEinsum(),
    "build_the_encoder": in_one_expression,
    "find_the_patch": without_the_half_pixel,
    "count_the_tokens": lambda points, boxes, texts, mask: sum((points, boxes, boxes, texts, 3, 1)),
    "write_encode_points": four_cells_mixed,
    "write_encode_boxes": corner_after_corner,
    "predict_shapes": {
        "patches": [2, 576, 3072], "patch_embedding": torch.Size((2, 576, 1024)),
        "grid": (2, 24, 24, 1024), "image_embedding": np.array([2, 192, 24, 24]),
    },
}  # fmt: skip
