"""Working curves: published codes, round trips to 1e-5 of the value over 1e-6..65504, nothing clamped."""

import numpy as np
import pytest

from stpn.ocio.config import BUILTIN_CONFIG, ColorError, Config, load_config
from stpn.ocio.spaces import PlateSpace, working_curve

POSITIVE = np.geomspace(1e-6, 65504.0, 20000).astype(np.float32)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(f"ocio://{BUILTIN_CONFIG}")


def log_spaces() -> list[str]:
    # ADX mixes channels, so it is no curve.
    spaces = load_config(f"ocio://{BUILTIN_CONFIG}").spaces()
    return [info.name for info in spaces if info.encoding == "log" and not info.name.startswith("ADX")]


def test_all_camera_logs_are_there() -> None:
    makers = {name.split()[0] for name in log_spaces()}
    assert {"ARRI", "Apple", "BMDFilm", "DaVinci", "CanonLog2", "D-Log", "V-Log", "Log3G10", "S-Log3"} <= makers


@pytest.mark.parametrize("name", log_spaces())
def test_round_trip(config: Config, name: str) -> None:
    curve = working_curve(config, name)
    image = POSITIVE.copy()
    curve.encode(image)
    assert np.all(np.diff(image) > 0.0)
    curve.decode(image)
    assert np.max(np.abs(image - POSITIVE) / POSITIVE) < 1e-5


@pytest.mark.parametrize("name", log_spaces())
def test_negatives_and_zero_come_back(config: Config, name: str) -> None:
    values = np.concatenate([-POSITIVE[::-1], [np.float32(0.0)]])
    image = values.copy()
    curve = working_curve(config, name)
    curve.encode(image)
    assert image[-1] == 0.0
    curve.decode(image)
    # Apple Log is a parabola down to -0.0564, where it stands almost still.
    tolerance = 1e-4 if name.startswith("Apple") else 1e-5
    assert np.max(np.abs(image - values) / np.maximum(np.abs(values), 1e-6)) < tolerance


@pytest.mark.parametrize("name", log_spaces())
def test_codes_are_those_of_the_config(config: Config, name: str) -> None:
    curve, space = working_curve(config, name), PlateSpace(config, name)
    low, high = max(curve.domain[0], -0.01), min(curve.domain[1], 1000.0)
    linear = np.linspace(low, high, 5000, dtype=np.float32)[1:-1]
    expected = np.repeat(linear[None, :, None], 3, axis=2)
    space.encode(expected)
    curve.encode(linear)
    assert np.abs(linear + curve.black - expected[0, :, 0]).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "linear", "code"),
    [
        # Academy S-2016-001, section 4.3.
        ("ACEScct", 0.18, 0.413588402492442),
        ("ACEScct", 0.0, 0.072905534195836),
        # ARRI, "LogC4 Logarithmic Color Space" (2022).
        ("ARRI LogC4", 0.18, 0.27839583),
        ("ARRI LogC4", 0.0, 95.0 / 1023.0),
        # Sony, "Technical Summary for S-Gamut3.Cine/S-Log3".
        ("S-Log3 S-Gamut3.Cine", 0.18, 420.0 / 1023.0),
        # Canon, "Canon Log Gamma Curves" (2018): the constant term of Canon Log 2, the code of 0.
        ("CanonLog2 CinemaGamut D55", 0.0, 0.092864125),
    ],
)
def test_published_codes(config: Config, name: str, linear: float, code: float) -> None:
    curve = working_curve(config, name)
    image = np.array([linear], np.float32)
    curve.encode(image)
    assert abs(image[0] + curve.black - code) < 1e-6


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("ARRI LogC4", -np.inf, np.inf),
        ("ACEScc", -5.7e-7, 96617.7),
        ("Apple Log", -0.056411, 3.4e38),
        ("CanonLog2 CinemaGamut D55", -0.014727, 59.2345),
        ("CanonLog3 CinemaGamut D55", -0.073813, 14.6683),
    ],
)
def test_where_a_curve_is_the_configs_own(config: Config, name: str, low: float, high: float) -> None:
    assert working_curve(config, name).domain == pytest.approx((low, high), rel=1e-3)


def test_linear_touches_nothing(config: Config) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 1000, dtype=np.uint32)
    image = bits.view(np.float32)
    for name in ("linear", "Linear", "ACEScg"):
        curve = working_curve(config, name)
        assert curve.is_linear
        curve.encode(image)
        curve.decode(image)
    assert np.array_equal(image.view(np.uint32), bits)


def test_threads_give_the_same_bits(config: Config) -> None:
    source = np.random.default_rng(1).normal(size=(400, 300, 3)).astype(np.float32)
    for name in ("ARRI LogC4", "Apple Log"):
        one, three = source.copy(), source.copy()
        working_curve(config, name).encode(one, threads=1)
        working_curve(config, name).encode(three, threads=3)
        assert np.array_equal(one, three)
        assert not np.array_equal(one, source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ADX10", "expected a working curve of one channel, got 'ADX10', which mixes channels"),
        ("Raw", "got 'Raw', which holds data"),
        ("LogC5", "expected a color space of the config, got 'LogC5'"),
    ],
)
def test_spaces_that_are_no_curve(config: Config, name: str, message: str) -> None:
    with pytest.raises(ColorError, match=message):
        working_curve(config, name)


def test_other_arrays_are_refused(config: Config) -> None:
    with pytest.raises(ValueError, match="expected a contiguous float32 array, got float64"):
        working_curve(config, "ACEScct").encode(np.zeros(3))  # type: ignore[arg-type]
