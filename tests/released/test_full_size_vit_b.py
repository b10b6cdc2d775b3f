"""The released ViT-B at full size, with random weights: the official numbers, the fast paths, a file.

One model for all of them, for its weights and its embedding take seconds.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from einops import rearrange
from reference import build, difference, given_prompts, golden, recorded, relative_difference
from test_released_checkpoints import assert_same
from test_released_fast import compare as compare_paths
from test_released_fast import quick
from test_released_parity import BLOCKS, ENCODER, IOU, LOGITS, decode_all_four

from samlite import sam_model_registry
from samlite.released.key_map import to_official


@pytest.fixture(scope="module")
def vit_b():
    """``sam``, the golden ``image`` (1, 3, 1024, 1024), its ``blocks`` and ``embedding``."""
    image = np.random.RandomState(2024).standard_normal((1, 3, 1024, 1024)).astype(np.float32)
    image[..., 900:] = 0
    sam, image = build("vit_b"), torch.from_numpy(image)
    with torch.no_grad(), recorded() as seen:
        embedding = sam.encode_image(image)
    return SimpleNamespace(sam=sam, image=image, blocks=seen["encoder_block"], embedding=embedding)


def test_the_official_numbers(vit_b):
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


def test_the_fast_paths(vit_b):
    sam = quick(vit_b.sam)
    with torch.no_grad():
        assert difference(sam.encode_image(vit_b.image), vit_b.embedding) < ENCODER
    given = given_prompts(sam)
    compare_paths((vit_b.sam, sam, vit_b.embedding), points=given["points"], labels=given["labels"])
    compare_paths((vit_b.sam, sam, vit_b.embedding), boxes=given["boxes"])


def test_a_file_by_path_through_the_registry(vit_b, tmp_path):
    path = tmp_path / "random_vit_b.pth"
    torch.save(to_official(vit_b.sam.state_dict()), path)
    sam = sam_model_registry["vit_b"](checkpoint=path)
    assert not sam.training
    assert_same(sam, vit_b.sam)
    with torch.no_grad():
        answers = [model.decode_masks(vit_b.embedding, **given_prompts(model)) for model in (sam, vit_b.sam)]
    for ours, plain in zip(*answers, strict=True):  # the registry's model decodes on the fast paths
        assert relative_difference(ours, plain) < 1e-5
    with pytest.raises(ValueError, match=r"random_vit_b.pth does not fit .*24 blocks, vit_l.*those of vit_b.*more"):
        sam_model_registry["vit_l"](checkpoint=path)
