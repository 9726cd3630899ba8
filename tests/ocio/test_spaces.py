"""Plate spaces: luminance weights by the publishers' numbers, decoding, encoding, conversion; nothing clamped."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stpn.ocio.config import BUILTIN_CONFIG, ColorError, Config, load_config
from stpn.ocio.spaces import PlateSpace

Image = npt.NDArray[np.float32]

#: The config's own curves are float32, and so is what is compared.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(f"ocio://{BUILTIN_CONFIG}")


def grey(values: object) -> Image:
    """(1, N, 3) with the three channels alike."""
    return np.repeat(np.asarray(values, np.float32).reshape(1, -1, 1), 3, axis=2)


@pytest.mark.parametrize(
    ("name", "published", "digits"),
    [
        # ITU-R BT.709-6 item 3.2, BT.2020-2 table 4: four digits of the values that follow from the primaries.
        ("Linear Rec.709 (sRGB)", (0.2126, 0.7152, 0.0722), 5e-5),
        ("Linear Rec.2020", (0.2627, 0.6780, 0.0593), 5e-5),
        # Academy TB-2014-004 / SMPTE ST 2065-1 (AP0) and S-2014-004 (AP1), ten digits.
        ("ACES2065-1", (0.3439664498, 0.7281660966, -0.0721325464), 1e-9),
        ("ACEScg", (0.2722287168, 0.6740817658, 0.0536895174), 1e-9),
        ("ACEScct", (0.2722287168, 0.6740817658, 0.0536895174), 1e-9),
        # Apple Display P3 profile and SMPTE EG 432-1 primaries with D65, seven digits.
        ("Linear P3-D65", (0.2289746, 0.6917385, 0.0792869), 1e-7),
        # ARRI, "ALEXA Log C Curve" (2017), table of the matrix Wide Gamut RGB to XYZ.
        ("ARRI LogC3 (EI800)", (0.291954, 0.823841, -0.115795), 1e-6),
        # ARRI, "LogC4 Logarithmic Color Space" (2022), matrix ARRI Wide Gamut 4 to XYZ.
        ("ARRI LogC4", (0.254524176404027, 0.781477732712002, -0.036001909116029), 1e-9),
        # Panasonic, "V-Log/V-Gamut Reference Manual", matrix V-Gamut to XYZ.
        ("V-Log V-Gamut", (0.260686, 0.774894, -0.035580), 1e-6),
        # RED, "REDWideGamutRGB and Log3G10" (2017), matrix REDWideGamutRGB to XYZ.
        ("Log3G10 REDWideGamutRGB", (0.286694, 0.842979, -0.129673), 1e-6),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_luminance_weights_are_the_published_ones(
    config: Config, name: str, published: tuple[float, ...], digits: float
) -> None:
    space = PlateSpace(config, name)
    assert np.abs(space.luminance_weights - published).max() < digits
    assert np.array_equal(space.linear_to_xyz[1], space.luminance_weights)


def test_the_matrix_to_xyz_of_srgb_is_the_published_one(config: Config) -> None:
    # IEC 61966-2-1:1999, equation 8, four digits, which were rounded from slightly different primaries.
    published = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    space = PlateSpace(config, "srgb_rec709_scene")
    assert np.abs(space.linear_to_xyz - published).max() < 6e-5
    assert np.allclose(space.linear_to_xyz @ np.ones(3), [0.3127 / 0.3290, 1.0, 0.3583 / 0.3290], rtol=1e-12)


def test_every_rgb_space_of_the_config_has_published_primaries(config: Config) -> None:
    for info in config.spaces():
        if not info.is_data and "XYZ" not in info.name:
            space = PlateSpace(config, info.name)
            assert space.primaries.name != "unpublished", info.name
            assert abs(space.luminance_weights.sum() - 1.0) < 1e-12


def test_primaries_that_nobody_published_come_from_the_matrix(tmp_path: Path) -> None:
    # Rec.709 with red and green exchanged: the weights exchange with them.
    text = """ocio_profile_version: 2
roles: {aces_interchange: aces, scene_linear: aces}
file_rules:
  - !<Rule> {name: Default, colorspace: aces}
displays:
  screen:
    - !<View> {name: view, colorspace: aces}
colorspaces:
  - !<ColorSpace> {name: aces}
  - !<ColorSpace>
    name: swapped
    to_scene_reference: !<MatrixTransform> {matrix: [MATRIX]}
  - !<ColorSpace>
    name: flat
    to_scene_reference: !<MatrixTransform> {matrix: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]}
