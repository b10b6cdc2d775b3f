"""`SamPredictor` against the model called step by step by hand, on photos and with random weights."""

import inspect

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch.nn import functional as F

from samlite import SamPredictor, document_sam, memory

TEXT_WIDTH = 6


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    sam = document_sam(
        image_size=128, patch_size=8, width=64, depth=2, heads=2, channels=32, decoder_heads=4, decoder_mlp=64,
        text_width=TEXT_WIDTH,
    ).eval()  # fmt: skip
    sam.prompt_encoder.trained_on_text = "this test"
    return sam


@pytest.fixture(scope="module")
def photo():
    return skimage.data.coffee()  # 400×600


@pytest.fixture
def predictor(sam, photo):
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    return predictor


@pytest.fixture
def decoded(predictor, monkeypatch):
    """The keyword arguments of every call of ``decode_masks``."""
    calls = []
    original = type(predictor.model).decode_masks

    def spy(self, *args, **kwargs):
        calls.append(kwargs)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(predictor.model), "decode_masks", spy)
    return calls


# ------------------------------------------------------------------------------------------- signature and results


def test_signatures_begin_with_those_of_the_release():
    def names(function):
        kinds = inspect.signature(function).parameters.values()
        return [p.name for p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD][1:]

    prompts = ["point_coords", "point_labels"]
    rest = ["mask_input", "multimask_output", "return_logits"]
    assert names(SamPredictor.set_image) == ["image", "image_format"]
    assert names(SamPredictor.set_torch_image) == ["transformed_image", "original_image_size"]
    assert names(SamPredictor.predict) == [*prompts, "box", *rest]
    assert names(SamPredictor.predict_torch) == [*prompts, "boxes", *rest]


def test_shapes_and_types_of_the_results(predictor):
    masks, iou_predictions, low_res_logits = predictor.predict(np.array([[300, 200]]), np.array([1]))
    assert (masks.shape, masks.dtype) == ((3, 400, 600), bool)
    assert (iou_predictions.shape, iou_predictions.dtype) == ((3,), np.float32)
    assert (low_res_logits.shape, low_res_logits.dtype) == ((3, 64, 64), np.float32)
    logits, _, _ = predictor.predict([[300, 200]], [1], return_logits=True)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits > 0, masks)
    assert masks.any() and not masks.all()


def test_state_before_and_after(sam, photo):
    predictor = SamPredictor(sam)
    assert not predictor.is_image_set
    assert predictor.features is predictor.original_size is predictor.input_size is None
    predictor.set_image(photo)
    assert predictor.is_image_set
    assert (predictor.original_size, predictor.input_size) == ((400, 600), (85, 128))
    assert predictor.get_image_embedding().shape == (1, 32, 16, 16)
    assert predictor.device == torch.device("cpu")
    predictor.reset_image()
    assert not predictor.is_image_set
    with pytest.raises(RuntimeError, match="set_image"):
        predictor.get_image_embedding()


def test_predict_is_the_model_called_step_by_step(sam, photo, predictor):
    """The whole way again, written out with Pillow and torch alone."""
    small = np.asarray(Image.fromarray(photo).resize((128, 85), Image.Resampling.BILINEAR))
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    images = np.zeros((1, 3, 128, 128), np.float32)
    images[0, :, :85] = ((small - mean) / std).transpose(2, 0, 1)
    points, box = np.array([[300.0, 200.0], [50.0, 390.0]]), np.array([100.0, 50.0, 500.0, 350.0])
    to_input = np.array([128 / 600, 85 / 400])
    with torch.no_grad():
        low_res, iou = sam.decode_masks(
            sam.encode_image(torch.from_numpy(images)),
            points=torch.from_numpy(points * to_input).float()[None],
            labels=torch.tensor([[1, 0]]),
            boxes=torch.from_numpy(box * np.tile(to_input, 2)).float()[None, None],
        )
        full = F.interpolate(low_res, (128, 128), mode="bilinear", align_corners=False)[..., :85, :]
        full = F.interpolate(full, (400, 600), mode="bilinear", align_corners=False)
    masks, iou_predictions, low_res_logits = predictor.predict(points, [1, 0], box, return_logits=True)
    np.testing.assert_allclose(low_res_logits, low_res[0], atol=1e-5)
    np.testing.assert_allclose(iou_predictions, iou[0], atol=1e-5)
    np.testing.assert_allclose(masks, full[0], atol=1e-5)


