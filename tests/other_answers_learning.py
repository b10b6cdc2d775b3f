"""Right answers to the exercises about learning, measuring and scale, written otherwise: loops, NumPy, fractions."""

import heapq
import itertools
import math
import statistics
from fractions import Fraction

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import label as measure_label
from skimage.measure import regionprops

from samlite.learning.annotator import correcting_click
from samlite.learning.interaction import interior_point

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
    """Drawn without repetition: a scene gives no more masks than it has, which changes no number of the exercise."""
    given = {stage: count * min(per_scene, masks[stage]) for stage, count in scenes.items()}
    total, *_, last = sum(given.values()), *scenes
    each = Fraction(steps * batch * min(per_scene, masks["drawn"]), masks["drawn"])
    earlier = [stage for stage in scenes if stage != last]
    spare = sum((limit - wrong[stage]) * given[stage] for stage in earlier)
    return {
        "share": [count / total for count in given.values()],
        "wrong": sum(given[stage] / total * wrong[stage] for stage in scenes),
        "seen": each / sum(scenes.values()), "seen in the control": each / sum(scenes[stage] for stage in earlier),
        "weight": spare / given[last] / (wrong[last] - limit),
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


# Chapter 14


def in_channels_of_another_order(q, k, by_row, by_column):
    """Columns first, the root on the side of the keys, in NumPy."""
    width, side, places = q.shape[-1], by_row.shape[-1], np.arange(q.shape[1])
    one = np.sqrt(width) * np.eye(side)
    own = np.broadcast_to(np.hstack([one[places % side], one[places // side]]), (len(k), len(places), 2 * side))
    return {
        "queries": np.concatenate([by_column.numpy(), by_row.numpy(), q.numpy()], axis=-1),
        "keys": np.concatenate([own, k.numpy()], axis=-1),
    }


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


OTHER_ANSWERS = {
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
    "write_the_bias_as_channels": in_channels_of_another_order,
    "find_the_share": Fraction(8 * 596 * 1000, 120 * 80000),
    "write_the_similarity": likened_one_by_one,
    "write_contrastive_loss": contrasted_with_plain_numbers,
    "write_speed_up": lambda serial, workers: torch.tensor(workers / (serial * workers + 1 - serial)),
    "write_resume": lambda count, size, names: np.array(
        [k for k in range(count) if f"shard-{k // size:06d}.jsonl.gz" not in set(names)]
    ),
    "write_two_runs": handed_out_with_a_heap,
}
