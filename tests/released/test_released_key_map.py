"""Official names and forms ↔ ours, against the lists of what the three checkpoints hold."""

import pytest
import torch
from reference import VARIANTS, official_weights

from samlite.released.key_map import NAMES, from_official, to_official
from samlite.released.sam import released_sam


def meta_model(config):
    return released_sam(
        image_size=config["img_size"], width=config["embed_dim"], depth=config["depth"], heads=config["heads"],
        window=config["window_size"], global_blocks=config["glob"], device="meta",
    )  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_names_shapes_and_counts_of_the_checkpoints(name):
    variant = VARIANTS[name]
    sam = meta_model(variant["config"])
    listed = {key: tuple(entry["shape"]) for key, entry in variant["state_dict"].items()}
    ours = {key: tuple(value.shape) for key, value in sam.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in to_official(sam.state_dict()).items()} == listed
    official = {key: torch.empty(shape, device="meta") for key, shape in listed.items()}
    assert {key: tuple(value.shape) for key, value in from_official(official).items()} == ours
    for part in ("image_encoder", "prompt_encoder", "mask_decoder"):
        assert sum(p.numel() for p in getattr(sam, part).parameters()) == variant["params"][part]
    assert sum(value.numel() for value in sam.state_dict().values()) == variant["n_persistent_values"]


@pytest.mark.parametrize("name", ["tiny", "std"])
def test_there_and_back_is_the_same(name):
    official = official_weights(name)
    there = from_official(official)
    back = to_official(there)
    assert back.keys() == official.keys()
    assert all(torch.equal(back[key], official[key]) for key in official)
    again = from_official(back)
    assert again.keys() == there.keys() and all(torch.equal(again[key], there[key]) for key in there)


def test_no_two_official_names_share_one_of_ours():
    assert len(set(NAMES.values())) == len(NAMES)
    assert len(from_official(official_weights("tiny"))) == len(official_weights("tiny")) - 3  # four types in one


def test_a_name_that_is_unknown_stays_as_it_is():
    official = official_weights("tiny") | {"optimizer.step": torch.zeros(1)}
    assert "optimizer.step" in from_official(official)
