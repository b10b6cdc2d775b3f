"""``python -m samlite bench``: what every stage costs here, beside other packages; a table and a JSON file."""

import argparse
import json
from pathlib import Path

import torch

from samlite.learning.benchmark import STAGES, Plan, curves
from samlite.learning.benchmark import run as stages
from samlite.learning.measure import machine
from samlite.released.official_files import CHECKPOINTS

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results" / "benchmark.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=sorted(CHECKPOINTS), default="vit_b", help="the released model (vit_b)")
    parser.add_argument("--size", type=int, default=1024, help="side of its input frame in pixels (1024)")
    parser.add_argument("--checkpoint", metavar="FILE", help="its weights (random); automatic masks need them")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; medians are taken (3)")
    parser.add_argument("--prompts", type=int, default=64, help="clicks that are decoded together (64)")
    parser.add_argument("--grid", type=int, default=16, help="points a side of automatic masks (16)")
    parser.add_argument("--threads", type=int, default=None, help="of PyTorch; its own choice without")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="only these stages")
    parser.add_argument("--small", action="store_true", help="models of a few thousand numbers: does everything run?")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures here")
    parser.add_argument("--book", action="store_true", help=f"write them where the book reads them ({RESULTS.name})")


def run(args: argparse.Namespace) -> int:
    """0. Raises ValueError for sizes that do not fit, OSError when a file cannot be written."""
    if args.threads:
        torch.set_num_threads(args.threads)
    plan = Plan(
        args.model, args.size, args.checkpoint, args.rounds, args.prompts, args.grid, tuple(args.only), args.small
    )  # fmt: skip
    files = [args.json] * bool(args.json) + [RESULTS] * args.book
    result = {"machine": machine(), "rows": [], "curves": {}}
    print(", ".join(f"{name} {value}" for name, value in result["machine"].items() if value is not None))
    print(f"{'stage':38s} {'model':18s} {'variant':22s} {'CPU s':>9s} {'s':>9s} {'MB':>8s} {'ratio':>6s} rounds")
    for row in stages(plan):
        result["rows"].append(row)
        print(line(row), flush=True)
        save(result, files)  # what is measured is not lost when the rest is stopped
    result["curves"] = curves(plan)
    save(result, files)
    for against, points in result["curves"].items():
        shown = ", ".join(f"{point['count']}: {point['cpu_seconds']:.3g}" for point in points)
        print(f"CPU seconds against {against}: {shown}")
    for path in files:
        print(f"wrote {path}")
    return 0


def save(result: dict, files: list[Path]) -> None:
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def line(row: dict) -> str:
    """One row of the printed table."""
    megabytes = "–" if row["megabytes"] is None else f"{row['megabytes']:.0f}"
    return (
        f"{row['stage']:38s} {row['model']:18s} {row['variant']:22s} {row['cpu_seconds']:9.4f} {row['seconds']:9.4f} "
        f"{megabytes:>8s} {row['ratio']:6.2f} {row['rounds']:6d}"
    )
