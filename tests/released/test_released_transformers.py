"""The same random weights in `transformers.SamModel`, an implementation by other people, give the same numbers."""

import pytest
import torch
from reference import build, difference, given_prompts, relative_difference

from samlite.released.transformers_names import transformers_sam

pytest.importorskip("transformers", reason="`python -m samlite test` installs transformers")


def compare(sam, model, image, embedding, *, points, labels, boxes, mask):
    """Embedding, then point, box and mask prompts, with one and with three masks."""
    with torch.no_grad():
        reference = model.get_image_embeddings(image)
        assert difference(embedding, reference) < 5e-6
        for ours, other in (
            ({"points": points, "labels": labels}, {"input_points": points[:, None], "input_labels": labels[:, None]}),
            ({"boxes": boxes}, {"input_boxes": boxes}),
            ({"boxes": boxes, "mask": mask}, {"input_boxes": boxes, "input_masks": mask}),
        ):
            for multimask in (True, False):
                logits, iou = sam.decode_masks(embedding, **ours, multimask_output=multimask)
                out = model(image_embeddings=reference, **other, multimask_output=multimask)
                assert relative_difference(logits, out.pred_masks[:, 0]) < 1e-5
                assert difference(iou, out.iou_scores[:, 0]) < 1e-5


@pytest.mark.parametrize("name", ["tiny", "std", "std256"])
def test_small(name):
    sam = build(name)
    image = torch.randn(1, 3, sam.image_size, sam.image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding = sam.encode_image(image)
    compare(sam, transformers_sam(sam), image, embedding, **given_prompts(sam))
