"""Training of a small SAM from nothing on generated scenes: seeded, resumable, on one CPU core or a GPU.

One step: make a batch of scenes → encode each once → many first clicks an image, with all three right answers known
→ a second round with one right answer: a correcting click, a box, or a rough mask. Every random choice of a step
follows from (seed, step), so that a run that was killed goes on exactly as if it had not been.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from samlite.fast import use_folded_decoder
from samlite.files import whole_file
from samlite.learning import simulate
from samlite.learning.affinity import AffinityHead
from samlite.learning.initialise import initialise
from samlite.learning.losses import iou_loss, level_by_level, minimum_over_masks, pairwise_iou, pairwise_mask_loss
from samlite.learning.optimiser import build_optimisers, clipped_step
from samlite.learning.recipe import SCHEDULE, Batch, Recipe, Stage, batches, make_batch, step_generator
from samlite.learning.resume import asked_to_stop, forget_after
from samlite.learning.shares import WHOLE, Share
from samlite.registry import TRAINED_HERE_THRESHOLDS
from samlite.sam import Sam, document_sam

LEVELS_WEIGHT = 0.7  # of the loss that gives each mask its level, against the minimum over masks
AFFINITY_WEIGHT = 1.0
SECOND_ROUNDS = {"correct": 0.4, "correct without mask": 0.15, "box": 0.25, "box and click": 0.05, "rough mask": 0.15}


class TrainingLoss(nn.Module):
    """Model, helper and loss as one module, so that several processes can average what they learn."""

    def __init__(self, sam: Sam, affinity: AffinityHead) -> None:
        super().__init__()
        self.sam, self.affinity = sam, affinity

    def forward(self, batch: Batch, recipe: Recipe, step: int, share: Share) -> tuple[Tensor, dict[str, float]]:
        return training_loss(self.sam, batch, recipe, step, self.affinity, share)


def training_loss(
    sam: Sam, batch: Batch, recipe: Recipe, step: int, affinity: AffinityHead | None = None, share: Share = WHOLE
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step, and figures for the log. ``batch`` is this process's ``share`` of the step's scenes."""
    generator = step_generator(recipe.seed, step, 1, sam.device)
    side = 4 * sam.image_encoder.grid_size
    stride = batch.images.shape[-1] // side
    embedding = sam.encode_image(batch.images)
    points, level = batch.points, batch.level
    answers = simulate.regions_at(batch.labels, points, stride)

    many = repeat(embedding, "b c y x -> (b p) c y x", p=recipe.clicks)
    click = rearrange(points, "b p xy -> (b p) 1 xy")
    foreground = torch.ones(len(click), 1, dtype=torch.long, device=click.device)
    targets = rearrange(answers, "b p level h w -> (b p) level h w")
    logits, predicted = sam.decode_masks(many, click, foreground)
    overlap = pairwise_iou(logits.detach(), targets)  # (B·P, 3 masks, 3 levels)
    meant_as = torch.tensor(simulate.LEVEL_SHARE, device=logits.device)
    expected = (overlap * meant_as).sum(-1)  # what the mask is worth when the level is not known
    pairwise = pairwise_mask_loss(logits, targets)
    of_level = level.view(-1, 1, 1).expand(-1, logits.shape[1], 1)
    nearest = minimum_over_masks(pairwise.gather(2, of_level))
    first = (1 - LEVELS_WEIGHT) * nearest + LEVELS_WEIGHT * level_by_level(pairwise) + iou_loss(predicted, expected)

    chosen = torch.arange(len(click), device=click.device).view(-1, recipe.clicks)[:, : recipe.second_round].flatten()
    meant = targets[chosen, level.flatten()[chosen]]
    best = predicted[chosen].argmax(-1)
    previous = logits[chosen, best].detach()
    second = second_round_loss(sam, many[chosen], click[chosen], meant, previous, stride, generator, share)
    loss = first.mean() + 0.5 * second
    together = affinity(embedding, batch.labels, generator, share) if affinity else loss.new_zeros(())
    loss = loss + AFFINITY_WEIGHT * together
    figures = {
        "loss": loss.detach(),
        "click": overlap.amax(1).gather(1, level.view(-1, 1)).mean(),
        "share>.75": (overlap.amax(1).gather(1, level.view(-1, 1)) > 0.75).float().mean(),
        "selected": overlap.gather(1, predicted.argmax(-1)[:, None, None].expand(-1, 1, 3))[:, 0]
        .gather(1, level.view(-1, 1)).mean(),
        "levels": overlap.diagonal(dim1=1, dim2=2).mean(),
        "affinity": together.detach(),
        "iou error": (predicted.detach() - expected).abs().mean(),
    }  # fmt: skip
    values = torch.stack(list(figures.values())).tolist()  # at once: each transfer from a GPU waits for all before it
    return loss, dict(zip(figures, values, strict=True))


