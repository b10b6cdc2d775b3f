"""What fewer bits cost and bring, measured here: time, memory, and the masks beside those of float32.

`python -m samlite doctor --precision` shows it for this machine; the book has the figures of one machine in
`book/results/precision.json`, written by `python -m samlite.learning.precision`.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skimage
import torch
from jaxtyping import Float
from torch import Tensor

from samlite.learning.measure import interleaved, machine, megabytes_of
from samlite.memory import encoding_bytes, weight_bytes
from samlite.precision import MODES, modes_here
from samlite.predictor import SamPredictor
from samlite.registry import TINY_WEIGHTS, sam_model_registry
from samlite.released.official_files import sha256
from samlite.sam import Sam

PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")  # of scikit-image
GOOD = 0.99  # IoU with the float32 mask
RESULTS = Path(__file__).resolve().parents[2] / "book" / "results" / "precision.json"


def compare(
    build: Callable[[str], Sam],
    modes: Sequence[str] | None = None,
    photos: Mapping[str, np.ndarray] | None = None,
    points_per_side: int = 8,
    rounds: int = 3,
) -> list[dict[str, Any]]:
    """One row for each mode; ``build(mode)`` makes the model in it, from the same weights every time.

    Without ``modes``, all that this processor has: on one whose products of 8-bit numbers overflow, int8 is left out.

    A row: ``mode``, ``weights_mb``, ``photo_mb`` (the most that encoding held beside them, in MiB), ``cpu_seconds`` and
    ``seconds`` of one encoding, ``ratio`` (times float32's processor seconds), ``embedding_error`` (root mean square,
    relative). Of the masks of a grid of clicks on every photo, all candidates, beside float32's: ``masks``,
    ``good_share`` (IoU at least 0.99), ``mean_iou``, ``worst_iou``, ``largest_logit`` (difference) and ``logit_scale``
    (mean absolute logit of float32). With ``photos`` empty there are no masks: for models whose weights are random.
    Raises ValueError when "float32" is not the first mode.
    """
    modes = modes_here() if modes is None else modes
    if modes[0] != "float32":
        raise ValueError(f"modes are {list(modes)}: the first must be 'float32', the others are compared with it")
    photos = {name: getattr(skimage.data, name)() for name in PHOTOS} if photos is None else photos
    sams = {mode: build(mode) for mode in modes}
    side = sams[modes[0]].image_size
    image = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, side, side)).astype(np.float32))
    image = image.to(sams[modes[0]].device)
    with torch.no_grad():
        costs = interleaved({mode: lambda sam=sam: sam.encode_image(image) for mode, sam in sams.items()}, rounds)
        embeddings = {mode: sam.encode_image(image) for mode, sam in sams.items()}
        answers = {mode: clicks(sam, photos, points_per_side) for mode, sam in sams.items()} if photos else {}
    rows = []
    for mode, sam in sams.items():
        cost, exact = costs[mode], embeddings["float32"]
        row = {
            "mode": mode,
            "weights_mb": round(weight_bytes(sam) / 1e6, 2),
            "photo_mb": cost.megabytes,
            "cpu_seconds": cost.cpu_seconds,
            "seconds": cost.seconds,
            "ratio": cost.cpu_seconds / costs["float32"].cpu_seconds,
            "embedding_error": float((embeddings[mode] - exact).square().mean().sqrt() / exact.square().mean().sqrt()),
        }
        rows.append(row | (beside(answers[mode], answers["float32"]) if photos else {}))
    return rows


def clicks(sam: Sam, photos: Mapping[str, np.ndarray], points_per_side: int) -> list[Float[Tensor, "n h w"]]:
    """Logits at each photo's size of all candidates of all clicks of a grid, photo by photo."""
    predictor, answers = SamPredictor(sam), []
    shares = (np.arange(points_per_side) + 0.5) / points_per_side
    for photo in photos.values():
        predictor.set_image(photo)
        height, width = photo.shape[:2]
        points = np.stack(np.meshgrid(shares * width, shares * height), axis=-1).reshape(-1, 1, 2)
        points = torch.from_numpy(predictor.transform.apply_coords(points, (height, width))).float().to(sam.device)
        labels = torch.ones(points.shape[:2], dtype=torch.int64, device=sam.device)
        found = [
            predictor.predict_torch(point[None], label[None], return_logits=True)[2]
            for point, label in zip(points, labels, strict=True)
        ]
        answers.append(torch.cat(found).flatten(0, 1).cpu())  # (N·K, h, w)
    return answers


