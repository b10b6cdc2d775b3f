"""The pictures of chapter 01, and the border map."""

import numpy as np
import pytest

from samlite.notebook import overview, style


@pytest.fixture
def photo():
    return np.full((30, 40, 3), 128, np.uint8)


def square(x0, y0, x1, y1):
    mask = np.zeros((30, 40), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_borders_count_the_masks_and_leave_the_edge_of_the_photo_alone():
    masks = np.array([square(5, 5, 15, 15), square(5, 5, 25, 15), square(0, 0, 40, 30)])
    found = overview.borders(masks)
    assert found.shape == (30, 40) and found.max() == 2
    assert found[5, 8] == 2 and found[10, 14] == 1 and found[10, 24] == 1
    assert found[0].sum() == 0 and found[10, 10] == 0
    assert overview.borders(masks, width=2)[6, 8] == 2


def test_the_overview_shows_every_candidate_with_its_score(photo):
    masks = np.array([square(5, 5, 15, 15), square(5, 5, 25, 15), np.zeros((30, 40), bool)])
    figure = overview.overview(photo, (10, 10), masks, np.array([0.5, 0.25, 0.75]))
    words = [text.get_text() for text in figure.texts]
    assert [f"IoU {iou:.2f}" in " ".join(words) for iou in (0.5, 0.25, 0.75)] == [True] * 3
    assert np.asarray(style.drawn(figure)).std() > 0


def test_grids_of_answers(photo):
    mask = square(5, 5, 15, 15)
    figure = overview.answers_to_clicks({"one": (photo, (8, 8), mask), "two": (photo, (9, 9), mask)}, columns=3)
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["one", "two"]
    figure = overview.truths_and_candidates(
        photo, (8, 8), np.array([mask] * 3), np.array([mask] * 3), ["subpart", "part", "whole"], ["a", "b", "c"]
    )
    assert [axes.get_title() for axes in figure.axes] == ["subpart", "part", "whole", "a", "b", "c"]
