"""Photo in: every kind of picture by its documented rule, and the frames of coordinates against independent numbers."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from samlite.frames import ResizeLongestSide
from samlite.images import MAXIMUM_PIXELS, read_photo

COLOUR = np.array([[[200, 100, 0], [0, 50, 250]]], dtype=np.uint8)  # one row, two pixels


# ------------------------------------------------------------------------------------------------- the same photo


@pytest.mark.parametrize("photo", [skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.coffee()])
def test_path_pil_array_and_tensor_give_the_same_photo(photo, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    for given in (photo, path, str(path), Image.open(path), torch.from_numpy(photo).permute(2, 0, 1)):
        read = read_photo(given)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, photo)


def test_bgr_array_is_turned_round():
    np.testing.assert_array_equal(read_photo(COLOUR[..., ::-1].copy(), image_format="BGR"), COLOUR)


def test_bgr_with_alpha_turns_the_colours_only():
    bgra = np.concatenate([COLOUR[..., ::-1], np.full((1, 2, 1), 255, np.uint8)], axis=-1)
    np.testing.assert_array_equal(read_photo(bgra, image_format="BGR"), COLOUR)


def test_first_frame_of_an_animation(tmp_path):
    first, second = Image.new("L", (4, 3), 10), Image.new("L", (4, 3), 200)
    first.save(tmp_path / "two.gif", save_all=True, append_images=[second])
    assert (read_photo(tmp_path / "two.gif") == 10).all()


def test_jpeg_of_skimage_is_read(tmp_path):
    photo = read_photo(Path(skimage.data.__file__).parent / "rocket.jpg")
    np.testing.assert_array_equal(photo, skimage.data.rocket())


# ------------------------------------------------------------------------------------------------------------ EXIF

# orientation tag → what a viewer does to the stored pixels (Exif 2.32, tag 0x0112)
ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("way", ["path", "PIL"])
def test_exif_orientation_is_applied(orientation, way, tmp_path):
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    read = read_photo(tmp_path / "turned.png" if way == "path" else Image.open(tmp_path / "turned.png"))
    np.testing.assert_array_equal(read, ORIENTATIONS[orientation](stored))


# -------------------------------------------------------------------------------------------------- grey and modes


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_grey_arrays_are_repeated(shape):
    grey = np.arange(20, dtype=np.uint8).reshape(shape)
    read = read_photo(grey)
    assert read.shape == (4, 5, 3)
    for channel in range(3):
        np.testing.assert_array_equal(read[..., channel], grey.reshape(4, 5))


def test_grey_tensor_is_repeated():
    assert (read_photo(torch.full((1, 4, 5), 7, dtype=torch.uint8)) == 7).all()
    assert (read_photo(torch.full((4, 5), 7, dtype=torch.uint8)) == 7).all()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
        ("I;16", 257 * 40, (40, 40, 40)),
        ("I;16B", 257 * 40, (40, 40, 40)),
        ("F", 0.2, (51, 51, 51)),
        ("RGBA", (200, 100, 0, 255), (200, 100, 0)),
        ("RGBA", (200, 100, 0, 0), (255, 255, 255)),
        ("LA", (0, 51), (204, 204, 204)),
        ("PA", (0, 255), (0, 0, 0)),
        # premultiplied: 100 is half of 200 already, the other half is white
        ("RGBa", (100, 50, 0, 128), (227, 177, 127)),
        ("La", (100, 128), (227, 227, 227)),
    ],
)
def test_pil_modes(mode, colour, expected):
    read = read_photo(Image.new(mode, (3, 2), colour))
    assert read.shape == (2, 3, 3)
    assert (read == expected).all(), read[0, 0]


@pytest.mark.parametrize(("value", "expected"), [(65535, 255), (257 * 40, 40)])
def test_mode_i_is_sixteen_bits_when_it_comes_from_a_file(value, expected, tmp_path):
    """Some versions of Pillow open 16-bit grey so; in memory it may be anything (test_bad_images.py)."""
    Image.new("I", (3, 2), value).save(tmp_path / "grey.tif")
    assert Image.open(tmp_path / "grey.tif").mode == "I"
    for given in (tmp_path / "grey.tif", Image.open(tmp_path / "grey.tif")):
        assert (read_photo(given) == expected).all()


def test_palette(tmp_path):
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_allclose(read_photo(tmp_path / "palette.png").astype(int), COLOUR, atol=2)
    palette.save(tmp_path / "hole.png", transparency=palette.getpixel((1, 0)))
    read = read_photo(tmp_path / "hole.png")
    np.testing.assert_allclose(read[0, 0].astype(int), COLOUR[0, 0], atol=2)
    assert (read[0, 1] == 255).all()


@pytest.mark.parametrize(
    ("picture", "nothing"),
    [
        (Image.fromarray(COLOUR), (0, 50, 250)),
        (Image.fromarray(np.array([[30, 60]], np.uint8)), 60),
        (Image.fromarray(np.array([[3000, 6000]], np.uint16)), 6000),
    ],
    ids=["RGB", "grey", "16 bits"],
)
def test_the_colour_that_a_png_declares_transparent_becomes_white(picture, nothing, tmp_path):
    picture.save(tmp_path / "hole.png", transparency=nothing)
    read = read_photo(tmp_path / "hole.png")
    assert (read[0, 1] == 255).all()
    assert (read[0, 0] < 255).all()


# ----------------------------------------------------------------------------------------------------------- alpha


@pytest.mark.parametrize("alpha", [0, 1, 77, 128, 254, 255])
def test_alpha_is_laid_over_white(alpha):
    rgba = np.concatenate([COLOUR, np.full((1, 2, 1), alpha, np.uint8)], axis=-1)
    exact = COLOUR * (alpha / 255) + 255 * (1 - alpha / 255)
    for given in (rgba, Image.fromarray(rgba)):
        np.testing.assert_array_equal(read_photo(given), np.rint(exact))


def test_grey_with_alpha():
    assert (read_photo(np.array([[[0, 51]]], dtype=np.uint8)) == 204).all()


def test_float_and_sixteen_bit_alpha_agree_with_eight_bits():
    rgba = np.concatenate([COLOUR, np.array([[[51], [204]]], np.uint8)], axis=-1)
    expected = read_photo(rgba)
    np.testing.assert_array_equal(read_photo(rgba.astype(np.float32) / 255), expected)
    np.testing.assert_array_equal(read_photo(rgba.astype(np.uint16) * 257), expected)


def test_hidden_colours_never_bleed_into_the_resized_photo():
    """A white disc cut out by alpha, black hidden outside: over white and then resized everything is white."""
    rgba = np.zeros((64, 64, 4), np.uint8)
    yy, xx = np.mgrid[:64, :64]
    rgba[(yy - 32) ** 2 + (xx - 32) ** 2 < 400] = 255
    assert (ResizeLongestSide(48).apply_image(read_photo(rgba)) == 255).all()


# --------------------------------------------------------------------------------------------------- number ranges


def test_uint16_is_scaled_by_257_and_rounded():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    read = read_photo(values)[..., 0]
    np.testing.assert_array_equal(read, np.rint(values / 257))
    np.testing.assert_array_equal(read_photo(values.astype(">u2"))[..., 0], read)


def test_uint16_is_not_stretched():
    assert (read_photo(np.full((2, 2), 4095, np.uint16)) == 16).all()


def test_sixteen_bit_file(tmp_path):
    values = (np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        np.testing.assert_array_equal(read_photo(tmp_path / name)[..., 0], np.rint(values / 257))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_in_0_to_1(dtype):
    values = (np.arange(256) / 255).reshape(16, 16).astype(dtype)
    np.testing.assert_array_equal(read_photo(values)[..., 0], np.arange(256).reshape(16, 16))


def test_float_overshoot_that_rounds_to_0_or_1_is_forgiven():
    assert read_photo(np.array([[-0.001, 1.001]]))[0, :, 0].tolist() == [0, 255]


def test_bfloat16_tensor():
    assert (read_photo(torch.ones(3, 4, 5, dtype=torch.bfloat16)) == 255).all()


# ------------------------------------------------------------------------------------------ the limit on the pixels


def png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that says how large it is and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)))
    with path.open("ab") as file:
        for chunk in (b"IDAT", b"IEND"):
            file.write(struct.pack(">I", 0) + chunk + struct.pack(">I", zlib.crc32(chunk)))
    return path


# just over our limit; between ours and Pillow's own error, where Pillow would warn; far over both
@pytest.mark.parametrize(("width", "height"), [(MAXIMUM_PIXELS // 2**10 + 1, 2**10), (13000, 11000), (60000, 60000)])
@pytest.mark.filterwarnings("error")
def test_too_many_pixels_are_refused_without_decoding(width, height, tmp_path, monkeypatch):
    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ValueError, match=r"more pixels than the limit of 134,217,728 and was not decoded"):
        read_photo(png_header(tmp_path / "bomb.png", width, height))


def test_the_limit_itself_is_accepted(tmp_path):
    with pytest.raises(ValueError, match="could not be decoded"):  # it is tried: the header is followed by no pixels
        read_photo(png_header(tmp_path / "large.png", MAXIMUM_PIXELS // 2**10, 2**10))
