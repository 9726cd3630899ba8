"""`stpn doctor`: what it says of a machine that works, and of one that lacks something."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from stpn.engine import weights
from stpn.plugin import machine, render
from stpn.plugin.cli import main
from stpn.plugin.doctor import satisfies

ALIGNED = weights.shipped("aligned")
Findings = dict[str, dict[str, Any]]


class Doctor:
    """`stpn doctor --json` as a person runs it."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def examine(self, *options: str) -> tuple[int, Findings]:
        """Exit code, and findings by name."""
        code, out = self.run("--json", *options)
        report = json.loads(out)
        assert report["ok"] == (code == 0)
        for finding in report["findings"]:
            assert finding["status"] in ("ok", "warning", "error")
            assert finding["status"] != "error" or finding["advice"], finding
        return code, {finding["name"]: finding for finding in report["findings"]}

    def run(self, *options: str) -> tuple[int, str]:
        """Exit code and standard output."""
        self._capture.readouterr()
        code = main(["doctor", *options])
        return code, self._capture.readouterr().out


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.delenv("OCIO", raising=False)
    return Doctor(capsys)


def test_a_whole_installation_works(doctor: Doctor) -> None:
    code, found = doctor.examine()
    assert code == 0
    assert found["numpy"]["value"] == np.__version__
    assert found["Python"]["value"].startswith(platform.python_version())
    assert found["processors"]["details"] == len(os.sched_getaffinity(0))
    assert found["OCIO config"]["value"].startswith("built-in studio-config-v5.0.0_aces-v2.1_ocio-v2.6")
    assert found["scene_linear"]["value"] == "ACEScg"
    assert found["method"]["value"] == "aligned"
    assert found["trial"]["status"] == "ok"
    assert {"torch", "OpenEXR", "OpenImageIO", "PyOpenColorIO (opencolorio)", "numba", "safetensors"} <= set(found)


def test_text_has_a_mark_a_line(doctor: Doctor) -> None:
    code, out = doctor.run("--ocio", "nowhere.ocio")
    assert code == 1
    lines = out.splitlines()
    config = next(index for index, line in enumerate(lines) if "OCIO config" in line)
    assert lines[config].split() == ["error", "OCIO", "config", "--ocio", "nowhere.ocio"]
    assert lines[config + 1].strip().startswith("-> expected an OCIO config file, found nothing")
    assert lines[-1] == "stpn propagate does not work here, see the errors"


