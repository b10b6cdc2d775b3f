"""`python -m samlite doctor`: what is there and what is missing, for a reader and for a report."""

import json
import sys
from pathlib import Path

import pytest
from bare_machine import make_bare_clone, run_bare

from samlite import command_line, doctor
from samlite.registry import sam_model_registry
from samlite.sam import document_sam


@pytest.fixture
def bare_clone(tmp_path: Path) -> Path:
    return make_bare_clone(tmp_path)


@pytest.fixture
def small_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model with random weights in the place of the shipped one."""

    def build() -> object:
        return document_sam(image_size=64, patch_size=8, width=32, depth=1, heads=2, channels=32, decoder_mlp=32).eval()

    monkeypatch.setitem(sam_model_registry, "default", build)


def test_doctor_reports_what_an_issue_needs(small_default: None, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["python"]["version"] == sys.version.split()[0]
    assert report["packages"]["torch"].startswith("2.") and set(report["packages"]) == set(doctor.PACKAGES)
    assert report["memory"]["total_gb"] > 0 and report["disk"]["free_gb"] > 0
    cpu = report["trials"][0]
    assert cpu["device"] == "cpu" and cpu["masks"] == [1, 3, 64, 64] and cpu["finite"]
    assert cpu["encode_ms"] > 0 and cpu["click_ms"] > 0


def test_doctor_speaks_in_a_table(small_default: None, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "64×64" in text and "click on cpu" in text and "Everything that the chapters need is here." in text


def test_doctor_names_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.safetensors").write_bytes(b"abc")
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    (weights,) = doctor.shipped_weights()
    assert weights["file"] == "small.safetensors"
    assert weights["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_doctor_says_how_to_get_missing_weights(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def build() -> None:
        raise FileNotFoundError("no weights at tiny.safetensors: train them with `python -m samlite train tiny`")

    monkeypatch.setitem(sam_model_registry, "default", build)
    assert command_line.main(["doctor"]) == 1
    assert "python -m samlite train tiny" in capsys.readouterr().out


def test_doctor_works_without_pytorch(bare_clone: Path) -> None:
    done = run_bare(bare_clone, "doctor", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["packages"]["torch"] is None and report["torch"] is None and report["trials"] == []
    assert "torch is not installed" in report["problems"][0]
    assert "python3 -m samlite lab" in report["problems"][0]
    assert report["memory"]["total_gb"] is None or report["memory"]["total_gb"] > 0
