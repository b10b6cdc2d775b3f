"""Words and scenes: what may be said, and that a scene holds what its description says."""

import pytest
import torch

from samlite.learning.text import shapes
from samlite.learning.text.contrastive import SEEN_NUMBERS
from samlite.learning.text.vocabulary import COLOURS, HELD_OUT, PAIRS, SEEN, SHAPES, WORDS, Tokenizer, describe


def scenes_of(pairs, size=64, seed=0, objects=4, **options):
    generator = torch.Generator().manual_seed(seed)
    first = torch.tensor(pairs)
    return shapes.make_scenes(shapes.choose_pairs(first, objects, SEEN_NUMBERS, generator), size, generator, **options)


def test_held_out_pairs_are_new_pairs_of_known_words():
    assert not set(SEEN) & set(HELD_OUT) and set(SEEN) | set(HELD_OUT) == set(PAIRS)
    assert sorted(colour for colour, _ in HELD_OUT) == list(range(len(COLOURS)))
    assert {colour for colour, _ in SEEN} == set(range(len(COLOURS)))
    assert {shape for _, shape in SEEN} == {shape for _, shape in HELD_OUT} == set(range(len(SHAPES)))


def test_phrases_become_numbers():
    words = Tokenizer()(["Red star!", "the red star"])
    assert words.shape == (2, 3)
    assert [WORDS[n] for n in words.flatten()] == ["red", "star", "", "the", "red", "star"]
    assert [describe((1, 1), form) for form in range(3)] == ["orange square", "an orange square", "the orange square"]


@pytest.mark.parametrize("phrase, said", [
    ("red dog", "does not know 'dog' in 'red dog'.*turquoise.*triangle"),
    ("rad star", "did you mean 'red'"),
    ("the", "finds no word to go by in 'the'"),
    ("", "finds no word"),
])  # fmt: skip
def test_unknown_words_get_the_list_of_known_ones(phrase, said):
    with pytest.raises(ValueError, match=said):
        Tokenizer()(phrase)


def test_what_is_no_phrase():
    with pytest.raises(TypeError, match="a phrase must be a string, not int"):
        Tokenizer()(["red star", 3])
    with pytest.raises(ValueError, match="there is no phrase"):
        Tokenizer()([])


def test_scenes_follow_from_their_seed():
    one, same, other = scenes_of([0, 9]), scenes_of([0, 9]), scenes_of([0, 9], seed=1)
    assert torch.equal(one.images, same.images) and torch.equal(one.masks, same.masks)
    assert not torch.equal(one.images, other.images)


def test_objects_are_apart_and_all_different():
    scenes = scenes_of(list(range(len(PAIRS))), objects=5)
    assert scenes.images.min() >= 0 and 200 < scenes.images.max() <= 255
    assert scenes.masks.flatten(2).any(-1).all() and scenes.masks.sum(1).max() == 1
    assert all(len(set(row)) == 5 for row in scenes.pairs.tolist())
    held_out = {PAIRS.index(pair) for pair in HELD_OUT}
    assert not held_out & set(scenes.pairs[:, 1:].flatten().tolist())
    table = torch.tensor(PAIRS)[scenes.pairs]
    alike = (table[:, :1] == table[:, 1:]).any(-1)
    assert alike.float().mean() > 0.5  # "red" alone is not enough to find the red star


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_shapes_look_like_their_name(shape):
    """Share of the square around it that each shape fills, and whether its middle is filled."""
    scenes = scenes_of([shape], 256, objects=1, detail=0)
    mask = scenes.masks[0, 0]
    x1, y1, x2, y2 = shapes.boxes_of(scenes.masks)[0, 0].long()
    middle = mask[(y1 + y2) // 2, (x1 + x2) // 2]
    assert bool(middle) == (SHAPES[shape] != "ring")
    diameter = 2 * torch.nonzero(mask).float().sub(torch.nonzero(mask).float().mean(0)).norm(dim=1).max()
    filled = mask.sum() / diameter**2
    low, high = {"circle": (0.75, 0.82), "square": (0.45, 0.55), "triangle": (0.28, 0.36), "star": (0.22, 0.36),
                 "ring": (0.5, 0.7), "cross": (0.4, 0.55)}[SHAPES[shape]]  # fmt: skip
    assert low < filled < high


def test_a_crop_shows_its_object():
    scenes = scenes_of([0, 20], 128, detail=0)
    boxes = shapes.boxes_of(scenes.masks)
    crops = shapes.crop(scenes.images, boxes, 32)
    assert crops.shape == (8, 3, 32, 32)
    for b in range(2):
        for q in range(4):
            colour = scenes.images[b][:, scenes.masks[b, q]].mean(-1)
            nearest = (crops[4 * b + q] - colour[:, None, None]).abs().sum(0).min()
            assert nearest < 20


def test_too_many_objects():
    with pytest.raises(ValueError, match="room for 1 to 9"):
        shapes.make_scenes(torch.zeros(1, 10, dtype=torch.long), 32, torch.Generator())