def beside(logits: Sequence[Float[Tensor, "n h w"]], exact: Sequence[Float[Tensor, "n h w"]]) -> dict[str, float]:
    """Masks of one mode beside those of float32; two empty masks are equal."""
    logits, exact = torch.cat(list(logits)), torch.cat(list(exact))
    here, there = (logits > 0).flatten(1), (exact > 0).flatten(1)
    both, either = (here & there).sum(1), (here | there).sum(1)
    iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    return {
        "masks": len(iou),
        "good_share": float((iou >= GOOD).float().mean()),
        "mean_iou": float(iou.mean()),
        "worst_iou": float(iou.min()),
        "largest_logit": float((logits - exact).abs().max()),
        "logit_scale": float(exact.abs().mean()),
    }


def of_name(name: str, checkpoint: str | None = None, rounds: int = 3) -> list[dict[str, Any]]:
    """`compare` for a model of the registry; a released one without a checkpoint has random weights and no masks."""

    def build(mode: str) -> Sam:
        torch.manual_seed(0)
        return sam_model_registry[name](checkpoint=checkpoint, precision=mode)

    trained = checkpoint is not None or name in ("tiny", "tiny_text", "default")
    return compare(build, photos=None if trained else {}, rounds=rounds)


def needs(name: str, measured: bool = False) -> dict[str, Any]:
    """Memory of a model: its weights in every mode and what a photo needs beside them, in MB; at will also measured.

    ``photo_mib`` is the formula's, ``measured_mib`` what the first encoding held (None where the system does not say).
    """
    sams = {mode: sam_model_registry[name](device="meta", precision=mode) for mode in MODES}
    row = {"model": name, "weights_mb": {mode: round(weight_bytes(sam) / 1e6, 1) for mode, sam in sams.items()}}
    row["photo_mib"] = round(encoding_bytes(sams["float32"]) / 2**20, 1)
    if measured:
        sam = sam_model_registry[name]()
        image = torch.zeros(1, 3, sam.image_size, sam.image_size)
        with torch.no_grad():
            row["measured_mib"] = megabytes_of(lambda: sam.encode_image(sam.normalise(image)))
    return row


def needs_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each model of `needs`."""
    lines = [
        "| model | weights | in 16 bits | in 8 bits | to encode a photo, computed | measured |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        weights = [f"{row['weights_mb'][mode]:.0f} MB" for mode in ("float32", "bfloat16", "int8")]
        measured = row.get("measured_mib")
        photo = [f"{row['photo_mib']:.0f} MiB", "–" if measured is None else f"{measured:.0f} MiB"]
        lines.append(f"| {' | '.join([row['model'], *weights, *photo])} |")
    return "\n".join(lines)


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; also what a terminal shows."""
    lines = [
        "| precision | weights | to encode a photo | processor seconds | times float32 | masks with IoU ≥ 0.99 | "
        "mean IoU | worst IoU | embedding off by |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        megabytes = "–" if row["photo_mb"] is None else f"{row['photo_mb']:.0f} MiB"
        masks = ["–"] * 3
        if "masks" in row:
            masks = [f"{row['good_share']:.1%}", f"{row['mean_iou']:.4f}", f"{row['worst_iou']:.3f}"]
        lines.append(
            f"| {row['mode']} | {row['weights_mb']:.1f} MB | {megabytes} | {row['cpu_seconds']:.3g} | "
            f"{row['ratio']:.2f} | {' | '.join(masks)} | {row['embedding_error']:.2%} |"
        )
    return "\n".join(lines)


def in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """What to take on the machine that was measured, and what it does not have."""
    fastest = min(rows, key=lambda row: row["ratio"])["mode"]
    smallest = min(rows, key=lambda row: row["weights_mb"])["mode"]
    without = [mode for mode in MODES if mode not in {row["mode"] for row in rows}]
    lack = f" {', '.join(without)} cannot be had on this processor." if without else ""
    return f"Here {fastest} is the fastest and {smallest} the smallest: samlite.precision.use_precision(sam, …).{lack}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m samlite.learning.precision", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["tiny", "vit_b"], help="names of the registry (tiny vit_b)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="only what encoding a photo holds; the rest stays")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    result = json.loads(args.output.read_text(encoding="utf-8")) if args.output.is_file() else {}
    here = machine() | {"dtype": "number formats as in the tables"}
    if args.memory:
        result |= {"memory": [needs(name, measured=True) for name in args.models], "memory machine": here}
    else:
        result |= {"models": {name: of_name(name, rounds=args.rounds) for name in args.models}, "machine": here}
        if "tiny" in args.models:
            result["tiny_sha256"] = sha256(TINY_WEIGHTS)
    args.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
