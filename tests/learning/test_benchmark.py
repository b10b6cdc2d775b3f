"""`python -m samlite bench`: every stage beside its peers, in turn, with what a figure means nothing without."""

import importlib.util
import json
from pathlib import Path

import pytest
import skimage
import torch

from samlite import SamAutomaticMaskGenerator, bench_command
from samlite.command_line import main
from samlite.learning import benchmark, measure, peers, waterfall
from samlite.learning.cost_curves import sentence, trends
from samlite.learning.stand_in import stand_in
from samlite.notebook.benchmark_plots import plot_curves, plot_waterfall, table, waterfall_words, where, words
from samlite.released.fast_decoder import FEW_TOKENS
from samlite.released.fast_encoder import STRIP, TILE_ROWS
from samlite.released.official_package import is_installed
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
        ("automatic masks", "tiny"), ("automatic masks", "released decoder"),
    }  # fmt: skip
    variants = {row["variant"] for row in result["rows"] if row["model"] == "small"}
    installed = {peers.EAGER, peers.SDPA} if importlib.util.find_spec("transformers") else set()
    installed |= {peers.OFFICIAL} if is_installed() else set()
    assert variants == {peers.FAST, peers.PLAIN} | installed
    for row in result["rows"]:
        assert row["cpu_seconds"] > 0 and row["seconds"] > 0 and row["rounds"] >= 1
        assert row["ratio"] == 1 or row["variant"] != peers.FAST
        assert row["difference"] is None or row["difference"] <= peers.SAME_RECORDS


def test_a_checkpoint_is_a_file_or_a_name_that_is_downloaded(tmp_path, monkeypatch, capsys) -> None:
    plans, file = [], tmp_path / "downloaded.pth"
    monkeypatch.setattr(bench_command, "stages", lambda plan: plans.append(plan) or [])
    monkeypatch.setattr("samlite.released.download.official_weights", lambda name: file)
    words = ["bench", "--model", "vit_l", "--only", "encoder"]
    assert main([*words, "--checkpoint", "vit_l"]) == 0 and main(words) == 0
    assert [plan.checkpoint for plan in plans] == [str(file), None]
    for name, says in {"vit_b": "holds the weights of vit_b, not of vit_l", "none.pth": "there is no file"}.items():
        assert main([*words, "--checkpoint", name]) == 2
        assert says in capsys.readouterr().err
    assert len(plans) == 2


def test_the_machine_is_named(result) -> None:
    (machine,) = result["machines"]
    for name in ("date", "processor", "cores", "threads", "allocator", "dtype", "torch"):
        assert machine[name], name
    assert {row["machine"] for row in (*result["rows"], *result["waterfall"])} == {0}


def test_a_later_call_adds_to_the_file() -> None:
    def found(stage: str, value: int) -> dict:
        row = {"stage": stage, "model": "m", "variant": "v", "cpu_seconds": value}
        return bench_command._empty() | {"rows": [row, row | {"variant": "w"}]}

    first = bench_command.merged(bench_command._empty(), found("a", 1), {"torch": "1", "load": 3})
    first = bench_command.merged(first, found("b", 2), {"torch": "1", "load": 5})
    assert len(first["machines"]) == 1 and [row["stage"] for row in first["rows"]] == ["a", "a", "b", "b"]
    second = bench_command.merged(first, found("a", 3), {"torch": "2", "load": 3})
    assert [(row["cpu_seconds"], row["machine"]) for row in second["rows"]] == [(3, 1), (3, 1), (2, 0), (2, 0)]
    third = bench_command.merged(second, found("b", 4), {"torch": "2", "load": 0})
    assert third["machines"] == [{"torch": "2", "load": 3}] and {row["machine"] for row in third["rows"]} == {0}
    kept = second | {"curves": {"photos": [{"count": 1, "machine": 1}]}}
    for _ in range(2):  # saved after each row: what was there before is merged again and again
        again = bench_command.merged(kept, found("b", 5), {"torch": "3", "load": 0})
        assert again["machines"][again["curves"]["photos"][0]["machine"]]["torch"] == "2"


