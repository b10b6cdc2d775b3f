"""`annotate`: photos of all kinds → shards of records; bad photos reported; nothing mixed; the command says it all."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from samlite import annotate, automatic
from samlite.annotate import (
    annotate_folder,
    generator_arguments,
    list_photos,
    photo_masks,
    read_annotations,
    weights_file,
)
from samlite.command_line import main
from samlite.masks import mask_area, mask_to_box
from samlite.registry import TEXT_WEIGHTS, TINY_WEIGHTS
from samlite.rle import rle_to_mask
from samlite.shards import ShardError

FEW = {"points_per_side": 3, "pred_iou_thresh": 0.1, "stability_score_thresh": 0.1}
GOOD = ["a.jpg", "b grey.png", "c alpha.png", "deep/er/sixteen.png", "deep/é.webp"]
BAD = {
    "torn.jpg": "could not be decoded, it is damaged or truncated",
    "text.png": "is not an image that can be read",
    "dot.png": "1×1 pixels: the smaller side must have 16 at least",
    "line.png": "the limit of the aspect ratio",
    "wild.tif": "a float image must be in 0…1",
}


def picture(size=(60, 40), seed=0):
    """A dark ground with a bright disc and a bright square."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    values = np.full((height, width, 3), 40 + 10 * seed, np.uint8)
    values[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2] = (230, 60, 40)
    values[height // 4 : height // 2, -width // 4 : -2] = (60, 200, 230)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    picture().save(folder / "a.jpg")
    picture(seed=1).convert("L").save(folder / "b grey.png")
    picture(seed=2).convert("RGBA").save(folder / "c alpha.png")
    Image.fromarray(np.asarray(picture().convert("L")).astype(np.uint16) * 257).save(folder / "deep/er/sixteen.png")
    picture(seed=3).save(folder / "deep" / "é.webp")
    whole = (folder / "a.jpg").read_bytes()
    (folder / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_text("no picture")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (4000, 16)).save(folder / "line.png")
    Image.fromarray(np.full((20, 20), 300.0, np.float32)).save(folder / "wild.tif")
    picture().save(folder / ".hidden" / "x.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with ThreadPoolExecutor(1) as executor:
        summary = annotate_folder(photos, out, executor=executor, photos_per_shard=3, **FEW)
    return out, summary


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_photos_are_found_by_name_in_a_fixed_order(photos):
    assert list_photos(photos) == sorted([*GOOD, *BAD])
    with pytest.raises(ValueError, match="is no folder"):
        list_photos(photos / "a.jpg")
    with pytest.raises(ValueError, match="holds no photos: looked for names that end in"):
        list_photos(TINY_WEIGHTS.parent)


def test_a_subfolder_that_cannot_be_read_is_no_empty_one(photos, monkeypatch):
    look = os.scandir
    below = next(path for path in photos.iterdir() if path.is_dir() and path.name[0] != ".")

    def refusing(path):
        if Path(path) == below:
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match=below.name):
        list_photos(photos)


def test_every_photo_has_one_line_and_bad_ones_say_why(photos, done):
    out, summary = done
    lines = {line["item"]: line for line in read_annotations(out)}
    assert list(lines) == list_photos(photos)
    assert {name for name, line in lines.items() if "error" in line} == set(BAD)
    for name, words in BAD.items():
        assert words in lines[name]["error"] and str(photos) not in lines[name]["error"]
    assert summary.skipped == len(BAD) and summary.photos == len(GOOD)
    assert summary.masks == sum(len(lines[name]["annotations"]) for name in GOOD) > 0
    assert "5 photos were skipped" in str(summary)


def test_records_have_the_official_keys_and_their_masks_are_what_they_say(photos, done):
    keys = {"segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}
    for line in read_annotations(done[0]):
        for record in line.get("annotations", ()):
            assert set(record) == keys and isinstance(record["segmentation"]["counts"], str)
            mask = rle_to_mask(record["segmentation"])
            assert mask.shape == (line["image"]["height"], line["image"]["width"])
            assert mask_area(mask) == record["area"]
            x, y, width, height = record["bbox"]
            assert mask_to_box(mask).tolist() == [x, y, x + width, y + height]


def test_the_manifest_has_every_argument_and_the_weights(done):
    manifest = json.loads((done[0] / "manifest.json").read_text())
    expected = generator_arguments() | FEW
    del expected["points_per_batch"]  # changes no mask
    assert manifest["generator"] == expected
    assert manifest["model"] == "default" and manifest["items"] == len(GOOD) + len(BAD)
    assert len(manifest["weights_sha256"]) == 64 and manifest["minimum_side"] == 16


def test_processes_give_the_same_bytes_and_a_second_run_none(photos, done, tmp_path):
    summary = annotate_folder(photos, tmp_path, workers=2, photos_per_shard=3, **FEW)
    assert contents(tmp_path) == contents(done[0]) and 100 < summary.peak_megabytes < 1500
    again = annotate_folder(photos, tmp_path, workers=1, photos_per_shard=3, **FEW)
    assert again.before == again.shards and contents(tmp_path) == contents(done[0])


def test_a_run_goes_on_with_fewer_clicks_at_once(photos, done):
    with ThreadPoolExecutor(1) as executor:
        again = annotate_folder(photos, done[0], executor=executor, photos_per_shard=3, points_per_batch=1, **FEW)
    assert again.before == again.shards


def test_a_score_that_is_no_number_is_null(photos, tmp_path, monkeypatch):
    """As that of a mask without a pixel, which passes where the thresholds are 0."""
    monkeypatch.setattr(automatic, "stability_scores", lambda logits, *_: torch.full(logits.shape[:-2], torch.nan))
    everything = {"points_per_side": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0}
    with ThreadPoolExecutor(1) as executor:
        assert annotate_folder(photos / "deep", tmp_path, executor=executor, **everything).masks > 0
    records = [record for line in read_annotations(tmp_path) for record in line["annotations"]]
    assert records and all(record["stability_score"] is None for record in records)


@pytest.mark.parametrize("error", [None, PermissionError(13, "no")])
def test_a_photo_that_cannot_be_reached_is_not_written_down_as_bad(photos, tmp_path, monkeypatch, error):
    """A share that vanishes in the middle of a run comes back; a shard that says so would stay."""
    monkeypatch.setattr(annotate, "list_photos", lambda folder: ["a.jpg" if error else "gone.jpg"])
    if error:
        monkeypatch.setattr(Image, "open", lambda path: raise_it(error))
    kind, name = ("PermissionError", "a.jpg") if error else ("ImageNotFoundError", "gone.jpg")
    with ThreadPoolExecutor(1) as executor, pytest.raises(ShardError, match=f"^{name}: {kind}: .*{name}"):
        annotate_folder(photos, tmp_path, executor=executor, **FEW)
    assert not list(tmp_path.glob("shard-*"))


@pytest.mark.skipif(os.name == "nt", reason="a backslash parts folders there")
def test_why_a_photo_is_bad_does_not_say_where_the_folder_is(tmp_path):
    """Not even where the folder's name has a character that Python writes otherwise, as every Windows path has."""
    folder = tmp_path / "my\\photos"
    folder.mkdir()
    (folder / "torn.png").write_text("no picture")
    picture().save(folder / "a.png")
    with ThreadPoolExecutor(1) as executor:
        annotate_folder(folder, tmp_path / "out", executor=executor, **FEW)
    (bad,) = (line["error"] for line in read_annotations(tmp_path / "out") if "error" in line)
    assert "'torn.png'" in bad and "photos" not in bad


def raise_it(error):
    raise error


@pytest.mark.parametrize(
    "change, message",
    [
        ({"points_per_side": 4}, "generator.points_per_side was 3 and is now 4"),
        ({"minimum_side": 8}, "minimum_side was 16 and is now 8"),
        ({"photos_per_shard": 4}, "items_per_shard was 3 and is now 4"),
    ],
)
def test_a_folder_holds_one_kind_of_shards(photos, done, change, message):
    settings = {"photos_per_shard": 3, **FEW} | change
    with pytest.raises(ValueError, match=f"was begun with something else: {message}"):
        annotate_folder(photos, done[0], **settings)


def test_other_weights_are_refused(photos, done, tmp_path):
    with safe_open(TINY_WEIGHTS, framework="pt") as file:
        state, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    state["image_encoder.norm.bias"] = state["image_encoder.norm.bias"] + 1
    save_file(state, tmp_path / "other.safetensors", metadata)
    with pytest.raises(ValueError, match="weights_sha256 was [0-9a-f]{12}… and is now"):
        annotate_folder(photos, done[0], checkpoint=tmp_path / "other.safetensors", photos_per_shard=3, **FEW)
    work = photo_masks(photos, "tiny", None, "cpu", 1, 16, {})
    with pytest.raises(RuntimeError, match="this worker's weights .* install the same samlite"):
        replace(work, weights_sha256="0" * 64).build()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"points_per_sides": 3}, "no argument points_per_sides; it has points_per_side, "),
        ({"points_per_side": 0}, "points_per_side"),
        ({"box_nms_thresh": 7}, "box_nms_thresh"),
        ({"model": "vit_b"}, "vit_b has no weights of its own"),
        ({"model": "tiny", "checkpoint": "nowhere.safetensors"}, "there is no file 'nowhere.safetensors'"),
        ({"model": "tinny"}, "no model is called 'tinny'"),
        ({"threads": 0}, "threads is 0"),
        ({"photos_per_shard": 0}, "items_per_shard is 0"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(photos, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        annotate_folder(photos, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_the_weights_of_the_default_are_those_that_ship():
    assert weights_file("default", None) == weights_file("tiny", None) == TINY_WEIGHTS
    assert weights_file("tiny_text", None) == TEXT_WEIGHTS
    assert weights_file("vit_b", Path(__file__)) == Path(__file__)


def test_the_command_does_it_and_says_so(photos, done, tmp_path, capsys):
    few = ["--points-per-side", "3", "--pred-iou-thresh", "0.1", "--stability-score-thresh", "0.1"]
    command = ["annotate", str(photos), "-o", str(tmp_path), "--photos-per-shard", "3", "--workers", "1", *few]
    assert main(command) == 0
    assert "5 photos, " in capsys.readouterr().out and contents(tmp_path) == contents(done[0])
    assert main(command) == 0 and "4 shards were there already" in capsys.readouterr().out
    assert main([*command, "--points-per-side", "4"]) == 2
    assert "was begun with something else" in capsys.readouterr().err
    assert main([*command, "--dask", "--ray"]) == 2
    assert "choose one" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused_before_it_is_fetched():
    with pytest.raises(ValueError, match="vit_b holds the weights of vit_b, not of tiny: name that model"):
        weights_file("tiny", "vit_b")
