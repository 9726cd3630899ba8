"""DPX, TIFF, PNG, Radiance HDR and JPEG: in and out at their own bit depth, from and to EXR; judged by OpenImageIO."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from stpn.ocio.plate import PlateError, inspect_plate, new_plate, read_plate, write_plate

Array = np.ndarray[Any, Any]


def make(path: Path, pixel_type: str, channels: int, attributes: Mapping[str, object] | None = None) -> Path:
    spec = oiio.ImageSpec(33, 17, channels, pixel_type)
    spec.attribute("oiio:UnassociatedAlpha", 1)
    for name, value in (attributes or {}).items():
        spec.attribute(name, value)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(np.random.default_rng(0).random((17, 33, channels), np.float32))
    assert output.close()
    return path


def judged(path: Path) -> Array:
    """The pixels as they lie in the file, (H, W, C)."""
    hints = oiio.ImageSpec()
    hints.attribute("oiio:UnassociatedAlpha", 1)
    picture = oiio.ImageInput.open(str(path), hints)
    pixels = picture.read_image(picture.spec().format)
    picture.close()
    return np.asarray(pixels)


CASES = [
    ("10 bits.dpx", "uint16", 3, {"oiio:BitsPerSample": 10}),
    ("12 bits.dpx", "uint16", 3, {"oiio:BitsPerSample": 12}),
    ("16 bits.dpx", "uint16", 4, {}),
    ("8 bits.dpx", "uint8", 3, {}),
    ("8 bits.tif", "uint8", 1, {}),
    ("16 bits.tiff", "uint16", 4, {}),
    ("half.tif", "half", 4, {}),
    ("float.tif", "float", 3, {}),
    ("8 bits.png", "uint8", 4, {}),
    ("16 bits.png", "uint16", 2, {}),
    ("shared exponent.hdr", "float", 3, {}),
]


@pytest.mark.parametrize(("name", "pixel_type", "count", "attributes"), CASES)
def test_in_and_out_unchanged(
    name: str, pixel_type: str, count: int, attributes: dict[str, object], tmp_path: Path
) -> None:
    source = make(tmp_path / name, pixel_type, count, attributes)
    plate = read_plate(source)
    result = tmp_path / ("out" + source.suffix)
    assert write_plate(result, plate) == ()
    before, after = judged(source), judged(result)
    assert after.dtype == before.dtype
    assert after.tobytes() == before.tobytes()
    assert all(
        plate.pixels(channel).tobytes() == before[:, :, index].tobytes()
        for index, channel in enumerate(plate.info.parts[0].channel_names)
    )
    bits = "oiio:BitsPerSample"
    kept = inspect_plate(result).parts[0].attributes.get(bits)
    assert kept == plate.info.parts[0].attributes.get(bits)
    assert inspect_plate(source).parts == plate.info.parts


@pytest.mark.parametrize(("name", "pixel_type", "count", "attributes"), CASES)
def test_its_own_color_put_back_lands_on_the_same_codes(
    name: str, pixel_type: str, count: int, attributes: dict[str, object], tmp_path: Path
) -> None:
    source = make(tmp_path / name, pixel_type, count, attributes)
    plate = read_plate(source)
    color = plate.color()
    assert color.dtype == np.float32
    assert 0 <= color.min() < color.max() <= 1
    replace = {channel: color[:, :, index] for index, channel in enumerate(plate.color_channels())}
    result = tmp_path / ("out" + source.suffix)
    notes = write_plate(result, plate, replace=replace)
    assert judged(result).tobytes() == judged(source).tobytes()
    depth = attributes.get("oiio:BitsPerSample", 8 if pixel_type == "uint8" else 16)
    rounded = f"{plate.info.format.upper()}: values rounded to {depth} bits"
    assert notes == ((rounded,) if pixel_type.startswith("uint") else ())


def test_what_clips_is_counted(tmp_path: Path) -> None:
    plate = read_plate(make(tmp_path / "in.png", "uint8", 3))
    red = np.full((17, 33), 0.5, np.float32)
    red[0, :4] = (-0.1, 1.5, np.nan, np.inf)
    notes = write_plate(tmp_path / "out.png", plate, replace={"R": red})
    assert notes == ("PNG: values rounded to 8 bits, 4 values outside 0..1 clipped",)
    assert judged(tmp_path / "out.png")[0, :5, 0].tolist() == [0, 255, 0, 255, 128]


def test_integers_replace_integers_as_they_are(tmp_path: Path) -> None:
    plate = read_plate(make(tmp_path / "in.png", "uint16", 3))
    red = np.arange(17 * 33, dtype=np.uint16).reshape(17, 33)
    assert write_plate(tmp_path / "out.png", plate, replace={"R": red}) == ()
    assert np.array_equal(judged(tmp_path / "out.png")[:, :, 0], red)


def test_jpeg_says_that_it_loses(tmp_path: Path) -> None:
    plate = read_plate(make(tmp_path / "in.jpg", "uint8", 3))
    assert write_plate(tmp_path / "out.jpg", plate) == ("JPEG: stored lossily, quality 98",)
    assert judged(tmp_path / "out.jpg").shape == (17, 33, 3)


def test_dpx_to_exr_with_its_timecode(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(33, 17, 3, "uint16")
    spec.attribute("PixelAspectRatio", 2.0)
    spec.attribute("smpte:TimeCode", oiio.TypeTimeCode, (0x01020304, 5))
    source = tmp_path / "in.dpx"
    output = oiio.ImageOutput.create(str(source))
    assert output.open(str(source), spec)
    assert output.write_image(np.random.default_rng(0).random((17, 33, 3), np.float32))
    assert output.close()
    plate = read_plate(source)
    color = plate.color() * 4 - 1
    replace = {name: color[:, :, index].astype(np.float16) for index, name in enumerate("RG")}
    notes = write_plate(tmp_path / "out.exr", plate, replace=replace, attributes={"comments": "half"})
    assert notes == ("channel B: 16-bit integers written as float 0..1",)
    file = OpenEXR.File(str(tmp_path / "out.exr"), separate_channels=True)
    assert file.header()["pixelAspectRatio"] == 2.0
    assert file.header()["comments"] == "half"
    assert struct.pack("<2I", 0x01020304, 5) in (tmp_path / "out.exr").read_bytes()
    timecode = file.header()["timeCode"]
    assert (timecode.hours, timecode.minutes, timecode.seconds, timecode.frame) == (1, 2, 3, 4)
    assert not any(name.startswith(("dpx:", "oiio:")) for name in file.header())
    assert np.array_equal(file.channels()["R"].pixels, replace["R"])
    assert np.array_equal(file.channels()["B"].pixels, (judged(source)[:, :, 2] / 65535).astype(np.float32))


@pytest.mark.parametrize(
    ("suffix", "pixel_type", "left_out"),
    [(".png", "uint16", "Z"), (".dpx", "uint16", "Z"), (".tif", "half", "Z"), (".hdr", "float", "A, Z")],
)
def test_exr_to_other_formats(suffix: str, pixel_type: str, left_out: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((5, 8)).astype(np.float16)
    plate = new_plate({"R": values, "G": values / 2, "B": values / 4, "A": np.ones_like(values), "Z": values})
    write_plate(tmp_path / "in.exr", plate)
    result = tmp_path / f"out{suffix}"
    notes = write_plate(result, read_plate(tmp_path / "in.exr"))
    name = {".tif": "TIFF"}.get(suffix, suffix[1:].upper())
    held = "R, G, B" if suffix == ".hdr" else "R, G, B, A"
    assert notes[0] == f"{name} holds {held}; left out: {left_out}"
    assert inspect_plate(result).parts[0].channels[0].pixel_type in (pixel_type, "float")
    color = read_plate(result).color()
    tolerance = 1 / 128 if suffix == ".hdr" else 1 / 65535
    assert np.abs(color[:, :, 1] - values.astype(np.float32) / 2).max() <= tolerance


@pytest.mark.parametrize("suffix", [".png", ".dpx", ".tif", ".hdr", ".jpg"])
def test_one_channel_to_other_formats(suffix: str, tmp_path: Path) -> None:
    confidence = np.linspace(0, 1, 40, dtype=np.float32).reshape(5, 8)
    write_plate(tmp_path / f"out{suffix}", new_plate({"confidence": confidence}))
    tolerance = 0.02 if suffix in (".hdr", ".jpg") else 1 / 65535
    assert np.abs(read_plate(tmp_path / f"out{suffix}").color()[:, :, 0] - confidence).max() <= tolerance


def png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    def message(name: str) -> str:
        for call in (inspect_plate, read_plate):
            with pytest.raises(PlateError) as error:
                call(tmp_path / name)
            assert "\n" not in str(error.value)
        return str(error.value).removeprefix(f"{tmp_path / name}: ")

    (tmp_path / "claims.png").write_bytes(png(40_000, 40_000))
    assert message("claims.png").startswith("expected a PNG picture, OpenImageIO says: png header claims ")
    radiance = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9000 +X 9000\n" + bytes(99)
    (tmp_path / "claims.hdr").write_bytes(radiance)
    text = f"claims 972000000 bytes of pixels (9000 x 9000), which {len(radiance)} bytes cannot hold: damaged"
    assert message("claims.hdr") == text
    (tmp_path / "cut.dpx").write_bytes(make(tmp_path / "in.dpx", "uint16", 3).read_bytes()[:100])
    assert message("cut.dpx").startswith("expected a DPX picture, OpenImageIO says: ")
    two = oiio.ImageOutput.create(str(tmp_path / "two.tif"))
    spec = oiio.ImageSpec(4, 4, 3, "uint8")
    assert two.open(str(tmp_path / "two.tif"), [spec, spec])
    two.write_image(np.zeros((4, 4, 3), np.uint8))
    assert two.open(str(tmp_path / "two.tif"), spec, "AppendSubimage")
    two.write_image(np.zeros((4, 4, 3), np.uint8))
    two.close()
    assert message("two.tif") == "holds several pictures or levels, which cannot be rewritten whole: keep one"


def test_pixels_cut_off_are_refused(tmp_path: Path) -> None:
    for name in ("in.dpx", "in.png", "in.tif"):
        path = make(tmp_path / name, "uint16", 3)
        path.write_bytes(path.read_bytes()[: -path.stat().st_size // 4])
        with pytest.raises(PlateError):
            read_plate(path)
