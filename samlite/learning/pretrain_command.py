"""``python -m samlite pretrain``: the image encoder as a masked autoencoder, and the figures that chapter 06 shows."""

import argparse
import json
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path

import torch

from samlite.command_line import positive
from samlite.files import whole_file
from samlite.learning import pretraining_figures
from samlite.learning.pretraining import (
    WEIGHTS,
    Pretrainer,
    PretrainingRecipe,
    build_autoencoder,
    load_autoencoder,
    pretrain,
    save_autoencoder,
)
from samlite.learning.resume import StoppedBetweenSteps
from samlite.learning.weights import digest, read_training
from samlite.registry import check_device

COMMAND = "python -m samlite pretrain"
LARGER_SIDE = 256  # pixels: the same encoder on more patches, where the products of patch with patch weigh more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, default=Path("runs/pretrain"), help="folder of the run (runs/pretrain)")
    parser.add_argument("--steps", type=int, default=None, help=f"steps of the run ({PretrainingRecipe().steps})")
    parser.add_argument("--normalised", action="store_true", help="rebuild each patch's pattern, not its pixel values")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long; the same command goes on")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads")
    parser.add_argument("--ship", action="store_true", help="put the finished weights into the package")
    parser.add_argument(
        "--measure", type=Path, default=None, metavar="JSON",
        help="do not train: measure the shipped weights and write the figures here, with two short trainings of a "
        "small SAM, one from the pre-trained encoder and one from nothing",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Pre-train, or go on pre-training, in the run's folder; or measure what the package holds."""
    torch.set_num_threads(args.threads)
    if args.measure:
        return measure(args.measure, args.run)
    if args.normalised and args.ship:
        raise ValueError("chapter 06 looks at pixels, so the weights that ship rebuild pixels: leave one of "
                         "--normalised and --ship out")  # fmt: skip
    recipe = replace(PretrainingRecipe(), seed=args.seed, normalised=args.normalised)
    if args.steps is not None:
        if args.steps < 1:
            raise ValueError(f"--steps must be at least 1, not {args.steps}")
        recipe = replace(recipe, steps=args.steps)
    check_device(args.device)
    trainer = Pretrainer(recipe, args.device)
    if (args.run / "state.pt").exists():
        trainer.load(args.run / "state.pt")
        print(f"going on from step {trainer.step} of {recipe.steps} in {args.run}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill saves first, as Ctrl-C does
    try:
        pretrain(trainer, args.run, args.minutes)
    except StoppedBetweenSteps:
        pass
    finished = trainer.step >= recipe.steps
    training = {
        "command": command_of(recipe), "recipe": asdict(recipe), "steps done": trainer.step,
        "processor minutes": round(trainer.seconds / 60, 1), "threads": args.threads,
        "device": str(trainer.device), "torch": torch.__version__,
    }  # fmt: skip
    weights = args.run / WEIGHTS.name
    save_autoencoder(trainer.averaged(), recipe.model, weights, training)
    print(f"{'finished' if finished else 'stopped'} at step {trainer.step} of {recipe.steps}; weights in {weights}")
    if args.ship and finished:
        with whole_file(WEIGHTS) as unfinished:
            shutil.copyfile(weights, unfinished)
        print(f"shipped as {WEIGHTS}")
    return 0


def command_of(recipe: PretrainingRecipe) -> str:
    """What to type for this recipe."""
    usual = PretrainingRecipe()
    words = [COMMAND, "--seed", str(recipe.seed)]
    words += ["--steps", str(recipe.steps)] if recipe.steps != usual.steps else []
    return " ".join([*words, "--normalised" if recipe.normalised else "--ship"])


def measure(path: Path, folder: Path) -> int:
    """Everything that chapter 06 says about the longer run, into one JSON file.

    Raises ValueError when ``folder`` holds another run than the one whose weights ship: its log would be of the other.
    """
    own = folder / WEIGHTS.name
    if own.exists() and digest(own) != digest(WEIGHTS):
        raise ValueError(f"{own} is not {WEIGHTS}, which is measured: choose the --run that was shipped, or use --ship")
    autoencoder, training = load_autoencoder(), read_training(WEIGHTS)
    if training["recipe"]["normalised"]:
        raise ValueError(f"{WEIGHTS} rebuilds each patch's pattern: its answers cannot be compared with pixels")
    model = training["recipe"]["model"]
    errors = pretraining_figures.rebuilding_errors(autoencoder)
    log = folder / "log.jsonl"
    larger = build_autoencoder(model | {"image_size": LARGER_SIDE}).eval()  # for its price, not for its answers
    figures = {
        "weights": {"file": WEIGHTS.name, "bytes": WEIGHTS.stat().st_size, "sha256": digest(WEIGHTS)},
        "training": training,
        "log": [json.loads(line) for line in log.read_text().splitlines()] if own.exists() and log.exists() else [],
        "command": f"{COMMAND} --measure book/results/{path.name}",
        "held-out scenes": len(errors[pretraining_figures.MODEL_NAME]),
        "hidden patches": pretraining_figures.summary(errors),
        "visible only": [pretraining_figures.speed_up(autoencoder), pretraining_figures.speed_up(larger)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")  # the two trainings take minutes: what is known is safe
    for name, row in figures["hidden patches"].items():
        print(f"  {name:40s} {row['error']:.3f}  ({row['low']:.3f} to {row['high']:.3f})")
    recipe = pretraining_figures.segmentation_recipe(model)
    arms = {"pre-trained": autoencoder, "from nothing": None}
    figures["segmentation"] = {"recipe": asdict(recipe)} | {
        name: pretraining_figures.segmentation_after(recipe, start, folder / name.replace(" ", "_"))
        for name, start in arms.items()
    }
    path.write_text(json.dumps(figures, indent=1) + "\n")
    for name in arms:
        print(f"  {name:40s} {figures['segmentation'][name]['kinds']}")
    print(f"wrote {path}")
    return 0
