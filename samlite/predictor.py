"""`SamPredictor`: photo and prompts in the photo's own pixels → masks of the photo's own size (document §1.2).

The image encoder runs once per photo, the prompt encoder and the mask decoder once per prompt: `set_image` is slow,
`predict` is fast. Names, signatures and results are those of the released package.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Num, Shaped
from torch import Tensor, nn

from samlite import memory, prompt_checks
from samlite.frames import PhotoFrames, ResizeLongestSide
from samlite.images import read_photo
from samlite.masks import mask_to_logits
from samlite.sam import Sam


class SamPredictor:
    """Encode a photo once, then ask for masks as often as you like.

        predictor = SamPredictor(sam_model_registry["tiny"]())
        predictor.set_image("photo.jpg")
        masks, iou_predictions, low_res_logits = predictor.predict([[120, 80]], [1])

    Attributes: ``model``; ``transform`` (`ResizeLongestSide`); ``is_image_set``; and, once a photo is set,
    ``features`` (1, 256, 64, 64), ``original_size`` (H, W), ``input_size`` (h, w) of the resized photo, ``frames``
    (`PhotoFrames`: the way of a coordinate from frame to frame).
    """

    def __init__(self, sam_model: Sam) -> None:
        if not isinstance(sam_model, nn.Module):
            raise TypeError(f'sam_model is a {type(sam_model).__name__}: a model is expected, as '
                            'sam_model_registry["tiny"]() makes it')  # fmt: skip
        self.model = sam_model
        self.transform = ResizeLongestSide(sam_model.image_size)
        self._fits = False  # until the first photo has been encoded
        self.reset_image()

    @property
    def device(self) -> torch.device:
        return self.model.device

    def reset_image(self) -> None:
        """Forget the photo."""
        self.is_image_set = False
        self.features: Float[Tensor, "1 c grid grid"] | None = None
        self.frames: PhotoFrames | None = None
        self.original_size: tuple[int, int] | None = None
        self.input_size: tuple[int, int] | None = None

    def set_image(self, image: Any, image_format: str = "RGB") -> None:
        """Read a photo, resize its longest side to S, and run the image encoder on it (document §1.5).

        ``image``: a path, a PIL image, a numpy array or a torch tensor, by the rules of `samlite.images`.
        ``image_format``: "RGB", or "BGR" for an array whose channels are in that order.

        Raises ValueError or TypeError that says what is wrong with the image, OSError when its file may not be read,
        and `samlite.memory.TooLittleMemoryError` when it does not fit (asked before the first photo); no photo is set
        then, not even the last.
        """
        self.reset_image()
        photo = read_photo(image, image_format)
        frames = self._frames(photo.shape[:2])
        pixels = torch.from_numpy(self.transform.apply_image(photo)).permute(2, 0, 1)[None]  # (1, 3, h, w)
        self._encode(pixels.to(self.device, torch.float32), frames)

    def set_torch_image(self, transformed_image: Num[Tensor, "1 3 h w"], original_image_size: tuple[int, int]) -> None:
        """Encode a photo that has been resized already.

        ``transformed_image``: RGB in 0…255 with its longest side S, not yet normalised, as
        ``transform.apply_image_torch`` makes it. ``original_image_size``: (H, W) before that. The values of the pixels
        are not checked. Raises ValueError when the two sizes do not belong together.
        """
        self.reset_image()
        frames = self._frames(original_image_size)
        if tuple(transformed_image.shape) != (1, 3, *frames.input_size):
            raise ValueError(
                f"transformed_image has shape {tuple(transformed_image.shape)}: for original_image_size "
                f"{tuple(original_image_size)} the shape (1, 3, {frames.input_size[0]}, {frames.input_size[1]}) is "
                "expected; predictor.transform.apply_image_torch makes it"
            )
        self._encode(transformed_image.to(self.device, torch.float32), frames)

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        boxes: Any = None,
        text: Any = None,
    ) -> tuple[Shaped[np.ndarray, "k height width"], Float[np.ndarray, " k"], Float[np.ndarray, "k h w"]]:
        """Masks for one prompt on the photo that is set (document §1.7, §1.8).

        Prompts, any combination of at least one; arrays, lists or tensors; (x, y) in pixels of the original photo,
        (0, 0) the centre of the upper left pixel:

        - ``point_coords`` (N, 2) with ``point_labels`` (N,): 1 on the object, 0 not on it;
        - ``box`` (4,): x1, y1, x2, y2;
        - ``boxes`` (M, 4): several boxes around *one* object, all in one token sequence (document §1.7.1; the
          released model was trained on one). Not together with ``box``;
        - ``mask_input`` (1, 256, 256): low-res logits, a row of a former answer or from `mask_to_logits`;
        - ``text`` (X, E) or (E,): embeddings, for a model that was trained with text.

        ``multimask_output``: True gives all K candidates (3), False one. The released model has a fourth mask token
        for a single answer. The document's has none: the one is the candidate with the highest predicted IoU.
        ``return_logits``: float logits instead of ``logits > model.mask_threshold``.

        Returns (masks (K, H, W) bool, iou_predictions (K,), low_res_logits (K, 256, 256)).
        Raises RuntimeError before `set_image`; ValueError or TypeError that names the argument, what was given and
        what to do, for each input that would otherwise give a mask of the wrong thing.
        """
        frames = self._require_frames()
        points = labels = corners = mask = embedding = None
        if point_coords is not None or point_labels is not None:
            coordinates, checked = prompt_checks.check_points(point_coords, point_labels, frames.original_size)
            points = self._tensor(self.transform.apply_coords(coordinates, frames.original_size))  # (1, N, 2)
            labels = torch.from_numpy(checked).to(self.device)[None]  # (1, N)
        if box is not None and boxes is not None:
            raise ValueError("box and boxes were both given: put every box around the one object into boxes, (M, 4)")
        if box is not None:
            corners = prompt_checks.check_box(box, frames.original_size)
        elif boxes is not None:
            corners = prompt_checks.check_boxes(boxes, frames.original_size)
        if corners is not None:
            corners = self._tensor(self.transform.apply_boxes(corners, frames.original_size))  # (1, M, 4)
        if mask_input is not None:
            mask = self._tensor(prompt_checks.check_mask_input(mask_input, frames.low_res_size))  # (1, 1, h, w)
        if text is not None:
            embedding = self._tensor(prompt_checks.check_text(text))  # (1, X, E)
        if all(prompt is None for prompt in (points, corners, mask, embedding)):
            raise ValueError(
                "no prompt was given: pass point_coords with point_labels, a box, boxes, a mask_input or text"
            )
        masks, iou_predictions, low_res_logits = self.predict_torch(
            points, labels, corners, mask, multimask_output, return_logits, text=embedding
        )
        return masks[0].cpu().numpy(), iou_predictions[0].cpu().numpy(), low_res_logits[0].cpu().numpy()

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Float[Tensor, "b n 2"] | None = None,
        point_labels: Num[Tensor, "b n"] | None = None,
        boxes: Float[Tensor, "b 4"] | Float[Tensor, "b m 4"] | None = None,
        mask_input: Float[Tensor, "b 1 h w"] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        *,
        text: Float[Tensor, "b x e"] | None = None,
    ) -> tuple[Shaped[Tensor, "b k height width"], Float[Tensor, "b k"], Float[Tensor, "b k low low"]]:
        """Masks for B prompts at once on the photo that is set; tensors, in the *input* frame (1024×1024).

        ``transform.apply_coords_torch`` and ``apply_boxes_torch`` lead there. ``boxes`` (B, 4) is one box per prompt,
        the batched call of the released package; (B, M, 4) is M boxes around each of B objects. Everything else is as
        in `predict`, with the axis B in front, and on the model's device.

        Raises RuntimeError before `set_image`, ValueError for a label that the model does not know, and
        `samlite.memory.TooLittleMemoryError`. Laxer than `predict`: places outside the photo, NaN, inverted boxes, a
        binary mask and an empty prompt are not refused.
        """
        frames = self._require_frames()
        if point_labels is not None:
            prompt_checks.check_labels(point_labels, self.model.prompt_encoder.accepted_labels)
        if boxes is not None and boxes.ndim == 2:
            boxes = boxes[:, None]  # (B, 4) → (B, 1, 4)
        advice = "ask for fewer prompts at once, take a smaller photo, "
        with memory.out_of_memory_in_words("decoding masks", self.device, advice):
            low_res_logits, iou_predictions = self.model.decode_masks(
                self.features,
                points=None if point_coords is None else point_coords.float(),
                labels=None if point_labels is None else point_labels.long(),
                boxes=None if boxes is None else boxes.float(),
                mask=None if mask_input is None else mask_input.float(),
                text=None if text is None else text.float(),
                multimask_output=multimask_output,
            )
            memory.check_masks(self.model, *iou_predictions.shape, frames.original_size, advice)
            masks = self.model.resize_masks(low_res_logits, frames.input_size, frames.original_size)  # (B, K, H, W)
            masks = masks if return_logits else masks > self.model.mask_threshold
        return masks, iou_predictions, low_res_logits

    def mask_to_logits(self, mask: Any, strength: float | int = 8.0) -> Float[np.ndarray, "1 h w"]:
        """A binary mask of the photo's size → ``mask_input`` (1, 256, 256) for `predict` (`samlite.masks`)."""
        frames = self._require_frames()
        array = prompt_checks.as_array(mask, "mask")
        if array.shape != frames.original_size:
            raise ValueError(f"mask has shape {array.shape}: the photo's is expected, {frames.original_size}")
        return mask_to_logits(array, frames.image_size, frames.low_res_size, strength)

    def get_image_embedding(self) -> Float[Tensor, "1 c grid grid"]:
        """The image embedding of the photo that is set, (1, 256, 64, 64). Raises RuntimeError before `set_image`."""
        self._require_frames()
        return self.features

    def _frames(self, original_size: tuple[int, int]) -> PhotoFrames:
        height, width = original_size
        return PhotoFrames((int(height), int(width)), self.model.image_size, self.model.prompt_encoder.grid_size)

    @torch.no_grad()
    def _encode(self, pixels: Float[Tensor, "1 3 h w"], frames: PhotoFrames) -> None:
        if not self._fits:
            memory.check_encoding(self.model)
        with memory.out_of_memory_in_words(f"encoding a photo with {memory.described(self.model)}", self.device):
            self.features = self.model.encode_image(self.model.normalise(pixels))  # (1, 256, 64, 64)
        self._fits = True
        self.frames, self.original_size, self.input_size = frames, frames.original_size, frames.input_size
        self.is_image_set = True

    def _require_frames(self) -> PhotoFrames:
        if self.frames is None:
            raise RuntimeError("no photo is set: call set_image(photo) first")
        return self.frames

    def _tensor(self, array: Float[np.ndarray, "*any"]) -> Float[Tensor, "1 *any"]:
        return torch.from_numpy(array).float().to(self.device)[None]  # float32 first: some devices have no float64
