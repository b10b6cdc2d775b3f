"""Text prompts: the contrastive model, the token, the refusals, the measure and its controls, CLIP at the same door."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from samlite import SamPredictor, document_sam, shape_ledger
from samlite.command_line import main
from samlite.learning.text import contrastive, load_text_model, measure, save_text_model, shapes
from samlite.learning.text.contrastive import TextImageModel, contrastive_loss
from samlite.learning.text.files import TEXT_MODEL_WEIGHTS
from samlite.learning.text.prompting import TextRecipe, TextTrainer
from samlite.learning.text.run import CHOICE_PAIRS, CHOICE_SEED, RESULTS, command, train_text
from samlite.learning.text.vocabulary import HELD_OUT, PAIRS, SEEN, describe
from samlite.learning.weights import digest, save_weights
from samlite.registry import TEXT_WEIGHTS, TRAINED_HERE_THRESHOLDS, load_document_sam, sam_model_registry

SMALL = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2,
         "decoder_mlp": 16}  # fmt: skip
SHORT = TextRecipe(SMALL, steps=3, batch=2, warm_up=1, decay=2)


@pytest.fixture(scope="module")
def text_model():
    torch.manual_seed(0)
    return TextImageModel(width=8, crop_size=16).eval()


@pytest.fixture(scope="module")
def trained(text_model):
    return TextTrainer(SHORT, text_model).train()


def test_embeddings_have_length_one(text_model):
    texts = text_model.embed_text(["red star", "a blue ring", "green"])
    images = text_model.embed_images(torch.rand(4, 3, 16, 16) * 255)
    assert texts.shape == (3, 8) and images.shape == (4, 8)
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(4))
    assert torch.equal(text_model.embed_text("star red"), text_model.embed_text("red star"))


def test_contrastive_loss_by_hand():
    similarity = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    rows = -(similarity.diag() - similarity.logsumexp(1)).mean()
    columns = -(similarity.diag() - similarity.logsumexp(0)).mean()
    torch.testing.assert_close(contrastive_loss(similarity), (rows + columns) / 2)
    assert contrastive_loss(50 * torch.eye(4)) < 1e-6


def test_the_text_image_model_learns():
    torch.manual_seed(0)
    model = TextImageModel(width=16, crop_size=16)
    before = contrastive.recognition(model, SEEN, 2)
    losses = []
    contrastive.train_text_image_model(model, 60, watch=lambda step, loss: losses.append(loss))
    assert len(losses) == 60 and np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert contrastive.recognition(model, SEEN, 2) > before
    assert not model.training


def test_the_text_image_model_survives_its_file(text_model, tmp_path):
    save_text_model(text_model, tmp_path / "words.safetensors", {"seed": 0})
    loaded = load_text_model(tmp_path / "words.safetensors")
    torch.testing.assert_close(loaded.embed_text("red star"), text_model.embed_text("red star"), atol=2e-3, rtol=2e-2)
    with pytest.raises(FileNotFoundError, match="python -m samlite train text"):
        load_text_model(tmp_path / "none.safetensors")
    (tmp_path / "page.safetensors").write_text("<html>")
    with pytest.raises(ValueError, match="no safetensors file"):
        load_text_model(tmp_path / "page.safetensors")


def test_text_is_one_more_token(trained, text_model):
    with shape_ledger(trained) as ledger:
        trained.decode_masks(
            trained.encode_image(torch.zeros(1, 3, 32, 32)),
            points=torch.ones(1, 2, 2), labels=torch.ones(1, 2, dtype=torch.long), boxes=torch.ones(1, 1, 4),
            text=text_model.embed_text("red star")[None],
        )  # fmt: skip
    assert ledger["text_tokens"].shape == (1, 1, 16)
    assert ledger["token_sequence"].shape == (1, 2 + 2 * 1 + 1 + 4, 16)


@pytest.mark.parametrize("source", ["image", "text"])
def test_training_follows_from_its_seed(text_model, source):
    recipe = TextRecipe(SMALL, source=source, steps=2, batch=2, warm_up=1, decay=1)
    one, same = (TextTrainer(recipe, text_model) for _ in range(2))
    first = one.train_step()
    assert first == same.train_step() and set(first) == {"loss", "text", "click", "places"}
    assert all(np.isfinite(value) for value in first.values())


def test_a_loss_that_is_no_number_changes_nothing(text_model, monkeypatch):
    trainer = TextTrainer(TextRecipe(SMALL, steps=2, batch=2, warm_up=1, decay=1), text_model)
    before = {name: value.clone() for name, value in trainer.sam.state_dict().items()}
    monkeypatch.setattr(trainer, "loss", lambda step: (torch.tensor(float("nan"), requires_grad=True), {}))
    with pytest.raises(RuntimeError, match="the loss is nan, .* at step 0: what was saved before is as it was"):
        trainer.train_step()
    assert all(torch.equal(value, before[name]) for name, value in trainer.sam.state_dict().items())
    assert trainer.averaged().automatic_thresholds == TRAINED_HERE_THRESHOLDS
    with pytest.raises(ValueError, match="decay is 0: at least 1 is needed"):
        TextRecipe(decay=0)


def test_only_known_sources(text_model):
    with pytest.raises(ValueError, match="source is 'sound'"):
        TextTrainer(TextRecipe(SMALL, source="sound"), text_model)


def test_an_untrained_projection_refuses_text(text_model):
    sam = document_sam(**SMALL, text_width=8).eval()
    embedding = text_model.embed_text("red star")
    predictor = SamPredictor(sam)
    predictor.set_image(np.zeros((32, 32, 3), np.uint8))
    for call in (
        lambda: predictor.predict(text=embedding),
        lambda: predictor.predict_torch(text=embedding[None]),
        lambda: sam.decode_masks(torch.zeros(1, 16, 4, 4), text=embedding[None]),
    ):
        with pytest.raises(ValueError, match="never trained.*tiny_text.*TextTrainer"):
            call()
    predictor.predict([[5, 5]], [1])  # what was trained is not refused


def test_the_flag_is_stored_in_the_weights(trained, text_model, tmp_path):
    sizes = {**SMALL, "text_width": 8}
    save_weights(trained, sizes, tmp_path / "trained.safetensors", {})
    loaded = load_document_sam(tmp_path / "trained.safetensors")
    assert loaded.prompt_encoder.trained_on_text == text_model.name
    embedding = torch.zeros(1, 16, 4, 4)
    loaded.decode_masks(embedding, text=text_model.embed_text("red star")[None])

    save_weights(document_sam(**sizes), sizes, tmp_path / "untrained.safetensors", {})
    with pytest.raises(ValueError, match="never trained"):
        load_document_sam(tmp_path / "untrained.safetensors").decode_masks(
            embedding, text=text_model.embed_text("red star")[None]
        )


def test_a_string_is_no_embedding(trained):
    predictor = SamPredictor(trained)
    predictor.set_image(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(TypeError, match=r"load_text_model\(\).embed_text\('red star'\)"):
        predictor.predict(text="red star")


def test_the_right_object_is_the_one_that_is_covered_best():
    masks = torch.zeros(3, 2, 4, 4, dtype=torch.bool)
    masks[:, 0, :2], masks[:, 1, 2:] = True, True
    chosen = torch.stack([masks[0, 0], masks[0, 1], torch.zeros(4, 4, dtype=torch.bool)])
    figures = measure.Picked(measure.overlaps(chosen, masks)).figures()
    assert figures["right object"] == figures["mean IoU"] == pytest.approx(1 / 3, abs=1e-4)


def test_measured_scenes_name_what_they_should():
    scenes = measure.held_out_scenes(HELD_OUT, 20, 32)
    assert {PAIRS[n] for n in scenes.pairs[:, 0].tolist()} <= set(HELD_OUT)
    assert {PAIRS[n] for n in scenes.pairs[:, 1:].flatten().tolist()} <= set(SEEN)


def test_shuffled_text_is_never_the_right_phrase(trained, text_model, monkeypatch):
    """A model that answers every phrase without a mistake gets none of the objects that it was not asked for."""
    assert measure.phrases_of_others(["a", "a", "b", "a"]) == ["b", "b", "a", "b"]
    with pytest.raises(ValueError, match="2 scenes name 1 phrase: .* take more scenes"):
        measure.phrases_of_others(["a", "a"])
    scenes = measure.held_out_scenes(HELD_OUT, 30, 32)
    mine = [scenes.phrase(b, 0) for b in range(30)]
    assert any(one == following for one, following in zip(mine, mine[1:], strict=False))  # what must not be paired

    def number(phrases):  # an embedding that says everything: the number of the pair
        return torch.tensor([[float([describe(pair) for pair in PAIRS].index(phrase))] for phrase in phrases])

    def read(sam, images, text):
        return (scenes.masks & (scenes.pairs == text)[..., None, None]).any(1)

    monkeypatch.setattr(text_model, "embed_text", number)
    monkeypatch.setattr(measure, "masks_by_text", read)
    assert measure.pick_by_text(trained, text_model, scenes).figures()["right object"] == 1
    assert measure.pick_by_text(trained, text_model, scenes, shuffled=True).figures()["right object"] == 0


def test_the_command_writes_weights_and_figures(tmp_path):
    lines = []
    figures = train_text(tmp_path, 1, contrastive_steps=2, recipe=SHORT, scenes=3, say=lines.append, progress=False)
    assert figures == json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["sources"]) == {"image", "text"} and figures["shipped"] in figures["sources"]
    rows = figures["sources"]["image"]["figures"]["pairs never seen"]
    assert set(rows) == {
        "text prompt", "shuffled text", "chance", "ranking automatic masks", "ranking exact masks"
    }  # fmt: skip
    assert rows["chance"]["right object"] == 0.25
    assert figures["pairs never seen"] == [describe(pair) for pair in HELD_OUT]
    assert f"--run {tmp_path.as_posix()} --seed 1" in figures["command"] and "--steps 3" in figures["command"]
    assert "--ship" not in figures["command"] and any("the better of them" in line for line in lines)


def test_the_source_is_chosen_on_scenes_that_are_not_reported(tmp_path, monkeypatch):
    from samlite.learning.text import run

    asked = []

    def pick(sam, text_model, scenes, shuffled=False):
        asked.append(scenes)
        return measure.Picked(torch.eye(2)[[len(asked) % 2]])  # the first source is wrong, the second right

    monkeypatch.setattr(run, "pick_by_text", pick)
    monkeypatch.setattr(run, "measure", lambda *arguments, **given: {})
    figures = train_text(tmp_path, contrastive_steps=1, recipe=SHORT, scenes=3, progress=False)
    assert figures["choice"] == {
        "pairs": CHOICE_PAIRS, "seed": CHOICE_SEED, "scenes": 3, "right object": {"image": 0.0, "text": 1.0},
    }  # fmt: skip
    assert figures["shipped"] == "text" and CHOICE_SEED != measure.MEASURE_SEED
    assert {PAIRS[n] for scenes in asked for n in scenes.pairs.flatten().tolist()} <= set(SEEN)


def test_the_recorded_command_is_the_one_that_was_given(monkeypatch):
    from samlite.learning.text import run

    def only_the_command(folder, seed, recipe, ship, **given):
        commands.append(command(folder, seed, asdict(recipe), ship))

    commands = []
    monkeypatch.setattr(run, "train_text", only_the_command)
    for options in ("--seed 0", "--seed 2 --steps 50", "--seed 2 --steps 900", "--seed 0 --ship"):
        before, _, ship = options.partition(" --ship")
        seed, _, steps = before.partition(" --steps")
        assert main(["train", "text", "--run", "runs/x", *options.split()]) == 0
        line = f"python -m samlite train text --run runs/x {seed} --threads 1"
        assert commands[-1] == line + (f" --steps{steps}" if steps else "") + (" --ship" if options != before else "")


@pytest.fixture(scope="module")
def clip():
    """A CLIP with random weights, 12 wide, and a tokenizer that spells."""
    transformers = pytest.importorskip("transformers")
    from samlite.learning.text.clip import ClipEmbeddings

    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**tower, "vocab_size": 130, "max_position_embeddings": 24, "eos_token_id": 129},
        vision_config={**tower, "image_size": 16, "patch_size": 8}, projection_dim=12,
    )  # fmt: skip
    torch.manual_seed(0)

    def tokenize(phrases):
        rows = [[ord(letter) % 128 for letter in phrase][:23] + [129] for phrase in phrases]
        longest = max(map(len, rows))
        return {
            "input_ids": torch.tensor([row + [129] * (longest - len(row)) for row in rows]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
        }

    return ClipEmbeddings(transformers.CLIPModel(config), tokenize, "a random CLIP")


def test_clip_comes_through_the_same_door(clip, tmp_path):
    """Embed, train a projection of CLIP's own width, save, load, ask."""
    assert clip.width == 12 and clip.crop_size == 16
    one, two = clip.embed_text("a red star"), clip.embed_text(["a red star", "a dog"])
    assert one.shape == (1, 12)
    torch.testing.assert_close(two[:1], one, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(two.norm(dim=-1), torch.ones(2))
    assert clip.embed_images(torch.rand(3, 3, 16, 16) * 255).shape == (3, 12)

    sam = TextTrainer(SHORT, clip).train()
    save_weights(sam, {**SMALL, "text_width": clip.width}, tmp_path / "clip.safetensors", {})
    loaded = load_document_sam(tmp_path / "clip.safetensors")
    assert loaded.prompt_encoder.trained_on_text == "a random CLIP"
    predictor = SamPredictor(loaded)
    predictor.set_image(np.zeros((32, 32, 3), np.uint8))
    masks, _, _ = predictor.predict(text=one)
    assert masks.shape == (3, 32, 32)
    with pytest.raises(ValueError, match="width 8 .* text_width=12"):
        predictor.predict(text=np.ones(8))


def test_clip_says_what_is_missing(clip, tmp_path):
    from samlite.learning.text.clip import load_clip

    with pytest.raises(ValueError, match="could not be loaded|not in the cache"):
        load_clip(str(tmp_path / "nothing"), local_only=True)
    for wrong in ("", [], ["red", 3]):
        with pytest.raises(ValueError, match="a string is expected"):
            clip.embed_text(wrong)


def test_a_crop_around_a_candidate_mask_is_compared(text_model):
    scenes = measure.held_out_scenes(SEEN, 2, 64)
    scores = measure.rank_masks(
        text_model, scenes.images[0], scenes.masks[0], text_model.embed_text(scenes.phrase(0, 0)).detach()
    )
    crops = shapes.crop(scenes.images[:1], shapes.boxes_of(scenes.masks[:1]), 16)
    by_hand = text_model.embed_images(crops) @ text_model.embed_text(scenes.phrase(0, 0))[0]
    torch.testing.assert_close(scores, by_hand)


def test_what_ships_is_small_and_reads():
    """Two files under 3 MB; on scenes of pairs never seen, the phrase counts."""
    assert sum(path.stat().st_size for path in (TEXT_WEIGHTS, TEXT_MODEL_WEIGHTS)) < 3_000_000
    words, sam = load_text_model(), sam_model_registry["tiny_text"]()
    assert sam.prompt_encoder.trained_on_text == words.name and not sam.training
    scenes = measure.held_out_scenes(HELD_OUT, 40, 64, seed=5)
    right = [measure.pick_by_text(sam, words, scenes, other).figures()["right object"] for other in (False, True)]
    assert right[0] > 0.25 + 0.2 and right[0] > right[1] + 0.2


def test_the_committed_figures_are_of_the_weights_that_ship():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for path in (TEXT_WEIGHTS, TEXT_MODEL_WEIGHTS):
        assert results["weights"][path.name]["sha256"] == digest(path)
    choice = results["choice"]
    shares = {
        source: entry["figures"][choice["pairs"]]["text prompt"]["right object"]
        for source, entry in results["sources"].items()
    }
    if choice["seed"] == measure.MEASURE_SEED:  # chosen on the scenes that are reported
        assert choice["right object"] == shares
    assert results["shipped"] == max(choice["right object"], key=choice["right object"].get)
