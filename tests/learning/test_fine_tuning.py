"""Fine-tuning learns a small set, leaves the encoder alone, serves both architectures, and refuses bad sets by name."""

import numpy as np
import pytest
import torch

from samlite.learning import fine_tuning
from samlite.learning.fine_tuning import FineTuner, FineTuning, check_masks, embed, fine_tune, measure
from samlite.learning.losses import pairwise_iou, pairwise_mask_loss
from samlite.learning.peers import both
from samlite.released.sam import released_sam
from samlite.sam import document_sam

SIZES = {"patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_heads": 2, "decoder_mlp": 32}
QUICK = FineTuning(steps=40, prompts=8, rate=3e-3, warm_up=4)


def document():
    torch.manual_seed(0)
    return document_sam(image_size=32, **SIZES).eval()


def released():
    """The released architecture, small: vit_b's parts, with a window and a block without one."""
    torch.manual_seed(0)
    return released_sam(
        image_size=32, width=32, depth=2, heads=2, window=2, global_blocks=(1,), patch_size=8, channels=32,
        decoder_heads=2, decoder_mlp=32, mask_channels=4,
    ).eval()  # fmt: skip


def picture(seed: int, height: int = 48, width: int = 64):
    """A white rectangle and a black one on grey, and their masks."""
    generator = np.random.default_rng(seed)
    photo, masks = np.full((height, width, 3), 128, np.uint8), np.zeros((2, height, width), bool)
    for index, colour in enumerate((255, 0)):
        y, x = generator.integers(2, height - 26), generator.integers(2, 8) + 30 * index
        masks[index, y : y + 20, x : x + 20] = True
        photo[masks[index]] = colour
    return f"picture {seed}", photo, masks


@pytest.fixture(scope="module")
def two_pictures():
    return [picture(0), picture(1)]


@pytest.mark.parametrize("build", [document, released])
def test_it_learns_with_a_frozen_encoder(build, two_pictures):
    sam = build()
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    examples = embed(sam, two_pictures)
    grid = sam.image_encoder.grid_size
    assert examples.embeddings.shape == (2, 32, grid, grid) and examples.targets.shape == (4, 4 * grid, 4 * grid)
    assert examples.photo_of.tolist() == [0, 0, 1, 1]
    losses = []
    tuned = fine_tune(sam, examples, QUICK, each_step=lambda _, figures: losses.append(figures["loss"]))
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    assert all(torch.equal(value, before[name]) for name, value in sam.state_dict().items())  # a copy learned
    assert tuned.image_encoder is sam.image_encoder and type(tuned.mask_decoder) is type(sam.mask_decoder)
    changed = {name.split(".")[0] for name, value in tuned.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"prompt_encoder", "mask_decoder"}
    figures = measure(tuned, examples, clicks=2)
    assert set(figures) == {"click", "box", "box, one correction"}
    for row in figures.values():
        assert 0 <= row["single"] <= 1 and 0 <= row["best"] <= 1
        if build is document:  # its single mask is one of the candidates; the release has one of its own
            assert row["single"] <= row["best"] + 1e-6


def test_the_mask_for_a_single_answer_of_the_release_learns_too(two_pictures):
    sam = released()
    tuned = fine_tune(sam, embed(sam, two_pictures), FineTuning(steps=1))
    moved = (tuned.mask_decoder.mask_tokens - sam.mask_decoder.mask_tokens).abs().amax(1)
    assert moved.shape == (4,) and (moved > 0).all()


def test_the_embedding_is_the_one_of_a_prediction_and_is_computed_once(two_pictures, monkeypatch):
    sam = document()
    calls = []
    encode = sam.image_encoder.forward
    monkeypatch.setattr(sam.image_encoder, "forward", lambda images: calls.append(len(images)) or encode(images))
    examples = embed(sam, two_pictures)
    fine_tune(sam, examples, FineTuning(steps=3, prompts=2))
    assert calls == [1, 1]


def test_settings_decide_everything(two_pictures):
    sam = document()
    examples = embed(sam, two_pictures)
    one, same, other = (
        fine_tune(sam, examples, FineTuning(steps=2, prompts=2, seed=seed)).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="boxes is 2: it must lie between 0 and 1"):
        FineTuning(boxes=2)
    with pytest.raises(ValueError, match="rate is 0"):
        FineTuning(rate=0.0)
    with pytest.raises(ValueError, match="warm_up is 0"):
        FineTuning(warm_up=0)


