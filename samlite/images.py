"""Photo in: whatever holds a picture becomes RGB, uint8, H×W×3, or an error that says why not (document §1.2).

The rules, all of them explicit:

========================  ===========================================================================================
what comes in             what becomes of it
========================  ===========================================================================================
path                      opened by Pillow; size checked before a pixel is decoded; first frame of an animation
EXIF orientation          always applied, to paths and to PIL images; the photo's size is the size after it
grey                      the one channel is repeated three times
transparency              laid over white: alpha·colour + (1 − alpha)·white, before anything is resized, so that the
                          colours hidden under transparent pixels never bleed in; premultiplied modes are not
                          multiplied again
16 bits                   0…65535 → 0…255 (value / 257, rounded), never stretched to the picture's own range
float                     0…1 → 0…255; what does not round into that range is an error, for 0…255 looks like it by
                          accident
other numbers             an error: bool and int64 say nothing about their range, nor does a PIL image of mode "I" that
                          was not opened from a file (in a file it is 16 bits)
array                     H×W, H×W×1, H×W×2 (grey, alpha), H×W×3, H×W×4 (red, green, blue, alpha)
torch tensor              torch's own convention: C×H×W, or H×W; otherwise as an array
colour profiles           not applied
========================  ===========================================================================================
"""

import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"}  # what counts as one in a folder
MAXIMUM_PIXELS = 2**27  # 134 million: 384 MiB once decoded, more than any hand-held camera but the very largest

ACCEPTED_NUMBERS = "uint8 in 0…255, float in 0…1, or uint16 in 0…65535"


class ImageNotFoundError(ValueError, FileNotFoundError):
    """A path that leads to no file: caught by either name."""


def read_photo(image: Any, image_format: str = "RGB") -> UInt8[np.ndarray, "h w 3"]:
    """Anything that holds a photo → RGB, uint8, H×W×3.

    ``image``: a path (str or PathLike), a PIL image, a numpy array or a torch tensor; the table at the head of this
    module has the rule for each kind. A uint8 RGB array comes back as it is, not copied.
    ``image_format``: "RGB", or "BGR" for an array with that order of channels (as OpenCV reads photos).

    Raises ValueError or TypeError that names what was given and what to do: None, not an image, truncated, more than
    ``MAXIMUM_PIXELS``, empty, channels first, NaN, a range or a type of numbers that does not say what white is.
    OSError when the file may not be read, or its disk or network fails: then it is not the photo.
    """
    if image_format not in ("RGB", "BGR"):
        raise ValueError(f'image_format is {image_format!r}: it must be "RGB" or "BGR"')
    if image is None:
        raise TypeError(
            "image is None: the image could not be read (cv2.imread, for one, returns None instead of raising); "
            "check the path, or pass the path itself"
        )
    if isinstance(image, torch.Tensor):
        image = _channels_last(image)
    if isinstance(image, np.ndarray):
        return _from_array(image, image_format)
    if image_format == "BGR":
        raise ValueError(
            'image_format="BGR" is for arrays; a file or a PIL image knows the order of its own channels: leave it out'
        )
    if isinstance(image, (str, os.PathLike)):
        return _from_path(image)
    if isinstance(image, Image.Image):
        return _from_pil(image)
    raise TypeError(
        f"image is a {type(image).__name__}: pass a path, a PIL image, a numpy array (H×W×3) or a torch tensor (3×H×W)"
    )


# ---------------------------------------------------------------------------------------------- files and PIL images


@contextmanager
def _decoding(name: str):
    """Whatever Pillow raises on a damaged file, as one kind of error: a ValueError that names the file.

    What the system raises, no permission or a failing disk, stays an OSError, and names the file, too.
    """
    try:
        yield
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise ValueError(
            f"{name} is not an image that can be read (JPEG, PNG, TIFF, WebP, GIF, BMP …): check the file; "
            "other formats must be converted first"
        ) from None
    except Image.DecompressionBombError as error:  # Pillow's own limit, above ours
        raise ValueError(f"{_too_large(name)} ({error})") from None
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged data
        if isinstance(error, OSError) and error.errno is not None:  # Pillow's own have no number
            raise OSError(error.errno, f"{name} could not be read: {error.strerror}") from error
        raise ValueError(f"{name} could not be decoded, it is damaged or truncated ({error}): get it again") from error


def _too_large(name: str) -> str:
    return (
        f"{name} has more pixels than the limit of {MAXIMUM_PIXELS:,} and was not decoded: make it smaller first, "
        "or, if you trust it, decode it yourself and pass the array"
    )


