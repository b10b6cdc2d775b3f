"""Mask out: what is done with a binary mask once the model has given it, or before the model gets it (document §1.7.2).

Masks are boolean, H×W, True where the object is; any number of axes may stand in front (K candidates, B prompts).
"""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from PIL import Image
from skimage.measure import label
from torch.nn import functional as F

from samlite.files import whole_file
from samlite.frames import ResizeLongestSide
from samlite.images import read_photo

# One colour a candidate, told apart by readers who do not see red and green as different (Okabe and Ito, 2008).
COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))


def as_binary(mask: Shaped[np.ndarray, "*any"], name: str = "mask") -> Bool[np.ndarray, "*any"]:
    """bool, or numbers that are 0 and one other value such as 1 or 255 → bool.

    Raises ValueError for numbers with more values (logits, probabilities, label maps): a threshold is the caller's
    choice. The same for NaN and infinite ones.
    """
    if mask.dtype == bool:
        return mask
    values = np.unique(mask)
    others = values[values != 0]
    if not np.isfinite(others).all():
        raise ValueError(f"{name} has NaN or infinite values: a binary mask is bool, or 0 and one other number")
    if len(others) > 1:
        raise ValueError(
            f"{name} has {len(values)} different values from {values[0]:g} to {values[-1]:g}: a binary mask is bool, "
            f"or 0 and one other number; choose a threshold first ({name} > 0 for logits, > 0.5 for probabilities)"
        )
    return mask != 0


def mask_to_logits(
    mask: Shaped[np.ndarray, "*any"], image_size: int, low_res_size: int, strength: float | int = 8.0
) -> Float[np.ndarray, "1 low_res low_res"]:
    """A binary mask of a photo's size → a mask prompt: logits (1, 256, 256) in the low-res frame.

    The document feeds a binary map, "typically" of the photo's resolution (§1.3); the model takes low-res logits such
    as it returns. In between the mask goes the way of the photo: longest side to ``image_size`` (S), padded to S×S,
    then the average over each low-res cell gives the share c of the cell that is covered, and (2c − 1) · ``strength``
    the logit: +strength inside, −strength outside and in the padding, 0 on a border that halves its cell.
    ``low_res_size`` is four cells per patch. ``SamPredictor.mask_to_logits`` knows both sizes.

    Raises ValueError when the mask is empty of pixels, not binary, or not H×W.
    """
    if mask.ndim != 2 or 0 in mask.shape:
        raise ValueError(f"mask has shape {mask.shape}: one mask of the photo's height and width is expected, H×W")
    height, width = ResizeLongestSide.get_preprocess_shape(*mask.shape, image_size)
    picture = Image.fromarray(as_binary(mask).astype(np.float32))
    resized = np.array(picture.resize((width, height), Image.Resampling.BOX))  # averages areas when it shrinks
    padded = np.pad(resized, ((0, image_size - height), (0, image_size - width)))  # (S, S)
    covered = F.adaptive_avg_pool2d(torch.from_numpy(padded)[None], low_res_size).numpy()  # (1, 256, 256)
    return (2 * covered - 1) * np.float32(strength)


def mask_to_box(mask: Shaped[np.ndarray, "*any height width"]) -> Int[np.ndarray, "*any 4"]:
    """The smallest box around each mask, XYXY, in indices of the first and the last pixel; all zeros if it is empty.

    The indices are inclusive, as in the released code: a mask one pixel wide has x1 = x2, and then its box has no
    area and cannot be a prompt. Masks are bool, or what `as_binary` takes for it; it raises ValueError.
    """
    mask = as_binary(mask)
    columns, rows = mask.any(-2), mask.any(-1)
    height, width = mask.shape[-2:]
    left, top = columns.argmax(-1), rows.argmax(-1)
    right, bottom = width - 1 - columns[..., ::-1].argmax(-1), height - 1 - rows[..., ::-1].argmax(-1)
    return np.stack([left, top, right, bottom], axis=-1) * rows.any(-1)[..., None]


def mask_area(mask: Shaped[np.ndarray, "*any height width"]) -> Int[np.ndarray, "*any"]:
    """Number of pixels in each mask, bool or what `as_binary` takes for it."""
    return np.asarray(as_binary(mask).sum((-2, -1)))