def test_targets_are_covered_shares_and_padding_is_not_covered():
    mask = np.zeros((1, 24, 48), bool)
    mask[:, :, :24] = True
    examples = embed(document(), [("half", np.zeros((24, 48, 3), np.uint8), mask)])
    target = examples.targets[0]  # 24×48 → 16×32 → 8×16 of the 16×16 low-res cells
    assert (target[:8, :8] == 1).all() and target[8:].sum() == 0 and target[:, 8:].sum() == 0


def test_padding_is_neither_counted_nor_clicked(two_pictures):
    """A model that answers "yes" everywhere: what it says outside the photo changes no figure and draws no click."""
    masks = np.zeros((2, 24, 48), bool)
    masks[0, :12, :24], masks[1, 12:, 24:] = True, True
    examples = embed(document(), [("wide", np.zeros((24, 48, 3), np.uint8), masks)])
    assert examples.outside.shape == (1, 16, 16)
    assert not examples.outside[0, :8].any() and examples.outside[0, 8:].all()
    everything = torch.full((2, 3, 16, 16), 5.0, requires_grad=True)
    inside = examples.without_padding(everything, torch.tensor([0, 1]))
    assert (inside[:, :, :8] == 5).all() and (inside[:, :, 8:] < 0).all()
    inside.sum().backward()
    assert everything.grad[:, :, 8:].abs().max() == 0
    overlap = pairwise_iou(inside.detach(), examples.targets[:, None])[..., 0]
    assert overlap[0, 0] == pytest.approx(float((examples.targets[0] > 0.5).sum()) / 128)
    of_loss = pairwise_mask_loss(inside, examples.targets[:, None])
    assert of_loss.isfinite().all() and torch.equal(
        of_loss, pairwise_mask_loss(inside.detach() - 1e3 * examples.outside[0].float(), examples.targets[:, None])
    )
    assert embed(document(), [(name, photo[:48, :48], masks[:1, :48, :48]) for name, photo, masks in two_pictures]
                 ).outside.sum() == 0  # fmt: skip


@pytest.mark.parametrize("build", [document, released])
def test_clicks_of_a_step_and_of_a_measurement_lie_on_the_photo(build, monkeypatch):
    """On a photo with much padding, and a model that covers all of it."""
    sam, clicks = build(), []
    examples = embed(sam, [picture(0, 48, 160)])
    real, choose = fine_tuning.simulate.correcting_clicks, sam.mask_decoder.choose_masks

    def listening(*arguments):
        point, label = real(*arguments)
        clicks.append(point)
        return point, label

    monkeypatch.setattr(fine_tuning.simulate, "correcting_clicks", listening)
    monkeypatch.setattr(sam.mask_decoder, "choose_masks", lambda *args: (choose(*args)[0].abs() + 1, choose(*args)[1]))
    measure(sam, examples, clicks=2)
    for boxes in (0, 1):
        settings = FineTuning(prompts=4, boxes=boxes)
        fine_tuning.prompted_loss(sam, examples, settings, torch.Generator().manual_seed(0))
    inside = ~examples.outside[0]
    places = (torch.cat(clicks) / 2).long()
    assert len(places) and inside[places[:, 1], places[:, 0]].all()


@pytest.mark.parametrize("build", [document, released])
def test_thresholds_go_along(build, two_pictures):
    sam = build()
    sam.automatic_thresholds, sam.mask_threshold, sam.image_format = (0.3, 0.2), 0.5, "BGR"
    tuned = fine_tune(sam, embed(sam, two_pictures), FineTuning(steps=1, prompts=2))
    for made in (tuned, *both(sam)):
        assert (made.automatic_thresholds, made.mask_threshold, made.image_format) == ((0.3, 0.2), 0.5, "BGR")


