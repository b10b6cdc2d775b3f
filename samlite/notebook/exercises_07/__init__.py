"""The exercises of chapter 07, the prompt encoder (document §1.7): questions, worked solutions, known mistakes."""

from samlite.notebook.exercises_07.dense import build_the_decoders_input, write_the_dense_path
from samlite.notebook.exercises_07.numbers import count_the_tokens, predict_the_prompt_shapes
from samlite.notebook.exercises_07.sparse import write_encode_boxes, write_encode_points

CHAPTER = "07_prompt_encoder"
TITLE = "chapter 07, the prompt encoder"
IMPORTS = "import torch\nfrom einops import rearrange\nfrom torch.nn import functional as F"
EXERCISES = (
    predict_the_prompt_shapes, count_the_tokens, write_encode_points, write_encode_boxes, write_the_dense_path,
    build_the_decoders_input,
)  # fmt: skip
