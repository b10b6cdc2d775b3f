"""``python -m samlite fine-tune``: a folder of photos and masks → weights that know what its owner means."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from samlite.files import whole_file
from samlite.images import PHOTO_ENDINGS
from samlite.learning.fine_tuning import EmbeddedSet, FineTuning, embed, fine_tune, measure
from samlite.learning.photo_sets import LabelledPhoto, PhotoSetError, names_within, read_photo_set
from samlite.learning.weights import document_sizes, save_weights
from samlite.mask_decoder import MaskDecoder
from samlite.registry import sam_model_registry, trained_model
from samlite.released.key_map import to_official
from samlite.released.mask_decoder import ReleasedMaskDecoder
from samlite.released.official_files import CHECKPOINTS
from samlite.sam import Sam

ABOUT = {
    "steps": "steps of training",
    "prompts": "objects a step",
    "rate": "learning rate at its highest",
    "boxes": "share of boxes among the first prompts; the others are clicks",
    "jitter": "how far each side of a box is moved, as a share of the box",
    "seed": "of everything random",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="photos with masks: PNG files in masks/, a COCO JSON, or BSDS files")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the weights (.safetensors)")
    parser.add_argument("--model", default="tiny", help="tiny, vit_b, vit_l, vit_h, or a .safetensors file of samlite")
    parser.add_argument("--checkpoint", default=None, help="weights to start from: a file, or a name to download")
    parser.add_argument("--hold-out", type=float, default=0.2, help="share of photos kept for measuring (default: 0.2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    for field in fields(FineTuning):
        if field.name in ABOUT:
            kind = type(field.default)
            parser.add_argument(
                f"--{field.name}", type=kind, default=field.default, help=f"{ABOUT[field.name]} ({field.default})"
            )


def run(arguments: argparse.Namespace) -> int:
    """Encode, measure, fine-tune, measure, save. Raises ValueError that says what is wrong with folder or settings."""
    settings = FineTuning(**{name: getattr(arguments, name) for name in ABOUT})
    if arguments.output.suffix != ".safetensors":
        raise ValueError(f"the output {arguments.output} must end in .safetensors")
    if arguments.output.name in {Path(known.file).with_suffix(".safetensors").name for known in CHECKPOINTS.values()}:
        raise ValueError(f"{arguments.output.name} is the name of Meta's own weights: choose another one for yours")
    photos = read_photo_set(arguments.folder)
    check_every_mask_has_a_photo(arguments.folder)
    learn, held_out = split(len(photos), arguments.hold_out, arguments.seed)
    sam = trained_model(arguments.model, arguments.checkpoint, arguments.device)
    everything = embed(sam, read(photos), progress=True)
    examples = everything.of_photos(learn)
    print(f"{len(photos)} photos with {len(everything.targets)} objects; learning from {len(learn)} photos")
    if everything.too_small:
        print(f"{len(everything.too_small)} objects are smaller than a low-res cell and left out: ", end="")
        print(", ".join(everything.too_small[:5]) + (" …" if len(everything.too_small) > 5 else ""))
    judged = everything.of_photos(held_out) if held_out else examples
    before = measure(sam, judged)
    tuned = fine_tune(sam, examples, settings, progress=True)
    after = measure(tuned, judged)
    what = (
        f"{len(held_out)} held-out photos"
        if held_out
        else "the photos that it learned from: hold some out to know more"
    )
    report(before, after, judged, what)
    about = {
        "fine-tuned": asdict(settings), "started from": str(arguments.checkpoint or arguments.model),
        "photos": len(learn), "objects": len(examples.targets), "before": before, "after": after,
    }  # fmt: skip
    save(tuned, arguments.output, about)
    name = arguments.model if arguments.model in sam_model_registry else "tiny"
    print(f'weights in {arguments.output}: sam_model_registry["{name}"](checkpoint="{arguments.output}") loads them')
    return 0


def read(photos: list[LabelledPhoto]) -> Iterator[tuple[str, Any, Any]]:
    for labelled in photos:
        photo, masks = labelled.read()
        yield labelled.name, photo, masks


def check_every_mask_has_a_photo(folder: Path) -> None:
    """Raises PhotoSetError for files in the folder ``masks`` that belong to no photo of the same place below it.

    A name was mistyped, or a subfolder is another than the photo's: `read_photo_set` would leave the mask out.
    """
    masks = folder / "masks"
    below = folder / "images" if (folder / "images").is_dir() else folder
    files = below.glob("*") if below == folder else below.rglob("*")
    photos = {path.relative_to(below).with_suffix("") for path in files if path.suffix.lower() in PHOTO_ENDINGS}

    def belongs(path: Path) -> bool:
        place = path.parent.relative_to(masks)
        return place in photos or any(place / name in photos for name in names_within(path.stem))

    pictures = sorted(path for path in masks.rglob("*") if path.suffix.lower() == ".png")
    orphans = [path for path in pictures if not belongs(path)]
    if orphans:
        more = f", and {len(orphans) - 1} more" if len(orphans) > 1 else ""
        raise PhotoSetError(
            f"{orphans[0]} is the mask of no photo{more}: the photo of masks/NAME.png is NAME.jpg in {below}, in the "
            "same subfolder where there is one"
        )


def split(photos: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """(photos to learn from, photos to measure on); one photo alone is for learning."""
    if not 0 <= share < 1:
        raise ValueError(f"--hold-out is {share}: a share from 0 up to, not including, 1")
    count = min(photos - 1, max(1, round(share * photos))) if share else 0
    order = torch.randperm(photos, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[count:]), sorted(order[:count])


def save(sam: Sam, path: Path, about: dict[str, object]) -> None:
    """A document SAM as samlite's training writes it; a released one under the official names, in float32."""
    if not isinstance(sam.mask_decoder, ReleasedMaskDecoder):
        assert isinstance(sam.mask_decoder, MaskDecoder)
        return save_weights(sam, document_sizes(sam), path, about)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in to_official(sam.state_dict()).items()}
    with whole_file(path) as unfinished:
        save_file(state, unfinished, metadata={"format": "pt", "training": json.dumps(about)})


def report(before: dict, after: dict, judged: EmbeddedSet, what: str) -> None:
    print(f"\nmean IoU on {len(judged.targets)} objects of {what}")
    print(f"  {'prompt':24s}{'best of the masks':>24s}{'the single mask':>24s}")
    for kind in before:
        cells = [f"{before[kind][name]:.3f} → {after[kind][name]:.3f}" for name in ("best", "single")]
        print(f"  {kind:24s}{cells[0]:>24s}{cells[1]:>24s}")
