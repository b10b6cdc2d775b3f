"""``python -m samlite bench``: what every stage costs here, beside other packages; a table and a JSON file.

The file can be filled by several calls: what a call measures takes the place of what was there under the same stage and
model, the rest stays, and every figure says on what machine, when and with which versions it was taken.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from samlite.annotate import weights_file
from samlite.command_line import positive
from samlite.files import whole_file
from samlite.learning.benchmark import SMALL, STAGES, Plan
from samlite.learning.benchmark import run as stages
from samlite.learning.cost_curves import curves, sentence, trends
from samlite.learning.measure import machine
from samlite.learning.peers import BESIDE
from samlite.learning.waterfall import waterfall
from samlite.released.official_files import CHECKPOINTS

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results" / "benchmark.json"
Result = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=sorted(CHECKPOINTS), default="vit_b", help="the released model (vit_b)")
    parser.add_argument("--size", type=int, default=1024, help="side of its input frame in pixels (1024)")
    parser.add_argument("--checkpoint", metavar="FILE_OR_NAME",
                        help="its weights (random; for automatic masks a stand-in)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; medians are taken (3)")
    parser.add_argument("--prompts", type=int, default=64, help="clicks that are decoded together (64)")
    parser.add_argument("--grid", type=int, default=16, help="points a side of automatic masks (16)")
    parser.add_argument("--threads", type=positive, default=None, help="of PyTorch; its own choice without")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="only these stages")
    parser.add_argument("--beside", nargs="*", choices=BESIDE, default=list(BESIDE), help="beside these, if installed")
    parser.add_argument("--small", action="store_true", help="models of a few thousand numbers: does everything run?")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures here")
    parser.add_argument("--book", action="store_true", help=f"write them where the book reads them ({RESULTS.name})")
    parser.add_argument("--add", action="store_true", help="to what these files hold of other stages")


def run(args: argparse.Namespace) -> int:
    """0. Raises ValueError for sizes that do not fit or results that differ, OSError when a file cannot be written."""
    if args.threads:
        torch.set_num_threads(args.threads)
    checkpoint = str(weights_file(args.model, args.checkpoint)) if args.checkpoint else None
    plan = Plan(
        args.model, args.size, checkpoint, args.rounds, args.prompts, args.grid, tuple(args.only), args.small,
        tuple(args.beside),
    )  # fmt: skip
    files = [args.json] * bool(args.json) + [RESULTS] * args.book
    results = {path: _before(path) if args.add else _empty() for path in files}
    here = machine()
    print(", ".join(f"{name} {value}" for name, value in here.items() if value is not None))
    print(f"{'stage':45s} {'model':18s} {'variant':22s} {'CPU s':>9s} {'s':>9s} {'MB':>8s}  ratio rounds difference")
    found = _empty()
    for row in stages(plan):
        found["rows"].append(row)
        print(line(row), flush=True)
        _save(results, found, here)  # what is measured is not lost when the rest is stopped
    if "waterfall" in plan.only:
        for step in waterfall(plan):
            found["waterfall"].append(step)
            print(f"{step['part']:12s} {step['step']:32s} {step['cpu_seconds']:9.4f} CPU s", flush=True)
            _save(results, found, here)
    if "curves" in plan.only:
        found["curves"] = curves(SMALL if plan.small else None, plan.rounds)
        _save(results, found, here)
        for against, trend in trends(found["curves"]).items():
            print(sentence(against, trend))
    for path in files:
        print(f"wrote {path}")
    return 0


def _empty() -> Result:
    return {"machines": [], "rows": [], "waterfall": [], "curves": {}}


def _before(path: Path) -> Result:
    return _empty() | json.loads(path.read_text(encoding="utf-8")) if path.is_file() else _empty()


def _save(results: dict[Path, Result], found: Result, here: dict[str, Any]) -> None:
    for path, before in results.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(merged(before, found, here), indent=1, ensure_ascii=False)
        with whole_file(path) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")


def merged(before: Result, found: Result, here: dict[str, Any]) -> Result:
    """What was there, with what was found in its place. ``machine`` of a row: its place in ``machines``."""
    machines = list(before["machines"])
    same = lambda one: {name: value for name, value in one.items() if name != "load"}  # noqa: E731
    if same(here) not in [same(one) for one in machines]:
        machines.append(here)
    index = [same(one) for one in machines].index(same(here))
    numbered = lambda rows: [row | {"machine": index} for row in rows]  # noqa: E731
    rows = _replaced(before["rows"], numbered(found["rows"]), ("stage", "model"))
    steps = _replaced(before["waterfall"], numbered(found["waterfall"]), ("part",))
    lines = before["curves"] | {against: numbered(points) for against, points in found["curves"].items()}
    lines = {against: [dict(point) for point in points] for against, points in lines.items()}  # ``before`` stays
    every = [*rows, *steps, *(point for points in lines.values() for point in points)]
    used = sorted({row["machine"] for row in every})
    for row in every:
        row["machine"] = used.index(row["machine"])
    return {"machines": [machines[number] for number in used], "rows": rows, "waterfall": steps, "curves": lines}


def _replaced(before: list[dict], found: list[dict], names: tuple[str, ...]) -> list[dict]:
    """Whole groups take the place of groups of the same names, new ones come last."""
    groups: dict[tuple, list[dict]] = {}
    for rows in (before, found):
        fresh: dict[tuple, list[dict]] = {}
        for row in rows:
            fresh.setdefault(tuple(row[name] for name in names), []).append(dict(row))
        groups |= fresh
    return [row for group in groups.values() for row in group]


def line(row: dict) -> str:
    """One row of the printed table."""
    megabytes = "–" if row["megabytes"] is None else f"{row['megabytes']:.0f}"
    difference = "–" if row["difference"] is None else f"{row['difference']:.0e}"
    return (
        f"{row['stage']:45s} {row['model']:18s} {row['variant']:22s} {row['cpu_seconds']:9.4f} {row['seconds']:9.4f} "
        f"{megabytes:>8s} {row['ratio']:6.2f} {row['rounds']:6d} {difference:>10s}"
    )
