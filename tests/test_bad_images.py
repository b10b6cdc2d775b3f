"""Images that are refused, with an error that helps, and images that are read by a documented rule."""

import errno
from io import BytesIO

import numpy as np
import pytest
import torch
from bad_inputs import (
    CHANNELS_FIRST,
    EXIF,
    FILES,
    FLOAT_255,
    GREY_ROW,
    HEIGHT,
    KINDS,
    NOT_FINITE,
    NUMBERS,
    PHOTO,
    SHAPES,
    TRANSPARENT,
    WIDTH,
    assert_says,
    ids,
    small_sam,
)
from PIL import Image
from test_images import png_header

from samlite import SamPredictor
from samlite.images import read_photo


@pytest.fixture(scope="module")
def sam():
    return small_sam()


def with_pixel(value, dtype=np.float32):
    """A float photo in 0…1 with one value in two places, the first of them x=5, y=3, channel 1."""
    photo = (PHOTO / 255).astype(dtype)
    photo[3, 5, 1] = photo[90, 100, 0] = value
    return photo


def file_of(content):
    """A function that writes a file into a folder and returns its path; files cannot stand in a table."""

    def write(folder):
        path = folder / "photo.jpg"
        path.write_bytes(content)
        return path

    return write


def encoded(picture, file_format, **options):
    file = BytesIO()
    picture.save(file, format=file_format, **options)
    return file.getvalue()


def saved(picture, folder):
    picture.save(folder / "photo.tif")
    return folder / "photo.tif"


JPEG = encoded(Image.fromarray(PHOTO), "JPEG")
PNG = encoded(Image.fromarray(PHOTO), "PNG")
ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6


