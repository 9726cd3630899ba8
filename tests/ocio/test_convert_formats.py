"""Conversions between EXR and formats that are not EXR: values, alpha, metadata, windows, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from stpn.ocio.convert import ConvertRequestError, convert
from stpn.ocio.plate import inspect_plate, new_plate, write_plate

Array = np.ndarray[Any, Any]
SHAPE = (20, 33)
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def exr(path: Path, random: np.random.Generator, names: str = "R G B", **attributes: object) -> dict[str, Array]:
    channels = {name: random.uniform(0, 1, SHAPE).astype(np.float16) for name in names.split()}
    write_plate(path, new_plate(channels, attributes=attributes))
    return channels


def opened(path: Path) -> tuple[Any, Array]:
    hints = oiio.ImageSpec()
    hints.attribute("oiio:UnassociatedAlpha", 1)
    picture = oiio.ImageInput.open(str(path), hints)
    assert picture is not None, oiio.geterror()
    spec, pixels = picture.spec(), picture.read_image(picture.spec().format)
    picture.close()
    return spec, pixels


def raster(path: Path, pixels: Array, **attributes: object) -> None:
    type_name = pixels.dtype.name.replace("float32", "float")
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], type_name)
    spec.attribute("oiio:UnassociatedAlpha", 1)
    for name, value in attributes.items():
        spec.attribute(name, value)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(pixels)
    output.close()


def srgb(linear: Array) -> Array:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    ("name", "kind", "dtype", "step"),
    [
        ("a.png", "keep", np.uint16, 1 / 65535),
        ("a.png", "8", np.uint8, 1 / 255),
        ("a.tif", "keep", np.float16, 5e-4),
        ("a.tif", "16", np.uint16, 1 / 65535),
        ("a.tif", "float", np.float32, 1e-6),
        ("a.dpx", "keep", np.uint16, 1 / 65535),
        ("a.dpx", "10", np.uint16, 1 / 1023),
        ("a.dpx", "12", np.uint16, 1 / 4095),
        ("a.dpx", "8", np.uint8, 1 / 255),
    ],
)
def test_values_arrive_in_every_type(
    tmp_path: Path, random: np.random.Generator, name: str, kind: str, dtype: type, step: float
) -> None:
    channels = exr(tmp_path / "in.exr", random, chromaticities=(0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290))
    space = "sRGB Encoded Rec.709 (sRGB)"
    (done,) = convert(tmp_path / "in.exr", tmp_path / name, to_space=space, pixel_type=kind, check=True)
    spec, pixels = opened(tmp_path / name)
    assert pixels.dtype == dtype
    assert done.notes[-1].startswith("checked: ")
    if kind in ("10", "12"):
        assert spec.get_int_attribute("oiio:BitsPerSample") == int(kind)
    scale = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    expected = srgb(np.stack([channels[c] for c in "RGB"], axis=-1).astype(np.float64))
    np.testing.assert_allclose(pixels.astype(np.float64) / scale, expected, atol=0.51 * step + 2e-5)


def test_there_and_back_is_the_same_picture(tmp_path: Path, random: np.random.Generator) -> None:
    channels = exr(tmp_path / "in.exr", random, chromaticities=AP1, timeCode=(16909060, 0))
    convert(tmp_path / "in.exr", tmp_path / "a.dpx", to_space="ARRI LogC4", pixel_type="16")
    convert(tmp_path / "a.dpx", tmp_path / "b.exr", from_space="ARRI LogC4", to_space="ACEScg")
    found = OpenEXR.File(str(tmp_path / "b.exr"), separate_channels=True).channels()
    for name, array in channels.items():
        np.testing.assert_allclose(found[name].pixels, array, rtol=2e-3, atol=1e-4)
    attributes = inspect_plate(tmp_path / "b.exr").parts[0].attributes
    assert attributes["timeCode"] == (16909060, 0)
    assert attributes["colorInteropID"] == "lin_ap1_scene"


@pytest.mark.parametrize(
    ("space", "said"),
    [("ARRI LogC4", "Logarithmic"), ("ACEScg", "Linear"),
     ("ADX10", "Printing density"), ("sRGB Encoded Rec.709 (sRGB)", "User defined")],
)  # fmt: skip
def test_dpx_says_its_curve(tmp_path: Path, random: np.random.Generator, space: str, said: str) -> None:
    exr(tmp_path / "in.exr", random, chromaticities=AP1)
    convert(tmp_path / "in.exr", tmp_path / "a.dpx", to_space=space)
    assert opened(tmp_path / "a.dpx")[0].getattribute("dpx:Transfer") == said


def test_png_color_is_not_multiplied_and_exr_color_is(tmp_path: Path, random: np.random.Generator) -> None:
    alpha = np.array([[1.0, 0.5, 0.25, 0.0]])
    color = np.array([[0.8, 0.6, 0.4, 0.0]])
    image = np.repeat(color[..., None], 4, axis=2)
    image[..., 3] = alpha
    raster(tmp_path / "in.png", np.rint(image * 65535).astype(np.uint16))
    convert(tmp_path / "in.png", tmp_path / "a.exr", from_space="Linear Rec.709 (sRGB)", to_space="ACEScg")
    found = OpenEXR.File(str(tmp_path / "a.exr"), separate_channels=True).channels()
    assert found["A"].pixels.dtype == np.float32
    # grey stays grey between these spaces
    np.testing.assert_allclose(found["R"].pixels, color * alpha, atol=2e-5)
    convert(tmp_path / "a.exr", tmp_path / "b.png", to_space="Linear Rec.709 (sRGB)", check=True)
    back = opened(tmp_path / "b.png")[1]
    assert np.abs(back.astype(int) - np.rint(image * 65535).astype(int)).max() <= 1


@pytest.mark.parametrize("straight", [False, True])
def test_tiff_keeps_the_kind_of_its_alpha(tmp_path: Path, straight: bool) -> None:
    pixels = np.full((4, 5, 4), 0.25, np.float32)
    pixels[..., 3] = 0.5
    raster(tmp_path / "in.tif", pixels, **{"oiio:UnassociatedAlpha": int(straight)})
    convert(tmp_path / "in.tif", tmp_path / "out.tif", from_space="ACEScg", to_space="ACES2065-1")
    spec, found = opened(tmp_path / "out.tif")
    assert bool(spec.get_int_attribute("oiio:UnassociatedAlpha")) is straight
    np.testing.assert_allclose(found, pixels, rtol=1e-5)
    convert(tmp_path / "in.tif", tmp_path / "out.exr", from_space="ACEScg", to_space="ACES2065-1")
    color = OpenEXR.File(str(tmp_path / "out.exr"), separate_channels=True).channels()["G"].pixels
    np.testing.assert_allclose(color, 0.125 if straight else 0.25, rtol=1e-5)


def test_what_a_format_cannot_hold_is_told(tmp_path: Path, random: np.random.Generator) -> None:
    names = "R G B A Z diffuse.R diffuse.G diffuse.B"
    exr(tmp_path / "in.exr", random, names, owner="somebody", shot="ab_010", timeCode=(1, 0))
    (done,) = convert(tmp_path / "in.exr", tmp_path / "a.png")
    assert "PNG holds R, G, B, A; left out: channels Z, diffuse.B, diffuse.G, diffuse.R" in done.notes
    assert "PNG cannot hold the attributes shot, timeCode: left out" in done.notes
    assert opened(tmp_path / "a.png")[0].getattribute("Copyright") == "somebody"
    (done,) = convert(tmp_path / "in.exr", tmp_path / "b.jpg")
    assert any(note.startswith("JPEG holds R, G, B; left out: channels A, Z") for note in done.notes)
    (done,) = convert(tmp_path / "in.exr", tmp_path / "c.tif", channels="diffuse.*")
    assert opened(tmp_path / "c.tif")[1].shape[2] == 3


def test_values_outside_an_integer_format_are_counted(tmp_path: Path) -> None:
    values = np.array([[-1.0, 0.5, 2.0, np.nan]], np.float16)
    write_plate(tmp_path / "in.exr", new_plate(dict.fromkeys("RGB", values)))
    (done,) = convert(tmp_path / "in.exr", tmp_path / "a.png", pixel_type="8", check=True)
    assert "PNG: values rounded to 8 bits, 9 values outside 0..1 clipped" in done.notes
    assert opened(tmp_path / "a.png")[1][0, :, 0].tolist() == [0, 128, 255, 0]


def test_a_picture_without_windows_is_the_display_window(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float16).reshape(3, 4) / 16
    plate = new_plate(dict.fromkeys("RGB", values), data_window=(-1, 1, 2, 3), display_window=(0, 0, 4, 3))
    write_plate(tmp_path / "in.exr", plate)
    (done,) = convert(tmp_path / "in.exr", tmp_path / "a.tif")
    assert any("cropped to the display window" in note for note in done.notes)
    expected = np.zeros((4, 5), np.float16)
    expected[1:, :3] = values[:, 1:]
    assert (opened(tmp_path / "a.tif")[1][..., 0] == expected).all()
    convert(tmp_path / "in.exr", tmp_path / "b.tif", crop="window")
    assert (opened(tmp_path / "b.tif")[1][..., 0] == values).all()


def test_grey_stays_one_channel(tmp_path: Path, random: np.random.Generator) -> None:
    channels = exr(tmp_path / "in.exr", random, "Y")
    convert(tmp_path / "in.exr", tmp_path / "a.png", from_space="ACEScg", to_space="ACEScct")
    spec, pixels = opened(tmp_path / "a.png")
    assert spec.nchannels == 1
    assert (np.argsort(pixels.ravel(), kind="stable") == np.argsort(channels["Y"].ravel(), kind="stable")).mean() > 0.9


def test_without_a_request_a_file_of_the_same_format_is_copied(tmp_path: Path, random: np.random.Generator) -> None:
    raster(tmp_path / "in.dpx", random.integers(0, 65536, (9, 9, 3), dtype=np.uint16))
    (done,) = convert(tmp_path / "in.dpx", tmp_path / "out.dpx")
    assert done.status == "copied"
    assert (tmp_path / "out.dpx").read_bytes() == (tmp_path / "in.dpx").read_bytes()


@pytest.mark.parametrize(
    ("target", "ask", "words"),
    [
        ("a.png", {"pixel_type": "half"}, "expected one of keep, 8, 16 for PNG, got half"),
        ("a.png", {"compression": "zip"}, "expected keep for PNG"),
        ("a.exr", {"pixel_type": "10"}, "expected keep, half or float for EXR, got 10"),
        ("a.jp2", {}, "expected one of the extensions"),
    ],
)
def test_what_a_format_cannot_do_is_refused(
    tmp_path: Path, random: np.random.Generator, target: str, ask: dict[str, Any], words: str
) -> None:
    exr(tmp_path / "in.exr", random)
    with pytest.raises(ConvertRequestError, match=words):
        convert(tmp_path / "in.exr", tmp_path / target, **ask)
    assert [path.name for path in tmp_path.iterdir()] == ["in.exr"]


def test_a_picture_without_color_is_refused_for_another_format(tmp_path: Path, random: np.random.Generator) -> None:
    exr(tmp_path / "in.exr", random, "Z N.X N.Y N.Z")
    with pytest.raises(ConvertRequestError, match=r"expected color to write as PNG, found N\.X, N\.Y, N\.Z, Z"):
        convert(tmp_path / "in.exr", tmp_path / "a.png")


def test_metadata_goes_from_dpx_to_what_png_can_hold(tmp_path: Path, random: np.random.Generator) -> None:
    code = (oiio.TypeDesc("timecode"), (16909060, 0))
    spec = oiio.ImageSpec(4, 4, 3, "uint16")
    spec.attribute("smpte:TimeCode", *code)
    spec.attribute("Copyright", "somebody")
    spec.attribute("DocumentName", "ab_010")
    output = oiio.ImageOutput.create(str(tmp_path / "in.dpx"))
    assert output.open(str(tmp_path / "in.dpx"), spec)
    assert output.write_image(random.integers(0, 65536, (4, 4, 3), dtype=np.uint16))
    output.close()
    (done,) = convert(tmp_path / "in.dpx", tmp_path / "a.png")
    assert opened(tmp_path / "a.png")[0].getattribute("Copyright") == "somebody"
    assert any("cannot hold the attributes" in note and "smpte:TimeCode" in note for note in done.notes)


def test_a_display_window_beyond_reason_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    plate = new_plate(
        dict.fromkeys("RGB", np.zeros((4, 4), np.float16)), display_window=(0, 0, (1 << 29) - 1, (1 << 29) - 1)
    )
    write_plate(tmp_path / "in.exr", plate)
    asked: list[tuple[str, dict[str, Any]]] = [("a.png", {}), ("b.exr", {"crop": "display"})]
    for target, options in asked:
        with pytest.raises(ConvertRequestError, match="expected at most 8 GiB of pixels"):
            convert(tmp_path / "in.exr", tmp_path / target, **options)
    convert(tmp_path / "in.exr", tmp_path / "c.png", crop="window")
