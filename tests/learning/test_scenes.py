"""Generated scenes: the same from the same seed, nested labels, flat colours that know the labels."""

import pytest
import torch
from skimage import measure

from samlite.learning.draw import Draw
from samlite.learning.scene_colours import PALETTE, Colouring
from samlite.learning.scenes import SceneGenerator, connected

CPU = torch.device("cpu")


def make(seed: int, size: int = 48, batch: int = 6, detail: float = 1.0):
    return SceneGenerator(size)(batch, torch.Generator().manual_seed(seed), detail)


def test_shapes_and_ranges():
    scenes = make(0)
    assert scenes.images.shape == (6, 3, 48, 48) and scenes.labels.shape == (6, 3, 48, 48)
    assert scenes.images.min() >= 0 and 100 < scenes.images.max() <= 255
    assert torch.isfinite(scenes.images).all() and scenes.labels.min() >= 0


def test_same_seed_same_scenes_and_other_seed_others():
    one, again, other = make(1), make(1), make(2)
    assert torch.equal(one.images, again.images) and torch.equal(one.labels, again.labels)
    assert not torch.equal(one.images, other.images)


def test_a_subpart_lies_in_one_part_and_a_part_in_one_whole():
    labels = make(3, batch=20).labels
    for scene in labels:
        for inner, outer in ((0, 1), (1, 2)):
            for region in scene[inner].unique():
                assert len(scene[outer][scene[inner] == region].unique()) == 1


def test_a_region_is_in_one_piece():
    for level in make(8, batch=6).labels.flatten(0, 1).numpy():
        pieces = measure.label(level, background=-1, connectivity=1)
        pairs = set(zip(pieces.flatten(), level.flatten(), strict=True))
        assert len(pairs) == pieces.max() == len(set(level.flatten()))


def test_what_others_cut_in_two_is_two_regions():
    striped = torch.zeros(1, 3, 6, 6, dtype=torch.long)
    striped[..., 2:4] = 5
    assert [len(level.unique()) for level in connected(striped)[0]] == [3, 3, 3]
    touching_at_a_corner = torch.eye(4, dtype=torch.long).expand(1, 3, 4, 4)
    assert len(connected(touching_at_a_corner)[0, 0].unique()) == 4 + 2


def test_scale_makes_shapes_smaller():
    """Of four shapes the first is the background: the smaller the other three, the more of it is seen."""
    seen = []
    for scale in (0.5, 1.0):
        generator, draw = SceneGenerator(48, 4, fewest=4, scale=scale), Draw(torch.Generator().manual_seed(5), CPU)
        on_top = generator._paint(draw, generator._pile(draw, 40))["shape"]
        seen.append((on_top == 0).float().mean())
    assert 1 - seen[0] < 0.5 * (1 - seen[1])


def test_some_pictures_have_few_colours():
    draw = Draw(torch.Generator().manual_seed(0), CPU)
    nothing, objects = torch.zeros(100, 3, 4, 4, dtype=torch.long), torch.zeros(100, 30, dtype=torch.long)
    colours = Colouring(draw, {}, nothing, objects).object_colours()
    counts = [len(picture.unique(dim=0)) for picture in colours]
    assert sum(count <= PALETTE for count in counts) in range(25, 55) and sum(count == 30 for count in counts) > 40


def test_an_object_is_three_shapes_at_most():
    pile = SceneGenerator(16, 40, fewest=40)._pile(Draw(torch.Generator().manual_seed(1), CPU), 50)
    sizes = torch.cat([row.unique(return_counts=True)[1] for row in pile["object"]])
    assert sizes.max() == 3 and (sizes == 1).any() and (sizes == 2).any()


def test_subparts_differ_in_brightness_and_parts_in_hue():
    """The colours of a part's subparts are multiples of each other; those of an object's parts are not."""
    nothing, objects = torch.zeros(20, 3, 4, 4, dtype=torch.long), torch.arange(9).expand(20, -1)
    leaves = Colouring(Draw(torch.Generator().manual_seed(2), CPU), {}, nothing, objects).leaf_colours()
    hues = torch.nn.functional.normalize(leaves.clamp(max=1.19), dim=-1).view(20, 9, 3, 3, 3)  # shape, part, subpart
    clear = (leaves < 1.19).all(-1).view(20, 9, 3, 3).all(-1)  # nothing was cut off
    within = (hues[..., :1, :] - hues).norm(dim=-1).amax(-1)  # (20, 9, 3 parts)
    between = (hues[..., :1, 0, :] - hues[..., 0, :]).norm(dim=-1)
    assert within[clear].max() < 1e-4 < 0.03 < between[..., 1:].mean()
    brightness = leaves.view(20, 9, 3, 3, 3).mean(-1)
    assert (brightness.amax(-1) / brightness.amin(-1))[clear].median() > 1.5


def test_clicks_are_truly_ambiguous_in_many_places():
    """In a good share of the pixels subpart, part and whole are three different regions."""
    labels = make(4, batch=40).labels
    areas = torch.stack(
        [torch.stack([torch.bincount(m.flatten())[m] for m in scene]) for scene in labels]
    ).float()  # (B, 3, R, R)
    different = (areas[:, 0] < 0.8 * areas[:, 1]) & (areas[:, 1] < 0.8 * areas[:, 2])
    assert different.float().mean() > 0.2


def test_piles_differ_in_number():
    counts = [len(scene[2].unique()) for scene in make(5, batch=40).labels]
    assert min(counts) <= 4 and max(counts) >= 10


def test_a_full_pile_has_smaller_regions():
    generator = torch.Generator().manual_seed(5)
    crowded = SceneGenerator(48, shapes=28, fewest=20)(20, generator)
    regions = [len(scene[2].unique()) for scene in crowded.labels]
    assert sum(regions) > 1.5 * sum(len(scene[2].unique()) for scene in make(5, batch=20).labels)


@pytest.mark.parametrize(("detail", "larger"), [(0.0, False), (1.0, True)])
def test_detail_is_what_varies_inside_a_subpart(detail, larger):
    scenes = make(6, batch=20, detail=detail)
    spread = []
    for image, labels in zip(scenes.images, scenes.labels[:, 0], strict=True):
        region = labels == labels.flatten().mode().values
        eroded = -torch.nn.functional.max_pool2d(-region[None].float(), 7, 1, 3)[0] > 0  # away from blurred edges
        if eroded.sum() > 30:
            spread.append(float(image[:, eroded].std(-1).mean()))
    assert len(spread) > 5
    assert (sum(spread) / len(spread) > 4) is larger


def test_large_batches_do_not_depend_on_how_they_are_cut(monkeypatch):
    """Scenes are made a few at a time on a CPU; the number at a time is part of what the seed means, so it is fixed."""
    from samlite.learning import scenes

    assert scenes.CACHED_PIXELS == 16384
    first = make(7, size=64, batch=16)
    longer = make(7, size=64, batch=20)
    assert torch.equal(first.images, longer.images[:16])
