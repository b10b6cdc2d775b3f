"""The exercises of chapter 08, the mask decoder (document §1.8): questions, worked solutions, known mistakes."""

from samlite.notebook.exercises_08.attention import write_token_to_image
from samlite.notebook.exercises_08.block import write_two_way_block
from samlite.notebook.exercises_08.heads import write_iou_head, write_mask_heads
from samlite.notebook.exercises_08.shapes import predict_decoder_shapes
from samlite.notebook.exercises_08.upscaling import write_upscaling

CHAPTER = "08_mask_decoder"
TITLE = "chapter 08, the mask decoder"
IMPORTS = "import math\n\nimport torch\nfrom einops import einsum, rearrange\nfrom torch.nn import functional as F"
EXERCISES = (
    predict_decoder_shapes, write_iou_head, write_mask_heads, write_token_to_image, write_two_way_block, write_upscaling
)  # fmt: skip
