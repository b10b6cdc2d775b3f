"""The exercises of chapter 11, evaluation: figures of four targets, clicks, calibration, and how sure a mean is."""

from samlite.notebook.exercises_11.clicks import write_clicks_needed, write_correcting_click
from samlite.notebook.exercises_11.numbers import predict_the_figures
from samlite.notebook.exercises_11.trust import write_bootstrap, write_calibration_error

CHAPTER = "11_evaluation"
TITLE = "chapter 11, evaluation"
IMPORTS = "import numpy as np\nfrom scipy import ndimage"
EXERCISES = [
    predict_the_figures,
    write_clicks_needed,
    write_correcting_click,
    write_calibration_error,
    write_bootstrap,
]
