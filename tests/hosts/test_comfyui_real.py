"""The nodes of ComfyUI with the worker and the command line of this environment: the same pictures, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfyui_setup as shared
import numpy as np
import OpenEXR
import pytest
import torch

given_to = shared.given_to
Comfy, host = shared.Comfy, shared.host


@pytest.fixture
def real(tmp_path: Path, host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Comfy]:
    """The nodes with the worker of this environment, in a runtime folder of the test's own."""
    with tempfile.TemporaryDirectory(prefix="stpn-") as folder:
        monkeypatch.setenv("STPN_RUNTIME_DIR", folder)
        monkeypatch.delenv("OCIO", raising=False)
        comfy = Comfy(shared.installed(tmp_path / "custom_nodes" / "stpn", name="test"), host, monkeypatch)
        yield comfy
        for client in comfy.module("frames_node")._clients.values():
            if client._link is not None:
                os.kill(client._link._pid, signal.SIGTERM)  # it would end by itself, ten seconds later
            client.close()
        deadline = time.monotonic() + 10
        while list(Path(folder).glob("*.sock")) and time.monotonic() < deadline:
            time.sleep(0.02)


SPACES = ["--colorspace=sRGB - Texture", "--keys-colorspace=sRGB - Texture"]


def a_shot(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """A gradient that moves, seven frames, keys at 0 and 4; in memory and as EXR files."""
    y, x = np.mgrid[0:40, 0:56].astype(np.float32)
    grey = [0.5 + 0.6 * np.sin((x + 2 * t) / 5) * np.cos((y - t) / 4) for t in range(7)]
    source = np.repeat(np.stack(grey)[..., None], 3, axis=3).astype(np.float32)
    keys = (source[[0, 4]] * np.array([1.1, 1.0, 0.8], np.float32)).astype(np.float32)
    for stem, numbers, pictures in (("plate", range(7), source), ("key", (0, 4), keys)):
        for number, picture in zip(numbers, pictures, strict=True):
            channels = {name: np.ascontiguousarray(picture[..., i]) for i, name in enumerate("RGB")}
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            OpenEXR.File(header, channels).write(str(folder / f"{stem}.{number:04d}.exr"))
    return torch.from_numpy(source), torch.from_numpy(keys)


def read(folder: Path, stem: str) -> np.ndarray[Any, Any]:
    """EXR files of a stem, (B, H, W, C)."""
    found = []
    for path in sorted(folder.glob(f"{stem}.*.exr")):
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
        found.append(np.stack([channels[name].pixels for name in ("RGB" if "R" in channels else channels)], axis=-1))
    return np.stack(found)


def by_command(folder: Path, *options: str) -> None:
    """What the command line makes of the shot."""
    files = [f"--plate={folder}/plate.####.exr", f"--keys={folder}/key.####.exr"]
    command = [sys.executable, "-P", "-m", "stpn.plugin.cli", "propagate", *files, *options]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.mark.parametrize("method", ["Flow", "Aligned"])
def test_pictures_are_what_the_command_line_makes_of_files(real: Comfy, tmp_path: Path, method: str) -> None:
    source, keys = a_shot(tmp_path)
    image, confidence = real.frames.execute(source, keys, interval=4, method=method).args
    outputs = [f"--output={tmp_path}/out.####.exr", f"--confidence={tmp_path}/sure.####.exr"]
    by_command(tmp_path, "--interval=4", f"--method={method.lower()}", *SPACES, *outputs)
    np.testing.assert_array_equal(image.numpy(), read(tmp_path, "out"))
    np.testing.assert_array_equal(image.numpy()[[0, 4]], keys.numpy())
    written = read(tmp_path, "sure")[..., 0]
    np.testing.assert_array_equal(confidence.numpy().astype(written.dtype), written)
    again, _ = real.frames.execute(source, keys, interval=4, method=method).args
    assert torch.equal(again, image)
    with pytest.raises(RuntimeError, match="no_such_space"):
        real.frames.execute(source, keys, interval=4, colorspace="no_such_space")


def test_files_are_what_the_command_line_makes(real: Comfy, tmp_path: Path) -> None:
    a_shot(tmp_path)
    patterns = {"plate": f"{tmp_path}/plate.####.exr", "keys": f"{tmp_path}/key.####.exr"}
    result = f"{tmp_path}/node.####.exr"
    given_settings = given_to(real, **patterns, result=result, frames="1-5", method="Flow", interval=4)
    spaces = {"colorspace": "sRGB - Texture", "keys_colorspace": "sRGB - Texture"}
    assert real.files.execute(**(given_settings | spaces)).args == (result,)
    by_command(tmp_path, "--interval=4", "--method=flow", "--frames=1-5", *SPACES, f"--output={tmp_path}/out.####.exr")
    made = [path.read_bytes() for path in sorted(tmp_path.glob("node.*.exr"))]
    assert len(made) == 5
    assert made == [path.read_bytes() for path in sorted(tmp_path.glob("out.*.exr"))]
    assert real.host.bars == [(5, [1, 2, 3, 4, 5])]
    with pytest.raises(RuntimeError, match=r"stpn propagate: .*no_such_space"):
        real.files.execute(**(given_settings | spaces | {"colorspace": "no_such_space"}))
