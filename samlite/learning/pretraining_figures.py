"""What pre-training brings: rebuilding against simple guesses, the price of encoding, and segmentation after it."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from samlite.files import whole_file
from samlite.image_encoder import patchify
from samlite.learning.bootstrap import mean_interval
from samlite.learning.evaluation import HELD_OUT_SEED, evaluate_scenes
from samlite.learning.pretraining import ENCODER_SIZES, normalised_scenes
from samlite.learning.recipe import Recipe, Stage
from samlite.learning.training import Trainer, train
from samlite.learning.weights import digest_of_state
from samlite.masked_autoencoder import HIDDEN_SHARE, MaskedAutoencoder, hand_over_encoder, random_masking, take
from samlite.sam import document_sam

MODEL_NAME = "masked autoencoder"
NEAREST = "colour of the nearest visible patch"
GLOBAL = "mean colour of the visible patches"
BLENDED = "visible colours, weighted by nearness"
DECODER_SIZES = {"channels": 32, "decoder_heads": 4, "decoder_mlp": 128}


def colours_of(patches: Float[Tensor, "b l values"]) -> Float[Tensor, "b l 3"]:
    """The mean colour of every patch."""
    return rearrange(patches, "b l (c pixel) -> b l c pixel", c=3).mean(dim=-1)


def guesses_without_learning(
    patches: Float[Tensor, "b l values"], visible: Int[Tensor, "b v"], hidden: Int[Tensor, "b hidden"]
) -> dict[str, Float[Tensor, "b hidden values"]]:
    """Every hidden patch in one plain colour, found from the visible patches in three simple ways."""
    grid = round(patches.shape[1] ** 0.5)
    rows_columns = torch.stack([torch.arange(patches.shape[1]) // grid, torch.arange(patches.shape[1]) % grid], -1)
    places = rows_columns.to(patches)  # (L, 2)
    distance = torch.cdist(places[hidden], places[visible])  # (B, L − V, V), in patches
    colours = take(colours_of(patches), visible)  # (B, V, 3)
    nearest = take(colours, distance.argmin(dim=-1))
    nearness = distance.pow(-3)
    blended = (nearness / nearness.sum(-1, keepdim=True)) @ colours
    everywhere = colours.mean(1, keepdim=True).expand_as(nearest)
    pixels = patches.shape[-1] // 3
    return {
        name: repeat(colour, "b l c -> b l (c pixel)", pixel=pixels)
        for name, colour in ((NEAREST, nearest), (BLENDED, blended), (GLOBAL, everywhere))
    }


@torch.inference_mode()
def rebuilding_errors(
    autoencoder: MaskedAutoencoder, count: int = 200, hidden_share: float = HIDDEN_SHARE, batch: int = 20
) -> dict[str, Float[np.ndarray, " n"]]:
    """Mean squared error of the hidden patches of each of ``count`` held-out scenes, for the model and the guesses.

    In squared units of the normalised pixels: an error of 1 is the variance of ImageNet's pixels. Every ``batch``
    scenes have a seed of their own: another ``batch`` asks about other scenes.
    """
    encoder = autoencoder.image_encoder
    errors: dict[str, list[float]] = {}
    for first in range(0, count, batch):
        generator = torch.Generator().manual_seed(HELD_OUT_SEED + first)
        images = normalised_scenes(encoder.image_size, min(batch, count - first), generator)
        visible, hidden = random_masking(len(images), encoder.grid_size**2, hidden_share, generator)
        patches = patchify(images, encoder.patch_size)
        answers = guesses_without_learning(patches, visible, hidden)
        answers = {MODEL_NAME: take(autoencoder(images, visible), hidden)} | answers
        for name, answer in answers.items():
            error = (answer - take(patches, hidden)).square().mean(dim=(1, 2))
            errors.setdefault(name, []).extend(error.tolist())
    return {name: np.array(values) for name, values in errors.items()}


def summary(errors: dict[str, Float[np.ndarray, " n"]], draws: int = 2000) -> dict[str, dict[str, float]]:
    """Mean error with a 95 % interval (bootstrap over scenes), and how often the model is better than each guess."""
    table = {}
    for name, values in errors.items():
        mean, low, high = mean_interval(values, np.arange(len(values)), resamples=draws)
        table[name] = {"error": mean, "low": low, "high": high}
        if name != MODEL_NAME:
            table[name]["model better in"] = float((errors[MODEL_NAME] < values).mean())
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in table.items()}


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call; other programs on the machine do not count."""
    started = time.process_time()
    work()
    return time.process_time() - started


