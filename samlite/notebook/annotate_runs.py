"""What chapter 16 reads: `annotate` measured, each by one command that writes one file of ``book/results/``.

    python -m samlite.notebook.annotate_runs memory     # 10, 100 and 1,000 photos: what the worker held at most
    python -m samlite.notebook.annotate_runs workers    # 1, 2 and 4 workers: photos a second

Every count runs in processes of its own. A speed-up that was measured where other programs wanted the cores says
nothing about the machine: on a busy one ``workers`` refuses to begin. The load stands beside each figure; once the
first workers have run, it is theirs.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from samlite.annotate import annotate_folder
from samlite.executors import local_executor, usable_cores
from samlite.notebook import run_times

RESULTS = Path(__file__).parents[2] / "book" / "results"
SIDE = 96  # pixels of the photos' longer side: the cost is that of the model's input frame, whatever the photo's size
FEW_POINTS = {"points_per_side": 2}  # the memory of 1,000 photos is asked, not their masks
MORE_POINTS = {"points_per_side": 8}


def write_photos(folder: Path, count: int, side: int = SIDE, seed: int = 0) -> None:
    """``count`` generated scenes as PNG, 4:3; fifty are different, and then they begin again."""
    import torch
    from PIL import Image

    from samlite.learning.scenes import SceneGenerator

    folder.mkdir(parents=True, exist_ok=True)
    different = min(count, 50)
    images = SceneGenerator(side)(different, torch.Generator().manual_seed(seed)).images  # (B, 3, side, side)
    images = images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for number in range(count):
        photo = images[number % different]
        Image.fromarray(photo[: side * 3 // 4]).save(folder / f"{number:05d}.png")


def refuse_a_busy_machine(load: float | None, cores: int) -> None:
    """Raises ValueError when more programs want a core than there are; without a load (Windows) nothing is known."""
    if load is not None and load > cores:
        raise ValueError(
            f"{load:g} programs want one of {cores} cores, so no speed-up can be measured here: end them, wait a "
            "minute until `uptime` shows it, and begin again"
        )


def measure_memory(counts: Sequence[int]) -> dict[str, Any]:
    """The most that the one worker held, for folders of growing size; and the process that hands out the work."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder) / "photos", count)
            summary = annotate_folder(Path(folder) / "photos", Path(folder) / "out", workers=1, **FEW_POINTS)
        rows.append(
            {
                "photos": count,
                "masks": summary.masks,
                "worker_megabytes": summary.peak_megabytes,
                "seconds": round(summary.seconds, 1),
            }
        )
        tqdm.write(str(rows[-1]))
    return {"side": SIDE, "generator": FEW_POINTS, "rows": rows}


def measure_workers(workers: Sequence[int], photos: int, rounds: int) -> dict[str, Any]:
    """Photos a second for each number of workers, in interleaved rounds; what it takes to start stands apart."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "photos", photos)
        for number in range(rounds):
            for count in workers:
                write_photos(Path(folder) / f"warm-{count}", 2 * count)
                out, settings = Path(folder) / f"{number}-{count}", {"photos_per_shard": 1, **MORE_POINTS}
                started = time.perf_counter()
                with local_executor(count) as executor:
                    warm = annotate_folder(Path(folder) / f"warm-{count}", out / "warm", executor=executor, **settings)
                    start = time.perf_counter() - started
                    summary = annotate_folder(Path(folder) / "photos", out / "all", executor=executor, **settings)
                rows.append(
                    {
                        "workers": count,
                        "photos": summary.photos,
                        "seconds": round(summary.seconds, 2),
                        "seconds_to_start": round(start, 2),
                        "photos_at_the_start": warm.photos,
                        "load": run_times.load(),
                    }
                )
                tqdm.write(str(rows[-1]))
    return {"side": SIDE, "generator": MORE_POINTS, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m samlite.notebook.annotate_runs", description=__doc__.split("\n")[0]
    )
    parser.add_argument("what", choices=("memory", "workers"))
    parser.add_argument("--counts", type=int, nargs="+", help="how many photos (10 100 1000), or workers (1 2 4)")
    parser.add_argument(
        "--photos", type=int, default=24, help="with workers: photos of each run (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=2, help="with workers: how often (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="the file (default: book/results/annotate_WHAT.json)")
    args = parser.parse_args(arguments)
    load = run_times.load()
    if args.what == "memory":
        measured = measure_memory(args.counts or (10, 100, 1000))
    else:
        try:
            refuse_a_busy_machine(load, usable_cores())
        except ValueError as error:
            parser.error(str(error))
        measured = measure_workers(args.counts or (1, 2, 4), args.photos, args.rounds)
    words = sys.argv[1:] if arguments is None else arguments
    about = {
        "command": " ".join(["python -m samlite.notebook.annotate_runs", *words]),
        "date": time.strftime("%Y-%m-%d"),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": load,
        "load_after": run_times.load(),
    }
    output = args.output or RESULTS / f"annotate_{args.what}.json"
    output.write_text(json.dumps(about | measured, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
