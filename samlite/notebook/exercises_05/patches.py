"""Exercises that are answered with code: patches, and the encoder put together (document §1.5.2–§1.5.6)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn

from samlite.image_encoder import ImageEncoder, patchify
from samlite.notebook.exercises import Exercise, Mistake, Stage
from samlite.notebook.exercises_05.material import numbered, views
from samlite.notebook.ledger import shape_ledger


def _cut(pattern: str) -> Callable[[Tensor, int], Tensor]:
    return lambda images, patch_size: rearrange(images, pattern, p=patch_size, q=patch_size)


def _reshape_only(images: Tensor, patch_size: int) -> Tensor:
    return images.reshape(len(images), -1, images.shape[1] * patch_size**2)


def _without_last(images: Tensor, patch_size: int) -> Tensor:
    """Loops that end one patch too early, in rows and in columns."""
    return patchify(images[..., :-patch_size, :-patch_size], patch_size)


def _shifted(images: Tensor, patch_size: int) -> Tensor:
    """Patches that begin one pixel too late, in a picture that is continued at its edge."""
    return patchify(images.roll((-1, -1), (-2, -1)), patch_size)


write_patchify = Exercise(
    name="write_patchify",
    title="Cut a photo into patches",
    difficulty=3,
    minutes=15,
    question="""
Write `patchify` yourself: images `(B, 3, height, width)` → patch vectors `(B, L, 3·P·P)`. Patches run row by row from
the upper left. Inside a vector stands the whole red plane of the patch, row by row, then the green, then the blue.
""",
    code="""
def my_patchify(images, patch_size):
    # <answer: patches = ...>
    batch, colours, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    # (B, 3, height, width) -> (B, 3, rows, P, columns, P): cut both sides in two
    patches = images.reshape(batch, colours, rows, patch_size, columns, patch_size)
    # -> (B, rows, columns, 3, P, P): which patch first, then what is in it
    patches = patches.permute(0, 2, 4, 1, 3, 5)
    # -> (B, rows·columns, 3·P·P)
    patches = patches.reshape(batch, rows * columns, colours * patch_size**2)
    # </answer>
    return patches


write_patchify.check(my_patchify)
""",
    expected=patchify,
    stages=[
        Stage("a photo of 6×6 numbered pixels", lambda: (numbered(1, 3, 6, 6), 2)),
        Stage("two photos in colour, wider than high", lambda: (numbered(2, 3, 4, 6), 2)),
        Stage("a real photo", lambda: (views().ledger["input"].tensor.clone(), views().patch_size)),
    ],
    mistakes=[
        Mistake("values never moved", "A reshape alone keeps all values in their order: it cuts the photo into strips, "
                "not into squares. Some axes have to change places.", _reshape_only),
        Mistake("column by column", "The patches are right, their order is not: row by row, from the upper left.",
                _cut("b c (y p) (x q) -> b (x y) (c p q)")),
        Mistake("patches on their side", "Inside each patch rows and columns have changed places.",
                _cut("b c (y p) (x q) -> b (y x) (c q p)")),
        Mistake("colours last", "The vector goes pixel by pixel, three colours each; whole planes of one colour are "
                "asked for.", _cut("b c (y p) (x q) -> b (y x) (p q c)")),
        Mistake("axes swapped", "You have one row for each place in the vector, and one column for each patch: the "
                "other way round. (So does torch's unfold.)", _cut("b c (y p) (x q) -> b (c p q) (y x)")),
        Mistake("still a grid", "Rows and columns of patches stand on two axes; one sequence is asked for.",
                _cut("b c (y p) (x q) -> b y x (c p q)")),
        Mistake("last patches missing", "The last row and the last column of patches are missing: an off-by-one at "
                "the end of a range?", _without_last),
        Mistake("one pixel off", "Every patch begins one pixel too far to the right and too far down.", _shifted),
        Mistake("pixels spread", "Each of your patches takes every so many-th pixel of the whole photo, not "
                "neighbours: the two halves of a side were split in the wrong order.",
                _cut("b c (p y) (q x) -> b (y x) (c p q)")),
    ],
    hints=[
        "Cut each side into (patches, pixels): the height of H becomes H/P rows of patches with P pixels each. "
        "`reshape` does it.",
        "After that there are six axes. Which three say *which* value within a patch? They go last; `permute`.",
        "With einops it is one line: `rearrange(images, \"b c (y p) (x q) -> …\", p=…, q=…)`.",
    ],
    explanation="""