def test_a_choice_without_objects_names_its_photos(two_pictures):
    name, photo, masks = picture(0)
    photo, masks = photo.repeat(10, 0).repeat(10, 1), masks.repeat(10, 1).repeat(10, 2)
    speck = np.zeros((1, 480, 640), bool)
    speck[:, 100:104, 100:104] = True
    examples = embed(document(), [(name, photo, masks), ("speck", photo, speck), ("other speck", photo, speck)])
    with pytest.raises(ValueError, match="no object in speck, other speck: every mask there covers less than one"):
        examples.of_photos([1, 2])
    assert len(examples.of_photos([0, 1]).targets) == 2


def test_photos_can_be_chosen(two_pictures):
    examples = embed(document(), [*two_pictures, picture(2)])
    chosen = examples.of_photos([2, 0])
    assert chosen.names == ["picture 2", "picture 0"] and chosen.photo_of.tolist() == [1, 1, 0, 0]
    assert torch.equal(chosen.embeddings[0], examples.embeddings[2])
    assert torch.equal(chosen.targets[:2], examples.targets[:2])
    assert torch.equal(chosen.outside, examples.outside[[2, 0]])


def spoiled(**changes):
    name, photo, masks = picture(0)
    return [(changes.get("name", name), changes.get("photo", photo), changes.get("masks", masks))]


@pytest.mark.parametrize(
    "examples, message",
    [
        ([], "no object to learn from"),
        (spoiled(masks=np.zeros((0, 48, 64), bool)), r"picture 0: masks have shape \(0, 48, 64\); at least one"),
        (spoiled(masks=np.ones((48, 64), bool)), r"picture 0: masks have shape \(48, 64\)"),
        (spoiled(masks=np.ones((1, 64, 48), bool)), "the masks are 48×64 .*the photo is 64×48; .*lies on its side"),
        (spoiled(masks=np.ones((1, 24, 32), bool)), "neither resized nor cropped"),
        (spoiled(masks=np.stack([picture(0)[2][0], np.zeros((48, 64), bool)])), "picture 0, mask 2 is empty"),
        (spoiled(masks=np.ones((1, 48, 64), bool)), "picture 0, mask 1 covers the whole photo"),
        (spoiled(masks=np.arange(48 * 64).reshape(1, 48, 64)), "picture 0, mask 1 has 3072 different values"),
        (spoiled(photo="there is none.jpg"), "there is no such file"),
    ],
)
def test_bad_sets_are_refused_by_name(examples, message):
    with pytest.raises(ValueError, match=message):
        embed(document(), examples)


def test_objects_below_a_cell_are_left_out_and_named():
    name, photo, masks = picture(0)
    photo, masks = photo.repeat(10, 0).repeat(10, 1), masks.repeat(10, 1).repeat(10, 2)
    speck = np.zeros((1, 480, 640), bool)
    speck[:, 100:104, 100:104] = True
    examples = embed(document(), [(name, photo, np.concatenate([masks, speck]))])
    assert len(examples.targets) == 2 and examples.too_small == ["picture 0, mask 3"]
    with pytest.raises(ValueError, match="all 1 objects cover less than one low-res cell"):
        embed(document(), [(name, photo, speck)])


def test_masks_of_0_and_255_are_masks():
    _, photo, masks = picture(0)
    assert np.array_equal(check_masks("a", photo.shape[:2], masks.astype(np.uint8) * 255), masks)


def test_a_loss_that_is_no_number_stops(two_pictures, monkeypatch):
    sam = document()
    tuner = FineTuner(sam, embed(sam, two_pictures))
    nan = (torch.tensor(float("nan"), requires_grad=True), {})
    before = {name: value.clone() for name, value in tuner.sam.state_dict().items()}
    monkeypatch.setattr(fine_tuning, "prompted_loss", lambda *_: nan)
    with pytest.raises(RuntimeError, match="the loss is nan, .* at step 0: try a smaller rate than 0.0003"):
        tuner.train_step()
    assert all(torch.equal(value, before[name]) for name, value in tuner.sam.state_dict().items())


def test_masks_of_several_sizes_are_named():
    with pytest.raises(
        ValueError, match=r"cup: masks have shapes \(4, 5\), \(5, 4\); each must be the photo's, \(4, 5\)"
    ):
        check_masks("cup", (4, 5), [np.ones((4, 5), bool), np.ones((5, 4), bool)])
