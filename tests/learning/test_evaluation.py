"""The yardstick measures what it says."""

import numpy as np
import pytest
import torch
from PIL import Image

from samlite import SamAutomaticMaskGenerator, sam_model_registry
from samlite.learning import evaluation
from samlite.learning.baselines import baselines
from samlite.learning.scenes import SceneGenerator
from samlite.masks import mask_iou
from samlite.predictor import SamPredictor
from samlite.sam import document_sam

SIZES = {"patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_heads": 4, "decoder_mlp": 64}


@pytest.fixture
def folder(tmp_path):
    """Two photos of coloured quarters, each with two people's label maps."""
    for name in ("one", "two"):
        labels = np.zeros((40, 60), np.uint8)
        labels[:20, 30:], labels[20:, :30], labels[20:, 30:] = 1, 2, 3
        colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30]], np.uint8)
        Image.fromarray(colours[labels]).save(tmp_path / f"{name}.jpg", quality=95)
        Image.fromarray(labels).save(tmp_path / f"{name}.0.png")
        Image.fromarray((labels > 1).astype(np.uint8)).save(tmp_path / f"{name}.1.png")
    return tmp_path


class Perfect:
    """Knows the first photo's label maps: one mask for each person, the first one selected."""

    def __init__(self, folder):
        self.maps = [np.asarray(Image.open(folder / f"one.{k}.png")) for k in (0, 1)]

    def set_image(self, photo):
        assert photo.shape == (40, 60, 3)

    def predict(self, points, labels):
        ((x, y),) = points
        return np.stack([m == m[y, x] for m in self.maps]), np.array([1.0, 0.0]), None


def test_a_perfect_model_scores_one(folder):
    result = evaluation.evaluate_photos(Perfect(folder), folder)
    assert result["targets"] == 2 * (4 + 2) and result["oracle"] == 1 and result["share above 0.75"] == 1
    assert 0.5 < result["selected"] < 1  # it always selects the first person's region


def test_baselines_on_flat_colours(folder):
    results = {name: evaluation.evaluate_photos(baseline, folder) for name, baseline in baselines().items()}
    assert results["flood fill"]["oracle"] > results["three discs"]["oracle"]
    assert results["superpixels (Felzenszwalb 2004)"]["oracle"] > results["three discs"]["oracle"]
    assert results["three discs"]["share above 0.75"] < 0.5


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="NAME.0.png"):
        evaluation.evaluate_photos(baselines()["three discs"], tmp_path)


def test_photos_without_a_target_are_not_counted(folder):
    labels = np.zeros((40, 60), np.uint8)
    labels[5, 5] = 1
    (folder / "masks").mkdir()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "speck.jpg")
    Image.fromarray(labels).save(folder / "masks" / "speck.png")
    discs = baselines()["three discs"]
    assert evaluation.evaluate_photos(discs, folder)["photos"] == 2
    with pytest.raises(ValueError, match="no mask of the 3 photos of .* covers at least 90.00% of its photo"):
        evaluation.evaluate_photos(discs, folder, smallest=0.9)
    with pytest.raises(ValueError, match="count is 0: at least one scene"):
        evaluation.evaluate_scenes(document_sam(image_size=32, **SIZES), 0)
    with pytest.raises(ValueError, match="no target"):
        evaluation.Scores([], []).summary()


def test_a_model_goes_through_the_predictor(folder):
    torch.manual_seed(0)
    sam = document_sam(image_size=32, **SIZES).eval()
    result = evaluation.evaluate_photos(SamPredictor(sam), folder)
    assert result["photos"] == 2 and 0 <= result["selected"] <= result["oracle"] <= 1


def test_scene_figures_are_complete_and_repeatable():
    torch.manual_seed(0)
    sam = document_sam(image_size=32, **SIZES).eval()
    one, again = (evaluation.evaluate_scenes(sam, count=6, clicks=2, batch=3) for _ in range(2))
    assert one == again
    assert one["3 clicks"]["targets"] == 12 and set(one) >= {"1 click", "box", "rough mask and click", "levels"}


def test_levels_are_recognised_only_one_to_one():
    answers = torch.zeros(1, 3, 16, 16)
    answers[0, 0, :4, :4], answers[0, 1, :8, :8], answers[0, 2, :, :12] = 1, 1, 1
    perfect = answers[:, [2, 0, 1]] * 2 - 1
    assert evaluation._levels(perfect, answers) == (1, 1)
    twice_the_same = answers[:, [2, 2, 1]] * 2 - 1
    assert evaluation._levels(twice_the_same, answers) == (1, 0)
    assert evaluation._levels(perfect, answers[:, [0, 0, 2]]) == (0, 0)  # not three different answers


def test_most_automatic_masks_of_tiny_are_regions():
    """At the thresholds that models trained here carry; the released ones would let next to nothing pass."""
    sam = sam_model_registry["tiny"]()
    scenes = SceneGenerator(sam.image_size, shapes=28, fewest=8)(3, torch.Generator().manual_seed(77))
    best, at_released = [], 0
    for image, labels in zip(scenes.images, scenes.labels, strict=True):
        photo = image.permute(1, 2, 0).byte().numpy()
        regions = [(level == number).numpy() for level in labels for number in level.unique()]
        records = SamAutomaticMaskGenerator(sam, 10).generate(photo)
        best += [max(float(mask_iou(record["segmentation"], region)) for region in regions) for record in records]
        at_released += sum(r["predicted_iou"] > 0.88 and r["stability_score"] >= 0.95 for r in records)
    assert at_released < 0.1 * len(best), (at_released, len(best))
    assert len(best) > 15 and np.mean(np.array(best) > 0.75) > 0.75
