"""What is free, what a model needs, and the error that comes before the system ends the process."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from own_process import ROOT, numbers
from PIL import Image

from samlite import SamPredictor, command_line, doctor, document_sam, free_memory, memory, released_sam
from samlite.fast import use_fast_paths
from samlite.memory import TooLittleMemoryError
from samlite.registry import load_document_sam, sam_model_registry
from samlite.released.checkpoints import load_checkpoint
from samlite.released.key_map import to_official

GIB = 2**30
SMALL = {"image_size": 64, "patch_size": 8, "width": 32, "depth": 1, "heads": 2, "channels": 32, "decoder_mlp": 32}
RELEASED = SMALL | {"window": 3, "global_blocks": (0,)}


def machine(folder: Path, meminfo: str = "", groups: str = "", **files: str) -> None:
    """A /proc and a /sys/fs/cgroup of its own; `files`: __ stands for the slash and for nothing else."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "cgroup").mkdir()
    if meminfo:
        (folder / "proc" / "meminfo").write_text(meminfo)
    if groups:
        (folder / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = folder / "cgroup" / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(free_memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(free_memory, "CGROUPS", tmp_path / "cgroup")
    return tmp_path


def free(monkeypatch: pytest.MonkeyPatch, megabytes: float | None) -> None:
    """This machine has so much free."""
    size = None if megabytes is None else int(megabytes * 1e6)
    monkeypatch.setattr(free_memory, "memory", lambda: free_memory.Memory(size, size))


# what is free

MEMINFO = "MemTotal: 8388608 kB\nMemFree: 100 kB\nMemAvailable: 4194304 kB\nSwapFree: 1048576 kB\nHugePages_Total: 0\n"


def test_cached_files_count_as_free(elsewhere: Path) -> None:
    machine(elsewhere, MEMINFO)
    assert free_memory.memory() == (8 * GIB, 4 * GIB, GIB)


def test_a_container_has_less_than_its_machine(elsewhere: Path) -> None:
    """Version 2: the limit is two groups further up, and what only caches files can be had."""
    machine(
        elsewhere, MEMINFO, "0::/pod/box/inner\n",
        pod__box__memory_max=str(2 * GIB), pod__box__memory_current=str(3 * GIB // 2),
        pod__box__memory_stat=f"anon {GIB}\ninactive_file {GIB // 4}\nactive_file {GIB // 4}\n",
        pod__box__inner__memory_max="max\n", pod__box__inner__memory_current=str(GIB),
    )  # fmt: skip
    assert free_memory.memory() == (2 * GIB, GIB, GIB)


def test_a_container_may_forbid_swapping(elsewhere: Path) -> None:
    limits = {"memory_max": str(2 * GIB), "memory_current": "0", "memory.swap.max": "0"}
    machine(elsewhere, MEMINFO, "0::/\n", **limits)
    assert free_memory.memory() == (2 * GIB, 2 * GIB, 0)


def test_the_older_groups_are_read_too(elsewhere: Path) -> None:
    """Version 1, seen from inside a container that knows its group only by its outer name."""
    machine(
        elsewhere, MEMINFO, "5:cpu:/docker/a\n4:memory:/docker/a\n",
        memory__memory_limit_in_bytes=str(GIB), memory__memory_usage_in_bytes=str(GIB // 2),
        memory__memory_stat=f"total_inactive_file {GIB // 4}\n",
    )  # fmt: skip
    assert free_memory.memory() == (GIB, 3 * GIB // 4, GIB)


def test_a_group_without_a_limit_limits_nothing(elsewhere: Path) -> None:
    unlimited = {"memory_limit_in_bytes": str(2**63 - 4096), "memory_usage_in_bytes": str(GIB)}
    machine(elsewhere, MEMINFO, "4:memory:/\n", **{f"memory__{name}": text for name, text in unlimited.items()})
    assert free_memory.memory() == (8 * GIB, 4 * GIB, GIB)


def test_this_machine_says_how_much_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    found = free_memory.memory()
    if found.free is None:
        pytest.skip("this system does not say how much memory is free")
    assert 0 < found.free <= found.total
    monkeypatch.setattr(free_memory, "memory", lambda: found)  # asked again it would say another figure
    assert memory.free_bytes() == found.free + found.swap


def test_where_nobody_says_nothing_is_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # no /proc, no psutil
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert free_memory.memory().free is None and memory.free_bytes() is None
    memory.check("a model as large as the moon", 1e30)
    predictor = SamPredictor(document_sam(**SMALL).eval())
    predictor.set_image(np.zeros((64, 64, 3), np.uint8))
    assert predictor.is_image_set


# the check


def test_a_model_that_does_not_fit_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 300)
    with pytest.raises(TooLittleMemoryError) as caught:
        sam_model_registry["vit_b"]()
    assert str(caught.value) == (
        "vit_b, for its weights alone, needs 0.38 GB of memory, and 0.30 GB are free on this machine: take a smaller "
        "model (python -m samlite doctor lists what each needs) or precision='int8', close other programs, or set "
        "SAMLITE_MEMORY_CHECK=off to try all the same"
    )
    assert isinstance(caught.value, MemoryError)
    with pytest.raises(TooLittleMemoryError, match="^document_vit_h, .* needs 2.57 GB .* 0.30 GB are free"):
        sam_model_registry["document_vit_h"]()
    with pytest.raises(TooLittleMemoryError, match="^vit_h, .* needs 2.56 GB"):  # and nothing is downloaded
        sam_model_registry["vit_h"]("vit_h")


def test_a_file_that_does_not_fit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.pth"
    torch.save(to_official(released_sam(**RELEASED).state_dict()), path)
    shapes = released_sam(**RELEASED, device="meta")
    assert path.stat().st_size == pytest.approx(memory.weight_bytes(shapes), rel=0.2)
    free(monkeypatch, 0.1)
    with pytest.raises(TooLittleMemoryError, match="^own.pth, for its weights alone, needs 277 kB of memory, and 100"):
        load_checkpoint(shapes, path)
    with pytest.raises(TooLittleMemoryError, match=r"^tiny.safetensors, .* needs \d+ MB"):
        sam_model_registry["tiny"]()
    free(monkeypatch, 100)
    assert load_checkpoint(shapes, path).device.type == "cpu"
    assert load_document_sam(ROOT / "samlite" / "weights" / "tiny.safetensors").device.type == "cpu"


def test_a_photo_that_does_not_fit_is_refused_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = document_sam(**SMALL).eval()
    photo = np.zeros((64, 48, 3), np.uint8)
    predictor = SamPredictor(sam)
    free(monkeypatch, 10)
    needed = memory.in_words(memory.encoding_bytes(sam))
    with pytest.raises(TooLittleMemoryError) as caught:
        predictor.set_image(photo)
    assert str(caught.value) == (
        f"encoding a photo with this model (1 blocks, 32 wide, 64×64) needs {needed} of memory, and 10 MB are free on "
        "this machine: take a smaller model, close other programs, or set SAMLITE_MEMORY_CHECK=off to try all the same"
    )
    assert not predictor.is_image_set
    monkeypatch.setenv("SAMLITE_MEMORY_CHECK", "off")
    predictor.set_image(photo)
    monkeypatch.delenv("SAMLITE_MEMORY_CHECK")
    predictor.set_image(photo)  # it did fit: asked once
    assert predictor.is_image_set


def test_photos_that_do_not_fit_together_are_refused_before_they_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = document_sam(**SMALL).eval()
    batch = [{"image": torch.full((3, 64, 48), 9.0), "original_size": (64, 48)}] * 3
    needed = [memory.encoding_bytes(sam, pictures) for pictures in (1, 2, 3)]
    assert needed[0] == memory.encoding_bytes(sam) and needed[2] - needed[1] == needed[1] - needed[0] > 0
    free(monkeypatch, (needed[2] - 1) / 1e6)
    with pytest.raises(TooLittleMemoryError) as caught:
        sam(batch, True)
    assert str(caught.value).startswith("encoding 3 photos at once with this model (1 blocks, 32 wide, 64×64) needs ")
    assert ": pass fewer at once, take a smaller model, close " in str(caught.value)
    assert len(sam(batch[:2], True)) == 2
    fast = use_fast_paths(released_sam(**RELEASED, device="meta"))  # one photo after the other: only its copies add up
    more, plain = (memory.encoding_bytes(each, 2) - memory.encoding_bytes(each) for each in (fast, sam))
    assert 0 < more < plain


def test_masks_that_do_not_fit_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the predictor and by the batched call alike: 400 boxes, and a photo much larger than the model's frame."""
    sam = document_sam(**SMALL).eval()
    boxes = torch.tensor([[1.0, 2, 30, 40]]).repeat(400, 1)
    needed = 4 * 400 * 3 * (64 * 64 + 640 * 480)
    free(monkeypatch, (needed - 1) / 1e6)
    said = f"bringing the masks of 400 prompts to the photo's size needs {memory.in_words(needed)} of memory"
    picture = {"image": torch.full((3, 64, 48), 9.0), "original_size": (640, 480), "boxes": boxes}
    with pytest.raises(TooLittleMemoryError, match=said):
        sam([picture], True)
    predictor = SamPredictor(sam)
    predictor.set_image(np.full((640, 480, 3), 9, np.uint8))
    with pytest.raises(TooLittleMemoryError, match=said):
        predictor.predict_torch(None, None, boxes)
    assert len(sam([picture | {"boxes": boxes[:2]}], True)[0]["masks"]) == 2


def test_memory_that_runs_out_in_a_call_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, *args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")

    sam = document_sam(**SMALL).eval()
    batch = [{"image": torch.full((3, 64, 48), 9.0), "original_size": (64, 48)}]
    for step in ("encode_image", "decode_masks", "resize_masks"):
        with monkeypatch.context() as context:
            context.setattr(type(sam), step, full)
            with pytest.raises(TooLittleMemoryError, match="^a call with this model .* found .*: pass fewer at once"):
                sam(batch, True)


def test_on_the_command_line_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    free(monkeypatch, 1)
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30)).save(photo)
    assert command_line.main(["segment", str(photo), "--point", "1,1", "-o", str(tmp_path / "mask.png")]) == 2
    assert capsys.readouterr().err.startswith("samlite: tiny.safetensors, for its weights alone, needs ")


@pytest.mark.parametrize(
    ("error", "device", "ends"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB"), "cuda", ", or use device='cpu'"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "cpu", "close other programs"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), "cpu", "close other programs"),
    ],
)
def test_what_could_not_be_foreseen_is_said_in_words(error: RuntimeError, device: str, ends: str) -> None:
    with (
        pytest.raises(TooLittleMemoryError, match=r"^this model found too little memory on ") as caught,
        memory.out_of_memory_in_words("this model", device),
    ):
        raise error
    assert str(caught.value).endswith(ends) and caught.value.__cause__ is error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="^shapes$"), memory.out_of_memory_in_words("this model", "cpu"):
        raise RuntimeError("shapes")


def test_an_unknown_device_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.free_bytes("meta") is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * GIB)
    assert memory.free_bytes("cuda") == 6 * GIB
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 5 * GIB)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: GIB)
    free(monkeypatch, 1000)
    assert memory.free_bytes("mps") == 1e9


