"""`automatic`: a folder of photos in, COCO files out; it goes on where it was stopped, and never mixes two runs."""

import csv
import json
import shutil

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from pycocotools.coco import COCO

from samlite import coco, rle, sam_model_registry
from samlite.command_line import main
from samlite.learning.weights import document_sizes, save_weights
from samlite.registry import TINY_WEIGHTS
from samlite.rle import rle_to_mask


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, picture in (("a.png", skimage.data.coffee()), ("b.jpg", skimage.data.astronaut())):
        Image.fromarray(picture[::4, ::4]).save(photos / name)
    (photos / "notes.txt").write_text("not a photo")
    return photos


def command(folder, output, *more):
    return main(["automatic", str(folder), "-o", str(output), "--points-per-side", "5", *more])


OPEN_FLAGS = ("--pred-iou-thresh", "0.3", "--stability-score-thresh", "0")


def test_folder_in_folder_out(folder, tmp_path, capsys):
    output = tmp_path / "masks"
    assert command(folder, output, *OPEN_FLAGS, "--png") == 0
    assert "2 of 2 photos" in capsys.readouterr().out
    dataset = json.loads((output / "instances.json").read_text())
    assert [image["file_name"] for image in dataset["images"]] == ["a.png", "b.jpg"]
    assert [a["id"] for a in dataset["annotations"]] == list(range(1, len(dataset["annotations"]) + 1))
    photo = json.loads((output / "a.png.json").read_text())
    with (output / "a.png" / "masks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(photo["annotations"]) > 0
    for annotation in photo["annotations"]:
        with Image.open(output / "a.png" / f"{annotation['id']}.png") as picture:
            assert np.array_equal(np.asarray(picture) == 255, rle_to_mask(annotation["segmentation"]))


def test_coco_reads_our_dataset(folder, tmp_path):
    assert command(folder, tmp_path / "masks", *OPEN_FLAGS) == 0
    dataset = COCO(str(tmp_path / "masks" / "instances.json"))
    for annotation in dataset.loadAnns(dataset.getAnnIds()):
        assert dataset.annToMask(annotation).sum() == annotation["area"]
        assert annotation["category_id"] in dataset.getCatIds() and annotation["image_id"] in dataset.getImgIds()


def test_goes_on_where_it_was_stopped(folder, tmp_path, capsys):
    output = tmp_path / "masks"
    assert command(folder, output, *OPEN_FLAGS) == 0
    whole = {path.name: path.read_bytes() for path in output.iterdir()}
    (output / "b.jpg.json").unlink()
    (output / "instances.json").unlink()
    before = (output / "a.png.json").stat().st_mtime_ns
    capsys.readouterr()
    assert command(folder, output, *OPEN_FLAGS) == 0
    assert "(1 of them were there)" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in output.iterdir()} == whole
    assert (output / "a.png.json").stat().st_mtime_ns == before, "a photo that is done is not written again"


def test_json_of_others_in_the_folder_is_left_alone(folder, capsys):
    """Annotations beside the photos, as SA-1B has them, and any other file: neither read nor merged."""
    record = {"image": {"file_name": "a.png", "width": 4, "height": 4}, "annotations": [{"id": 7}]}
    others = {"a.json": json.dumps(record), "labels.json": '{"a.png": "cup"}', "list.json": "[1]", "half.json": "{"}
    for name, text in others.items():
        (folder / name).write_text(text)
    assert command(folder, folder, *OPEN_FLAGS) == 0
    dataset = json.loads((folder / "instances.json").read_text())
    assert [image["file_name"] for image in dataset["images"]] == ["a.png", "b.jpg"]
    assert {name: (folder / name).read_text() for name in others} == others


def test_folders_of_pngs_cannot_lie_beside_the_photos(folder, capsys):
    assert command(folder, folder, *OPEN_FLAGS, "--png") == 2
    assert "'a.png' is a file: choose another folder with -o" in capsys.readouterr().err
    assert sorted(path.name for path in folder.glob("*.json")) == []


