"""Bad input never passes in silence: each row is either accepted by a documented rule or an error that helps.

An error names the argument, says what was given and what to do. The released package takes most of these without a
word and answers with a mask of the wrong thing.

==============================================  ==========================================
row                                             test
==============================================  ==========================================
float RGB in 0..255                             test_image_is_refused
NaN / inf pixels                                test_image_is_refused
grey H×W, H×W×1                                 test_image_is_accepted
RGBA, LA, palette                               test_image_is_accepted
uint16 / bool / int64                           test_image_is_accepted, test_image_is_refused
channels first                                  test_image_is_refused
PIL image, path, None                           test_image_is_accepted, test_image_is_refused
EXIF orientation                                test_image_is_accepted
1×2000, 0×0                                     test_image_is_refused
decompression bomb, truncated, non-image file   test_image_is_refused
point outside the photo, or negative            test_prompt_is_refused
NaN / inf point                                 test_prompt_is_refused
label not in {0, 1}                             test_prompt_is_refused
labels without points, points without labels    test_prompt_is_refused
lengths differ, 1-D point, 3 columns, lists     test_prompt_is_refused, test_prompt_is_accepted
no prompt at all, (0, 2) points                 test_prompt_is_refused
inverted, zero-area, XYWH-looking box           test_prompt_is_refused
two boxes to predict                            test_prompt_is_refused
full-resolution binary mask as mask_input       test_prompt_is_refused
predict before set_image                        test_prompt_is_refused
==============================================  ==========================================

The photo of the tests is 140 wide and 97 high, the low-res frame of the model 64×64.
"""

import re
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from test_images import png_header

from samlite import SamPredictor, document_sam
from samlite.images import read_photo

# The rows of the table above.
FLOAT_255 = "float RGB in 0..255"
NOT_FINITE = "NaN / inf pixels"
GREY_ROW = "grey H×W, H×W×1"
TRANSPARENT = "RGBA, LA, palette"
NUMBERS = "uint16 / bool / int64"
CHANNELS_FIRST = "channels first"
KINDS = "PIL image, path, None"
EXIF = "EXIF orientation"
SHAPES = "1×2000, 0×0"
FILES = "decompression bomb, truncated, non-image file"
OUTSIDE = "point outside the photo, or negative"
NAN_POINT = "NaN / inf point"
LABELS = "label not in {0, 1}"
ALONE = "labels without points, points without labels"
LENGTHS = "lengths differ, 1-D point, 3 columns, lists"
NOTHING = "no prompt at all, (0, 2) points"
BAD_BOX = "inverted, zero-area, XYWH-looking box"
TWO_BOXES = "two boxes to predict"
MASK_INPUT = "full-resolution binary mask as mask_input"
TOO_EARLY = "predict before set_image"

HEIGHT, WIDTH = 97, 140
PHOTO = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return document_sam(
        image_size=128, patch_size=8, width=16, depth=1, heads=2, channels=16, decoder_heads=2, decoder_mlp=16
    ).eval()


@pytest.fixture(scope="module")
def predictor(sam):
    predictor = SamPredictor(sam)
    predictor.set_image(PHOTO)
    return predictor


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


JPEG = encoded(Image.fromarray(PHOTO), "JPEG")
PNG = encoded(Image.fromarray(PHOTO), "PNG")
ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6

# ------------------------------------------------------------------------------------------------------------ images

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
    (NUMBERS, "PIL mode I beyond 16 bits", Image.new("I", (20, 20), 70000), ValueError,
     ["image", "from 70000 to 70000", "0…65535"]),
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


def ids(table):
    return [f"{case[0]} - {case[1]}" for case in table]


def assert_says(error, parts):
    for part in parts:
        assert any(choice in str(error.value) for choice in part.split("|")), f"{part!r} is not in: {error.value}"


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


