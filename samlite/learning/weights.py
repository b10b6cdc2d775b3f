"""Weights out: float16 safetensors with the model's sizes and recipe inside, and the model card beside them."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import safe_open, save_file
from torch import Tensor

from samlite.files import whole_file
from samlite.registry import TINY_WEIGHTS
from samlite.sam import Sam

CARD = TINY_WEIGHTS.with_name("tiny.json")
CARD_PROSE = TINY_WEIGHTS.with_name("tiny.md")
CANVAS = (
    Path(__file__).parents[2] / "book" / "results" / "canvas.json"
)  # tests/browser/test_canvas_latency.py writes it
MARKS = ("<!-- figures: written by `python -m samlite evaluate tiny --card` -->", "<!-- end of figures -->")


def document_sizes(sam: Sam) -> dict[str, int]:
    """The arguments of `document_sam`, without the image size, that build a model like this one."""
    encoder, decoder, text = sam.image_encoder, sam.mask_decoder, sam.prompt_encoder.text_projection
    sizes = {
        "patch_size": encoder.patch_size,
        "width": encoder.position_embedding.shape[1],
        "depth": len(encoder.blocks),
        "heads": encoder.blocks[0].attention.heads,
        "channels": sam.prompt_encoder.channels,
        "decoder_heads": decoder.blocks[0].self_attention.heads,
        "decoder_mlp": decoder.blocks[0].mlp.layers[0].out_features,
    }
    return sizes | ({"text_width": text.in_features} if text is not None else {})


def save_weights(sam: Sam, model: dict[str, int], path: Path, training: dict[str, object]) -> None:
    """Write ``sam`` as float16; the metadata says how to build it ("config") and how it was made ("training").

    Of a model that was trained with text it also says on whose embeddings ("trained_on_text").
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in sam.state_dict().items()}
    config = json.dumps({"image_size": sam.image_size, **model})
    metadata = {"config": config, "training": json.dumps(training)}
    if sam.prompt_encoder.trained_on_text:
        metadata["trained_on_text"] = sam.prompt_encoder.trained_on_text
    with whole_file(path) as unfinished:
        save_file(state, unfinished, metadata=metadata)


def read_training(path: Path) -> dict[str, object]:
    """The "training" entry of a weights file: recipe, steps, minutes, machine, and the same of the run before it."""
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("training", "{}"))


def write_card(figures: dict[str, object]) -> None:
    """Put measured figures into the card: all of them into tiny.json, the tables into tiny.md between its marks."""
    card = {
        "weights": {"file": TINY_WEIGHTS.name, "bytes": TINY_WEIGHTS.stat().st_size, "sha256": digest(TINY_WEIGHTS)},
        "training": read_training(TINY_WEIGHTS),
        "canvas": json.loads(CANVAS.read_text(encoding="utf-8")),
        "figures": figures,
    }
    CARD.write_text(json.dumps(card, indent=1) + "\n")
    before, _, rest = CARD_PROSE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    CARD_PROSE.write_text(f"{before}{MARKS[0]}\n{card_tables(card)}\n{MARKS[1]}{after}")


def card_tables(card: dict) -> str:
    """The figures of a card as Markdown tables."""
    figures, training, weights, canvas = card["figures"], card["training"], card["weights"], card["canvas"]
    speed = figures["speed"]
    runs = runs_of(training)
    threads = sorted({run["threads"] for run in runs})
    lines = [
        f"`{weights['file']}`: {weights['bytes'] / 1e6:.1f} MB, SHA-256 `{weights['sha256']}`; "
        f"{sum(run['steps done'] for run in runs)} steps, {sum(run['minutes'] for run in runs):.0f} minutes on "
        f"{' or '.join(map(str, threads))} CPU thread(s) in {len(runs)} run(s), torch {training['torch']}.",
        "",
        f"Measured {figures['date']} with {speed['threads']} thread(s) on {speed['cores']} cores: encode "
        f"{speed['encode ms']} ms, one click with three masks {speed['click ms']} ms. From a click in JupyterLab to "
        f"its mask on the screen {canvas['median_milliseconds']:.0f} ms (median of {len(canvas['milliseconds'])}; "
        f"{canvas['machine']}), while the kernel held {canvas['kernel_peak_megabytes']} MB at most.",
    ]
    scenes = f"{figures.get('held-out scenes')} held-out generated scenes"
    for key, title in (("scenes", scenes), ("photos", "Photos, one click (BSDS500 validation)")):
        if key not in figures:
            continue
        lines += ["", f"| {title} | targets | oracle | share above 0.75 | selected |", "|---|---|---|---|---|"]
        for name, row in figures[key].items():
            if "oracle" in row:
                cells = (row["targets"], row["oracle"], row["share above 0.75"], row["selected"])
                lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    if "scenes" in figures:
        levels = figures["scenes"]["levels"]
        lines += [
            "",
            f"Of {levels['targets']} clicks with three different right answers, the three masks were subpart, part and "
            f"whole (each above 0.5 IoU, one to one) in {levels['recognised']:.1%}.",
        ]
    return "\n".join(lines)


def runs_of(training: dict) -> list[dict]:
    """A model's training, oldest run first: each run says in "before" what made the weights that it started from."""
    runs = [training]
    while runs[0].get("before"):
        runs.insert(0, runs[0]["before"])
    return runs


def digest_of_state(state: dict[str, Tensor]) -> str:
    """SHA-256 of a state dict, in hexadecimal: names, shapes and numbers as they lie in memory."""
    sha = hashlib.sha256()
    for name, value in sorted(state.items()):
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
