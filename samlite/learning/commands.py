"""``python -m samlite train`` and ``python -m samlite evaluate``."""

import argparse
import json
import os
import platform
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from samlite.command_line import positive
from samlite.learning import evaluation, report
from samlite.learning.baselines import Baseline, baselines
from samlite.learning.fit import fitted, larger_batches, seconds_a_step
from samlite.learning.interaction import Predictor
from samlite.learning.measure import wait_for
from samlite.learning.photo_sets import read_photo_set
from samlite.learning.recipe import TINY, Recipe, Stage
from samlite.learning.report import summary_lines
from samlite.learning.resume import StoppedBetweenSteps
from samlite.learning.shares import Share, join, leave
from samlite.learning.targets import photo_examples, scene_examples
from samlite.learning.training import Trainer, train
from samlite.learning.weights import CARD, CARD_PROSE, document_sizes, read_training, save_weights, write_card
from samlite.predictor import SamPredictor
from samlite.registry import TINY_WEIGHTS, check_device, load_document_sam, sam_model_registry, tiny, trained_model
from samlite.sam import Sam
from samlite.segment_command import CHECKPOINT_HELP

RECIPES = {"tiny": TINY}
NOT_FOR_TEXT = ("init", "size", "batch", "decay", "rate", "minutes", "within", "batches", "device")
CARD_COMMAND = "python3 -m samlite evaluate tiny --photos FOLDER --baselines --card"


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", choices=[*sorted(RECIPES), "text"],
        help="which model to train (text: tiny_text, which takes --run, --steps, --seed, --threads and --ship alone)",
    )  # fmt: skip
    parser.add_argument("--run", type=Path, default=None, help="folder of the run: state, log, weights (runs/NAME)")
    parser.add_argument("--init", type=Path, default=None, help="start from these weights (.safetensors)")
    parser.add_argument(
        "--steps", type=int, default=None, help="so many steps at the size that ships, in place of the whole recipe"
    )
    parser.add_argument("--size", type=int, default=None, help="with --steps: input size (the one that ships)")
    parser.add_argument("--batch", type=int, default=None, help="with --steps: scenes a step")
    parser.add_argument("--decay", type=int, default=None, help="with --steps: in how many the rate falls (half)")
    parser.add_argument("--rate", type=float, default=1.0, help="share of the full learning rate to begin with (1)")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long; the same command goes on")
    parser.add_argument(
        "--within", type=float, default=None, metavar="MINUTES", help="shorten the recipe so that it takes so long"
    )
    parser.add_argument("--batches", type=int, default=1, metavar="TIMES", help="so many times the scenes a step (1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads of the model (scenes come beside it)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument("--ship", action="store_true", help="put the finished weights into the package")


def run_train(args: argparse.Namespace) -> int:
    """Train, or go on training, in the run's folder; export the averaged weights whenever it stops.

    Started by ``torchrun`` in several processes, each works on its share of every batch, and the first one speaks.
    """
    torch.set_num_threads(args.threads)
    check_device(args.device)
    if args.name == "text":
        return _train_text(args)
    recipe = replace(RECIPES[args.name], seed=args.seed, rate=args.rate)
    if args.steps is not None:
        recipe = last_stage(recipe, args.steps, args.size, args.batch, args.decay)
    elif given := [name for name in ("size", "batch", "decay") if getattr(args, name) is not None]:
        raise ValueError(f"--{given[0]} is of the stage that --steps makes: give --steps, too, or leave it out")
    run = args.run or Path("runs") / args.name
    share, device = join(args.device)
    recipe = larger_batches(recipe, args.batches)
    if device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")  # products in TF32: 10 bits of each factor, sums in float32
    if args.within is not None:
        recipe = _within(recipe, args.within, device, share, run)
    start = load_document_sam(args.init) if args.init else None
    if start is not None and not can_start(found := document_sizes(start), recipe):
        raise ValueError(
            f"{args.init} holds a model of other sizes, {found}: this recipe goes on from {recipe.model}, or from a "
            "smaller depth of the encoder"
        )
    trainer = Trainer(recipe, device, start, share)
    trainer.history = {
        "started from": str(args.init) if args.init else "nothing",
        "before": read_training(args.init) if args.init else None,
    }
    if (run / "state.pt").exists():
        asked = trainer.history["before"]
        trainer.load(run / "state.pt")
        if args.init and trainer.history["before"] != asked:
            raise ValueError(
                f"{run} started from {trainer.history['started from']}: --init {args.init} would not count; choose "
                "another --run folder, or leave it out"
            )
        if share.leads:
            print(f"going on from step {trainer.step} of {recipe.steps} in {run}")
    workers = int(args.device == "cpu" and args.threads < (os.cpu_count() or 1))  # makes scenes on a core left free
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill saves first, as Ctrl-C does
    try:
        finished = train(trainer, run, workers=workers, minutes=args.minutes)
    except StoppedBetweenSteps:
        finished = False
    leave()
    if not share.leads:
        return 0
    training = {
        "recipe": asdict(recipe),
        "steps done": trainer.step,
        "minutes": round(trainer.seconds / 60, 1),
        "device": str(trainer.sam.device),
        "threads": args.threads,
        "float32 products": torch.get_float32_matmul_precision(),
        "processes": share.of,
        "torch": torch.__version__,
        **trainer.history,
    }
    weights = run / f"{args.name}.safetensors"
    save_weights(trainer.averaged(), recipe.model, weights, training)
    print(f"{'finished' if finished else 'stopped'} at step {trainer.step} of {recipe.steps}; weights in {weights}")
    if args.ship and finished:
        save_weights(trainer.averaged(), recipe.model, TINY_WEIGHTS, training)
        print(f"shipped as {TINY_WEIGHTS}; now its card: {CARD_COMMAND}")
    return 0


def can_start(sizes: dict[str, int], recipe: Recipe) -> bool:
    """Whether a model of these ``document_sizes`` can become the recipe's: it may be shallower, and nothing else."""
    return sizes | {"depth": max(sizes["depth"], recipe.model["depth"])} == recipe.model


def _within(recipe: Recipe, minutes: float, device: str, share: Share, run: Path) -> Recipe:
    """The recipe shortened to the minutes; the one that a run began with, when it goes on."""
    if share.of > 1:
        raise ValueError("--within times the steps of one process: leave torchrun out")
    kept = run / "recipe.json"
    asked = json.loads(json.dumps({"minutes": minutes, "recipe": asdict(recipe)}))
    if not (kept.exists() and (run / "state.pt").exists()):
        recipe = fitted(recipe, seconds_a_step(recipe, device), minutes)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"asked": asked, "recipe": asdict(recipe)}) + "\n", encoding="utf-8")
        print(f"{recipe.steps} steps fit into {minutes:g} minutes here: "
              + ", ".join(f"{s.steps} of {s.batch} scenes of {s.image_size}²" for s in recipe.stages))  # fmt: skip
        return recipe
    begun = json.loads(kept.read_text(encoding="utf-8"))
    if begun["asked"] != asked:
        raise ValueError(
            f"{run} was begun with --within {begun['asked']['minutes']:g} and its own options: give the same again, or "
            "choose another --run folder"
        )
    values = begun["recipe"]
    stages = tuple(Stage(**stage) for stage in values.pop("stages"))
    return Recipe(**values | {"stages": stages, "shapes": tuple(values["shapes"])})


