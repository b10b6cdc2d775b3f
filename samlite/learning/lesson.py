"""A small SAM from nothing, in a minute or in some: what chapter 10 trains while its reader watches.

Only first clicks, on flat pictures of few objects: the one part of the training (`samlite.learning.objective` has all
of it) in which an empty model begins to answer. ``python -m samlite.learning.lesson -o book/results/training.json``
makes the longer run that the chapter shows, once for each way to treat three masks.

Letters: B images, P clicks an image, K candidate masks (3), J right answers (3: subpart, part, whole).
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from samlite.fast import use_folded_decoder
from samlite.learning import simulate
from samlite.learning.initialise import initialise
from samlite.learning.losses import iou_loss, level_by_level, minimum_over_masks, pairwise_iou, pairwise_mask_loss
from samlite.learning.optimiser import build_optimisers, clipped_step, full_rates, set_rates
from samlite.learning.recipe import Batch, Recipe, Stage, make_batch
from samlite.sam import Sam, document_sam

MODEL = {"patch_size": 8, "width": 96, "depth": 3, "heads": 3, "channels": 64, "decoder_heads": 4, "decoder_mlp": 128}
# A ramp without end: the pictures stay flat, at the held-out steps too
LESSON = Recipe(
    MODEL, (Stage(64, 120, 8),), shapes=(2, 5), scale=1.0, favour_small=0.0, favour_ambiguous=1.0, clicks=6,
    second_round=0, warm_up=15, decay=30, ramp=10**12, full_share=0,
)  # fmt: skip
HELD_OUT_STEP = 10**8  # batches of such steps are never trained on
LONG = 1000  # steps of the run that ships
MaskLoss = Callable[[Float[Tensor, "b k j"], Int[Tensor, " b"]], Float[Tensor, " b"]]


def nearest_of_three(pairwise: Float[Tensor, "b k j"], level: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """One right answer, the level that the click means: the mask that comes nearest learns (paper §3)."""
    return minimum_over_masks(only(pairwise, level))


def mean_of_three(pairwise: Float[Tensor, "b k j"], level: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """One right answer, and every mask learns it: what happens without the minimum."""
    return only(pairwise, level).mean((1, 2))


def each_its_level(pairwise: Float[Tensor, "b k j"], level: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Three right answers, one for each mask: what only a picture made by code can teach."""
    return level_by_level(pairwise)


def only(pairwise: Float[Tensor, "b k j"], level: Int[Tensor, " b"]) -> Float[Tensor, "b k 1"]:
    """The losses against the one answer that the click means."""
    return pairwise.gather(2, level.view(-1, 1, 1).expand(-1, pairwise.shape[1], 1))


WAYS: dict[str, MaskLoss] = {"minimum": nearest_of_three, "mean": mean_of_three, "levels": each_its_level}


def answer(
    sam: Sam, batch: Batch
) -> tuple[Float[Tensor, "clicks k h w"], Float[Tensor, "clicks k"], Float[Tensor, "clicks j h w"]]:
    """Every click answered: low-res logits (B·P, K, H, W), predicted IoUs (B·P, K), right answers (B·P, J, H, W)."""
    clicks, stride = batch.points.shape[1], sam.image_size // (4 * sam.image_encoder.grid_size)
    answers = simulate.regions_at(batch.labels, batch.points, stride)
    embedding = repeat(sam.encode_image(batch.images), "b c y x -> (b p) c y x", p=clicks)
    points = rearrange(batch.points, "b p xy -> (b p) 1 xy")
    logits, predicted = sam.decode_masks(embedding, points, torch.ones(len(points), 1, dtype=torch.long))
    return logits, predicted, rearrange(answers, "b p j h w -> (b p) j h w")


def first_click_loss(sam: Sam, batch: Batch, mask_loss: MaskLoss = nearest_of_three) -> Float[Tensor, ""]:
    """The loss of one step: the masks by ``mask_loss``, and the IoU head by its squared error."""
    logits, predicted, answers = answer(sam, batch)
    level = batch.level.flatten()
    overlap = only(pairwise_iou(logits.detach(), answers), level)[..., 0]  # (B·P, K)
    return (mask_loss(pairwise_mask_loss(logits, answers), level) + iou_loss(predicted, overlap)).mean()


