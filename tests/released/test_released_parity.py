"""The released architecture, stage by stage, against what the official code computes with the same weights."""

import hashlib
import json

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image
from reference import GOLDEN, build, difference, golden, official_weights, recorded, relative_difference
from safetensors.torch import load_file
from torch.nn import functional as F

from samlite import SamPredictor
from samlite.frames import ResizeLongestSide
from samlite.released.image_encoder import RelativeAttention, WindowBlock, relative_vectors
from samlite.released.key_map import to_official
from samlite.released.prompt_encoder import FourierEncoding

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
    assert difference(seen["patch_embedding"][0], stages["enc.patch_embed"]) < ENCODER
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
        assert difference(ours[key], gradient) <= 2e-5 * largest, key
    without = json.loads((GOLDEN / "configs.json").read_text())["tiny"]["params_without_grad"]
    assert without == ["prompt_encoder.no_mask_embed.weight"] and encoder.no_mask.grad is None


@pytest.mark.parametrize("key", sorted(golden("window_variants")))
def test_windows_of_any_size(key):
    """No padding, padding, a window as large as the grid, a window larger than the grid."""
    size, window = (int(part[3:]) for part in key.partition(".")[0].split("_"))
    sam = build("std" if size == 128 else "std256", window=window)
    image = np.random.RandomState(100 + size + window).standard_normal((1, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        embedding = sam.encode_image(torch.from_numpy(image))
    assert difference(embedding[:, ::4], golden("window_variants")[key]) < ENCODER


SHARED = GOLDEN.parent.parent.parent / "shared" / "golden"  # a photo that is not ours to ship lies beside a checkout


@pytest.fixture(scope="module", params=["syn", "dog"])
def pictured(request):
    """A predictor with its picture set, the picture's short name, and the official numbers."""
    predictor = SamPredictor(build("std256"))
    if request.param == "syn":
        predictor.set_image(Image.open(GOLDEN / "synthetic_200x300.png"))
        return predictor, "syn", golden("std256_predictor")
    if not (SHARED / "dog_320.png").is_file():
        pytest.skip(f"the photo of the dog is not part of this repository, and not at {SHARED} either: not compared")
    predictor.set_image(Image.open(SHARED / "dog_320.png"))
    return predictor, "dog", load_file(SHARED / "std256_predictor.safetensors")


POINTS, LABELS, BOX = [(160, 100), (40, 30), (250, 180)], [1, 0, 1], (60, 40, 250, 190)
PREDICTOR_CASES = {
    "point": {"point_coords": POINTS[:1], "point_labels": LABELS[:1]},
    "points": {"point_coords": POINTS, "point_labels": LABELS},
    "box": {"box": BOX},
    "box_bg": {"box": BOX, "point_coords": [(100, 60)], "point_labels": [0]},
    "refine": {"point_coords": [(160, 100), (250, 180)], "point_labels": [1, 0]},
    "maskonly": {},
}


@pytest.mark.parametrize("case", PREDICTOR_CASES)
def test_predictor_end_to_end(pictured, case):
    predictor, picture, expected = pictured
    given = dict(PREDICTOR_CASES[case])
    if case in ("refine", "maskonly"):
        given["mask_input"] = expected[f"{picture}.refine.in_mask"]
    kinds = [kind for kind in ("multi", "single") if f"{picture}.{case}.{kind}.iou" in expected]
    assert kinds
    for kind in kinds:
        logits, iou, low_res = predictor.predict(**given, multimask_output=kind == "multi", return_logits=True)
        key = f"{picture}.{case}.{kind}"
        mask = np.unpackbits(expected[f"{key}.masks"].numpy(), axis=-1, count=logits.shape[-1]).astype(bool)
        clear = np.abs(logits) > 1e-3
        assert logits.shape == mask.shape and ((logits > 0) == mask)[clear].all() and clear.mean() > 0.99
        assert difference(torch.from_numpy(iou), expected[f"{key}.iou"]) < IOU
        if f"{key}.low_res" in expected:
            assert relative_difference(torch.from_numpy(low_res), expected[f"{key}.low_res"]) < LOGITS
        if f"{key}.low_res_every4" in expected:
            every4 = torch.from_numpy(low_res[:, ::4, ::4].copy())
            assert relative_difference(every4, expected[f"{key}.low_res_every4"]) < LOGITS


def test_predictor_embedding(pictured):
    predictor, picture, expected = pictured
    assert predictor.input_size == tuple(expected[f"{picture}.input_size"].tolist())
    assert difference(predictor.get_image_embedding()[:, ::8], expected[f"{picture}.features_every8"]) < ENCODER


def test_predictor_reads_bgr(pictured):
    predictor, picture, expected = pictured
    if picture != "dog":
        return  # the official run read only the dog this way
    rgb = np.array(Image.open(SHARED / "dog_320.png").convert("RGB"))
    other = SamPredictor(predictor.model)
    other.set_image(np.ascontiguousarray(rgb[..., ::-1]), image_format="RGB")
    swapped = other.get_image_embedding()
    other.set_image(np.ascontiguousarray(rgb[..., ::-1]), image_format="BGR")
    assert difference(other.get_image_embedding()[:, ::8], expected["dog.bgr_features_every8"]) < ENCODER
    assert difference(other.get_image_embedding(), swapped) > 100 * ENCODER


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


@pytest.fixture(scope="module")
def utilities():
    return golden("encoder_utilities")


@pytest.mark.parametrize("name, side", [("q5k5", 5), ("q7k7_interpolated", 7)])
def test_relative_position_vectors(utilities, name, side):
    """The official function also knows grids of two different sizes, which no released model has."""
    assert difference(relative_vectors(utilities["relpos.table"], side), utilities[f"relpos.{name}"]) < 1e-6


def test_what_relative_positions_add_to_the_scores(utilities):
    rows, columns = (relative_vectors(utilities[f"relpos.add_rel_{axis}"], n) for axis, n in (("h", 3), ("w", 4)))
    bias = RelativeAttention.position_bias(utilities["relpos.add_q"][:, None], rows, columns)
    assert difference(bias[:, 0], utilities["relpos.add_out"]) < 1e-5


def test_windows_of_a_grid(utilities):
    """Of 7×9 places. Ours are square, so two rows of zeros are added, which the padding to whole windows adds too."""
    grid, expected = utilities["window.in"], utilities["window.out4"]
    block = WindowBlock(width=3, heads=1, side=4)
    with torch.no_grad(), recorded() as seen:
        block.attend(rearrange(F.pad(grid, (0, 0, 0, 0, 0, 2)), "b y x d -> b (y x) d"))
    windows = rearrange(seen["windows"][0], "(b n) (y x) d -> b n y x d", b=2, y=4)
    assert torch.equal(windows[:, :6], rearrange(expected, "(b n) y x d -> b n y x d", b=2))
    assert not windows[:, 6:].any()


def test_fourier_codes(utilities):
    encoding = FourierEncoding(16, grid_size=5)
    encoding.directions = utilities["pe.matrix"]
    points = utilities["pe.coords_in"] / torch.tensor([64, 32])
    assert difference(encoding(points), utilities["pe.coords_out_image_hw_32x64"]) < 1e-5
    y, x = torch.meshgrid((torch.arange(5) + 0.5) / 5, (torch.arange(7) + 0.5) / 7, indexing="ij")
    codes = rearrange(encoding(torch.stack([x, y], dim=-1)), "y x c -> c y x")
    assert difference(codes, utilities["pe.grid_5x7"]) < 1e-5


def test_relative_positions_stretch_a_table_by_interpolation():
    table = torch.randn(9, 6)
    assert torch.equal(relative_vectors(table, 5)[1, 3], table[1 - 3 + 4])
    stretched = F.interpolate(table.T[None], size=13, mode="linear")[0].T
    torch.testing.assert_close(relative_vectors(table, 7)[6, 0], stretched[12])


def test_full_size_vit_b(vit_b):
    """1024×1024 through all twelve blocks, and three prompts."""
    expected = golden("vitb_fullsize_samples")
    for index in (0, 2, 5, 8, 11):
        block = rearrange(vit_b.blocks[index], "b (y x) d -> b y x d", y=64)[:, ::8, ::8, ::16]
        assert relative_difference(block, expected[f"enc.block{index}_s8_c16"]) < BLOCKS, index
    assert difference(vit_b.embedding[:, ::8, ::4, ::4], expected["enc.out_c8_s4"]) < ENCODER
    mean_std = torch.stack([vit_b.embedding.mean(), vit_b.embedding.std()])
    assert difference(mean_std, expected["enc.out_mean_std"]) < ENCODER
    points = {"points": expected["points"], "labels": torch.ones(2, 1, dtype=torch.long)}
    for key, given in (("", points), ("box.", {"boxes": expected["box"][:, None]})):
        with torch.no_grad():
            logits, iou = decode_all_four(vit_b.sam, vit_b.embedding, given)
        assert relative_difference(logits[..., ::8, ::8], expected[f"{key}low_res4_s8"]) < LOGITS
        assert difference(iou, expected[f"{key}iou4"]) < IOU