def mask_iou(
    first: Shaped[np.ndarray, "*any height width"], second: Shaped[np.ndarray, "*others height width"]
) -> Float[np.ndarray, "*result"]:
    """Intersection over union, 0…1, of each pair of masks; the axes in front of H×W broadcast.

    (K, H, W) and (H, W) give (K,): how well each candidate fits one truth. Two empty masks agree: 1. Masks are bool,
    or what `as_binary` takes for it; it raises ValueError.
    """
    first, second = as_binary(first, "first"), as_binary(second, "second")
    intersection = mask_area(first & second)
    union = mask_area(first | second)
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def stability_scores(
    logits: Float[torch.Tensor, "*any height width"], mask_threshold: float | int, offset: float | int
) -> Float[torch.Tensor, "*any"]:
    """IoU of the mask cut ``offset`` above the threshold with the mask cut ``offset`` below it, 0…1.

    High where the edge is sharp: then the mask does not depend on where it is cut. The first lies inside the second,
    so that the IoU is the ratio of their areas. NaN for a mask without a pixel at the lower cut.
    """
    inner = (logits > mask_threshold + offset).sum((-2, -1), dtype=torch.int32)
    outer = (logits > mask_threshold - offset).sum((-2, -1), dtype=torch.int32)
    return inner / outer


def remove_small_regions(
    mask: Shaped[np.ndarray, "height width"], area: float | int, mode: str
) -> tuple[Bool[np.ndarray, "height width"], bool]:
    """Fill holes ("holes") or drop islands ("islands") of less than ``area`` pixels; and say whether any was there.

    Pixels that touch at a corner belong together. The largest island stays even when it is small. The mask is bool, or
    what `as_binary` takes for it; ValueError for others and for an unknown ``mode``.
    """
    mask = as_binary(mask)
    if mode not in ("holes", "islands"):
        raise ValueError(f"mode is {mode!r}: 'holes' or 'islands' is expected")
    labels, count = label(mask if mode == "islands" else ~mask, connectivity=2, return_num=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0  # what is not a region
    small = np.flatnonzero(sizes[1:] < area) + 1
    if len(small) == 0:
        return mask, False
    if mode == "islands" and len(small) == count:
        small = small[small != sizes.argmax()]
    return np.isin(labels, small) ^ mask, True


def overlay_masks(
    photo: Shaped[np.ndarray, "height width *channels"],
    masks: Shaped[np.ndarray, "*k rows columns"],
    colours: tuple[tuple[int, int, int], ...] = COLOURS,
    opacity: float | int = 0.5,
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo with each mask (one H×W, or K×H×W) tinted in its colour, and a full line of it along the inside edge.

    Later masks lie over earlier ones; ``opacity`` is the share of the colour in the tint, 0…1. The photo is an array
    by the rules of `samlite.images`; masks are bool, or what `as_binary` takes for it. Raises ValueError.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}: a share from 0 to 1 is expected")
    result = read_photo(photo).astype(np.float32)
    masks = as_binary(masks, "masks")
    if masks.shape[-2:] != result.shape[:2]:
        raise ValueError(f"masks have shape {masks.shape}: the photo's height and width are {result.shape[:2]}")
    for index, mask in enumerate(masks.reshape(-1, *masks.shape[-2:])):
        colour = np.array(colours[index % len(colours)], dtype=np.float32)
        result[mask] = (1 - opacity) * result[mask] + opacity * colour
        result[mask & ~_interior(mask)] = colour
    return np.rint(result).astype(np.uint8)


def _interior(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels of the mask whose four neighbours are in it too; beyond the photo's border everything counts as in."""
    padded = np.pad(mask, 1, constant_values=True)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def save_mask(path: str | os.PathLike, mask: Shaped[np.ndarray, "*any"]) -> None:
    """Write a mask, bool or what `as_binary` takes for it, as an 8-bit grey PNG, 255 inside; see `save_png`."""
    if mask.ndim != 2:
        raise ValueError(f"mask has shape {mask.shape}: one mask, H×W, is expected; masks[k] is one of several")
    save_png(path, as_binary(mask).astype(np.uint8) * 255)


def save_png(path: str | os.PathLike, picture: UInt8[np.ndarray, "height width *channels"]) -> None:
    """Write a picture as PNG so that at no time a half-written file stands under its name.

    It is written beside its place and then moved there. Raises ValueError when the name does not end in .png, and
    OSError when the folder is missing or cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path is {str(path)!r}: it must end in .png, for other formats blur masks or lose them")
    with whole_file(path) as unfinished:
        Image.fromarray(picture).save(unfinished, format="PNG")
