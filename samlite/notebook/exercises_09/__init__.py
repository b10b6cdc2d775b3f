"""The exercises of chapter 09, conclusion (document §1.9): where things happen, what size costs, the whole model."""

from samlite.notebook.exercises_09.numbers import find_the_section, predict_the_growth
from samlite.notebook.exercises_09.whole import rank_the_damage, write_the_whole_model

CHAPTER = "09_conclusion"
TITLE = "chapter 09, conclusion"
IMPORTS = "import torch\nfrom einops import einsum, rearrange"
EXERCISES = (find_the_section, predict_the_growth, rank_the_damage, write_the_whole_model)
