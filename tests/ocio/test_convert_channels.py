"""Which channels are color, told from names and types."""

from __future__ import annotations

from pathlib import Path

import pytest

from stpn.ocio.convert_channels import chosen_parts, color_layers, is_data_name
from stpn.ocio.convert_request import ConvertRequestError
from stpn.ocio.plate_info import ChannelInfo, PartInfo, PlateInfo

WINDOW = (0, 0, 9, 9)


def info(*parts: tuple[str, str], attributes: dict[str, object] | None = None, kind: str = "half") -> PlateInfo:
    """Parts as (name, channels separated by blanks); a channel may name its type behind a colon."""
    made = []
    for name, channels in parts:
        pairs = [channel.partition(":") for channel in sorted(channels.split())]
        infos = tuple(ChannelInfo(channel, pixel_type or kind) for channel, _, pixel_type in pairs)
        made.append(PartInfo(name, infos, WINDOW, WINDOW, "zip", "scanline", attributes or {}))
    return PlateInfo(Path("x.exr"), tuple(made), "exr")


def found(*parts: tuple[str, str], **options: object) -> list[str]:
    plate = info(*parts, **options)  # type: ignore[arg-type]
    return [" ".join(layer.channels) + (f" / {layer.alpha}" if layer.alpha else "") for layer in
            color_layers(plate, range(len(plate.parts)))]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "N", "n", "normal", "Normals", "worldNormal", "normal_camera", "nml", "P", "Pworld", "pRef", "worldPosition",
        "position_object", "motion", "motionVector", "MotionVectors", "mv", "velocity", "forward_flow", "uv", "UV_pass",
        "st", "stmap", "depth", "zDepth", "Z", "ID", "objectId", "object_id", "materialID", "matid", "cryptomatte",
        "crypto_object00", "uCryptoAsset01", "CryptoMaterial", "ObjectCryptomatte", "mask", "key.mask", "puzzleMatte",
        "coverage", "opacity", "tangent", "rgba.N", "left.N", "st.left",
    ],
)  # fmt: skip
def test_these_names_are_no_color(name: str) -> None:
    assert is_data_name(name)
    assert found(("", f"{name}.R {name}.G {name}.B R G B")) == ["R G B"]
    assert found((name, "R G B")) == []


@pytest.mark.parametrize(
    "name",
    [
        "", "diffuse", "specular_direct", "beauty", "rgba", "left", "key_light_n", "subsurface", "emission", "albedo",
        "volume", "sss", "environment", "candid", "Video", "flowers", "idol", "positive", "masked_beauty2",
        "denoised", "lightgroup_P1", "transmission", "main", "fogged",
    ],
)  # fmt: skip
def test_these_names_are_color(name: str) -> None:
    assert not is_data_name(name)
    prefix = f"{name}." if name else ""
    assert found(("", f"{prefix}R {prefix}G {prefix}B")) == [f"{prefix}R {prefix}G {prefix}B"]


def test_only_red_green_and_blue_together_are_color_and_luminance_alone() -> None:
    assert found(("", "R G B A Z")) == ["R G B / A"]
    assert found(("", "R G A")) == []
    assert found(("", "Y A")) == ["Y / A"]
    assert found(("", "Y RY BY")) == []
    assert found(("", "X Y Z")) == []
    assert found(("", "P.X P.Y P.Z some.X some.Y some.Z")) == []
    assert found(("", "red green blue alpha")) == ["red green blue / alpha"]
    assert found(("", "diffuse.r diffuse.g diffuse.b diffuse.a R G B A")) == [
        "R G B / A", "diffuse.r diffuse.g diffuse.b / diffuse.a",
    ]  # fmt: skip


def test_integers_of_an_exr_are_no_color() -> None:
    assert found(("", "R:uint32 G:uint32 B:uint32")) == []
    assert found(("", "R G B:uint32")) == []
    assert found(("", "R:float G:half B:half A:uint32")) == ["R G B"]


def test_what_a_file_says_of_itself_counts() -> None:
    manifest: dict[str, object] = {"cryptomatte/1ab/name": "ourThings"}
    assert found(("", "R G B ourThings00.R ourThings00.G ourThings00.B"), attributes=manifest) == ["R G B"]
    assert found(("", "ourThingsToo.R ourThingsToo.G ourThingsToo.B"), attributes=manifest) != []
    assert found(("", "R G B"), attributes={"colorInteropID": "data"}) == []


def test_patterns_choose_whole_colors() -> None:
    plate = info(("", "R G B A N.R N.G N.B Z diffuse.R diffuse.G diffuse.B"))
    chosen = [layer.name for layer in color_layers(plate, [0], "N.*, diffuse.[RGB]")]
    assert chosen == ["N", "diffuse"]
    for pattern, words in {
        "diffuse.R": "got them without diffuse.G, diffuse.B",
        "Z": "expected R, G and B of a layer, or Y",
        "difuse.R": "did you mean diffuse.R",
        "": "expected R, G and B of a layer",
    }.items():
        with pytest.raises(ConvertRequestError, match=words):
            color_layers(plate, [0], pattern)


def test_parts_are_meant_by_name_number_or_wildcard() -> None:
    plate = info(("beauty", "R G B"), ("diffuse", "R G B"), ("depth", "Z"))
    assert chosen_parts(plate, None) == (0, 1, 2)
    assert chosen_parts(plate, "d*") == (1, 2)
    assert chosen_parts(plate, "0, depth") == (0, 2)
    assert [layer.part for layer in color_layers(plate, [0, 1, 2], "diffuse/*")] == [1]
    with pytest.raises(ConvertRequestError, match=r"--parts beuty: .* did you mean beauty\?"):
        chosen_parts(plate, "beuty")