def second_round_loss(
    sam: Sam,
    embedding: Float[Tensor, "n c g g"],
    click: Float[Tensor, "n 1 2"],
    target: Float[Tensor, "n h w"],
    previous: Float[Tensor, "n h w"],
    stride: int,
    generator: torch.Generator,
    share: Share = WHOLE,
) -> Float[Tensor, ""]:
    """One more prompt, of a kind drawn for the whole batch, with one right answer each; the mean loss of its rounds.

    N prompts: ``embedding`` (N, C, G, G), ``click`` (N, 1, 2) in input pixels, ``target`` and ``previous`` (the logits
    of the first answer) (N, H, W) in the low-res frame, ``stride`` input pixels a low-res cell.
    """
    weights = torch.tensor(list(SECOND_ROUNDS.values()), device=click.device)
    kind = list(SECOND_ROUNDS)[int(torch.multinomial(weights, 1, generator=generator))]
    foreground = torch.ones(len(click), 1, dtype=torch.long, device=click.device)
    prompts: dict[str, Tensor] = {}
    rounds = 1
    if kind.startswith("correct"):
        prompts = {"points": click, "labels": foreground}
        rounds = 1 + int(torch.randint(3, (1,), generator=generator, device=click.device))
    elif kind.startswith("box"):
        prompts = {"boxes": simulate.boxes_around(target, stride, 0.1, generator, share)[:, None]}
        if kind.endswith("click"):
            prompts |= {"points": click, "labels": foreground}
    else:
        prompts = {"mask": simulate.rough_masks(target, generator, share), "points": click, "labels": foreground}
    losses = []
    for _ in range(rounds):
        if kind.startswith("correct"):
            point, label = simulate.correcting_clicks(previous, target, stride, generator, share)
            prompts["points"] = torch.cat([prompts["points"], point[:, None]], dim=1)
            prompts["labels"] = torch.cat([prompts["labels"], label[:, None]], dim=1)
            if kind == "correct":
                prompts["mask"] = previous[:, None]
        logits, predicted = sam.decode_masks(embedding, **prompts)
        overlap = pairwise_iou(logits.detach(), target[:, None])[..., 0]
        loss = minimum_over_masks(pairwise_mask_loss(logits, target[:, None])) + iou_loss(predicted, overlap)
        losses.append(loss.mean())
        previous = logits[torch.arange(len(logits), device=logits.device), predicted.argmax(-1)].detach()
    return torch.stack(losses).mean()


