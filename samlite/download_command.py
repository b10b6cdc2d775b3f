"""``python -m samlite download vit_b``: one of Meta's checkpoints, checked, on this machine."""

import argparse

from samlite.released.download import converted, fetch
from samlite.released.official_files import CHECKPOINTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=f"which one: {', '.join(CHECKPOINTS)}")
    parser.add_argument("--folder", metavar="DIR", help="where to put it (default: SAMLITE_CACHE, or the cache folder)")
    parser.add_argument("--url", metavar="URL", help="another address of the same file; its digest must be the same")


def run(args: argparse.Namespace) -> int:
    """Say where the file lies: 0. Raises DownloadError, or ValueError for an unknown name."""
    path = fetch(args.name, args.folder, args.url)
    print(f"{path}: {path.stat().st_size:,} bytes, the official SHA-256")
    print(f"{converted(path)}: the same tensors as safetensors")
    return 0
