"""What a model needs in memory, said before it takes it: its weights, and what encoding one photo holds beside them.

A system out of memory does not raise an error, it ends the process, and a notebook loses everything. So the registry
asks before it loads, and the predictor before its first photo. What a photo needs follows from the model's sizes; the
tests compare it with what the process really holds. Letters: L patches, D width, S side of the image.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from samlite import free_memory

SWITCH = "SAMLITE_MEMORY_CHECK"  # "off": no question is asked
FIRST_USE = 16e6  # bytes that PyTorch takes for its kernels when they run for the first time


class TooLittleMemoryError(MemoryError):
    """It would not fit: what was to be done, what it needs, what is free, and what to do."""


def weight_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers, whatever their dtypes; also on the meta device."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def encoding_bytes(sam: nn.Module, pictures: int = 1) -> int | None:
    """The most that encoding photos together on a CPU holds beside the weights, in bytes, to about a quarter.

    On an accelerator it is a lower bound, for there a photo goes the plain way. None for an encoder of another kind.
    """
    encoder = sam.image_encoder
    if not hasattr(encoder, "patch_projection"):
        return None
    size = encoder.patch_projection.weight.element_size()  # 2 when the encoder computes in bfloat16
    grid, width, channels = encoder.grid_size, encoder.patch_projection.out_features, sam.prompt_encoder.channels
    image, tokens, embedding = 3 * encoder.image_size**2, grid**2 * width, grid**2 * channels
    together = pictures
    relative = [block.attention for block in encoder.blocks if hasattr(block.attention, "relative_rows")]
    if not relative:  # tokens and two norms, what came into the block, and an MLP before and after its activation
        numbers = 13 * tokens
    elif hasattr(encoder, "encode_one"):  # the buffers of samlite.released.fast_encoder: q, k, v, context, MLP, scores
        window = min((len(attention.relative_rows) + 1) // 2 for attention in relative)
        numbers = 7 * tokens + max(8 * grid**3, relative[0].heads * window**4)
        together = 1  # one photo after the other
    else:  # all heads' scores of 16 rows of the grid, their bias, and their softmax
        numbers = 11 * tokens + 3 * relative[0].heads * 16 * grid**3
    per_picture = 4 * 2 * image + size * 4 * embedding
    return int(per_picture * pictures + size * (image + numbers) * together + FIRST_USE)


def free_bytes(device: torch.device | str = "cpu") -> int | None:
    """What this process may still take there, in bytes, or None where the system does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # freed, but not given back
        return torch.cuda.mem_get_info(device)[0] + kept
    main = free_memory.memory()
    free = None if main.free is None else main.free + main.swap
    if device.type == "mps":  # shares main memory, and has a limit of its own
        left = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        return left if free is None else min(left, free)
    return free if device.type == "cpu" else None


def check(what: str, needed: float, device: torch.device | str | None = None, advice: str = "") -> None:
    """Raises TooLittleMemoryError when fewer than ``needed`` bytes are free on ``device``; never when nobody knows."""
    device = device or "cpu"
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return
    free = free_bytes(device)
    if free is not None and needed > free:
        raise TooLittleMemoryError(
            f"{what} needs {in_words(needed)} of memory, and {in_words(free)} are free on {_place(device)}: "
            f"{advice}close other programs, or set {SWITCH}=off to try all the same"
        )


def check_weights(name: str, needed: float, device: torch.device | str | None = None) -> None:
    """Whether a model's weights fit; ``needed`` is in bytes. Raises TooLittleMemoryError."""
    advice = "take a smaller model (python -m samlite doctor lists what each needs) or precision='int8', "
    check(f"{name}, for its weights alone,", needed, device, advice)


def check_encoding(sam: nn.Module, pictures: int = 1) -> None:
    """Whether so many photos can be encoded together. Raises TooLittleMemoryError."""
    needed = encoding_bytes(sam, pictures)
    if needed is not None:
        what, advice = ("a photo", "") if pictures == 1 else (f"{pictures} photos at once", "pass fewer at once, ")
        check(f"encoding {what} with {described(sam)}", needed, sam.device, f"{advice}take a smaller model, ")


def check_masks(
    sam: nn.Module,
    prompts: int,
    candidates: int,
    original_size: tuple[int, int],
    advice: str = "ask for fewer at once, ",
) -> None:
    """Whether the masks of several prompts fit, at the model's size and at the photo's: the one is made from the other.

    Raises TooLittleMemoryError.
    """
    if prompts > 1:
        needed = 4 * prompts * candidates * (sam.image_size**2 + math.prod(original_size))
        check(f"bringing the masks of {prompts} prompts to the photo's size", needed, sam.device, advice)


@contextmanager
def out_of_memory_in_words(
    what: str, device: torch.device | str | None, advice: str = "take a smaller model, "
) -> Iterator[None]:
    """PyTorch's own out-of-memory errors → TooLittleMemoryError."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; a CPU that cannot has no class of its own
        said = ("not enough memory", "can't allocate memory")  # Windows; Linux and macOS
        if not isinstance(error, torch.OutOfMemoryError) and not any(words in str(error) for words in said):
            raise
        raise TooLittleMemoryError(
            f"{what} found too little memory on {_place(device)}: {advice}close other programs"
            + ("" if torch.device(device or "cpu").type == "cpu" else ", or use device='cpu'")
        ) from error


def described(sam: nn.Module) -> str:
    encoder = sam.image_encoder
    if not hasattr(encoder, "patch_projection"):
        return "this model"
    return (
        f"this model ({len(encoder.blocks)} blocks, {encoder.patch_projection.out_features} wide, "
        f"{encoder.image_size}×{encoder.image_size})"
    )


def in_words(size: float) -> str:
    """Bytes → "2.56 GB", "17 MB" or "300 kB"."""
    if size >= 1e8:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _place(device: torch.device | str | None) -> str:
    device = torch.device(device or "cpu")
    return "this machine" if device.type == "cpu" else f"device {str(device)!r}"
