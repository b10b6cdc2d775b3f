"""``python -m samlite parity``: the released model's numbers against other people's, stage by stage, as a table."""

import argparse
import json
import platform
import time
from itertools import chain
from pathlib import Path

import torch

from samlite.doctor import installed_version
from samlite.environment import pip_install
from samlite.registry import check_device
from samlite.released.live_official import live_official
from samlite.released.official_package import is_installed
from samlite.released.parity import Rung, ladder

RESULTS = Path(__file__).resolve().parent.parent / "book" / "results" / "parity.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="also vit_b at 1024×1024: minutes, 3 GB of memory")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the table here, too")
    parser.add_argument("--book", action="store_true", help=f"write it where chapter 13 reads it ({RESULTS.name})")


def run(args: argparse.Namespace) -> int:
    """0 when every rung holds, 1 when one does not. Raises OSError without the golden files."""
    check_device(args.device)
    rungs = []
    print(f"{'reference':20s} {'model':12s} {'stage':32s} {'largest':>9s} {'mean':>9s}  allowed")
    live = live_official(device=args.device) if is_installed() else ()
    for rung in chain(ladder(args.full, args.device), live):
        rungs.append(rung)
        print(line(rung), flush=True)
    for path in [args.json] * bool(args.json) + [RESULTS] * args.book:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(as_table(rungs, args.device), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"wrote {path}")
    if not installed_version("transformers"):
        print(f"transformers is not installed: nothing was compared with it ({pip_install('transformers')})")
    if not is_installed():
        install = pip_install("segment-anything torchvision")
        print(f"segment-anything is not installed: nothing ran beside it ({install})")
    broken = [rung for rung in rungs if not rung.holds]
    if broken:
        print(f"{len(broken)} of {len(rungs)} rungs broke; the first is {broken[0].model}: {broken[0].stage}")
        return 1
    print(f"all {len(rungs)} rungs hold")
    return 0


def line(rung: Rung) -> str:
    """One row of the printed table."""
    mark = "" if rung.holds else "   BROKEN"
    return (
        f"{rung.reference:20s} {rung.model:12s} {rung.stage:32s} {rung.largest:9.1e} {rung.mean:9.1e}  "
        f"{rung.tolerance:.0e} {rung.unit}{mark}"
    )


def as_table(rungs: list[Rung], device: str) -> dict[str, object]:
    """What the JSON holds: where and when it was measured, and every rung."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"{device} ({platform.machine()})",
        "dtype": "float32",
        "torch": torch.__version__,
        "transformers": installed_version("transformers"),
        "segment_anything": installed_version("segment_anything"),
        "rungs": [rung._asdict() | {"holds": rung.holds} for rung in rungs],
    }
