"""For `blender_scene.py`, inside Blender: runs of the node that go well, and what is seen of them."""

from __future__ import annotations

import os
from typing import Any

import bpy
from blender_trees import (
    ASKED,
    FIRST,
    FOLDER,
    LAST,
    NEW_FILE_OUTPUT,
    START,
    Layout,
    connected,
    image_node,
    inner,
    new_tree,
    propagate,
    render,
    stpn_propagate,
)


def description() -> dict[str, Any]:
    """The node as Blender shows it."""
    node = new_tree().nodes.new("StpnPropagateNode")
    told: dict[str, Any] = {"label": node.bl_label, "inputs": {}, "properties": {}, "drawn": {}}
    for chosen in ("color", "hdr", "mask", "channels"):
        node.property = chosen
        told["drawn"][chosen] = {"node": [], "sidebar": []}
        # the plain functions, since Blender lets no stand-in through to those of the node
        drawn = stpn_propagate.node.Propagate
        drawn.draw_buttons(node, bpy.context, Layout(told["drawn"][chosen]["node"]))
        drawn.draw_buttons_ext(node, bpy.context, Layout(told["drawn"][chosen]["sidebar"]))
    node.property = "color"
    for item in node.node_tree.interface.items_tree:
        if item.in_out == "INPUT":
            told["inputs"][item.name] = {"help": item.description, "kind": item.socket_type}
    told["outputs"] = [socket.name for socket in node.outputs]
    known = {one.identifier for one in bpy.types.CompositorNodeCustomGroup.bl_rna.properties}
    for one in node.bl_rna.properties:
        if one.identifier in known:
            continue
        told["properties"][one.identifier] = {
            "label": one.name,
            "help": one.description,
            "type": one.type,
            "subtype": one.subtype,
            "value": getattr(node, one.identifier),
            "limits": [one.hard_min, one.hard_max] if one.type in ("INT", "FLOAT") else None,
            "choices": [[item.identifier, item.name] for item in one.enum_items] if one.type == "ENUM" else [],
            "animatable": one.is_animatable,
        }
    return told


def color() -> dict[str, Any]:
    """The whole shot, before and after; then with mix, matte and as confidence."""
    tree, node = connected("results", result_files=str(FOLDER / "results" / "result.####.exr"))
    render(tree, node, "before")
    told = propagate()
    told["progress"] = node.progress
    told["config"] = os.path.join(bpy.utils.system_resource("DATAFILES", path="colormanagement"), "config.ocio")
    told |= {name: inner(node, name) for name in ("Result", "Confidence")}
    # before its first file a sequence has no size, for which 4.2 cannot write a file whatever nodes there are
    render(tree, node, "after", START - 2 * NEW_FILE_OUTPUT, START + LAST - FIRST + 2)
    node.mix = 0.25
    render(tree, node, "mixed", last=START + 1)
    node.mix = 1.0
    for folder, matte in ASKED["matte"].items():
        link = tree.links.new(image_node(tree, matte).outputs["Image"], node.inputs["Matte"])
        render(tree, node, folder, START + 1, START + 1)
        tree.links.remove(link)
    node.output = "confidence"
    render(tree, node, "as_confidence", last=START + 1)
    return told


def again() -> dict[str, Any]:
    """A second run over the first one's files, with other keys; then a copy of the node."""
    tree, node = connected("again", frames="source")
    first = propagate()
    render(tree, node, "first_run", START + 1, START + 1)
    node.key_frames = str(FIRST)
    second = propagate()
    render(tree, node, "second_run", START + 1, START + 1)
    images = sum(image.source == "SEQUENCE" for image in bpy.data.images)
    other = tree.copy() if NEW_FILE_OUTPUT else bpy.context.scene.copy().node_tree
    twin = next(one for one in other.nodes if one.bl_idname == "StpnPropagateNode")
    stpn_propagate.node.separate_all()  # with a window a timer does it
    groups = [one.node_tree for one in (node, twin)]
    played = [one.nodes["Result"].image.name for one in groups]
    told = {
        "first": first,
        "second": second,
        "images": images,
        "users": [one.users for one in groups],
        "played": played,
    }
    twin.mix = 0.5
    return told | {"mixes": [one.nodes["Factor"].inputs[1].default_value for one in groups]}


def part() -> dict[str, Any]:
    """The scene's range is a part of the shot: the rest shows the Source."""
    tree, node = connected("part", frames="scene")
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = START + 1, START + 2
    told = propagate()
    told |= inner(node, "Result")
    told["files"] = sorted(os.listdir(FOLDER / "part" / node.name))
    render(tree, node, "part_rendered")
    return told


def other_format() -> dict[str, Any]:
    """An 8-bit plate, once to EXR and once to its own format."""
    told = {}
    for extension in ("exr", "png"):
        name = f"from_png_to_{extension}"
        tree, node = connected(name, plate=ASKED["png_plate"], keys=ASKED["png_keys"])
        node.result_files = str(FOLDER / name / f"result.####.{extension}")
        told[extension] = propagate() | inner(node, "Result")
        render(tree, node, f"{name}_rendered", START + 1, START + 1)
    return told


def mattes() -> dict[str, Any]:
    """Mattes from one key; the picture of a matte is grey."""
    told = {}
    for name, keys in ASKED["matte_keys"].items():
        tree, node = connected(f"mattes_{name}", keys=keys, property="mask", key_frames=str(FIRST))
        told[name] = propagate() | inner(node, "Result")
        render(tree, node, f"mattes_{name}_rendered", START + 1, START + 1)
    return told


def layers() -> dict[str, Any]:
    """Channels of a file with layers: the node shows the output that Keys takes."""
    tree, node = connected("layers", property="channels")
    keys = image_node(tree, ASKED["depth_keys"])
    socket = next(one for one in keys.outputs if one.name == "depth")
    tree.links.new(socket, node.inputs["Keys"])
    told = propagate() | inner(node, "Result")
    render(tree, node, "layers_rendered", START + 1, START + 1)
    return told


def cyclic() -> dict[str, Any]:
    """A Source that begins again and again."""
    tree, node = connected("cyclic", frames="source")
    node.inputs["Source"].links[0].from_node.use_cyclic = True
    told = propagate() | inner(node, "Result")
    render(tree, node, "cyclic_rendered", START - 2, START + 7)
    return told