@pytest.mark.parametrize(
    ("image", "image_format", "says"),
    [(PHOTO, "rgb", ["image_format", "'rgb'", '"RGB"']), (Image.fromarray(PHOTO), "BGR", ["image_format", "arrays"])],
)
def test_image_format_is_refused(image, image_format, says, sam):
    with pytest.raises(ValueError) as error:
        SamPredictor(sam).set_image(image, image_format)
    assert_says(error, says)


# ----------------------------------------------------------------------------------------------------------- prompts

P, L, BOX = [[70, 50]], [1], [10, 10, 90, 80]
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[20:60, 30:90] = True
SMALL = np.zeros((1, 64, 64), np.float32)
SMALL[:, 20:40, 20:40] = 1
SIZE = "140 wide and 97 high"

# (row, name, arguments of predict, error, what its message must say)
REFUSED_PROMPTS = [
    (OUTSIDE, "far outside", {"point_coords": [[5000, 20], [7, 7], [20, 400]], "point_labels": [1, 1, 1]},
     ValueError, ["point_coords", "(5000, 20)", "(20, 400)", SIZE, "(x, y)"]),
    (OUTSIDE, "just outside", {"point_coords": [[140.5, 20]], "point_labels": [1]},
     ValueError, ["point_coords", "(140.5, 20)", SIZE]),
    (OUTSIDE, "negative", {"point_coords": [[-3, 20]], "point_labels": [1]},
     ValueError, ["point_coords", "(-3, 20)", SIZE]),
    (OUTSIDE, "row and column", {"point_coords": [[20, 130]], "point_labels": [1]},
     ValueError, ["point_coords", "(20, 130)", SIZE, "not (row, column)"]),
    (OUTSIDE, "many", {"point_coords": [[-k, 0] for k in range(1, 9)], "point_labels": [1] * 8},
     ValueError, ["point_coords", "(-5, 0) and 3 more", SIZE]),
    (NAN_POINT, "NaN", {"point_coords": [[1, 1], [np.nan, 20]], "point_labels": [1, 1]},
     ValueError, ["point_coords", "NaN", "1 of 2", "(nan, 20)", "index 1", "finite"]),
    (NAN_POINT, "inf", {"point_coords": [[3, np.inf]], "point_labels": [1]},
     ValueError, ["point_coords", "infinite", "(3, inf)", "finite"]),
    (NAN_POINT, "NaN box", {"box": [1, 2, np.nan, 4]}, ValueError, ["box", "NaN", "(1, 2, nan, 4)", "finite"]),
    (NAN_POINT, "NaN mask", {"mask_input": SMALL * np.nan}, ValueError, ["mask_input", "NaN", "finite"]),
    (NAN_POINT, "NaN text", {"text": [np.nan, 1]}, ValueError, ["text", "NaN", "finite"]),
    (LABELS, "2", {"point_coords": P, "point_labels": [2]},
     ValueError, ["point_labels has 2", "1 (the point is on the object) or 0"]),
    (LABELS, "0.5", {"point_coords": P, "point_labels": [0.5]}, ValueError, ["point_labels has 0.5"]),
    (LABELS, "-1", {"point_coords": P, "point_labels": [-1]}, ValueError, ["point_labels has -1"]),
    (LABELS, "NaN", {"point_coords": P, "point_labels": [np.nan]}, ValueError, ["point_labels has nan"]),
    (ALONE, "no points", {"point_labels": L},
     ValueError, ["point_labels was given without point_coords", "(x, y)"]),
    (ALONE, "no labels", {"point_coords": P},
     ValueError, ["point_coords was given without point_labels", "1 (object) or 0"]),
    (ALONE, "no labels, with a box", {"point_coords": P, "box": BOX},
     ValueError, ["point_coords was given without point_labels"]),
    (LENGTHS, "lengths differ", {"point_coords": P, "point_labels": [1, 0]},
     ValueError, ["point_coords has shape (1, 2)", "point_labels (2,)", "one label per point"]),
    (LENGTHS, "1-D point", {"point_coords": [70, 50], "point_labels": L},
     ValueError, ["point_coords has shape (2,)", "point_labels (1,)", "(N, 2)", "[[x, y]]"]),
    (LENGTHS, "3 columns", {"point_coords": [[70, 50, 1]], "point_labels": L},
     ValueError, ["point_coords has shape (1, 3)", "point_labels (1,)", "(N, 2)"]),
    (LENGTHS, "a bare label", {"point_coords": P, "point_labels": 1},
     ValueError, ["point_coords has shape (1, 2)", "point_labels ()", "one label per point"]),
    (LENGTHS, "batch axis", {"point_coords": [P], "point_labels": [L]},
     ValueError, ["point_coords has shape (1, 1, 2)", "(N, 2)"]),
    (LENGTHS, "ragged list", {"point_coords": [[1, 2], [3]], "point_labels": [1, 1]},
     TypeError, ["point_coords", "array of numbers", "[[1, 2], [3]]"]),
    (LENGTHS, "words", {"point_coords": "70,50", "point_labels": L},
     TypeError, ["point_coords", "array of numbers", "'70,50'"]),
    (LENGTHS, "a dictionary", {"point_coords": {"x": 70}, "point_labels": L},
     TypeError, ["point_coords", "array of numbers", "{'x': 70}"]),
    (NOTHING, "nothing", {}, ValueError, ["no prompt was given", "point_coords", "box", "mask_input"]),
    (NOTHING, "(0, 2)", {"point_coords": np.zeros((0, 2)), "point_labels": np.zeros(0)},
     ValueError, ["point_coords has shape (0, 2)", "no point in it", "at least one point"]),
    (NOTHING, "(0, 4) boxes", {"boxes": np.zeros((0, 4))}, ValueError, ["boxes has shape (0, 4)", "(M, 4)"]),
    (NOTHING, "(0, E) text", {"text": np.zeros((0, 4))}, ValueError, ["text has shape (0, 4)", "(T, E)"]),
    (BAD_BOX, "inverted", {"box": [90, 80, 10, 10]},
     ValueError, ["box", "(90, 80, 10, 10)", "x1 < x2", "did you pass x, y, width, height?"]),
    (BAD_BOX, "inverted in y", {"box": [10, 80, 90, 10]}, ValueError, ["box", "y1 < y2"]),
    (BAD_BOX, "zero area", {"box": [10, 10, 10, 80]},
     ValueError, ["box", "(10, 10, 10, 80)", "x1 < x2", "did you pass x, y, width, height?"]),
    (BAD_BOX, "x, y, width, height", {"box": [100, 60, 35, 30]},
     ValueError, ["box", "(100, 60, 35, 30)", "did you pass x, y, width, height?"]),
    (BAD_BOX, "beyond the photo", {"box": [10, 10, 170, 80]},
     ValueError, ["box", "(10, 10, 170, 80)", SIZE, "did you pass x, y, width, height?", "np.clip"]),
    (BAD_BOX, "one of several", {"boxes": [BOX, [90, 80, 10, 10]]},
     ValueError, ["boxes has (90, 80, 10, 10)", "did you pass"]),
    (BAD_BOX, "three numbers", {"box": [1, 2, 3]}, ValueError, ["box has shape (3,)", "(x1, y1, x2, y2)"]),
    (TWO_BOXES, "box", {"box": [BOX, BOX]},
     ValueError, ["box has shape (2, 4)", "2 boxes", "boxes=", "predict_torch", "apply_boxes_torch"]),
    (TWO_BOXES, "box and boxes", {"box": BOX, "boxes": [BOX]}, ValueError, ["box and boxes were both given", "(M, 4)"]),
    (TWO_BOXES, "boxes for one box", {"boxes": BOX}, ValueError, ["boxes has shape (4,)", "(M, 4)"]),
    (MASK_INPUT, "the photo's size", {"mask_input": MASK},
     ValueError, ["mask_input has shape (97, 140)", "(1, 64, 64)", "logits", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "with an axis", {"mask_input": MASK[None]},
     ValueError, ["mask_input has shape (1, 97, 140)", "(1, 64, 64)", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "three at once", {"mask_input": np.zeros((3, 64, 64))},
     ValueError, ["mask_input has shape (3, 64, 64)", "low_res_logits[k:k + 1]"]),
    (MASK_INPUT, "bool of the right size", {"mask_input": SMALL > 0},
     TypeError, ["mask_input is bool", "logits", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "0 and 1 of the right size", {"mask_input": SMALL},
     ValueError, ["mask_input holds nothing but 0 and 1", "logits", "predictor.mask_to_logits(mask)"]),
    (MASK_INPUT, "0 and 255 of the right size", {"mask_input": SMALL * 255},
     ValueError, ["mask_input holds nothing but 0 and 255", "logits"]),
    (TOO_EARLY, "predict", {"point_coords": P, "point_labels": L}, RuntimeError, ["set_image"]),
]  # fmt: skip

TEXT_PROMPTS = [
    ({"text": "a cat"}, TypeError, ["text is a string", "embedding"]),
    ({"text": np.ones(4)}, ValueError, ["text was given", "text_width"]),
    ({"text": np.ones((1, 2, 3))}, ValueError, ["text has shape (1, 2, 3)", "(T, E)"]),
]


@pytest.mark.parametrize(("row", "name", "arguments", "kind", "says"), REFUSED_PROMPTS, ids=ids(REFUSED_PROMPTS))
def test_prompt_is_refused(row, name, arguments, kind, says, sam, predictor):
    if row == TOO_EARLY:
        predictor = SamPredictor(sam)
    with pytest.raises(kind) as error:
        predictor.predict(**arguments)
    assert_says(error, says)


@pytest.mark.parametrize(("arguments", "kind", "says"), TEXT_PROMPTS)
def test_text_is_refused(arguments, kind, says, predictor):
    with pytest.raises(kind) as error:
        predictor.predict(**arguments)
    assert_says(error, says)


@pytest.mark.parametrize(
    "arguments",
    [
        {"point_coords": P, "point_labels": L},
        {"point_coords": ((0, 0), (WIDTH, HEIGHT)), "point_labels": (True, 0.0)},
        {"box": (0, 0, WIDTH, HEIGHT)},
        {"box": [BOX]},
        {"boxes": [BOX, BOX]},
    ],
    ids=["lists", "tuples, on the very edge", "the whole photo", "box (1, 4)", "several boxes"],
)
def test_prompt_is_accepted(arguments, predictor):
    masks, iou_predictions, _ = predictor.predict(**arguments)
    assert masks.shape == (3, HEIGHT, WIDTH)
    assert np.isfinite(iou_predictions).all()


def test_mask_to_logits_wants_a_mask_of_the_photo(predictor):
    with pytest.raises(ValueError, match=re.escape("mask has shape (140, 97): the photo's is expected, (97, 140)")):
        predictor.mask_to_logits(MASK.T)
    with pytest.raises(ValueError, match="choose a threshold"):
        predictor.mask_to_logits(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH))


# ------------------------------------------------------------------------------------------------------ completeness


def test_every_row_of_the_table_has_its_cases_and_every_case_its_row():
    rows = re.findall(r"^(\S.*?)  +(test_.*)$", __doc__, flags=re.MULTILINE)
    promised = {(row, test) for row, tests in rows for test in tests.split(", ")}
    tables = [
        ("test_image_is_refused", REFUSED_IMAGES),
        ("test_image_is_accepted", ACCEPTED_IMAGES),
        ("test_prompt_is_refused", REFUSED_PROMPTS),
    ]
    kept = {(case[0], test) for test, table in tables for case in table}
    assert len(rows) == 20
    assert promised - kept == {(LENGTHS, "test_prompt_is_accepted")}
    assert kept <= promised
