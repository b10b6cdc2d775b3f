"""The exercises of chapter 03, prompting (document §1.3, §1.7): shapes, batches, mask prompts, the refinement step."""

from samlite.notebook.exercises_03.dense import write_mask_to_logits, write_refinement_step
from samlite.notebook.exercises_03.sparse import combine_prompts, predict_the_tokens

CHAPTER = "03_prompting"
TITLE = "chapter 03, prompting"
IMPORTS = "import numpy as np\nimport torch"
EXERCISES = (predict_the_tokens, combine_prompts, write_mask_to_logits, write_refinement_step)