def _train_text(args: argparse.Namespace) -> int:
    """The text-image model and the SAM that takes its embeddings. Raises ValueError for other options."""
    from samlite.learning.text.prompting import TextRecipe
    from samlite.learning.text.run import train_text

    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    given = [name for name in NOT_FOR_TEXT if getattr(args, name) != parser.get_default(name)]
    if given:
        raise ValueError(f"--{given[0]} does not count for text: --run, --steps, --seed, --threads and --ship do")
    recipe = TextRecipe(seed=args.seed)
    if args.steps is not None:
        recipe = replace(recipe, steps=args.steps, decay=max(1, args.steps // 3))
    train_text(args.run or Path("runs") / "text", args.seed, recipe=recipe, ship=args.ship, say=print)
    return 0


def last_stage(
    recipe: Recipe, steps: int, size: int | None = None, batch: int | None = None, decay: int | None = None
) -> Recipe:
    """``steps`` of the recipe's last stage alone, in full detail from the start: for going on from trained weights.

    ``size`` and ``batch`` take the place of the stage's own; the rate falls in the last ``decay`` steps (None: half).
    """
    for name, value in {"steps": steps, "size": size, "batch": batch}.items():
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, not {value}")
    stage = recipe.stages[-1]
    stage = replace(stage, steps=steps, image_size=size or stage.image_size, batch=batch or stage.batch)
    return replace(recipe, stages=(stage,), ramp=1, decay=max(1, steps // 2) if decay is None else decay)


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a model's name, or a .safetensors file that samlite wrote")
    parser.add_argument("--checkpoint", metavar="FILE_OR_NAME", help=CHECKPOINT_HELP)
    parser.add_argument("--scenes", type=int, default=500, help="held-out generated scenes (0: none)")
    parser.add_argument(
        "--photos",
        type=Path,
        default=None,
        help="folder of photos with masks: COCO JSON, PNG masks or label maps, BSDS .mat (photo_sets.py says how)",
    )
    parser.add_argument("--stride", type=int, default=1, help="every K-th photo")
    parser.add_argument("--baselines", action="store_true", help="also score discs, flood fill and superpixels")
    parser.add_argument(
        "--clicks",
        type=int,
        nargs="?",
        const=report.CAP,
        default=None,
        metavar="CAP",
        help="also correct mistakes by further clicks, CAP at most (20): 1, 3 and 5 clicks, boxes, boundaries, clicks "
        "to an IoU of 0.85, calibration of the predicted IoU, with intervals over images",
    )
    parser.add_argument("--targets", type=int, default=4, help="with --clicks: at most so many targets an image")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (cpu)")
    parser.add_argument("--threads", type=positive, default=None, help="CPU threads (PyTorch's own choice)")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here")
    parser.add_argument("--card", action="store_true", help="write the figures into the shipped model's card")


def run_evaluate(args: argparse.Namespace) -> int:
    """Print a table of figures; optionally write them as JSON and into the model card."""
    if args.clicks is not None and args.clicks < max(report.REPORTED_CLICKS):
        raise ValueError(f"--clicks is {args.clicks}: at least {max(report.REPORTED_CLICKS)} are needed")
    if args.stride < 1 or args.targets < 1:
        raise ValueError("--stride and --targets are whole numbers, at least 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    whole = args.scenes and args.photos and args.baselines and args.checkpoint is None and args.stride == 1
    if args.card and not (sam_model_registry.get(args.name) is tiny and whole):
        raise ValueError(f"--card replaces all figures of the model that ships: {CARD_COMMAND}")
    if args.photos:
        read_photo_set(args.photos)  # what is wrong with the folder is said before minutes are spent
    sam = trained_model(args.name, args.checkpoint, args.device)
    result: dict[str, object] = {
        "model": args.name,
        "date": time.strftime("%Y-%m-%d"),
        "device": str(sam.device),
        "torch": torch.__version__,
        "processor": platform.machine(),
        "speed": timings(sam),
    }
    print(f"encode {result['speed']['encode ms']} ms, click {result['speed']['click ms']} ms (medians)")
    predictors = {args.name: SamPredictor(sam)} | (baselines() if args.baselines else {})
    if args.scenes:
        result["held-out scenes"] = args.scenes
        result["scenes"] = evaluation.evaluate_scenes(sam, args.scenes)
        _print_table(f"{args.scenes} held-out generated scenes", result["scenes"])
    if args.photos:
        result["photos"] = {
            name: evaluation.evaluate_photos(predictor, args.photos, args.stride, progress=True)
            for name, predictor in predictors.items()
        }
        _print_table("photos, one click", result["photos"])
    if args.clicks:
        result["clicks"] = _with_corrections(sam, predictors, args)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.card:
        write_card(result)
        print(f"wrote {CARD} and {CARD_PROSE}")
    return 0


def _with_corrections(sam: Sam, predictors: dict[str, Predictor], args: argparse.Namespace) -> dict[str, object]:
    """Scenes and photos → model → figures, printed as they come."""
    photos = read_photo_set(args.photos)[:: args.stride] if args.photos else []
    sets = (
        (args.scenes, "held-out generated scenes", lambda: scene_examples(sam.image_size, args.scenes, args.targets)),
        (len(photos), "photos", lambda: photo_examples(photos, targets=args.targets)),
    )
    result: dict[str, dict[str, object]] = {}
    for length, kind, make in sets:
        if not length:
            continue
        title = f"{length} {kind}"
        print(f"\n{title}, at most {args.targets} targets each; means over targets, 95 % intervals over images")
        result[title] = {}
        for name, predictor in predictors.items():
            bar = tqdm(make(), total=length, desc=name, unit="image", leave=False)
            examples = (example for example in bar)  # what checks types would take the first one out of a bare tqdm
            found = report.evaluate(predictor, examples, cap=args.clicks).summary()
            if isinstance(predictor, Baseline):
                del found[report.CALIBRATION]  # its scores choose a mask and predict nothing
            result[title][name] = found
            print("\n".join(summary_lines(name, found)))
    return result


def timings(sam: Sam, repeats: int = 11) -> dict[str, float]:
    """Median milliseconds of one encode and of one click with three masks at 480×640."""
    image = torch.randn(1, 3, sam.image_size, sam.image_size, device=sam.device)
    point = torch.full((1, 1, 2), sam.image_size / 2, device=sam.device)
    label = torch.ones(1, 1, dtype=torch.long, device=sam.device)
    encode, click = [], []
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            embedding = sam.encode_image(image)
            wait_for(sam.device)
            middle = time.perf_counter()
            logits, _ = sam.decode_masks(embedding, point, label)
            sam.resize_masks(logits, (sam.image_size * 3 // 4, sam.image_size), (480, 640))
            wait_for(sam.device)
            encode.append(middle - start)
            click.append(time.perf_counter() - middle)
    middle = repeats // 2
    return {
        "encode ms": round(sorted(encode)[middle] * 1e3, 1),
        "click ms": round(sorted(click)[middle] * 1e3, 1),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 0,
    }


def _print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}")
    for name, row in rows.items():
        print(f"  {name:32s} " + "  ".join(f"{key} {value}" for key, value in row.items()))
