"""``python -m samlite segment PHOTO …``: prompts on the command line → masks as PNG files of the photo's own size."""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from samlite.fast import use_fast_paths
from samlite.images import read_photo
from samlite.masks import COLOURS, as_binary, mask_area, mask_to_box, overlay_masks, save_mask, save_png
from samlite.predictor import SamPredictor
from samlite.registry import trained_model
from samlite.sam import Sam

CHECKPOINT_HELP = "a file of weights, or a name such as vit_b, whose file is then downloaded once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command. Coordinates are pixels of the photo as it is seen, x to the right, y down."""
    parser.add_argument("photo", help="the photo: JPEG, PNG, TIFF, WebP …")
    parser.add_argument(
        "--point", action="append", default=[], metavar="X,Y[,LABEL]",
        help="a point on the object; X,Y,0 for a point that is not on it; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--box", action="append", default=[], metavar="X1,Y1,X2,Y2",
        help="a box around the object, two opposite corners; may be repeated, all boxes around one object",
    )  # fmt: skip
    parser.add_argument(
        "--mask-prompt", metavar="FILE",
        help="a rough mask: a black and white picture of the photo's size, or low-res logits in a .npy file",
    )  # fmt: skip
    parser.add_argument("--model", default="default", metavar="NAME", help="which model (default: %(default)s)")
    parser.add_argument("--checkpoint", metavar="FILE_OR_NAME", help=CHECKPOINT_HELP)
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or mps (default: cpu)")
    parser.add_argument("--all", action="store_true", help="write all candidate masks, as NAME-1.png, NAME-2.png …")
    parser.add_argument("-o", "--output", default="mask.png", metavar="FILE", help="the mask (default: %(default)s)")
    parser.add_argument("--overlay", metavar="FILE", help="also write the photo with the mask drawn over it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Carry the command out and say what was written: 0. Raises ValueError or OSError for input that is wrong."""
    try:
        result = _segment(args)
    except (KeyError, TypeError) as error:  # an unknown model, logits of a wrong type: the user's to mend as well
        raise ValueError(str(error.args[0] if error.args else error)) from error
    print(json.dumps(result, indent=2) if args.json else _as_text(result))
    return 0


def _segment(args: argparse.Namespace) -> dict:
    prompt = _prompt(args)  # what can be found wrong without the model is found first
    _check_outputs(args)
    photo = read_photo(args.photo)
    predictor = SamPredictor(model_of(args))
    start = time.perf_counter()
    predictor.set_image(photo)
    encoded = time.perf_counter()
    if args.mask_prompt:
        prompt["mask_input"] = _mask_prompt(args.mask_prompt, predictor)
    masks, iou_predictions, _ = predictor.predict(**prompt, multimask_output=args.all)
    decoded = time.perf_counter()

    files = _mask_files(args)
    for file, mask in zip(files, masks, strict=True):
        save_mask(file, mask)
    if args.overlay:
        large_first = np.argsort(-mask_area(masks), kind="stable")  # or the whole would hide its parts
        colours = tuple(COLOURS[k % len(COLOURS)] for k in large_first)
        save_png(args.overlay, overlay_masks(photo, masks[large_first], colours))
    height, width = photo.shape[:2]
    return {
        "photo": str(args.photo),
        "width": width,
        "height": height,
        "model": args.model,
        "encode_seconds": round(encoded - start, 4),
        "decode_seconds": round(decoded - encoded, 4),
        "masks": [
            {
                "file": str(file),
                "predicted_iou": round(float(iou), 4),
                "area": int(mask_area(mask)),
                "box": mask_to_box(mask).tolist(),
            }
            for file, mask, iou in zip(files, masks, iou_predictions, strict=True)
        ],
        "overlay": args.overlay,
    }


def model_of(args: argparse.Namespace) -> Sam:
    """The model that ``--model``, ``--checkpoint`` and ``--device`` name, on its fast paths: nobody looks at its steps.

    Raises as `trained_model` does.
    """
    return use_fast_paths(trained_model(args.model, args.checkpoint, args.device))


def _prompt(args: argparse.Namespace) -> dict:
    if not (args.point or args.box or args.mask_prompt):
        raise ValueError("no prompt was given: pass --point X,Y, --box X1,Y1,X2,Y2 or --mask-prompt FILE")
    prompt = {}
    if args.point:
        points = [_numbers("--point", text, (2, 3), "X,Y or X,Y,LABEL") for text in args.point]
        prompt["point_coords"] = [point[:2] for point in points]
        prompt["point_labels"] = [point[2] if len(point) == 3 else 1 for point in points]
    if args.box:
        prompt["boxes"] = [_numbers("--box", text, (4,), "X1,Y1,X2,Y2") for text in args.box]
    return prompt


def _numbers(option: str, text: str, lengths: tuple[int, ...], expected: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in lengths:
        raise ValueError(f"{option} {text!r} is not understood: {expected} is expected, numbers with commas, no spaces")
    return numbers


def _mask_files(args: argparse.Namespace) -> list[Path]:
    output = Path(args.output)
    return [output.with_stem(f"{output.stem}-{k}") for k in (1, 2, 3)] if args.all else [output]


def _check_outputs(args: argparse.Namespace) -> None:
    """Raises ValueError for a file that is no PNG, has no folder, or would take the place of another one in use."""
    files = _mask_files(args) + ([Path(args.overlay)] if args.overlay else [])
    for path in files:
        if path.suffix.lower() != ".png":
            raise ValueError(f"{str(path)!r} does not end in .png: masks and overlays are written as PNG")
        if not path.parent.is_dir():
            raise ValueError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}")
        read = (Path(file) for file in (args.photo, args.mask_prompt) if file)
        if path.exists() and any(file.exists() and path.samefile(file) for file in read):
            raise ValueError(f"{str(path)!r} is read by this command and would be overwritten: choose another name")
    if args.overlay and Path(args.overlay).resolve() in [file.resolve() for file in _mask_files(args)]:
        raise ValueError(f"{args.overlay!r} is named for a mask and for the overlay: one of them would be lost")


def _mask_prompt(file: str, predictor: SamPredictor) -> np.ndarray:
    if Path(file).suffix == ".npy":
        try:
            return np.load(file, allow_pickle=False)
        except (EOFError, ValueError):
            raise ValueError(f"--mask-prompt {file!r} is no array that can be read: np.save writes one") from None
    mask = as_binary(read_photo(file).max(axis=-1), f"--mask-prompt {file!r}")
    if mask.all() or not mask.any():
        raise ValueError(
            f"--mask-prompt {file!r} is {'white' if mask.all() else 'black'} everywhere: white is the object, black is "
            "the rest, and what is transparent counts as white"
        )
    return predictor.mask_to_logits(mask)


def _as_text(result: dict) -> str:
    width, height = result["width"], result["height"]
    lines = [
        f"{result['photo']}: {width}×{height} pixels, model {result['model']}, photo encoded in "
        f"{result['encode_seconds']:.2f} s, prompt decoded in {result['decode_seconds']:.2f} s"
    ]
    for mask in result["masks"]:
        share = 100 * mask["area"] / (width * height)
        lines.append(
            f"{mask['file']}: predicted IoU {mask['predicted_iou']:.2f}, {mask['area']:,} pixels ({share:.1f} % of "
            f"the photo), {width}×{height}"
        )
    if result["overlay"]:
        lines.append(f"{result['overlay']}: the photo with {'the masks' if len(result['masks']) > 1 else 'the mask'}")
    return "\n".join(lines)
