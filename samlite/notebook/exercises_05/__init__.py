"""The exercises of chapter 05, the image encoder (document §1.5): questions, worked solutions, known mistakes."""

from samlite.notebook.exercises_05.attention import write_self_attention
from samlite.notebook.exercises_05.numbers import count_parameters, find_the_patch, predict_shapes
from samlite.notebook.exercises_05.patches import build_the_encoder, write_patchify

CHAPTER = "05_image_encoder"
TITLE = "chapter 05, the image encoder"
IMPORTS = "import math\n\nfrom einops import rearrange"
EXERCISES = (
    predict_shapes, find_the_patch, count_parameters, write_patchify, build_the_encoder, write_self_attention
)  # fmt: skip
