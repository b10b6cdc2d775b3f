"""Losses of promptable segmentation (paper §3 and appendix A; the document is silent).

Letters: B prompts, K candidate masks (3), J right answers (targets), H W the low-res mask frame.
"""

from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

FOCAL_WEIGHT = 20.0  # focal : dice = 20 : 1 (paper)
FOCAL_GAMMA = 2.0
FOCAL_ALPHA = 0.5  # even weight to mask and background; 0.25 keeps small masks empty
MEAN_SHARE = 0.05  # of the mean over masks beside the minimum, so that no mask is left without a gradient


def pairwise_mask_loss(
    logits: Float[Tensor, "b k h w"],
    targets: Float[Tensor, "b j h w"],
    focal_weight: float | int = FOCAL_WEIGHT,
    gamma: float | int = FOCAL_GAMMA,
    alpha: float | int = FOCAL_ALPHA,
) -> Float[Tensor, "b k j"]:
    """20 · focal + dice of every mask against every target.

    Targets may be fractions: the covered share of each low-res pixel. Focal loss and dice's overlap are linear in the
    target, so all K × J pairs cost one matrix product each; dice's denominator holds the target as a sum.
    """
    logits, targets = rearrange(logits, "b k h w -> b k (h w)"), rearrange(targets, "b j h w -> b j (h w)")
    probability = logits.sigmoid()
    if_mask = alpha * (1 - probability) ** gamma * F.softplus(-logits)
    if_background = (1 - alpha) * probability**gamma * F.softplus(logits)
    focal = (
        if_background.mean(-1)[..., None]
        + einsum(if_mask - if_background, targets, "b k p, b j p -> b k j") / (logits.shape[-1])
    )
    overlap = einsum(probability, targets, "b k p, b j p -> b k j")
    total = probability.sum(-1)[..., None] + targets.sum(-1)[:, None]
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return focal_weight * focal + dice


def minimum_over_masks(pairwise: Float[Tensor, "b k 1"], mean_share: float | int = MEAN_SHARE) -> Float[Tensor, " b"]:
    """One right answer: the loss of the mask that comes nearest, plus a small share of the mean over masks.

    Paper §3: "backpropagate only the minimum loss over masks". The share of the mean keeps every mask alive.
    """
    return (1 - mean_share) * pairwise.amin((1, 2)) + mean_share * pairwise.mean((1, 2))


def level_by_level(pairwise: Float[Tensor, "b k k"]) -> Float[Tensor, " b"]:
    """As many right answers as masks: the first mask answers for the first, the second for the second, and so on.

    A generated scene knows the subpart, the part and the whole under a click. Giving each mask its level breaks the
    symmetry between the masks at once; with a minimum over all assignments in its place the three stayed alike.
    """
    return pairwise.diagonal(dim1=1, dim2=2).mean(-1)


def pairwise_iou(logits: Float[Tensor, "b k h w"], targets: Float[Tensor, "b j h w"]) -> Float[Tensor, "b k j"]:
    """Intersection over union of every thresholded mask with every thresholded target; 0 where both are empty."""
    masks = rearrange((logits > 0).float(), "b k h w -> b k (h w)")
    answers = rearrange((targets > 0.5).float(), "b j h w -> b j (h w)")
    overlap = einsum(masks, answers, "b k p, b j p -> b k j")
    union = masks.sum(-1)[..., None] + answers.sum(-1)[:, None] - overlap
    return overlap / union.clamp(min=1)


def iou_loss(predicted: Float[Tensor, "b k"], actual: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """Squared error of the predicted IoU, mean over masks (paper: "mean-square-error")."""
    return ((predicted - actual) ** 2).mean(-1)
