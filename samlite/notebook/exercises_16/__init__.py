"""The exercises of chapter 16, to eleven million images: a budget, Amdahl, failures, resuming, two runs (§1.4)."""

from samlite.notebook.exercises_16.numbers import choose_the_shard, predict_the_budget, write_speed_up
from samlite.notebook.exercises_16.restarts import write_two_runs
from samlite.notebook.exercises_16.shards import write_resume

CHAPTER = "16_eleven_million_images"
TITLE = "chapter 16, to eleven million images"
IMPORTS = ""

EXERCISES = (predict_the_budget, write_speed_up, choose_the_shard, write_resume, write_two_runs)
