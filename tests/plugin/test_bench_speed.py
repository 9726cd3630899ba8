"""`stpn bench speed`: what it prints and writes, and that it times nothing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stpn.engine.evaluation import speed
from stpn.plugin import bench_speed
from stpn.plugin.cli import main


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that take no time."""
    monkeypatch.setattr(bench_speed, "_SHAPES", ((1, 2, 9, 12),))
    monkeypatch.setattr(bench_speed, "SIZES", {"1080p": (96, 64), "4K": (128, 96)})


def test_all_parts_are_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed.json"
    assert main(["bench", "speed", "--rounds", "2", "--size", "1080p", "4K", "--json", str(path)]) == 0
    said, report = capsys.readouterr().out, json.loads(path.read_text())
    assert report["device"] == "cpu, there is no driver library libcuda.so.1"
    assert set(report["machine"]) >= {"processor", "torch", "stpn"}
    (of_shape,) = report["operator"].values()
    assert {len(times) for name, times in of_shape["seconds"].items() if name != "loop over columns"} == {2}
    assert of_shape["bytes"] == 4 * (2 * 2 * 9 * 12 + 4 * 3 * 9 * 12)
    assert set(report["network"]["batch 1"]) == set(speed.PAPER)
    assert set(report["method"]) == {"1080p", "4K"}
    assert "paper (TITAN X)" in said
    assert "aligned, 4K" in said


def test_nothing_is_timed_that_is_wrong(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    honest: Any = speed.propagate
    monkeypatch.setattr(speed, "propagate", lambda x, gates: honest(x, gates) + 0.001)
    assert main(["bench", "speed", "--rounds", "1", "--part", "operator"]) == 1
    said = capsys.readouterr()
    assert "expected the definition's values to 1e-05, got a difference of 0.001" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--device", "cuda"], "--device cuda: expected an NVIDIA GPU"),
        (["--size", "8K"], "expected 1080p or 4K, got 8K"),
    ],
)
def test_wrong_requests(options: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "speed", *options]) == 2
    assert problem in capsys.readouterr().err
