"""The exercises of chapter 16, to eleven million images: a budget, Amdahl, failures, resuming, run lengths (§1.4)."""

from samlite.notebook.exercises_16.numbers import choose_the_shard, predict_the_budget, write_speed_up
from samlite.notebook.exercises_16.shards import write_resume, write_run_lengths

CHAPTER = "16_eleven_million_images"
TITLE = "chapter 16, to eleven million images"
IMPORTS = "import numpy as np"

EXERCISES = (predict_the_budget, write_speed_up, choose_the_shard, write_resume, write_run_lengths)
