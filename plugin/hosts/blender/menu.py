"""The entry in the compositor's Add menu."""

import bpy

from . import node


def _draw(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    space = context.space_data
    if getattr(space, "tree_type", "") == "CompositorNodeTree":
        entry = self.layout.operator("node.add_node", text=node.label())
        entry.type = node.IDENTIFIER
        entry.use_transform = True


def add() -> None:
    """Puts it there; a Blender without its user interface has no menu."""
    if hasattr(bpy.types, "NODE_MT_add"):
        bpy.types.NODE_MT_add.append(_draw)


def remove() -> None:
    """Takes it away, as often as it is there."""
    menu = getattr(bpy.types, "NODE_MT_add", None)
    if menu is not None:
        menu.remove(_draw)  # says nothing where it is not there
