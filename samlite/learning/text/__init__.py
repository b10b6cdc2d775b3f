"""Text prompts (document §1.3): a small text–image model, and a SAM that takes its embeddings as one more token.

    from samlite import SamPredictor, sam_model_registry
    from samlite.learning.text import load_text_model

    words, predictor = load_text_model(), SamPredictor(sam_model_registry["tiny_text"]())
    predictor.set_image(scene)
    masks, iou_predictions, low_res_logits = predictor.predict(text=words.embed_text("red star"))

`vocabulary` words and phrases · `shapes` scenes · `contrastive` the text–image model · `prompting` the SAM's training ·
`measure` the right object among several, and the controls · `clip` the same door for CLIP.
"""

from samlite.learning.text.contrastive import TextImageModel
from samlite.learning.text.files import load_text_model, save_text_model
from samlite.learning.text.vocabulary import Tokenizer, describe

__all__ = ["TextImageModel", "Tokenizer", "describe", "load_text_model", "save_text_model"]
