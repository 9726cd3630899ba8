"""The conversion itself: what is transformed, what is not, and how exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import PyOpenColorIO as ocio
import pytest

from stpn.ocio.config import BUILTIN_CONFIG
from stpn.ocio.convert import ConvertRequestError, convert
from stpn.ocio.plate import inspect_plate, new_plate, read_plate, write_plate

Array = np.ndarray[Any, Any]
RawReader = Callable[[Path], list[dict[str, tuple[str, bytes]]]]
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
AP0 = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
ALL_HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)
FINITE_HALVES = ALL_HALVES[np.isfinite(ALL_HALVES)]
SHAPE = (48, 70)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def bits(random: np.random.Generator, dtype: type, shape: tuple[int, int] = SHAPE) -> Array:
    """Random bits: every NaN, infinity and subnormal is possible."""
    dtype_of = np.dtype(dtype)
    return np.frombuffer(random.bytes(shape[0] * shape[1] * dtype_of.itemsize), dtype_of).reshape(shape)


def light(random: np.random.Generator, shape: tuple[int, int] = SHAPE) -> Array:
    return np.exp2(random.uniform(-8, 4, shape)).astype(np.float16)


def write(path: Path, channels: dict[str, Array], **attributes: object) -> Path:
    write_plate(path, new_plate(channels, attributes=attributes))
    return path


def pixels(path: Path, part: int = 0) -> dict[str, Array]:
    """By the OpenEXR library alone."""
    channels = OpenEXR.File(str(path), separate_channels=True).channels(part)
    return {name: channel.pixels for name, channel in channels.items()}


def by_ocio(rgb: list[Array], source: str, target: str) -> list[Array]:
    """A judge of its own: one numpy image through PyOpenColorIO, rounded by numpy."""
    config = ocio.Config.CreateFromFile(f"ocio://{BUILTIN_CONFIG}")
    processor = config.getProcessor(source, target).getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
    image = np.ascontiguousarray(np.stack(rgb, axis=-1).astype(np.float32))
    processor.applyRGB(image)
    with np.errstate(over="ignore"):
        return [image[:, :, index].astype(rgb[index].dtype) for index in range(3)]


def rgb_and_more(random: np.random.Generator) -> dict[str, Array]:
    """A render: color and light in it, and channels of every kind that is no color."""
    color = {name: light(random) for name in ("R", "G", "B", "diffuse.R", "diffuse.G", "diffuse.B", "left.Y")}
    data = {
        "A": bits(random, np.float16),
        "Z": bits(random, np.float32),
        "id": bits(random, np.uint32),
        "N.R": bits(random, np.float16),
        "N.G": bits(random, np.float16),
        "N.B": bits(random, np.float16),
        "P.X": bits(random, np.float32),
        "P.Y": bits(random, np.float32),
        "P.Z": bits(random, np.float32),
        "motionVector.R": bits(random, np.float16),
        "motionVector.G": bits(random, np.float16),
        "motionVector.B": bits(random, np.float16),
        "crypto_object00.R": bits(random, np.float32),
        "crypto_object00.G": bits(random, np.float32),
        "crypto_object00.B": bits(random, np.float32),
        "crypto_object00.A": bits(random, np.float32),
        "uv.R": bits(random, np.float16),
        "uv.G": bits(random, np.float16),
        "uv.B": bits(random, np.float16),
    }
    return color | data


def test_colors_are_those_of_ocio_and_everything_else_keeps_every_bit(
    tmp_path: Path, random: np.random.Generator
) -> None:
    before = rgb_and_more(random)
    source = write(tmp_path / "in.exr", before)
    convert(source, tmp_path / "out.exr", from_space="ACEScg", to_space="ACES2065-1", check=True)
    after = pixels(tmp_path / "out.exr")
    expected = dict(before)
    for layer in ("", "diffuse."):
        names = [layer + name for name in "RGB"]
        expected.update(zip(names, by_ocio([before[name] for name in names], "ACEScg", "ACES2065-1"), strict=True))
    expected["left.Y"] = by_ocio([before["left.Y"]] * 3, "ACEScg", "ACES2065-1")[1]
    assert set(after) == set(expected)
    different = {name for name in expected if after[name].tobytes() != expected[name].tobytes()}
    # luminance alone is grey, whose sum over a row of the matrix may round either way
    assert different <= {"left.Y"}
    np.testing.assert_allclose(after["left.Y"], expected["left.Y"], rtol=1e-3)
    assert (after["R"] != before["R"]).mean() > 0.9


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_bands_of_rows_give_the_bits_of_whole_pictures_at_any_size(random: np.random.Generator, dtype: type) -> None:
    from stpn.ocio.config import load_config
    from stpn.ocio.convert_color import color_transform, converted

    transform = color_transform(load_config(), "ACEScg", target="ACEScct")
    for shape in [(1, 1), (1, 4), (4, 1), (2, 2), (3, 4), (4, 4), (1, 3), (33, 5), (64, 7), (65, 1), (31, 17)]:
        rgb = [bits(random, np.float16, shape).astype(dtype) for _ in range(3)]
        expected = by_ocio([channel.astype(np.float32) for channel in rgb], "ACEScg", "ACEScct")
        with np.errstate(over="ignore"):
            expected = [channel.astype(dtype) for channel in expected]
        for found, wanted in zip(converted(transform.runs, rgb, None, dtype), expected, strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=str(shape))


@pytest.mark.parametrize("through", ["half", "float"])
def test_acescg_to_aces2065_and_back_is_within_one_step_of_half(
    tmp_path: Path, random: np.random.Generator, through: str
) -> None:
    shape = (256, 512)
    before = {name: random.choice(FINITE_HALVES, shape) for name in "RGB"}
    kept = {"A": random.choice(ALL_HALVES, shape), "Z": bits(random, np.float32, shape)}
    source = write(tmp_path / "a.exr", before | kept)
    convert(source, tmp_path / "b.exr", from_space="ACEScg", to_space="ACES2065-1", pixel_type=through)
    convert(tmp_path / "b.exr", tmp_path / "c.exr", to_space="ACEScg", pixel_type="half")
    after = pixels(tmp_path / "c.exr")
    assert all(after[name].tobytes() == kept[name].tobytes() for name in kept)
    old, new = (np.stack([side[name] for name in "RGB"]).astype(np.float64) for side in (before, after))
    # A matrix mixes channels: what is known of a pixel is a step of its largest channel.
    step = half_step(np.abs(old).max(axis=0))
    assert np.mean(np.abs(new - old) <= step) >= 0.999
    if through == "float":
        # what float32 files could give at all: exact arithmetic, rounded where a file is written
        to_ap0 = np.array(aces_matrix(), np.float64)
        stored = np.einsum("ij,jyx->iyx", to_ap0, old).astype(np.float32).astype(np.float64)
        best = np.einsum("ij,jyx->iyx", np.linalg.inv(to_ap0), stored)
        limit, ours = (np.mean(np.abs(side - old) <= half_step(old)) for side in (best, new))
        assert 0.8 < limit < 0.95
        assert ours > limit - 0.03
        near = np.abs(old) >= np.abs(old).max(axis=0) / 2**11
        assert np.mean((np.abs(new - old) <= half_step(old))[near]) >= 0.999


def aces_matrix() -> list[list[float]]:
    """ACEScg to ACES2065-1."""
    config = ocio.Config.CreateFromFile(f"ocio://{BUILTIN_CONFIG}")
    (step,) = config.getProcessor("ACEScg", "ACES2065-1").createGroupTransform()
    matrix = step.getMatrix()
    return [list(matrix[4 * row : 4 * row + 3]) for row in range(3)]


def half_step(values: Array) -> Array:
    exponent = np.floor(np.log2(np.maximum(np.abs(values), 2.0**-14)))
    return np.asarray(2.0 ** (exponent - 10))


def test_every_finite_half_comes_back_where_color_is_grey(tmp_path: Path) -> None:
    grey = np.resize(FINITE_HALVES, (248, 256))
    source = write(tmp_path / "a.exr", dict.fromkeys("RGB", grey))
    convert(source, tmp_path / "b.exr", from_space="ACEScg", to_space="ACES2065-1")
    convert(tmp_path / "b.exr", tmp_path / "c.exr", to_space="ACEScg")
    for name, array in pixels(tmp_path / "c.exr").items():
        error = np.abs(array.astype(np.float64) - grey.astype(np.float64))
        assert np.mean(error <= half_step(grey.astype(np.float64))) >= 0.999, name


@pytest.mark.parametrize("ask", [{}, {"from_space": "ACEScg", "to_space": "lin_ap1"}], ids=["nothing", "same space"])
def test_where_nothing_changes_the_file_is_the_same_byte_for_byte(
    tmp_path: Path, random: np.random.Generator, ask: dict[str, Any]
) -> None:
    source = write(tmp_path / "in.exr", {name: bits(random, np.float16) for name in "RGBA"}, chromaticities=AP1)
    (done,) = convert(source, tmp_path / "out.exr", check=True, **ask)
    assert done.status == "copied"
    assert (tmp_path / "out.exr").read_bytes() == source.read_bytes()


def test_same_space_of_a_file_that_says_another_changes_its_words_alone(
    tmp_path: Path, random: np.random.Generator, exr_attributes: RawReader
) -> None:
    channels = {name: bits(random, np.float16) for name in "RGB"}
    source = write(tmp_path / "in.exr", channels, chromaticities=REC709, owner="me")
    convert(source, tmp_path / "out.exr", from_space="ACEScg", to_space="ACEScg", check=True)
    assert all(pixels(tmp_path / "out.exr")[name].tobytes() == channels[name].tobytes() for name in channels)
    after = inspect_plate(tmp_path / "out.exr").parts[0].attributes
    assert after["chromaticities"] == pytest.approx(AP1)
    assert after["colorInteropID"] == "lin_ap1_scene"
    before, now = (exr_attributes(path)[0] for path in (source, tmp_path / "out.exr"))
    assert {name for name in before if before[name] != now.get(name)} == {"chromaticities"}


def test_every_other_attribute_stays_byte_for_byte_and_in_order(
    tmp_path: Path, random: np.random.Generator, exr_attributes: RawReader
) -> None:
    attributes = {
        "owner": "", "timeCode": (16909060, 5), "custom": (1.5, 2.5), "worldToCamera": tuple(range(16)),
        "acesImageContainerFlag": 1, "chromaticities": AP0, "renderingTransform": "x",
    }  # fmt: skip
    source = write(tmp_path / "in.exr", {name: light(random) for name in "RGB"}, **attributes)
    convert(source, tmp_path / "out.exr", to_space="ACEScg")
    before, after = exr_attributes(source)[0], exr_attributes(tmp_path / "out.exr")[0]
    assert [name for name in after if name in before] == [name for name in before if name in after]
    assert {name for name in before if before[name] != after.get(name)} == {"acesImageContainerFlag", "chromaticities"}
    assert set(after) - set(before) == {"colorInteropID", "stpn:digest"}


@pytest.mark.parametrize(
    "space", ["ACEScg", "ACES2065-1", "Linear Rec.709 (sRGB)", "ACEScct", "ARRI LogC4", "sRGB Encoded Rec.709 (sRGB)"]
)
def test_a_result_is_known_for_the_space_it_is_in(tmp_path: Path, random: np.random.Generator, space: str) -> None:
    from stpn.ocio.attributes import space_from_attributes
    from stpn.ocio.config import load_config

    source = write(tmp_path / "in.exr", {name: light(random) for name in "RGB"}, chromaticities=REC709)
    convert(source, tmp_path / "out.exr", to_space=space)
    attributes = inspect_plate(tmp_path / "out.exr").parts[0].attributes
    assert space_from_attributes(load_config(), attributes, file_format="exr").space == space
    # readers that know nothing but chromaticities take them for linear light
    assert ("chromaticities" in attributes) == space.startswith(("ACEScg", "ACES2065", "Linear"))


def test_a_view_says_which_and_is_what_ocio_makes(tmp_path: Path, random: np.random.Generator) -> None:
    display, view = "sRGB - Display", "ACES 2.0 - SDR 100 nits (Rec.709)"
    channels = {name: light(random) for name in "RGB"}
    source = write(tmp_path / "in.exr", channels, chromaticities=AP1, whiteLuminance=100.0)
    (done,) = convert(source, tmp_path / "out.exr", display=display, view=view)
    attributes = inspect_plate(tmp_path / "out.exr").parts[0].attributes
    assert (attributes["stpn:display"], attributes["stpn:view"]) == (display, view)
    assert attributes["colorInteropID"] == "srgb_rec709_display"
    assert "chromaticities" not in attributes
    assert "whiteLuminance" not in attributes
    assert any("whiteLuminance" in note for note in done.notes)
    config = ocio.Config.CreateFromFile(f"ocio://{BUILTIN_CONFIG}")
    transform = ocio.DisplayViewTransform(src="ACEScg", display=display, view=view)
    processor = config.getProcessor(transform).getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
    image = np.ascontiguousarray(np.stack([channels[name] for name in "RGB"], axis=-1).astype(np.float32))
    processor.applyRGB(image)
    found = np.stack([pixels(tmp_path / "out.exr")[name] for name in "RGB"], axis=-1)
    assert (found == image.astype(np.float16)).all()


def test_a_look_is_applied_and_named(tmp_path: Path, random: np.random.Generator) -> None:
    look = "ACES 1.3 Reference Gamut Compression"
    source = write(tmp_path / "in.exr", {name: light(random) for name in "RGB"}, chromaticities=AP1)
    convert(source, tmp_path / "out.exr", look=look)
    assert inspect_plate(tmp_path / "out.exr").parts[0].attributes["stpn:look"] == look
    assert any((pixels(tmp_path / "out.exr")[name] != pixels(source)[name]).any() for name in "RGB")


def test_a_curve_sees_color_without_its_alpha(tmp_path: Path) -> None:
    alpha = np.array([[1.0, 0.5, 0.25, 0.0, 0.0, np.nan, -0.5]], np.float16)
    color = np.array([[0.4, 0.2, 0.1, 0.0, 0.3, 0.2, 0.2]], np.float16)
    source = write(tmp_path / "in.exr", {"R": color, "G": color, "B": color, "A": alpha}, chromaticities=AP1)
    convert(source, tmp_path / "out.exr", to_space="ACEScct", pixel_type="float")
    found = pixels(tmp_path / "out.exr")["R"][0]

    def curve(value: float) -> float:
        return float(by_ocio([np.full((1, 1), value, np.float32)] * 3, "ACEScg", "ACEScct")[0][0, 0])

    opaque = float(np.float16(0.4))
    assert found[0] == pytest.approx(curve(opaque), rel=1e-5)
    assert found[1] == pytest.approx(curve(float(np.float16(0.2)) / 0.5) * 0.5, rel=1e-5)
    assert found[2] == pytest.approx(curve(float(np.float16(0.1)) / 0.25) * 0.25, rel=1e-5)
    assert found[3] == 0.0  # nothing there stays nothing, though black is 0.07 on the curve
    assert found[4] == pytest.approx(curve(float(np.float16(0.3))), rel=1e-5)  # light without a surface
    assert found[5] == pytest.approx(curve(float(np.float16(0.2))), rel=1e-5)
    assert found[6] == pytest.approx(curve(float(np.float16(0.2))), rel=1e-5)
    convert(source, tmp_path / "as_is.exr", to_space="ACEScct", pixel_type="float", unpremultiply=False)
    assert pixels(tmp_path / "as_is.exr")["R"][0, 1] == pytest.approx(curve(float(np.float16(0.2))), rel=1e-5)
    convert(source, tmp_path / "linear.exr", to_space="ACES2065-1", pixel_type="float")
    matrix = by_ocio([color.astype(np.float32)] * 3, "ACEScg", "ACES2065-1")[0]
    assert pixels(tmp_path / "linear.exr")["R"].tobytes() == matrix.tobytes()


def test_type_changes_color_and_alpha_alone_and_tells_what_overflows(
    tmp_path: Path, random: np.random.Generator
) -> None:
    channels: dict[str, Array] = {name: light(random).astype(np.float32) for name in "RGBA"}
    channels |= {"Z": bits(random, np.float32), "id": bits(random, np.uint32)}
    channels["R"][0, 0] = 1e6
    source = write(tmp_path / "in.exr", channels)
    (done,) = convert(source, tmp_path / "out.exr", pixel_type="half", check=True)
    found = pixels(tmp_path / "out.exr")
    assert {name: array.dtype.name for name, array in found.items()} == {
        "R": "float16", "G": "float16", "B": "float16", "A": "float16", "Z": "float32", "id": "uint32",
    }  # fmt: skip
    assert found["Z"].tobytes() == channels["Z"].tobytes()
    assert np.isinf(found["R"][0, 0])
    assert any(note.startswith("channel R: 1 values beyond half's 65504") for note in done.notes)


def test_channels_overrides_names(tmp_path: Path, random: np.random.Generator) -> None:
    channels = {f"{layer}{name}": light(random) for layer in ("", "N.", "diffuse.") for name in "RGB"}
    source = write(tmp_path / "in.exr", channels, chromaticities=AP1)
    (done,) = convert(source, tmp_path / "out.exr", to_space="ACES2065-1", channels="N.*")
    found = pixels(tmp_path / "out.exr")
    changed = {name for name in channels if found[name].tobytes() != channels[name].tobytes()}
    assert changed == {"N.R", "N.G", "N.B"}
    assert any("stays as it is" in note for note in done.notes)
    assert inspect_plate(tmp_path / "out.exr").parts[0].attributes["chromaticities"] == pytest.approx(AP1)


def write_parts(path: Path, parts: dict[str, dict[str, Array]], compression: Any = OpenEXR.ZIP_COMPRESSION) -> Path:
    OpenEXR.File(
        [
            OpenEXR.Part(
                {"compression": compression, "type": OpenEXR.scanlineimage, "chromaticities": AP1, "note": name},
                {channel: OpenEXR.Channel(np.ascontiguousarray(array)) for channel, array in channels.items()},
                name,
            )
            for name, channels in parts.items()
        ]
    ).write(str(path))
    return path


def test_parts_are_chosen_by_name_and_the_others_are_copied_compressed(
    tmp_path: Path, random: np.random.Generator
) -> None:
    parts = {name: {channel: light(random) for channel in "RGB"} for name in ("beauty", "diffuse", "N")}
    source = write_parts(tmp_path / "in.exr", parts, OpenEXR.DWAA_COMPRESSION)
    (done,) = convert(source, tmp_path / "out.exr", to_space="ACES2065-1", parts="beauty")
    for index in (1, 2):
        old, new = pixels(source, index), pixels(tmp_path / "out.exr", index)
        assert all(old[name].tobytes() == new[name].tobytes() for name in "RGB")
    after = [part.attributes for part in inspect_plate(tmp_path / "out.exr").parts]
    assert [part["compression"] for part in after] == ["zip", "dwaa", "dwaa"]
    assert any("lossy twice" in note for note in done.notes)
    # chromaticities are one for all parts, so that each part says by name what it is in
    assert [part.get("chromaticities") for part in after] == [None, None, None]
    assert [part.get("colorInteropID") for part in after] == ["lin_ap0_scene", "lin_ap1_scene", None]
    convert(source, tmp_path / "all.exr", to_space="ACES2065-1")
    after = [part.attributes for part in inspect_plate(tmp_path / "all.exr").parts]
    assert all(part["chromaticities"] == pytest.approx(AP0) for part in after)
    assert pixels(tmp_path / "all.exr", 2)["R"].tobytes() == pixels(source, 2)["R"].tobytes()


def test_a_lossy_compression_is_told_and_measured(tmp_path: Path, random: np.random.Generator) -> None:
    channels: dict[str, Array] = {name: light(random) for name in "RGB"} | {"Z": bits(random, np.float32)}
    source = write(tmp_path / "in.exr", channels)
    (done,) = convert(source, tmp_path / "out.exr", compression="dwaa:200", check=True)
    part = inspect_plate(tmp_path / "out.exr").parts[0]
    assert (part.compression, part.attributes["dwaCompressionLevel"]) == ("dwaa", 200.0)
    assert pixels(tmp_path / "out.exr")["Z"].tobytes() == channels["Z"].tobytes()
    assert any("lossy for B, G, R" in note for note in done.notes)
    assert any("largest error" in note for note in done.notes)
    for name in ("zips", "piz", "none", "rle", "htj2k", "htj2k32", "zstd"):
        (done,) = convert(source, tmp_path / f"{name}.exr", compression=name, check=True)
        assert done.notes == ("checked: 4 channels bit for bit",)


def test_a_compression_that_would_harm_ids_is_refused(tmp_path: Path, random: np.random.Generator) -> None:
    channels = {name: light(random) for name in "RGB"}
    channels |= {f"crypto00.{name}": bits(random, np.float32) for name in "RGBA"}
    source = write(tmp_path / "in.exr", channels)
    with pytest.raises(ConvertRequestError, match=r"crypto00\.B.* is no color, got DWAA"):
        convert(source, tmp_path / "out.exr", compression="dwaa")
    assert not (tmp_path / "out.exr").exists()


def test_torch_gives_what_ocio_gives(tmp_path: Path, random: np.random.Generator) -> None:
    from stpn.ocio.analytic import from_processor
    from stpn.ocio.config import load_config
    from stpn.ocio.convert_color import OnTorch, color_transform, converted

    rgb = [light(random) for _ in range(3)]
    alpha = random.uniform(0, 1, SHAPE).astype(np.float16)
    for target in ("ACES2065-1", "ARRI LogC4"):
        transform = color_transform(load_config(), "ACEScg", target=target)
        formulas = from_processor(transform.processor, source="ACEScg", target=target, where="here")
        results = [
            converted(runs, rgb, alpha, np.float32, divide=not transform.is_linear, multiply=not transform.is_linear)
            for runs in (transform.runs, OnTorch(formulas, "cpu"))
        ]
        np.testing.assert_allclose(np.stack(results[1]), np.stack(results[0]), rtol=2e-5, atol=2e-5)


def test_a_transform_of_tables_is_refused_for_a_gpu() -> None:
    from stpn.ocio.config import ColorError, load_config
    from stpn.ocio.convert_color import color_transform

    with pytest.raises(ColorError, match="expected a conversion of formulas"):
        color_transform(
            load_config(), "ACEScg", display="sRGB - Display", view="ACES 2.0 - SDR 100 nits (Rec.709)", device="cuda"
        )


def test_a_file_of_the_source_is_not_its_own_target(tmp_path: Path, random: np.random.Generator) -> None:
    source = write(tmp_path / "in.exr", {name: light(random) for name in "RGB"})
    (tmp_path / "link.exr").symlink_to(source)
    for target in (source, tmp_path / "link.exr"):
        with pytest.raises(ConvertRequestError, match="expected another file than the source"):
            convert(source, target, compression="piz")


def test_plates_read_by_stpn_are_the_same(tmp_path: Path, random: np.random.Generator) -> None:
    source = write(tmp_path / "in.exr", {name: light(random) for name in "RGB"}, chromaticities=AP1)
    convert(source, tmp_path / "out.exr", to_space="ACES2065-1")
    plate = read_plate(tmp_path / "out.exr")
    assert all(plate.pixels(name).tobytes() == pixels(tmp_path / "out.exr")[name].tobytes() for name in "RGB")