# what a model needs

MODELS = {
    "tiny": 'sam_model_registry["tiny"]()',
    "document": "document_sam(width=256, depth=1, heads=4).eval()",
    "fast": "use_fast_paths(released_sam(width=256, depth=2, heads=4, global_blocks=(1,)).eval())",
    "plain": "released_sam(image_size=512, width=256, depth=2, heads=4, global_blocks=(1,)).eval()",
}
MEASURE = """
import torch
from samlite import document_sam, released_sam, sam_model_registry
from samlite.fast import use_fast_paths
from samlite.learning.measure import megabytes_of
from samlite.memory import FIRST_USE, encoding_bytes

def encode():
    image = torch.full(({pictures}, 3, sam.image_size, sam.image_size), 9.0)
    return sam.encode_image(sam.normalise(image))

for sam in ({models}):
    with torch.no_grad():
        megabytes_of(encode)  # kernels, for the first time
        peak = megabytes_of(encode)
    print((encoding_bytes(sam, {pictures}) - FIRST_USE) / 2**20, peak)
"""
LOAD = """
import os, sys, torch
from pathlib import Path
from samlite import released_sam
from samlite.learning.measure import megabytes_of
from samlite.released.key_map import to_official
small, sizes, path = {small}, {sizes}, Path(sys.argv[1])
for each in (small, sizes):
    torch.save(to_official(released_sam(**each).state_dict()), path)
    loaded = []
    peak = megabytes_of(lambda: loaded.append(released_sam(**each, checkpoint=path)))
print(path.stat().st_size / 2**20, peak)
"""
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not count peaks anew")


