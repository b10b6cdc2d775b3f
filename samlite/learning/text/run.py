"""``python -m samlite train text``: the text–image model, a SAM for each source of its prompts, and all figures.

Everything follows from the seed. The better source ships. It is chosen on scenes of its own, by pairs that training has
shown: the figures of scenes that a model was chosen by would flatter it.
"""

import hashlib
import json
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from samlite.files import whole_file
from samlite.learning.text.contrastive import TextImageModel, recognition, train_text_image_model
from samlite.learning.text.files import TEXT_MODEL_WEIGHTS, load_text_model, save_text_model
from samlite.learning.text.measure import PAIRS_OF, held_out_scenes, measure, pick_by_text
from samlite.learning.text.prompting import SOURCES, TextRecipe, TextTrainer
from samlite.learning.text.vocabulary import HELD_OUT, SEEN, describe
from samlite.learning.weights import read_training, save_weights
from samlite.registry import TEXT_WEIGHTS, load_document_sam

CONTRASTIVE_STEPS = 600
RESULTS = Path(__file__).parents[3] / "book" / "results" / "text_prompts.json"
CHOICE_SEED = 40_000_003  # of the scenes that the source is chosen by; no training and no figure uses them
CHOICE_PAIRS = "pairs seen in training"  # the other ones stay new until the figures


def train_text(
    run: Path,
    seed: int = 0,
    sources: tuple[str, ...] = SOURCES,
    contrastive_steps: int = CONTRASTIVE_STEPS,
    recipe: TextRecipe | None = None,
    scenes: int = 200,
    ship: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = True,
) -> dict[str, object]:
    """Train, measure, and write weights and figures into the folder ``run``; with ``ship`` into the package as well.

    Returns the figures: those of the text–image model, and for each source those of its SAM with all controls.
    """
    run.mkdir(parents=True, exist_ok=True)
    recipe = recipe or TextRecipe(seed=seed)
    started = time.process_time()
    torch.manual_seed(seed)
    text_model = TextImageModel()
    with _bar(contrastive_steps, "text-image model", progress) as bar:
        train_text_image_model(text_model, contrastive_steps, seed, watch=lambda step, loss: bar.update())
    training = {"steps": contrastive_steps, "seed": seed, "cpu seconds": round(time.process_time() - started, 1)}
    save_text_model(text_model, run / TEXT_MODEL_WEIGHTS.name, training)
    for source in sources:
        trainer = TextTrainer(TextRecipe(**{**asdict(recipe), "source": source, "seed": seed}), text_model)
        with _bar(recipe.steps, f"SAM, prompts from {source}", progress) as bar:
            sam = trainer.train(lambda step, figures: bar.update())
        sizes = {**trainer.recipe.model, "text_width": text_model.width}
        training = {"recipe": asdict(trainer.recipe), "cpu seconds": round(trainer.seconds, 1)}
        save_weights(sam, sizes, run / weights_name(source), training)
    return finish(run, seed, sources, scenes, ship, say)


def finish(
    run: Path,
    seed: int,
    sources: tuple[str, ...] = SOURCES,
    scenes: int = 200,
    ship: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, object]:
    """Choose among the weights that lie in ``run``, as they were written (float16), and measure all of them."""
    text_model = load_text_model(run / TEXT_MODEL_WEIGHTS.name)
    figures: dict[str, object] = {
        "command": command(run, seed, read_training(run / weights_name(sources[0]))["recipe"], ship),
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "seed": seed,
        "pairs never seen": [describe(pair) for pair in HELD_OUT],
        "text-image model": {
            "training": read_training(run / TEXT_MODEL_WEIGHTS.name),
            "right of 48 phrases, pairs seen": round(recognition(text_model, SEEN, 10), 4),
            "right of 48 phrases, pairs never seen": round(recognition(text_model, HELD_OUT, 50), 4),
        },
        "sources": {},
    }
    to_choose = held_out_scenes(PAIRS_OF[CHOICE_PAIRS], scenes, 128, seed=CHOICE_SEED)
    shares: dict[str, float | int] = {}
    for source in sources:
        sam = load_document_sam(run / weights_name(source))
        shares[source] = pick_by_text(sam, text_model, to_choose).figures()["right object"]
        table = measure(sam, text_model, masks_from=sam, count=scenes)
        figures["sources"][source] = {"training": read_training(run / weights_name(source)), "figures": table}
        say(f"\nprompts from {source}")
        for pairs, rows in table.items():
            for name, row in rows.items():
                say(f"  {pairs:24s} {name:26s} " + "  ".join(f"{key} {value}" for key, value in row.items()))
    figures["choice"] = {"pairs": CHOICE_PAIRS, "seed": CHOICE_SEED, "scenes": scenes, "right object": shares}
    figures["shipped"] = max(sources, key=lambda source: shares[source])
    say(f"\nthe better of them, on {scenes} other scenes: prompts from {figures['shipped']}")
    if ship:
        for name, target in ((TEXT_MODEL_WEIGHTS.name, TEXT_MODEL_WEIGHTS), (None, TEXT_WEIGHTS)):
            content = (run / (name or weights_name(figures["shipped"]))).read_bytes()
            with whole_file(target) as unfinished:
                unfinished.write_bytes(content)
            figures.setdefault("weights", {})[target.name] = {
                "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
            }  # fmt: skip
            say(f"shipped as {target}")
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    (run / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def command(run: Path, seed: int, recipe: dict[str, object], ship: bool) -> str:
    """The command line that makes such a run, with this process's threads.

    ``--steps`` is there when the recipe is not the whole one; what else Python code changed in it stands with the
    training of each source.
    """
    whole = asdict(TextRecipe(source=recipe["source"], seed=seed))
    words = ["python", "-m", "samlite", "train", "text", "--run", run.as_posix(), "--seed", str(seed)]
    words += ["--threads", str(torch.get_num_threads())]
    words += ["--steps", str(recipe["steps"])] if recipe != whole else []
    return shlex.join([*words, *(["--ship"] if ship else [])])


def weights_name(source: str) -> str:
    return f"tiny_text_{source}.safetensors"


def _bar(steps: int, what: str, progress: bool):
    from tqdm import tqdm

    return tqdm(total=steps, desc=what, unit="step", mininterval=2, disable=not progress)
