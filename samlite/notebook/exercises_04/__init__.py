"""The exercises of chapter 04, the data engine (document §1.4): prices, the annotator's loop, mixtures, controls."""

from samlite.notebook.exercises_04.loops import write_the_correction_loop
from samlite.notebook.exercises_04.mixture import write_the_mixture
from samlite.notebook.exercises_04.numbers import find_the_gain, predict_the_bill

CHAPTER = "04_data_engine"
TITLE = "chapter 04, the data engine"
IMPORTS = (
    "import numpy as np\n\nfrom samlite.learning.annotator import correcting_click\nfrom samlite.masks import mask_iou"
)
EXERCISES = (predict_the_bill, write_the_correction_loop, write_the_mixture, find_the_gain)
