"""`stpn engine`: exit codes, what is said, what is kept; a stand-in builds the engines where some are wanted."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stpn.engine.backends import engine_build, engine_cache
from stpn.engine.backends.engine_build import EngineError
from stpn.engine.backends.engine_cache import EngineKey, Machine
from stpn.engine.backends.tensorrt_plugin import plugin_digest
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.weights import save_network
from stpn.plugin import cli

MACHINE = Machine("NVIDIA L4", "8.9", "580.65.06", "10.13.2")
KEY = EngineKey("AlignedFusion", "aligned", "a" * 64, "b" * 64, "1x272x480", "half", "c" * 64, MACHINE)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of its own."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if "engine" not in cli._COMMANDS:
        monkeypatch.setattr(cli, "_COMMANDS", (*cli._COMMANDS, "engine"))
    return tmp_path / "cache" / "stpn" / "engines"


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)


class StandInBuild:
    """Stands in for TensorRT's part: gives an engine that is none, and counts.

    Attributes:
        built: ONNX graphs that were given.
        machine: what the machine is.
        error: raised in place of building.
    """

    def __init__(self) -> None:
        self.built: list[bytes] = []
        self.machine = MACHINE
        self.error: Exception | None = None

    def build(self, model: bytes, timings: bytes) -> tuple[bytes, bytes]:
        if self.error:
            raise self.error
        self.built.append(model)
        return b"engine", timings + b"."


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandInBuild:
    pytest.importorskip("onnx", reason="needs the package onnx: pip install onnx")
    stand_in = StandInBuild()
    monkeypatch.setattr(engine_build, "find_machine", lambda: stand_in.machine)
    monkeypatch.setattr(engine_build, "build", stand_in.build)
    return stand_in


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_network(path, SwitchableTPN(NetworkConfig(hidden_channels=8, guidance_widths=(8, 12, 16))), {})
    return path


def build(weights: Path, *more: str) -> int:
    return cli.main(["engine", "build", "--method", "stpn", "--weights", str(weights), "--size", "40x32", *more])


@pytest.mark.usefixtures("no_tensorrt")
@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["build", "dry run"])
def test_without_tensorrt_it_says_why_and_what_to_do(
    capsys: pytest.CaptureFixture[str], folder: Path, more: list[str]
) -> None:
    assert cli.main(["engine", "build", *more]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("stpn engine: TensorRT: expected the package tensorrt, got: ")
    assert line.endswith("; run: pip install tensorrt, or go on with --device cpu")
    assert not folder.exists()


@pytest.mark.parametrize("size", ["1920", "0x10", "1920x1080p", "-1x5", "123456x8"])
def test_a_size_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], size: str) -> None:
    assert cli.main(["engine", "build", f"--size={size}"]) == 2
    assert capsys.readouterr().err == f"stpn engine: --size: expected WIDTHxHEIGHT such as 1920x1080, got {size!r}\n"


def test_weights_of_another_network_are_refused(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    assert cli.main(["engine", "build", "--weights", str(weights)]) == 2
    assert "those of SwitchableTPN, not of AlignedFusion" in capsys.readouterr().err


def test_masks_have_the_network_of_aligned(
    stand_in: StandInBuild, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert cli.main(["engine", "build", "--property", "mask", "--method", "stpn"]) == 2
    assert capsys.readouterr().err == (
        "stpn engine: --method: expected aligned, whose network --property mask has, got stpn\n"
    )
    assert cli.main(["engine", "build", "--property", "mask", "--size", "50x40"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.parent == folder
    assert path.name.startswith("MaskRefiner-1x48x64-half-")
    assert len(stand_in.built) == 1


def test_an_engine_is_built_once(
    stand_in: StandInBuild, weights: Path, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert build(weights) == 0
    out, error = capsys.readouterr()
    path = Path(out.strip())
    assert path.parent == folder
    assert path.name.startswith("SwitchableTPN-1x32x40-half-")
    assert path.read_bytes() == b"engine"
    assert error.splitlines() == [
        "NVIDIA L4, driver 580.65.06, TensorRT 10.13.2",
        "40x32 color stpn in half: building, which takes minutes",
    ]
    assert build(weights) == 0
    again, error = capsys.readouterr()
    assert again == out
    assert error.splitlines()[1] == "40x32 color stpn in half: there already"
    assert len(stand_in.built) == 1


def test_what_differs_is_built_anew(stand_in: StandInBuild, weights: Path, folder: Path) -> None:
    assert build(weights) == 0
    assert build(weights, "--fp32") == 0
    stand_in.machine = dataclasses.replace(MACHINE, driver="581.0")
    assert build(weights) == 0
    network = SwitchableTPN(NetworkConfig(hidden_channels=8, guidance_widths=(8, 12, 16)))
    save_network(weights, network, {})  # untrained by another seed
    assert build(weights) == 0
    assert len(stand_in.built) == 4
    assert len(list(folder.glob("*.engine"))) == 4
    # those of one machine share what was measured
    assert sorted(path.read_bytes() for path in folder.glob("*.timing")) == [b"..", b".."]


def test_a_dry_run_writes_nothing(
    stand_in: StandInBuild, weights: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(weights, "--dry-run") == 0
    out, error = capsys.readouterr()
    assert Path(out.strip()).parent == folder
    assert error.splitlines()[1] == "40x32 color stpn in half: would be built"
    assert not stand_in.built
    assert not folder.exists()


def test_several_sizes(stand_in: StandInBuild, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(weights, "--size", "16x16", "33x16", "16x16") == 0
    assert [Path(line).name.split("-")[1] for line in capsys.readouterr().out.splitlines()] == ["1x16x16", "1x16x33"]


def test_what_fails_while_building_is_an_error(
    stand_in: StandInBuild, weights: Path, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    stand_in.error = EngineError("TensorRT 10.13.2: cannot build the engine: out of memory")
    assert build(weights) == 1
    assert "stpn engine: TensorRT 10.13.2: cannot build the engine: out of memory" in capsys.readouterr().err
    assert not folder.exists()


def test_without_onnx_it_says_what_to_install(
    stand_in: StandInBuild, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert build(weights) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("; run: pip install onnx")


@pytest.mark.usefixtures("no_tensorrt")
def test_an_empty_list(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert cli.main(["engine", "list"]) == 0
    out, error = capsys.readouterr()
    assert out == f"{folder}\n  no engines; build some with: stpn engine build\n"
    assert error.startswith("TensorRT: expected the package tensorrt")


def test_the_list_says_what_fits_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.setattr(engine_build, "find_machine", lambda: MACHINE)
    here = dataclasses.replace(KEY, plugin=plugin_digest())
    elsewhere = dataclasses.replace(here, machine=dataclasses.replace(MACHINE, driver="550.54"))
    for key in (here, elsewhere):
        engine_cache.store(folder, key, b"engine")
    (folder / "torn.engine").write_bytes(b"12")
    assert cli.main(["engine", "list", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["machine"] == dataclasses.asdict(MACHINE)
    states = {Path(engine["path"]).name: engine["state"] for engine in told["engines"]}
    assert states == {
        here.file_name: "fits this machine",
        elsewhere.file_name: "stale: driver 550.54 instead of 580.65.06",
        "torn.engine": "unreadable, will not be used",
    }
    assert cli.main(["engine", "list"]) == 0
    assert (
        "  aligned AlignedFusion  1x272x480  half  0.0 MB  NVIDIA L4  TensorRT 10.13.2  fits this machine\n"
        in capsys.readouterr().out
    )


def test_clear_deletes_engines(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    engine_cache.store(folder, KEY, b"engine")
    assert cli.main(["engine", "clear"]) == 0
    assert capsys.readouterr().out == f"{folder}: 1 engine deleted, 0.0 MB\n"
    assert list(folder.iterdir()) == []
