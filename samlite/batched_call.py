"""``sam(batched_input, multimask_output)``: several pictures, each with its own prompts, in one call.

The call is the released package's. It takes tensors, so no photo is read and no coordinate is moved here: pictures are
resized already, and prompts are in the input frame. What the package would take silently and answer with a mask of
the wrong thing is refused; the error names the picture and the key.
"""

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

KEYS = ("image", "original_size", "point_coords", "point_labels", "boxes", "mask_inputs")
OTHER_NAMES = {"box": "boxes", "mask_input": "mask_inputs", "masks": "mask_inputs", "points": "point_coords"}


@torch.no_grad()
def answer_batch(sam: nn.Module, batched_input: Any, multimask_output: bool) -> list[dict[str, Tensor]]:
    """What ``sam(batched_input, multimask_output)`` does, for either architecture.

    ``batched_input`` is a list of dicts, one for each picture: ``image`` (3, h, w), RGB in 0…255, its longest side S,
    not normalised; ``original_size`` (H, W) before it was resized; and any of ``point_coords`` (B, N, 2) with
    ``point_labels`` (B, N), ``boxes`` (B, 4) or (B, M, 4), ``mask_inputs`` (B, 1, 256, 256), all in pixels of the
    input frame. `samlite.frames.ResizeLongestSide` makes them from photos and their prompts.

    Returns a dict for each: ``masks`` (B, K, H, W) bool, ``iou_predictions`` (B, K) and ``low_res_logits``
    (B, K, 256, 256), which can be the next call's ``mask_inputs``. The pictures are encoded together, so they must fit
    into memory together; no gradients are kept.
    Raises TypeError or ValueError that names the picture, the key, what was given and what to do, and
    `samlite.memory.TooLittleMemoryError`.
    """
    from samlite.memory import check_encoding, described, out_of_memory_in_words

    prompts = sam.prompt_encoder
    sizes = sam.image_size, 4 * prompts.grid_size
    pictures = check_batch(batched_input, sizes, prompts.accepted_labels, sam.device)
    check_encoding(sam, len(pictures))
    with out_of_memory_in_words(f"a call with {described(sam)}", sam.device, "pass fewer at once, "):
        embeddings = sam.encode_image(torch.cat([sam.preprocess(picture["image"][None]) for picture in pictures]))
        return [_answer(sam, *each, multimask_output) for each in zip(pictures, embeddings, strict=True)]


def _answer(sam: nn.Module, picture: dict[str, Any], embedding: Tensor, multimask_output: bool) -> dict[str, Tensor]:
    """The answer on one checked picture; ``embedding`` (C, 64, 64) is its own."""
    from samlite.memory import check_masks

    points, labels, mask = (picture[key] for key in ("point_coords", "point_labels", "mask_inputs"))
    low_res_logits, iou_predictions = sam.decode_masks(
        embedding[None],
        points=None if points is None else points.float(),
        labels=None if labels is None else labels.long(),
        boxes=picture["boxes"],
        mask=None if mask is None else mask.float(),
        multimask_output=multimask_output,
    )
    check_masks(sam, *iou_predictions.shape, picture["original_size"])
    logits = sam.postprocess_masks(low_res_logits, picture["image"].shape[-2:], picture["original_size"])
    masks = logits > sam.mask_threshold  # (B, K, H, W)
    return {"masks": masks, "iou_predictions": iou_predictions, "low_res_logits": low_res_logits}


def check_batch(batched_input: Any, sizes: tuple[int, int], labels: tuple[int, ...], device: torch.device) -> list:
    """A list of dicts → the same list with every tensor on ``device``.

    ``sizes``: side of the input frame and of the low-res frame in pixels (1024, 256); ``labels``: those that the
    prompt encoder knows. Boxes (B, 4) become (B, 1, 4). Raises TypeError or ValueError.
    """
    if isinstance(batched_input, Mapping) or not isinstance(batched_input, (list, tuple)):
        raise TypeError(
            f"batched_input is a {type(batched_input).__name__}: a list of dicts is expected, one for each picture"
        )
    if not batched_input:
        raise ValueError("batched_input is empty: it needs one dict for each picture")
    return [_Picture(index, given, *sizes).checked(labels, device) for index, given in enumerate(batched_input)]


