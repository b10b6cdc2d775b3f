"""The exercises of chapter 10, training: losses by hand and as code, the minimum, the correction, one whole step."""

from samlite.notebook.exercises_10.losses import predict_the_loss, write_the_losses, write_the_minimum
from samlite.notebook.exercises_10.steps import build_the_step, write_the_correction

CHAPTER = "10_training"
TITLE = "chapter 10, training"
IMPORTS = """
import math

import torch
from einops import rearrange, repeat
from torch.nn import functional as F

from samlite.learning import simulate
from samlite.learning.losses import iou_loss, pairwise_iou, pairwise_mask_loss
"""

EXERCISES = (predict_the_loss, write_the_losses, write_the_minimum, write_the_correction, build_the_step)
