"""The model card is made of measured figures, and its prose stays."""

import json

from samlite.learning import weights
from samlite.learning.weights import MARKS, digest, read_training, save_weights, write_card
from samlite.sam import document_sam

SIZES = {"patch_size": 8, "width": 16, "depth": 1, "heads": 2, "channels": 16, "decoder_heads": 2, "decoder_mlp": 32}
TRAINING = {"steps done": 7, "minutes": 1.5, "threads": 1, "torch": "2"}
FIGURES = {
    "date": "2000-01-01",
    "speed": {"encode ms": 1.0, "click ms": 2.0, "threads": 1, "cores": 2},
    "scenes": {
        "1 click": {"targets": 9, "oracle": 0.5, "share above 0.75": 0.25, "selected": 0.4},
        "levels": {"targets": 4, "recognised": 0.5},
    },
}


def test_figures_go_between_the_marks_and_prose_stays(tmp_path, monkeypatch):
    path = tmp_path / "tiny.safetensors"
    save_weights(document_sam(image_size=32, **SIZES), SIZES, path, TRAINING)
    assert read_training(path) == TRAINING
    prose = tmp_path / "tiny.md"
    prose.write_text(f"before\n{MARKS[0]}\nold figures\n{MARKS[1]}\nafter\n")
    monkeypatch.setattr(weights, "TINY_WEIGHTS", path)
    monkeypatch.setattr(weights, "CARD", tmp_path / "tiny.json")
    monkeypatch.setattr(weights, "CARD_PROSE", prose)
    write_card(FIGURES)
    text = prose.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old figures" not in text
    assert "| 1 click | 9 | 0.5 | 0.25 | 0.4 |" in text and "50.0%" in text and digest(path) in text
    card = json.loads((tmp_path / "tiny.json").read_text())
    assert card["weights"]["sha256"] == digest(path) and card["figures"] == FIGURES
    write_card(FIGURES)
    assert prose.read_text() == text


def test_the_shipped_card_belongs_to_the_shipped_weights():
    card = json.loads(weights.CARD.read_text())
    assert card["weights"]["sha256"] == digest(weights.TINY_WEIGHTS)
    assert weights.card_tables(card) in weights.CARD_PROSE.read_text()
    sizes, prose = card["training"]["recipe"]["model"], " ".join(weights.CARD_PROSE.read_text().split())
    assert f"{sizes['depth']} blocks of {sizes['width']} channels with {sizes['heads']} heads" in prose