@linux
@pytest.mark.parametrize(("pictures", "names"), [(1, list(MODELS)), (3, ["tiny", "plain"])])
def test_what_photos_need_follows_from_the_sizes(pictures: int, names: list[str]) -> None:
    """Room for all arrays that are alive at once, and for what the C library keeps beside them, but not for twice."""
    lines = numbers(MEASURE.format(models=", ".join(MODELS[name] for name in names), pictures=pictures))
    for name, (expected, arrays) in zip(names, lines, strict=True):
        assert arrays - 4 <= expected <= 1.6 * arrays + 4, f"{name}: {expected} MiB expected, {arrays} of arrays"


@linux
def test_weights_are_held_once_while_they_are_read(tmp_path: Path) -> None:
    sizes = {"width": 512, "depth": 2, "heads": 8, "global_blocks": (1,)}
    ((size, peak),) = numbers(LOAD.format(small=RELEASED, sizes=sizes), str(tmp_path / "own.pth"))
    assert peak <= 1.1 * size + 4


def test_needs_are_known_without_the_weights() -> None:
    for name in ("vit_b", "vit_l", "vit_h", "document_vit_h"):
        sam = sam_model_registry[name](device="meta")
        assert sam.device.type == "meta"
        assert memory.weight_bytes(sam) == sum(4 * p.numel() for p in (*sam.parameters(), *sam.buffers()))
    plain = released_sam(device="meta")
    needed = memory.encoding_bytes(plain)
    assert needed > 3 * memory.encoding_bytes(use_fast_paths(plain))


def test_doctor_says_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1000)
    rows = {row["model"]: row for row in doctor.models_report()}
    assert set(rows) == set(sam_model_registry) - {"default"}
    assert rows["tiny"]["fits"] and rows["vit_b"]["fits"] and not rows["vit_h"]["fits"]
    assert rows["vit_b"]["file"] == "sam_vit_b_01ec64.pth" and rows["document_vit_h"]["file"] is None
    free(monkeypatch, None)
    assert {row["fits"] for row in doctor.models_report()} == {None}