# -------------------------------------------------------------------------------------------------- photos and frames


def test_every_way_to_hand_in_a_photo_gives_the_same_embedding(sam, photo, predictor, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    other = SamPredictor(sam)
    for image, image_format in [
        (tmp_path / "photo.png", "RGB"),
        (str(tmp_path / "photo.png"), "RGB"),
        (Image.fromarray(photo), "RGB"),
        (photo[..., ::-1], "BGR"),
        (photo.astype(np.float32) / 255, "RGB"),
    ]:
        other.set_image(image, image_format)
        assert torch.equal(other.features, predictor.features)


def test_a_photo_on_its_side_has_the_size_after_turning(sam, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "turned.png", exif=exif)
    predictor = SamPredictor(sam)
    predictor.set_image(tmp_path / "turned.png")
    assert predictor.original_size == (600, 400)
    assert predictor.predict([[399, 599]], [1])[0].shape == (3, 600, 400)


def test_set_torch_image_takes_what_transform_makes(sam, photo, predictor):
    other = SamPredictor(sam)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None].float()
    other.set_torch_image(other.transform.apply_image_torch(image), photo.shape[:2])
    assert (other.original_size, other.input_size) == ((400, 600), (85, 128))
    # torch and Pillow round differently, no more than that
    assert (other.features - predictor.features).abs().max() < 0.1 * predictor.features.abs().max()


def test_set_torch_image_wants_sizes_that_belong_together(sam):
    with pytest.raises(ValueError, match=r"shape \(1, 3, 128, 128\).*\(1, 3, 85, 128\) is expected"):
        SamPredictor(sam).set_torch_image(torch.zeros(1, 3, 128, 128), (400, 600))


def test_prompts_reach_the_model_in_the_input_frame(predictor, decoded):
    predictor.predict([[0, 0], [600, 400]], [0, 1], boxes=[[0, 0, 300, 200], [150, 100, 600, 400]])
    (call,) = decoded
    np.testing.assert_allclose(call["points"], [[[0, 0], [128, 85]]], atol=1e-4)
    np.testing.assert_allclose(call["boxes"], [[[0, 0, 64, 42.5], [32, 21.25, 128, 85]]], atol=1e-4)
    assert call["labels"].tolist() == [[0, 1]]


# ------------------------------------------------------------------------------------------------ once and many times


def test_the_encoder_runs_once_however_often_one_asks(sam, photo):
    runs = []
    hook = sam.image_encoder.register_forward_hook(lambda *_: runs.append(1))
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    embedding = predictor.features.clone()
    for x in (100, 200, 300):
        predictor.predict([[x, 100]], [1])
    hook.remove()
    assert len(runs) == 1
    assert torch.equal(predictor.features, embedding)


def test_different_prompts_give_different_masks_and_the_same_prompt_the_same(predictor):
    first, second, again = (predictor.predict([[x, 200]], [1])[2] for x in (100, 500, 100))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1e-3


def test_lists_tuples_arrays_and_tensors_are_the_same_prompt(predictor):
    expected = predictor.predict(np.array([[100.0, 50.0]]), np.array([1]), np.array([10, 10, 300, 300]))[2]
    for points, labels, box in [
        ([[100, 50]], [1], [10, 10, 300, 300]),
        (((100, 50),), (True,), (10, 10, 300, 300)),
        (torch.tensor([[100, 50]]), torch.tensor([1.0]), torch.tensor([[10, 10, 300, 300]])),
    ]:
        np.testing.assert_array_equal(predictor.predict(points, labels, box)[2], expected)


