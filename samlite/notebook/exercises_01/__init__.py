"""The exercises of chapter 01, introduction (document §1.1): what kind of answer this is, and three of it at once."""

from samlite.notebook.exercises_01.choices import measure_the_choice, name_the_candidates
from samlite.notebook.exercises_01.cut_out import cut_it_out
from samlite.notebook.exercises_01.numbers import predict_the_answers

CHAPTER = "01_introduction"
TITLE = "chapter 01, introduction"
IMPORTS = "import numpy as np"
EXERCISES = (predict_the_answers, cut_it_out, name_the_candidates, measure_the_choice)
