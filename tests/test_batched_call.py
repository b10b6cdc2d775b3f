"""``sam(batched_input, multimask_output)``: the same answers as one by one, and an error for what would mislead."""

import numpy as np
import pytest
import torch

from samlite import SamPredictor, document_sam, released_sam
from samlite.frames import ResizeLongestSide

SIZES = {"image_size": 64, "patch_size": 16, "width": 32, "depth": 2, "heads": 2, "channels": 32,
         "decoder_heads": 4, "decoder_mlp": 64}  # fmt: skip


@pytest.fixture(scope="module", params=["document", "released"])
def sam(request):
    torch.manual_seed(0)
    if request.param == "document":
        return document_sam(**SIZES).eval()
    return released_sam(**SIZES, window=3, global_blocks=(1,)).eval()


def pictures(sam):
    """Two photos of different shapes, as the official example prepares them; the first also as it was."""
    random = np.random.RandomState(0)
    photos = [random.randint(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((48, 80), (90, 51))]
    transform = ResizeLongestSide(sam.image_encoder.img_size)
    batch = []
    for photo in photos:
        image = torch.from_numpy(transform.apply_image(photo)).permute(2, 0, 1).contiguous()
        batch.append({"image": image, "original_size": photo.shape[:2]})
    boxes = torch.tensor([[10.0, 5, 60, 40], [2, 2, 30, 44]])
    batch[0]["boxes"] = transform.apply_boxes_torch(boxes, photos[0].shape[:2])
    points = torch.tensor([[[20.0, 30]], [[40, 70]], [[5, 5]]])
    batch[1]["point_coords"] = transform.apply_coords_torch(points, photos[1].shape[:2])
    batch[1]["point_labels"] = torch.tensor([[1], [1], [0]])
    return photos, batch


@pytest.mark.parametrize("multimask", [True, False])
def test_together_is_as_one_by_one(sam, multimask):
    photos, batch = pictures(sam)
    answers = sam(batch, multimask_output=multimask)
    assert len(answers) == 2
    for photo, given, answer in zip(photos, batch, answers, strict=True):
        predictor = SamPredictor(sam)
        predictor.set_image(photo)
        masks, iou, low_res = predictor.predict_torch(
            given.get("point_coords"), given.get("point_labels"), given.get("boxes"), multimask_output=multimask
        )
        assert set(answer) == {"masks", "iou_predictions", "low_res_logits"}
        assert answer["masks"].dtype == torch.bool and answer["masks"].shape == masks.shape
        assert masks.shape[1:] == (3 if multimask else 1, *photo.shape[:2])
        torch.testing.assert_close(answer["iou_predictions"], iou, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(answer["low_res_logits"], low_res, atol=1e-4, rtol=1e-4)
        assert (answer["masks"] == masks).float().mean() > 0.999
        assert not answer["low_res_logits"].requires_grad


def test_an_answer_is_the_next_prompt(sam):
    _, batch = pictures(sam)
    first = sam(batch, multimask_output=False)
    again = [given | {"mask_inputs": answer["low_res_logits"]} for given, answer in zip(batch, first, strict=True)]
    second = sam(again, multimask_output=False)
    for before, after in zip(first, second, strict=True):
        assert before["masks"].shape == after["masks"].shape
        assert not torch.equal(before["low_res_logits"], after["low_res_logits"])


def test_official_names_of_the_two_ends(sam):
    image = torch.randint(0, 256, (3, 40, 64), dtype=torch.uint8)
    assert torch.equal(sam.preprocess(image), sam.normalise(image[None].float())[0])
    assert torch.equal(sam.preprocess(image[None]), sam.normalise(image[None].float()))
    logits = torch.randn(2, 3, 16, 16)
    assert torch.equal(sam.postprocess_masks(logits, (40, 64), (77, 99)), sam.resize_masks(logits, (40, 64), (77, 99)))
    assert sam.image_format == "RGB" and sam.mask_threshold == 0 and sam.device.type == "cpu"


def test_no_prompt_several_boxes_and_other_keys_are_let_through(sam):
    _, (given, _) = pictures(sam)
    boxes = given.pop("boxes")
    assert sam([given], multimask_output=True)[0]["masks"].shape == (1, 3, 48, 80)
    answer = sam([given | {"boxes": boxes[None], "file_name": "a.jpg", "id": 7}], multimask_output=True)[0]
    assert answer["masks"].shape == (1, 3, 48, 80)  # two boxes around one object
    sam([given | {"boxes": boxes, "point_coords": None, "point_labels": None}], multimask_output=True)


def test_a_padding_point_is_for_the_released_model():
    _, (given, _) = pictures(document_sam(**SIZES))
    given |= {"boxes": None, "point_coords": torch.full((1, 1, 2), 9.0), "point_labels": torch.tensor([[-1]])}
    with pytest.raises(ValueError, match=r"\['point_labels'\] has -1: a label is one of \(0, 1\)"):
        document_sam(**SIZES)([given], multimask_output=True)
    given["point_coords"][:] = 1e6  # its place does not count
    released_sam(**SIZES, window=3, global_blocks=(1,))([given], multimask_output=True)


NAN = float("nan")
POINT = {"point_coords": torch.full((1, 1, 2), 9.0), "point_labels": torch.ones(1, 1)}
REFUSED = {
    "an image with channels last": ({"image": torch.zeros(38, 64, 3)}, r"\[0\]\['image'\].*permute\(2, 0, 1\)"),
    "a batch for an image": ({"image": torch.zeros(1, 3, 38, 64)}, r"one dict for each picture"),
    "an array": ({"image": np.zeros((3, 38, 64), np.uint8)}, r"is a ndarray: a tensor 3×h×w"),
    "an image that was not resized": ({"image": torch.zeros(3, 48, 80)}, r"48×80, more than the input frame of 64"),
    "a normalised image": ({"image": torch.randn(3, 38, 64)}, r"RGB in 0…255 is expected, not yet normalised"),
    "an image in 0…1": ({"image": torch.rand(3, 38, 64)}, r"multiply it by 255"),
    "an image of 0 and 1 alone": ({"image": torch.ones(3, 38, 64)}, r"from 1 to 1.*multiply it by 255"),
    "a bool image": ({"image": torch.ones(3, 38, 64, dtype=torch.bool)}, r"is torch.bool: numbers in 0…255"),
    "an image without pixels": ({"image": torch.zeros(3, 0, 64)}, r"is 0×64, less than one patch of 16 pixels"),
    "an image as thin as a line": ({"image": torch.zeros(3, 1, 64)}, r"is 1×64, less than one patch of 16 pixels"),
    "NaN in the image": ({"image": torch.full((3, 38, 64), NAN)}, r"\d+ values that are NaN or infinite"),
    "width before height": ({"original_size": (80, 48)}, r"\(80, 48\), which does not belong to an image of 38×64"),
    "three sizes": ({"original_size": (48, 80, 3)}, r"\(height, width\) is expected"),
    "one size": ({"original_size": 1024}, r"\['original_size'\] is 1024: \(height, width\) is expected"),
    "no size": ({"original_size": None}, r"has no 'original_size'"),
    "no image": ({"image": None}, r"has no 'image'"),
    "the predictor's name for boxes": ({"box": torch.zeros(1, 4)}, r"key 'box'.*did you mean 'boxes'"),
    "the predictor's name for masks": ({"mask_input": torch.zeros(1)}, r"did you mean 'mask_inputs'"),
    "a slip of the keyboard": ({"point_coord": torch.zeros(1)}, r"did you mean 'point_coords'"),
    "text": ({"text": torch.zeros(1, 1, 4)}, r"\['text'\] would be ignored.*SamPredictor.predict"),
    "points without labels": ({"point_coords": POINT["point_coords"]}, r"came without 'point_labels'"),
    "labels without points": ({"point_labels": POINT["point_labels"]}, r"came without 'point_coords'"),
    "points without a batch": (POINT | {"point_coords": torch.zeros(1, 2)}, r"\(1, 2\), \(B, N, 2\).*\[None\]"),
    "more labels than points": (POINT | {"point_labels": torch.ones(1, 2)}, r"\(1, 1, 2\) and 'point_labels' \(1, 2\)"),
    "three columns": (POINT | {"point_coords": torch.zeros(1, 1, 3)}, r"\(B, N, 2\) and \(B, N\) are expected"),
    "no point": ({"point_coords": torch.zeros(1, 0, 2), "point_labels": torch.zeros(1, 0)}, r"\(1, 0, 2\)"),
    "a list of points": (POINT | {"point_coords": [[[9, 9]]]}, r"is a list: a tensor \(B, N, 2\)"),
    "a label of no kind": (POINT | {"point_labels": torch.full((1, 1), 2)}, r"has 2: a label is one of"),
    "a label of 255": (POINT | {"point_labels": torch.full((1, 1), 255, dtype=torch.uint8)}, r"has 255: a label is"),
    "half a label": (POINT | {"point_labels": torch.full((1, 1), 0.5)}, r"has 0.5: a label is one of"),
    "a point in the photo's frame": (POINT | {"point_coords": torch.tensor([[[79.0, 47]]])}, r"\(79, 47\), outside"),
    "a negative point": (POINT | {"point_coords": torch.tensor([[[-3.0, 7]]])}, r"\(-3, 7\), outside"),
    "a point in the padding": (POINT | {"point_coords": torch.tensor([[[9.0, 50]]])}, r"64 wide and 38 high"),
    "a point that is NaN": (POINT | {"point_coords": torch.full((1, 1, 2), NAN)}, r"2 values that are NaN"),
    "an inverted box": ({"boxes": torch.tensor([[9.0, 9, 3, 20]])}, r"\(9, 9, 3, 20\).*x, y, width, height\?"),
    "a box without area": ({"boxes": torch.tensor([[9.0, 9, 9, 20]])}, r"not right of and below"),
    "a box outside": ({"boxes": torch.tensor([[9.0, 9, 70, 20]])}, r"\(70, 20\), outside the picture"),
    "a box without a batch": ({"boxes": torch.zeros(4)}, r"\(4,\), \(B, 4\).*\[None\]"),
    "two numbers for a box": ({"boxes": torch.zeros(1, 2)}, r"\(1, 2\), \(B, 4\) is expected"),
    "a box that is infinite": ({"boxes": torch.tensor([[0.0, 0, 9, float("inf")]])}, r"1 values that are NaN or inf"),
    "a mask of the photo's size": ({"mask_inputs": torch.zeros(1, 1, 48, 80)}, r"\(B, 1, 16, 16\) is.*mask_to_logits"),
    "a mask without a batch": ({"mask_inputs": torch.zeros(1, 16, 16)}, r"\(1, 16, 16\), \(B, 1, h, w\)"),
    "a binary mask": ({"mask_inputs": torch.ones(1, 1, 16, 16, dtype=torch.bool)}, r"torch.bool: float logits"),
    "a mask of 0 and 255": ({"mask_inputs": 255.0 * torch.ones(1, 1, 16, 16).tril()}, r"but 0 and 255.*mask_to_logits"),
    "a mask of 0 and 1": ({"mask_inputs": torch.ones(1, 1, 16, 16).tril()}, r"nothing but 0 and 1, a binary mask"),
    "a mask that is NaN": ({"mask_inputs": torch.full((1, 1, 16, 16), NAN)}, r"256 values that are NaN"),
    "different numbers of objects": (POINT | {"boxes": torch.tensor([[0.0, 0, 9, 9]] * 2)}, r"numbers B of objects"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused(sam, what):
    changes, message = REFUSED[what]
    _, (good, _) = pictures(sam)
    wrong = {key: value for key, value in good.items() if key != "boxes"} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        sam([good, wrong][1:], multimask_output=True)
    with pytest.raises((ValueError, TypeError), match=r"batched_input\[1\]"):
        sam([good, wrong], multimask_output=True)


@pytest.mark.parametrize("given, message", [({}, "list of dicts"), ([], "empty"), ([3], "is a int"), (None, "NoneT")])
def test_what_is_no_list_of_dicts(sam, given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        sam(given, multimask_output=True)
