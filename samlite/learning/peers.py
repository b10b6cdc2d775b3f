"""The same weights in every implementation that is installed here, with one way to call each."""

import copy
import importlib.util
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samlite.automatic import CPU_CELLS
from samlite.fast import use_fast_paths, use_plain_paths
from samlite.parts import with_parts
from samlite.released.official_package import is_installed, official_sam, records_difference
from samlite.released.transformers_names import transformers_sam
from samlite.sam import Sam

FAST, PLAIN = "samlite", "samlite, plain path"
EAGER, SDPA, OFFICIAL = "transformers, eager", "transformers, sdpa", "segment-anything"
BESIDE = ("plain", "transformers", "segment-anything")
SAME_NUMBERS, SAME_RECORDS = 1e-5, 1e-2  # of the largest value; 1 − IoU of two masks, or between two scores
Calls = dict[str, Callable[[], Any]]


class Peers:
    """Every call returns what it computed, so that it can be compared before it is timed."""

    def __init__(self, sam: Sam, beside: Collection[str] = BESIDE) -> None:
        self.fast, plain = both(sam)
        self.plain = plain if "plain" in beside else None
        self.transformers: dict[str, nn.Module] = {}
        if "transformers" in beside and importlib.util.find_spec("transformers"):
            self.transformers = {name: transformers_sam(sam, way) for name, way in ((EAGER, "eager"), (SDPA, "sdpa"))}
        self.official = official_sam(sam) if "segment-anything" in beside and is_installed() else None

    def encoders(self, image: Tensor) -> Calls:
        calls: Calls = {FAST: lambda: self.fast.encode_image(image)}
        if self.plain is not None:
            calls[PLAIN] = lambda: self.plain.encode_image(image)
        for name, model in self.transformers.items():
            calls[name] = lambda model=model: model.get_image_embeddings(image)
        if self.official is not None:
            calls[OFFICIAL] = lambda: self.official.image_encoder(image)
        return calls

    def decoders(self, embedding: Tensor, points: Tensor) -> Calls:
        """``points`` (B, 1, 2) all at once, and by the fast path as many at a time as automatic masks take on a CPU."""
        labels = torch.ones(points.shape[:2], dtype=torch.long)
        at_once = max(1, CPU_CELLS // embedding.shape[-1] ** 2)
        calls: Calls = {FAST: lambda: in_batches(self.fast, embedding, points, at_once)}
        if self.plain is not None:
            calls[PLAIN] = lambda: self.plain.decode_masks(embedding, points, labels)[0]
        for name, model in self.transformers.items():
            calls[name] = lambda model=model: model(
                image_embeddings=embedding, input_points=points[None], input_labels=labels[None], multimask_output=True
            ).pred_masks[0]
        if self.official is not None:
            calls[OFFICIAL] = lambda: _official_decode(self.official, embedding, points, labels)
        return calls


def in_batches(sam: Sam, embedding: Tensor, points: Tensor, at_once: int) -> Tensor:
    """Logits of one click a prompt, ``at_once`` prompts at a time."""
    labels = torch.ones(points.shape[:2], dtype=torch.long)
    parts = zip(points.split(at_once), labels.split(at_once), strict=True)
    return torch.cat([sam.decode_masks(embedding, some, their)[0] for some, their in parts])


def _official_decode(model: nn.Module, embedding: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    sparse, dense = model.prompt_encoder(points=(points, labels), boxes=None, masks=None)
    return model.mask_decoder(
        image_embeddings=embedding, image_pe=model.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense, multimask_output=True,
    )[0]  # fmt: skip


def both(sam: Sam) -> tuple[Sam, Sam]:
    """The model with its fast paths and without them, on the same weights."""

    def again() -> Sam:
        return with_parts(sam, *map(copy.copy, (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder))).eval()

    return use_fast_paths(again()), use_plain_paths(again())


def differences(answers: Mapping[str, Any], reference: str) -> dict[str, float]:
    """How far every answer is from that of ``reference``: tensors as a part of its largest value, or sets of records.

    Raises ValueError when one is too far: there is no point in timing something else.
    """
    expected, found = answers[reference], {}
    for name, answer in answers.items():
        if isinstance(expected, Tensor):
            allowed, found[name] = SAME_NUMBERS, ((answer - expected).abs().max() / expected.abs().max()).item()
        else:
            allowed, found[name] = SAME_RECORDS, records_difference(answer, expected)
        if not found[name] <= allowed:
            raise ValueError(f"{name} is {found[name]:.1e} from {reference}, more than {allowed:.0e}: not the same")
    return found
