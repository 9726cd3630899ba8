"""The nodes of ComfyUI: the folder, and the faces of both nodes."""

from __future__ import annotations

import ast
import sys
import tomllib
from typing import Any

import comfyui_setup as shared
import pytest

from stpn.plugin import node

stand_in, shown = shared.stand_in, shared.shown
REPOSITORY, SOURCE = shared.REPOSITORY, shared.SOURCE
Comfy, comfy, host = shared.Comfy, shared.comfy, shared.host


# the folder


def test_the_folder_alone_says_what_is_missing(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"expected worker_client\.py.*node\.json, stpn\.conf.*install\.py comfyui"):
        stand_in.load(SOURCE, monkeypatch)


def test_what_is_needed_is_what_is_imported(comfy: Comfy) -> None:
    imported = set()
    for path in comfy.folder.glob("*.py"):
        for found in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(found, ast.ImportFrom) and found.level == 1:
                imported.add(f"{found.module}.py")
    beside = {path.name for path in SOURCE.iterdir()}
    assert imported - beside == {name for name in comfy.package.NEEDED if name.endswith(".py")}


def test_only_what_comfyui_has_is_imported_on_loading(comfy: Comfy) -> None:
    known = {*sys.stdlib_module_names, "numpy", "torch", "comfy_api"}
    for path in comfy.folder.glob("*.py"):
        for found in ast.parse(path.read_text("utf-8")).body:
            if isinstance(found, ast.Import):
                assert {one.name.split(".")[0] for one in found.names} <= known, path.name
            elif isinstance(found, ast.ImportFrom) and found.level == 0:
                assert str(found.module).split(".")[0] in known, path.name


def test_the_registry_reads_the_projects_version() -> None:
    ours, project = (tomllib.loads((folder / "pyproject.toml").read_text("utf-8")) for folder in (SOURCE, REPOSITORY))
    assert ours["project"]["version"] == project["project"]["version"]
    assert ours["project"]["description"] == project["project"]["description"]
    assert ours["project"]["license"]["text"] == project["project"]["license"]
    assert ours["tool"]["comfy"]["DisplayName"] == node.NAME
    assert ours["tool"]["comfy"]["PublisherId"]


# faces


@pytest.mark.parametrize("files", [False, True])
def test_every_parameter_is_shown_as_the_node_describes_it(comfy: Comfy, files: bool) -> None:
    faces = shown(comfy.files if files else comfy.frames)
    kinds = {"choice": "Combo", "int": "Int", "float": "Float", "bool": "Boolean"}
    left_out = {"output", "mix"} if files else {one.name for one in node.PARAMETERS if one.files_only}
    expected = [one for one in node.PARAMETERS if one.name not in left_out]
    assert [name for name in faces if name in {one.name for one in node.PARAMETERS}] == [one.name for one in expected]
    for one in expected:
        face = faces[one.name]
        assert face.kind == kinds.get(one.kind, "String")
        assert face.display_name == one.label
        assert face.tooltip.startswith(one.help)
        assert bool(face.extra_dict) == bool(one.group)
        if one.kind == "choice":
            assert face.options == [label for _, label in one.choices]
            assert face.default == dict(one.choices)[str(one.default)]
        else:
            assert face.default == one.default
            assert type(face.default) is type(one.default)
        if one.kind in ("int", "float"):
            assert (face.min, face.max) == (one.minimum, one.maximum)


def test_what_differs_here_is_said(comfy: Comfy) -> None:
    faces = shown(comfy.frames)
    described = {one.name: one.help for one in node.PARAMETERS}
    added = {name: faces[name].tooltip.removeprefix(help) for name, help in described.items() if name in faces}
    assert {name for name, text in added.items() if text} == {
        "first_key", "key_frames", "colorspace", "keys_colorspace",
    }  # fmt: skip
    for name in ("first_key", "key_frames"):
        assert "counted from 0" in added[name]
    assert "sRGB" in added["colorspace"]


def test_inputs_and_outputs(comfy: Comfy) -> None:
    for which, kinds, outputs in (
        (comfy.frames, ["Image", "Image", "Mask"], ["Image", "Mask"]),
        (comfy.files, ["String", "String", "String"], ["String"]),
    ):
        schema = which.define_schema()
        assert schema.display_name.startswith(node.NAME)
        assert schema.description.startswith(node.HELP)
        assert [one.kind for one in schema.inputs[:3]] == kinds
        assert [one.kind for one in schema.outputs] == outputs
        ids = [one.id for one in (*schema.inputs, *schema.outputs)]
        assert len(set(ids)) == len(ids)
        assert all(one.display_name and one.tooltip for one in schema.inputs)
    faces = shown(comfy.frames)
    for one in node.INPUTS:
        face = faces[one.name.lower()]
        assert (face.display_name, face.optional) == (one.name, one.optional)
        assert face.tooltip == one.help or one.name == "Keys"
    assert comfy.files.define_schema().is_output_node
