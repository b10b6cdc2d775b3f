"""``python -m samlite annotate FOLDER -o OUT``: automatic masks for every photo of a folder, on one machine or many."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from samlite.annotate import MINIMUM_SIDE, PHOTOS_PER_SHARD, annotate_folder, generator_arguments
from samlite.automatic_command import NUMBERS
from samlite.command_line import positive
from samlite.executors import dask_executor, ray_executor, usable_cores
from samlite.segment_command import CHECKPOINT_HELP
from samlite.shards import ShardError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command; those of the mask generator have their own names, with hyphens."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the photos, subfolders included")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="folder of the shards")
    parser.add_argument("--model", default="default", metavar="NAME", help="which model (default: %(default)s)")
    parser.add_argument("--checkpoint", metavar="FILE_OR_NAME", help=CHECKPOINT_HELP)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (default: %(default)s)")
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="processes, each with its own model (one for each core)"
    )
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="threads of a worker (default: %(default)s)"
    )
    parser.add_argument(
        "--photos-per-shard", type=positive, default=PHOTOS_PER_SHARD, metavar="N",
        help="what a kill can cost each worker at most (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--minimum-side", type=positive, default=MINIMUM_SIDE, metavar="PIXELS",
        help="smaller photos are skipped (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--dask", nargs="?", const="", metavar="ADDRESS", help="use Dask: the scheduler at ADDRESS, or one started here"
    )
    parser.add_argument(
        "--ray", nargs="?", const="", metavar="ADDRESS", help="use Ray: the cluster at ADDRESS, or one started here"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    masks = parser.add_argument_group("which masks", "Arguments of SamAutomaticMaskGenerator.")
    for name, default in generator_arguments().items():
        kind, text = NUMBERS[name]
        masks.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, metavar="NUMBER", help=text)


def run(args: argparse.Namespace) -> int:
    """Annotate, and say what was done: 0. Raises ValueError or OSError for what the user can mend."""
    workers = args.workers or (max(1, usable_cores() // args.threads) if args.device == "cpu" else 1)
    try:
        with _executor(args, workers) as executor:
            summary = annotate_folder(
                args.folder, args.out, model=args.model, checkpoint=args.checkpoint, device=args.device,
                threads=args.threads, workers=workers, executor=executor, photos_per_shard=args.photos_per_shard,
                minimum_side=args.minimum_side, progress=not args.quiet and sys.stderr.isatty(),
                **{name: getattr(args, name) for name in generator_arguments()},
            )  # fmt: skip
    except ShardError as error:
        raise ValueError(f"{error}. What is finished stays: the same command goes on from there") from error
    print(f"{summary}\nin {args.out}")
    return 0


def _executor(args: argparse.Namespace, workers: int) -> AbstractContextManager:
    if args.dask is not None and args.ray is not None:
        raise ValueError("--dask and --ray: choose one of them")
    if args.dask is not None:
        return dask_executor(args.dask or None, workers, args.threads)
    if args.ray is not None:
        return ray_executor(args.ray or None, workers, args.threads, gpus=0 if args.device == "cpu" else 1)
    return nullcontext()  # processes of this machine