# (row of the table, name, image or a function folder → image, error, what its message must say)
REFUSED_IMAGES = [
    (FLOAT_255, "float32", PHOTO.astype(np.float32), ValueError,
     ["image", "float32", "from 0 to 255", "0…1", "uint8"]),
    (FLOAT_255, "negative, as after normalising", PHOTO / 255 - 0.5, ValueError,
     ["image", "float64", "from -0.5 to 0.5", "0…1"]),
    (FLOAT_255, "a little below 0", np.full((20, 20), -0.01), ValueError, ["image", "from -0.01", "0…1"]),
    (FLOAT_255, "float tensor", torch.from_numpy(PHOTO).permute(2, 0, 1).float(), ValueError,
     ["image", "from 0 to 255", "0…1"]),
    (FLOAT_255, "PIL mode F", Image.new("F", (20, 20), 255.0), ValueError,
     ["image", "from 255 to 255", "0…1"]),
    (NOT_FINITE, "NaN", with_pixel(np.nan), ValueError,
     ["image", "2 values", "NaN", "x=5, y=3, channel 1", "replace"]),
    (NOT_FINITE, "inf", with_pixel(-np.inf, np.float64), ValueError,
     ["image", "2 values", "infinite", "x=5, y=3, channel 1"]),
    (NUMBERS, "bool", PHOTO > 100, TypeError,
     ["image", "bool", "uint8", "float", "uint16", "* 255"]),
    (NUMBERS, "int64", PHOTO.astype(np.int64), TypeError,
     ["image", "int64", "uint8", "float", "uint16", "astype(np.uint8)"]),
    (NUMBERS, "int8", PHOTO.astype(np.int8), TypeError, ["image", "int8", "uint8"]),
    (NUMBERS, "complex", PHOTO.astype(complex), TypeError, ["image", "complex128", "uint8"]),
    (NUMBERS, "objects", PHOTO.astype(object), TypeError, ["image", "object", "uint8"]),
    (NUMBERS, "PIL mode I beyond 16 bits", lambda folder: saved(Image.new("I", (20, 20), 70000), folder), ValueError,
     ["image", "from 70000 to 70000", "0…65535"]),
    (NUMBERS, "PIL mode I from int32", Image.fromarray(PHOTO[..., 0].astype(np.int32)), TypeError,
     ["image", 'mode "I"', "astype(np.uint8)", "astype(np.uint16)"]),
    (CHANNELS_FIRST, "3×H×W", PHOTO.transpose(2, 0, 1), ValueError,
     ["image", "(3, 97, 140)", CHANNELS_FIRST, "H×W×C", "np.moveaxis"]),
    (CHANNELS_FIRST, "1×H×W", PHOTO[None, ..., 0], ValueError, ["image", "(1, 97, 140)", CHANNELS_FIRST, "H×W×C"]),
    (CHANNELS_FIRST, "batch", PHOTO[None], ValueError, ["image", "(1, 97, 140, 3)", "one photo at a time", "image[0]"]),
    (CHANNELS_FIRST, "seven channels", np.zeros((20, 20, 7), np.uint8), ValueError,
     ["image", "(20, 20, 7)", "H×W×C", "1 to 4 channels"]),
    (CHANNELS_FIRST, "one axis", np.zeros(20, np.uint8), ValueError, ["image", "(20,)", "H×W"]),
    (CHANNELS_FIRST, "H×W×C tensor", torch.from_numpy(PHOTO), ValueError,
     ["image", "(97, 140, 3)", "C×H×W", "tensor.numpy()"]),
    (KINDS, "None", None, TypeError, ["image is None", "could not be read", "path"]),
    (KINDS, "a list", PHOTO.tolist(), TypeError, ["image is a list", "path", "PIL", "numpy array"]),
    (KINDS, "bytes", b"photo.jpg", TypeError, ["image is a bytes", "path", "PIL", "numpy array"]),
    (KINDS, "no such file", "no/such/photo.jpg", ValueError, ["image 'no/such/photo.jpg'", "no such file"]),
    (KINDS, "an address", "https://example.org/photo.jpg", ValueError,
     ["image 'https://example.org/photo.jpg'", "no such file", "download it"]),
    (KINDS, "a folder", lambda folder: folder, ValueError, ["image", "is a folder", "one photo"]),
    (SHAPES, "1×2000", np.zeros((1, 2000, 3), np.uint8), ValueError,
     ["image", "1×2000", "limit", "aspect ratio", "16:1", "crop"]),
    (SHAPES, "2000×1", np.zeros((2000, 1, 3), np.uint8), ValueError, ["image", "2000×1", "limit", "16:1"]),
    (SHAPES, "0×0", np.zeros((0, 0, 3), np.uint8), ValueError, ["image is empty", "(0, 0, 3)"]),
    (SHAPES, "0×5", np.zeros((0, 5), np.uint8), ValueError, ["image is empty", "(0, 5)"]),
    (SHAPES, "PIL 0×0", Image.new("RGB", (0, 0)), ValueError, ["image is empty", "0×0"]),
    (FILES, "bomb", lambda folder: png_header(folder / "a.png", 60000, 60000),
     ValueError, ["a.png", "limit of 134,217,728", "not decoded", "smaller"]),
    (FILES, "truncated JPEG", file_of(JPEG[: len(JPEG) // 2]), ValueError,
     ["photo.jpg", "truncated", "get it again"]),
    (FILES, "truncated PNG", file_of(PNG[: len(PNG) // 2]), ValueError,
     ["photo.jpg", "truncated", "get it again"]),
    (FILES, "header of a JPEG only", file_of(JPEG[:20]), ValueError,
     ["photo.jpg", "damaged or truncated|not an image"]),
    (FILES, "text", file_of(b"<html>404 not found</html>"), ValueError,
     ["photo.jpg", "not an image", "JPEG, PNG", "converted"]),
    (FILES, "empty file", file_of(b""), ValueError,
     ["photo.jpg", "not an image"]),
]  # fmt: skip

# (row, name, image or a function folder → image, the photo it must be read as)
WHITE_HALF = np.concatenate([PHOTO[:, :70], np.full((HEIGHT, 70, 3), 255, np.uint8)], axis=1)
ALPHA = np.where(np.arange(WIDTH) < 70, 255, 0).astype(np.uint8)[None, :, None].repeat(HEIGHT, axis=0)
GREY = PHOTO[..., :1]
WHITE_HALF_GREY = WHITE_HALF[..., :1].repeat(3, axis=2)
PALETTE = Image.fromarray(PHOTO).quantize(32)
ACCEPTED_IMAGES = [
    (GREY_ROW, "H×W", GREY[..., 0], GREY.repeat(3, axis=2)),
    (GREY_ROW, "H×W×1", GREY, GREY.repeat(3, axis=2)),
    (GREY_ROW, "PIL mode L", Image.fromarray(GREY[..., 0]), GREY.repeat(3, axis=2)),
    (TRANSPARENT, "RGBA array", np.concatenate([PHOTO, ALPHA], axis=2), WHITE_HALF),
    (TRANSPARENT, "RGBA image", Image.fromarray(np.concatenate([PHOTO, ALPHA], axis=2)), WHITE_HALF),
    (TRANSPARENT, "LA array", np.concatenate([GREY, ALPHA], axis=2), WHITE_HALF_GREY),
    (TRANSPARENT, "LA image", Image.fromarray(np.concatenate([GREY, ALPHA], axis=2)), WHITE_HALF_GREY),
    (TRANSPARENT, "palette", PALETTE, np.asarray(PALETTE.convert("RGB"))),
    (NUMBERS, "uint16", PHOTO.astype(np.uint16) * 257, PHOTO),
    (KINDS, "PIL image", Image.fromarray(PHOTO), PHOTO),
    (KINDS, "path", file_of(PNG), PHOTO),
    (KINDS, "path as a string", lambda folder: str(file_of(PNG)(folder)), PHOTO),
    (EXIF, "path", file_of(encoded(Image.fromarray(PHOTO), "PNG", exif=ON_ITS_SIDE)), np.rot90(PHOTO, -1)),
    (EXIF, "PIL image",
     lambda folder: Image.open(BytesIO(encoded(Image.fromarray(PHOTO), "PNG", exif=ON_ITS_SIDE))), np.rot90(PHOTO, -1)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "name", "image", "kind", "says"), REFUSED_IMAGES, ids=ids(REFUSED_IMAGES))
def test_image_is_refused(row, name, image, kind, says, sam, tmp_path):
    predictor = SamPredictor(sam)
    predictor.set_image(PHOTO)
    image = image(tmp_path) if callable(image) else image
    with pytest.raises(kind) as error:
        predictor.set_image(image)
    assert_says(error, says)
    with pytest.raises(RuntimeError, match="set_image"):  # or the next prompt would be answered on the photo before
        predictor.predict([[1, 1]], [1])


@pytest.mark.parametrize(("row", "name", "image", "expected"), ACCEPTED_IMAGES, ids=ids(ACCEPTED_IMAGES))
def test_image_is_accepted(row, name, image, expected, sam, tmp_path):
    image = image(tmp_path) if callable(image) else image
    np.testing.assert_array_equal(read_photo(image), expected)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    assert predictor.original_size == expected.shape[:2]
    assert predictor.predict([[5, 5]], [1])[0].shape == (3, *expected.shape[:2])


def test_a_missing_file_is_caught_by_either_name():
    for kind in (ValueError, FileNotFoundError):
        with pytest.raises(kind):
            read_photo("no/such/photo.jpg")


@pytest.mark.parametrize("step", ["PIL.Image.open", "PIL.ImageFile.ImageFile.load"])
@pytest.mark.parametrize("kind", [PermissionError, OSError])
def test_a_disk_that_fails_is_no_damaged_photo(step, kind, tmp_path, monkeypatch):
    """The error stays the system's own, and names the file."""
    path = file_of(PNG)(tmp_path)
    number = errno.EACCES if kind is PermissionError else errno.EIO

    def fails(*args, **kwargs):
        raise OSError(number, "the system's words")

    monkeypatch.setattr(step, fails)
    with pytest.raises(kind, match="image '.*photo.jpg' could not be read: the system's words") as error:
        read_photo(path)
    assert error.value.errno == number and not isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("image", "image_format", "says"),
    [(PHOTO, "rgb", ["image_format", "'rgb'", '"RGB"']), (Image.fromarray(PHOTO), "BGR", ["image_format", "arrays"])],
)
def test_image_format_is_refused(image, image_format, says, sam):
    with pytest.raises(ValueError) as error:
        SamPredictor(sam).set_image(image, image_format)
    assert_says(error, says)
