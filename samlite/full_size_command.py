"""``python -m samlite vit-h``: the full ViT-H on this machine, both architectures; a table and a JSON file."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch

from samlite.learning.full_size import DTYPES, WAYS, Plan, where
from samlite.learning.full_size_rows import rows

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results"
HEAD = ("what", "architecture", "dtype", "way", "how", "block")
ON_A_CPU = ("eager", "sdpa", "concatenated")  # the ways without a compiler, unless others are asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command; without any it runs on the GPU where there is one."""
    parser.add_argument("--device", default=None, help="cuda or cpu (cuda where there is one)")
    parser.add_argument("--small", action="store_true", help="models of a few thousand numbers: does everything run?")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8], help="images at once (1 2 4 8)")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=None, help="how attention and layers are run (all)")
    parser.add_argument("--rounds", type=int, default=5, help="medians over so many calls (5)")
    parser.add_argument("--minutes", type=float, default=8, help="begin nothing new after so many (8)")
    parser.add_argument("--points", type=int, default=32, help="points a side of automatic masks (32)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures here")
    parser.add_argument("--book", action="store_true", help="write them where chapter 14 reads them")


def run(args: argparse.Namespace) -> int:
    """0. Raises ValueError for a device that is not there, and OSError when the file cannot be written."""
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no GPU: --device cpu, with --small, tries everything")
    if min(args.batches) < 1 or args.rounds < 1 or args.points < 1:
        raise ValueError("--batches, --rounds and --points are whole numbers, at least 1")
    ways = args.ways or (ON_A_CPU if device == "cpu" else WAYS)
    plan = Plan(
        device, args.small, tuple(sorted(args.batches)), tuple(args.dtypes), tuple(ways), args.rounds, args.minutes,
        args.points,
    )  # fmt: skip
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    name = f"vit_h_{re.sub(r'[^a-z0-9]+', '_', card.lower())}{'_small' if args.small else ''}.json"
    files = [args.json] * bool(args.json) + [RESULTS / name] * args.book
    result = {"machine": where(device), "small": args.small, "rows": []}
    print(", ".join(f"{key} {value}" for key, value in result["machine"].items() if value is not None))
    for row in rows(plan):
        print(line(row), flush=True)
        result["rows"].append(row)
        for path in files:  # what is measured is not lost when the rest is stopped
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for path in files:
        print(f"wrote {path}")
    return 0


def line(row: dict[str, Any]) -> str:
    """One row as it is printed."""
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else str(value) if key in HEAD else f"{key} {value}"
        for key, value in row.items()
    )
