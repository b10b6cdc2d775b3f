"""``python -m samlite automatic PHOTO_OR_FOLDER -o FOLDER``: every mask of every photo, as COCO JSON and as PNG.

A photo is done when its JSON is there: a run that was stopped goes on where it was. ``settings.json`` holds what the
masks were made with, so that two different runs never mix in one folder.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from samlite import coco
from samlite.annotate import weights_file
from samlite.automatic import SamAutomaticMaskGenerator
from samlite.images import PHOTO_ENDINGS, read_photo
from samlite.released.official_files import sha256
from samlite.segment_command import CHECKPOINT_HELP, model_of

NUMBERS = {  # argument of the generator: (type, what it is)
    "points_per_side": (int, "clicks along a side of the grid (32)"),
    "points_per_batch": (int, "clicks decoded at once, at most (64)"),
    "pred_iou_thresh": (float, "predicted IoU that a mask must exceed (the model's own)"),
    "stability_score_thresh": (float, "stability that a mask must reach (the model's own)"),
    "stability_score_offset": (float, "distance between the two cuts that stability compares (1.0)"),
    "box_nms_thresh": (float, "box IoU above which two masks are duplicates (0.7)"),
    "crop_n_layers": (int, "layers of crops beyond the whole photo (0)"),
    "crop_nms_thresh": (float, "the same as --box-nms-thresh between crops (0.7)"),
    "crop_overlap_ratio": (float, "overlap of crops, in short sides of the photo (0.341)"),
    "crop_n_points_downscale_factor": (int, "from layer to layer, points per side are divided by it (1)"),
    "min_mask_region_area": (int, "remove holes and islands of fewer pixels (0)"),
}
NOT_IN_THE_RESULT = ("points_per_batch",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command: every number that `SamAutomaticMaskGenerator` takes."""
    parser.add_argument("photos", help="a photo, or a folder of photos (its subfolders are left alone)")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="where the masks go")
    parser.add_argument("--png", action="store_true", help="also write every mask as a PNG, a folder for each photo")
    parser.add_argument("--model", default="default", metavar="NAME", help="which model (default: %(default)s)")
    parser.add_argument("--checkpoint", metavar="FILE_OR_NAME", help=CHECKPOINT_HELP)
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or mps (default: cpu)")
    for name, (kind, text) in NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="NUMBER", help=text)


def run(args: argparse.Namespace) -> int:
    """Masks of all photos: 0; 1 when a photo could not be read or masked. Raises ValueError or OSError."""
    photos = find_photos(Path(args.photos))
    output = Path(args.output)
    if args.png and (taken := [photo.name for photo in photos if (output / photo.name).is_file()]):
        raise ValueError(f"--png makes a folder for each photo, and in {str(output)!r} {taken[0]!r} is a file: choose "
                         "another folder with -o")  # fmt: skip
    arguments = {name: value for name in NUMBERS if (value := getattr(args, name)) is not None}
    generator = SamAutomaticMaskGenerator(
        model_of(args), **arguments, output_mode="coco_rle", progress=len(photos) == 1
    )
    output.mkdir(parents=True, exist_ok=True)
    weights = Path(args.model) if args.model.endswith(".safetensors") else weights_file(args.model, args.checkpoint)
    folder = Path(args.photos).resolve()
    settings = {
        "model": args.model, "weights_sha256": sha256(weights),
        "photos": str(folder if folder.is_dir() else folder.parent), **arguments,
    }  # fmt: skip
    _check_settings(output, {k: v for k, v in settings.items() if k not in NOT_IN_THE_RESULT})
    failed, masks, kept = 0, 0, 0
    for photo in tqdm(photos, disable=len(photos) == 1, unit="photo"):
        target = output / f"{photo.name}.json"
        try:
            if target.is_file():
                annotations = json.loads(target.read_text())
                kept += 1
            else:
                annotations = masks_of(generator, photo)
                coco.write_json(target, annotations)
            if args.png and not (output / photo.name / "masks.csv").is_file():
                coco.write_pngs(output / photo.name, annotations)
        except (ValueError, TypeError, OSError) as error:
            failed += 1
            tqdm.write(f"{photo.name}: skipped, {error}", file=sys.stderr)
        else:
            masks += len(annotations["annotations"])
    coco.write_json(output / "instances.json", coco.merge(_of_photos(output)))
    done = [photo for photo in photos if (output / f"{photo.name}.json").is_file()]
    again = f" ({kept} of them were there)" if kept else ""
    print(f"{len(done)} of {len(photos)} photos{again}, {masks} masks: {output / 'instances.json'}")
    return 1 if failed else 0


def masks_of(generator: SamAutomaticMaskGenerator, path: Path) -> dict[str, Any]:
    """The annotations of one photo. Raises ValueError or OSError that says what is wrong with the file."""
    photo = read_photo(path)
    return coco.photo_annotations(generator.generate(photo), path.name, *photo.shape[:2])


def find_photos(path: Path) -> list[Path]:
    """The photo, or the photos of the folder in the order of their names; files of other kinds are left out.

    Raises ValueError when there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"there is no photo and no folder {str(path)!r}")
    photos = sorted(
        file for file in path.iterdir() if file.suffix.lower() in PHOTO_ENDINGS and not file.name.startswith(".")
    )
    if not photos:
        found = ", ".join(sorted({file.suffix or "no ending" for file in path.iterdir()}))
        raise ValueError(f"folder {str(path)!r} holds no photo; its files end in {found or 'nothing at all'}")
    return photos


def _of_photos(output: Path) -> Iterator[dict[str, Any]]:
    """What this command wrote for each photo, in the order of their names; other JSON files are left alone."""
    for path in sorted(output.glob("*.json")):
        try:
            photo = json.loads(path.read_text(encoding="utf-8"))
            ours = photo["image"]["file_name"] == path.stem  # cat.jpg.json
        except (ValueError, KeyError, TypeError):
            continue
        if ours:
            yield photo


def _check_settings(output: Path, settings: dict[str, Any]) -> None:
    """Raises ValueError when the folder holds masks that were made otherwise."""
    path = output / "settings.json"
    if path.is_file():
        before = json.loads(path.read_text())
        differing = sorted(k for k in settings.keys() | before.keys() if settings.get(k) != before.get(k))
        if differing:
            raise ValueError(
                f"{output} holds masks made with other settings ({', '.join(differing)}): choose another folder, or "
                "delete this one"
            )
    coco.write_json(path, settings)
