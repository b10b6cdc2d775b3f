"""What the tests of bad input share: the rows of their table, a photo, a small model, and how a message is judged."""

import numpy as np
import torch

from samlite import document_sam

# The rows of the table in test_bad_inputs.py.
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


def small_sam():
    torch.manual_seed(0)
    return document_sam(
        image_size=128, patch_size=8, width=16, depth=1, heads=2, channels=16, decoder_heads=2, decoder_mlp=16
    ).eval()


def ids(table):
    return [f"{case[0]} - {case[1]}" for case in table]


def assert_says(error, parts):
    for part in parts:
        assert any(choice in str(error.value) for choice in part.split("|")), f"{part!r} is not in: {error.value}"
