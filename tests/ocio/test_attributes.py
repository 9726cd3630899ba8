"""What `--colorspace auto` takes a file for, and the reason it gives."""

from types import SimpleNamespace

import numpy as np
import pytest

from stpn.ocio.attributes import Decision, space_from_attributes
from stpn.ocio.config import BUILTIN_CONFIG, ColorError, Config, load_config

REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
AP0 = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
AWG3 = (0.684, 0.313, 0.221, 0.848, 0.0861, -0.102, 0.3127, 0.3290)
LINEAR_REC709 = "Linear Rec.709 (sRGB)"
SRGB = "sRGB Encoded Rec.709 (sRGB)"


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(f"ocio://{BUILTIN_CONFIG}")


@pytest.mark.parametrize(
    ("numbers", "space", "primaries"),
    [
        (REC709, LINEAR_REC709, "Rec.709"),
        (AP0, "ACES2065-1", "ACES AP0"),
        (AP1, "ACEScg", "ACES AP1"),
        ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329), "Linear P3-D65", "P3-D65"),
        ((0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329), "Linear Rec.2020", "Rec.2020"),
        (AWG3, "Linear ARRI Wide Gamut 3", "ARRI Wide Gamut 3"),
        ((0.73, 0.28, 0.14, 0.855, 0.1, -0.05, 0.3127, 0.329), "Linear S-Gamut3", "S-Gamut3"),
        ((0.73, 0.28, 0.165, 0.84, 0.1, -0.03, 0.3127, 0.329), "Linear V-Gamut", "V-Gamut"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_chromaticities(config: Config, numbers: tuple[float, ...], space: str, primaries: str) -> None:
    decision = space_from_attributes(config, {"chromaticities": numbers}, file_format="exr")
    assert decision == Decision(space, f"chromaticities are those of {primaries}")


@pytest.mark.parametrize(
    "value",
    [
        np.array(REC709, np.float32),
        [REC709[0:2], REC709[2:4], REC709[4:6], REC709[6:8]],
        SimpleNamespace(
            red=SimpleNamespace(x=0.64, y=0.33), green=(0.30, 0.60), blue=np.array([0.15, 0.06]), white=(0.3127, 0.3290)
        ),
        tuple(round(number, 3) for number in REC709),
    ],
    ids=["float32 array", "pairs", "object", "three decimals"],
)
def test_chromaticities_in_any_shape(config: Config, value: object) -> None:
    assert space_from_attributes(config, {"chromaticities": value}, file_format="exr").space == LINEAR_REC709


def test_unknown_chromaticities_ask_for_the_option(config: Config) -> None:
    with pytest.raises(ColorError) as error:
        space_from_attributes(config, {"chromaticities": (0.6, 0.3, 0.2, 0.7, 0.1, 0.05, 0.3, 0.3)}, file_format="exr")
    assert str(error.value) == (
        "expected chromaticities of a scene-linear space of the config, got (0.6, 0.3, 0.2, 0.7, 0.1, 0.05, 0.3, 0.3)"
        f" in the file, which none in --ocio ocio://{BUILTIN_CONFIG} has; pass --colorspace NAME"
    )


@pytest.mark.parametrize("value", [(1.0, 2.0), "text", (*REC709[:7], float("nan")), None], ids=str)
def test_chromaticities_that_are_none(config: Config, value: object) -> None:
    attributes = {"chromaticities": value}
    if value is None:
        assert space_from_attributes(config, attributes, file_format="exr").space == "ACEScg"
    else:
        with pytest.raises(ColorError, match=r"^expected 8 finite chromaticities, got .*; pass --colorspace NAME$"):
            space_from_attributes(config, attributes, file_format="exr")


@pytest.mark.parametrize(
    ("attributes", "space", "reason"),
    [
        ({"colorInteropID": "lin_p3d65_scene"}, "Linear P3-D65", "colorInteropID is 'lin_p3d65_scene'"),
        ({"colorInteropID": "unknown"}, "ACEScg", "EXR without color attributes, taken for role scene_linear"),
        ({"acesImageContainerFlag": 1}, "ACES2065-1", "acesImageContainerFlag is 1 (SMPTE ST 2065-4)"),
        ({"acesImageContainerFlag": 0}, "ACEScg", "EXR without color attributes, taken for role scene_linear"),
        ({"oiio:ColorSpace": "sRGB"}, SRGB, "oiio:ColorSpace is 'sRGB'"),
        ({"oiio:ColorSpace": "lin_ap1_scene"}, "ACEScg", "oiio:ColorSpace is 'lin_ap1_scene'"),
        ({"oiio:ColorSpace": "srgb_rec709_display"}, "sRGB - Display", "oiio:ColorSpace is 'srgb_rec709_display'"),
        ({"oiio:ColorSpace": "Linear"}, "ACEScg", "oiio:ColorSpace is 'Linear', taken for role scene_linear"),
        (
            {"oiio:ColorSpace": "Linear", "chromaticities": REC709},
            LINEAR_REC709,
            "chromaticities are those of Rec.709",
        ),
        (
            {"oiio:ColorSpace": "weird", "chromaticities": REC709},
            LINEAR_REC709,
            "chromaticities are those of Rec.709; oiio:ColorSpace 'weird' is no space of the config",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_other_hints(config: Config, attributes: dict[str, object], space: str, reason: str) -> None:
    assert space_from_attributes(config, attributes, file_format="exr") == Decision(space, reason)


@pytest.mark.parametrize(
    ("attributes", "space", "reason"),
    [
        (
            {"colorInteropID": "lin_ap1_scene", "chromaticities": REC709, "acesImageContainerFlag": 1},
            "ACEScg",
            "colorInteropID is 'lin_ap1_scene'; against its chromaticities, which are those of Rec.709; against its"
            " acesImageContainerFlag, which is 1",
        ),
        (
            {"acesImageContainerFlag": 1, "oiio:ColorSpace": "lin_ap1_scene", "chromaticities": AP0},
            "ACES2065-1",
            "acesImageContainerFlag is 1 (SMPTE ST 2065-4); against its oiio:ColorSpace, which is 'lin_ap1_scene'",
        ),
        (
            {"oiio:ColorSpace": "ACEScg", "chromaticities": (1.0,)},
            "ACEScg",
            "oiio:ColorSpace is 'ACEScg'; its chromaticities are not eight numbers",
        ),
    ],
    ids=["interop ID first", "container flag before name", "broken chromaticities"],
)
def test_hints_that_disagree(config: Config, attributes: dict[str, object], space: str, reason: str) -> None:
    assert space_from_attributes(config, attributes, file_format="exr") == Decision(space, reason)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"colorInteropID": "lin_mars"}, "expected a space of the config, got colorInteropID 'lin_mars' in the file"),
        ({"colorInteropID": "data"}, "expected color, but colorInteropID 'data' says that the file holds data"),
        ({"oiio:ColorSpace": "Raw"}, "expected color, but oiio:ColorSpace 'Raw' says that the file holds data"),
    ],
    ids=["unknown interop ID", "interop ID of data", "name of data"],
)
def test_hints_that_name_no_color(config: Config, attributes: dict[str, object], message: str) -> None:
    with pytest.raises(ColorError) as error:
        space_from_attributes(config, attributes, file_format="exr")
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("; pass --colorspace NAME")


