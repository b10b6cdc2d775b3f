"""Weights out: float16 safetensors with the model's sizes and recipe inside, and the model card beside them."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import safe_open, save_file

from samlite.registry import TINY_WEIGHTS
from samlite.sam import Sam

CARD = TINY_WEIGHTS.with_name("tiny.json")


def save_weights(sam: Sam, model: dict[str, int], path: Path, training: dict[str, object]) -> None:
    """Write ``sam`` as float16; the metadata says how to build it ("config") and how it was made ("training")."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in sam.state_dict().items()}
    config = json.dumps({"image_size": sam.image_size, **model})
    beside = path.with_suffix(".partial")
    save_file(state, beside, metadata={"config": config, "training": json.dumps(training)})
    beside.replace(path)


def read_training(path: Path) -> dict[str, object]:
    """The "training" entry of a weights file: recipe, steps, minutes, machine."""
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("training", "{}"))


def write_card(figures: dict[str, object]) -> None:
    """The measured half of the model card: figures of the shipped weights together with their digest and recipe."""
    card = {
        "weights": {"file": TINY_WEIGHTS.name, "bytes": TINY_WEIGHTS.stat().st_size, "sha256": digest(TINY_WEIGHTS)},
        "training": read_training(TINY_WEIGHTS),
        "figures": figures,
    }
    CARD.write_text(json.dumps(card, indent=1) + "\n")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
