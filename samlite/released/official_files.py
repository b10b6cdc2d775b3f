"""The official checkpoints: which there are, their sizes and digests. Nothing here needs PyTorch."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple


class Checkpoint(NamedTuple):
    """One official file, and the sizes that ``released_sam`` needs for it."""

    file: str
    size: int  # in bytes
    sha256: str
    sizes: dict[str, Any]

    @property
    def address(self) -> str:
        return f"https://dl.fbaipublicfiles.com/segment_anything/{self.file}"


CHECKPOINTS = {
    "vit_b": Checkpoint(
        "sam_vit_b_01ec64.pth", 375_042_383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        {"width": 768, "depth": 12, "heads": 12, "global_blocks": (2, 5, 8, 11)},
    ),
    "vit_l": Checkpoint(
        "sam_vit_l_0b3195.pth", 1_249_524_607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        {"width": 1024, "depth": 24, "heads": 16, "global_blocks": (5, 11, 17, 23)},
    ),
    "vit_h": Checkpoint(
        "sam_vit_h_4b8939.pth", 2_564_550_879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        {"width": 1280, "depth": 32, "heads": 16, "global_blocks": (7, 15, 23, 31)},
    ),
}  # fmt: skip


def sha256(path: Path) -> str:
    """SHA-256 of a file of any size, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def how_to_get(file: str) -> str:
    """The sentence that tells where an official file comes from."""
    if known := next((known for known in CHECKPOINTS.values() if known.file == file), None):
        return f"fetch it again from {known.address}"
    return f"the official files are {', '.join(known.address for known in CHECKPOINTS.values())}"


def looks_like(path: Path) -> str:
    """What the first bytes of a file that is no checkpoint look like."""
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "a web page and no checkpoint"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer and no checkpoint: `git lfs pull` fetches the file behind it"
    if start.startswith(b"pk"):
        return "a part of a file (or more than one), as an interrupted download leaves it"
    return "damaged or something else"
