"""``python -m samlite segment``: what it writes, what it says, and how it refuses."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from safetensors.torch import save_file

from samlite import SamPredictor, document_sam
from samlite.command_line import main
from samlite.fast import FoldedMaskDecoder, use_fast_paths
from samlite.registry import load_document_sam, sam_model_registry
from samlite.segment_command import model_of

CONFIG = {
    "image_size": 128, "patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_heads": 4,
    "decoder_mlp": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A photo of 400×600 and the weights of a small model."""
    folder = tmp_path_factory.mktemp("segment")
    Image.fromarray(skimage.data.coffee()).save(folder / "coffee.png")
    torch.manual_seed(0)
    weights = {name: tensor.contiguous() for name, tensor in document_sam(**CONFIG).state_dict().items()}
    save_file(weights, folder / "small.safetensors", {"config": json.dumps(CONFIG)})
    return folder


@pytest.fixture
def segment(folder, tmp_path, monkeypatch, capsys):
    """The command on the photo, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, photo="coffee.png"):
        code = main(["segment", str(folder / photo), "--checkpoint", str(folder / "small.safetensors"), *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def predictor(folder):
    predictor = SamPredictor(use_fast_paths(load_document_sam(folder / "small.safetensors")))  # as the command does
    predictor.set_image(folder / "coffee.png")
    return predictor


def mask_in(path):
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        values = np.asarray(picture)
    assert set(np.unique(values)) <= {0, 255}
    return values == 255


def files():
    return sorted(path.name for path in Path().iterdir())


def test_a_point_gives_the_mask_of_the_predictor(segment, predictor):
    code, out, err = segment("--point", "300,200", "--point", "20,30,0", "-o", "cup.png")
    masks, iou, _ = predictor.predict([[300, 200], [20, 30]], [1, 0], multimask_output=False)
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(mask_in("cup.png"), masks[0])
    assert files() == ["cup.png"]
    photo_line, mask_line = out.splitlines()
    assert "coffee.png: 600×400 pixels" in photo_line
    assert mask_line.startswith(f"cup.png: predicted IoU {iou[0]:.2f}, {masks[0].sum():,} pixels")


def test_boxes_go_into_one_prompt(segment, predictor):
    segment("--box", "10,20,300,200", "--box", "100.5,50,600,400")
    masks, _, _ = predictor.predict(boxes=[[10, 20, 300, 200], [100.5, 50, 600, 400]], multimask_output=False)
    np.testing.assert_array_equal(mask_in("mask.png"), masks[0])


def test_all_writes_every_candidate(segment, predictor):
    code, out, _ = segment("--point", "300,200", "--all", "-o", "cup.png", "--json")
    masks, iou, _ = predictor.predict([[300, 200]], [1])
    result = json.loads(out)
    assert code == 0
    assert files() == ["cup-1.png", "cup-2.png", "cup-3.png"]
    assert (result["width"], result["height"]) == (600, 400)
    for k, said in enumerate(result["masks"]):
        written = mask_in(said["file"])
        np.testing.assert_array_equal(written, masks[k])
        assert said["area"] == masks[k].sum()
        assert said["predicted_iou"] == pytest.approx(iou[k], abs=1e-4)
        if written.any():
            rows, columns = np.nonzero(written)
            assert said["box"] == [columns.min(), rows.min(), columns.max(), rows.max()]


def test_overlay_changes_the_photo_where_the_mask_is(segment):
    segment("--point", "300,200", "--overlay", "over.png")
    with Image.open("over.png") as picture:
        drawn = np.asarray(picture)
    photo, mask = skimage.data.coffee(), mask_in("mask.png")
    assert drawn.shape == photo.shape
    np.testing.assert_array_equal(drawn[~mask], photo[~mask])
    assert (drawn[mask] != photo[mask]).any(axis=-1).mean() > 0.95


def test_mask_prompt_from_a_picture_and_from_logits(segment, predictor):
    rough = np.zeros((400, 600), bool)
    rough[100:300, 150:450] = True
    logits = predictor.mask_to_logits(rough)
    Image.fromarray(rough).save("rough.png")  # one bit a pixel, as drawing programs write it
    np.save("rough.npy", logits)
    masks, _, _ = predictor.predict([[300, 200]], [1], mask_input=logits, multimask_output=False)
    for name in ("rough.png", "rough.npy"):
        assert segment("--point", "300,200", "--mask-prompt", name)[0] == 0
        np.testing.assert_array_equal(mask_in("mask.png"), masks[0])


REFUSED = [
    ([], "no prompt was given"),
    (["--point", "3;4"], "--point '3;4' is not understood: X,Y or X,Y,LABEL"),
    (["--point", "3,4,1,1"], "--point '3,4,1,1' is not understood"),
    (["--point", "3,x"], "--point '3,x' is not understood"),
    (["--point", "3,4,2"], "point_labels has 2"),
    (["--point", "700,20"], "(700, 20) outside the photo, which is 600 wide and 400 high"),
    (["--point=-1,20"], "(-1, 20) outside the photo"),
    (["--box", "1,2,3"], "--box '1,2,3' is not understood: X1,Y1,X2,Y2"),
    (["--box", "300,200,40,30"], "did you pass x, y, width, height?"),
    (["--point", "3,4", "-o", "mask.jpg"], "'mask.jpg' does not end in .png"),
    (["--point", "3,4", "-o", "no/mask.png"], "there is no folder 'no'"),
    (["--point", "3,4", "--overlay", "over"], "'over' does not end in .png"),
    (["--point", "3,4", "--model", "tinny"], "no model is called 'tinny'"),
    (["--point", "3,4", "--checkpoint", "none.safetensors"], "none.safetensors"),
    (["--mask-prompt", "none.png"], "there is no such file"),
    (["--mask-prompt", "grey.png"], "choose a threshold"),
    (["--mask-prompt", "other.png"], "mask has shape (4, 4)"),
    (["--mask-prompt", "bool.npy"], "mask_input is bool"),
    (["--mask-prompt", "clear.png"], "'clear.png' is white everywhere: white is the object"),
    (["--mask-prompt", "black.png"], "'black.png' is black everywhere"),
    (["--mask-prompt", "empty.npy"], "'empty.npy' is no array that can be read"),
    (["--mask-prompt", "text.npy"], "'text.npy' is no array that can be read"),
    (["--mask-prompt", "grey.png", "-o", "grey.png"], "'grey.png' is read by this command and would be overwritten"),
    (["--point", "3,4", "-o", "PHOTO"], "coffee.png' is read by this command and would be overwritten"),
    (["--point", "3,4", "--overlay", "PHOTO"], "coffee.png' is read by this command and would be overwritten"),
    (["--point", "3,4", "--overlay", "./mask.png"], "'./mask.png' is named for a mask and for the overlay"),
    (["--point", "3,4", "--all", "--overlay", "mask-2.png"], "'mask-2.png' is named for a mask and for the overlay"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=[" ".join(case[0]) or "nothing" for case in REFUSED])
def test_wrong_input_is_one_sentence_and_exit_code_2(segment, folder, arguments, says):
    arguments = [str(folder / "coffee.png") if word == "PHOTO" else word for word in arguments]
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save("grey.png")
    clear = np.zeros((400, 600, 4), np.uint8)
    clear[100:200, 100:200] = 255  # a drawing program's mask: white on nothing
    Image.fromarray(clear).save("clear.png")
    Image.fromarray(np.zeros((400, 600), np.uint8)).save("black.png")
    Path("empty.npy").touch()
    Path("text.npy").write_text("no array")
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save("other.png")
    np.save("bool.npy", np.ones((1, 64, 64), bool))
    before = files()
    code, out, err = segment(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1
    assert files() == before
    assert np.array_equal(np.asarray(Image.open(folder / "coffee.png")), skimage.data.coffee())


def test_a_photo_that_is_none(segment, folder):
    (folder / "page.jpg").write_text("<html>not found</html>")
    for photo, says in [("page.jpg", "is not an image"), ("missing.jpg", "no such file"), ("", "is a folder")]:
        code, _, err = segment("--point", "3,4", photo=photo)
        assert code == 2
        assert says in err


def test_the_command_from_a_shell(folder, tmp_path):
    command = [sys.executable, "-m", "samlite", "segment", str(folder / "coffee.png"), "--checkpoint"]
    command += [str(folder / "small.safetensors"), "--point", "300,200"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert mask_in(tmp_path / "mask.png").shape == (400, 600)


def test_the_commands_take_the_fast_paths_with_the_same_answer() -> None:
    quick = model_of(argparse.Namespace(model="tiny", checkpoint=None, device=None))
    assert isinstance(quick.mask_decoder, FoldedMaskDecoder)
    answers = []
    for sam in (quick, sam_model_registry["tiny"]()):
        predictor = SamPredictor(sam)
        predictor.set_image(skimage.data.astronaut())
        answers.append(predictor.predict([[200, 200]], [1], return_logits=True))
    for ours, plain in zip(*answers, strict=True):
        assert np.abs(ours - plain).max() <= 1e-5 * np.abs(plain).max()
