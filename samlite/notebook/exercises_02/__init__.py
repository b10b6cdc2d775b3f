"""The exercises of chapter 02, architecture (document §1.2): shapes, what depends on what, the parts put together."""

from samlite.notebook.exercises_02.numbers import predict_what_flows, say_what_changes
from samlite.notebook.exercises_02.parts import encode_once_decode_many, write_the_predictor

CHAPTER = "02_architecture"
TITLE = "chapter 02, architecture"
IMPORTS = "import torch"
EXERCISES = (predict_what_flows, say_what_changes, encode_once_decode_many, write_the_predictor)
