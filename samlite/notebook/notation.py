"""The page of letters and names, written from the model itself: ``python -m samlite.notebook.notation``.

The shapes in letters are those of ``steps.py``, the numbers those of the full-size model.
"""

from __future__ import annotations

import re
from pathlib import Path

from samlite.masked_autoencoder import HIDDEN_SHARE, MaskedAutoencoder
from samlite.notebook.steps import MAE_STEPS, STEPS, Step
from samlite.sam import Sam, document_sam

PAGE = Path(__file__).parents[2] / "book" / "notation.md"

# letter → (what it counts, its value at full size as a function of the model; None where the reader decides)
LETTERS = {
    "B": ("images, or prompts on one image", None),
    "S": ("pixels along a side of the input frame", lambda sam: sam.image_size),
    "P": ("pixels along a side of a patch", lambda sam: sam.image_encoder.patch_size),
    "G": ("patches along a side of the grid, S / P", lambda sam: sam.image_encoder.grid_size),
    "L": ("patches, G · G", lambda sam: sam.image_encoder.grid_size**2),
    "D": ("channels inside the image encoder", lambda sam: sam.image_encoder.patch_projection.out_features),
    "C": ("channels of the image embedding and of the decoder", lambda sam: sam.prompt_encoder.channels),
    "N": ("points of a prompt", None),
    "M": ("boxes of a prompt", None),
    "X": ("text embeddings of a prompt", None),
    "E": ("numbers in a text embedding", None),
    "K": ("candidate masks", lambda sam: len(sam.mask_decoder.mask_tokens)),
    "V": (
        "patches that a masked autoencoder shows to its encoder",
        lambda sam: round(sam.image_encoder.grid_size**2 * (1 - HIDDEN_SHARE)),
    ),
    "A": (
        "channels inside the decoder of a masked autoencoder",
        lambda sam: MaskedAutoencoder(sam.image_encoder).narrowing.out_features,
    ),
    "T": ("tokens of the decoder, N + 2M + X + K + 1", None),
    "H": ("rows of the original photo", None),
    "W": ("columns of the original photo", None),
}

BEGINNING = """\
# Notation

One letter has one meaning in the model, in its chapters, in figures and in messages; B alone has two, images in the
image encoder and prompts in the decoder. Training (chapter 10 and
`samlite/learning`) has letters of its own: there P counts clicks on an image and J right answers, and each file names
its letters at the head. Written by `python -m samlite.notebook.notation` from the code; a test compares.

## Letters

"""

FRAMES = """
## Frames of coordinates

H and W are always said together with their [frame](glossary.md#frame). A place is written (x, y): x to the right, y
down, from the upper left corner. A tensor is indexed the other way round, row before column: `photo[y, x]`. A box is
(x1, y1, x2, y2), its upper left and its lower right corner.

| frame | sides | what lies in it |
|---|---|---|
| original | W × H pixels | the photo; points, boxes and masks of `SamPredictor.predict` |
| input | S × S pixels | the photo, resized so that its longest side is S, and the padding |
| low-res | 4G × 4G cells | `low_res_logits` and the mask prompt |
| grid | G × G cells | the patches and the image embedding |

A name in the code that holds coordinates of another frame than the original says so: `points_input_frame`.

## Names of tensors

Every step of the model has a name. It is the key in the [shape ledger](glossary.md#shape-ledger), the word in the
diagrams, and the word in the text. A letter that is left in the last column but one depends on the prompt or the photo.

"""

PRETRAINING = """
## Names of tensors in pre-training

The [masked autoencoder](glossary.md#masked-autoencoder) of §1.6 has steps of its own. Its decoder rebuilds pixels, has
nothing to do with the mask decoder, and is thrown away.

"""


def full_size_letters(sam: Sam) -> dict[str, int]:
    """The letters that the model decides, with their values."""
    return {letter: value(sam) for letter, (_, value) in LETTERS.items() if value}


def in_numbers(symbols: str, letters: dict[str, int]) -> tuple[int | str, ...]:
    """``"B, L, 3*P*P"`` → ``("B", 4096, 768)``: numbers where every letter is known, the letters elsewhere."""
    sides: list[int | str] = []
    for side in symbols.split(", "):
        known = set(re.findall("[A-Z]", side)) <= letters.keys()
        sides.append(eval(side, {"__builtins__": {}}, dict(letters)) if known else side.replace("*", "·"))
    return tuple(sides)


def written(shape: tuple[int | str, ...] | str) -> str:
    """A shape as the pages write it: (B, 4096, 768) or (B, L, 3·P·P)."""
    sides = shape.split(", ") if isinstance(shape, str) else [str(side) for side in shape]
    return f"({', '.join(sides)})".replace("*", "·")


def step_line(name: str, step: Step, letters: dict[str, int]) -> str:
    """What the glossary says of a step: ``Step `patches`, (B, L, 3·P·P); full size (B, 4096, 768)``."""
    shape, numbers = written(step.symbols), written(in_numbers(step.symbols, letters))
    return f"Step `{name}`, {shape}" + (f"; full size {numbers}" if numbers != shape else "")


def page() -> str:
    """The whole page as Markdown."""
    letters = full_size_letters(document_sam(device="meta"))
    rows = ["| letter | the number of | full size |", "|---|---|---|"]
    rows += [f"| {letter} | {meaning} | {letters.get(letter, '')} |" for letter, (meaning, _) in LETTERS.items()]
    steps = ["| name | document | shape | full size | what it is |", "|---|---|---|---|---|"]
    for name, step in STEPS.items():
        numbers = written(in_numbers(step.symbols, letters))
        steps.append(f"| `{name}` | §{step.section} | {written(step.symbols)} | {numbers} | {step.meaning} |")
    pretraining = ["| name | document | shape | full size | what it is |", "|---|---|---|---|---|"]
    for name, step in MAE_STEPS.items():
        numbers = written(in_numbers(step.symbols, letters)) if step.symbols else ""
        shape = written(step.symbols) if step.symbols else ""
        pretraining.append(f"| `{name}` | §{step.section} | {shape} | {numbers} | {step.meaning} |")
    return (
        BEGINNING + "\n".join(rows) + "\n" + FRAMES + "\n".join(steps) + "\n"
        + PRETRAINING + "\n".join(pretraining) + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
