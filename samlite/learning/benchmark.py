"""The benchmark: every stage beside the same stage of the packages that a reader would otherwise use.

The released model has random weights here, unless a checkpoint is given: the time does not depend on them. Before
anything is timed, every variant must have computed the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import skimage
import torch
from torch import nn

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.learning.measure import interleaved
from samlite.learning.peers import BESIDE, FAST, OFFICIAL, PLAIN, Calls, Peers, both, differences
from samlite.learning.recipe import Recipe, Stage, make_batch
from samlite.learning.stand_in import stand_in
from samlite.learning.training import Trainer
from samlite.registry import sam_model_registry
from samlite.released.official_files import CHECKPOINTS
from samlite.released.official_package import is_installed, official_sam
from samlite.released.sam import released_sam
from samlite.sam import Sam

STAGES = ("encoder", "decoder", "tiny", "automatic", "all-masks", "curves", "waterfall")
SMALL = {"image_size": 128, "width": 32, "heads": 2, "depth": 2, "window": 3, "global_blocks": (1,), "channels": 32}
USUAL, OTHERS = 0.5, (0.1, 1.0)  # shares of the candidates that pass the filter on predicted IoU
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to measure. ``small``: models of a few thousand numbers, to see that everything runs."""

    model: str = "vit_b"
    size: int = 1024
    checkpoint: str | Path | None = None
    rounds: int = 3
    prompts: int = 64
    grid: int = 16
    only: tuple[str, ...] = STAGES
    small: bool = False
    beside: tuple[str, ...] = BESIDE

    def released(self, **changes: Any) -> Sam:
        sizes = SMALL if self.small else CHECKPOINTS[self.model].sizes | {"image_size": self.size}
        sam = released_sam(**sizes | changes, checkpoint=self.checkpoint).eval()
        if self.checkpoint is None:  # tables of distances start at zero, and then nobody could tell what reads them
            for name, table in sam.named_parameters():
                if name.rpartition(".")[2] in ("relative_rows", "relative_columns"):
                    nn.init.normal_(table, std=0.2)
        return sam

    @property
    def name(self) -> str:
        return "small" if self.small else f"{self.model}, {self.size}×{self.size}"


def run(plan: Plan) -> Iterator[Row]:
    """Every row of the table as it is measured. Gradients are off but for the training step."""
    with torch.no_grad():
        if {"encoder", "decoder"} & set(plan.only):
            yield from released_stages(plan)
        if "all-masks" in plan.only:
            yield from all_masks_stages(plan)
        if "tiny" in plan.only:
            yield from tiny_stages(plan)
        if "automatic" in plan.only:
            yield from tiny_automatic(plan)


def released_stages(plan: Plan) -> Iterator[Row]:
    sam = plan.released()
    peers = Peers(sam, plan.beside)
    image = torch.randn(1, 3, sam.image_size, sam.image_size, generator=torch.Generator().manual_seed(0))
    if "encoder" in plan.only:
        yield from rows(plan, "encode a photo", plan.name, peers.encoders(image))
    if "decoder" in plan.only:
        channels, grid = sam.prompt_encoder.channels, sam.prompt_encoder.grid_size
        embedding = torch.randn(1, channels, grid, grid)
        for prompts in (1, plan.prompts):
            points = torch.rand(prompts, 1, 2) * sam.image_size
            what = "decode a click" if prompts == 1 else f"decode {prompts} clicks"
            several = replace(plan, rounds=plan.rounds if prompts > 1 else 3 * plan.rounds)
            yield from rows(several, what, plan.name, peers.decoders(embedding, points))