def _from_path(given: str | os.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    path = Path(given)
    if not path.is_file():
        if path.is_dir():
            raise ValueError(f"image {str(given)!r} is a folder: pass the path of one photo")
        hint = ": download it first" if "://" in str(given) else f" (looked in {Path.cwd()})"
        if path.is_absolute():
            hint = ""
        raise ImageNotFoundError(f"image {str(given)!r}: there is no such file{hint}")
    name = f"image {str(given)!r}"
    with _decoding(name), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit speaks instead
        image = Image.open(path)  # reads the header, not the pixels
    with image:
        return _from_pil(image, name)


def _from_pil(image: Image.Image, name: str = "image") -> UInt8[np.ndarray, "h w 3"]:
    width, height = image.size
    if width * height > MAXIMUM_PIXELS:
        raise ValueError(f"{_too_large(name)} (it is {width}×{height}, {width * height:,} pixels)")
    if width * height == 0:
        raise ValueError(f"{name} is empty: its width and height are {width}×{height} pixels")
    from_file = image.format is not None
    with _decoding(name):
        image = ImageOps.exif_transpose(image)  # the pixels are decoded here
    mode = image.mode
    if mode == "I" and not from_file:  # as an array of int32 becomes one
        raise TypeError(
            'image is a PIL image of mode "I", whole numbers that do not say what white is: pass '
            "np.asarray(image).astype(np.uint8) if it holds 0…255, .astype(np.uint16) if it holds 0…65535"
        )
    if mode.startswith("I"):  # "I", and "I;16" with its byte orders: how Pillow holds 16-bit grey
        return _from_sixteen_bits(image)
    if mode == "F":
        return _from_array(np.asarray(image), "RGB")
    if mode in ("RGBa", "La"):  # premultiplied: the colour is alpha·colour already
        values = np.asarray(image).astype(np.uint16)
        return np.minimum(_three_channels(values[..., :-1]) + 255 - values[..., -1:], 255).astype(np.uint8)
    if image.has_transparency_data:  # RGBA, LA, PA, and one colour of "P", "L", "1" or "RGB" that stands for nothing
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))  # an own copy, for the image's buffer is read-only


def _from_sixteen_bits(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"image has integers from {values.min()} to {values.max()}, which is not 16 bits (0…65535): scale it"
        )
    values = values.astype(np.uint16)
    nothing = image.info.get("transparency")
    if isinstance(nothing, int):  # PNG: the grey value that stands for a transparent pixel
        values = np.where(values == nothing, np.uint16(65535), values)
    return _from_array(values, "RGB")


# ------------------------------------------------------------------------------------------------------------ arrays


def _channels_last(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim == 3 and tensor.shape[0] not in (1, 2, 3, 4):
        raise ValueError(
            f"image is a torch tensor of shape {tuple(tensor.shape)}: a tensor must be C×H×W with 1 to 4 channels; "
            "pass an H×W×C picture as a numpy array (tensor.numpy())"
        )
    tensor = tensor.detach().cpu()
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # numpy has no bfloat16
    return (tensor.permute(1, 2, 0) if tensor.ndim == 3 else tensor).numpy()


def _from_array(array: np.ndarray, image_format: str) -> UInt8[np.ndarray, "h w 3"]:
    _check_shape(array)
    array = array[..., None] if array.ndim == 2 else array  # (H, W) → (H, W, 1)
    array = _eight_bits(array)
    if array.shape[-1] in (2, 4):
        array = _over_white(array)
    else:
        array = _three_channels(array)
    return np.ascontiguousarray(array[..., ::-1] if image_format == "BGR" else array)


def _check_shape(array: np.ndarray) -> None:
    if 0 in array.shape[:2]:
        raise ValueError(f"image is empty: its shape is {array.shape}")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 2, 3, 4)):
        return
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        raise ValueError(
            f"image has shape {array.shape}, which looks like channels first: H×W×C is expected, "
            "np.moveaxis(image, 0, -1) makes it"
        )
    if array.ndim == 4:
        raise ValueError(f"image has shape {array.shape}: one photo at a time, H×W×C; pass image[0]")
    raise ValueError(f"image has shape {array.shape}: H×W (grey) or H×W×C with 1 to 4 channels is expected")


def _eight_bits(array: np.ndarray) -> UInt8[np.ndarray, "h w c"]:
    """uint8 as it is, uint16 and float scaled by the rule of the table."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.newbyteorder("=") == np.uint16:  # either byte order: some file formats are big-endian
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 257 · 255
    if not np.issubdtype(array.dtype, np.floating):
        hint = "; image.astype(np.uint8) if it holds 0…255" if np.issubdtype(array.dtype, np.integer) else ""
        hint = "; image.astype(np.uint8) * 255 if True is white" if array.dtype == bool else hint
        raise TypeError(f"image has numbers of type {array.dtype}: {ACCEPTED_NUMBERS} is accepted{hint}")
    finite = np.isfinite(array)
    if not finite.all():
        y, x, channel = np.argwhere(~finite)[0]
        raise ValueError(
            f"image has {finite.size - np.count_nonzero(finite)} values that are NaN or infinite, the first at "
            f"x={x}, y={y}, channel {channel}: replace them (np.nan_to_num) or find out where they come from"
        )
    low, high = float(array.min()), float(array.max())
    if low < -0.5 / 255 or high > 255.5 / 255:  # what rounds to 0…255 is forgiven: resizing overshoots a little
        raise ValueError(
            f"image is {array.dtype} with values from {low:g} to {high:g}: a float image must be in 0…1 (divide by "
            "255), an image in 0…255 must be uint8 (image.round().astype(np.uint8))"
        )
    return np.clip(np.rint(array.astype(np.float32) * 255), 0, 255).astype(np.uint8)


def _three_channels(array: np.ndarray) -> np.ndarray:
    """One channel (H, W, 1) is repeated three times; three stay."""
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array


def _over_white(array: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """(H, W, 2) or (H, W, 4) with straight alpha in the last channel → alpha·colour + (1 − alpha)·white."""
    alpha = array[..., -1:].astype(np.uint16)
    colour = _three_channels(array[..., :-1])
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)  # at most 65,152: fits 16 bits
