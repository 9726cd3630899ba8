"""Which channels each compression changes: what is refused for IDs must be what the OpenEXR library does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from stpn.ocio.convert_steps import lossy_channels
from stpn.ocio.exr_attributes import COMPRESSIONS
from stpn.ocio.plate import inspect_plate

NAMES = ("R", "G", "B", "r", "Y", "BY", "RY", "A", "Z", "x.R", "x.b", "x.red", "crypto00.G", "N.X", "id", "RR")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint32])
def test_exactly_the_channels_named_change(tmp_path: Path, compression: str, dtype: type) -> None:
    random = np.random.default_rng(4)
    noise = {name: random.uniform(0.1, 100, (64, 48)).astype(dtype) for name in NAMES}
    header = {
        "compression": OpenEXR.Compression(COMPRESSIONS.index(compression)), "type": OpenEXR.scanlineimage,
        "dwaCompressionLevel": 200.0,
    }  # fmt: skip
    channels = {name: OpenEXR.Channel(array) for name, array in noise.items()}
    OpenEXR.File(header, channels).write(str(tmp_path / "a.exr"))
    found = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True).channels()
    changed = {name for name in NAMES if found[name].pixels.tobytes() != noise[name].tobytes()}
    told = set(lossy_channels(compression, inspect_plate(tmp_path / "a.exr").parts[0].channels))
    assert changed <= told if compression == "lj2k" else changed == told


def test_lj2k_changes_no_channel_that_is_not_named(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    for number, names in enumerate(
        ("x.R x.G x.B R G B", "r g b A", "red green blue Z", "R G", "Y A", "x.r x.g x.b N.R")
    ):
        noise = {name: random.uniform(0.1, 100, (64, 48)).astype(np.float16) for name in names.split()}
        header = {"compression": OpenEXR.LJ2K_COMPRESSION, "type": OpenEXR.scanlineimage}
        path = tmp_path / f"{number}.exr"
        OpenEXR.File(header, {name: OpenEXR.Channel(array) for name, array in noise.items()}).write(str(path))
        found = OpenEXR.File(str(path), separate_channels=True).channels()
        changed = {name for name in noise if found[name].pixels.tobytes() != noise[name].tobytes()}
        told = set(lossy_channels("lj2k", inspect_plate(path).parts[0].channels))
        # of several layers it changes one, which is its own choice
        assert changed <= told
        assert bool(changed) or not told or "N.R" in noise