@pytest.mark.parametrize(
    ("attributes", "file_format", "pixel_type", "space"),
    [
        ({}, "OpenEXR", "half", "ACEScg"),
        ({}, ".PNG", "uint16", SRGB),
        ({}, "jpg", "uint8", SRGB),
        ({}, "tif", "uint8", SRGB),
        ({}, "tiff", None, SRGB),
        ({}, "tiff", "float", "ACEScg"),
        ({}, "hdr", "float", LINEAR_REC709),
        ({"oiio:ColorSpace": "Linear"}, "hdr", "float", LINEAR_REC709),
        ({"dpx:Transfer": "Printing density"}, "dpx", "uint16", "ADX10"),
        (
            {"dpx:Transfer": "ITU-R 709-4", "oiio:ColorSpace": "srgb_rec709_scene"},
            "dpx",
            "uint16",
            "Camera Rec.709",
        ),
        ({"dpx:Transfer": "Linear", "oiio:ColorSpace": "lin_rec709_scene"}, "dpx", "uint16", LINEAR_REC709),
    ],
    ids=str,
)
def test_formats(
    config: Config, attributes: dict[str, object], file_format: str, pixel_type: str | None, space: str
) -> None:
    decision = space_from_attributes(config, attributes, file_format=file_format, pixel_type=pixel_type)
    assert decision.space == space
    assert "against" not in decision.reason


def test_a_log_dpx_does_not_say_which_log(config: Config) -> None:
    with pytest.raises(ColorError) as error:
        space_from_attributes(config, {"oiio:ColorSpace": "KodakLog"}, file_format="dpx")
    assert str(error.value) == (
        "expected a file that says its color space, got DPX without one (oiio:ColorSpace 'KodakLog' is no space of the"
        " config); pass --colorspace NAME"
    )


def test_an_older_config_with_other_names() -> None:
    config = load_config("ocio://cg-config-v1.0.0_aces-v1.3_ocio-v2.1")
    taken = space_from_attributes(config, {"oiio:ColorSpace": "srgb_rec709_scene"}, file_format="png").space
    assert taken == config.space("sRGB - Texture").name
    assert space_from_attributes(config, {"chromaticities": REC709}, file_format="exr").space == LINEAR_REC709
