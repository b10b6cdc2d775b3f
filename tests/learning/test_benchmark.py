"""`python -m samlite bench`: every stage beside its peers, in turn, with what a figure means nothing without."""

import importlib.util
import json
from pathlib import Path

import pytest

from samlite.command_line import main
from samlite.learning import benchmark, measure
from samlite.notebook.benchmark_plots import plot_curves, table, where, words
from samlite.released.fast_decoder import FEW_TOKENS
from samlite.released.fast_encoder import STRIP, TILE_ROWS
from samlite.released.sam import released_sam

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results" / "benchmark.json"


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> dict:
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    given = ["bench", "--small", "--rounds", "1", "--grid", "2", "--prompts", "9", "--json", str(file)]
    assert main(given) == 0
    return json.loads(file.read_text(encoding="utf-8"))


def test_every_stage_has_its_rows(result) -> None:
    stages = {(row["stage"].split(",")[0], row["model"]) for row in result["rows"]}
    assert stages == {
        ("encode a photo", "small"), ("decode a click", "small"), ("decode 9 clicks", "small"),
        ("encode a photo", "tiny"), ("decode a click", "tiny"), ("a training step", "tiny"),
        ("automatic masks", "tiny"),
    }  # fmt: skip
    variants = {row["variant"] for row in result["rows"] if row["model"] == "small"}
    peers = {benchmark.EAGER, benchmark.SDPA} if importlib.util.find_spec("transformers") else set()
    assert variants == {benchmark.FAST, benchmark.PLAIN} | peers
    for row in result["rows"]:
        assert row["cpu_seconds"] > 0 and row["seconds"] > 0 and row["rounds"] >= 1
        assert row["ratio"] == 1 or row["variant"] != benchmark.FAST


def test_the_machine_is_named(result) -> None:
    for name in ("date", "processor", "cores", "threads", "allocator", "dtype", "torch"):
        assert result["machine"][name], name


def test_curves_are_as_long_as_they_should_be(result) -> None:
    assert list(result["curves"]) == ["photos", "blocks", "prompts", "grid points"]
    for points in result["curves"].values():
        counts = [point["count"] for point in points]
        assert len(counts) > 1 and counts == sorted(counts)


def test_the_page_shows_them(result) -> None:
    lines = table(result).splitlines()
    assert len(lines) == 2 + len(result["rows"]) and len({line.count("|") for line in lines}) == 1
    assert result["machine"]["torch"] in where(result)
    figure = plot_curves(result["curves"])
    assert [axis.get_xlabel() for axis in figure.axes[4:]] == list(result["curves"])
    assert "2 times as many photos" in words(result["curves"])


def test_the_figures_of_the_book_can_be_shown() -> None:
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert {"encode a photo", "decode a click"} <= {row["stage"] for row in kept["rows"]}
    assert table(kept) and where(kept) and plot_curves(kept["curves"]) and words(kept["curves"])


def test_the_numbers_of_the_page_are_those_of_vit_b() -> None:
    sam = released_sam(device="meta")
    encoder, text = sam.image_encoder, (RESULTS.parents[1] / "benchmarks.md").read_text(encoding="utf-8")
    block, tokens = encoder.blocks[2], encoder.grid_size**2
    window = (len(encoder.blocks[0].attention.relative_rows) + 1) // 2
    padded = encoder.grid_size + -encoder.grid_size % window
    for number in (
        f"each of {block.attention.heads} heads", f"{block.attention.heads * tokens**2 / 1e6:.0f} million scores",
        f"a tile of {TILE_ROWS * encoder.grid_size}×{tokens}", f"padded to {padded}×{padded}",
        f"multiplies {tokens} tokens, not {padded**2}", f"strips of {STRIP} tokens",
        f"take {4 * tokens * block.attention.qkv_projection.out_features / 1e6:.0f} MB",
        f"the middle of an MLP {4 * tokens * block.mlp.layers[0].out_features / 1e6:.0f} MB",
        f"A click makes {1 + len(sam.mask_decoder.mask_tokens) + 2} tokens", f"up to about {FEW_TOKENS} tokens",
    ):  # fmt: skip
        assert number in " ".join(text.split()), number


def test_alternatives_take_turns() -> None:
    order: list[str] = []
    costs = measure.interleaved({name: lambda name=name: order.append(name) for name in "ab"}, rounds=2)
    assert "".join(order) == "ab" + "ab" * 2, "once for the memory, then in turns"
    assert costs["a"].rounds == 2
    with pytest.raises(ValueError, match="at least one"):
        measure.interleaved({}, rounds=0)


def test_a_call_that_takes_long_is_not_warmed_up(monkeypatch) -> None:
    monkeypatch.setattr(measure, "SLOW", -1.0)
    calls: list[int] = []
    assert measure.interleaved({"a": lambda: calls.append(1)}, rounds=2)["a"].rounds == 2
    assert len(calls) == 2


def test_memory_is_what_a_call_adds() -> None:
    cost = measure.interleaved({"a": lambda: bytearray(50_000_000)}, rounds=1)["a"]
    if cost.megabytes is None:
        pytest.skip("this system does not say what a process has held")
    assert 40 < cost.megabytes < 60


def test_both_ways_share_their_weights() -> None:
    sam = benchmark.Plan(small=True).released()
    fast, plain = benchmark.both(sam)
    assert type(fast.image_encoder) is not type(plain.image_encoder) and type(plain.mask_decoder) is type(
        sam.mask_decoder
    )
    ours = dict(fast.named_parameters())
    assert all(ours[name] is value for name, value in plain.named_parameters())
