"""CLIP behind the same door: the embeddings of a ``transformers`` CLIPModel, of any width, as text prompts.

    clip = load_clip("openai/clip-vit-base-patch32")
    sam = TextTrainer(TextRecipe(...), clip).train()        # its text projection has CLIP's width
    predictor.predict(text=clip.embed_text("a red star"))

`ClipEmbeddings` has what a `TextImageModel` has: ``embed_text``, ``embed_images``, ``width``, ``crop_size``, ``name``.
transformers is an extra: ``pip install -e ".[clip]"`` in the folder of the repository.

Letters: X phrases, B crops, E width of an embedding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from samlite.environment import pip_install

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HOW_TO_INSTALL = f"CLIP needs the package transformers, which is not installed: {pip_install('transformers')}"


class ClipEmbeddings:
    """``model``: a CLIPModel. ``tokenize``: phrases → a mapping with ``input_ids`` (and ``attention_mask``), tensors.

    Embeddings are the projected features of the two towers, brought to length 1, as the SAM paper uses them.
    """

    def __init__(self, model: Any, tokenize: Callable[[list[str]], Any], name: str = "CLIP") -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenize = tokenize
        self.name = name
        self.width: int = model.config.projection_dim
        self.crop_size: int = model.config.vision_config.image_size

    @torch.no_grad()
    def embed_text(self, phrases: str | Sequence) -> Float[Tensor, "x e"]:
        """Phrases → embeddings of length 1, (X, E). One string gives (1, E)."""
        phrases = [phrases] if isinstance(phrases, str) else list(phrases)
        if not phrases or not all(isinstance(phrase, str) and phrase.strip() for phrase in phrases):
            raise ValueError(f"phrases are {phrases!r:.60}: a string is expected, or a list of strings, none empty")
        return self._features(self.model.get_text_features(**self.tokenize(phrases)))

    @torch.no_grad()
    def embed_images(self, crops: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        """Crops, RGB in 0…255, ``crop_size`` on a side → embeddings of length 1, (B, E)."""
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
        return self._features(self.model.get_image_features(pixel_values=(crops / 255 - mean) / std))

    @staticmethod
    def _features(output: Any) -> Float[Tensor, "b e"]:
        """transformers returned the tensor itself up to version 4, and an output that holds it since 5."""
        return F.normalize(output if isinstance(output, Tensor) else output.pooler_output, dim=-1)


def load_clip(name: str = "openai/clip-vit-base-patch32", local_only: bool = False) -> ClipEmbeddings:
    """A public CLIP by its name or folder; downloaded by transformers the first time, unless ``local_only``.

    Raises ValueError that says what to do when transformers is not installed, or the model is neither in its cache
    nor reachable.
    """
    try:
        from transformers import CLIPModel, CLIPTokenizerFast
    except ImportError as error:
        raise ValueError(HOW_TO_INSTALL) from error
    try:
        model = CLIPModel.from_pretrained(name, local_files_only=local_only)
        tokenizer = CLIPTokenizerFast.from_pretrained(name, local_files_only=local_only)
    except Exception as error:  # no network, no such name, an incomplete file: transformers and its hub raise many
        where = "is not in the cache of transformers" if local_only else "could not be loaded"
        reason = "" if local_only else f" ({(str(error).strip().splitlines() or [type(error).__name__])[0]:.120})"
        raise ValueError(
            f"CLIP {name!r} {where}{reason}: connect to the network once and call load_clip({name!r}), "
            "or give the folder of a saved one; without CLIP, load_text_model() knows coloured shapes"
        ) from error
    return ClipEmbeddings(model, lambda phrases: tokenizer(phrases, padding=True, return_tensors="pt"), name)
