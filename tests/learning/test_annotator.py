"""The simulated annotator: exact by hand, good enough by clicks, and every second of it counted."""

import numpy as np
import pytest
import torch

from samlite.learning.annotator import Prices, Work, correct_proposals, correcting_click, draw_by_hand
from samlite.learning.easy_scenes import easy_scenes
from samlite.sam import Sam

SIZE = 64


class Tracing(Sam):
    """A model that knows the truth: it answers click n with the object shrunk so far that its IoU is ``ious[n − 1]``.

    Its three candidates are an empty mask, a full one, and that answer.
    """

    image_size = SIZE

    def __init__(self, truth: torch.Tensor, ious: list[float]) -> None:
        torch.nn.Module.__init__(self)
        self.truth, self.ious, self.asked = truth, ious, []

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 1, 1, 1)

    def decode_masks(self, embedding, points, labels, mask=None):
        self.asked.append((points, labels, mask))
        answers = []
        for clicks in points:
            x, y = clicks[0].long().tolist()  # the first click lies in the object
            (owner,) = torch.nonzero(self.truth[:, y, x])[0].tolist()
            pixels = torch.nonzero(self.truth[owner])
            kept = pixels[: round(len(pixels) * self.ious[points.shape[1] - 1])]
            answer = torch.full((SIZE, SIZE), -1.0)
            answer[kept[:, 0], kept[:, 1]] = 1.0
            answers.append(torch.stack([torch.full_like(answer, -1.0), torch.ones_like(answer), answer]))
        return torch.stack(answers), torch.zeros(len(points), 3)


@pytest.fixture
def scene():
    return easy_scenes(1, torch.Generator().manual_seed(3), SIZE)[0]


def test_the_prices_are_those_of_their_sources() -> None:
    prices = Prices()
    assert prices.polygon == pytest.approx(79.2)  # 22 worker hours for 1,000 masks
    assert 4 * prices.click == 7


def test_work_adds_up_and_is_priced() -> None:
    work = Work(masks=2, polygons=1, clicks=3, looks=2) + Work(masks=1, clicks=1, looks=1)
    assert work == Work(3, 1, 4, 3)
    assert work.seconds(Prices(polygon=100, click=10, look=1)) == 100 + 40 + 3


def test_drawing_by_hand_is_exact_and_costs_a_polygon_a_mask(scene) -> None:
    drawn = draw_by_hand(scene.image, scene.objects)
    assert torch.equal(drawn.masks, scene.objects)
    assert drawn.work == Work(masks=len(scene.objects), polygons=len(scene.objects))


def test_the_first_click_lies_in_the_object_and_a_correction_in_the_widest_mistake() -> None:
    truth = np.zeros((20, 20), dtype=bool)
    truth[2:12, 2:12] = True
    x, y, label = correcting_click(np.zeros_like(truth), truth)
    assert truth[y, x] and label == 1
    too_much = truth.copy()
    too_much[12:20] = True
    x, y, label = correcting_click(too_much, truth)
    assert label == 0 and y >= 12
    with pytest.raises(ValueError, match="nothing to correct"):
        correcting_click(truth, truth)


def test_a_good_proposal_costs_one_click_and_is_taken_as_it_is(scene) -> None:
    sam = Tracing(scene.objects, [0.9])
    annotated, corrections = correct_proposals(sam, scene.image, scene.objects, good_enough=0.85)
    count = len(scene.objects)
    assert annotated.work == Work(masks=count, polygons=0, clicks=count, looks=count)
    assert not torch.equal(annotated.masks, scene.objects)  # the model's masks, with their faults
    assert all(len(each.ious) == 1 and not each.drawn for each in corrections)


def test_corrections_hand_everything_back_and_stop_when_it_is_good(scene) -> None:
    sam = Tracing(scene.objects, [0.3, 0.6, 0.95])
    annotated, corrections = correct_proposals(sam, scene.image, scene.objects, good_enough=0.85)
    count = len(scene.objects)
    assert annotated.work == Work(masks=count, clicks=3 * count, looks=3 * count)
    assert [asked[0].shape[1] for asked in sam.asked] == [1, 2, 3]  # all clicks so far
    assert sam.asked[0][2] is None and sam.asked[1][2].shape == (count, 1, SIZE, SIZE)  # and the last logits
    for (points, labels, _), annotation in zip(sam.asked, range(3), strict=True):
        at = points[:, annotation].long()
        inside = scene.objects[torch.arange(count), at[:, 1], at[:, 0]]
        assert torch.equal(inside.long(), labels[:, annotation])
    assert all(each.ious == sorted(each.ious) for each in corrections)


def test_what_no_click_mends_is_drawn_after_all(scene) -> None:
    annotated, corrections = correct_proposals(
        Tracing(scene.objects, [0.2, 0.2]), scene.image, scene.objects, good_enough=0.85, most_clicks=2
    )
    count = len(scene.objects)
    assert annotated.work == Work(masks=count, polygons=count, clicks=2 * count, looks=2 * count)
    assert torch.equal(annotated.masks, scene.objects) and all(each.drawn for each in corrections)