def all_masks_stages(plan: Plan) -> Iterator[Row]:
    """Automatic masks by the released decoder: with a checkpoint the whole model, without one `stand_in`.

    The usual share of likely candidates at the grid that was asked for; other shares on a quarter of its points.
    """
    photo, once = skimage.data.astronaut(), replace(plan, rounds=1)
    if plan.checkpoint is not None:
        yield from _all_masks(once, plan.released(), plan.name, photo, plan.grid, "")
        return
    sizes = {"image_size": SMALL["image_size"]} if plan.small else {"image_size": plan.size}
    for likely in (USUAL, *OTHERS) if plan.grid <= 16 else (USUAL,):
        grid = plan.grid if likely == USUAL else max(2, plan.grid // 2)
        sam = stand_in(photo, likely, **sizes)
        yield from _all_masks(once, sam, "released decoder", photo, grid, f", {likely:.0%} likely")


def _all_masks(plan: Plan, sam: Sam, model: str, photo: Any, grid: int, added: str) -> Iterator[Row]:
    settings = {"points_per_side": grid, "box_nms_thresh": 0.95, "output_mode": "uncompressed_rle"}
    fast, plain = both(sam)
    generators = {FAST: SamAutomaticMaskGenerator(fast, **settings)}
    if grid <= 16 and "plain" in plan.beside:
        generators[PLAIN] = SamAutomaticMaskGenerator(plain, **settings)
    if is_installed() and "segment-anything" in plan.beside:
        generators[OFFICIAL] = import_module("segment_anything").SamAutomaticMaskGenerator(
            official_sam(sam), **settings
        )
    calls: Calls = {name: lambda maker=maker: maker.generate(photo) for name, maker in generators.items()}
    yield from rows(plan, f"automatic masks, {grid}×{grid} points{added}", model, calls)


def tiny_stages(plan: Plan) -> Iterator[Row]:
    fast, plain = both(sam_model_registry["tiny"]())
    several = replace(plan, rounds=3 * plan.rounds)
    image = torch.randn(1, 3, fast.image_size, fast.image_size)
    yield from rows(several, "encode a photo", "tiny", {FAST: lambda: fast.encode_image(image)})
    embedding, point, label = fast.encode_image(image), torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.long)
    clicks: Calls = {
        name: lambda model=model: model.decode_masks(embedding, point, label)[0]
        for name, model in ((FAST, fast), (PLAIN, plain))
    }
    yield from rows(several, "decode a click", "tiny", clicks)
    stage = Stage(64, 10, 2) if plan.small else Stage(128, 10, 16)
    trainer = Trainer(Recipe(stages=(stage,)))
    batch = make_batch(trainer.recipe, 0)

    def step() -> None:
        with torch.enable_grad():
            trainer.train_step(batch)

    yield from rows(plan, f"a training step, {stage.batch} scenes of {stage.image_size}×{stage.image_size}", "tiny", {
        FAST: step})  # fmt: skip


def tiny_automatic(plan: Plan) -> Iterator[Row]:
    photo, settings = skimage.data.astronaut(), {"points_per_side": plan.grid, "output_mode": "uncompressed_rle"}
    calls: Calls = {
        name: lambda model=model: SamAutomaticMaskGenerator(model, **settings).generate(photo)
        for name, model in zip((FAST, PLAIN), both(sam_model_registry["tiny"]()), strict=True)
    }
    yield from rows(plan, f"automatic masks, {plan.grid}×{plan.grid} points", "tiny", calls)


def rows(plan: Plan, stage: str, model: str, calls: Calls) -> Iterator[Row]:
    """One row a call. ``ratio``: how many times the processor seconds of the fast path the call takes; ``difference``:
    how far its result is from that of the official package, or of the plain path where that is not installed.
    """
    reference, found = next((name for name in (OFFICIAL, PLAIN) if name in calls), None), {}

    def check(answers: dict[str, Any]) -> None:
        if reference is not None:
            found.update(differences(answers, reference))

    costs = interleaved(calls, plan.rounds, check)
    for name, cost in costs.items():
        ratio = cost.cpu_seconds / max(costs[FAST].cpu_seconds, 1e-9)
        yield {
            "stage": stage, "model": model, "variant": name, **cost._asdict(), "ratio": ratio,
            "difference": found.get(name),
        }  # fmt: skip
