"""The benchmark: every stage beside the same stage of the packages that a reader would otherwise use.

The released model has random weights here, unless a checkpoint is given: the time does not depend on them. The stage
"automatic masks" depends on what the filters let through, so it takes trained weights alone.
"""

import copy
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import skimage
import torch
from torch import Tensor, nn

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.fast import use_fast_paths, use_plain_paths
from samlite.learning.measure import interleaved
from samlite.learning.recipe import Recipe, Stage, make_batch
from samlite.learning.training import Trainer
from samlite.registry import sam_model_registry
from samlite.released.key_map import to_official
from samlite.released.official_files import CHECKPOINTS
from samlite.released.sam import released_sam
from samlite.released.transformers_names import transformers_sam
from samlite.sam import Sam

FAST, PLAIN = "samlite", "samlite, plain path"
EAGER, SDPA, OFFICIAL = "transformers, eager", "transformers, sdpa", "segment-anything"
STAGES = ("encoder", "decoder", "tiny", "automatic", "curves")
CURVE_MODEL = {"image_size": 512, "width": 192, "heads": 3, "depth": 4, "global_blocks": (1, 3)}
SMALL = {"image_size": 128, "width": 32, "heads": 2, "depth": 2, "window": 3, "global_blocks": (1,), "channels": 32}
Calls = dict[str, Callable[[], object]]
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

    def released(self, **changes: Any) -> Sam:
        sizes = SMALL if self.small else CHECKPOINTS[self.model].sizes | {"image_size": self.size}
        return released_sam(**sizes | changes, checkpoint=self.checkpoint).eval()

    @property
    def name(self) -> str:
        return "small" if self.small else f"{self.model}, {self.size}×{self.size}"


def run(plan: Plan) -> Iterator[Row]:
    """Every row of the table as it is measured. Gradients are off but for the training step."""
    with torch.no_grad():
        if {"encoder", "decoder"} & set(plan.only):
            yield from released_stages(plan)
        if "tiny" in plan.only:
            yield from tiny_stages(plan)
        if "automatic" in plan.only:
            yield from automatic_stages(plan)


def released_stages(plan: Plan) -> Iterator[Row]:
    sam = plan.released()
    peers = Peers(sam, plan)
    image = torch.randn(1, 3, sam.image_size, sam.image_size)
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


def tiny_stages(plan: Plan) -> Iterator[Row]:
    fast, plain = both(sam_model_registry["tiny"]())
    several = replace(plan, rounds=3 * plan.rounds)
    image = torch.randn(1, 3, fast.image_size, fast.image_size)
    yield from rows(several, "encode a photo", "tiny", {FAST: lambda: fast.encode_image(image)})
    embedding, point, label = fast.encode_image(image), torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.long)
    clicks = {FAST: lambda: fast.decode_masks(embedding, point, label), PLAIN: lambda: plain.decode_masks(
        embedding, point, label)}  # fmt: skip
    yield from rows(several, "decode a click", "tiny", clicks)
    stage = Stage(64, 10, 2) if plan.small else Stage(128, 10, 16)
    trainer = Trainer(Recipe(stages=(stage,)))
    batch = make_batch(trainer.recipe, 0)

    def step() -> None:
        with torch.enable_grad():
            trainer.train_step(batch)

    yield from rows(plan, f"a training step, {stage.batch} scenes of {stage.image_size}×{stage.image_size}", "tiny", {
        FAST: step})  # fmt: skip


def automatic_stages(plan: Plan) -> Iterator[Row]:
    photo = skimage.data.astronaut()
    fast, plain = both(sam_model_registry["tiny"]())
    calls = {
        name: lambda model=model: SamAutomaticMaskGenerator(model, points_per_side=plan.grid).generate(photo)
        for name, model in ((FAST, fast), (PLAIN, plain))
    }
    what = f"automatic masks, {plan.grid}×{plan.grid} points"
    yield from rows(plan, what, "tiny", calls)
    if plan.checkpoint is None:
        return
    sam = plan.released()
    fast, plain = both(sam)
    calls = {FAST: lambda: SamAutomaticMaskGenerator(fast, points_per_side=plan.grid).generate(photo)}
    if official := Peers(sam, plan).official:
        generator = import_module("segment_anything").SamAutomaticMaskGenerator(official, points_per_side=plan.grid)
        calls[OFFICIAL] = lambda: generator.generate(photo)
    yield from rows(replace(plan, rounds=1), what, plan.name, calls)


