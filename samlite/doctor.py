"""``python -m samlite doctor``: what this machine has, what it lacks, whether a click works. Runs without PyTorch."""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from statistics import median

from samlite import __version__, environment, free_memory

PACKAGES = (*(each.distribution for each in environment.NEEDS["test"]), "ipykernel")
ROUNDS = 5
WEIGHTS = Path(__file__).resolve().parent / "weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--precision", nargs="?", const="tiny", metavar="MODEL",
        help="measure what fewer bits cost and bring here, for tiny or another model; nothing else (a minute)",
    )  # fmt: skip
    parser.add_argument("--checkpoint", metavar="FILE", help="the weights of that model (its own, or random ones)")


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; exit code 1 when something is missing that the chapters need."""
    if arguments.checkpoint and not arguments.precision:
        raise ValueError("--checkpoint names the weights for --precision: give both, or neither")
    if arguments.precision:
        if lacking := environment.lacking("run"):
            raise environment.SetupError(f"{lacking[0]}: `python3 -m samlite lab` installs what is missing")
        return _show_precision(arguments.precision, arguments.checkpoint, arguments.json)
    report = examine()
    print(json.dumps(report, indent=2) if arguments.json else as_text(report))
    return int(bool(report["problems"]))


def _show_precision(model: str, checkpoint: str | None, as_json: bool) -> int:
    from samlite.learning.precision import as_table, in_words, of_name

    rows = of_name(model, checkpoint)
    print(json.dumps(rows, indent=2) if as_json else f"{as_table(rows)}\n\n{in_words(rows)}")
    return 0


def examine() -> dict:
    """Everything that the report says, ready for JSON. `problems` holds one sentence for each thing to mend."""
    lacking = environment.lacking("lab")
    report = {
        "samlite": {"version": __version__, "folder": str(Path(__file__).resolve().parent)},
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": {"system": platform.platform(), "machine": platform.machine(), "processors": os.cpu_count()},
        "packages": {name: installed_version(name) for name in PACKAGES},
        "memory": memory(),
        "disk": {"free_gb": round(shutil.disk_usage(environment.ROOT).free / 1e9, 1)},
        "weights": shipped_weights(),
        "models": [],
        "torch": None,
        "trials": [],
        "problems": [],
    }
    if lacking:
        report["problems"].append(f"{'; '.join(lacking)}: `python3 -m samlite lab` installs what is missing.")
    if any(phrase.startswith("torch ") for phrase in lacking):
        return report
    try:
        report["torch"] = torch_report()
        report["models"] = models_report()
        report["trials"] = [try_a_click(device) for device in report["torch"]["devices"]]
    except FileNotFoundError as error:
        report["problems"].append(f"{error}.")
    except Exception as error:  # a doctor reports what it finds and does not fall ill itself
        report["problems"].append(f"a click failed with {type(error).__name__}: {error}")
    return report


def installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def memory() -> dict[str, float | None]:
    """Main memory in GB, within the limits of a container around this process; None where nobody says."""
    found = free_memory.memory()
    in_gb = (None if size is None else round(size / 1e9, 1) for size in (found.total, found.free))
    return dict(zip(("total_gb", "free_gb"), in_gb, strict=True))


def shipped_weights() -> list[dict]:
    """Name, size and SHA-256 of every weight file of the package."""
    files = sorted(WEIGHTS.glob("*.safetensors"))
    return [
        {
            "file": path.name,
            "megabytes": round(path.stat().st_size / 1e6, 2),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
    ]


def torch_report() -> dict:
    """PyTorch's devices and threads: "cpu" always, then what else there is."""
    import torch

    devices = {"cpu": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return {"cuda_build": torch.version.cuda, "threads": torch.get_num_threads(), "devices": devices}


def models_report() -> list[dict]:
    """Each model, its file, what it needs in main memory in MB, and whether that is free here (None: nobody says)."""
    from samlite.memory import encoding_bytes, free_bytes, weight_bytes
    from samlite.registry import TEXT_WEIGHTS, TINY_WEIGHTS, sam_model_registry
    from samlite.released.official_files import CHECKPOINTS

    files = {path.stem: path.name for path in (TINY_WEIGHTS, TEXT_WEIGHTS)}
    files |= {name: known.file for name, known in CHECKPOINTS.items()}
    free, rows = free_bytes(), []
    for name, build in sam_model_registry.items():
        if name != "default":
            sam = build(device="meta")
            weights, photo = weight_bytes(sam), encoding_bytes(sam)
            rows.append(
                {
                    "model": name,
                    "file": files.get(name),
                    "weights_mb": round(weights / 1e6, 1),
                    "photo_mb": round(photo / 1e6, 1),
                    "fits": None if free is None else weights + photo <= free,
                }
            )
    return rows


def try_a_click(device: str) -> dict:
    """Loads the default model, encodes one image and decodes one click; the times are medians after a first round.

    The image is noise of the model's own size: what takes time does not depend on what it shows.
    """
    import torch

    from samlite.registry import sam_model_registry

    started = time.perf_counter()
    sam = sam_model_registry["default"]().to(device)
    load_seconds = time.perf_counter() - started
    side = sam.image_size
    pixels = 255 * torch.rand(1, 3, side, side).to(device)
    point = torch.full((1, 1, 2), side / 2, device=device)
    label = torch.ones(1, 1, dtype=torch.int64, device=device)
    encode, click = [], []
    with torch.no_grad():
        for _ in range(1 + ROUNDS):
            started = time.perf_counter()
            embedding = sam.encode_image(sam.normalise(pixels))
            embedding.sum().item()  # waits for the device
            encoded = time.perf_counter()
            low_res_logits, iou_predictions = sam.decode_masks(embedding, point, label)
            masks = sam.resize_masks(low_res_logits, (side, side), (side, side)) > sam.mask_threshold
            masks.sum().item()
            encode.append(encoded - started)
            click.append(time.perf_counter() - encoded)
    return {
        "device": device,
        "image_size": side,
        "parameters": sum(parameter.numel() for parameter in sam.parameters()),
        "load_ms": round(1e3 * load_seconds, 1),
        "encode_ms": round(1e3 * median(encode[1:]), 1),
        "click_ms": round(1e3 * median(click[1:]), 1),
        "masks": list(masks.shape),
        "finite": bool(iou_predictions.isfinite().all()),
    }


def as_text(report: dict) -> str:
    """The report as an aligned table with the problems, or the absence of any, at the end."""
    rows = [
        ("samlite", f"{report['samlite']['version']} in {report['samlite']['folder']}"),
        ("python", f"{report['python']['version']} ({report['python']['executable']})"),
        ("system", f"{report['platform']['system']}, {report['platform']['processors']} processors"),
        ("memory", "{} GB, {} GB free".format(*(value or "unknown" for value in report["memory"].values()))),
        ("disk", f"{report['disk']['free_gb']} GB free"),
    ]
    rows += [(name, version or "not installed") for name, version in report["packages"].items()]
    if report["torch"]:
        rows += [(f"device {name}", what) for name, what in report["torch"]["devices"].items()]
    for weights in report["weights"]:
        rows.append((weights["file"], f"{weights['megabytes']} MB, SHA-256 {weights['sha256']}"))
    for model in report["models"]:
        fits = {True: "fits here", False: "does not fit here", None: "free memory unknown"}[model["fits"]]
        needs = f"{model['weights_mb']:.0f} MB of weights, {model['photo_mb']:.0f} MB more to encode a photo"
        rows.append((f"model {model['model']}", f"{needs}: {fits} ({model['file'] or 'random weights'})"))
    for trial in report["trials"]:
        rows.append(
            (
                f"click on {trial['device']}",
                f"encode {trial['encode_ms']} ms, click {trial['click_ms']} ms "
                f"({trial['image_size']}×{trial['image_size']}, {trial['parameters'] / 1e6:.1f} M parameters)",
            )
        )
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += ["", *report["problems"]] if report["problems"] else ["", "Everything that the chapters need is here."]
    return "\n".join(lines)
