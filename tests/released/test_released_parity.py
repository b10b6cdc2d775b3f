"""The released architecture, stage by stage, against what the official code computes with the same weights."""

import hashlib
import json

import numpy as np
import pytest
import torch
from einops import rearrange
from reference import GOLDEN, build, difference, golden, official_weights, recorded, relative_difference

from samlite import SamPredictor
from samlite.frames import ResizeLongestSide
from samlite.released.key_map import to_official
from samlite.released.parity import GRADIENTS, ROUGH, ROUGH_GRADIENTS

ENCODER, LOGITS, IOU = 5e-6, 1e-5, 1e-5  # absolute; of the largest logit; absolute
BLOCKS = 5e-6  # of the largest value: between the blocks values are a hundred times those of the embedding
CASES = (
    "fg1", "bg1", "fgbg", "padlabel", "box", "box_points", "mask", "box_mask", "point_mask", "batch3",
    "batch3_box_mask", "noprompt",
)  # fmt: skip


@pytest.fixture(scope="module", params=["tiny", "std"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def sam(name):
    return build(name)


@pytest.fixture(scope="module")
def stages(name):
    return golden(f"{name}_stages")


@pytest.fixture(scope="module")
def embedding(sam, stages):
    with torch.no_grad():
        return sam.encode_image(stages["preprocessed"])


def prompts(stages, case):
    given = {name: stages.get(f"case.{case}.in.{name}") for name in ("point_coords", "point_labels", "boxes", "masks")}
    boxes = given["boxes"]
    return {
        "points": given["point_coords"],
        "labels": given["point_labels"],
        "boxes": None if boxes is None else boxes[:, None],
        "mask": given["masks"],
    }


def decode_all_four(sam, embedding, given):
    sparse, dense = sam.prompt_encoder(**given)
    return sam.mask_decoder(embedding, sam.prompt_encoder.image_positions(), sparse, dense)


def test_every_case_of_the_files_is_tested(stages):
    assert {key.split(".")[1] for key in stages if key.startswith("case.")} == set(CASES)


@pytest.mark.parametrize("name_of_weights", ["tiny", "std", "std256"])
def test_the_weights_are_those_of_the_official_run(name_of_weights):
    """A digest over names and values: without it, two wrongs could agree."""
    config = json.loads((GOLDEN / "configs.json").read_text())[name_of_weights]
    state = official_weights(name_of_weights)
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().astype("<f4").tobytes())
    assert digest.hexdigest() in (config.get("sha256"), config.get("sha256_with_overrides"))
    assert (len(state), sum(value.numel() for value in state.values())) == (
        config.get("n_keys", 202),
        config.get("n_values", 4940400),
    )


def test_preprocessing(sam, stages):
    photo = SamPredictor(sam).transform.apply_image(stages["image_u8"].numpy())
    np.testing.assert_array_equal(photo, stages["resized_u8"].numpy())
    pixels = rearrange(torch.from_numpy(photo).float(), "y x c -> 1 c y x")
    assert difference(sam.normalise(pixels), stages["preprocessed"]) < ENCODER


def test_image_encoder_stage_by_stage(sam, stages):
    attention = {}
    hooks = [
        block.attention.register_forward_hook(lambda _, __, out, i=index: attention.__setitem__(i, out))
        for index, block in enumerate(sam.image_encoder.blocks)
    ]
    with torch.no_grad(), recorded() as seen:
        sam.encode_image(stages["preprocessed"])
    for hook in hooks:
        hook.remove()
    assert relative_difference(seen["patch_embedding"][0], stages["enc.patch_embed"]) < BLOCKS
    for index in range(len(sam.image_encoder.blocks)):
        assert relative_difference(seen["encoder_block"][index], stages[f"enc.block{index}"]) < BLOCKS, index
        if f"enc.block{index}_attn_windows" in stages:  # of tiny
            assert difference(attention[index], stages[f"enc.block{index}_attn_windows"]) < ENCODER, index
    assert difference(seen["projected_grid"][0], stages["enc.neck1"]) < ENCODER
    assert difference(seen["image_embedding"][0], stages["enc.out"]) < ENCODER
    assert difference(sam.prompt_encoder.image_positions(), stages["dense_pe"]) < ENCODER


def test_the_convolutions_of_the_neck(sam, stages):
    neck = sam.image_encoder.neck
    grid = rearrange(stages[f"enc.block{len(sam.image_encoder.blocks) - 1}"], "b y x d -> b d y x")
    assert difference(neck.project(grid), stages["enc.neck0"]) < ENCODER
    assert difference(neck.mix(stages["enc.neck1"]), stages["enc.neck2"]) < 2 * ENCODER
    assert difference(neck.norm_2(stages["enc.neck2"]), stages["enc.neck3"]) < ENCODER


@pytest.mark.parametrize("case", CASES)
def test_prompts_and_decoder_stage_by_stage(sam, stages, embedding, case):
    def expected(stage):
        return stages.get(f"case.{case}.{stage}")

    with torch.no_grad(), recorded() as seen:
        logits, iou = decode_all_four(sam, embedding, prompts(stages, case))
    ours = {
        "sparse": seen["sparse_prompt_tokens"][0],
        "dense": seen["dense_prompt"][0],
        "layer0.queries": seen["token_mlp"][0],
        "layer0.keys": seen["image_to_token_attention"][0],
        "layer1.queries": seen["token_mlp"][1],
        "layer1.keys": seen["image_to_token_attention"][1],
        "hs": seen["last_token_to_image_attention"][0],
        "src": rearrange(seen["decoded_image"][0], "b c y x -> b (y x) c"),
        "upscaled": seen["upscaled_4x"][0],
        "hyper": seen["mask_vectors"][0],
        "low_res4": logits,
    }
    compared = {stage for stage, tensor in ours.items() if expected(stage) is not None}
    for stage in compared:
        assert relative_difference(ours[stage], expected(stage)) < LOGITS, stage
    assert {"sparse", "hs", "hyper", "low_res4"} <= compared
    assert difference(iou, expected("iou4")) < IOU
    if case not in ("mask", "box_mask", "point_mask", "batch3_box_mask"):
        no_mask = sam.prompt_encoder.no_mask[0, :, None, None]
        assert torch.equal(seen["dense_prompt"][0], no_mask.expand_as(seen["dense_prompt"][0]))


@pytest.mark.parametrize("case", CASES)
def test_one_mask_is_mask_0_and_three_are_the_others(sam, stages, embedding, case):
    given = prompts(stages, case)
    with torch.no_grad():
        four, four_iou = decode_all_four(sam, embedding, given)
        three, three_iou = sam.decode_masks(embedding, **given)
        one, one_iou = sam.decode_masks(embedding, **given, multimask_output=False)
        sizes = tuple(stages["meta.input_size"].tolist()), tuple(stages["image_u8"].shape[:2])
        logits = sam.resize_masks(one, *sizes)
    assert torch.equal(three, four[:, 1:]) and torch.equal(three_iou, four_iou[:, 1:])
    assert torch.equal(one, four[:, :1]) and torch.equal(one_iou, four_iou[:, :1])
    clear = logits.abs() > 1e-3
    assert torch.equal((logits > 0)[clear], stages[f"case.{case}.postprocessed_single_mask"][clear])
    if f"case.{case}.postprocessed_multimask_logits" in stages:
        expected = stages[f"case.{case}.postprocessed_multimask_logits"]
        assert relative_difference(sam.resize_masks(three, *sizes), expected) < LOGITS


def test_gradients():
    """Of one loss with respect to every parameter."""
    sam, stages, expected = build("tiny"), golden("tiny_stages"), golden("tiny_grads")
    encoder = sam.prompt_encoder
    point = prompts(stages, "point_mask")
    box = prompts(stages, "box")
    sparse, dense = encoder(**point)
    sparse = torch.cat([sparse, encoder(boxes=box["boxes"])[0]], dim=1)
    embedding = sam.encode_image(stages["preprocessed"])
    logits, iou = sam.mask_decoder(embedding, encoder.image_positions(), sparse, dense)
    loss = logits.square().mean() + iou.square().sum()
    loss.backward()
    assert relative_difference(loss.detach(), expected.pop("loss")) < 1e-5

    values = sam.state_dict(keep_vars=True).items()
    ours = to_official({key: torch.zeros_like(v) if v.grad is None else v.grad for key, v in values})
    assert ours.keys() - expected.keys() == {
        "prompt_encoder.no_mask_embed.weight",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    }
    for key, gradient in expected.items():
        largest = gradient.abs().max().item()
        if key.endswith("k_proj.bias"):  # softmax does not see it: what is there is rounding
            largest = expected[key.replace("bias", "weight")].abs().max().item()
        tolerance = ROUGH_GRADIENTS if key.startswith(ROUGH) else GRADIENTS
        assert difference(ours[key], gradient) <= tolerance * largest, key
    without = json.loads((GOLDEN / "configs.json").read_text())["tiny"]["params_without_grad"]
    assert without == ["prompt_encoder.no_mask_embed.weight"] and encoder.no_mask.grad is None


def test_the_batched_call(sam, stages):
    """Two pictures of different shapes in one call: one with a point, one with two boxes."""
    transform = ResizeLongestSide(sam.image_encoder.img_size)
    photos = [stages["image_u8"].numpy(), stages["forward.image2_u8"].numpy()]
    batch = [
        {"image": torch.from_numpy(transform.apply_image(photo)).permute(2, 0, 1), "original_size": photo.shape[:2]}
        for photo in photos
    ]
    batch[0] |= {name: stages[f"case.fg1.in.{name}"] for name in ("point_coords", "point_labels")}
    batch[1]["boxes"] = transform.apply_boxes_torch(stages["forward.image2_boxes_original_frame"], photos[1].shape[:2])
    for index, answer in enumerate(sam(batch, multimask_output=True)):
        expected = {name: stages[f"forward.out{index}.{name}"] for name in answer}
        assert expected.keys() == {"masks", "iou_predictions", "low_res_logits"}
        assert answer["low_res_logits"].shape == expected["low_res_logits"].shape
        assert relative_difference(answer["low_res_logits"], expected["low_res_logits"]) < LOGITS
        assert difference(answer["iou_predictions"], expected["iou_predictions"]) < IOU
        sizes = batch[index]["image"].shape[-2:], batch[index]["original_size"]
        clear = sam.postprocess_masks(answer["low_res_logits"], *sizes).abs() > 1e-3
        assert answer["masks"].shape == expected["masks"].shape and clear.float().mean() > 0.99
        assert torch.equal(answer["masks"][clear], expected["masks"][clear])