class Peers:
    """The same weights in every implementation that is installed."""

    def __init__(self, sam: Sam, plan: Plan) -> None:
        self.fast, self.plain = both(sam)
        self.transformers: dict[str, nn.Module] = {}
        self.official: nn.Module | None = None
        if importlib.util.find_spec("transformers"):
            for name, attention in ((EAGER, "eager"), (SDPA, "sdpa")):
                self.transformers[name] = transformers_sam(sam, attention)
        if importlib.util.find_spec("segment_anything") and not plan.small and plan.size == 1024:
            self.official = import_module("segment_anything").sam_model_registry[plan.model]().eval()
            self.official.load_state_dict(to_official(sam.state_dict()))

    def encoders(self, image: Tensor) -> Calls:
        calls: Calls = {
            FAST: lambda: self.fast.encode_image(image), PLAIN: lambda: self.plain.encode_image(image)
        }  # fmt: skip
        for name, model in self.transformers.items():
            calls[name] = lambda model=model: model.get_image_embeddings(image)
        if self.official is not None:
            calls[OFFICIAL] = lambda: self.official.image_encoder(image)
        return calls

    def decoders(self, embedding: Tensor, points: Tensor, at_once: int = 8) -> Calls:
        """``points`` (B, 1, 2): all at once, and by the fast path as automatic masks do it on a CPU, 8 at a time."""
        labels = torch.ones(points.shape[:2], dtype=torch.long)

        def fast() -> None:
            for some, their in zip(points.split(at_once), labels.split(at_once), strict=True):
                self.fast.decode_masks(embedding, some, their)

        calls: Calls = {FAST: fast, PLAIN: lambda: self.plain.decode_masks(embedding, points, labels)}
        for name, model in self.transformers.items():
            calls[name] = lambda model=model: model(
                image_embeddings=embedding, input_points=points[None], input_labels=labels[None], multimask_output=True
            )
        if self.official is not None:
            calls[OFFICIAL] = lambda: _official_decode(self.official, embedding, points, labels)
        return calls


def _official_decode(model: nn.Module, embedding: Tensor, points: Tensor, labels: Tensor) -> None:
    sparse, dense = model.prompt_encoder(points=(points, labels), boxes=None, masks=None)
    model.mask_decoder(
        image_embeddings=embedding, image_pe=model.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense, multimask_output=True,
    )  # fmt: skip


def both(sam: Sam) -> tuple[Sam, Sam]:
    """The model with its fast paths and without them, on the same weights."""

    def again() -> Sam:
        parts = (copy.copy(part) for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder))
        twin = Sam(*parts)
        twin.automatic_thresholds = sam.automatic_thresholds
        return twin.eval()

    return use_fast_paths(again()), use_plain_paths(again())


def rows(plan: Plan, stage: str, model: str, calls: Calls) -> Iterator[Row]:
    """One row a call. ``ratio``: how many times the processor seconds of the fast path the call takes."""
    costs = interleaved(calls, plan.rounds)
    for name, cost in costs.items():
        ratio = cost.cpu_seconds / max(costs[FAST].cpu_seconds, 1e-9)
        yield {"stage": stage, "model": model, "variant": name, **cost._asdict(), "ratio": ratio}


def curves(plan: Plan) -> dict[str, list[Row]]:
    """Cost against the number of photos, blocks, prompts and grid points, by the fast path of small models."""
    if "curves" not in plan.only:
        return {}
    sizes = SMALL if plan.small else CURVE_MODEL
    counts = (1, 2) if plan.small else (1, 2, 4, 8)
    sam = use_fast_paths(released_sam(**sizes).eval())
    side, grid, channels = sam.image_size, sam.prompt_encoder.grid_size, sam.prompt_encoder.channels
    found: dict[str, Calls] = {"photos": {}, "blocks": {}, "prompts": {}, "grid points": {}}
    embedding, random = torch.randn(1, channels, grid, grid), torch.Generator().manual_seed(0)
    for count in counts:
        images = torch.randn(count, 3, side, side, generator=random)
        found["photos"][str(count)] = lambda images=images: sam.encode_image(images)
        deep = use_fast_paths(released_sam(**sizes | {"depth": 2 * count, "global_blocks": (0,)}).eval())
        found["blocks"][str(2 * count)] = lambda deep=deep, image=images[:1]: deep.encode_image(image)
        points = torch.rand(8 * count, 1, 2, generator=random) * side
        labels = torch.ones(8 * count, 1, dtype=torch.long)
        found["prompts"][str(8 * count)] = lambda points=points, labels=labels: [
            sam.decode_masks(embedding, some, their)
            for some, their in zip(points.split(8), labels.split(8), strict=True)
        ]
    tiny, photo = use_fast_paths(sam_model_registry["tiny"]()), skimage.data.astronaut()
    for across in (2, 4) if plan.small else (4, 8, 12, 16):
        generator = SamAutomaticMaskGenerator(tiny, points_per_side=across)
        found["grid points"][str(across**2)] = lambda generator=generator: generator.generate(photo)
    with torch.no_grad():
        return {
            against: [
                {"count": int(count), **cost._asdict()} for count, cost in interleaved(calls, plan.rounds).items()
            ]
            for against, calls in found.items()
        }
