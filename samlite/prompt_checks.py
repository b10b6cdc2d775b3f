"""What a person hands to ``SamPredictor.predict``, checked: arrays of the right shape, or an error that says why not.

Every function takes the argument as it was given and returns a float64 array (labels: int64), still in pixels of the
original photo. What ``predict_torch`` is given is not checked but for its labels; `samlite.batched_call` checks the
tensors of ``sam(batched_input, …)`` by rules of its own.

A coordinate belongs to the photo when 0 ≤ x ≤ W and 0 ≤ y ≤ H. The far edge itself counts, for many write a box over
the whole photo as (0, 0, W, H).
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Num, Shaped

MOST_LISTED = 5  # so many wrong points a message shows


def check_points(
    point_coords: Any, point_labels: Any, original_size: tuple[int, int]
) -> tuple[Float[np.ndarray, "n 2"], Int[np.ndarray, " n"]]:
    """N points and N labels, both given, inside the photo, labels 1 or 0."""
    if point_labels is None:
        raise ValueError(
            "point_coords was given without point_labels: every point needs a label, 1 (object) or 0 (not)"
        )
    if point_coords is None:
        raise ValueError("point_labels was given without point_coords: every label needs a point (x, y)")
    points, labels = _numbers(point_coords, "point_coords"), _numbers(point_labels, "point_labels")
    shapes = f"point_coords has shape {points.shape} and point_labels {labels.shape}"
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{shapes}: (N, 2) and (N,) are expected; a single point is [[x, y]] with the labels [1]")
    if labels.shape != (len(points),):
        raise ValueError(f"{shapes}: one label per point is expected, (N, 2) and (N,)")
    if len(points) == 0:
        raise ValueError(f"{shapes}: there is no point in it; leave both out, or give at least one point")
    _check_finite(points, "point_coords", "(x, y)")
    _check_inside(points, points, "point_coords", original_size, "points are (x, y), x to the right, not (row, column)")
    wrong = labels[~np.isin(labels, (0, 1))]
    if len(wrong):
        raise ValueError(
            f"point_labels has {_listed(wrong)}: a label is 1 (the point is on the object) or 0 (it is not)"
        )
    return points, labels.astype(np.int64)


def check_box(box: Any, original_size: tuple[int, int]) -> Float[np.ndarray, "1 4"]:
    """One box (x1, y1, x2, y2), shape (4,) or (1, 4)."""
    corners = _numbers(box, "box")
    if corners.ndim == 2 and corners.shape[1] == 4 and len(corners) > 1:
        raise ValueError(
            f"box has shape {corners.shape}, {len(corners)} boxes: predict takes one. For several boxes around one "
            "object pass boxes=; for one mask set per box call predict_torch with boxes of shape (B, 4) in the input "
            "frame (predictor.transform.apply_boxes_torch)"
        )
    if corners.shape not in ((4,), (1, 4)):
        raise ValueError(f"box has shape {corners.shape}: (x1, y1, x2, y2) is expected, shape (4,)")
    return check_boxes(corners.reshape(1, 4), original_size, name="box")


def check_boxes(boxes: Any, original_size: tuple[int, int], name: str = "boxes") -> Float[np.ndarray, "m 4"]:
    """M boxes (x1, y1, x2, y2), shape (M, 4): finite, x1 < x2 and y1 < y2, inside the photo."""
    corners = _numbers(boxes, name)
    if corners.ndim != 2 or corners.shape[1] != 4 or len(corners) == 0:
        raise ValueError(
            f"{name} has shape {corners.shape}: (M, 4) is expected, M boxes (x1, y1, x2, y2), M at least 1"
        )
    _check_finite(corners, name, "(x1, y1, x2, y2)")
    sides = corners[:, 2:] - corners[:, :2]
    wrong = corners[(sides <= 0).any(axis=1)]
    if len(wrong):
        raise ValueError(
            f"{name} has {_listed(wrong)}, whose second corner is not right of and below the first: (x1, y1, x2, y2) "
            "with x1 < x2 and y1 < y2 is expected; did you pass x, y, width, height?"
        )
    hint = "a box is (x1, y1, x2, y2); did you pass x, y, width, height? np.clip cuts a box that overhangs a little"
    _check_inside(corners, corners.reshape(-1, 2, 2), name, original_size, hint)
    return corners


def check_mask_input(mask_input: Any, low_res_size: int) -> Float[np.ndarray, "1 h w"]:
    """Low-res logits (1, 256, 256), as ``predict`` returns them: finite, and not a binary mask."""
    given = as_array(mask_input, "mask_input")
    helper = "predictor.mask_to_logits(mask) makes them from a binary mask of the photo's size"
    expected = f"logits of shape (1, {low_res_size}, {low_res_size}) are expected, a row of predict's low_res_logits"
    if given.shape != (1, low_res_size, low_res_size):
        raise ValueError(f"mask_input has shape {given.shape}: {expected} (low_res_logits[k:k + 1]); {helper}")
    if not np.issubdtype(given.dtype, np.floating):
        raise TypeError(f"mask_input is {given.dtype}: float {expected}; {helper}")
    logits = given.astype(np.float64)
    _check_finite(logits.reshape(-1, 1), "mask_input", "logits")
    if np.isin(logits, (0, 1)).all() or np.isin(logits, (0, 255)).all():
        raise ValueError(f"mask_input holds nothing but 0 and {logits.max():g}, a binary mask: {expected}; {helper}")
    return logits


def check_text(text: Any) -> Float[np.ndarray, "x e"]:
    """X text embeddings of width E, shape (X, E); a single one may be (E,)."""
    if isinstance(text, str):
        raise TypeError(
            "text is a string: pass its embedding, shape (E,), from the text encoder the model was trained on; for "
            f"tiny_text samlite.learning.text.load_text_model().embed_text({text!r:.40})"
        )
    embedding = _numbers(text, "text")
    if embedding.ndim not in (1, 2) or 0 in embedding.shape:
        raise ValueError(f"text has shape {embedding.shape}: (E,) or (X, E) is expected, X embeddings of width E")
    embedding = embedding.reshape(-1, embedding.shape[-1])
    _check_finite(embedding, "text", "embeddings")
    return embedding


def check_labels(point_labels: Num[torch.Tensor, "b n"], accepted: tuple[int, ...]) -> None:
    """Labels of ``predict_torch``, on any device. Raises ValueError for one that the prompt encoder does not know."""
    if point_labels.is_meta:
        return  # a shape without contents
    labels = point_labels.float()
    wrong = labels[(labels[..., None] != labels.new_tensor(accepted)).all(-1)]
    if len(wrong):
        raise ValueError(f"point_labels has {wrong[0].item():g}: a label is one of {accepted}")


def as_array(given: Any, name: str) -> Shaped[np.ndarray, "*any"]:
    """Lists, tuples, arrays, tensors of any device → an array of numbers or bool; anything else is a TypeError."""
    try:
        if isinstance(given, torch.Tensor):
            given = given.detach().cpu()
            given = given.float() if given.dtype == torch.bfloat16 else given  # numpy has no bfloat16
        array = np.asarray(given)
        if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
            raise TypeError(f"its type is {array.dtype}")
    except (TypeError, ValueError, RuntimeError) as error:  # lists of unequal length, or of tensors with gradients
        raise TypeError(f"{name} cannot be read as an array of numbers ({error}): it is {_short(given)}") from None
    return array


def _numbers(given: Any, name: str) -> Float[np.ndarray, "*any"]:
    return as_array(given, name).astype(np.float64)


def _check_finite(rows: np.ndarray, name: str, what: str) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} has NaN or infinite values in {np.count_nonzero(~finite)} of {len(rows)} {what}, the first is "
            f"{_short(rows[~finite][0])} at index {np.flatnonzero(~finite)[0]}: every number must be finite"
        )


def _check_inside(rows: np.ndarray, points: np.ndarray, name: str, original_size: tuple[int, int], hint: str) -> None:
    """``points``: the (x, y) of each row, (N, 2) or (N, corners, 2)."""
    height, width = original_size
    outside = ((points < 0) | (points > (width, height))).reshape(len(rows), -1).any(axis=1)
    if outside.any():
        raise ValueError(
            f"{name} has {_listed(rows[outside])} outside the photo, which is {width} wide and {height} high: {hint}"
        )


def _listed(rows: np.ndarray) -> str:
    shown = ", ".join(_short(row) for row in rows[:MOST_LISTED])
    return shown + (f" and {len(rows) - MOST_LISTED} more" if len(rows) > MOST_LISTED else "")


def _short(value: Any) -> str:
    """A number as 3 or 0.5, a row of them as (3, 0.5), anything else by its first characters."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return "(" + ", ".join(f"{number:g}" for number in value) + ")"
    if isinstance(value, np.number):
        return f"{value:g}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
