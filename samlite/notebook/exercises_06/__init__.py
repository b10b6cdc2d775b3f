"""The exercises of chapter 06, the masked autoencoder (document §1.6): questions, worked solutions, known mistakes."""

from samlite.notebook.exercises_06.numbers import count_the_saving, predict_the_rebuild
from samlite.notebook.exercises_06.places import write_fill_up, write_masking
from samlite.notebook.exercises_06.targets import write_the_loss

CHAPTER = "06_masked_autoencoder"
TITLE = "chapter 06, the masked autoencoder"
IMPORTS = ""
EXERCISES = (predict_the_rebuild, count_the_saving, write_masking, write_fill_up, write_the_loss)
