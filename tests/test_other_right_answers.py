"""Answers that are right and written otherwise than samlite's: other einsums, loops, NumPy, lists, plain numbers."""

import heapq
import itertools
import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
import torch
from all_exercises import EXERCISES
from scipy import ndimage
from skimage.measure import label as measure_label
from skimage.measure import regionprops

from samlite.frames import PhotoFrames
from samlite.learning.annotator import correcting_click
from samlite.learning.interaction import interior_point


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


# Chapter 04


def corrected_in_a_for_loop(ask, truth, good_enough, most_clicks):
    clicks, mask, logits = [], np.zeros_like(truth), None
    for _ in range(most_clicks):
        clicks.append(correcting_click(mask, truth))
        masks, _, low_res = ask([(x, y) for x, y, _ in clicks], np.array(clicks)[:, 2], logits)
        ious = (masks & truth).sum((1, 2)) / (masks | truth).sum((1, 2))
        mask, logits = masks[np.argmax(ious)], low_res[None, np.argmax(ious)]
        if max(ious) >= good_enough:
            break
    return {"mask": torch.from_numpy(mask), "clicks": np.int64(len(clicks)), "drawn by hand": max(ious) < good_enough}


def mixed_by_hand(scenes, masks, wrong, steps, batch, per_scene, limit):
    total, *_, last = sum(scenes.values()), *scenes
    each = Fraction(steps * batch * per_scene, masks["drawn"])
    earlier = [stage for stage in scenes if stage != last]
    others = sum(scenes[stage] for stage in earlier)
    spare = sum((limit - wrong[stage]) * scenes[stage] for stage in earlier)
    return {
        "share": [count / total for count in scenes.values()],
        "wrong": sum(scenes[stage] / total * wrong[stage] for stage in scenes),
        "seen": each / total, "seen in the control": each / others,
        "weight": spare / scenes[last] / (wrong[last] - limit),
    }  # fmt: skip


def gained_with_the_standard_library(after, before, control, t):
    each = [a - c for a, c in zip(after, control, strict=True)]
    return {"gain": statistics.fmean(each), "half": t * statistics.stdev(each) / math.sqrt(len(each))}


# Chapter 06


def masked_with_topk(noise, visible_count):
    visible = noise.topk(visible_count, largest=False).indices
    hidden = np.stack([np.setdiff1d(np.arange(noise.shape[1]), row.numpy()) for row in visible])
    return {"visible": visible.sort().values.int(), "hidden": hidden}


def filled_up_place_by_place(narrow, visible, mask_token, patches):
    rows = []
    for encoded, places in zip(narrow, visible.tolist(), strict=True):
        rows.append([encoded[places.index(k)] if k in places else mask_token for k in range(patches)])
    return torch.stack([torch.stack(row) for row in rows])


def lost_in_numpy(rebuilt, patches, hidden):
    answer, target = (np.asarray(t, dtype=np.float64)[np.arange(len(t))[:, None], hidden] for t in (rebuilt, patches))
    spread = np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
    patterns = (target - target.mean(-1, keepdims=True)) / spread
    return {"pixels": ((answer - target) ** 2).mean(), "patterns": float(((answer - patterns) ** 2).mean())}


# Chapter 09


def ranked_in_an_array(reference, ablated):
    names = np.array(list(ablated))
    ious = [np.mean([(m & r).sum() / (m | r).sum() for m, r in zip(ablated[n], reference, strict=True)]) for n in names]
    return names[np.argsort(ious)]


# Chapter 10


def losses_with_logarithms(logits, targets):
    p, t = logits.double().sigmoid(), targets.double()
    focal = -(t * (1 - p) ** 2 * p.log() + (1 - t) * p**2 * (1 - p).log()) / 2
    overlap = torch.einsum("bhw,bhw->b", p, t)
    dice = 1 - (2 * overlap + 1) / (torch.einsum("bhw->b", p) + torch.einsum("bhw->b", t) + 1)
    return {"focal": torch.einsum("bhw->b", focal) / p[0].numel(), "dice": dice}


def corrected_with_scipy(logits, target, stride):
    wrong = ((logits > 0) ^ (target > 0.5)).numpy().astype(float)
    weight = wrong * ndimage.uniform_filter(wrong, 5, mode="constant") ** 2
    row, column = np.unravel_index(weight.argmax(), weight.shape)
    place = torch.tensor([column, row]) * stride + (stride - 1) / 2
    return {"wrong": wrong, "weight": weight, "place": place, "label": (target[row, column] > 0.5).long()}


# Chapter 11


def clicks_counted_in_a_loop(ious, threshold):
    counts = [next((k + 1 for k, iou in enumerate(row) if iou >= threshold), None) for row in ious.tolist()]
    mean = sum(len(ious[0]) if count is None else count for count in counts) / len(counts)
    return {"mean": mean, "not reached": Fraction(counts.count(None), len(counts))}


def clicked_with_scikit_image(mask, truth):
    found = []
    for kind, wrong in enumerate((mask & ~truth, truth & ~mask)):
        found += [(region.area, kind, region) for region in regionprops(measure_label(wrong, connectivity=1))]
    _, kind, region = max(found, key=lambda item: item[0])
    own = np.zeros(truth.shape, dtype=bool)
    own[tuple(region.coords.T)] = True
    return np.array([*interior_point(own), kind])