@torch.inference_mode()
def speed_up(autoencoder: MaskedAutoencoder, batch: int = 8, repeats: int = 15) -> dict[str, float | int]:
    """How many times cheaper it is to encode the visible patches than all of them: median ratio of paired runs.

    Both run in turn in this process, so that a busy machine slows both.
    """
    encoder = autoencoder.image_encoder
    images = torch.randn(batch, 3, encoder.image_size, encoder.image_size)
    patches = encoder.grid_size**2
    visible, _ = random_masking(batch, patches, generator=0)
    everything = torch.arange(patches).expand(batch, -1)
    ratios = []
    for number in range(repeats + 2):
        full = processor_seconds(lambda: autoencoder.encode_visible(images, everything))
        part = processor_seconds(lambda: autoencoder.encode_visible(images, visible))
        if number >= 2:  # the first calls set things up
            ratios.append(full / part)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {
        "patches": patches, "visible": visible.shape[1], "ratio": round(float(middle), 2),
        "quarter of the ratios below": round(float(low), 2), "quarter above": round(float(high), 2),
    }  # fmt: skip


def segmentation_recipe(sizes: dict[str, int], steps: int = 150, seed: int = 0) -> Recipe:
    """A short training of a small SAM around the encoder that was pre-trained."""
    model = {name: value for name, value in sizes.items() if name in ENCODER_SIZES and name != "image_size"}
    stage = Stage(sizes["image_size"], steps, 8)
    return Recipe(model | DECODER_SIZES, (stage,), clicks=6, warm_up=20, decay=steps // 2, ramp=steps // 2, seed=seed)


def segmentation_after(
    recipe: Recipe, autoencoder: MaskedAutoencoder | None, run: Path, scenes: int = 60, progress: bool = True
) -> dict[str, object]:
    """Train a small SAM, its encoder pre-trained or (None) not, and score it on held-out scenes.

    Everything else is the same: decoder, scenes, clicks, steps, learning rates. ``run`` keeps the state, so that a run
    that was stopped goes on, and the figures, which are not measured twice; and what they come from (``made_from``).
    Raises ValueError when they come from another encoder or recipe.
    """
    made_from = {
        "encoder": digest_of_state(autoencoder.image_encoder.state_dict()) if autoencoder is not None else "nothing",
        "recipe": asdict(recipe), "held-out scenes": scenes,
    }  # fmt: skip
    told, origin = run / "figures.json", run / "made_from.json"
    text = json.dumps(made_from, indent=1) + "\n"
    if told.exists() or (run / "state.pt").exists():
        if not origin.exists() or origin.read_text() != text:
            raise ValueError(f"{run} is of another encoder or recipe: delete it, or choose another --run folder")
    else:
        run.mkdir(parents=True, exist_ok=True)
        origin.write_text(text)
    if told.exists():
        return json.loads(told.read_text())
    trainer = Trainer(recipe)
    if autoencoder is not None:
        hand_over_encoder(autoencoder, trainer.sam)
        trainer.average = {name: value.clone() for name, value in trainer.sam.state_dict().items()}
    if (run / "state.pt").exists():
        trainer.load(run / "state.pt")
    train(trainer, run, progress=progress, save_every=60)
    sam = document_sam(image_size=recipe.stages[-1].image_size, **recipe.model)
    sam.load_state_dict(trainer.average)
    scored = evaluate_scenes(sam.eval(), scenes, batch=10)
    log = run / "log.jsonl"  # a line every 20 steps
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    figures = {
        "steps": recipe.steps, "scenes a step": recipe.stages[-1].batch,
        "held-out scenes": scenes, "kinds": {kind: scored[kind] for kind in ("1 click", "3 clicks", "box")},
        "training": [{"step": entry["step"], "click": entry["click"]} for entry in entries],
    }  # fmt: skip
    with whole_file(told, alone=True) as unfinished:
        unfinished.write_text(json.dumps(figures, indent=1) + "\n")
    return figures
