"""Official files, written here with random weights: read by path, converted, and refused when they are not right."""

import os
from pathlib import Path

import pytest
import torch
from reference import SIZES, VARIANTS, build, given_prompts, official_weights

from samlite import released_sam, sam_model_registry
from samlite.command_line import main
from samlite.released import checkpoints
from samlite.released.checkpoints import CHECKPOINTS, convert, load_checkpoint
from samlite.released.key_map import POSITIONS

SMALL = SIZES["tiny"]


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.pth"
    torch.save(official_weights("tiny"), path)
    return path


def assert_same(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert {p.device.type for p in one.parameters()} == {"cpu"} == {one.pixel_mean.device.type}
    assert all(p.requires_grad for p in one.parameters())


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_table_of_official_files(name):
    variant, known = VARIANTS[name], CHECKPOINTS[name]
    there = {key: variant["checkpoint"][key] for key in ("file", "url", "size_bytes", "sha256")}
    assert there == {"file": known.file, "url": known.address, "size_bytes": known.size, "sha256": known.sha256}
    sizes = {"width": "embed_dim", "depth": "depth", "heads": "heads", "global_blocks": "glob"}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in known.sizes.items()} == {
        ours: variant["config"][theirs] for ours, theirs in sizes.items()
    }


def test_a_small_file_by_path(small):
    sam = released_sam(**SMALL, checkpoint=small)
    assert_same(sam, build("tiny"))
    embedding = sam.encode_image(sam.normalise(torch.rand(1, 3, 128, 96) * 255))
    sam.decode_masks(embedding, **given_prompts(sam))[0].sum().backward()


def test_half_precision_and_the_old_format_are_read(tmp_path):
    state = official_weights("tiny")
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "half.pth")
    assert {p.dtype for p in released_sam(**SMALL, checkpoint=tmp_path / "half.pth").parameters()} == {torch.float32}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same(released_sam(**SMALL, checkpoint=tmp_path / "old.pth"), build("tiny"))


def test_conversion_to_safetensors(small):
    converted = convert(small)
    assert converted == small.with_suffix(".safetensors")
    assert sorted(path.name for path in small.parent.iterdir()) == ["small.pth", "small.safetensors"]
    small.unlink()
    assert_same(released_sam(**SMALL, checkpoint=converted), build("tiny"))


def test_a_conversion_that_fails_leaves_nothing(small, monkeypatch):
    def fails(state, path, metadata):
        Path(path).write_bytes(b"half of it")
        raise OSError("the disk is full")

    monkeypatch.setattr(checkpoints, "save_file", fails)
    with pytest.raises(OSError, match="disk is full"):
        convert(small)
    assert [path.name for path in small.parent.iterdir()] == ["small.pth"]


class Harmful:
    """What a malicious checkpoint holds: reading it the unsafe way would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_code_in_a_file_ever_runs(tmp_path):
    torch.save({"weight": Harmful(tmp_path / "harm")}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth holds more than tensors"):
        released_sam(**SMALL, checkpoint=tmp_path / "bad.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>not found</html>", "a web page and no checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x00\x01\x02" * 99, "damaged or something else"),
        (b"upstream connect error or disconnect/reset before headers", "damaged or something else"),
        (b"hello", "damaged or something else"),  # letters are orders to a reader of pickles: each of these three
        (b"J12", "damaged or something else"),  # breaks it in a way of its own
    ],
)
@pytest.mark.parametrize("name", ["some.pth", "some.safetensors"])
def test_files_that_are_none(tmp_path, content, message, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        released_sam(**SMALL, checkpoint=tmp_path / name)
    assert name in str(caught.value) and "https://" in str(caught.value)


def test_a_truncated_file(small):
    small.write_bytes(small.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="small.pth cannot be read, it is a part of a file"):
        released_sam(**SMALL, checkpoint=small)


def test_an_official_name_asks_for_the_official_size_and_digest(small, monkeypatch):
    official = small.rename(small.with_name("sam_vit_b_01ec64.pth"))
    size = official.stat().st_size
    with pytest.raises(ValueError, match=f"has {size:,} bytes, sam_vit_b_01ec64.pth has 375,042,383.*fetch it again"):
        sam_model_registry["vit_b"](checkpoint=official)
    known = CHECKPOINTS["vit_b"]._replace(size=size)
    monkeypatch.setitem(CHECKPOINTS, "vit_b", known)
    with pytest.raises(ValueError, match=f"has the SHA-256 .*has {known.sha256}.*damaged"):
        released_sam(**SMALL, checkpoint=official)
    monkeypatch.setitem(CHECKPOINTS, "vit_b", known._replace(sha256=checkpoints.sha256(official)))
    assert_same(released_sam(**SMALL, checkpoint=official), build("tiny"))


def test_missing_and_extra_names_are_listed_up_to_five(tmp_path):
    state = official_weights("tiny")
    del state[POSITIONS], state["prompt_encoder.no_mask_embed.weight"]
    state |= {f"optimizer.{i}": torch.zeros(1) for i in range(9)}
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(ValueError) as caught:
        released_sam(**SMALL, checkpoint=tmp_path / "odd.pth")
    message = str(caught.value)
    assert "11 names or shapes differ" in message and f"{POSITIONS} is only in the model" in message
    assert message.count(" is only in ") == 5 and message.endswith("and 6 more") and len(message) < 900


def test_another_size_gets_the_closest_official_name(small):
    with pytest.raises(ValueError, match="32 wide with 3 blocks, of the official models vit_b is the closest"):
        load_checkpoint(released_sam(device="meta"), small)


@pytest.mark.parametrize("content", [{"model": {"a": torch.zeros(1)}, "step": 3}, [1, 2], {}, {"epoch": 3}])
def test_what_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    message = "weights under 'model', beside 1 other" if "model" in content else "and not a dict of tensors"
    with pytest.raises(ValueError, match=message):
        released_sam(**SMALL, checkpoint=tmp_path / "odd.pth")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file nowhere.pth.*sam_vit_h_4b8939.pth"):
        sam_model_registry["vit_h"](checkpoint="nowhere.pth")
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        released_sam(**SMALL, checkpoint="nowhere.pth")
    with pytest.raises(ValueError, match="is a folder"):
        released_sam(**SMALL, checkpoint=tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_asked_for_and_absent():
    with pytest.raises(ValueError, match="device 'cuda' cannot be used here .* use device='cpu'"):
        sam_model_registry["tiny"](device="cuda")


def test_the_command_line_never_uses_random_weights(tmp_path, capsys):
    (tmp_path / "photo.png").write_bytes((Path(__file__).parents[1] / "golden/synthetic_200x300.png").read_bytes())
    command = ["segment", str(tmp_path / "photo.png"), "--point", "9,9", "-o", str(tmp_path / "mask.png")]
    assert main([*command, "--model", "vit_b"]) == 2
    assert "vit_b does not ship with samlite" in capsys.readouterr().err
