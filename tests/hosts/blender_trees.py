"""For `blender_scene.py`, inside Blender: compositor trees with the node, rendering, and what can be seen of a node."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy

FOLDER = Path(sys.argv[1])
sys.path.insert(0, str(FOLDER / "addons"))

import stpn_propagate  # noqa: E402

NEW_FILE_OUTPUT = bpy.app.version >= (5, 0, 0)
ASKED: dict[str, Any] = json.loads((FOLDER / "scene.json").read_text(encoding="utf-8"))
START, FIRST, LAST = ASKED["start"], ASKED["first"], ASKED["last"]


def new_tree() -> Any:
    """An empty file; the compositor's tree of its scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    stpn_propagate.register()
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = ASKED["size"]
    scene.render.resolution_percentage = 100
    scene.frame_start, scene.frame_end = START, START + LAST - FIRST
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    if NEW_FILE_OUTPUT:
        scene.compositing_node_group = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        return scene.compositing_node_group
    scene.use_nodes = True
    scene.node_tree.nodes.clear()
    return scene.node_tree


def image_node(tree: Any, path: str, number: int = FIRST, **settings: Any) -> Any:
    """An Image node that plays a sequence from scene frame `START` on."""
    node = tree.nodes.new("CompositorNodeImage")
    node.image = bpy.data.images.load(path.replace("####", str(number)))
    node.image.source = "SEQUENCE"
    for name, value in {
        "frame_start": START,
        "frame_duration": LAST - FIRST + 1,
        "frame_offset": FIRST - 1,
        **settings,
    }.items():
        setattr(node, name, value)
    return node


def connected(
    results: str, *, plate: str = ASKED["plate"], keys: str = ASKED["keys"], **settings: Any
) -> tuple[Any, Any]:
    """A tree, and in it the node with Source and Keys."""
    tree = new_tree()
    node = tree.nodes.new("StpnPropagateNode")
    tree.links.new(image_node(tree, plate).outputs["Image"], node.inputs["Source"])
    tree.links.new(image_node(tree, keys).outputs["Image"], node.inputs["Keys"])
    node.result_files = str(FOLDER / results / "{node}" / "result.####.exr")
    node.method, node.key_frames = "flow", f"{FIRST},{LAST}"
    for name, value in settings.items():
        setattr(node, name, value)
    return tree, node


def render(tree: Any, node: Any, folder: str, first: int = START, last: int = START + LAST - FIRST) -> None:
    """Both outputs of the node as float EXR, image_#### and confidence_####, numbered by scene frame."""
    scene = bpy.context.scene
    target = str(FOLDER / folder) + os.sep
    output = tree.nodes.new("CompositorNodeOutputFile")
    if NEW_FILE_OUTPUT:
        output.format.media_type = "IMAGE"
        output.directory, output.file_name = target, ""
        output.file_output_items.new("RGBA", "image_")
        output.file_output_items.new("RGBA", "confidence_")
    else:
        output.base_path = target
        output.file_slots[0].path = "image_"
        output.file_slots.new("confidence_")
    output.format.file_format = "OPEN_EXR"
    output.format.color_depth = "32"
    output.format.color_mode = "RGBA"
    tree.links.new(node.outputs["Image"], output.inputs[0])
    tree.links.new(node.outputs["Confidence"], output.inputs[1])
    end = None
    if not NEW_FILE_OUTPUT:  # where the scene's own picture is not asked for, nothing is composed
        end = tree.nodes.new("CompositorNodeComposite")
        tree.links.new(node.outputs["Image"], end.inputs[0])
    asked = scene.frame_start, scene.frame_end
    scene.frame_start, scene.frame_end = first, last
    scene.render.filepath = str(FOLDER / "unused" / "frame_")
    scene.render.image_settings.file_format = "OPEN_EXR"
    bpy.ops.render.render(animation=True)
    scene.frame_start, scene.frame_end = asked
    for one in (output, end):
        if one is not None:
            tree.nodes.remove(one)


def propagate() -> dict[str, Any]:
    """Runs the operator: how it ended, and with which complaint."""
    try:
        return {"ended": sorted(bpy.ops.stpn.propagate()), "said": ""}
    except RuntimeError as error:  # what an operator reports as an error
        return {"ended": ["ERROR"], "said": str(error).removeprefix("Error: ").strip()}


def inner(node: Any, name: str) -> dict[str, Any]:
    """What an Image node of the group plays."""
    found = node.node_tree.nodes[name]
    names = ("frame_start", "frame_duration", "frame_offset", "use_cyclic", "use_auto_refresh")
    return {one: getattr(found, one) for one in names} | {
        "path": found.image.filepath,
        "colorspace": found.image.colorspace_settings.name,
        "source": found.image.source,
    }


class Layout:
    """Stands in for Blender's layout, which nothing without a window has; keeps what is put into it, in order."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows
        self.enabled = True

    def row(self) -> Layout:
        return Layout(self.rows)

    column = box = row

    def label(self, text: str) -> None:
        self.rows.append(["label", text, True])

    def prop(self, data: Any, name: str) -> None:
        self.rows.append(["prop", data.bl_rna.properties[name].identifier, self.enabled])

    def operator(self, name: str) -> Any:
        self.rows.append(["operator", name, True])
        return SimpleNamespace()

    def progress(self, factor: float, text: str) -> None:
        self.rows.append(["progress", text, True])


def known() -> bool:
    """Whether Blender knows the node."""
    return bpy.types.Node.bl_rna_get_subclass_py("StpnPropagateNode") is not None