class Trainer:
    """A model in training with all that it takes to go on later: ``save`` and ``load`` lose nothing.

    In one of several processes (``share``) it learns from a part of each batch, and is the same model in all of them.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device | str = "cpu",
        start_from: Sam | None = None,
        share: Share = WHOLE,
    ) -> None:
        self.recipe, self.share = recipe, share
        self.step = 0
        self.seconds = 0.0
        self.history: dict[str, object] = {}  # whatever a run should remember of its beginning; kept with the state
        torch.manual_seed(recipe.seed)
        self.sam = self.build(recipe.stages[0].image_size)
        if start_from is None:
            initialise(self.sam, make_batch(recipe, 0).images)
        else:
            self.sam.load_state_dict(resized_state(start_from.state_dict(), self.sam))
        self.sam.to(device).train()
        self.affinity = AffinityHead(recipe.model["channels"]).to(device)
        self.average = {name: value.clone() for name, value in self.sam.state_dict().items()}
        self.loss = share.wrap(TrainingLoss(self.sam, self.affinity))
        self.optimisers = self.build_optimisers()
        self.base_rates = [optimiser.param_groups[0]["lr"] for optimiser in self.optimisers]

    def build(self, image_size: int) -> Sam:
        """The recipe's model at an input size, with the fast exact decoder."""
        return use_folded_decoder(self._plain(image_size))

    def _plain(self, image_size: int) -> Sam:
        sam = document_sam(image_size=image_size, **self.recipe.model)
        sam.automatic_thresholds = TRAINED_HERE_THRESHOLDS
        return sam

    def build_optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Muon and AdamW for the model, and another AdamW for the helper that is thrown away."""
        return *build_optimisers(self.sam), torch.optim.AdamW(self.affinity.parameters(), lr=1.5e-3, weight_decay=0.0)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step on its batch; figures for the log. Raises RuntimeError when loss or gradient is no finite number."""
        recipe = self.recipe
        for optimiser, rate in zip(self.optimisers, self.base_rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * recipe.rate_at(self.step)
        loss, figures = self.loss(batch.cut(self.share), recipe, self.step, self.share)
        loss.backward()
        advice = f"the last saved state is as it was; go on from it with a smaller rate than {recipe.rate:g}"
        clipped_step(self.sam.parameters(), self.optimisers, loss, self.step, advice, self.share)
        self.step += 1
        decay = min(recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.sam.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return figures

    def enter_stage(self) -> bool:
        """Give the model the input size of the stage that the next step belongs to; True where that changed it."""
        size = self.recipe.stage_at(self.step).image_size
        if size == self.sam.image_size:
            return False
        larger = self.build(size)
        larger.load_state_dict(resized_state(self.sam.state_dict(), larger))
        average = resized_state(self.average, larger)
        state = [optimiser.state_dict() for optimiser in self.optimisers]
        self.sam = larger.to(self.sam.device).train()
        self.average = {name: value.to(self.sam.device) for name, value in average.items()}
        self.loss = self.share.wrap(TrainingLoss(self.sam, self.affinity))
        self.optimisers = self.build_optimisers()
        for optimiser, old in zip(self.optimisers, state, strict=True):
            for index, entry in old["state"].items():  # moments of a table that changed its size start anew
                parameter = optimiser.param_groups[0]["params"][index]
                for key, value in entry.items():
                    if value.ndim and value.shape != parameter.shape:
                        entry[key] = torch.zeros_like(parameter)
            optimiser.load_state_dict(old)
        return True

    def averaged(self) -> Sam:
        """The model with averaged weights, in eval mode: what evaluation and shipping use."""
        sam = self._plain(self.sam.image_size)
        sam.load_state_dict(self.average)
        return sam.to(self.sam.device).eval()

    def save(self, path: Path) -> None:
        """Everything, written beside and moved into place, so that a kill leaves the old file or the new one.

        Of several processes the first one writes; all hold the same.
        """
        if not self.share.leads:
            return
        state = {
            "recipe": asdict(self.recipe), "step": self.step, "seconds": self.seconds,
            "image_size": self.sam.image_size, "model": self.sam.state_dict(), "average": self.average,
            "affinity": self.affinity.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers], "history": self.history,
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, alone=True) as unfinished:
            torch.save(state, unfinished)

    def load(self, path: Path) -> None:
        """Go on where ``save`` left off, with the ``history`` that was saved.

        The recipe may have another schedule for what is to come (``SCHEDULE``: later stages, rates, ramp). Raises
        ValueError when anything else differs, or the stages as far as the saved step.
        """
        state = torch.load(path, map_location=self.sam.device, weights_only=True)
        theirs, mine = dict(state["recipe"]), asdict(self.recipe)
        stages = tuple(Stage(**stage) for stage in theirs["stages"])
        theirs["stages"] = replace(self.recipe, stages=stages).until(state["step"])
        mine["stages"] = self.recipe.until(state["step"])
        for key in ("stages", *(name for name in mine if name not in SCHEDULE)):
            if theirs.get(key) != mine[key]:
                what = f"{key} as far as step {state['step']}" if key == "stages" else key
                raise ValueError(
                    f"{path} was trained with {what} {theirs.get(key)}, this recipe has {mine[key]}: "
                    "choose another --run folder, or delete this one to start anew"
                )
        self.step, self.seconds = state["step"], state["seconds"]
        self.history = state.get("history", self.history)
        if state["image_size"] != self.sam.image_size:
            self.sam = self.build(state["image_size"]).to(self.sam.device).train()
            self.loss = self.share.wrap(TrainingLoss(self.sam, self.affinity))
            self.optimisers = self.build_optimisers()
        self.sam.load_state_dict(state["model"])
        self.affinity.load_state_dict(state["affinity"])
        self.average = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def resized_state(state: dict[str, Tensor], sam: Sam) -> dict[str, Tensor]:
    """A state dict for the input size of ``sam``: the two tables of positions are interpolated, the rest is kept.

    The encoder's table (G·G, D) and the prompt encoder's (C, G, G), from the old side of the grid G to the new one.
    """
    grid = sam.image_encoder.grid_size
    name, table = "image_encoder.position_embedding", state["image_encoder.position_embedding"]
    old = int(len(table) ** 0.5)
    if old == grid:
        return dict(state)
    as_map = rearrange(table, "(y x) d -> 1 d y x", y=old)
    as_map = F.interpolate(as_map, (grid, grid), mode="bicubic", align_corners=False)
    prompt = "prompt_encoder.coordinates.position_table"
    prompt_table = F.interpolate(state[prompt][None], (grid, grid), mode="bicubic", align_corners=False)[0]
    return {**state, name: rearrange(as_map, "1 d y x -> (y x) d"), prompt: prompt_table}


def train(
    trainer: Trainer,
    run: Path,
    workers: int = 0,
    minutes: float | None = None,
    save_every: float = 180.0,
    progress: bool = True,
) -> bool:
    """Train to the end of the recipe, or for ``minutes``; True when the recipe is finished.

    The folder ``run`` gets ``state.pt`` (every ``save_every`` seconds and at the end) and ``log.jsonl`` (a line every
    20 steps). An interrupt ends the step, saves and raises KeyboardInterrupt; a second one stops at once and saves
    nothing (`asked_to_stop`), no more does an error: the file then holds the last good state. Several processes
    (``trainer.share``) stop together.
    """
    from tqdm import tqdm

    recipe = trainer.recipe
    started = saved = time.monotonic()
    before = trainer.seconds
    sums: dict[str, float] = {}
    count = 0
    share = trainer.share
    bar = tqdm(
        total=recipe.steps, initial=trainer.step, disable=not (progress and share.leads), unit="step", mininterval=2
    )
    run.mkdir(parents=True, exist_ok=True)
    if share.leads:
        forget_after(run / "log.jsonl", trainer.step)
    interrupted = False
    with bar, asked_to_stop() as asked:
        for batch in batches(recipe, trainer.step, trainer.sam.device, workers):
            trainer.enter_stage()
            figures = trainer.train_step(batch)
            now = time.monotonic()
            trainer.seconds = before + now - started
            count += 1
            sums = {name: sums.get(name, 0.0) + value for name, value in figures.items()}
            bar.update()
            if trainer.step % 20 == 0:
                means = {name: round(value / count, 4) for name, value in share.mean(sums).items()}
                entry = {
                    "step": trainer.step,
                    "seconds": round(trainer.seconds),
                    "size": trainer.sam.image_size,
                    **means,
                }
                if share.leads:
                    with (run / "log.jsonl").open("a") as log:
                        log.write(json.dumps(entry) + "\n")
                bar.set_postfix({k: f"{v:.3f}" for k, v in means.items() if k in ("loss", "click", "selected")})
                sums, count = {}, 0
            if now - saved > save_every:
                trainer.save(run / "state.pt")
                saved = time.monotonic()
            interrupted = share.any(asked())
            if interrupted or (minutes is not None and share.agree(now - started > 60 * minutes)):
                break
        trainer.save(run / "state.pt")
    if interrupted:
        raise KeyboardInterrupt
    return trainer.step >= recipe.steps
