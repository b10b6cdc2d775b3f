"""A folder of photos with masks, in whichever of the usual ways it is laid out.

======================================  ===============================================================================
what lies in the folder                 what it means
======================================  ===============================================================================
``*.json`` in COCO's form               photos by their ``file_name``; every annotation that is no crowd is a mask. A
                                        file for each photo, as SA-1B has it, will do, too
``NAME.jpg``, ``masks/NAME.png``,       0 is the ground, every other value one mask: a file may hold one mask or
``masks/NAME.*.png``,                   number many. The photos may also lie in ``images/``
``masks/NAME/*.png``
``NAME.jpg``, ``NAME.cup.png`` …        the same, beside the photo, with a word between
``NAME.jpg``, ``NAME.0.png`` …          with a *number* between: one whole label map for each person who drew, as BSDS
                                        has them; **every** value is a region, 0 as well. But a black and white file
                                        (0 and 255; at 16 bits 65535; or one bit) is one mask
``NAME.jpg``, ``NAME.mat``              BSDS500's own files: several people's ``groundTruth``, every value is a region.
                                        Also ``images/SPLIT/NAME.jpg`` with ``groundTruth/SPLIT/NAME.mat``
======================================  ===============================================================================

Of two photos that a mask's name begins with, it belongs to the one with the longer name: ``scan.1.0.png`` to
``scan.1.jpg``. Photos without a mask are left out. Photos are read by the rules of ``samlite.images``; they are never
written.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt8

from samlite.images import PHOTO_ENDINGS, read_photo
from samlite.learning.coco_masks import decode_segmentation

LAYOUTS = (
    "a COCO file (*.json); NAME.jpg with masks/NAME.png; NAME.jpg with NAME.0.png, NAME.1.png …; "
    "or NAME.jpg with NAME.mat (BSDS)"
)
Mask = Bool[np.ndarray, "h w"]
SOFT = 3, 10.0  # so many values between 0 and white, each on so many times fewer pixels: a soft edge, no numbers


class PhotoSetError(ValueError):
    """A folder of photos and masks that cannot be used as it is; the message names the file and says what to do."""


class EmptyPhotoSetError(PhotoSetError, FileNotFoundError):
    """A folder without a photo that has a mask: caught by either name."""


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo and where its masks are. Nothing is decoded before it is asked for."""

    name: str  # unique in its set
    path: Path
    read_masks: Callable[[tuple[int, int]], Iterator[Mask]]  # (height, width) → masks, one at a time

    def photo(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels, RGB. Raises ValueError when the file is no photo."""
        return read_photo(self.path)

    def masks(self, size: tuple[int, int]) -> Iterator[Mask]:
        """Every mask, (H, W) bool, one after the other. ``size``: the photo's (height, width).

        Raises PhotoSetError when a mask has another size, is empty or cannot be read.
        """
        yield from self.read_masks(size)

    def read(self) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "m h w"]]:
        """The photo and all of its masks at once."""
        photo = self.photo()
        return photo, np.stack(list(self.masks(photo.shape[:2])))


def read_photo_set(folder: Path | str) -> list[LabelledPhoto]:
    """The photos of a folder that have masks, by name; the table at the head of this module has the layouts.

        photos = read_photo_set("my photos")
        photo, masks = photos[0].read()        # (H, W, 3) uint8, (M, H, W) bool

    Raises PhotoSetError when there is no such folder, no photo with a mask in it, or a COCO file names a photo that is
    not there; ``LabelledPhoto.read`` when a mask does not fit its photo.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PhotoSetError(f"{folder} is {'a file' if folder.exists() else 'not there'}: a folder of photos is asked")
    found: list[LabelledPhoto] = []
    for pattern in ("*.json", "annotations/*.json"):
        found = found or [photo for file in sorted(folder.glob(pattern)) for photo in _from_coco(folder, file)]
    found = found or list(_from_files(folder))
    if not found:
        raise EmptyPhotoSetError(f"{folder} holds no photo with masks. It may hold {LAYOUTS}")
    counts = Counter(photo.name for photo in found)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise PhotoSetError(f"{folder} has masks for {twice} in two places: keep one of them")
    return sorted(found, key=lambda photo: photo.name)


# ------------------------------------------------------------------------------------------------------------- COCO


def _from_coco(folder: Path, file: Path) -> Iterator[LabelledPhoto]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PhotoSetError(f"{file} is no JSON ({error})") from None
    if isinstance(content, dict) and isinstance(content.get("image"), dict):  # SA-1B: a file for each photo
        content = content | {"images": [content["image"] | {"id": 0}]}
        content["annotations"] = [each | {"image_id": 0} for each in content.get("annotations", [])]
    if not isinstance(content, dict) or not {"images", "annotations"} <= set(content):
        return  # some other JSON that lies there
    of_photo: dict[object, list[dict]] = {}
    try:
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd"):
                of_photo.setdefault(annotation["image_id"], []).append(annotation)
        photos = [(entry, of_photo.get(entry["id"]), entry["file_name"]) for entry in content["images"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise PhotoSetError(
            f"{file} is not quite in COCO's form ({type(error).__name__}: {error}): every annotation needs image_id, "
            "every image id and file_name"
        ) from None
    for entry, annotations, name in photos:
        if annotations:
            path = _photo_of(folder, name)
            if path is None:
                raise PhotoSetError(
                    f"{file.name} speaks of the photo {name!r}, which is neither in {folder} nor in its "
                    "folder images: put it there, or take it out of the file"
                )
            yield LabelledPhoto(name, path, _coco_reader(file, path, annotations, entry))


def _photo_of(folder: Path, name: str) -> Path | None:
    places = (folder / name, folder / "images" / name, folder / Path(name).name, folder / "images" / Path(name).name)
    return next((place for place in places if place.is_file()), None)


def _coco_reader(
    file: Path, path: Path, annotations: Sequence[dict], entry: dict
) -> Callable[[tuple[int, int]], Iterator[Mask]]:
    """``entry``: the photo's own, whose height and width say for which size polygons were drawn."""

    def read(size: tuple[int, int]) -> Iterator[Mask]:
        declared = entry.get("height"), entry.get("width")
        if None not in declared:
            _check_size(declared, size, f"{file.name}, the entry of {path.name},")
        for annotation in annotations:
            where = f"{file.name}, annotation {annotation.get('id', '?')} of {path.name}"
            if "segmentation" not in annotation:
                raise PhotoSetError(f"{where} has no segmentation: a box alone is no mask")
            try:
                mask = decode_segmentation(annotation["segmentation"], *size)
            except ValueError as error:
                raise PhotoSetError(f"{where}: {error}") from None
            yield _checked(mask, size, where)

    return read


# -------------------------------------------------------------------------------------------------- PNG and MATLAB


def _from_files(folder: Path) -> Iterator[LabelledPhoto]:
    photos = folder / "images" if (folder / "images").is_dir() else folder
    everywhere = sorted(photos.rglob("*") if photos != folder else photos.glob("*"))
    endings = {path for path in everywhere if path.suffix.lower() in PHOTO_ENDINGS}
    stems: dict[Path, set[str]] = {}  # folder → the names of its photos
    beside = set()
    for path in sorted(endings, key=lambda path: (path.suffix.lower() == ".png", len(path.stem))):
        here = stems.setdefault(path.parent, set())
        if path.suffix.lower() == ".png" and (of := here & set(names_within(path.stem)[1:])):
            if path.stem in here:
                raise PhotoSetError(
                    f"{path} may be a mask of the photo {max(of, key=len)}, or of the photo {path.stem}: put masks "
                    f"into {folder / 'masks'}, or rename one of them"
                )
            beside.add(path)  # NAME.0.png is a mask of NAME.jpg
        else:
            here.add(path.stem)
    pictures_of = cache(lambda place, of, whole: _pictures_of(place, stems[of], whole))
    for path in sorted(endings - beside):
        below = path.relative_to(photos).parent
        matlab = [path.with_suffix(".mat"), folder / "groundTruth" / below / f"{path.stem}.mat"]
        masks = folder / "masks" / below
        pictures = pictures_of(path.parent, path.parent, False).get(path.stem, [])
        pictures = pictures + pictures_of(masks, path.parent, True).get(path.stem, []) + _pictures(masks / path.stem)
        files = [file for file in matlab if file.is_file()] or pictures
        if files:
            yield LabelledPhoto((below / path.name).as_posix(), path, _file_reader(path, files))


def names_within(stem: str) -> list[str]:
    """A name and what is left when words fall off its end: "scan.1.cup" → "scan.1.cup", "scan.1", "scan"."""
    words = stem.split(".")
    return [".".join(words[:count]) for count in range(len(words), 0, -1)]


def _pictures(folder: Path) -> list[Path]:
    """The PNG files of a folder, which need not be there."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".png") if folder.is_dir() else []


def _pictures_of(folder: Path, stems: Collection[str], whole: bool) -> dict[str, list[Path]]:
    """Photo's name → its masks in the folder, NAME.*.png and, where ``whole``, NAME.png; the longest name counts."""
    found: dict[str, list[Path]] = {}
    for file in _pictures(folder):
        name = next((name for name in names_within(file.stem)[0 if whole else 1 :] if name in stems), None)
        if name is not None:
            found.setdefault(name, []).append(file)
    return {name: sorted(files, key=lambda file: (file.stem != name, file)) for name, files in found.items()}


def _file_reader(path: Path, files: Sequence[Path]) -> Callable[[tuple[int, int]], Iterator[Mask]]:
    def read(size: tuple[int, int]) -> Iterator[Mask]:
        for file in files:
            if file.suffix == ".mat":
                maps = [(labels, True) for labels in read_mat(file)]
            else:
                numbered = file.parent == path.parent and file.stem.rsplit(".", 1)[-1].isdigit()
                labels = read_png(file)
                maps = [(labels, numbered and not set(np.unique(labels)) <= {0, 255, 65535})]
            for labels, ground_counts in maps:
                _check_size(labels.shape, size, file.name)
                values = [value for value in np.unique(labels) if value or ground_counts]
                if not values:
                    raise PhotoSetError(f"{file.name} is empty: every pixel is 0, and 0 is the ground")
                for value in values:
                    yield labels == value

    return read


def read_png(path: Path) -> Int[np.ndarray, "h w"]:
    """A PNG whose values number the regions: grey, 16 bits, or a palette.

    Raises PhotoSetError for colours that differ, and for a grey mask with a soft edge, whose values number nothing.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            values, palette = np.asarray(picture), picture.mode == "P"
            values = values * np.uint8(255) if picture.mode == "1" else values  # one bit: black and white
    except OSError as error:
        raise PhotoSetError(f"{path} cannot be read ({error})") from None
    if values.ndim == 3:
        colours = values[..., :3] if values.shape[-1] > 2 else values[..., :1]
        if (colours != colours[..., :1]).any():
            raise PhotoSetError(f"{path} is coloured: a mask has one number for each pixel (grey, or a palette)")
        values = colours[..., 0]
    if not palette and (between := _soft_values(values)):
        raise PhotoSetError(
            f"{path} looks like one mask with a soft edge: {between} values between 0 and {values.max()}, each on few "
            "pixels. A mask is hard: save it as black and white (the lighter half white), or number its objects 1, 2, …"
        )
    return values.astype(np.int64)


def _soft_values(values: Shaped[np.ndarray, "h w"]) -> int:
    """How many values lie between 0 and white when they are a soft edge's; 0 when the values may be numbers."""
    found, pixels = np.unique(values, return_counts=True)
    least, rarer = SOFT
    if len(found) < least + 2 or found[0] != 0 or found[-1] not in (255, 65535):
        return 0
    return len(found) - 2 if pixels[-1] > rarer * pixels[1:-1].mean() else 0


def read_mat(path: Path) -> list[Int[np.ndarray, "h w"]]:
    """The label maps in a BSDS500 file, one for each person."""
    from scipy.io import loadmat

    try:
        people = loadmat(path)["groundTruth"].ravel()
        return [np.asarray(person["Segmentation"][0, 0]).astype(np.int64) for person in people]
    except Exception as error:  # scipy raises half a dozen types on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's
        raise PhotoSetError(f"{path} is no BSDS file: groundTruth with Segmentation is asked ({error})") from None


def _checked(mask: Mask, size: tuple[int, int], where: str) -> Mask:
    _check_size(mask.shape, size, where)
    if not mask.any():
        raise PhotoSetError(f"{where} is empty: it covers no pixel")
    return mask


def _check_size(found: tuple[int, ...], size: tuple[int, int], where: str) -> None:
    if tuple(found) != tuple(size):
        turned = "; it fits when turned, so perhaps the photo's EXIF orientation was not applied to it"
        raise PhotoSetError(
            f"{where} has {found[0]}×{found[1]} pixels (height × width), its photo {size[0]}×{size[1]}"
            f"{turned if tuple(found[::-1]) == tuple(size) else ''}: a mask has its photo's size"
        )
