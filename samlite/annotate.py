"""Automatic masks for a folder of photos, however many: the last stage of the data engine (document §1.4), on one
machine or on a cluster.

Photos → shards of JSON lines, one line a photo::

    {"item": "a/cat.jpg", "image": {"file_name": …, "width": …, "height": …}, "annotations": [{…}, …]}
    {"item": "a/torn.jpg", "error": "image 'a/torn.jpg' could not be decoded, …"}

``annotations`` are the records of ``SamAutomaticMaskGenerator`` with its keys, masks as COCO run lengths; a stability
score that is no number is null.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samlite import __version__
from samlite.executors import local_executor, usable_cores
from samlite.shards import BadItem, ShardError, ShardFolder, Work

PHOTOS_PER_SHARD = 32
MINIMUM_SIDE = 16  # pixels; what is smaller holds nothing to cut out
IN_FLIGHT = 256  # shards that are handed out at once: enough for as many workers, little enough to hold in memory
DEAD_WORKER = {"KilledWorker", "WorkerCrashedError", "OutOfMemoryError"}  # Dask's and Ray's, which need not be here
NAMED_SKIPPED = 20  # so many bad photos are named in the summary; the shards name all

# Arguments of the mask generator that are not the user's: the model, and what must be so for JSON to hold the masks.
OWN_ARGUMENTS = {"model", "point_grids", "output_mode", "progress"}
NOT_IN_THE_RESULT = {"points_per_batch"}  # how many clicks at once: on a smaller machine the same run goes on


@dataclass(frozen=True)
class PhotoMasks:
    """The work: a model's name, its weights, and the arguments of the mask generator. A worker builds the rest.

    ``checkpoint`` is a file, or a name as ``sam_model_registry`` takes it; None is for models that ship with weights.
    ``generator``: pairs of name and value, every argument of the generator. ``device``, ``threads`` and the clicks
    decoded at once do not decide what the masks are, up to rounding.
    """

    folder: Path
    model: str
    checkpoint: Path | None
    weights_sha256: str
    generator: tuple[tuple[str, Any], ...]
    minimum_side: int = MINIMUM_SIDE
    device: str = "cpu"
    threads: int = 1

    @property
    def identity(self) -> dict[str, Any]:
        """What the manifest compares: another folder of the same photos on another machine is the same work."""
        return {
            "samlite": __version__,
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "generator": {name: value for name, value in self.generator if name not in NOT_IN_THE_RESULT},
            "minimum_side": self.minimum_side,
        }

    def build(self) -> Callable[[str], dict[str, Any]]:
        """The function from a photo's name to its masks. Raises RuntimeError when this worker has other weights."""
        import torch

        from samlite import SamAutomaticMaskGenerator, sam_model_registry
        from samlite.coco import number_or_null
        from samlite.fast import use_fast_paths
        from samlite.images import read_photo
        from samlite.released.official_files import sha256

        path = weights_file(self.model, self.checkpoint)
        if (found := sha256(path)) != self.weights_sha256:
            raise RuntimeError(
                f"this worker's weights {path} have SHA-256 {found[:12]}…, the run was begun with "
                f"{self.weights_sha256[:12]}…: install the same samlite and copy the same file to every machine"
            )
        torch.set_num_threads(self.threads)
        sam = use_fast_paths(sam_model_registry[self.model](checkpoint=self.checkpoint, device=self.device))
        generator = SamAutomaticMaskGenerator(sam, output_mode="coco_rle", **dict(self.generator))

        def masks_of(name: str) -> dict[str, Any]:
            path = self.folder / name
            try:
                photo = read_photo(path)
            except OSError:  # a share that is gone, no permission: not the photo's fault, and shards stay for good
                raise
            except (ValueError, TypeError) as error:  # shards must not depend on where the folder is
                raise BadItem(str(error).replace(repr(str(path)), repr(name))) from error
            height, width = photo.shape[:2]
            if min(height, width) < self.minimum_side:
                raise BadItem(f"{width}×{height} pixels: the smaller side must have {self.minimum_side} at least")
            image = {"file_name": name, "width": width, "height": height}
            try:
                records = generator.generate(photo)
            except ValueError as error:  # the arguments were checked before, so it is the photo
                raise BadItem(str(error)) from error
            for record in records:
                record["stability_score"] = number_or_null(record["stability_score"])
            return {"image": image, "annotations": records}

        return masks_of


