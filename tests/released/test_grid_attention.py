"""Every way to attend gives the same: windows and the whole grid, padded and not, heads of many widths."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from samlite.predictor import SamPredictor
from samlite.released import grid_attention
from samlite.released.gpu_encoder import DecoderAtWork, EncoderAtWork, sam_at_work
from samlite.released.image_encoder import GlobalBlock, WindowBlock
from samlite.released.sam import released_sam
from samlite.sam import document_sam

CASES = [(8, 3, 4, 16), (8, 8, 2, 16), (16, 14, 2, 80), (9, 4, 2, 40), (32, 32, 2, 80)]  # side, window, heads, width
SMALL = {"width": 32, "depth": 2, "heads": 2, "channels": 32, "decoder_heads": 4, "decoder_mlp": 64, "image_size": 128}


def block_of(side, window, heads, width):
    """A block whose relative positions and bias weigh as much as the rest."""
    block = (GlobalBlock if window == side else WindowBlock)(heads * width, heads, window)
    attention = block.attention
    for table in (attention.relative_rows, attention.relative_columns):
        nn.init.normal_(table, std=0.3)
    nn.init.normal_(attention.qkv_projection.bias)
    return block


def lively(sam):
    for name, parameter in sam.named_parameters():
        if "relative" in name:
            nn.init.normal_(parameter, std=0.3)
    return sam.eval()


@pytest.mark.parametrize("way", ["masked", "concatenated"])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_equal_to_the_plain_block(case, way):
    torch.manual_seed(0)
    block, (side, window, heads, width) = block_of(*case), case
    tokens = torch.randn(2, side**2, heads * width)
    attention = block.attention
    context = grid_attention.way_of(way)(attention, attention.qkv_projection(tokens), window)
    assert context.shape == tokens.shape
    torch.testing.assert_close(attention.output_projection(context), block.attend(tokens), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_scores_themselves_are_equal():
    torch.manual_seed(0)
    side, width = 5, 16
    q, k = torch.randn(2, 1, 2, side**2, width)
    rows, columns = torch.randn(2, side, side, width)
    by_row, by_column = grid_attention.distance_scores(q, rows, columns)
    queries = grid_attention.concatenated_queries(q, by_row, by_column)
    keys = grid_attention.concatenated_keys(k, side)
    assert queries.shape == keys.shape == (1, 2, side**2, width + 2 * side)
    scores = queries @ keys.transpose(-2, -1) / width**0.5
    one, other = 7, 18  # places (1, 2) and (3, 3)
    for head in range(2):
        query = q[0, head, one]
        expected = query @ k[0, head, other] / 4 + query @ rows[1, 3] + query @ columns[2, 3]
        torch.testing.assert_close(scores[0, head, one, other], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_flex_uncompiled(monkeypatch):
    """FlexAttention's own reference in Python: the function that it compiles is right."""
    monkeypatch.setattr(grid_attention, "_compiled_flex", lambda: grid_attention.flex_attention)
    torch.manual_seed(0)
    for case in CASES[:3]:
        block, (side, window, heads, width) = block_of(*case), case
        tokens = torch.randn(1, side**2, heads * width)
        attention = block.attention
        context = grid_attention.way_of("flex")(attention, attention.qkv_projection(tokens), window)
        torch.testing.assert_close(attention.output_projection(context), block.attend(tokens), atol=1e-5, rtol=1e-5)


KERNEL = """
import torch
from tests.released.test_grid_attention import CASES, block_of
from samlite.released import triton_attention
from samlite.released.grid_attention import way_of

torch.manual_seed(0)
torch.set_grad_enabled(False)
for queries, rows in ((64, 4), (32, 2), (64, 1)):
    for large in (True, False):
        triton_attention.chosen[large] = triton_attention.Setting(queries, rows)
    for side, window, heads, width in [*CASES[:2], (9, 9, 1, 80)] if rows > 1 else CASES[1:2]:
        block = block_of(side, window, heads, width)
        tokens = torch.randn(2, side**2, heads * width)
        context = way_of("triton")(block.attention, block.attention.qkv_projection(tokens), window)
        result = block.attention.output_projection(context)
        torch.testing.assert_close(result, block.attend(tokens), atol=1e-5, rtol=1e-5)
print("equal")
"""


def test_the_kernel_interpreted():
    """Triton's interpreter runs the kernel without a GPU; it must be told before Triton is imported."""
    pytest.importorskip("triton", "3.7")  # older interpreters trip over numpy 2.4
    root = Path(__file__).parents[2]
    path = f"{root}{os.pathsep}{os.getenv('PYTHONPATH', '')}"
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", KERNEL], env=environment, capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "equal", done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_kernel_on_a_gpu(case):
    pytest.importorskip("triton")
    torch.manual_seed(0)
    block, (side, window, heads, width) = block_of(*case).cuda(), case
    tokens = torch.randn(2, side**2, heads * width, device="cuda")
    attention = block.attention
    context = grid_attention.way_of("triton")(attention, attention.qkv_projection(tokens), window)
    torch.testing.assert_close(attention.output_projection(context), block.attend(tokens), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("way", [None, "masked", "concatenated"])
def test_encoder_at_work(way):
    torch.manual_seed(0)
    sam = lively(released_sam(**SMALL, window=3, global_blocks=(1,)))
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = sam.encode_image(images)
    before = [type(block) for block in sam.image_encoder.blocks]
    exact = EncoderAtWork(sam.image_encoder, torch.float32, way)
    torch.testing.assert_close(exact(images), expected, atol=1e-5, rtol=1e-5)
    assert [type(block) for block in sam.image_encoder.blocks] == before  # the one that is read is as it was
    assert next(exact.parameters()).data_ptr() == next(sam.image_encoder.parameters()).data_ptr()
    rough = EncoderAtWork(sam.image_encoder, torch.bfloat16, way)(images)
    assert rough.dtype == torch.float32
    assert (rough - expected).norm() < 0.03 * expected.norm()


def test_the_documents_encoder_at_work():
    torch.manual_seed(0)
    sam = document_sam(**SMALL).eval()
    images = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(EncoderAtWork(sam.image_encoder, torch.float32)(images), sam.encode_image(images))
    with pytest.raises(TypeError, match="not for ImageEncoder"):
        EncoderAtWork(sam.image_encoder, way="concatenated")


def test_whole_sam_at_work():
    """Prompts and answers are float32, and the answers hardly differ."""
    torch.manual_seed(0)
    sam = lively(released_sam(**SMALL, window=3, global_blocks=(1,)))
    at_work = sam_at_work(sam, way="concatenated")
    image, points = torch.randn(1, 3, 128, 128), torch.rand(4, 1, 2) * 128
    labels = torch.ones(4, 1, dtype=torch.long)
    assert isinstance(at_work.mask_decoder, DecoderAtWork)
    with torch.no_grad():
        expected, _ = sam.decode_masks(sam.encode_image(image), points, labels)
        logits, iou = at_work.decode_masks(at_work.encode_image(image), points, labels)
    assert logits.dtype == iou.dtype == torch.float32
    assert (logits - expected).norm() < 0.05 * expected.norm()
    predictor = SamPredictor(at_work)
    predictor.set_image(np.zeros((96, 128, 3), np.uint8))
    assert predictor.predict([[60, 40]], [1])[0].shape == (3, 96, 128)


def test_unknown_way():
    with pytest.raises(ValueError, match="no way to attend is called 'fast'"):
        grid_attention.way_of("fast")
