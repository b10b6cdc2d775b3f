"""The exported files, run by onnxruntime, give the model's numbers for every size and number of points."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from samlite import document_sam, export_command, onnx_export, released_sam
from samlite.command_line import main
from samlite.environment import SetupError
from samlite.registry import sam_model_registry
from samlite.sam import Sam

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SMALL = {"image_size": 64, "width": 32, "depth": 2, "heads": 2, "channels": 32, "decoder_heads": 4, "decoder_mlp": 32}


def model(name: str) -> Sam:
    torch.manual_seed(0)
    if name == "document":
        return document_sam(**SMALL).eval()
    sam = released_sam(**SMALL, window=3, global_blocks=(1,), mask_channels=8).eval()  # 3 does not divide the grid of 4
    for block in sam.image_encoder.blocks:  # zeros at first, and then nothing would be tested
        torch.nn.init.normal_(block.attention.relative_rows)
        torch.nn.init.normal_(block.attention.relative_columns)
    return sam


@pytest.fixture(scope="module", params=["document", "released"])
def exported(request, tmp_path_factory) -> tuple[Sam, Path, Path]:
    sam, folder = model(request.param), tmp_path_factory.mktemp(request.param)
    encoder = onnx_export.export_encoder(sam, folder / "encoder.onnx")
    return sam, encoder, onnx_export.export_decoder(sam, folder / "decoder.onnx")


def run(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)


def test_names_and_open_sizes(exported) -> None:
    _, encoder, decoder = exported
    session = onnxruntime.InferenceSession(str(decoder), providers=["CPUExecutionProvider"])
    assert tuple(value.name for value in session.get_inputs()) == onnx_export.DECODER_INPUTS
    assert tuple(value.name for value in session.get_outputs()) == onnx_export.DECODER_OUTPUTS
    shapes = {value.name: value.shape for value in session.get_inputs()}
    assert shapes["point_coords"] == [1, "points", 2] and shapes["point_labels"] == [1, "points"]
    (pixels,) = onnxruntime.InferenceSession(str(encoder), providers=["CPUExecutionProvider"]).get_inputs()
    assert pixels.name == "pixels" and pixels.shape == [1, 3, "height", "width"]


def test_onnxruntime_gives_what_torch_gives(exported) -> None:
    assert onnx_export.largest_difference(*exported) < 1e-5


@pytest.mark.parametrize("count, mask, photo", [(1, False, (50, 64)), (4, True, (31, 200)), (9, False, (300, 17))])
def test_the_decoder_is_decode_masks_and_resize_masks(exported, count, mask, photo) -> None:
    """The way of the predictor, step by step, and not the module that was exported."""
    sam, _, path = exported
    released = hasattr(sam.prompt_encoder, "not_a_point")
    inputs = onnx_export.decoder_inputs(sam, count, mask) | {"orig_im_size": np.array(photo, np.float32)}
    points, labels = inputs["point_coords"], np.ones((1, count), np.float32)
    corners = np.random.RandomState(1).uniform(0, sam.image_size, (1, 2, 2)).astype(np.float32)
    box = torch.from_numpy(corners).reshape(1, 1, 4) if count > 1 else None
    given = {"point_coords": points, "point_labels": labels}
    if box is not None:
        given = {"point_coords": np.concatenate([points, corners], 1), "point_labels": np.append(labels, [[2, 3]], 1)}
    elif released:
        given = {"point_coords": np.append(points, [[[0, 0]]], 1), "point_labels": np.append(labels, [[-1]], 1)}
    inputs |= {name: value.astype(np.float32) for name, value in given.items()}
    masks, iou, low_res = run(path, **inputs)

    with torch.no_grad():
        sparse, dense = sam.prompt_encoder(
            torch.from_numpy(points), torch.from_numpy(labels).long(), box,
            torch.from_numpy(inputs["mask_input"]) if mask else None,
        )  # fmt: skip
        embedding = torch.from_numpy(inputs["image_embeddings"])
        logits, scores = sam.mask_decoder(embedding, sam.prompt_encoder.image_positions(), sparse, dense)
        scale = sam.image_size / max(photo)
        wanted = sam.resize_masks(logits, tuple(int(side * scale + 0.5) for side in photo), photo)
    assert masks.shape == (1, logits.shape[1], *photo)
    np.testing.assert_allclose(low_res, logits.numpy(), atol=1e-5 * logits.abs().max())
    np.testing.assert_allclose(iou, scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(masks, wanted.numpy(), atol=2e-5 * wanted.abs().max())


def test_the_encoder_takes_photos_as_the_predictor_resizes_them(exported) -> None:
    sam, path, _ = exported
    pixels = np.random.RandomState(0).uniform(0, 255, (1, 3, 40, sam.image_size)).astype(np.float32)
    with torch.no_grad():
        wanted = sam.encode_image(sam.normalise(torch.from_numpy(pixels))).numpy()
    np.testing.assert_allclose(run(path, pixels=pixels)[0], wanted, atol=1e-5 * abs(wanted).max())


def test_one_mask_is_chosen_as_in_the_release() -> None:
    """Without a file: which mask the exported module takes, for few points and for many."""
    sam = model("released")
    every, one = onnx_export.OnnxDecoder(sam), onnx_export.OnnxDecoder(sam, one_mask=True)
    for count in (1, 2, 3, 6):
        inputs = [torch.from_numpy(value) for value in onnx_export.decoder_inputs(sam, count).values()]
        with torch.no_grad():
            _, scores, logits = every(*inputs)
            masks, score, chosen = one(*inputs)
        best = 0 if count > 2 else 1 + scores[0, 1:].argmax()
        assert masks.shape[1] == 1 and torch.equal(chosen[:, 0], logits[:, best]) and score[0, 0] == scores[0, best]


def test_the_command_writes_and_checks(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sam_model_registry, "tiny", lambda checkpoint=None, device=None: model("document"))
    assert main(["export", "tiny", "--one-mask", "-o", str(tmp_path / "new")]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"tiny_encoder.onnx", "tiny_decoder.onnx"}
    assert "onnxruntime against PyTorch" in capsys.readouterr().out


def test_a_file_of_weights_is_written_where_it_was_asked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(export_command, "trained_model", lambda name, checkpoint=None: model("document"))
    monkeypatch.setattr(export_command, "export_decoder", lambda sam, path, one_mask: path.write_bytes(b"a decoder"))
    monkeypatch.setattr(export_command, "largest_difference", lambda *_: 0.0)
    name = str(tmp_path / "runs" / "mine.safetensors")
    assert main(["export", name, "--part", "decoder", "-o", str(tmp_path / "new")]) == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine_decoder.onnx"]


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(missing, tmp_path, monkeypatch, capsys) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    sam = model("document")
    with pytest.raises(SetupError, match=rf"needs {missing}: .* -m pip install {missing}"):
        if missing == "onnxruntime":
            onnx_export.largest_difference(sam, tmp_path / "encoder.onnx", None)
        else:
            onnx_export.export_decoder(sam, tmp_path / "decoder.onnx")
    if missing == "onnx":
        assert main(["export", "tiny", "-o", str(tmp_path)]) == 2
        assert "pip install onnx" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx"))


def test_nan_is_no_agreement(exported, monkeypatch) -> None:
    with pytest.raises(ValueError, match="there is nothing to compare"):
        onnx_export.largest_difference(model("document"), None, None)
    monkeypatch.setattr(onnx_export, "_differences", lambda *_: [0.0, float("nan")])
    assert not onnx_export.largest_difference(model("document"), "encoder.onnx", None) < 1
