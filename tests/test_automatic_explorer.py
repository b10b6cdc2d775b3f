"""Chapter 12's sliders: they give what the generator gives, and say so in words and in code."""

import numpy as np
import pytest
import skimage.data

from samlite import SamAutomaticMaskGenerator, sam_model_registry
from samlite.notebook.automatic_explorer import AutomaticExplorer
from samlite.notebook.automatic_views import masks_of


@pytest.fixture(scope="module")
def explorer():
    model = sam_model_registry["tiny"]()
    explorer = AutomaticExplorer(skimage.data.coffee()[::2, ::2], model, points_per_side=5)
    explorer.model = model
    return explorer


@pytest.mark.parametrize("thresholds", [(0.4, 0.2, 0.7), (0.0, 0.0, 1.0), (0.45, 0.0, 0.3), (0.99, 0.0, 0.7)])
def test_the_sliders_give_the_generators_masks(explorer, thresholds):
    names = ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh")
    arguments = dict(zip(names, thresholds, strict=True))
    records = SamAutomaticMaskGenerator(explorer.model, 5, **arguments).generate(explorer.photo)
    kept = [explorer.records[index] for index in explorer.look(**arguments, smallest_area=0).kept]
    assert len(kept) == len(records)
    for ours, theirs in zip(kept, records, strict=True):
        assert np.array_equal(ours["segmentation"], theirs["segmentation"])


def test_the_code_beside_the_picture_gives_the_picture(explorer):
    explorer.look(pred_iou_thresh=0.35, stability_score_thresh=0.1, box_nms_thresh=0.8, smallest_area=2)
    names = {"SamAutomaticMaskGenerator": SamAutomaticMaskGenerator, "model": explorer.model, "photo": explorer.photo}
    exec(explorer.code, names)
    assert len(names["records"]) == len(explorer.kept) > 0
    assert min(record["area"] for record in names["records"]) >= 0.02 * explorer.photo.size / 3
    assert f"{len(explorer.kept)} of {len(explorer.records)} candidates" in explorer.words


def test_nothing_left_and_unknown_names(explorer):
    explorer.look(pred_iou_thresh=1.0)
    assert explorer.masks.shape == (0, *explorer.photo.shape[:2]) and "cover nothing" in explorer.words
    assert explorer.picture().data
    with pytest.raises(ValueError, match="no slider is called 'iou'"):
        explorer.look(iou=0.5)
    before = explorer.thresholds
    with pytest.raises(ValueError, match="box_nms_thresh=1.5 is not on its slider, which goes from 0 to 1"):
        explorer.look(pred_iou_thresh=0.5, box_nms_thresh=1.5)
    assert explorer.thresholds == before and explorer._at_rest


def test_one_picture_for_several_sliders(explorer, monkeypatch):
    drawn = []
    everything = "samlite.notebook.automatic_views.everything"
    original = __import__("samlite.notebook.automatic_views", fromlist=["everything"]).everything
    monkeypatch.setattr(everything, lambda *a, **k: drawn.append(1) or original(*a, **k))
    explorer.look(pred_iou_thresh=0.3, stability_score_thresh=0.0, box_nms_thresh=0.9)
    assert len(drawn) == 1
    explorer.sliders["pred_iou_thresh"].value = 0.5
    assert len(drawn) == 2


def test_large_masks_come_first():
    small, large = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    small[0, 0] = True
    assert masks_of([{"segmentation": small}, {"segmentation": large}], (4, 5)).sum((1, 2)).tolist() == [20, 1]
