"""The exercises of chapter 15, text prompts (document §1.3): questions, worked solutions, known mistakes."""

from samlite.notebook.exercises_15.contrast import write_contrastive_loss, write_the_similarity
from samlite.notebook.exercises_15.numbers import predict_the_text_shapes
from samlite.notebook.exercises_15.picking import write_the_right_object, write_the_text_token

CHAPTER = "15_text_prompts"
TITLE = "chapter 15, text prompts"
IMPORTS = "import torch"
EXERCISES = (
    predict_the_text_shapes, write_the_similarity, write_contrastive_loss, write_the_text_token,
    write_the_right_object,
)  # fmt: skip
