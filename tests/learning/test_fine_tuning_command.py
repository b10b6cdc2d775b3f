"""``fine-tune`` as a user calls it: a folder in, weights out that load, and one sentence for a bad folder."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from samlite import registry
from samlite.command_line import main
from samlite.learning import fine_tuning_command as command
from samlite.learning.photo_sets import read_photo_set
from samlite.learning.weights import read_training, save_weights
from samlite.registry import load_document_sam
from samlite.released.sam import released_sam
from samlite.sam import document_sam

SIZES = {"patch_size": 8, "width": 16, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2, "decoder_mlp": 32}
RELEASED = {
    "image_size": 32, "width": 32, "depth": 2, "heads": 2, "window": 2, "global_blocks": (1,), "patch_size": 8,
    "channels": 16, "decoder_heads": 2, "decoder_mlp": 32, "mask_channels": 4,
}  # fmt: skip
QUICK = ("--steps", "2", "--prompts", "2")


@pytest.fixture
def folder(tmp_path):
    """Three photos with a PNG mask each."""
    (tmp_path / "set" / "masks").mkdir(parents=True)
    for index in range(3):
        photo, mask = np.full((40, 60, 3), 90, np.uint8), np.zeros((40, 60), np.uint8)
        mask[8:30, 5 + 10 * index : 25 + 10 * index] = 255
        photo[mask > 0] = 220
        Image.fromarray(photo).save(tmp_path / "set" / f"photo{index}.jpg")
        Image.fromarray(mask).save(tmp_path / "set" / "masks" / f"photo{index}.png")
    return tmp_path / "set"


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.safetensors"
    torch.manual_seed(0)
    save_weights(document_sam(image_size=32, **SIZES), SIZES, path, {})
    return path


def test_a_document_model(folder, small, tmp_path, capsys):
    output = tmp_path / "mine.safetensors"
    assert main(["fine-tune", str(folder), "--model", str(small), "-o", str(output), *QUICK]) == 0
    out = capsys.readouterr().out
    assert "3 photos with 3 objects; learning from 2 photos" in out and "1 held-out photos" in out and "→" in out
    old, new = load_document_sam(small), load_document_sam(output)
    assert torch.equal(old.image_encoder.position_embedding, new.image_encoder.position_embedding)
    assert not torch.equal(old.mask_decoder.mask_tokens, new.mask_decoder.mask_tokens)
    training = read_training(output)
    assert training["fine-tuned"]["steps"] == 2 and training["started from"] == str(small)


def test_a_released_model(folder, tmp_path, monkeypatch, capsys):
    """Official names in, official names out: the file loads as any official one."""
    torch.manual_seed(0)
    first = tmp_path / "start.safetensors"
    command.save(released_sam(**RELEASED), first, {})
    monkeypatch.setitem(
        registry.sam_model_registry,
        "vit_b",
        lambda checkpoint, device=None: released_sam(**RELEASED, checkpoint=checkpoint),
    )
    output = tmp_path / "mine.safetensors"
    words = ["fine-tune", str(folder), "--model", "vit_b", "--checkpoint", str(first), "-o", str(output), *QUICK]
    assert main([*words, "--boxes", "1"]) == 0
    old, new = (released_sam(**RELEASED, checkpoint=path) for path in (first, output))
    assert torch.equal(old.image_encoder.position_embedding, new.image_encoder.position_embedding)
    assert not torch.equal(old.mask_decoder.mask_tokens, new.mask_decoder.mask_tokens)
    assert 'sam_model_registry["vit_b"]' in capsys.readouterr().out


def test_coco_is_read_too(folder, small, tmp_path, capsys):
    for path in (folder / "masks").glob("*.png"):
        path.unlink()
    images = [{"id": index, "file_name": f"photo{index}.jpg", "height": 40, "width": 60} for index in range(3)]
    square = [[10, 10, 30, 10, 30, 30, 10, 30]]
    annotations = [{"id": index, "image_id": index, "segmentation": square} for index in range(3)]
    (folder / "set.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    words = ["fine-tune", str(folder), "--model", str(small), "-o", str(tmp_path / "a.safetensors"), *QUICK]
    assert main([*words, "--hold-out", "0"]) == 0
    assert "learning from 3 photos" in capsys.readouterr().out


def lost_photo(folder):
    (folder / "photo1.jpg").unlink()


def other_size(folder):
    Image.fromarray(np.full((20, 30), 255, np.uint8)).save(folder / "masks" / "photo1.png")


def empty_mask(folder):
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(folder / "masks" / "photo1.png")


def no_masks(folder):
    for path in (folder / "masks").glob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lost_photo, r"photo1.png is the mask of no photo"),
        (other_size, r"photo1.png has 20×30 pixels .*its photo 40×60"),
        (empty_mask, r"photo1.png is empty"),
        (no_masks, r"holds no photo with masks"),
    ],
)
def test_a_bad_folder_gets_one_sentence(folder, small, tmp_path, capsys, spoil, message):
    spoil(folder)
    output = tmp_path / "mine.safetensors"
    assert main(["fine-tune", str(folder), "--model", str(small), "-o", str(output), *QUICK]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("samlite: ")]
    assert len(error) == 1 and not output.exists()
    assert re.search(message, error[0])


@pytest.mark.parametrize(
    "words, message",
    [
        (["--model", "vit_b", "-o", "a.safetensors"], "--checkpoint vit_b downloads it once"),
        (["--model", "document_vit_h", "-o", "a.safetensors"], "nobody has trained document_vit_h"),
        (["--model", "a.safetensors", "--checkpoint", "b", "-o", "c.safetensors"], "name one of them"),
        (["--model", "vit_l", "--checkpoint", "vit_b", "-o", "a.safetensors"], "the weights of vit_b, not of vit_l"),
        (["-o", "a.pth"], "must end in .safetensors"),
        (["-o", "sam_vit_b_01ec64.safetensors"], "Meta's own weights"),
        (["-o", "a.safetensors", "--hold-out", "1"], "--hold-out is 1.0"),
        (["-o", "a.safetensors", "--rate", "0"], "rate is 0.0"),
    ],
)
def test_bad_arguments(folder, capsys, words, message):
    assert main(["fine-tune", str(folder), *words]) == 2
    assert message in capsys.readouterr().err


def test_masks_with_capital_letters_belong_to_photos_too(folder):
    command.check_every_mask_has_a_photo(folder)
    Image.fromarray(np.full((40, 60), 255, np.uint8)).save(folder / "masks" / "other.PNG")
    with pytest.raises(ValueError, match="other.PNG is the mask of no photo"):
        command.check_every_mask_has_a_photo(folder)


def test_masks_lie_in_the_subfolder_of_their_photo(folder):
    """As `read_photo_set` reads them: of another subfolder it takes none, and says nothing."""
    (folder / "images" / "anna").mkdir(parents=True)
    (folder / "masks" / "anna").mkdir()
    for photo in list(folder.glob("*.jpg")):
        photo.rename(folder / "images" / "anna" / photo.name)
    with pytest.raises(ValueError, match="photo0.png is the mask of no photo, and 2 more: .* the same subfolder"):
        command.check_every_mask_has_a_photo(folder)
    for mask in list((folder / "masks").glob("*.png")):
        mask.rename(folder / "masks" / "anna" / mask.name)
    (folder / "masks" / "anna" / "photo2").mkdir()  # a folder for each photo will do, too
    (folder / "masks" / "anna" / "photo2.png").rename(folder / "masks" / "anna" / "photo2" / "cup.png")
    command.check_every_mask_has_a_photo(folder)
    assert [photo.name for photo in read_photo_set(folder)] == [f"anna/photo{index}.jpg" for index in range(3)]


def test_a_half_without_objects_is_named(folder, small, tmp_path, capsys):
    """Where all of its masks are smaller than a cell: the photo that is held out, then those to learn from."""
    learn, held_out = command.split(3, 0.2, 0)
    speck = np.zeros((40, 60), np.uint8)
    speck[3, 3] = 255
    words = ["fine-tune", str(folder), "--model", str(small), "-o", str(tmp_path / "a.safetensors"), *QUICK]
    Image.fromarray(speck).save(folder / "masks" / f"photo{held_out[0]}.png")
    assert main(words) == 2
    assert f"no object in photo{held_out[0]}.jpg: every mask there" in capsys.readouterr().err
    for index in learn:
        Image.fromarray(speck).save(folder / "masks" / f"photo{index}.png")
    speck[8:30, 5:25] = 255
    Image.fromarray(speck).save(folder / "masks" / f"photo{held_out[0]}.png")
    assert main(words) == 2
    assert f"no object in photo{learn[0]}.jpg, photo{learn[1]}.jpg" in capsys.readouterr().err


def test_photos_are_split_once_and_for_all():
    for photos, share, held_out in ((10, 0.2, 2), (3, 0.2, 1), (1, 0.2, 0), (5, 0.0, 0), (2, 0.9, 1)):
        learn, other = command.split(photos, share, seed=0)
        assert len(other) == held_out and sorted(learn + other) == list(range(photos))
    assert command.split(10, 0.3, 1) == command.split(10, 0.3, 1) != command.split(10, 0.3, 2)
