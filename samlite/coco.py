"""Automatic masks out of the program: COCO JSON, and PNG files with a table.

One JSON a photo, in the form in which SA-1B was released: ``image`` and ``annotations`` whose masks are COCO's
compressed runs. `merge` makes of many of them the one file that COCO tools read.
"""

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from samlite.files import whole_file
from samlite.masks import save_mask
from samlite.rle import compress_rle, mask_to_rle, rle_to_mask

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}  # SAM knows no classes


def photo_annotations(
    records: Sequence[dict[str, Any]], file_name: str, height: int, width: int, image_id: int = 1
) -> dict[str, Any]:
    """Records of `SamAutomaticMaskGenerator`, in any output mode → ``{"image": …, "annotations": […]}``.

    Areas in pixels², boxes [x, y, width, height]; a stability score that is no number becomes null.
    """
    return {
        "image": {"id": image_id, "file_name": file_name, "height": height, "width": width},
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": CATEGORY["id"],
                "iscrowd": 0,
                "segmentation": as_coco_rle(record["segmentation"]),
                "area": int(record["area"]),
                "bbox": list(record["bbox"]),
                "predicted_iou": record["predicted_iou"],
                "stability_score": number_or_null(record["stability_score"]),
                "point_coords": record["point_coords"],
                "crop_box": list(record["crop_box"]),
            }
            for number, record in enumerate(records, start=1)
        ],
    }


def number_or_null(score: float) -> float | None:
    """JSON has no NaN, and the stability score of a mask without pixels is one: null takes its place."""
    return None if math.isnan(score) else score


def as_coco_rle(segmentation: Any) -> dict[str, Any]:
    """A mask (H, W), uncompressed runs, or COCO's runs → COCO's runs."""
    if not isinstance(segmentation, dict):
        return compress_rle(mask_to_rle(segmentation))
    return dict(segmentation) if isinstance(segmentation["counts"], str) else compress_rle(segmentation)


def merge(photos: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Annotations of many photos → one COCO dataset; images and annotations are numbered anew, from 1."""
    images, annotations = [], []
    for image_id, photo in enumerate(photos, start=1):
        images.append({**photo["image"], "id": image_id})
        for annotation in photo["annotations"]:
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": image_id})
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}


def write_json(path: Path, content: Any) -> None:
    """Beside its place, then moved there: under its name stands the whole file or none."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(content, allow_nan=False))


def write_pngs(folder: Path, photo: dict[str, Any]) -> None:
    """One PNG a mask (255 inside), 1.png, 2.png …, and masks.csv with what is known of each, as the last file."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ["id", "area", "bbox", "predicted_iou", "stability_score", "point_coords", "crop_box"]
    for annotation in photo["annotations"]:
        save_mask(folder / f"{annotation['id']}.png", rle_to_mask(annotation["segmentation"]))
    with whole_file(folder / "masks.csv") as unfinished, unfinished.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows([[json.dumps(annotation[column]) for column in columns] for annotation in photo["annotations"]])