def test_every_waterfall_falls_from_the_released_way(result) -> None:
    parts = {step["part"]: step["step"] for step in reversed(result["waterfall"])}
    assert list(parts)[::-1] == ["encoder", "decoder", "batch", "folded", "automatic"]
    assert [parts[name] for name in ("encoder", "decoder", "automatic")] == [waterfall.RELEASED] * 3
    text = (RESULTS.parents[1] / "benchmarks.md").read_text(encoding="utf-8")
    for part in parts:
        steps = [step for step in result["waterfall"] if step["part"] == part]
        assert len(steps) > 1 and f"```{{waterfall}} {part}\n" in text
        assert all(step["difference"] <= peers.SAME_RECORDS for step in steps)
        figure = plot_waterfall(steps)
        assert [label.get_text().replace("\n", " ") for label in figure.axes[0].get_yticklabels()] == [
            step["step"] for step in steps
        ]
        assert all(step["step"] in waterfall_words(steps) for step in steps)


def test_what_differs_is_not_timed() -> None:
    one = torch.ones(3)
    assert peers.differences({"a": one, "b": one + 1e-6}, "a")["b"] > 0
    with pytest.raises(ValueError, match="b is .* from a"):
        peers.differences({"a": one, "b": one + 1e-4}, "a")


def test_the_stand_in_lets_through_what_was_asked_for() -> None:
    photo = skimage.data.astronaut()
    made = {}
    for likely in (0.2, 0.8):
        sam = stand_in(photo, likely, image_size=128)
        settings = {"points_per_side": 6, "box_nms_thresh": 1.0, "output_mode": "uncompressed_rle"}
        made[likely] = len(SamAutomaticMaskGenerator(sam, stability_score_thresh=0.0, **settings).generate(photo)) / 108
        assert abs(made[likely] - likely) < 0.1
        stable = len(SamAutomaticMaskGenerator(sam, **settings).generate(photo)) / 108
        assert 0.2 * made[likely] < stable < 0.8 * made[likely]


def test_a_straight_line_is_recognised() -> None:
    points = [{"count": n, "cpu_seconds": 0.5 + 0.25 * n, "megabytes": 10.0 + (n > 1)} for n in (1, 2, 4, 8)]
    line = trends({"photos": points})["photos"]
    assert line.fixed == pytest.approx(0.5) and line.each == pytest.approx(0.25) and line.off < 1e-9
    assert line.memory == pytest.approx(1.1)
    bent = [point | {"cpu_seconds": point["count"] ** 2} for point in points]
    assert trends({"photos": bent})["photos"].off > 0.1
    assert "250.00 ms for each and 500 ms once" in sentence("photos", line)


def test_costs_grow_in_proportion_and_memory_does_not() -> None:
    kept = trends(json.loads(RESULTS.read_text(encoding="utf-8"))["curves"])
    for against in ("photos", "prompts"):
        assert kept[against].off < 0.1, against
    for against in ("photos", "grid points"):
        assert kept[against].memory < 1.5, against


def test_curves_are_as_long_as_they_should_be(result) -> None:
    assert list(result["curves"]) == ["photos", "blocks", "prompts", "grid points"]
    for points in result["curves"].values():
        counts = [point["count"] for point in points]
        assert len(counts) > 1 and counts == sorted(counts)


def test_the_page_shows_them(result) -> None:
    lines = table(result).splitlines()
    assert len(lines) == 2 + len(result["rows"]) and len({line.count("|") for line in lines}) == 1
    assert result["machines"][0]["torch"] in where(result)
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
    fast, plain = peers.both(sam)
    assert type(fast.image_encoder) is not type(plain.image_encoder) and type(plain.mask_decoder) is type(
        sam.mask_decoder
    )
    ours = dict(fast.named_parameters())
    assert all(ours[name] is value for name, value in plain.named_parameters())