def test_nothing_is_printed(sam, photo, capfd):
    predictor = SamPredictor(sam)
    predictor.set_image(photo)
    predictor.predict([[1, 1]], [1])
    assert capfd.readouterr() == ("", "")


def test_results_and_embedding_carry_no_graph_and_may_be_used_anywhere(sam, predictor):
    """As torch tensors they can be changed in place and enter a training step."""
    masks, _, low_res = predictor.predict_torch(torch.tensor([[[9.0, 9.0]]]), torch.ones(1, 1), return_logits=True)
    masks += 1
    assert not low_res.requires_grad
    _, iou = sam.decode_masks(predictor.features, torch.tensor([[[9.0, 9.0]]]), torch.ones(1, 1, dtype=torch.long))
    iou.sum().backward()
    assert any(parameter.grad is not None for parameter in sam.mask_decoder.parameters())
    sam.zero_grad()


# ---------------------------------------------------------------------------------------------------- one or all masks


def test_the_single_mask_is_the_one_with_the_highest_predicted_iou(predictor):
    for x in range(20, 600, 60):
        masks, iou, low_res = predictor.predict([[x, x // 2]], [1])
        one_mask, one_iou, one_low_res = predictor.predict([[x, x // 2]], [1], multimask_output=False)
        best = int(iou.argmax())
        assert one_mask.shape == (1, 400, 600)
        np.testing.assert_array_equal(one_mask[0], masks[best])
        np.testing.assert_array_equal(one_low_res[0], low_res[best])
        assert one_iou.tolist() == [iou[best]]


# ----------------------------------------------------------------------------------------------------- kinds of prompts


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ({"point_coords": [[9, 9]], "point_labels": [1]}, 1),
        ({"point_coords": [[9, 9], [3, 4], [5, 6]], "point_labels": [1, 0, 1]}, 3),
        ({"box": [9, 9, 99, 99]}, 2),
        ({"boxes": [[9, 9, 99, 99]] * 3}, 6),
        ({"point_coords": [[9, 9]], "point_labels": [1], "boxes": [[9, 9, 99, 99]] * 2}, 5),
        ({"text": np.ones(TEXT_WIDTH)}, 1),
        ({"text": np.ones((2, TEXT_WIDTH)), "box": [9, 9, 99, 99]}, 4),
        ({"mask_input": np.random.default_rng(0).normal(size=(1, 64, 64))}, 0),
    ],
)
def test_all_prompts_go_into_one_token_sequence(predictor, prompt, tokens):
    """N + 2M (+ T) sparse tokens, document §1.7.1."""
    seen = []
    hook = predictor.model.prompt_encoder.register_forward_hook(lambda _, __, out: seen.append(out[0].shape))
    masks, iou, _ = predictor.predict(**prompt)
    hook.remove()
    assert seen == [(1, tokens, 32)]
    assert masks.shape == (3, 400, 600)
    assert np.isfinite(iou).all()


def test_boxes_of_one_is_box(predictor):
    np.testing.assert_array_equal(
        predictor.predict(boxes=[[10, 20, 300, 200]])[2], predictor.predict(box=[10, 20, 300, 200])[2]
    )


def test_text_changes_the_answer(predictor):
    without = predictor.predict([[100, 100]], [1])[2]
    with_text = predictor.predict([[100, 100]], [1], text=np.full(TEXT_WIDTH, 3.0))[2]
    assert np.abs(without - with_text).max() > 1e-3


def test_a_former_answer_is_a_prompt(predictor, decoded):
    _, iou, low_res = predictor.predict([[100, 100]], [1])
    best = int(iou.argmax())
    predictor.predict([[100, 100]], [1], mask_input=low_res[best : best + 1])
    np.testing.assert_array_equal(decoded[1]["mask"][0], low_res[best : best + 1])


def test_a_binary_mask_is_a_prompt_by_way_of_mask_to_logits(predictor, decoded):
    mask = np.zeros((400, 600), bool)
    mask[100:300, 150:450] = True
    predictor.predict(mask_input=predictor.mask_to_logits(mask))
    prompt = decoded[0]["mask"]
    assert prompt.shape == (1, 1, 64, 64)
    back = predictor.model.resize_masks(prompt, predictor.input_size, predictor.original_size)[0, 0].numpy() > 0
    assert (back & mask).sum() / (back | mask).sum() > 0.97


def test_a_batch_of_prompts_is_the_prompts_one_by_one(predictor):
    boxes = np.array([[10, 20, 300, 200], [50, 60, 599, 399], [0, 0, 600, 400]])
    masks, iou, low_res = predictor.predict_torch(
        boxes=predictor.transform.apply_boxes_torch(torch.from_numpy(boxes), predictor.original_size)
    )
    assert masks.shape == (3, 3, 400, 600)
    assert masks.dtype == torch.bool
    for k, box in enumerate(boxes):
        _, one_iou, one_low_res = predictor.predict(box=box)
        np.testing.assert_allclose(low_res[k], one_low_res, atol=1e-4)
        np.testing.assert_allclose(iou[k], one_iou, atol=1e-4)


def test_float64_is_welcome(predictor):
    """What numpy makes, as scripts for the released package pass it."""
    given = {"point_coords": torch.tensor([[[9.0, 9]]]), "boxes": torch.tensor([[1.0, 2, 30, 40]]),
             "mask_input": torch.randn(1, 1, 64, 64), "text": torch.ones(1, 1, TEXT_WIDTH)}  # fmt: skip
    labels = torch.ones(1, 1)
    expected = predictor.predict_torch(**given, point_labels=labels)[2]
    doubled = {name: value.double() for name, value in given.items()}
    assert torch.equal(predictor.predict_torch(**doubled, point_labels=labels.double())[2], expected)


@pytest.mark.parametrize("label", [2, 7, -1, 0.5])
def test_labels_that_the_model_does_not_know_are_refused_in_a_batch_too(predictor, label):
    with pytest.raises(ValueError, match=rf"point_labels has {label}: a label is one of \(0, 1\)"):
        predictor.predict_torch(torch.tensor([[[9.0, 9], [3, 3]]]), torch.tensor([[1, label]]))


def test_more_prompts_than_fit_are_refused_before_their_masks_are_made(predictor, monkeypatch):
    boxes = torch.tensor([[1.0, 2, 30, 40]])
    monkeypatch.setattr(memory, "free_bytes", lambda device: 20_000_000)  # a mask takes 4 · (128² + 400 · 600)
    assert predictor.predict_torch(boxes=boxes.expand(6, 4))[0].shape == (6, 3, 400, 600)
    with pytest.raises(memory.TooLittleMemoryError, match="the masks of 7 prompts .* needs 22 MB .* ask for fewer"):
        predictor.predict_torch(boxes=boxes.expand(7, 4))
    assert predictor.predict_torch(boxes=boxes.expand(7, 4), multimask_output=False)[0].shape == (7, 1, 400, 600)


@pytest.mark.parametrize("step", ["decode_masks", "resize_masks"])
def test_memory_that_runs_out_is_said_in_words(predictor, monkeypatch, step):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    monkeypatch.setattr(type(predictor.model), step, full)
    with pytest.raises(memory.TooLittleMemoryError, match="^decoding masks found too little .* ask for fewer prompts"):
        predictor.predict([[9, 9]], [1])


def test_a_batch_of_prompts_with_several_boxes_each(predictor):
    boxes = torch.tensor([[[1.0, 2, 30, 40], [50, 2, 90, 40]], [[3, 4, 60, 70], [5, 6, 20, 20]]])
    points, labels = torch.tensor([[[9.0, 9]], [[20, 20]]]), torch.tensor([[1], [0]])
    masks, _, low_res = predictor.predict_torch(points, labels, boxes, multimask_output=False)
    assert masks.shape == (2, 1, 400, 600)
    second = predictor.predict_torch(points[1:], labels[1:], boxes[1:], multimask_output=False)[2]
    torch.testing.assert_close(low_res[1:], second, atol=1e-4, rtol=1e-4)
