"""The exercises of chapter 13, from the lecture to the release: tokens, windows, prices, Fourier codes, attention."""

from samlite.notebook.exercises_13.code import write_fourier_code, write_window_attention
from samlite.notebook.exercises_13.numbers import count_the_windows, predict_the_tokens, price_the_upscaling

CHAPTER = "13_lecture_to_release"
TITLE = "chapter 13, from the lecture to the release"
IMPORTS = "import math\n\nimport torch\nfrom einops import rearrange\nfrom torch.nn import functional as F"
EXERCISES = (
    predict_the_tokens, count_the_windows, price_the_upscaling, write_fourier_code, write_window_attention
)  # fmt: skip