A reshape never moves a value, it only draws other borders; `permute` moves them. Cutting into squares needs both. The
order inside the vector is a convention, but one that must be kept: with red, green and blue planes in turn, the linear
layer that follows is a strided convolution with its weight laid out flat.
""",
)  # fmt: skip


def _encode_in_samlite(images: Tensor, encoder: ImageEncoder) -> dict[str, Tensor]:
    with shape_ledger(encoder, keep=("positioned_patches", "encoded_patches")) as ledger:
        embedding = encoder(images)
    kept = {step: ledger[step].tensor for step in ("positioned_patches", "encoded_patches")}
    return kept | {"image_embedding": embedding}


def _encode(
    images: Tensor, encoder: ImageEncoder, *,
    positions: bool = True, in_every_block: bool = False, norm: bool = True, backwards: bool = False,
    first_only: bool = False, grid: str = "b (y x) d -> b y x d", channels: str = "b y x c -> b c y x",
) -> dict[str, Tensor]:  # fmt: skip
    """The encoder put together from its parts, with switches for what easily goes wrong."""
    tokens = encoder.patch_projection(patchify(images, encoder.patch_size))
    tokens = positioned = tokens + encoder.position_embedding if positions else tokens
    blocks = list(encoder.blocks)[::-1] if backwards else list(encoder.blocks)
    for block in [encoder.blocks[0]] * len(blocks) if first_only else blocks:
        tokens = block(tokens + encoder.position_embedding if in_every_block else tokens)
    tokens = encoder.norm(tokens) if norm else tokens
    laid_out = rearrange(tokens, grid, x=encoder.grid_size)
    embedding = rearrange(encoder.channel_projection(laid_out), channels)
    return {"positioned_patches": positioned, "encoded_patches": tokens, "image_embedding": embedding}


def _reshaped_embedding(images: Tensor, encoder: ImageEncoder) -> dict[str, Tensor]:
    """(B, G, G, C) reshaped straight to (B, C, G, G)."""
    right = _encode(images, encoder, channels="b y x c -> b y x c")
    side = encoder.grid_size
    return right | {"image_embedding": right["image_embedding"].reshape(len(images), -1, side, side)}


def _small_encoder() -> tuple[Tensor, ImageEncoder]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        encoder = ImageEncoder(image_size=24, patch_size=8, width=16, depth=3, heads=2, channels=6)
        for parameter in encoder.parameters():
            nn.init.normal_(parameter, std=0.2)  # no part is so small that forgetting it goes unnoticed
        return torch.randn(2, 3, 24, 24), encoder.eval()


build_the_encoder = Exercise(
    name="build_the_encoder",
    title="The whole encoder from its parts",
    difficulty=3,
    minutes=20,
    question="""
Put the encoder together from its trained parts, in the document's order (§1.5.2–§1.5.6). You get normalised `images`
`(B, 3, S, S)` and an `encoder` with `patch_size`, `grid_size`, `patch_projection`, `position_embedding`, `blocks`,
`norm` and `channel_projection`. Return a dict with `"positioned_patches"`, `"encoded_patches"` (after the norm) and
`"image_embedding"` `(B, C, G, G)`. `samlite.image_encoder.patchify`, or your own, may be used; `encoder(images)` not.
""",
    code="""
from samlite.image_encoder import patchify


def my_encoder(images, encoder):
    # <answer: positioned = tokens = embedding = ...>
    positioned = encoder.patch_projection(patchify(images, encoder.patch_size)) + encoder.position_embedding
    tokens = positioned
    for block in encoder.blocks:
        tokens = block(tokens)
    tokens = encoder.norm(tokens)
    grid = rearrange(tokens, "b (y x) d -> b y x d", x=encoder.grid_size)
    embedding = rearrange(encoder.channel_projection(grid), "b y x c -> b c y x")
    # </answer>
    return {"positioned_patches": positioned, "encoded_patches": tokens, "image_embedding": embedding}


build_the_encoder.check(my_encoder)
""",
    expected=_encode_in_samlite,
    stages=[
        Stage("a small encoder, two images", _small_encoder),
        Stage("tiny, a real photo", lambda: (views().ledger["input"].tensor, views().sam.image_encoder)),
    ],
    mistakes=[
        Mistake("positions forgotten", "Without positions the encoder sees a bag of patches: it cannot know which lie "
                "side by side.", partial(_encode, positions=False)),
        Mistake("positions in every block", "They are added once, before the first block (§1.5.3).",
                partial(_encode, in_every_block=True)),
        Mistake("last norm forgotten", "A norm follows the last block.", partial(_encode, norm=False)),
        Mistake("blocks backwards", "The blocks go from first to last.", partial(_encode, backwards=True)),
        Mistake("the same block again and again", "Every block has weights of its own; yours uses the first one "
                "each time.", partial(_encode, first_only=True)),
        Mistake("grid on its side", "The sequence goes row by row; your grid goes column by column.",
                partial(_encode, grid="b (x y) d -> b y x d")),
        Mistake("channels last", "The decoder wants (B, C, G, G), channels in front.",
                partial(_encode, channels="b y x c -> b y x c")),
        Mistake("channels first without moving them", "The shape is right, the values are not: a reshape does not "
                "move the channels to the front, permute does.", _reshaped_embedding),
    ],
    hints=[
        "One line for each section of the document, in its order.",
        "The last two steps only change places: sequence → grid, and channels from last to front.",
    ],
    explanation="""
Ten lines, and the result is bit for bit that of the model that ships: there is nothing else in the document's encoder.
""",
)  # fmt: skip
