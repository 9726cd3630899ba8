"""CIE L*a*b*: published numbers, extension beyond 0..1, and the luminance that coloring must keep."""

import numpy as np
import numpy.typing as npt
import pytest

from stpn.ocio.cielab import (
    colorize,
    lab_to_rgb,
    lightness_from_luminance,
    luminance_of,
    rgb_to_lab,
    round_to_half_keeping_luminance,
)
from stpn.ocio.config import BUILTIN_CONFIG, load_config
from stpn.ocio.spaces import PlateSpace

Floats = npt.NDArray[np.float32]

HALF_TOLERANCE = 1e-3
FLOAT_TOLERANCE = 1e-5
#: White and weights of several kinds: small blue weight, negative blue weight, ACES white, a blue weight of -0.13.
SPACES = [
    "Linear Rec.709 (sRGB)",
    "ACEScg",
    "ACES2065-1",
    "Linear P3-D65",
    "Linear Rec.2020",
    "Linear ARRI Wide Gamut 4",
    "Linear CinemaGamut D55",
]
HARD_VALUES = [0.0, 1e-6, -0.5, 1000.0, 65504.0]


@pytest.fixture(scope="module")
def spaces() -> dict[str, PlateSpace]:
    config = load_config(f"ocio://{BUILTIN_CONFIG}")
    return {name: PlateSpace(config, name) for name in SPACES}


def luminance_error(result: npt.NDArray[np.floating], plate: Floats, weights: npt.NDArray[np.float64]) -> float:
    """The worst |Y_out - Y_plate| / max(|Y_plate|, 1e-3), computed apart from the code under test."""
    wanted = plate.astype(np.float64) @ weights
    return float(np.max(np.abs(result.astype(np.float64) @ weights - wanted) / np.maximum(np.abs(wanted), 1e-3)))


def random_ab(shape: tuple[int, int], seed: int) -> Floats:
    return np.random.default_rng(seed).uniform(-128.0, 128.0, (*shape, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        # B. Lindbloom, "CIE Color Calculator" and colorimetry texts: sRGB primaries and secondaries against D65, two
        # digits; they follow from IEC 61966-2-1 primaries and CIE 15:2004 equations.
        ((1.0, 0.0, 0.0), (53.24, 80.09, 67.20)),
        ((0.0, 1.0, 0.0), (87.74, -86.18, 83.18)),
        ((0.0, 0.0, 1.0), (32.30, 79.19, -107.86)),
        ((0.0, 1.0, 1.0), (91.11, -48.09, -14.13)),
        ((1.0, 0.0, 1.0), (60.32, 98.23, -60.82)),
        ((1.0, 1.0, 0.0), (97.14, -21.55, 94.48)),
        ((1.0, 1.0, 1.0), (100.0, 0.0, 0.0)),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        # 18 % grey: L* = 116 * 0.18^(1/3) - 16.
        ((0.18, 0.18, 0.18), (49.496, 0.0, 0.0)),
    ],
    ids=["red", "green", "blue", "cyan", "magenta", "yellow", "white", "black", "18 % grey"],
)
def test_published_lab(spaces: dict[str, PlateSpace], rgb: tuple[float, ...], lab: tuple[float, ...]) -> None:
    lightness, ab = rgb_to_lab(np.array([[rgb]], np.float32), spaces["Linear Rec.709 (sRGB)"])
    # Publishers round the matrix to four to seven digits.
    assert np.abs(np.array([lightness[0, 0], *ab[0, 0]]) - lab).max() < 0.03


def test_lightness_at_the_toe_and_beyond() -> None:
    # CIE 15:2004, 8.2.1.1: L* = 8 where Y = (6/29)^3; below it a line of slope 24389/27.
    knee = (6.0 / 29.0) ** 3
    luminance = np.array([knee, knee / 2, 0.0, -0.5, 8.0, 1000.0], np.float32)
    expected = [8.0, 4.0, 0.0, -0.5 * 24389 / 27, 116.0 * 2.0 - 16.0, 116.0 * 10.0 - 16.0]
    assert np.allclose(lightness_from_luminance(luminance), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SPACES)
def test_neutral_has_no_color(spaces: dict[str, PlateSpace], name: str) -> None:
    values = np.array([-0.5, 0.0, 1e-6, 0.18, 1.0, 1000.0, 65504.0], np.float32)
    grey = np.repeat(values[None, :, None], 3, axis=2)
    _, ab = rgb_to_lab(grey, spaces[name])
    assert np.abs(ab).max() < 1e-4
    assert np.allclose(colorize(grey, np.zeros((1, 7, 2), np.float32), spaces[name]), grey, rtol=2e-7, atol=1e-12)


