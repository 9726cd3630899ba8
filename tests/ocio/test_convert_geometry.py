"""Crop and resize: windows, pixels, and which channels have a mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from stpn.ocio.convert import convert
from stpn.ocio.convert_geometry import plan_geometry
from stpn.ocio.convert_request import Resize
from stpn.ocio.plate import inspect_plate, new_plate, write_plate

Array = np.ndarray[Any, Any]


def pixels(path: Path) -> dict[str, Array]:
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    return {name: channel.pixels for name, channel in channels.items()}


def windows(path: Path) -> tuple[object, object]:
    part = inspect_plate(path).parts[0]
    return part.data_window, part.display_window


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Data window beside the display window."""
    values = np.arange(1, 49, dtype=np.float32).reshape(6, 8)
    channels = {"R": values, "G": values, "B": values, "id": values.astype(np.uint32), "Z": values}
    plate = new_plate(channels, data_window=(-2, 1, 5, 6), display_window=(0, 0, 7, 7), attributes={"owner": "me"})
    write_plate(tmp_path / "in.exr", plate)
    return tmp_path / "in.exr"


def test_crop_to_the_display_window_drops_and_fills(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out.exr", crop="display", check=True)
    assert windows(tmp_path / "out.exr") == ((0, 0, 7, 7), (0, 0, 7, 7))
    before, after = pixels(source), pixels(tmp_path / "out.exr")
    for name, array in after.items():
        expected = np.zeros((8, 8), array.dtype)
        expected[1:7, :6] = before[name][:, 2:]
        assert (array == expected).all(), name


def test_crop_to_the_data_window_moves_the_display_window_alone(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out.exr", crop="window", check=True)
    assert windows(tmp_path / "out.exr") == ((-2, 1, 5, 6), (-2, 1, 5, 6))
    before, after = pixels(source), pixels(tmp_path / "out.exr")
    assert all(after[name].tobytes() == before[name].tobytes() for name in before)
    assert inspect_plate(tmp_path / "out.exr").parts[0].attributes["owner"] == "me"


def test_half_size_is_the_mean_of_four_for_color_and_one_of_them_for_data(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out.exr", resize="50%", check=True)
    assert windows(tmp_path / "out.exr") == ((-1, 0, 2, 2), (0, 0, 3, 3))
    before, after = pixels(source), pixels(tmp_path / "out.exr")
    blocks = before["R"].reshape(3, 2, 4, 2).transpose(0, 2, 1, 3).reshape(3, 4, 4)
    np.testing.assert_allclose(after["R"], blocks.mean(axis=2))
    for name in ("id", "Z"):
        assert after[name].dtype == before[name].dtype
        assert np.isin(after[name], before[name]).all()
        assert (np.abs(after[name].astype(float) - blocks.mean(axis=2)) < 8.1).all()


def test_a_larger_picture_stays_between_its_neighbours(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out.exr", resize="20x12")
    assert inspect_plate(tmp_path / "out.exr").parts[0].display_window == (0, 0, 19, 11)
    after = pixels(tmp_path / "out.exr")
    assert after["R"].shape == (9, 20)
    assert after["R"].min() >= 1
    assert after["R"].max() <= 48


def test_pixels_are_averaged_in_linear_light(tmp_path: Path) -> None:
    checkers = np.indices((8, 8)).sum(axis=0) % 2
    linear = np.where(checkers, 4.0, 0.01).astype(np.float32)
    write_plate(tmp_path / "in.exr", new_plate(dict.fromkeys("RGB", linear)))
    convert(tmp_path / "in.exr", tmp_path / "a.exr", from_space="ACEScg", to_space="ACEScct", resize="50%")
    convert(tmp_path / "in.exr", tmp_path / "log.exr", from_space="ACEScg", to_space="ACEScct")
    convert(tmp_path / "log.exr", tmp_path / "b.exr", to_space="ACEScg", resize="50%")
    np.testing.assert_allclose(pixels(tmp_path / "b.exr")["R"], 2.005, rtol=1e-4)
    convert(tmp_path / "a.exr", tmp_path / "c.exr", to_space="ACEScg")
    np.testing.assert_allclose(pixels(tmp_path / "c.exr")["R"], 2.005, rtol=1e-4)


@pytest.mark.parametrize("resize", [Resize(1, 1), Resize(factor=0.01), Resize(13, 5), Resize(factor=2.5)])
def test_windows_never_become_empty(resize: Resize) -> None:
    for data in ((0, 0, 0, 0), (-7, -9, 30, 4), (100, 100, 101, 130)):
        geometry = plan_geometry(data, (0, 0, 19, 9), None, resize)
        for left, top, right, bottom in (geometry.data, geometry.display):
            assert left <= right
            assert top <= bottom


def test_tiles_and_line_order_stay_through_a_new_size(tmp_path: Path) -> None:
    tiles = OpenEXR.TileDescription()
    tiles.xSize = tiles.ySize = 16
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.tiledimage, "tiles": tiles}
    values = np.random.default_rng(1).random((40, 50), np.float32)
    OpenEXR.File(header, {name: OpenEXR.Channel(values) for name in "RGB"}).write(str(tmp_path / "in.exr"))
    convert(tmp_path / "in.exr", tmp_path / "out.exr", resize="25x20", check=True)
    part = inspect_plate(tmp_path / "out.exr").parts[0]
    assert (part.kind, part.width, part.height) == ("tiled", 25, 20)
