"""Photos with masks: every layout gives the same masks, and what is wrong is named."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from samlite.learning.coco_masks import decode_segmentation
from samlite.learning.photo_sets import PhotoSetError, read_photo_set
from samlite.rle import from_runs, unpack_counts

HEIGHT, WIDTH = 20, 30


def square():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[4:10, 5:17] = True
    return mask


def bar():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[12:18, 2:28] = True
    return mask


def numbered(path, *masks):
    """A label map: 1 for the first mask, 2 for the second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sum(mask * np.uint8(k + 1) for k, mask in enumerate(masks))).save(path)


def photo(path, height=HEIGHT, width=WIDTH):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)


def runs_of(mask):
    """Down the columns, beginning with the zeros."""
    flat = mask.T.ravel()
    borders = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *borders, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def pack(runs):
    """The other way round from unpack_counts, in its plainest form."""
    text = ""
    for k, run in enumerate(runs):
        value = run - runs[k - 2] if k > 2 else run
        while True:
            group, value = value & 31, value >> 5
            more = not (value == 0 and not group & 16) and not (value == -1 and group & 16)
            text += chr(48 + (group | 32 if more else group))
            if not more:
                break
    return text


def coco(folder, **changes):
    polygon = [5, 4, 17, 4, 17, 10, 5, 10]
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "unlabelled.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "segmentation": [polygon]},
            {"id": 2, "image_id": 7, "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs_of(bar())}},
            {"id": 3, "image_id": 7, "iscrowd": 1, "segmentation": {"size": [1, 1], "counts": [1]}},
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content | changes))


