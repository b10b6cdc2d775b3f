"""The released model as a model: errors, ledger, gradients, and what the document's parts do in it."""

import ast
from pathlib import Path

import pytest
import torch
from reference import SIZES

import samlite
from samlite import SamPredictor, released_sam, shape_ledger
from samlite.notebook.steps import RELEASED_STEPS, STEPS
from samlite.released import image_encoder

SMALL = SIZES["tiny"]


@pytest.fixture
def sam():
    torch.manual_seed(0)
    return released_sam(**SMALL).eval()


def predict(sam, **prompts):
    embedding = sam.encode_image(sam.normalise(torch.rand(2, 3, 96, 128) * 255))
    return sam.resize_masks(sam.decode_masks(embedding, **prompts)[0], (96, 128), (61, 83))


def every_prompt(n=3, m=2):
    return {
        "points": torch.rand(2, n, 2) * 128, "labels": torch.ones(2, n, dtype=torch.long),
        "boxes": torch.rand(2, m, 4) * 128, "mask": torch.randn(2, 1, 32, 32),
    }  # fmt: skip


def test_the_ledger_names_every_step_in_letters_that_are_true(sam):
    letters = {"B": 2, "S": 128, "P": 16, "G": 8, "L": 64, "D": 32, "C": 32, "N": 3, "M": 2, "X": 0, "K": 4}
    letters |= {"T": 3 + 2 * 2 + 5, "H": 61, "W": 83}
    with torch.no_grad(), shape_ledger(sam) as ledger:
        assert predict(sam, **every_prompt()).shape == (2, 3, 61, 83)
    assert set(ledger.names) == set(RELEASED_STEPS)
    for entry in ledger:
        assert entry.section == RELEASED_STEPS[entry.name].section
        if entry.name in ("input_frame_logits", "masks"):
            letters["K"] = 3  # mask 0 is left out by then
        if entry.name == "mask_halved" or entry.name == "mask_quartered":
            continue  # their channels are a size of their own
        if entry.symbols:
            assert eval(f"({entry.symbols.replace('/', '//')})", letters) == entry.shape, entry
    assert "windows" in str(ledger) and ledger["windows"].shape == (2 * 9, 9, 32)


def test_every_name_that_the_released_sources_record_is_in_the_table():
    found = set()
    for path in (Path(samlite.__file__).parent / "released").glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        found |= {call.args[0].value for call in calls if getattr(call.func, "id", None) == "record"}
    assert found <= RELEASED_STEPS.keys() and RELEASED_STEPS.keys() - found <= STEPS.keys()


def test_the_padding_point_is_there_only_without_a_box(sam):
    points, labels = torch.rand(2, 3, 2) * 128, torch.ones(2, 3, dtype=torch.long)
    boxes = torch.rand(2, 1, 4) * 128
    sparse, _ = sam.prompt_encoder(points, labels)
    assert sparse.shape == (2, 4, 32)
    assert torch.equal(sparse[:, 3], sam.prompt_encoder.not_a_point.expand(2, -1))
    assert sam.prompt_encoder(points, labels, boxes)[0].shape == (2, 5, 32)
    assert sam.prompt_encoder(boxes=boxes)[0].shape == (2, 2, 32)


def test_a_label_of_no_kind_leaves_the_place_alone(sam):
    points = torch.rand(1, 1, 2) * 128
    token = sam.prompt_encoder(points, torch.tensor([[7]]))[0][:, 0]
    torch.testing.assert_close(token, sam.prompt_encoder.coordinates((points + 0.5) / 128)[:, 0])


def test_a_place_that_does_not_count_may_even_be_nan(sam):
    points = torch.tensor([[[9.0, 9.0], [float("nan"), 0.0]]])
    assert sam.prompt_encoder(points, torch.tensor([[1, -1]]))[0].isfinite().all()


def test_the_strips_of_an_attention_change_nothing(sam, monkeypatch):
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        whole = sam.encode_image(image)
        for rows in (1, 3):
            monkeypatch.setattr(image_encoder, "STRIP_ROWS", rows)
            torch.testing.assert_close(sam.encode_image(image), whole, atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter(sam):
    """All but the vector for a missing mask, for there is one."""
    sam.train()
    embedding = sam.encode_image(torch.randn(2, 3, 128, 128))
    labels = torch.tensor([[1, 0, -1]] * 2)
    logits, iou = sam.decode_masks(embedding, torch.rand(2, 3, 2) * 128, labels, torch.rand(2, 1, 4) * 128,
                                   torch.randn(2, 1, 32, 32))  # fmt: skip
    one, one_iou = sam.decode_masks(embedding, torch.rand(2, 1, 2) * 128, labels[:, :1], multimask_output=False)
    sum(x.square().mean() for x in (logits, iou, one, one_iou)).backward()
    without = [name for name, p in sam.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in without if not name.endswith("key_projection.bias")] == []


def test_text_was_never_released(sam):
    with pytest.raises(ValueError, match="no trained text projection"):
        sam.decode_masks(torch.zeros(1, 32, 8, 8), text=torch.zeros(1, 1, 512))


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"image_size": 100}, "image_size 100 is not a multiple of patch_size 16"),
        ({"heads": 3}, "32 channels, 3 heads"),
        ({"global_blocks": (1, 3)}, r"global_blocks has \[3\]: the 3 blocks are counted from 0 to 2"),
        ({"window": 0}, "window is 0"),
        ({"channels": 36}, "a multiple of 8"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        released_sam(**SMALL | sizes, device="meta")


def test_the_predictor_serves_both(sam):
    predictor = SamPredictor(sam)
    predictor.set_image(torch.zeros(61, 83, 3, dtype=torch.uint8).numpy())
    assert predictor.predict([[9, 9]], [1])[0].shape == (3, 61, 83)
    assert predictor.predict([[9, 9]], [1], multimask_output=False)[0].shape == (1, 61, 83)