@dataclass
class Summary:
    """What a run has done. ``before`` counts the shards that were there when it began."""

    shards: int
    before: int
    photos: int = 0
    masks: int = 0
    skipped: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)  # the first bad photos, and what is wrong with them
    seconds: float = 0.0
    peak_megabytes: float | None = None  # of the worker that has held most

    def __str__(self) -> str:
        made = self.shards - self.before
        lines = [
            f"{self.photos:,} photos, {self.masks:,} masks, {made:,} of {self.shards:,} shards in {self.seconds:.1f} s"
            + (f"; {self.before:,} shards were there already" if self.before else "")
        ]
        if self.peak_megabytes is not None:
            lines.append(f"a worker held {self.peak_megabytes:.0f} MB at most")
        if self.skipped:
            lines.append(f"{self.skipped:,} photos were skipped, their shards say why:")
            lines += [f"  {name}: {reason}" for name, reason in self.named]
            lines += [f"  and {self.skipped - len(self.named):,} more"] * (self.skipped > len(self.named))
        return "\n".join(lines)


def annotate_folder(
    folder: str | Path,
    out: str | Path,
    *,
    model: str = "default",
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    threads: int = 1,
    workers: int | None = None,
    executor: Executor | None = None,
    photos_per_shard: int = PHOTOS_PER_SHARD,
    minimum_side: int = MINIMUM_SIDE,
    progress: bool = False,
    **generator: Any,
) -> Summary:
    """Masks for every photo in ``folder`` and its subfolders, written to ``out``; goes on where an earlier run ended.

    ``workers`` processes of this machine with one model each (None: one for every ``threads`` cores), or any
    ``executor``. ``generator``: arguments of ``SamAutomaticMaskGenerator``. A photo that cannot be read, is smaller
    than ``minimum_side`` pixels or is otherwise refused is reported in its shard and skipped. ``progress`` shows a bar.
    In a script, call it under ``if __name__ == "__main__":``, for new processes import the script.

    Raises ValueError when there are no photos, an argument is unknown or wrong, or ``out`` was begun with other photos,
    weights or arguments; ShardError when a photo fails for a reason that is not its own (memory that runs out, a disk
    that is gone).
    All finished shards stay.
    """
    folder = Path(folder)
    names = list_photos(folder)
    work = photo_masks(folder, model, checkpoint, device, threads, minimum_side, generator)
    shards = ShardFolder.begin(Path(out), work, names, photos_per_shard)
    if executor is not None:
        return run(shards, names, work, executor, progress)
    cores = max(1, usable_cores() // threads) if device == "cpu" else 1
    todo = max(1, shards.count - len(shards.finished()))
    with local_executor(min(workers or cores, todo), threads) as local:
        return run(shards, names, work, local, progress)


def run(shards: ShardFolder, items: Sequence[str], work: Work, executor: Executor, progress: bool = False) -> Summary:
    """Make all shards that are not there yet. Raises ShardError; shards that are finished by then stay."""
    finished = {number for number in shards.finished() if number < shards.count}
    summary = Summary(shards.count, len(finished))
    before = sum(len(shards.items_of(number, items)) for number in finished)
    started, waiting = time.perf_counter(), set()
    todo = iter(sorted(set(range(shards.count)) - finished))
    with _bar(len(items), before, progress) as bar:
        try:
            while True:
                while len(waiting) < IN_FLIGHT and (number := next(todo, None)) is not None:
                    waiting.add(executor.submit(shards.make, number, shards.items_of(number, items), work))
                if not waiting:
                    break
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    report = future.result()
                    summary.photos += report.items - len(report.skipped)
                    summary.skipped += len(report.skipped)
                    summary.named += report.skipped[: NAMED_SKIPPED - len(summary.named)]
                    summary.masks += report.counts.get("annotations", 0)
                    summary.peak_megabytes = max(summary.peak_megabytes or 0, report.peak_megabytes or 0) or None
                    bar.update(report.items)
        except Exception as error:
            one, several = isinstance(error, BrokenExecutor), type(error).__name__ in DEAD_WORKER
            if one or several:
                who = "a worker process" if one else "worker processes"
                raise ShardError(f"{who} died, most often because memory ran out: try fewer workers") from error
            if isinstance(cause := getattr(error, "cause", None), ShardError | ValueError | OSError):
                raise cause from None  # Ray's wrapper of it has a whole traceback for its message
            raise
        finally:
            for future in waiting:
                future.cancel()
    shards.clean()
    summary.seconds = time.perf_counter() - started
    return summary


def read_annotations(out: str | Path) -> Iterator[dict[str, Any]]:
    """The lines of a finished run, one for each photo in order; see the head of this module for what they hold.

    Raises ValueError when a shard is missing, damaged, or does not belong to the manifest.
    """
    return ShardFolder.open(Path(out)).results()


def list_photos(folder: Path) -> list[str]:
    """The files of ``folder`` and its subfolders that are photos by name: relative, with ``/``, in a fixed order.

    Hidden files and folders are left out. Raises ValueError when there is no such folder, or no photo in it; OSError
    when a subfolder cannot be read.
    """
    from samlite.images import PHOTO_ENDINGS

    if not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is no folder: name the folder that holds the photos")
    names = []
    for path, folders, files in os.walk(folder, onerror=_fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(path).relative_to(folder)
        photos = (name for name in files if Path(name).suffix.lower() in PHOTO_ENDINGS and not name.startswith("."))
        names += [(here / name).as_posix() for name in photos]
    if not names:
        endings = ", ".join(sorted(PHOTO_ENDINGS))
        raise ValueError(f"{str(folder)!r} holds no photos: looked for names that end in {endings}")
    return sorted(names)


def _fail(error: OSError) -> None:
    """Else `os.walk` goes on, and the photos of that folder are missing without a word."""
    raise error


def photo_masks(
    folder: Path, model: str, checkpoint: str | Path | None, device: str, threads: int, minimum_side: int,
    generator: dict[str, Any],
) -> PhotoMasks:  # fmt: skip
    """The work as named by the user, checked, with every argument of the generator filled in."""
    from samlite import SamAutomaticMaskGenerator, document_sam
    from samlite.released.official_files import sha256

    if threads < 1:
        raise ValueError(f"threads is {threads}: at least 1")
    arguments = generator_arguments()
    if unknown := sorted(set(generator) - set(arguments)):
        raise ValueError(f"the mask generator has no argument {', '.join(unknown)}; it has {', '.join(arguments)}")
    arguments |= generator
    toy = document_sam(image_size=64, width=16, depth=1, heads=1, channels=16, device="meta")
    SamAutomaticMaskGenerator(toy, output_mode="coco_rle", **arguments)  # refuses wrong values here, not in a worker
    path = weights_file(model, checkpoint)
    return PhotoMasks(
        folder=folder.resolve(), model=model, checkpoint=None if checkpoint is None else path.resolve(),
        weights_sha256=sha256(path), generator=tuple(arguments.items()), minimum_side=minimum_side,
        device=device, threads=threads,
    )  # fmt: skip


def generator_arguments() -> dict[str, Any]:
    """The arguments of the mask generator that are the user's to choose, with their defaults."""
    from samlite import SamAutomaticMaskGenerator

    parameters = inspect.signature(SamAutomaticMaskGenerator).parameters
    return {name: each.default for name, each in parameters.items() if name not in OWN_ARGUMENTS}


def weights_file(model: str, checkpoint: str | Path | None) -> Path:
    """The file that holds the weights. Raises ValueError when a model would get random ones: each worker others."""
    from samlite.registry import TEXT_WEIGHTS, TINY_WEIGHTS, sam_model_registry
    from samlite.released.download import official_weights
    from samlite.released.official_files import CHECKPOINTS

    built = sam_model_registry[model].__name__  # "default" is a model under another name
    shipped = {"tiny": TINY_WEIGHTS, "tiny_text": TEXT_WEIGHTS}
    if checkpoint is None and built in shipped:
        return shipped[built]
    if checkpoint is None:
        raise ValueError(f"{model} has no weights of its own: name a file, or a checkpoint that can be downloaded")
    if str(checkpoint) in CHECKPOINTS and not Path(checkpoint).is_file():
        if str(checkpoint) != built:
            raise ValueError(f"{checkpoint} holds the weights of {checkpoint}, not of {model}: name that model")
        return official_weights(str(checkpoint))
    if not Path(checkpoint).is_file():
        raise ValueError(f"there is no file {str(checkpoint)!r}")
    return Path(checkpoint)


def _bar(total: int, before: int, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=before, unit="photo", disable=not shown, smoothing=0.05)
