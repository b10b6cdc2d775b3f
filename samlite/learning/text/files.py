"""The text–image model as a file: float16 safetensors with its sizes and its training inside."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from samlite.files import whole_file
from samlite.learning.text.contrastive import TextImageModel
from samlite.learning.text.vocabulary import WORDS
from samlite.registry import TINY_WEIGHTS

TEXT_MODEL_WEIGHTS = TINY_WEIGHTS.with_name("text_image.safetensors")


def save_text_model(model: TextImageModel, path: Path, training: dict[str, object]) -> None:
    """Write the model as float16; the metadata holds its sizes, its words and how it was made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in model.state_dict().items()}
    metadata = {
        "config": json.dumps({"width": model.width, "crop_size": model.crop_size}),
        "words": json.dumps(WORDS),
        "training": json.dumps(training),
    }
    with whole_file(path) as unfinished:
        save_file(state, unfinished, metadata=metadata)


def load_text_model(path: str | Path | None = None) -> TextImageModel:
    """The text–image model that ships with the package, or one that ``save_text_model`` wrote; in eval mode.

    Raises FileNotFoundError when there is no such file, ValueError when it holds something else or other words.
    """
    path = Path(path or TEXT_MODEL_WEIGHTS)
    if not path.is_file():
        raise FileNotFoundError(f"no text-image model at {path}: train one with `python -m samlite train text`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error}): give one that save_text_model wrote") from error
    if "words" not in metadata:
        raise ValueError(f"{path} has no 'words' in its metadata: it was not written by save_text_model")
    if json.loads(metadata["words"]) != list(WORDS):
        raise ValueError(f"{path} was trained with other words than this version of samlite has: train it anew")
    model = TextImageModel(**json.loads(metadata["config"]))
    model.load_state_dict(state)
    return model.eval()
