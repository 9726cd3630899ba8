"""Opening configs, finding spaces in them, and what the errors say."""

from pathlib import Path

import PyOpenColorIO as ocio
import pytest

from stpn.ocio.config import BUILTIN_CONFIG, ColorError, Config, load_config

SMALL_CONFIG = """ocio_profile_version: 2.1
roles:
  aces_interchange: aces
  scene_linear: aces
file_rules:
  - !<Rule> {name: Default, colorspace: aces}
displays:
  screen:
    - !<View> {name: view, colorspace: aces}
colorspaces:
  - !<ColorSpace> {name: aces, encoding: scene-linear}
"""


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.delenv("OCIO", raising=False)
    return load_config()


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_built_in_config_is_pinned_and_has_the_camera_logs(config: Config) -> None:
    assert config.origin == f"built-in {BUILTIN_CONFIG}"
    names = {info.name for info in config.spaces()}
    assert {"ARRI LogC4", "S-Log3 S-Gamut3.Cine", "V-Log V-Gamut", "Log3G10 REDWideGamutRGB", "ACEScct"} <= names


def test_the_pinned_config_is_the_newest_studio_config() -> None:
    built_in = [name for name, *_ in ocio.BuiltinConfigRegistry().getBuiltinConfigs() if name.startswith("studio")]
    assert built_in[-1] == BUILTIN_CONFIG


def test_the_option_comes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_option = write(tmp_path / "option.ocio", SMALL_CONFIG)
    by_variable = write(tmp_path / "variable.ocio", SMALL_CONFIG)
    monkeypatch.setenv("OCIO", by_variable)
    assert load_config(by_option).origin == f"--ocio {by_option}"
    assert load_config().origin == f"$OCIO ({by_variable})"
    monkeypatch.setenv("OCIO", "")
    assert load_config().origin == f"built-in {BUILTIN_CONFIG}"


def test_built_in_configs_open_by_address() -> None:
    config = load_config("ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3")
    assert config.scene_linear().name == "ACEScg"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("ACEScg", "ACEScg"),
        ("acesCG", "ACEScg"),
        ("scene_linear", "ACEScg"),
        ("compositing_log", "ACEScct"),
        ("lin_rec709", "Linear Rec.709 (sRGB)"),
        ("Input - ARRI - V3 LogC (EI800) - Wide Gamut", "ARRI LogC3 (EI800)"),
        ("srgb_rec709_display", "sRGB - Display"),
        ("ocio:arrilogc4_awg4_scene", "ARRI LogC4"),
    ],
    ids=["name", "other case", "role", "role of a log", "alias", "old name", "display space", "interop ID"],
)
def test_spaces_are_found(config: Config, asked: str, name: str) -> None:
    assert config.space(asked).name == name


def test_what_is_known_of_a_space(config: Config) -> None:
    info = config.space("ACEScg")
    assert (info.family, info.encoding, info.is_data) == ("ACES", "scene-linear", False)
    assert "scene_linear" in info.roles
    assert "lin_ap1_scene" in info.aliases
    assert info.interop_id == "lin_ap1_scene"
    assert config.space("Raw").is_data


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("Linaer Rec.709", "Linear Rec.709 (sRGB)"), ("LogC4", "ARRI LogC4"), ("sceen_linear", "scene_linear")],
    ids=["letters swapped", "part of a name", "role"],
)
def test_the_closest_names_are_suggested(config: Config, asked: str, meant: str) -> None:
    with pytest.raises(ColorError) as error:
        config.space(asked)
    head = f"expected a color space of the config, got {asked!r}, which built-in {BUILTIN_CONFIG} does not have; "
    assert str(error.value).startswith(f"{head}did you mean {meant!r}")


@pytest.mark.parametrize("asked", ["", "qqqqqq"], ids=["empty", "like nothing"])
def test_names_like_no_other_point_to_the_list(config: Config, asked: str) -> None:
    with pytest.raises(ColorError, match=r"`stpn doctor` lists its spaces$"):
        config.space(asked)


def test_a_data_space_is_no_color_space(config: Config) -> None:
    with pytest.raises(ColorError) as error:
        config.color_space("raw")
    assert str(error.value) == (
        f"expected a color space, got 'Raw', which holds data, in built-in {BUILTIN_CONFIG};"
        " name the space of the pixels"
    )


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.ocio"
    with pytest.raises(ColorError) as error:
        load_config(str(path))
    assert str(error.value) == (
        f"expected an OCIO config file, found nothing: --ocio {path}; name another config, or leave --ocio out"
    )


def test_a_missing_file_in_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIO", str(tmp_path / "none.ocio"))
    with pytest.raises(ColorError, match=r"found nothing: \$OCIO \(.*none\.ocio\); set it to a config, or unset it$"):
        load_config()


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ColorError, match=r"got a folder: --ocio .*; name the \.ocio file in it$"):
        load_config(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "version"),
        (b"not a config\n", "."),
        (b"\x00\xff\xfe\x80" * 50, "."),
        (SMALL_CONFIG.replace("2.1", "2.99").encode(), "2.99|minor version"),
        (SMALL_CONFIG.replace("2.1", "9").encode(), "version 9|newer|9"),
        (SMALL_CONFIG.replace("colorspaces:", "colorspaces: [").encode(), "."),
        (SMALL_CONFIG.replace("scene_linear: aces", "scene_linear: gone").encode(), "gone"),
    ],
    ids=["empty", "prose", "bytes", "newer minor version", "newer major version", "broken YAML", "role of nothing"],
)
def test_a_broken_config(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "broken.ocio"
    path.write_bytes(content)
    with pytest.raises(ColorError, match=reason) as error:
        load_config(str(path))
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"expected an OCIO config that OCIO {ocio.__version__} reads, --ocio {path} is not one: ")


def test_an_unknown_built_in_config() -> None:
    with pytest.raises(ColorError, match=r"is not one: .*nonsense"):
        load_config("ocio://nonsense")


def test_no_scene_linear_role(tmp_path: Path) -> None:
    path = write(tmp_path / "bare.ocio", SMALL_CONFIG.replace("  scene_linear: aces\n", ""))
    with pytest.raises(ColorError, match="expected the role scene_linear, found none, in --ocio"):
        load_config(path).scene_linear()