@torch.no_grad()
def judge(sam: Sam, batches: Sequence[Batch]) -> dict[str, float]:
    """On held-out scenes: mean IoU of the best and of the chosen mask, how alike the masks are, which one is best."""
    rows: dict[str, list[Tensor]] = {"best": [], "chosen": [], "alike": [], "which": []}
    for batch in batches:
        logits, predicted, answers = answer(sam, batch)
        overlap = only(pairwise_iou(logits, answers), batch.level.flatten())[..., 0]
        between = pairwise_iou(logits, (logits > 0).float())
        rows["best"].append(overlap.amax(1))
        rows["chosen"].append(overlap.gather(1, predicted.argmax(1, keepdim=True))[:, 0])
        rows["alike"].append(between[:, [0, 0, 1], [1, 2, 2]].mean(1))
        rows["which"].append(overlap.argmax(1))
    merged = {name: torch.cat(values) for name, values in rows.items()}
    figures = {name: float(merged[name].mean()) for name in ("best", "chosen", "alike")}
    shares = torch.bincount(merged["which"], minlength=3) / len(merged["which"])
    return figures | {f"mask {k + 1} is best": float(share) for k, share in enumerate(shares)}


def held_out(count: int = 4, recipe: Recipe = LESSON) -> list[Batch]:
    """``count`` batches of scenes of the same kind that no step of training sees."""
    return [make_batch(recipe, HELD_OUT_STEP + index) for index in range(count)]


def build(recipe: Recipe = LESSON) -> Sam:
    """The small model before its first step: random weights, put where learning can begin."""
    torch.manual_seed(recipe.seed)
    sam = use_folded_decoder(document_sam(image_size=recipe.stages[0].image_size, **recipe.model))
    initialise(sam, make_batch(recipe, 0).images)
    return sam


def train_small(
    recipe: Recipe = LESSON,
    mask_loss: MaskLoss = nearest_of_three,
    each_step: Callable[[int, Sam, float], None] | None = None,
) -> Sam:
    """Train from nothing to the end of the recipe. ``each_step(step, sam, loss)`` is called before every step.

    Raises RuntimeError when loss or gradient is no finite number.
    """
    sam = build(recipe)
    optimisers = build_optimisers(sam)
    rates = full_rates(optimisers)
    for step in range(recipe.steps):
        with torch.enable_grad():
            loss = first_click_loss(sam, make_batch(recipe, step), mask_loss)
            loss.backward()
        if each_step:
            each_step(step, sam, float(loss.detach()))
        set_rates(optimisers, rates, recipe.rate_at(step))
        clipped_step(sam.parameters(), optimisers, loss, step)
    return sam


def record(way: str, recipe: Recipe, every: int) -> dict[str, object]:
    """A run of one way, judged every ``every`` steps: steps, figures, seconds."""
    scenes, curve, started = held_out(recipe=recipe), [], time.process_time()

    def look(step: int, sam: Sam, loss: float) -> None:
        if step % every == 0:
            curve.append({"step": step, **{name: round(value, 4) for name, value in judge(sam, scenes).items()}})

    sam = train_small(recipe, WAYS[way], look)
    curve.append({"step": recipe.steps, **{name: round(value, 4) for name, value in judge(sam, scenes).items()}})
    return {"curve": curve, "processor seconds": round(time.process_time() - started)}


def longer(steps: int = LONG, seed: int = 0) -> Recipe:
    """The lesson's recipe with more steps."""
    return replace(LESSON, stages=(replace(LESSON.stages[0], steps=steps),), decay=max(1, steps // 4), seed=seed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m samlite.learning.lesson", description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=LONG)
    parser.add_argument("--every", type=int, default=20, help="steps from one look at held-out scenes to the next")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    given = parser.parse_args(arguments)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    recipe = longer(given.steps, given.seed)
    with ProcessPoolExecutor(len(given.ways), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        pending = {way: pool.submit(record, way, recipe, given.every) for way in given.ways}
        runs = {way: future.result() for way, future in pending.items()}
    command = (
        f"python -m samlite.learning.lesson -o {given.output.as_posix()} --steps {given.steps} --every {given.every}"
    )
    result = {
        "command": f"{command} --seed {given.seed} --ways {' '.join(given.ways)}", "recipe": asdict(recipe),
        "torch": torch.__version__, "processor": platform.machine(), "threads of a run": 1,
        "date": time.strftime("%Y-%m-%d"), "runs": runs,
    }  # fmt: skip
    given.output.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
