"""Pictures of training, and the sliders on a loss."""

import numpy as np
import pytest
import torch

from samlite.learning.free_masks import free_masks, nested_answers
from samlite.notebook.loss_explorer import LossExplorer
from samlite.notebook.plots import to_photo
from samlite.notebook.style import drawn
from samlite.notebook.training_views import at_size, correction, curves, free_mask_rows, mask_grid
from samlite.sam import PIXEL_MEAN, PIXEL_STD

PHOTO = np.full((32, 32, 3), 120, np.uint8)
MASK = np.zeros((32, 32), bool)
MASK[8:20, 8:20] = True


def test_a_normalised_image_becomes_the_photo_again():
    photo = torch.randint(0, 256, (3, 8, 8)).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    assert np.array_equal(to_photo((photo - mean) / std), photo.permute(1, 2, 0).byte().numpy())


def test_masks_grow_to_the_size_of_the_picture():
    logits = torch.full((8, 8), -1.0)
    logits[:, 4:] = 1
    mask = at_size(logits, 32)
    assert mask.shape == (32, 32) and mask[:, 16:].all() and not mask[:, :16].any()


def test_every_panel_says_what_it_shows():
    figure = curves([("title", "steps", "IoU", {"one": ([0, 1], [0.1, 0.2]), "two": (torch.arange(2), torch.ones(2))})])
    (axes,) = figure.axes
    assert axes.get_title() == "title" and axes.get_xlabel() == "steps"
    one, two = axes.lines
    assert one.get_linestyle() != two.get_linestyle()  # not by colour alone
    figure = mask_grid([PHOTO, PHOTO], [[MASK, ~MASK]] * 2, ["before", "after"], ["a", "b"], [[(3, 4, 1)], [(5, 6, 0)]])
    assert [axes.get_title() for axes in figure.axes] == ["before", "after", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "", "b", ""]
    figure = correction(PHOTO, MASK, np.roll(MASK, 4, 0), torch.rand(8, 8), (10, 9, 1), [(12, 12, 1)])
    assert len(figure.axes) == 4 and drawn(figure).size[0] > 100


def test_rows_of_free_masks_name_the_answer_that_each_knows():
    answers = nested_answers()
    maps, overlap = 6 * answers - 3, torch.eye(3)
    titles = [axes.get_title() for axes in free_mask_rows({"levels": (maps, overlap)}, answers).axes]
    assert titles == ["subpart", "part", "whole", "subpart, IoU 1.00", "part, IoU 1.00", "whole, IoU 1.00"]


def test_sliders_and_code_are_two_ways_to_the_same_masks():
    explorer = LossExplorer()
    before = explorer.shown.value
    explorer.controls["mean_share"].value = 1.0
    assert explorer.shown.value != before and explorer.shown.alt == explorer.describe()
    names: dict = {}
    exec("from samlite.learning.free_masks import *", names)
    exec(explorer.code, names)
    assert torch.equal(names["maps"], explorer.maps)
    explorer.set(mean_share=0.05)
    assert torch.equal(explorer.maps, free_masks(nested_answers())[0])
    for changes, message in (
        ({"beta": 1}, "there is no 'beta' to set"),
        ({"alpha": 2}, "alpha=2 is not on its slider"),
    ):
        with pytest.raises(ValueError, match=message):
            explorer.set(**changes)
    assert "mean_share=0.05" in repr(explorer)
