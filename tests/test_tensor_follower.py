"""Following one prediction, and which of its steps depend on what."""

import numpy as np
import pytest
import torch

import samlite
from samlite.notebook import architecture_plots, style
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.steps import STEPS
from samlite.notebook.tensor_follower import TensorFollower, changed_steps, follow, how_it_is_drawn
from samlite.predictor import SamPredictor

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
OTHER = PHOTO[::-1].copy()


@pytest.fixture(scope="module")
def predictor():
    torch.manual_seed(0)
    small = samlite.document_sam(image_size=64, patch_size=8, width=32, depth=2, heads=2, channels=16, decoder_heads=2,
                                 decoder_mlp=32)  # fmt: skip
    return SamPredictor(small.eval())


@pytest.fixture(scope="module")
def ledger(predictor):
    return follow(predictor, PHOTO, point_coords=[(10, 20)], point_labels=[1], box=(5, 6, 30, 30),
                  mask_input=np.random.default_rng(1).normal(size=(1, 32, 32)).astype(np.float32))  # fmt: skip


def test_every_step_of_a_prediction_can_be_drawn(ledger):
    follower = TensorFollower(ledger, grid=8)
    assert {entry.name for entry in follower.entries} == set(STEPS) - {"text_tokens"}
    for number in range(len(follower.entries)):
        follower.look(number)
        assert follower.number == number
        assert np.asarray(style.drawn(follower.figure())).std() > 0
        assert " × ".join(map(str, follower.entry.shape)) in follower.describe()


def test_code_gives_the_tensor_that_is_shown(ledger):
    follower = TensorFollower(ledger, grid=8)
    for number in range(len(follower.entries)):
        follower.look(number)
        assert eval(follower.code, {"ledger": ledger}) is follower.entry.tensor


def test_look_by_name_and_by_hand(ledger):
    follower = TensorFollower(ledger, grid=8)
    follower.look("encoder_block")
    assert follower.entry is ledger["encoder_block"]
    before = follower._shown.value
    follower._slider.value += 1  # what a hand or an arrow key does
    assert follower._shown.value != before and follower.entry.name == "encoded_patches"
    assert "encoded patches" in follower._shown.alt and "encoded_patches" in follower._words.value
    with pytest.raises(ValueError, match="no step is called 'patch'; there are input, patches"):
        follower.look("patch")
    with pytest.raises(ValueError, match="step must be 0 … "):
        follower.look(1000)


def test_a_mask_alone_gives_no_tokens_and_can_be_followed(predictor):
    mask = np.random.default_rng(1).normal(size=(1, 32, 32)).astype(np.float32)
    one, other = (follow(predictor, PHOTO, mask_input=sign * mask) for sign in (1, -1))
    follower = TensorFollower(one, grid=8)
    follower.look("sparse_prompt_tokens")
    assert follower.entry.shape == (1, 0, 16) and "nothing" in [t.get_text() for t in follower.figure().axes[0].texts]
    changed = changed_steps(one, other)
    assert not changed["sparse_prompt_tokens"] and changed["dense_prompt"] and changed["prompted_image"]


def test_a_ledger_without_tensors_cannot_be_followed(predictor):
    with shape_ledger(predictor.model) as bare:
        predictor.set_image(PHOTO)
    with pytest.raises(ValueError, match="kept no tensor"):
        TensorFollower(bare, grid=8)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("input", (1, 3, 1024, 1024), "photo"), ("masks", (1, 3, 1024, 1024), "planes"),
        ("grid", (1, 64, 64, 1280), "grid"), ("image_embedding", (1, 256, 64, 64), "map"),
        ("mask_quartered", (1, 64, 64, 64), "map"), ("encoded_patches", (1, 4096, 768), "sequence"),
        ("token_mlp", (1, 7, 256), "tokens"), ("iou_predictions", (1, 3), "numbers"),
        ("mask_prompt", (1, 1, 256, 256), "planes"), ("low_res_logits", (1, 4, 256, 256), "planes"),
    ],
)  # fmt: skip
def test_the_kind_of_picture_follows_from_name_and_shape(name, shape, kind):
    assert how_it_is_drawn(name, shape, 64) == kind


def test_a_released_model_is_followed_as_well():
    """Its steps are others; with a grid as wide as the mask prompt's channels nothing is taken for channels last."""
    sizes = {"image_size": 128, "patch_size": 8, "width": 32, "depth": 2, "heads": 2, "channels": 16,
             "decoder_mlp": 32, "window": 3, "global_blocks": (1,)}  # fmt: skip
    released = SamPredictor(samlite.released_sam(**sizes).eval())
    ledger = follow(released, PHOTO, point_coords=[(10, 20)], point_labels=[1])
    follower = TensorFollower(ledger, grid=16)
    assert {"windows", "projected_grid", "last_token_to_image_attention"} <= {e.name for e in follower.entries}
    for number in range(len(follower.entries)):
        follower.look(number)
        assert np.asarray(style.drawn(follower.figure())).std() > 0
        assert "(§)" not in follower.figure().axes[0].get_title()


def test_what_changes_with_the_prompt_and_what_with_the_photo(predictor):
    one = follow(predictor, PHOTO, point_coords=[(10, 20)], point_labels=[1])
    again = follow(predictor, PHOTO, point_coords=[(10, 20)], point_labels=[1])
    moved = follow(predictor, PHOTO, point_coords=[(40, 5)], point_labels=[1])
    other = follow(predictor, OTHER, point_coords=[(10, 20)], point_labels=[1])
    assert not any(changed_steps(one, again).values())
    by_prompt, by_photo = changed_steps(one, moved), changed_steps(one, other)
    assert not any(by_prompt[name] for name in ("input", "image_embedding", "image_positions"))
    assert by_prompt["token_sequence"] and by_prompt["low_res_logits"]
    assert by_photo["image_embedding"] and not by_photo["token_sequence"] and by_photo["low_res_logits"]


def test_photo_and_prompt_meet_in_the_first_look_of_the_tokens_at_the_image(predictor):
    one = follow(predictor, PHOTO, point_coords=[(10, 20)], point_labels=[1])
    moved = follow(predictor, PHOTO, point_coords=[(40, 5)], point_labels=[1])
    other = follow(predictor, OTHER, point_coords=[(10, 20)], point_labels=[1])
    by_prompt, by_photo = (changed_steps(one, second, each_time=True) for second in (moved, other))
    assert list(by_prompt) == list(by_photo) and "token_self_attention" not in by_photo
    assert by_prompt["token_self_attention 1"] and not by_photo["token_self_attention 1"]
    both = [name for name in by_photo if by_photo[name] and by_prompt[name]]
    assert both[0] == "token_to_image_attention 1" and both[-1] == "masks"
    assert "token_self_attention 2" in both


def test_the_architecture_shows_what_happened(ledger, predictor):
    words = architecture_plots.in_words(ledger)
    assert "image embedding 1 × 16 × 8 × 8" in words and "token sequence 1 × 7 × 16" in words
    texts = [text.get_text() for text in architecture_plots.architecture(ledger).axes[0].texts]
    assert "sparse prompt tokens" in texts and "§1.8.4" in texts
    assert "mask and IoU tokens" in texts and "4 × 16" in texts and "4 learned tokens" in words
    assert "masks" in texts and "enlarged to masks 1 × 3 × 40 × 60" in words
    with shape_ledger(predictor.model) as half:
        predictor.set_image(PHOTO)
    with pytest.raises(KeyError, match="token_sequence"):
        architecture_plots.architecture(half)