def lay_out(folder, how):
    photo(folder / ("images/a.jpg" if how in ("images and masks", "groundTruth") else "a.jpg"))
    if how == "coco":
        coco(folder)
    elif how == "sa-1b":
        counts = [{"segmentation": {"size": [HEIGHT, WIDTH], "counts": pack(runs_of(m))}} for m in (square(), bar())]
        (folder / "a.json").write_text(json.dumps({"image": {"file_name": "a.jpg"}, "annotations": counts}))
    elif how == "one label map":
        numbered(folder / "masks/a.png", square(), bar())
    elif how == "a file for each mask":
        numbered(folder / "masks/a/first.png", square())
        numbered(folder / "masks/a/second.png", bar())
    elif how == "images and masks":
        numbered(folder / "masks/a.0.png", square())
        numbered(folder / "masks/a.1.png", bar())
    elif how == "words":
        numbered(folder / "a.cup.png", square())
        numbered(folder / "a.spoon.png", bar())
    elif how in ("black and white", "one bit", "16 bits"):
        white = {"black and white": np.uint8(255), "one bit": True, "16 bits": np.uint16(65535)}[how]
        for k, mask in enumerate((square(), bar())):
            Image.fromarray(mask.astype(type(white)) * white).save(folder / f"a.{k}.png")
    elif how == "palette":
        (folder / "masks").mkdir()
        picture = Image.fromarray(square() * np.uint8(1) + bar() * np.uint8(2)).convert("P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        picture.save(folder / "masks/a.png")


@pytest.mark.parametrize(
    "how",
    ["coco", "sa-1b", "one label map", "a file for each mask", "images and masks", "words", "black and white",
     "one bit", "16 bits", "palette"],
)  # fmt: skip
def test_every_layout_gives_the_same_two_masks(tmp_path, how):
    lay_out(tmp_path, how)
    (only,) = read_photo_set(tmp_path)
    pixels, masks = only.read()
    assert pixels.shape == (HEIGHT, WIDTH, 3) and masks.dtype == bool
    assert np.array_equal(masks, [square(), bar()])


@pytest.mark.parametrize("place", ["beside", "groundTruth"])
def test_bsds_files_count_every_region_of_every_person(tmp_path, place):
    lay_out(tmp_path, place)
    file = tmp_path / ("a.mat" if place == "beside" else "groundTruth/a.mat")
    file.parent.mkdir(exist_ok=True)
    people = np.empty((1, 2), object)
    people[0, 0] = {"Segmentation": (square() + 1).astype(np.uint16), "Boundaries": square()}
    people[0, 1] = {"Segmentation": (square() * 2 + bar() + 1).astype(np.uint16), "Boundaries": bar()}
    savemat(file, {"groundTruth": people})
    ((_, masks),) = (each.read() for each in read_photo_set(tmp_path))
    assert len(masks) == 2 + 3 and np.array_equal(masks[1], square()) and masks[0].sum() + masks[1].sum() == 600
    assert masks[2:].sum(0).tolist() == np.ones((HEIGHT, WIDTH)).tolist()


def test_numbered_label_maps_are_those_of_the_yardstick(tmp_path):
    photo(tmp_path / "a.jpg")
    numbered(tmp_path / "a.0.png", square(), bar())
    numbered(tmp_path / "a.1.png", bar())  # 0 and 1: still a label map of two regions
    ((_, masks),) = (each.read() for each in read_photo_set(tmp_path))
    maps = [np.asarray(Image.open(tmp_path / f"a.{k}.png")) for k in (0, 1)]
    expected = [labels == value for labels in maps for value in np.unique(labels)]
    assert np.array_equal(masks, expected) and len(masks) == 5


def test_photos_come_by_name_and_those_without_masks_are_left_out(tmp_path):
    for name in ("b", "a[1]", "c"):
        photo(tmp_path / f"{name}.jpg")
    for name in ("b", "a[1]"):
        numbered(tmp_path / f"masks/{name}.png", square())
    assert [each.name for each in read_photo_set(tmp_path)] == ["a[1].jpg", "b.jpg"]


@pytest.mark.parametrize("place", ["masks", "."])
def test_a_mask_belongs_to_the_photo_with_the_longer_name(tmp_path, place):
    for name in ("scan.jpg", "scan.1.jpg"):
        photo(tmp_path / name)
    numbered(tmp_path / place / "scan.cup.PNG", square())
    numbered(tmp_path / place / "scan.1.cup.png", square(), bar())
    (tmp_path / "masks/scan.1").mkdir(parents=True)
    numbered(tmp_path / "masks/scan.1/third.PNG", bar())
    if place == "masks":
        numbered(tmp_path / "masks/scan.1.png", square())
    found = {each.name: len(each.read()[1]) for each in read_photo_set(tmp_path)}
    assert found == {"scan.jpg": 1, "scan.1.jpg": 3 + (place == "masks")}


def test_a_name_that_fits_a_photo_and_a_mask_is_refused(tmp_path):
    for name in ("scan.jpg", "scan.1.jpg"):
        photo(tmp_path / name)
    numbered(tmp_path / "scan.1.png", square())
    with pytest.raises(PhotoSetError, match="scan.1.png may be a mask of the photo scan, or of the photo scan.1: put"):
        read_photo_set(tmp_path)


def soft(values=255, kind=np.uint8):
    """A disc whose edge goes over some pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(y - 10, x - 15)
    return (np.clip(9 - distance, 0, 1) * values).astype(kind)


@pytest.mark.parametrize("name", ["masks/a.png", "a.0.png", "a.cup.png"])
@pytest.mark.parametrize("picture", [soft(), soft(65535, np.uint16), np.dstack([soft()] * 3)])
def test_a_soft_edge_is_not_many_objects(tmp_path, name, picture):
    photo(tmp_path / "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(picture).save(tmp_path / name)
    with pytest.raises(PhotoSetError, match=r"a.*png looks like one mask with a soft edge: \d+ values .*white"):
        [each.read() for each in read_photo_set(tmp_path)]


def test_many_numbers_are_many_objects(tmp_path):
    """Of about the same size, up to 255; and few numbers, the last one large."""
    photo(tmp_path / "a.jpg", 64, 64)
    numbers = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, 0).repeat(4, 1)
    numbered(tmp_path / "masks/a.png", numbers)
    ((_, masks),) = (each.read() for each in read_photo_set(tmp_path))
    assert len(masks) == 255
    few = np.full((64, 64), 255, np.uint8)
    few[:8], few[8:10, :9], few[12:14, :9] = 0, 1, 2
    numbered(tmp_path / "masks/a.png", few)
    ((_, masks),) = (each.read() for each in read_photo_set(tmp_path))
    assert len(masks) == 3


def test_other_json_hides_nothing(tmp_path):
    lay_out(tmp_path, "coco")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "instances.json").rename(tmp_path / "annotations" / "instances.json")
    (tmp_path / "settings.json").write_text('{"image": "x.jpg"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (only,) = read_photo_set(tmp_path)
    assert np.array_equal(only.read()[1], [square(), bar()])


def test_packed_counts_by_hand():
    # 0, 3, 2: one group each, "0", "3", "2". The fourth number, 40, is written as 40 − 3 = 37 = 1·32 + 5: the group 5
    # with the bit for "more" (5 + 32 + 48 = 85, "U"), then 1 (49, "1"). The fifth, 1, as 1 − 2 = −1: 31 + 48, "O".
    assert unpack_counts("032U1O") == [0, 3, 2, 40, 1]
    assert unpack_counts(pack([5, 1000, 2, 7, 100000, 1])) == [5, 1000, 2, 7, 100000, 1]
    assert from_runs([1, 2, 3], 2, 3).tolist() == [[False, True, False], [True, False, False]]


def test_polygons_cover_the_pixels_whose_centre_they_hold():
    one = decode_segmentation([[1, 1, 3, 1, 3, 2, 1, 2]], 3, 5)
    assert np.argwhere(one).tolist() == [[1, 1], [1, 2]]
    two = decode_segmentation([[0, 0, 2, 0, 2, 2, 0, 2], [3, 0, 5, 0, 5, 2, 3, 2]], 2, 5)
    assert two.sum() == 8 and not two[:, 2].any()


@pytest.mark.parametrize(
    "segmentation, message",
    [
        ("text", "a list of polygons or a dict"),
        ([[1, 2, 3, 4]], "at least 3 pairs"),
        ({"size": [2, 2], "counts": [4]}, r"\[2, 2\] \(height, width\), the photo has \[3, 5\]"),
        ({"size": [3, 5], "counts": [4]}, "cover 4 pixels, the photo has 3·5 = 15"),
        ({"size": [3, 5], "counts": "é"}, "damaged|cover"),
        ({"size": [3, 5], "counts": "U"}, "damaged"),
    ],
)
def test_damaged_segmentations_are_named(segmentation, message):
    with pytest.raises(ValueError, match=message):
        decode_segmentation(segmentation, 3, 5)


def broken(folder, how):
    photo(folder / "a.jpg")
    if how == "size":
        Image.fromarray(np.ones((8, 9), np.uint8)).save(folder / "a.cup.png")
    elif how == "turned":
        Image.fromarray(np.ones((WIDTH, HEIGHT), np.uint8)).save(folder / "a.cup.png")
    elif how == "empty mask":
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(folder / "a.cup.png")
    elif how == "coloured":
        Image.fromarray(np.dstack([square() * np.uint8(9), bar(), bar()])).save(folder / "a.cup.png")
    elif how == "no mat":
        (folder / "a.mat").write_bytes(b"nothing" * 100)
    elif how == "missing photo":
        coco(folder, images=[{"id": 7, "file_name": "gone.jpg"}])
    elif how == "no json":
        (folder / "a.json").write_text("{")
    elif how == "other size":
        coco(folder, images=[{"id": 7, "file_name": "a.jpg", "height": 90, "width": 100}])
    elif how == "no image id":
        coco(folder, annotations=[{"id": 5, "segmentation": [[1, 1, 9, 1, 9, 9]]}])
    elif how == "box only":
        coco(folder, annotations=[{"id": 5, "image_id": 7, "bbox": [1, 2, 3, 4]}])
    elif how == "outside":
        coco(folder, annotations=[{"id": 5, "image_id": 7, "segmentation": [[90, 90, 99, 90, 99, 99]]}])
    elif how == "no png":
        (folder / "a.cup.png").write_bytes(b"nothing")


@pytest.mark.parametrize(
    "how, message",
    [
        ("size", "a.cup.png has 8×9 pixels .*its photo 20×30: a mask has its photo's size"),
        ("turned", "EXIF"),
        ("empty mask", "a.cup.png is empty"),
        ("coloured", "a.cup.png is coloured"),
        ("no mat", "a.mat is no BSDS file"),
        ("missing photo", "'gone.jpg', which is neither in"),
        ("no json", "a.json is no JSON"),
        ("other size", "the entry of a.jpg, has 90×100 pixels .*its photo 20×30: a mask has its photo's size"),
        ("no image id", "instances.json is not quite in COCO's form .*'image_id'.* every annotation needs image_id"),
        ("box only", "annotation 5 of a.jpg has no segmentation"),
        ("outside", "annotation 5 of a.jpg is empty"),
        ("no png", "a.cup.png cannot be read"),
        ("nothing", "holds no photo with masks. It may hold a COCO file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, how, message):
    broken(tmp_path, how)
    with pytest.raises(PhotoSetError, match=message):
        [each.read() for each in read_photo_set(tmp_path)]


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(PhotoSetError, match="not there"):
        read_photo_set(tmp_path / "nowhere")
    photo(tmp_path / "a.jpg")
    with pytest.raises(PhotoSetError, match="is a file"):
        read_photo_set(tmp_path / "a.jpg")
    numbered(tmp_path / "masks/a.png", square())
    coco(tmp_path)
    coco_again = (tmp_path / "instances.json").read_text()
    (tmp_path / "other.json").write_text(coco_again)
    with pytest.raises(PhotoSetError, match="a.jpg in two places"):
        read_photo_set(tmp_path)
