"""One prompt seen by the mask decoder, stage by stage: attention of every block, and mask vectors (§1.8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from samlite.images import read_photo
from samlite.layers import Attention
from samlite.notebook.ledger import ShapeLedger, shape_ledger
from samlite.predictor import SamPredictor
from samlite.sam import Sam

# The stages that attend, in the block's order: step of the ledger → attribute of the block.
ATTENTION_STAGES = {
    "token_self_attention": "self_attention",
    "token_to_image_attention": "token_to_image",
    "image_to_token_attention": "image_to_token",
}
KEPT = (
    "image_positions", "token_sequence", "prompted_image", "image_tokens",
    "token_self_attention", "token_to_image_attention", "token_mlp", "image_to_token_attention",
    "decoded_image", "upscaled_2x", "upscaled_4x", "output_tokens", "mask_vectors", "low_res_logits", "iou_predictions",
)  # fmt: skip


class DecoderViews:
    """Encode a photo once, then decode any prompt on it and look at every stage of it.

        views = DecoderViews(sam, photo)
        views.prompt([[290, 165]], [1])
        views.weights(block=0, stage="token_to_image_attention")      # (heads, T, L)
        views.map(0, "token_to_image_attention", token=1, head=None)  # (G, G), over the photo

    Attributes: ``photo`` (H, W, 3), ``predictor``, ``blocks``, ``heads`` and ``grid_size`` (how many), and after
    ``prompt``: ``points``, ``labels``, ``box`` (in pixels of the photo), ``ledger`` (the steps of the decoding, their
    tensors kept), ``token_names`` (T of them), ``masks`` (K, H, W), ``iou_predictions`` (K,).

    Source: document §1.8.2 (stages), §1.8.4 (mask vectors).
    """

    def __init__(self, sam: Sam, photo: Any) -> None:
        self.sam = sam
        self.photo: UInt8[np.ndarray, "height width 3"] = read_photo(photo)
        self.predictor = SamPredictor(sam)
        self.predictor.set_image(self.photo)
        self.grid_size: int = sam.prompt_encoder.grid_size
        self.blocks = len(sam.mask_decoder.blocks)
        self.heads: int = sam.mask_decoder.blocks[0].self_attention.heads

    def prompt(self, points: Any = None, labels: Any = None, box: Any = None) -> None:
        """Decode a prompt, given as to ``SamPredictor.predict``; what is wrong with it is refused there."""
        with shape_ledger(self.sam, keep=KEPT) as ledger:
            masks, iou_predictions, _ = self.predictor.predict(points, labels, box)
        self.ledger: ShapeLedger = ledger
        self._upscaled: Float[Tensor, "c h w"] | None = None
        self.masks: Bool[np.ndarray, "k height width"] = masks
        self.iou_predictions: Float[np.ndarray, " k"] = iou_predictions
        self.points = [] if points is None else np.asarray(points).tolist()
        self.labels = [] if labels is None else np.asarray(labels).tolist()
        self.box = None if box is None else np.asarray(box).tolist()
        names = [f"point {n} ({'+' if label else '−'})" for n, label in enumerate(self.labels)]
        names += ["corner 0", "corner 1"] if box is not None else []
        self.prompts = len(names)
        self.token_names = [*names, *(f"mask {k}" for k in range(len(masks))), "IoU"]

    @property
    def frames(self) -> Any:
        return self.predictor.frames

    def tensor(self, step: str, block: int | None = None) -> Float[Tensor, "*any"]:
        """What a step gave, without the axis B where it has one; ``block`` for the steps that every block has."""
        if block is not None:
            self._require_block(block)
        tensor = self.ledger.all(step)[-1 if block is None else block].tensor.cpu()
        return tensor if step == "image_positions" else tensor[0]

    def before(self, block: int) -> tuple[Float[Tensor, "t c"], Float[Tensor, "l c"]]:
        """Tokens and image as they come into a block."""
        self._require_block(block)
        if block == 0:
            return self.tensor("token_sequence"), self.tensor("image_tokens")
        return self.tensor("token_mlp", block - 1), self.tensor("image_to_token_attention", block - 1)

    @property
    def token_positions(self) -> Float[Tensor, "t c"]:
        """What is added to queries and keys that come from tokens: the tokens' own first vectors."""
        return self.tensor("token_sequence")

    @property
    def image_positions(self) -> Float[Tensor, "l c"]:
        """What is added to queries and keys that come from the image: the grid's code."""
        return rearrange(self.tensor("image_positions"), "c y x -> (y x) c")

    def layer(self, block: int, stage: str) -> Attention:
        """The attention of a stage, with its trained weights. Raises ValueError for a stage that does not attend."""
        self._require_block(block)
        if stage not in ATTENTION_STAGES:
            raise ValueError(f"stage is {stage!r}: those that attend are {', '.join(ATTENTION_STAGES)}")
        return getattr(self.sam.mask_decoder.blocks[block], ATTENTION_STAGES[stage])

    def queries_and_keys(self, block: int, stage: str) -> tuple[Float[Tensor, "t c"], Float[Tensor, "s c"]]:
        """What asks and what is asked at a stage, positions added (document §1.8.2)."""
        tokens, image = self.before(block)
        image = image + self.image_positions
        if stage == "token_self_attention":
            return tokens + self.token_positions, tokens + self.token_positions
        if stage == "token_to_image_attention":
            return self.tensor("token_self_attention", block) + self.token_positions, image
        return image, self.tensor("token_mlp", block) + self.token_positions

    def weights(self, block: int, stage: str) -> Float[Tensor, "heads queries keys"]:
        """The attention of a stage: T×T, T×L or L×T for every head; each row sums to 1.

        Raises ValueError when there is no such block or no such attention.
        """
        layer = self.layer(block, stage)
        queries, keys = self.queries_and_keys(block, stage)
        device = self.sam.device
        with torch.no_grad():
            return layer.weights(queries[None].to(device), keys[None].to(device))[0].cpu()

    def map(self, block: int, stage: str, token: int, head: int | None = None) -> Float[Tensor, "g g"]:
        """One token's attention over the grid, of one head or (None) the mean of all.

        Token-to-image: how the token shares itself out over the patches; the values sum to 1. Image-to-token: which
        part of its attention each patch gives to the token; the values of all tokens at one patch sum to 1.
        Raises ValueError for self-attention, which has no map, and for a token or head that is not there.
        """
        if stage == "token_self_attention":
            raise ValueError("self-attention is among tokens and has no map: see `matrix`")
        weights = self.of_head(self.weights(block, stage), head)
        self.require_token(token)
        row = weights[token] if stage == "token_to_image_attention" else weights[:, token]
        return row.reshape(self.grid_size, self.grid_size)

    def matrix(self, block: int, head: int | None = None) -> Float[Tensor, "t t"]:
        """The self-attention of the tokens in one block: row by row who looks at whom."""
        return self.of_head(self.weights(block, "token_self_attention"), head)

    def of_head(self, weights: Float[Tensor, "heads t s"], head: int | None) -> Float[Tensor, "t s"]:
        """One head of attention weights, or (None) their mean."""
        if head is None:
            return weights.mean(0)
        if not 0 <= head < self.heads:
            raise ValueError(f"there is no head {head}: this decoder has heads 0…{self.heads - 1}")
        return weights[head]

    def in_photo(self, values: Shaped[Tensor, "s s"]) -> Shaped[Tensor, "rows columns"]:
        """What a square map of the input frame holds on cells of the photo: without those that are all padding."""
        rows, columns = (-(-length * len(values) // self.frames.image_size) for length in self.frames.input_size)
        return values[:rows, :columns]

    def outside(self, values: Float[Tensor, "g g"]) -> float:
        """Which part of a map lies in the padding, on patches that hold nothing of the photo."""
        return 1 - float(self.in_photo(values).sum() / values.sum())

    # Mask vectors (document §1.8.4)

    def upscaled(self) -> Float[Tensor, "c h w"]:
        """The map that every mask vector is held against, (C, 4G, 4G)."""
        if self._upscaled is None:
            with torch.no_grad():
                decoded = self.tensor("decoded_image")[None].to(self.sam.device)
                self._upscaled = self.sam.mask_decoder.upscaling(decoded)[0].cpu()
        return self._upscaled

    def logits_of(self, vector: Float[Tensor, " c"]) -> Float[Tensor, "h w"]:
        """Any vector as a mask head: one dot product at each of the 4G×4G places."""
        return einsum(vector, self.upscaled(), "c, c h w -> h w")

    def mask_of(self, vector: Float[Tensor, " c"]) -> Bool[np.ndarray, "height width"]:
        """The mask that a vector cuts out of the photo: logits enlarged to the photo, above 0."""
        logits = self.logits_of(vector)[None, None]
        resized = self.sam.resize_masks(logits, self.frames.input_size, self.frames.original_size)
        return (resized[0, 0] > self.sam.mask_threshold).numpy()

    def channel_order(self, vector: Float[Tensor, " c"]) -> list[int]:
        """Channels by how much they move the logits: |weight| times the spread of the channel over the map."""
        spread = self.upscaled().flatten(1).std(1)
        return (vector.abs() * spread).argsort(descending=True).tolist()

    # Refusals

    def _require_block(self, block: int) -> None:
        if not 0 <= block < self.blocks:
            raise ValueError(f"there is no block {block}: this decoder has blocks 0…{self.blocks - 1}")

    def require_token(self, token: int) -> None:
        """Raises ValueError when the prompt that is set has no such token."""
        if not 0 <= token < len(self.token_names):
            raise ValueError(f"there is no token {token}: this prompt has tokens 0…{len(self.token_names) - 1}")
