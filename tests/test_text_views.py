"""Pictures of text prompts, and the field that a phrase is typed into."""

import numpy as np
import pytest
import torch

from samlite import SamPredictor, document_sam
from samlite.learning.text import TextImageModel, measure
from samlite.learning.text.vocabulary import SEEN
from samlite.notebook import text_views


@pytest.fixture(scope="module")
def box():
    torch.manual_seed(0)
    sam = document_sam(
        image_size=32, patch_size=8, width=16, depth=1, heads=2, channels=16, decoder_heads=2, decoder_mlp=16,
        text_width=8,
    ).eval()  # fmt: skip
    words = TextImageModel(width=8, crop_size=16).eval()
    sam.prompt_encoder.trained_on_text = words.name
    return text_views.TextPromptBox(words, SamPredictor(sam), measure.held_out_scenes(SEEN, 3, 48))


def test_look_shows_what_the_code_gives(box):
    box.look("red star", scene=2)
    names = {"predictor": box.predictor, "photos": box.photos, "words": box.words}
    exec(box.code, names)
    assert np.array_equal(names["mask"], box.mask) and box.mask.shape == (48, 48)
    assert box.field.value == "red star" and box.choice.value == 2
    assert "“red star” in scene 2" in box.said.value and box.picture().alt == box.describe()


def test_what_is_typed_is_asked(box):
    box.look("red star", scene=0)
    box.field.value = "a blue ring"
    assert box.phrase == "a blue ring" and "a blue ring" in box.said.value
    before = box.shown.value
    box.choice.value = 1
    assert box.scene == 1 and box.shown.value != before
    assert box.shown.alt == box.describe() and box.shown.png.startswith(b"\x89PNG")


def test_an_unknown_word_is_said_and_changes_nothing(box):
    box.look("red star", scene=0)
    box.field.value = "red dog"
    assert "does not know &#x27;dog&#x27;" in box.said.value and box.phrase == "red star"
    box.field.value = "red star"  # what is shown already: the error goes
    assert "dog" not in box.said.value and "red star" in box.said.value
    with pytest.raises(ValueError, match="does not know 'dog'"):
        box.look("red dog")
    with pytest.raises(ValueError, match="there are 3"):
        box.look("red star", scene=3)


def test_a_photo_that_somebody_else_set_is_not_the_one_that_is_answered(box):
    box.look("red star", scene=0)
    mask, scores = box.mask, box.scores
    box.predictor.set_image(box.photos[1])
    box.look("red star")
    assert np.array_equal(box.mask, mask) and np.array_equal(box.scores, scores)
    box.predictor.reset_image()
    box.look("red star")
    assert np.array_equal(box.scores, scores)


def test_phrase_and_scene_together_are_asked_once(box, monkeypatch):
    box.look("red star", scene=0)
    asked, predict = [], box.predictor.predict
    monkeypatch.setattr(box.predictor, "predict", lambda **given: asked.append(box.scene) or predict(**given))
    box.look("a blue ring", scene=2)
    assert len(asked) == 1 and (box.field.value, box.choice.value) == ("a blue ring", 2) == (box.phrase, box.scene)


def test_the_object_that_is_covered(box):
    box.look("red star", scene=0)
    box.mask = box.scenes.masks[0, 1].numpy()
    assert box.covered() == box.scenes.phrase(0, 1)
    box.mask = np.zeros((48, 48), bool)
    assert box.covered() == "" and "covers no object" in box.describe()


def test_figures_hold_what_they_are_given():
    table = text_views.similarity_table(torch.eye(2, 3), torch.zeros(2, 3, 8, 8), ["a", "b", "c"])
    assert [text.get_text() for text in table.axes[0].texts] == ["1.0", "0.0", "0.0", "0.0", "1.0", "0.0"]
    rows = {"text prompt": {"right object": 0.9}, "chance": {"right object": 0.25}}
    figure = text_views.controls({"seen": rows, "never seen": rows})
    assert [text.get_text() for text in figure.axes[0].texts] == ["90%", "25%"] * 2
    assert "never seen: text prompt 90%, chance 25%" in text_views.controls_in_words({"never seen": rows})
    masks = np.zeros((2, 8, 8), bool)
    answers = text_views.answers_to_phrases(np.zeros((8, 8, 3), np.uint8), masks, ["a", "b"])
    assert [axes.get_title() for axes in answers.axes] == ["the scene", "“a”", "“b”"]
