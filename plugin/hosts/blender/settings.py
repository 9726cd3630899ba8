"""The node's parameters as properties of Blender: made from `node.json`, and the few that only Blender has."""

from typing import Any

import bpy

RESULT_FILES = "//stpn/{node}/result.####.exr"

_HOST = {
    "result_files": bpy.props.StringProperty(
        name="Result files",
        description="Where results go; {node} is the node's name, #### the frame number. The confidence goes beside. "
        "// is the folder of the .blend file",
        default=RESULT_FILES,
        subtype="FILE_PATH",
        options=set(),
    ),
    "frames": bpy.props.EnumProperty(
        name="Frames",
        description="Which frames are propagated",
        items=[
            ("scene", "Scene range", "The frames of the Source that play from the scene's first to its last frame"),
            ("source", "Whole Source", "Every frame that the Source has on disk"),
        ],
        default="scene",
        options=set(),
    ),
    "progress": bpy.props.FloatProperty(
        name="Progress", description="How much is done", min=0.0, max=1.0, subtype="FACTOR", options=set()
    ),
    "job": bpy.props.StringProperty(name="Job", description="Which work under way is this node's", options={"HIDDEN"}),
}
HOST_NAMES = tuple(_HOST)
_SHOWN_ON_NODE = ("property", "interval", "first_key", "key_frames")


def properties(parameters: list[dict[str, Any]], update: Any) -> dict[str, Any]:
    """Annotations for the node's class.

    Args:
        parameters: as `node.json` has them.
        update: called with node and context where something is set.
    """
    return {one["name"]: _property(one, update) for one in parameters} | _HOST


def _property(parameter: dict[str, Any], update: Any) -> Any:
    # none can be animated: the result is made for the whole shot with one setting
    common = {
        "name": parameter["label"],
        "description": parameter["help"].rstrip("."),  # Blender adds a full stop in its tooltips
        "default": parameter["default"],
        "options": set(),
        "update": update,
    }
    kind = parameter["kind"]
    limits = {
        short: parameter[long]
        for short, long in (("min", "minimum"), ("max", "maximum"))
        if parameter[long] is not None
    }
    if kind == "choice":
        return bpy.props.EnumProperty(items=[(value, label, "") for value, label in parameter["choices"]], **common)
    if kind == "int":
        return bpy.props.IntProperty(**{short: int(limit) for short, limit in limits.items()}, **common)
    if kind == "float":
        if limits.get("min") == 0.0 and limits.get("max") == 1.0:
            common["subtype"] = "FACTOR"
        return bpy.props.FloatProperty(**limits, **common)
    if kind == "bool":
        return bpy.props.BoolProperty(**common)
    if kind == "file":
        common["subtype"] = "FILE_PATH"
    return bpy.props.StringProperty(**common)  # text, file, frame


def goes(parameter: dict[str, Any], chosen: str) -> bool:
    """Whether the chosen property takes a parameter."""
    return not parameter["goes_with"] or chosen in parameter["goes_with"]


def draw_some(node: Any, layout: Any, parameters: list[dict[str, Any]]) -> None:
    """On the node itself: what most shots need."""
    for one in parameters:
        if one["name"] in _SHOWN_ON_NODE:
            _draw(node, layout, one)


def draw_all(node: Any, layout: Any, parameters: list[dict[str, Any]]) -> None:
    """In the sidebar: everything, under its headings."""
    for group in dict.fromkeys(one["group"] for one in parameters):
        box = layout.box() if group else layout
        if group:
            box.label(text=group)
        column = box.column()
        column.use_property_split = True
        column.use_property_decorate = False
        for one in parameters:
            if one["group"] == group:
                _draw(node, column, one)
    column = layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(node, "frames")
    column.prop(node, "result_files")


def _draw(node: Any, layout: Any, parameter: dict[str, Any]) -> None:
    row = layout.row()
    # what the chosen property does not take is shown greyed, so that the list does not jump
    row.enabled = goes(parameter, node.property) and not (
        parameter["name"] in ("interval", "first_key") and node.key_frames.strip()
    )
    row.prop(node, parameter["name"])
