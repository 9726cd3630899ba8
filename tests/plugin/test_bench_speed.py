"""`stpn bench speed`: what it prints and writes, and that it times nothing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stpn.engine import working_size
from stpn.engine.backends import tensorrt_network, tensorrt_runtime
from stpn.engine.evaluation import speed
from stpn.engine.weights import load_network, shipped
from stpn.plugin import bench_speed, device
from stpn.plugin.cli import main


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that take no time."""
    monkeypatch.setattr(bench_speed, "_SHAPES", ((1, 2, 9, 12),))
    monkeypatch.setattr(speed, "SIDE", 64)
    monkeypatch.setattr(bench_speed, "SIZES", {"1080p": (96, 64), "4K": (128, 96)})
    monkeypatch.setattr(working_size, "LONG_SIDE", 64)  # so that one is beyond it


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


class Engine:
    """Stands in for an engine of the color network: torch computes, once, what it gives."""

    made: Any = None

    def __init__(self, path: Path, slots: int) -> None:
        self.path, self.slots, self.waiting = path, slots, 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.waiting == 0

    def submit(self, planes: Any) -> None:
        assert list(planes) == ["key_property", "key_guide", "target_guide"]
        self.waiting += 1
        assert self.waiting <= self.slots
        if Engine.made is None:
            with torch.inference_mode():
                carried = load_network(shipped("color"))(*(torch.from_numpy(plane) for plane in planes.values()))
            Engine.made = carried.numpy()

    def result(self, ticket: None) -> dict[str, Any]:
        self.waiting -= 1
        return {"carried": Engine.made}


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with TensorRT and engines."""
    monkeypatch.setattr(bench_speed, "choose_device", lambda asked: (asked, "tensorrt 10.16, a GPU"))
    monkeypatch.setattr(tensorrt_network, "engine_file", lambda network, height, width: Path(f"{width}x{height}"))
    monkeypatch.setattr(tensorrt_runtime, "EngineRunner", Engine)


@pytest.mark.usefixtures("tensorrt")
def test_in_tensorrt(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.json"
    asked = ["bench", "speed", "--device", "tensorrt", "--rounds", "2", "--part", "operator", "network"]
    assert main([*asked, "--json", str(path)]) == 0
    assert "TensorRT runs it inside of its engines" in capsys.readouterr().out
    report = json.loads(path.read_text())
    times = report["network"]["engine"]
    assert {name: len(each) for name, each in times.items()} == {"color, one at a time": 2, "color, 3 in flight": 2}
    monkeypatch.setattr(Engine, "made", Engine.made * 1.1)
    assert main(asked) == 1
    assert "color in TensorRT: expected the definition's values" in capsys.readouterr().err


def test_without_an_engine_it_says_how_to_build_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_speed, "choose_device", lambda asked: (asked, "tensorrt 10.16, a GPU"))
    monkeypatch.setattr(tensorrt_network, "find_machine", lambda: None)
    monkeypatch.setattr(tensorrt_network, "plan_engine", lambda *_: SimpleNamespace(key=None))
    monkeypatch.setattr(tensorrt_network, "find", lambda folder, key: None)
    for part, run in (("network", "--method stpn --size 64x64"), ("method", "--method aligned --size 96x64")):
        assert main(["bench", "speed", "--device", "tensorrt", "--part", part]) == 2
        assert f"run: stpn engine build {run}" in capsys.readouterr().err


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "why_no_cuda", lambda: "")
    monkeypatch.setattr(bench_speed, "_ON_A_GPU", ((2, 3, 17, 33),))
    path = tmp_path / "speed.json"
    asked = ["bench", "speed", "--device", "cuda", "--rounds", "2", "--json", str(path)]
    assert main(asked) == 0
    report = json.loads(path.read_text())
    assert report["device"] == "cuda, as asked"
    for times in report["network"].values():
        assert set(times) == {name + end for name in speed.PAPER for end in ("", speed.UNRECORDED)}
    assert ("triton" in capsys.readouterr().out) or not speed.has_triton()


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
