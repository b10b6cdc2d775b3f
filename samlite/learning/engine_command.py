"""``python -m samlite engine``: the data engine over several seeds, and what it measured as one JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from samlite.command_line import positive
from samlite.learning.annotator import Prices
from samlite.learning.data_engine import EngineRecipe
from samlite.learning.engine_report import lines
from samlite.learning.engine_run import PHASES, Engine, begin, run_seed
from samlite.learning.weights import save_weights

RESULTS = Path(__file__).parents[2] / "book" / "results" / "data_engine.json"
SHIPPED = ("stage_1", "stage_2")  # what chapter 04 looks at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=positive, default=3, help="how many seeds, from 0 (3)")
    parser.add_argument("--seed", type=int, default=None, help="this seed alone, for runs side by side; writes no JSON")
    parser.add_argument("--run", type=Path, default=Path("runs/engine"), help="folder of the run; goes on where it was")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here")
    parser.add_argument("--weights", type=Path, default=None, help="folder for the models of stages 1 and 2 of seed 0")
    parser.add_argument("--steps", type=positive, default=None, help="of training in a later stage and in each control")
    parser.add_argument("--first-steps", type=positive, default=None, help="of training in stage 1")
    parser.add_argument("--threads", type=positive, default=1, help="CPU threads")


def command(args: argparse.Namespace) -> str:
    """The command line that was given, with every option that counts."""
    words = ["python", "-m", "samlite", "engine"]
    for name in ("seeds" if args.seed is None else "seed", "run", "json", "weights", "steps", "first_steps", "threads"):
        value = getattr(args, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value.as_posix() if isinstance(value, Path) else str(value)]
    return shlex.join(words)


def run(args: argparse.Namespace) -> int:
    """Run every seed that is not finished yet; print a table, optionally write the figures."""
    torch.set_num_threads(args.threads)
    changes = {"steps": args.steps, "first_steps": args.first_steps}
    recipe = replace(EngineRecipe(), **{name: value for name, value in changes.items() if value is not None})
    results = []
    for seed in range(args.seeds) if args.seed is None else [args.seed]:
        bar = tqdm(
            total=len(PHASES),
            desc=f"seed {seed}",
            mininterval=1.0,
            bar_format="{l_bar}{bar}| {postfix}",
        )
        with bar:
            finished: dict[str, float] = {}

            def told(phase: str, share: float, bar: tqdm = bar, finished: dict[str, float] = finished) -> None:
                finished[phase] = share
                bar.n = sum(finished.values())
                bar.set_postfix_str(phase, refresh=False)
                bar.update(0)

            results.append(run_seed(replace(recipe, seed=seed), args.run / f"seed-{seed}", told))
    whole = {
        "command": command(args),
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "recipe": asdict(replace(recipe, seed=0)),
        "prices": asdict(Prices()),
        "seeds": results,
    }
    print("\n".join(lines(whole)))
    if args.weights:
        engine = Engine(recipe, begin(recipe, args.run / "seed-0"))
        for name in SHIPPED:
            made = {"command": whole["command"], "seed": 0, "phase": name, "torch": torch.__version__}
            save_weights(engine.train(name), recipe.model, args.weights / f"data_engine_{name}.safetensors", made)
    if args.json and args.seed is None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(whole, indent=1) + "\n")
        print(f"wrote {args.json}")
    return 0