"""
    # ACES "ACEScsc.Academy.Rec709": linear Rec.709 to ACES2065-1, columns 1, 0, 2.
    rows = [
        (0.3829886981515538, 0.4396329819194919, 0.1773783199289554),
        (0.8134394287489780, 0.0897764429588424, 0.0967841282921771),
        (0.1115465533023872, 0.0175411703831727, 0.8709122763144425),
    ]
    numbers = ", ".join(f"{', '.join(map(str, row))}, 0" for row in rows) + ", 0, 0, 0, 1"
    path = tmp_path / "own.ocio"
    path.write_text(text.replace("MATRIX", numbers))
    config = load_config(str(path))
    space = PlateSpace(config, "swapped")
    assert space.primaries.name == "unpublished"
    assert np.abs(space.luminance_weights - [0.7151687, 0.2126390, 0.0721923]).max() < 1e-6
    with pytest.raises(ColorError) as error:
        PlateSpace(config, "flat")
    assert str(error.value) == (
        "expected a color space that can be inverted, but the matrix to ACES2065-1 takes a primary to black, for 'flat'"
        f" in --ocio {path}; choose another space"
    )


def test_chromaticities_of_the_file_give_the_luminance(config: Config) -> None:
    rec709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
    space = PlateSpace(config, "ACEScg", chromaticities=rec709)
    assert np.abs(space.luminance_weights - (0.2126, 0.7152, 0.0722)).max() < 5e-5
    assert space.primaries_source == "chromaticities of the file"


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((0.3,) * 8, "lie on one line"), ((0.64, 0.33), "expected 8 chromaticities, got 2")],
    ids=["one point", "two numbers"],
)
def test_chromaticities_that_span_nothing(config: Config, numbers: tuple[float, ...], message: str) -> None:
    with pytest.raises(ColorError, match=message):
        PlateSpace(config, "ACEScg", chromaticities=numbers)


@pytest.mark.parametrize(
    ("name", "linear", "code"),
    [
        # ARRI, "LogC4" (2022), table 2: 18 % grey at 0.2784; its code of 0 is 95/1023.
        ("ARRI LogC4", 0.18, 0.27839583),
        ("ARRI LogC4", 0.0, 95.0 / 1023.0),
        # Academy S-2016-001, section 4.3: 18 % grey at 0.413588402492442, 0 at 0.072905534195836.
        ("ACEScct", 0.18, 0.413588402492442),
        ("ACEScct", 0.0, 0.072905534195836),
        # Sony, "Technical Summary for S-Gamut3.Cine/S-Log3", table: 0 % at 95, 18 % at 420, 90 % at 598 of 1023.
        ("S-Log3 S-Gamut3.Cine", 0.0, 95.0 / 1023.0),
        ("S-Log3 S-Gamut3.Cine", 0.18, 420.0 / 1023.0),
        # Panasonic, "V-Log/V-Gamut Reference Manual": 18 % at 433 of 1023, two digits of a percent.
        ("V-Log V-Gamut", 0.18, 0.4233),
        # RED, "REDWideGamutRGB and Log3G10": 18 % grey at one third.
        ("Log3G10 REDWideGamutRGB", 0.18, 1.0 / 3.0),
        # IEC 61966-2-1:1999, from its formula: 0.5 at 0.7353570.
        ("srgb_rec709_scene", 0.5, 0.7353570),
    ],
)
def test_published_code_values(config: Config, name: str, linear: float, code: float) -> None:
    space = PlateSpace(config, name)
    image = grey([code])
    space.decode(image)
    assert np.abs(image - linear).max() < 1e-4
    image = grey([linear])
    space.encode(image)
    assert np.abs(image - code).max() < 5e-5


def test_linear_spaces_are_left_alone(config: Config) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, (7, 5, 3), dtype=np.uint32)
    image = bits.view(np.float32)
    space = PlateSpace(config, "ACEScg")
    assert space.is_linear
    space.decode(image)
    space.encode(image)
    space.convert_from(PlateSpace(config, "lin_ap1"), image)
    assert np.array_equal(image.view(np.uint32), bits)


def test_spaces_of_one_linear_light_convert_bit_for_bit(config: Config) -> None:
    image = np.random.default_rng(1).normal(size=(4, 4, 3)).astype(np.float32)
    before = image.copy()
    PlateSpace(config, "srgb_rec709_scene").convert_from(PlateSpace(config, "lin_rec709"), image)
    assert np.array_equal(image, before)


def test_conversion_by_the_academys_matrix(config: Config) -> None:
    # Academy S-2014-004, annex A: ACES2065-1 to ACEScg.
    matrix = [
        [1.4514393161, -0.2365107469, -0.2149285693],
        [-0.0765537734, 1.1762296998, -0.0996759264],
        [0.0083161484, -0.0060324498, 0.9977163014],
    ]
    aces, acescg = PlateSpace(config, "ACES2065-1"), PlateSpace(config, "ACEScg")
    colors = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [-0.5, 1000, 65504]]], np.float32)
    expected = colors @ np.array(matrix).T
    image = colors.copy()
    acescg.convert_from(aces, image, threads=2)
    assert np.abs(image - expected).max(axis=-1).max() / 65504 < 1e-6
    aces.convert_from(acescg, image)
    assert np.all(np.abs(image - colors).max(axis=-1) <= 1e-6 * np.abs(colors).max(axis=-1))


def test_white_stays_white(config: Config) -> None:
    image = grey([0.18, 1.0, 16.0])
    PlateSpace(config, "ACEScg").convert_from(PlateSpace(config, "lin_rec709"), image)
    assert np.abs(image - grey([0.18, 1.0, 16.0])).max() < 1e-5


#: Curves that the config itself stores as tables, with what they leave untouched; outside they clamp.
CLAMPED = {
    "ACEScc": (2.2e-6, 65504.0),
    "Apple Log": (1.3e-4, 65504.0),
    "Apple Log 2": (1.3e-4, 65504.0),
    "CanonLog2 CinemaGamut D55": (2.3e-4, 59.0),
    "CanonLog3 CinemaGamut D55": (2.3e-4, 14.6),
    "ADX10": (1e-4, 60000.0),
    "ADX16": (1e-4, 60000.0),
}


def test_values_survive_in_every_space(config: Config) -> None:
    positive = np.geomspace(1e-6, 65504.0, 2000)
    values = np.concatenate([positive, [0.0], -np.geomspace(1e-6, 1000.0, 500)])
    for info in config.spaces():
        if info.is_data or not info.name or info.encoding in ("hdr-video", "edr-video", "display-linear"):
            continue
        space = PlateSpace(config, info.name)
        low, high = CLAMPED.get(info.name, (1e-6, 65504.0))
        kept = values if info.name not in CLAMPED else values[(values >= low) & (values <= high)]
        expected = grey(kept)
        image = expected.copy()
        space.encode(image)
        # A code near 0.1 is stored in steps of 7e-9, and the toe of a log turns them into as much linear light.
        least = np.abs(expected) * TOLERANCE + (2e-8 if info.encoding == "log" else 0.0)
        space.decode(image)
        assert np.all(np.abs(image - expected) <= least), info.name


def test_threads_give_the_same_bits(config: Config) -> None:
    source = np.random.default_rng(2).normal(size=(333, 257, 3)).astype(np.float32)
    space, other = PlateSpace(config, "ARRI LogC4"), PlateSpace(config, "ACEScg")
    results = []
    for threads in (1, 3):
        image = source.copy()
        space.decode(image, threads=threads)
        other.convert_from(space, image, threads=threads)
        results.append(image)
    assert np.array_equal(*results)
    assert not np.array_equal(results[0], source)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (1, 1, 3)], ids=str)
def test_small_images(config: Config, shape: tuple[int, ...]) -> None:
    image = np.full(shape, 0.5, np.float32)
    space = PlateSpace(config, "srgb_rec709_scene")
    space.decode(image)
    PlateSpace(config, "ACEScg").convert_from(space, image)
    assert np.all(image < 0.25)


def test_a_space_that_mixes_channels_goes_through_scene_linear(config: Config) -> None:
    space = PlateSpace(config, "Rec.2100-HLG - Display")
    acescg = PlateSpace(config, "ACEScg")
    assert not space.is_separable
    assert not space.is_linear
    assert np.array_equal(space.luminance_weights, acescg.luminance_weights)
    codes = np.array([[[0.2, 0.4, 0.6], [0.7, 0.3, 0.1]]], np.float32)
    image = codes.copy()
    space.decode(image)
    assert np.abs(image - codes).max() > 0.01
    space.check_encodable()
    space.encode(image)
    assert np.abs(image - codes).max() < 1e-5


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4), np.float32),
        np.zeros((4, 4, 3), np.float16),
        np.zeros((4, 8, 3), np.float32)[:, ::2],
        np.zeros((4, 3), np.float32),
    ],
    ids=["four channels", "half", "not contiguous", "no width"],
)
def test_other_images_are_refused(config: Config, image: Image) -> None:
    with pytest.raises(ValueError, match=r"^expected a contiguous float32 image of shape \(H, W, 3\), got "):
        PlateSpace(config, "ACEScg").decode(image)


def test_data_is_no_plate_space(config: Config) -> None:
    with pytest.raises(ColorError, match="got 'Raw', which holds data"):
        PlateSpace(config, "Raw")


def test_spaces_of_two_configs_do_not_mix(config: Config) -> None:
    other = PlateSpace(load_config("ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"), "ACEScg")
    with pytest.raises(ColorError, match="expected two spaces of one config, got 'ACEScg' of "):
        PlateSpace(config, "ACEScg").convert_from(other, np.zeros((1, 1, 3), np.float32))


def test_a_config_without_interchange_has_rec709_luminance(tmp_path: Path) -> None:
    text = """ocio_profile_version: 1
strictparsing: true
luma: [LUMA]
roles: {scene_linear: lin}
displays:
  screen:
    - !<View> {name: view, colorspace: lin}
colorspaces:
  - !<ColorSpace> {name: lin}
"""
    path = tmp_path / "old.ocio"
    path.write_text(text.replace("LUMA", "0.2126, 0.7152, 0.0722"))
    space = PlateSpace(load_config(str(path)), "lin")
    assert np.abs(space.luminance_weights - (0.2126, 0.7152, 0.0722)).max() < 5e-5
    assert space.primaries_source == (
        "Rec.709 primaries, from the config's luma weights (it has no role aces_interchange)"
    )
    path.write_text(text.replace("LUMA", "0.3, 0.6, 0.1"))
    with pytest.raises(ColorError, match=r"expected the role aces_interchange, found none, and luma weights \[0.3"):
        PlateSpace(load_config(str(path)), "lin")