def test_nonsense_in_OCIO_is_an_error_and_nothing_is_tried(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIO", "/nonsense/config.ocio")
    code, found = doctor.examine()
    assert code == 1
    assert found["OCIO config"]["status"] == "error"
    assert "$OCIO (/nonsense/config.ocio)" in found["OCIO config"]["advice"]
    assert (found["trial"]["status"], found["trial"]["value"]) == ("error", "not made, see the errors above")


def test_a_config_without_scene_linear_is_an_error(doctor: Doctor, tmp_path: Path) -> None:
    import PyOpenColorIO as ocio

    config = ocio.Config.CreateRaw()
    for role, _ in list(config.getRoles()):
        config.setRole(role, None)
    config.setVersion(1, 0)
    path = tmp_path / "bare.ocio"
    path.write_text(config.serialize(), encoding="utf-8")
    code, found = doctor.examine("--ocio", str(path))
    assert code == 1
    assert (found["scene_linear"]["status"], found["scene_linear"]["value"]) == ("error", "the config has no such role")


@pytest.mark.parametrize(("module", "name"), [("fileseq", "fileseq"), ("cv2", "cv2 (opencv-python-headless)")])
def test_a_missing_package_is_named_with_what_to_run(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, found = doctor.examine()
    assert code == 1
    assert (found[name]["status"], found[name]["value"]) == ("error", "not installed")
    distribution = "opencv-python-headless" if module == "cv2" else module
    assert f'-m pip install "{distribution}' in found[name]["advice"]


def test_without_matplotlib_propagate_still_works(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, found = doctor.examine()
    assert (code, found["matplotlib"]["status"]) == (0, "warning")
    assert "`stpn compare` cannot draw" in found["matplotlib"]["advice"]


@pytest.mark.parametrize(
    ("found", "wanted", "met"),
    [
        ("2.4.6", ">=2.4", True),
        ("2.10", ">=2.4", True),
        ("1.26.4", ">=2.4", False),
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.1", "==2.13.0", False),
        ("5.0.0.93", ">=5.0", True),
        ("anything", "", True),
    ],
)
def test_versions(found: str, wanted: str, met: bool) -> None:
    assert satisfies(found, wanted) is met


def test_weights_are_listed_with_their_metadata(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(weights, "__file__", str(tmp_path / "__init__.py"))
    code, found = doctor.examine()
    assert (code, found["shipped"]["value"], found["shipped"]["status"]) == (1, "none", "error")
    metadata = {"trained": "ten steps\nin three lines\n"}
    save_file({"a": np.zeros(1 << 18, np.float32)}, tmp_path / "tint.safetensors", metadata)
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 20)
    shutil.copy(ALIGNED, tmp_path)
    code, found = doctor.examine()
    assert code == 0
    assert (found["tint"]["status"], found["tint"]["value"]) == ("ok", "1.0 MiB")
    assert found["tint"]["lines"] == ["trained: ten steps"]
    assert (found["torn"]["status"], "broken" in found["torn"]["value"]) == ("warning", True)


def test_a_folder_for_temporary_files_that_is_missing(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    code, found = doctor.examine()
    assert (code, found["temporary files"]["status"]) == (1, "error")
    assert "TMPDIR" in found["temporary files"]["advice"]


def test_a_trial_that_fails_is_an_error(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(shot: object) -> None:
        raise render.RenderError("frame 2: no\nluck")

    monkeypatch.setattr(render, "render", failing)
    code, found = doctor.examine()
    assert (code, found["trial"]["status"], found["trial"]["value"]) == (1, "error", "frame 2: no luck")


class Driver:
    """Stands in for NVIDIA's driver library."""

    def __init__(self, error: int, names: tuple[bytes, ...]) -> None:
        self.error, self.names = error, names

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDeviceGetCount(self, count: Any) -> None:
        count._obj.value = len(self.names)

    def cuDeviceGet(self, device: Any, index: int) -> None:
        device._obj.value = index

    def cuDeviceGetName(self, buffer: Any, size: int, device: Any) -> None:
        buffer.value = self.names[device.value]

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> None:
        memory._obj.value = 24 << 30


@pytest.mark.parametrize(
    ("driver", "words", "status"),
    [
        (None, "none: there is no driver library", "ok"),
        (Driver(0, (b"Tesla T1", b"Tesla T2")), "Tesla T1, 24 GiB, Tesla T2, 24 GiB", "ok"),
        (Driver(100, ()), "cuInit fails with error 100", "warning"),
    ],
    ids=["no driver", "two GPUs", "driver without device"],
)
def test_gpus_are_those_of_the_driver(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, driver: Driver | None, words: str, status: str
) -> None:
    def load(name: str) -> Driver:
        if driver is None:
            raise OSError(f"{name}: cannot open")
        return driver

    with monkeypatch.context() as alone:  # nothing else may look for libraries meanwhile
        alone.setattr(ctypes, "CDLL", load)
        said = machine.nvidia_gpus()
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: said)
    code, found = doctor.examine()
    assert (code, found["NVIDIA GPU"]["status"]) == (0, status)
    assert words in found["NVIDIA GPU"]["value"]
    assert len(found["NVIDIA GPU"]["details"]) == (len(driver.names) if driver else 0)


def test_spaces_and_views_are_listed(doctor: Doctor) -> None:
    code, out = doctor.run("--spaces")
    assert code == 0
    assert "  ACEScg  (scene-linear; " in out
    assert "  sRGB - Display: ACES 2.0 - SDR 100 nits (Rec.709), Un-tone-mapped" in out
    listed = json.loads(doctor.run("--spaces", "--json")[1])
    assert "scene_linear" in next(space for space in listed["spaces"] if space["name"] == "ACEScg")["roles"]


def test_memory_and_processor_are_those_of_the_system() -> None:
    memory = machine.memory_gib()
    assert memory is not None
    assert 0 < memory[1] <= memory[0] <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 + 0.01
