"""The exercises of chapter 14, the full ViT-H: operations, memory of scores, a bias as channels, share of the peak."""

from samlite.notebook.exercises_14.code import write_the_bias_as_channels
from samlite.notebook.exercises_14.numbers import count_a_block, find_the_share, measure_the_scores

CHAPTER = "14_vit_h_on_a_gpu"
TITLE = "chapter 14, the full ViT-H on a GPU"
IMPORTS = "import torch"
EXERCISES = (count_a_block, measure_the_scores, write_the_bias_as_channels, find_the_share)