def calibrated_in_torch(predicted, actual, bins):
    predicted, actual = torch.tensor(predicted), torch.tensor(actual)
    index = torch.bucketize(predicted, torch.linspace(0, 1, bins + 1, dtype=predicted.dtype), right=True) - 1
    gaps = torch.zeros(bins, dtype=predicted.dtype).index_add(0, index.clamp(max=bins - 1), predicted - actual)
    return gaps.abs().sum() / len(predicted)  # n · |mean of p − mean of a| = |sum of p − a|; a number in a tensor


def drawn_by_counting(values, images, drawn):
    means = []
    for row in drawn.tolist():
        weights = np.array([row.count(image) for image in images])
        means.append(np.average(values, weights=weights))
    low, high = torch.quantile(torch.tensor(means), torch.tensor([0.025, 0.975]).double())
    return {"low": low, "high": high}


# Chapter 12


def runs_with_itertools(mask):
    lengths = [len(list(run)) for _, run in itertools.groupby(mask.T.flatten())]
    return torch.tensor([0, *lengths] if mask[0, 0] else lengths)


def suppressed_in_a_table(boxes, scores, threshold):
    corner = [np.maximum, np.maximum, np.minimum, np.minimum]
    x1, y1, x2, y2 = (function.outer(side, side) for function, side in zip(corner, boxes.T, strict=True))
    both = np.where((x2 > x1) & (y2 > y1), (x2 - x1) * (y2 - y1), 0)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    near = both / (area[:, None] + area - both) > threshold
    kept, left = [], sorted(range(len(scores)), key=lambda k: scores[k], reverse=True)
    while left:
        kept.append(left.pop(0))
        left = [k for k in left if not near[kept[-1], k]]
    return np.array(kept)


# Chapter 13


def coded_with_complex_numbers(points, directions, size):
    turns = torch.einsum("bnx,xc->bnc", (2 * points + 1) / size - 1, directions)
    waves = torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    return torch.cat([waves.imag, waves.real], -1)


# Chapter 15


def likened_one_by_one(images, texts, scale):
    return scale * torch.nn.functional.cosine_similarity(images[:, None], texts[None], dim=-1)


def contrasted_with_plain_numbers(similarity):
    table = np.exp(similarity.double().numpy())
    right = table.diagonal()
    phrases, crops = (float(-np.log(right / table.sum(axis)).mean()) for axis in (1, 0))
    return {"over_phrases": phrases, "over_crops": crops, "loss": statistics.fmean((phrases, crops))}


# Chapter 16


def handed_out_with_a_heap(seconds, workers, killed_at, workers_after):
    def run(numbers, workers):
        free = [0] * workers
        for number in numbers:
            start = heapq.heappop(free)
            heapq.heappush(free, start + seconds[number])
            yield number, start, start + seconds[number]

    first = list(run(range(len(seconds)), workers))
    there = {number for number, _, end in first if end <= killed_at}
    lost = sum(killed_at - start for _, start, end in first if start < killed_at < end)
    second = run([number for number in range(len(seconds)) if number not in there], workers_after)
    return {"there": np.array(sorted(there)), "lost": float(lost), "second run": max([0, *(end for *_, end in second)])}


OTHER_RIGHT_ANSWERS = {
    "write_the_correction_loop": corrected_in_a_for_loop,
    "write_the_mixture": mixed_by_hand,
    "find_the_gain": gained_with_the_standard_library,
    "write_masking": masked_with_topk,
    "write_fill_up": filled_up_place_by_place,
    "write_the_loss": lost_in_numpy,
    "count_the_saving": lambda patches, width, hidden: (
        (6 * width + patches) / (1 - hidden) / (6 * width + patches * (1 - hidden))
    ),
    "rank_the_damage": ranked_in_an_array,
    "write_the_losses": losses_with_logarithms,
    "write_the_minimum": lambda losses, share: np.array(
        [(1 - share) * min(row) + share * sum(row) / len(row) for row in losses.tolist()]
    ),
    "write_the_correction": corrected_with_scipy,
    "write_clicks_needed": clicks_counted_in_a_loop,
    "write_correcting_click": clicked_with_scikit_image,
    "write_calibration_error": calibrated_in_torch,
    "write_bootstrap": drawn_by_counting,
    "write_runs": runs_with_itertools,
    "write_suppression": suppressed_in_a_table,
    "write_stability": lambda logits, threshold, offset: np.array(
        [(each > threshold + offset).sum() / (each > threshold - offset).sum() for each in logits.numpy()]
    ),
    "write_fourier_code": coded_with_complex_numbers,
    "find_the_share": Fraction(8 * 596 * 1000, 120 * 80000),
    "write_the_similarity": likened_one_by_one,
    "write_contrastive_loss": contrasted_with_plain_numbers,
    "write_speed_up": lambda serial, workers: torch.tensor(workers / (serial * workers + 1 - serial)),
    "write_resume": lambda count, size, names: np.array(
        [k for k in range(count) if f"shard-{k // size:06d}.jsonl.gz" not in set(names)]
    ),
    "write_two_runs": handed_out_with_a_heap,
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


@pytest.mark.parametrize("name", OTHER_RIGHT_ANSWERS)
def test_another_right_answer_passes_too(name):
    (exercise,) = (exercise for exercise in EXERCISES if exercise.name == name)
    assert exercise.check(OTHER_RIGHT_ANSWERS[name])