@pytest.mark.parametrize("name", SPACES)
def test_lab_comes_back(spaces: dict[str, PlateSpace], name: str) -> None:
    generator = np.random.default_rng(0)
    rgb = np.concatenate(
        [
            generator.uniform(-0.5, 2.0, (50, 100, 3)),
            10.0 ** generator.uniform(-4.0, 4.0, (50, 100, 3)),
            generator.uniform(-1e-4, 1e-4, (50, 100, 3)),
        ]
    ).astype(np.float32)
    _, ab = rgb_to_lab(rgb, spaces[name])
    back = lab_to_rgb(luminance_of(rgb, spaces[name]), ab, spaces[name])
    # ab in float32 carries a color to about 1e-6 of its largest channel; where a negative weight takes the luminance of
    # a bright color below 0, the straight toe makes ab very large, and the color comes back that much less exactly.
    scale = np.maximum(np.abs(rgb).max(axis=2, keepdims=True), 1e-3)
    error = np.abs(back - rgb) / scale
    assert np.max(error[luminance_of(rgb, spaces[name]) > -1.0]) < 2e-5
    assert np.max(error) < 2e-4


def hard_plates() -> dict[str, Floats]:
    generator = np.random.default_rng(1)
    shape = (60, 500, 3)
    plates = {f"all {value:g}": np.full(shape, value) for value in HARD_VALUES}
    plates["mixed"] = generator.choice(HARD_VALUES, shape)
    plates["photograph"] = generator.uniform(0.0, 1.0, shape)
    plates["times 16"] = plates["photograph"] * 16.0
    plates["dark"] = generator.uniform(-1e-3, 1e-3, shape)
    plates["all magnitudes"] = 10.0 ** generator.uniform(-7.0, 4.8, shape)
    # Plates of half files: what comes in is a half float already.
    return {name: plate.astype(np.float16).astype(np.float32) for name, plate in plates.items()}


@pytest.mark.parametrize("plate", hard_plates().values(), ids=hard_plates().keys())
@pytest.mark.parametrize("name", SPACES)
def test_luminance_stays(spaces: dict[str, PlateSpace], name: str, plate: Floats) -> None:
    space = spaces[name]
    colored = colorize(plate, random_ab(plate.shape[:2], 2), space)
    assert colored.dtype == np.float32
    assert luminance_error(colored, plate, space.luminance_weights) < FLOAT_TOLERANCE
    halves = round_to_half_keeping_luminance(colored, luminance_of(plate, space), space.luminance_weights)
    assert halves.dtype == np.float16
    assert np.all(np.isfinite(halves))
    assert luminance_error(halves, plate, space.luminance_weights) < HALF_TOLERANCE


def test_rounding_for_itself_would_lose_luminance(spaces: dict[str, PlateSpace]) -> None:
    space = spaces["Linear Rec.709 (sRGB)"]
    plate = np.zeros((60, 500, 3), np.float32)
    colored = colorize(plate, random_ab((60, 500), 2), space)
    assert luminance_error(colored.astype(np.float16), plate, space.luminance_weights) > 10 * HALF_TOLERANCE


def test_the_color_is_the_one_asked_for(spaces: dict[str, PlateSpace]) -> None:
    space = spaces["ACEScg"]
    plate = np.random.default_rng(3).uniform(0.02, 4.0, (50, 50, 3)).astype(np.float32)
    ab = np.random.default_rng(4).uniform(-40.0, 40.0, (50, 50, 2)).astype(np.float32)
    colored = colorize(plate, ab, space)
    assert np.abs(rgb_to_lab(colored, space)[1] - ab).max() < 1e-3
    halves = round_to_half_keeping_luminance(colored, luminance_of(plate, space), space.luminance_weights)
    assert np.abs(rgb_to_lab(halves.astype(np.float32), space)[1] - ab).max() < 1.0


def test_half_is_plain_rounding_where_luminance_allows() -> None:
    # Every half float, as grey: none needs repair, so all bits are those of the plain conversion.
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    grey = np.repeat(halves.astype(np.float32)[None, :, None], 3, axis=2)
    rounded = round_to_half_keeping_luminance(grey, grey[..., 0].copy(), np.array([0.2126, 0.7152, 0.0722]))
    assert np.array_equal(rounded.view(np.uint16), grey.astype(np.float16).view(np.uint16))


def test_half_rounds_to_nearest_even() -> None:
    # IEEE 754: 1 + 2^-11 lies between 1 and 1 + 2^-10 and goes to the even one, 1 + 3 * 2^-11 to 1 + 2^-9.
    values = np.array([1 + 2**-11, 1 + 3 * 2**-11, 2**-25, 3 * 2**-25], np.float32)
    grey = np.repeat(values[None, :, None], 3, axis=2)
    rounded = round_to_half_keeping_luminance(grey, grey[..., 0].copy(), np.full(3, 1 / 3))
    assert np.array_equal(rounded[0, :, 0], np.array([1.0, 1 + 2**-9, 0.0, 2**-23], np.float16))


