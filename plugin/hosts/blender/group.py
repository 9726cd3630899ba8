"""What is inside the node: built-in nodes that play the result, mix it with the Source, and let the Source through."""

from typing import Any

import bpy

from . import sequences

RESULT, CONFIDENCE = "Result", "Confidence"
"""The Image nodes inside."""

_MATTE, _FACTOR, _MIX, _SWITCH = "Matte", "Factor", "Mix", "Switch"
_SURE, _UNSURE, _NOTHING, _SURE_SWITCH = "Confidence value", "Source value", "Zero", "Confidence switch"
_BELOW_ALL = -3.4e38


def build(inputs: list[dict[str, Any]]) -> Any:
    """A new group with the node's sockets; it shows the Source.

    Args:
        inputs: as `node.json` has them.
    """
    tree = bpy.data.node_groups.new(".STPN Propagate", "CompositorNodeTree")
    for one in inputs:
        socket = tree.interface.new_socket(one["name"], in_out="INPUT", socket_type="NodeSocketColor")
        socket.description = one["help"].rstrip(".")
        # an input that is left open applies everywhere, or shows black
        socket.default_value = (1.0,) * 4 if one["name"] == "Matte" else (0.0, 0.0, 0.0, 1.0)
        socket.hide_value = True
    image = tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    image.description = "The result; the Source as long as there is none"
    sure = tree.interface.new_socket("Confidence", in_out="OUTPUT", socket_type="NodeSocketFloat")
    sure.description = "How sure each pixel of the result is: 0 not at all, 1 sure"
    start, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    start.name, end.name = "In", "Out"
    for kinds, name, place in (
        (("CompositorNodeImage",), RESULT, (0, -300)),
        (("CompositorNodeImage",), CONFIDENCE, (0, -700)),
        (("CompositorNodeSeparateColor",), _MATTE, (0, 0)),
        (("CompositorNodeMath", "ShaderNodeMath"), _FACTOR, (250, 0)),
        (("CompositorNodeMixRGB", "ShaderNodeMix"), _MIX, (500, -100)),
        (("CompositorNodeSeparateColor",), _SURE, (250, -700)),
        (("CompositorNodeSwitch",), _SWITCH, (750, -100)),
        (("CompositorNodeSeparateColor",), _UNSURE, (250, -400)),
        (("CompositorNodeMath", "ShaderNodeMath"), _NOTHING, (500, -400)),
        (("CompositorNodeSwitch",), _SURE_SWITCH, (750, -500)),
    ):
        node = _new(tree, kinds)
        node.name, node.location = name, place
    start.location, end.location = (-300, 0), (1000, -100)
    tree.nodes[_FACTOR].operation = "MULTIPLY"
    mix = tree.nodes[_MIX]
    if mix.bl_idname == "ShaderNodeMix":
        mix.data_type = "RGBA"
        mix.clamp_factor = True
    tree.links.new(tree.nodes[_FACTOR].outputs[0], _mix_sockets(mix)[0])
    tree.links.new(start.outputs["Source"], _mix_sockets(mix)[1])
    tree.links.new(start.outputs["Matte"], tree.nodes[_MATTE].inputs[0])
    tree.links.new(start.outputs["Source"], tree.nodes[_SWITCH].inputs["Off"])
    tree.links.new(tree.nodes[_SWITCH].outputs[0], end.inputs["Image"])
    # without a result the confidence is 0, of the Source's size: Blender 4.2 crashes where a file of no size is written
    tree.links.new(start.outputs["Source"], tree.nodes[_UNSURE].inputs[0])
    nothing = tree.nodes[_NOTHING]
    nothing.operation = "LESS_THAN"
    nothing.inputs[1].default_value = _BELOW_ALL
    tree.links.new(tree.nodes[_UNSURE].outputs[0], nothing.inputs[0])
    tree.links.new(nothing.outputs[0], tree.nodes[_SURE_SWITCH].inputs["Off"])
    tree.links.new(tree.nodes[_SURE].outputs[0], tree.nodes[_SURE_SWITCH].inputs["On"])
    tree.links.new(tree.nodes[_SURE_SWITCH].outputs[0], end.inputs["Confidence"])
    return tree


def wire(node: Any) -> None:
    """Connects what the node's parameters and links ask for; changes nothing that is so already."""
    tree = node.node_tree
    inside = tree.nodes
    sure = _first(inside[CONFIDENCE])
    shown = sure if node.output == "confidence" else _shown(inside[RESULT], node)
    link = sequences.source_link(node.inputs["Matte"])
    factor = inside[_FACTOR]
    factor.inputs[1].default_value = node.mix
    _connect(tree, sure, inside[_SURE].inputs[0])
    _connect(tree, inside[_MATTE].outputs[_matte_channel(link)], factor.inputs[0])
    mixed = _mix_sockets(inside[_MIX])
    _connect(tree, shown, mixed[2])
    # mixing by 1 is left out: infinities of the Source would make NaN of the result
    whole = link is None and node.mix >= 1.0
    _connect(tree, shown if whole else mixed[3], inside[_SWITCH].inputs["On"])


def show_between(tree: Any, first: int | None, last: int | None) -> None:
    """Shows the result from one scene frame to another, and the Source else; None: no end on that side."""
    bounds = [f"frame >= {first}"] * (first is not None) + [f"frame <= {last}"] * (last is not None)
    for switch in (tree.nodes[_SWITCH], tree.nodes[_SURE_SWITCH]):
        owner, name = (switch, "check") if hasattr(switch, "check") else (switch.inputs["Switch"], "default_value")
        owner.driver_remove(name)
        setattr(owner, name, not bounds)
        if bounds:
            driver = owner.driver_add(name).driver
            driver.type = "SCRIPTED"
            # of the simple kind, which Blender works out itself, also where scripts may not run
            driver.expression = " and ".join(bounds)


def _shown(image_node: Any, node: Any) -> Any:
    """The output of the result's Image node that is shown."""
    if node.property == "mask" and image_node.image is not None and sequences.has_alpha(image_node.image):
        return image_node.outputs["Alpha"]  # where a file of mattes has an alpha, that is the matte
    wanted = image_node.get("socket", "")
    return image_node.outputs.get(wanted) or _first(image_node)


def _first(image_node: Any) -> Any:
    return image_node.outputs[0]


def _matte_channel(link: Any) -> str:
    """The channel of the Matte that is the matte: alpha, or the first where it has none."""
    if link is None or link.from_socket.type != "RGBA":
        return "Red"
    image = getattr(link.from_node, "image", None)
    return "Alpha" if image is None or sequences.has_alpha(image) else "Red"


def _connect(tree: Any, source: Any, target: Any) -> None:
    if not (target.is_linked and target.links[0].from_socket == source):
        tree.links.new(source, target)


def _new(tree: Any, kinds: tuple[str, ...]) -> Any:
    """A node of the first kind that this Blender has: from 5.0 on the compositor shares some with the shaders."""
    return tree.nodes.new(next(kind for kind in kinds if hasattr(bpy.types, kind)))


def _mix_sockets(mix: Any) -> tuple[Any, Any, Any, Any]:
    """Factor, A, B and result of the Mix node."""
    if mix.bl_idname == "CompositorNodeMixRGB":
        return (*mix.inputs[:3], mix.outputs[0])
    named = {socket.identifier: socket for socket in mix.inputs}
    result = next(socket for socket in mix.outputs if socket.type == "RGBA")
    return named["Factor_Float"], named["A_Color"], named["B_Color"], result