def test_other_settings_do_not_mix(folder, tmp_path, capsys):
    assert command(folder, tmp_path / "masks", *OPEN_FLAGS) == 0
    assert command(folder, tmp_path / "masks", "--pred-iou-thresh", "0.4") == 2
    assert "other settings (pred_iou_thresh, stability_score_thresh)" in capsys.readouterr().err
    assert command(folder, tmp_path / "masks", *OPEN_FLAGS, "--points-per-batch", "3") == 0  # changes no mask


def test_other_weights_and_photos_of_the_same_names_do_not_mix(folder, tmp_path, capsys):
    weights = tmp_path / "mine.safetensors"
    shutil.copyfile(TINY_WEIGHTS, weights)
    flags = (*OPEN_FLAGS, "--checkpoint", str(weights))
    assert command(folder, tmp_path / "masks", *flags) == 0
    sam = sam_model_registry["tiny"]()
    with torch.no_grad():
        sam.mask_decoder.mask_tokens += 1
    save_weights(sam, document_sizes(sam), weights, {})  # trained again, into the same file
    assert command(folder, tmp_path / "masks", *flags) == 2
    assert "other settings (weights_sha256)" in capsys.readouterr().err
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    assert command(folder, tmp_path / "more", *OPEN_FLAGS) == 0
    assert command(elsewhere, tmp_path / "more", *OPEN_FLAGS) == 2
    assert "other settings (photos)" in capsys.readouterr().err


def test_one_photo_more_stays_in_the_dataset(folder, tmp_path):
    for name in ("a.png", "b.jpg"):
        assert command(folder / name, tmp_path / "masks", *OPEN_FLAGS) == 0
    dataset = json.loads((tmp_path / "masks" / "instances.json").read_text())
    assert [image["file_name"] for image in dataset["images"]] == ["a.png", "b.jpg"]


def test_a_bad_photo_is_named_and_the_others_are_done(folder, tmp_path, capsys):
    (folder / "a_broken.jpg").write_bytes(b"no picture")
    assert command(folder, tmp_path / "masks", *OPEN_FLAGS) == 1
    captured = capsys.readouterr()
    assert "a_broken.jpg: skipped" in captured.err and "2 of 3 photos" in captured.out


def test_no_photo(tmp_path, capsys):
    (tmp_path / "x.txt").write_text("")
    assert command(tmp_path, tmp_path / "out") == 2
    assert "holds no photo; its files end in .txt" in capsys.readouterr().err
    assert command(tmp_path / "nowhere", tmp_path / "out") == 2
    assert "there is no photo and no folder" in capsys.readouterr().err


def test_a_score_that_is_no_number_becomes_null():
    record = {
        "segmentation": np.zeros((2, 3), bool), "area": 0, "bbox": [0, 0, 0, 0], "predicted_iou": 0.5,
        "point_coords": [[1, 1]], "stability_score": float("nan"), "crop_box": [0, 0, 3, 2],
    }  # fmt: skip
    photo = coco.photo_annotations([record], "a.png", 2, 3)
    assert photo["annotations"][0]["stability_score"] is None
    json.dumps(photo, allow_nan=False)


def test_runs_are_kept_in_four_bytes_each():
    """And say the same as the list: their length, their area, the mask, COCO's string."""
    mask = np.random.default_rng(0).random((60, 40)) < 0.5
    runs = rle.mask_to_rle(mask)
    packed = rle.packed_rle(runs)
    assert packed["counts"].nbytes == 4 * len(runs["counts"])
    assert rle.listed_rle(packed) == runs and all(type(run) is int for run in rle.listed_rle(packed)["counts"])
    assert np.array_equal(rle.rle_to_mask(packed), mask) and rle.area_from_rle(packed) == mask.sum()
    assert rle.compress_rle(packed) == rle.compress_rle(runs) and rle.listed_rle(rle.compress_rle(runs)) == runs
