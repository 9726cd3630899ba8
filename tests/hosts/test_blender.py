"""The Blender add-on in the real Blender: its node, its runs of `stpn propagate`, and the pixels that come out.

Blender runs as the module bpy in an environment of its own, which is made once in `.cache/blender-5.0`.
STPN_BLENDER_PYTHON names another Python with bpy in its place; STPN_BLENDER_PYTHON_42 adds one more that is tested too.
"""

from __future__ import annotations

import re
import sys

import pytest
from blender_shots import FIRST, START
from blender_told import ADDON, VERSIONS, Told, same_color, tell

from stpn.ocio.plate import read_plate
from stpn.plugin import node


@pytest.fixture(scope="module", params=VERSIONS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What was seen in Blender."""
    return tell(request.param, tmp_path_factory)


# ---------------------------------------------------------------- the node


def test_inputs_and_outputs(told: Told) -> None:
    seen = told["description"]
    assert seen["label"] == node.NAME
    assert [*seen["inputs"]] == [one.name for one in node.INPUTS]
    for one in node.INPUTS:
        assert seen["inputs"][one.name] == {"help": one.help.rstrip("."), "kind": "NodeSocketColor"}
    assert seen["outputs"] == ["Image", "Confidence"]


def test_parameters_are_those_of_every_host(told: Told) -> None:
    properties = told["description"]["properties"]
    own = {"result_files", "frames", "progress", "job"}
    assert [name for name in properties if name not in own] == [one.name for one in node.PARAMETERS]
    types = {"choice": "ENUM", "int": "INT", "float": "FLOAT", "bool": "BOOLEAN"}
    for one in node.PARAMETERS:
        seen = properties[one.name]
        assert seen["label"] == one.label
        assert seen["help"] == one.help.rstrip("."), "Blender adds the full stop"
        assert seen["value"] == one.default
        assert seen["type"] == types.get(one.kind, "STRING")
        assert seen["choices"] == [list(choice) for choice in one.choices]
        if one.kind in ("int", "float"):
            assert seen["limits"] == [one.minimum, one.maximum]
        assert (seen["subtype"] == "FILE_PATH") == (one.kind == "file")
        assert not seen["animatable"], "a run has one setting for all frames"


@pytest.mark.parametrize("chosen", ["color", "hdr", "mask", "channels"])
def test_sidebar_shows_all_and_greys_what_does_not_go(told: Told, chosen: str) -> None:
    drawn = told["description"]["drawn"][chosen]
    rows = {name: enabled for kind, name, enabled in drawn["sidebar"] if kind == "prop"}
    assert [*rows] == [*(one.name for one in node.PARAMETERS), "frames", "result_files"]
    for one in node.PARAMETERS:
        assert rows[one.name] == (not one.goes_with or chosen in one.goes_with)
    headings = [text for kind, text, _ in drawn["sidebar"] if kind == "label"]
    assert headings == list(dict.fromkeys(one.group for one in node.PARAMETERS if one.group))
    assert [name for _, name, _ in drawn["node"]] == [
        "property", "interval", "first_key", "key_frames", "stpn.propagate",
    ]  # fmt: skip


def test_manifest_and_bl_info_agree() -> None:
    import ast
    import tomllib

    manifest = tomllib.loads((ADDON / "blender_manifest.toml").read_text(encoding="utf-8"))
    tree = ast.parse((ADDON / "__init__.py").read_text(encoding="utf-8"))
    assigned = {one.targets[0].id: one.value for one in tree.body if isinstance(one, ast.Assign)}
    info = ast.literal_eval(assigned["bl_info"])
    assert manifest["name"] == info["name"] == node.NAME
    assert manifest["version"] == ".".join(map(str, info["version"]))
    assert manifest["blender_version_min"] == ".".join(map(str, info["blender"]))
    assert info["version"][:2] == node.VERSION


def test_addon_imports_nothing_but_blender_and_the_standard_library() -> None:
    for path in ADDON.glob("*.py"):
        imported = re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(imported) <= sys.stdlib_module_names | {"bpy"}, path


# ---------------------------------------------------------------- what goes wrong, and how it ends


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        ("curve", ["wrong request, nothing was written", "'no such curve'"]),
        ("weights", ["wrong request, nothing was written", "/no/such/file"]),
        ("unlinked", ["Source: expected an image sequence, nothing is connected"]),
        ("still", ["Source: expected an image sequence", "Single Image"]),
        ("no files", ["Keys: expected an Image node, got 'Blur'", "render it to an image sequence"]),
        ("shifted", ["Keys: expected the number of the plate", "set Start and Offset of both"]),
        ("wrong offset", ["Source: expected files 1-5", "there are 1001-1005", "Frames to 5 and its Offset to 1000"]),
        ("unsaved", ["expected a saved .blend file"]),
        ("pattern", ["expected a file name with one frame number"]),
        ("two", ["there are 2 nodes of that kind"]),
        ("not installed", ["stpn.conf", "install.py blender"]),
    ],
)
def test_wrong_request(told: Told, case: str, parts: list[str]) -> None:
    seen = told["wrong"][case]
    assert seen["ended"] == ["ERROR"]
    for part in parts:
        assert part in seen["said"]
    assert not (told.folder / "wrong").exists(), "nothing was written"


@pytest.mark.parametrize("way", ["by_button", "by_key"])
def test_cancel_leaves_no_process_and_no_half_written_file(told: Told, way: str) -> None:
    seen = told["cancelled"][way]
    assert seen["ended"] == ["CANCELLED"]
    assert seen["gone"], "the process must have ended"
    assert (seen["job"], seen["progress"], seen["image"]) == ("", 0.0, False)
    files = list((told.folder / way).rglob("*.*")) if (told.folder / way).exists() else []
    made = [path for path in files if path.is_file()]
    assert len(made) < 2 * 41
    assert bool(made) == (way == "by_button")
    for path in made:
        assert re.fullmatch(r"(result|confidence)\.\d{4}\.exr", path.name), f"{path.name} is left over"
        read_plate(path).part_pixels(0)


def test_modal_run(told: Told) -> None:
    seen = told["modal"]
    assert seen["ended"] == ["FINISHED"]
    assert seen["while"]
    assert seen["over"]
    assert (seen["range"], seen["progress"][-1], seen["removed"]) == ([0, 5], 5, "timer")
    assert seen["path"].endswith(f"result.{FIRST}.exr"), "a node that was renamed meanwhile gets its result"
    assert any("of 5" in text for text in seen["status"] if text)
    assert seen["status"][-1] is None, "the status bar is Blender's again"
    assert seen["after escape"] == ["CANCELLED"]
    assert [report[0] for report in seen["reports"]] == ["INFO", "WARNING"]


def test_saved_and_opened_again(told: Told) -> None:
    seen = told["kept"]
    assert (seen["ended"], seen["said"]) == (["FINISHED"], "")
    assert len(seen["files"]) == 10
    assert seen["path"] == f"//stpn/STPN Propagate/result.{FIRST}.exr", "the folder of the file may be moved"
    assert (seen["mix"], seen["running"], seen["done"]) == (0.5, "", 1.0)
    made = told.file(f"kept/stpn/STPN Propagate/result.{FIRST + 1}.exr")
    same_color(told.rendered("kept_rendered", START + 1), made)


def test_register_and_unregister(told: Told) -> None:
    seen = told["kept"]
    assert seen["registered"] == {"class": True, "operators": True, "kept": 3}
    assert seen["unregistered"] == {"class": False, "operators": False, "kept": 3}
    assert seen["back"] == ["StpnPropagateNode"]


def test_enabled_as_add_on_and_as_extension(told: Told) -> None:
    seen = told["enabled"]
    for name in ("stpn_propagate", "bl_ext.user_default.stpn_propagate"):
        assert seen[name]["file"].startswith(seen[name]["folder"])
        assert (seen[name]["on"], seen[name]["off"]) == (True, True)
        assert seen[name]["preferences"] == [["label", f"stpn is run by {sys.executable}", True]]
    code, said = seen["manifest"]
    assert code == 0, said


def test_without_the_files_of_the_installation(told: Told) -> None:
    seen = told["bare"]
    assert not seen["class"]
    assert "node.json: expected the description of the node, found no such file" in seen["said"]
    assert "install.py blender" in seen["said"]
