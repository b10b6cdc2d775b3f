"""``python -m samlite export NAME``: image encoder and decoder as ONNX files, checked against PyTorch."""

import argparse
import importlib.util
from pathlib import Path

from samlite.environment import pip_install
from samlite.onnx_export import export_decoder, export_encoder, largest_difference
from samlite.registry import trained_model
from samlite.segment_command import CHECKPOINT_HELP

TOLERANCE = 1e-4  # of the largest value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="which model: tiny, vit_b …")
    parser.add_argument("--checkpoint", metavar="FILE_OR_NAME", help=CHECKPOINT_HELP)
    parser.add_argument("-o", "--output", type=Path, default=Path("onnx"), metavar="DIR", help="where to (onnx)")
    parser.add_argument("--part", choices=("encoder", "decoder"), help="only this half")
    parser.add_argument("--one-mask", action="store_true", help="the decoder gives one mask, chosen as in the release")


def run(args: argparse.Namespace) -> int:
    """0; 1 when a file gives other numbers than the model. Raises SetupError, ValueError or OSError."""
    sam = trained_model(args.name, args.checkpoint)
    args.output.mkdir(parents=True, exist_ok=True)
    stem = Path(args.name).stem  # of a model's name, or of a file of weights
    files = {part: args.output / f"{stem}_{part}.onnx" for part in ("encoder", "decoder")}
    if args.part:
        files = {args.part: files[args.part]}
    if "encoder" in files:
        export_encoder(sam, files["encoder"])
    if "decoder" in files:
        export_decoder(sam, files["decoder"], args.one_mask)
    for path in files.values():
        print(f"{path}: {path.stat().st_size:,} bytes")
    if importlib.util.find_spec("onnxruntime") is None:
        print(f"not checked: onnxruntime is not installed ({pip_install('onnxruntime')})")
        return 0
    difference = largest_difference(sam, files.get("encoder"), files.get("decoder"), args.one_mask)
    print(f"onnxruntime against PyTorch: at most {difference:.1e} of the largest value")
    if difference < TOLERANCE:
        return 0
    print(f"these files give other numbers than the model: at most {TOLERANCE:.0e} is allowed")
    return 1