def test_what_half_cannot_hold_goes_toward_grey() -> None:
    weights = np.array([0.2126, 0.7152, 0.0722])
    rgb = np.array([[[200000.0, 20000.0, 100.0]]], np.float32)
    luminance = (rgb @ weights).astype(np.float32)
    rounded = round_to_half_keeping_luminance(rgb, luminance, weights).astype(np.float64)[0, 0]
    assert rounded.max() == 65504.0
    assert abs(rounded @ weights / luminance[0, 0] - 1.0) < HALF_TOLERANCE
    # Toward grey: what is left of each channel's distance from the luminance is the same share.
    shares = (rounded - luminance[0, 0]) / (rgb[0, 0] - luminance[0, 0])
    assert np.ptp(shares) < 1e-2


def test_luminance_above_grey_of_half(spaces: dict[str, PlateSpace]) -> None:
    # With a negative weight a plate of half floats has luminance up to 70229, which grey of half floats has not.
    space = spaces["ACES2065-1"]
    plate = np.array([[[65504.0, 65504.0, 0.0], [65504.0, 65504.0, -65504.0]]], np.float32)
    colored = colorize(plate, np.zeros((1, 2, 2), np.float32), space)
    halves = round_to_half_keeping_luminance(colored, luminance_of(plate, space), space.luminance_weights)
    assert np.all(np.isfinite(halves))
    assert luminance_error(halves, plate, space.luminance_weights) < HALF_TOLERANCE


def test_luminance_beyond_half_becomes_the_largest() -> None:
    rgb = np.array([[[1e6, 1e6, 1e6], [-1e6, -1e6, -1e6]]], np.float32)
    rounded = round_to_half_keeping_luminance(rgb, rgb[..., 0].copy(), np.array([0.2126, 0.7152, 0.0722]))
    assert np.array_equal(rounded[0], np.array([[65504.0] * 3, [-65504.0] * 3], np.float16))


def test_infinity_and_nan(spaces: dict[str, PlateSpace]) -> None:
    space = spaces["ACEScg"]
    plate = np.array([[[np.inf, 1, 2], [np.nan, 1, 2], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]], np.float32)
    ab = np.array([[[10, 20], [10, 20], [np.nan, 0], [0, np.inf]]], np.float32)
    colored = colorize(plate, ab, space)
    assert np.array_equal(colored[0, :2], plate[0, :2], equal_nan=True)
    assert np.allclose(colored[0, 2:], 0.5, rtol=1e-6)
    halves = round_to_half_keeping_luminance(colored, luminance_of(plate, space), space.luminance_weights)
    assert np.array_equal(halves[0, :2], plate[0, :2].astype(np.float16), equal_nan=True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (0, 4), (4, 0)], ids=str)
def test_small_images(spaces: dict[str, PlateSpace], shape: tuple[int, int]) -> None:
    space = spaces["ACEScg"]
    plate = np.full((*shape, 3), 0.25, np.float32)
    lightness, ab = rgb_to_lab(plate, space)
    assert lightness.shape == shape
    assert colorize(plate, ab, space).shape == (*shape, 3)


def test_layout_and_threads_change_no_bit(spaces: dict[str, PlateSpace]) -> None:
    space = spaces["Linear Rec.709 (sRGB)"]
    plate = np.random.default_rng(5).uniform(-0.1, 2.0, (301, 401, 3)).astype(np.float32)
    ab = random_ab((301, 401), 6)
    one = colorize(plate, ab, space)
    assert np.array_equal(one, colorize(plate, ab, space, threads=3))
    assert np.array_equal(one[::2, ::3], colorize(plate[::2, ::3], ab[::2, ::3], space))
    assert np.array_equal(rgb_to_lab(plate, space)[1], rgb_to_lab(plate, space, threads=3)[1])
    luminance = luminance_of(plate, space)
    halves = round_to_half_keeping_luminance(one, luminance, space.luminance_weights)
    assert np.array_equal(halves, round_to_half_keeping_luminance(one, luminance, space.luminance_weights, threads=3))


def test_inputs_stay_as_they_were(spaces: dict[str, PlateSpace]) -> None:
    space = spaces["ACEScg"]
    plate = np.random.default_rng(7).random((8, 8, 3), np.float32)
    ab = random_ab((8, 8), 8)
    plate.flags.writeable = ab.flags.writeable = False
    colored = colorize(plate, ab, space)
    colored.flags.writeable = False
    round_to_half_keeping_luminance(colored, luminance_of(plate, space), space.luminance_weights)
    rgb_to_lab(plate, space)


@pytest.mark.parametrize(
    ("plate", "ab", "message"),
    [
        (np.zeros((4, 4, 3), np.float64), np.zeros((4, 4, 2), np.float32), "expected the plate as float32 of shape"),
        (np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 2), np.float32), r"\(H, W, 3\), got float32 \(4, 4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.float32), r"a\* and b\* as float32"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 5, 2), np.float32), r"of one size, got \(4, 4\) and \(4, 5\)"),
    ],
    ids=["double", "four channels", "three of ab", "two sizes"],
)
def test_other_arrays_are_refused(spaces: dict[str, PlateSpace], plate: Floats, ab: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        colorize(plate, ab, spaces["ACEScg"])