class _Picture:
    """One dict of the list, and the sentence that an error begins with."""

    def __init__(self, index: int, given: Any, image_size: int, low_res_size: int) -> None:
        self.where, self.image_size, self.low_res_size = f"batched_input[{index}]", image_size, low_res_size
        if not isinstance(given, Mapping):
            raise TypeError(f"{self.where} is a {type(given).__name__}: a dict with the key 'image' is expected")
        self.given = given

    def checked(self, labels: tuple[int, ...], device: torch.device) -> dict[str, Any]:
        self.check_keys()
        checked = {"image": self.image(), "original_size": self.original_size()}
        checked |= {"point_coords": self.prompt("point_coords", 3, "(B, N, 2)")}
        checked |= {"point_labels": self.prompt("point_labels", 2, "(B, N)")}
        checked |= {"boxes": self.boxes(), "mask_inputs": self.prompt("mask_inputs", 4, "(B, 1, h, w)")}
        self.check_points(checked["point_coords"], checked["point_labels"], labels)
        self.check_boxes(checked["boxes"])
        self.check_masks(checked["mask_inputs"])
        counts = {key: len(value) for key, value in checked.items() if key in KEYS[2:] and value is not None}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{self.where} has prompts for different numbers B of objects: {counts}")
        return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in checked.items()}

    def fail(self, key: str, what: str, kind: type[Exception] = ValueError) -> None:
        raise kind(f"{self.where}[{key!r}] {what}")

    def check_keys(self) -> None:
        """Keys of the caller's own are let through, as in the package; those that look like a slip are not."""
        for key in ("image", "original_size"):
            if self.given.get(key) is None:
                raise ValueError(f"{self.where} has no {key!r}: every picture needs it; the other keys are {KEYS[2:]}")
        for key in self.given:
            close = OTHER_NAMES.get(key) or next(iter(difflib.get_close_matches(str(key), KEYS, 1, 0.8)), key)
            if close != key and close not in self.given:
                raise ValueError(f"{self.where} has the key {key!r}, which would be ignored: did you mean {close!r}?")
        if self.given.get("text") is not None:
            self.fail("text", "would be ignored, for the released package's call has no text: give it to "
                              "SamPredictor.predict or to sam.decode_masks, as text=…")  # fmt: skip

    def image(self) -> Tensor:
        image = self.given["image"]
        if not isinstance(image, Tensor):
            self.fail("image", f"is a {type(image).__name__}: a tensor 3×h×w is expected, resized already", TypeError)
        if image.ndim != 3 or len(image) != 3:
            hint = "; image.permute(2, 0, 1) puts the channels first" if image.shape[-1] == 3 else ""
            hint = "; one dict for each picture, image[0]" if image.ndim == 4 else hint
            self.fail("image", f"has shape {tuple(image.shape)}: 3×h×w is expected{hint}")
        height, width = image.shape[-2:]
        if max(height, width) > self.image_size:
            self.fail("image", f"is {height}×{width}, more than the input frame of {self.image_size}: resize it first, "
                               "samlite.frames.ResizeLongestSide does")  # fmt: skip
        patch = 4 * self.image_size // self.low_res_size
        if min(height, width) < patch:
            self.fail("image", f"is {height}×{width}, less than one patch of {patch} pixels: crop the photo or cut it "
                               "into pieces")  # fmt: skip
        if image.dtype == torch.bool or image.is_complex():
            self.fail("image", f"is {image.dtype}: numbers in 0…255 are expected", TypeError)
        shares = image.is_floating_point()  # where 1 may stand for white
        image = image.float()
        self.check_finite("image", image)
        low, high = image.min().item(), image.max().item()
        if low < 0 or high > 255:
            self.fail("image", f"has values from {low:g} to {high:g}: RGB in 0…255 is expected, not yet normalised")
        if shares and 0 < high <= 1:
            self.fail("image", f"has values from {low:g} to {high:g}: RGB in 0…255 is expected; multiply it by 255")
        return image

    def original_size(self) -> tuple[int, int]:
        given = self.given["original_size"]
        try:
            size = tuple(int(side) for side in given)
        except (TypeError, ValueError):
            self.fail("original_size", f"is {given!r}: (height, width) is expected", TypeError)
        if len(size) != 2 or min(size) < 1:
            self.fail("original_size", f"is {size}: (height, width) is expected, each at least 1")
        height, width = self.given["image"].shape[-2:]
        scale = max(height, width) / max(size)
        if abs(height - size[0] * scale) > 1 or abs(width - size[1] * scale) > 1:
            self.fail("original_size", f"is {size}, which does not belong to an image of {height}×{width}: "
                                       "(height, width) of the photo before it was resized is expected")  # fmt: skip
        return size

    def prompt(self, key: str, axes: int, shape: str) -> Tensor | None:
        value = self.given.get(key)
        if value is None:
            return None
        if not isinstance(value, Tensor):
            self.fail(key, f"is a {type(value).__name__}: a tensor {shape} is expected", TypeError)
        if value.ndim != axes or 0 in value.shape:
            hint = ": [None] in front makes a batch of one object" if value.ndim == axes - 1 else ""
            self.fail(key, f"has shape {tuple(value.shape)}, {shape} is expected{hint}")
        return value

    def boxes(self) -> Tensor | None:
        value = self.given.get("boxes")
        if isinstance(value, Tensor) and value.ndim == 3:  # several boxes around one object
            return self.prompt("boxes", 3, "(B, M, 4)").float()
        value = self.prompt("boxes", 2, "(B, 4)")
        return None if value is None else value.float()[:, None]  # (B, 4) → (B, 1, 4)

    def check_points(self, points: Tensor | None, labels: Tensor | None, known: tuple[int, ...]) -> None:
        if points is None and labels is None:
            return
        if points is None or labels is None:
            here, missing = ("point_coords", "point_labels") if labels is None else ("point_labels", "point_coords")
            self.fail(here, f"came without {missing!r}: every point (x, y) needs a label, 1 or 0")
        if points.shape != (*labels.shape, 2):
            self.fail("point_coords", f"has shape {tuple(points.shape)} and 'point_labels' {tuple(labels.shape)}: "
                                      "(B, N, 2) and (B, N) are expected")  # fmt: skip
        unlike = labels.float()[..., None] != torch.tensor(known, device=labels.device)  # as uint8 −1 would be 255
        wrong = labels[unlike.all(-1)]
        if len(wrong):
            self.fail("point_labels", f"has {wrong[0].item():g}: a label is one of {known}")
        places = points[labels >= 0]  # a padding point's place does not count
        self.check_finite("point_coords", places)
        self.check_inside("point_coords", places)

    def check_boxes(self, boxes: Tensor | None) -> None:
        if boxes is None:
            return
        if boxes.shape[-1] != 4:
            self.fail("boxes", f"has shape {tuple(self.given['boxes'].shape)}, (B, 4) is expected: x1, y1, x2, y2")
        self.check_finite("boxes", boxes)
        wrong = boxes[(boxes[..., 2:] <= boxes[..., :2]).any(-1)]
        if len(wrong):
            self.fail("boxes", f"has {_numbers(wrong[0])}, whose second corner is not right of and below the first: "
                               "x1, y1, x2, y2 is expected; did you pass x, y, width, height?")  # fmt: skip
        self.check_inside("boxes", boxes.reshape(-1, 2))

    def check_masks(self, masks: Tensor | None) -> None:
        if masks is None:
            return
        if tuple(masks.shape[1:]) != (1, self.low_res_size, self.low_res_size):
            size = self.low_res_size
            self.fail("mask_inputs", f"has shape {tuple(masks.shape)}, (B, 1, {size}, {size}) is expected: low-res "
                                     "logits, as a former answer holds them; samlite.masks.mask_to_logits makes "
                                     "them from a binary mask")  # fmt: skip
        if not masks.is_floating_point():
            self.fail("mask_inputs", f"is {masks.dtype}: float logits are expected", TypeError)
        self.check_finite("mask_inputs", masks)
        highest = masks.max()
        if highest in (0, 1, 255) and ((masks == 0) | (masks == highest)).all():
            self.fail("mask_inputs", f"holds nothing but 0 and {highest.item():g}, a binary mask: low-res logits are "
                                     "expected; samlite.masks.mask_to_logits makes them")  # fmt: skip

    def check_finite(self, key: str, values: Tensor) -> None:
        wrong = int((~values.isfinite()).sum())
        if wrong:
            self.fail(key, f"has {wrong} values that are NaN or infinite: every number must be finite")

    def check_inside(self, key: str, points: Tensor) -> None:
        height, width = self.given["image"].shape[-2:]
        limit = torch.tensor([width, height], device=points.device)
        outside = points[((points < -0.5) | (points > limit + 0.5)).any(-1)]
        if len(outside):
            self.fail(key, f"has {_numbers(outside[0])}, outside the picture, which is {width} wide and {height} high "
                           "in the input frame: ResizeLongestSide's apply_coords_torch and apply_boxes_torch lead "
                           "there from the photo")  # fmt: skip


def _numbers(row: Tensor) -> str:
    return "(" + ", ".join(f"{value:g}" for value in row.tolist()) + ")"
