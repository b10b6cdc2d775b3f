"""The exercises of chapter 12, segment everything: candidates, stability, duplicates, run lengths."""

from samlite.notebook.exercises_12.clicks import count_candidates
from samlite.notebook.exercises_12.filters import write_stability, write_suppression
from samlite.notebook.exercises_12.runs import write_runs

CHAPTER = "12_segment_everything"
TITLE = "chapter 12, segment everything"
IMPORTS = "import numpy as np"
EXERCISES = (count_candidates, write_stability, write_suppression, write_runs)
