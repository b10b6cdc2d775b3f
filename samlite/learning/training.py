"""Training of a small SAM from nothing on generated scenes: seeded, resumable, on one CPU core or a GPU.

One step: make a batch of scenes → ask the model and judge its answers (`objective.py`) → change the weights. Every
random choice of a step follows from (seed, step), so that a run that was killed goes on exactly as if it had not been.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from samlite.fast import use_folded_decoder
from samlite.files import whole_file
from samlite.learning.affinity import AffinityHead
from samlite.learning.initialise import deepened_state, initialise
from samlite.learning.objective import TrainingLoss
from samlite.learning.optimiser import build_optimisers, clipped_step, full_rates, move_average, set_rates
from samlite.learning.recipe import SCHEDULE, Batch, Recipe, Stage, batches, make_batch
from samlite.learning.resume import StoppedBetweenSteps, asked_to_stop, forget_after
from samlite.learning.shares import WHOLE, Share
from samlite.registry import TRAINED_HERE_THRESHOLDS
from samlite.sam import Sam, document_sam


class Trainer:
    """A model in training with all that it takes to go on later: ``save`` and ``load`` lose nothing.

    ``start_from`` may have a shallower encoder and another input size than the recipe: both are made to fit.
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
            state = deepened_state(start_from.state_dict(), recipe.model["depth"])
            self.sam.load_state_dict(resized_state(state, self.sam))
        self.sam.to(device).train()
        self.affinity = AffinityHead(recipe.model["channels"]).to(device)
        self.average = {name: value.clone() for name, value in self.sam.state_dict().items()}
        self.loss = share.wrap(TrainingLoss(self.sam, self.affinity))
        self.optimisers = self.build_optimisers()
        self.base_rates = full_rates(self.optimisers)

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
        set_rates(self.optimisers, self.base_rates, recipe.rate_at(self.step))
        loss, figures = self.loss(batch.cut(self.share), recipe, self.step, self.share)
        loss.backward()
        advice = f"the last saved state is as it was; go on from it with a smaller rate than {recipe.rate:g}"
        clipped_step(self.sam.parameters(), self.optimisers, loss, self.step, advice, self.share)
        self.step += 1
        move_average(self.average, self.sam, recipe.average, self.step)
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
    20 steps). An interrupt ends the step, saves and raises StoppedBetweenSteps; a second one stops at once and saves
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
        raise StoppedBetweenSteps
    return trainer.step >= recipe.steps
