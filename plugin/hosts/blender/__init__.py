"""STPN Propagate in Blender: a compositor node whose work `stpn propagate` does, in a process of its own.

Nothing of stpn is imported here: Blender's Python has neither torch nor the versions that stpn pins. What the node
looks like comes from `node.json`, and which Python has stpn from `stpn.conf`; both are written where the add-on is
installed.
"""

import bpy

from . import description, jobs, menu, node, operators

bl_info = {
    "name": "STPN Propagate",
    "author": "The stpn project",
    "version": (1, 0, 0),
    "blender": (4, 2, 0),
    "location": "Compositor > Add > STPN Propagate",
    "description": "Carries key frames to every frame between",
    "category": "Compositing",
}

_registered: list[type] = []


class StpnPreferences(bpy.types.AddonPreferences):
    """Says in the list of add-ons which stpn is used, or what is missing."""

    bl_idname = __package__

    def draw(self, context: bpy.types.Context) -> None:
        """One line: where stpn is, or why it is not."""
        try:
            self.layout.label(text=f"stpn is run by {description.python()}")
        except description.InstallError as error:
            self.layout.label(text=str(error), icon="ERROR")


def register() -> None:
    """Adds node, operators and menu entry; without `node.json` only the preferences, which say so."""
    unregister()
    _register(StpnPreferences)
    try:
        described = description.read()
    except description.InstallError as error:
        print(error)
        return
    for one in (node.node_class(described), operators.StpnPropagate, operators.StpnCancel):
        _register(one)
    menu.add()


def unregister() -> None:
    """Takes everything away, work that is under way too. Nodes in scenes stay, and work again when it is back."""
    jobs.stop_all()
    node.forget()
    menu.remove()
    if not _registered:
        return
    while _registered:
        bpy.utils.unregister_class(_registered.pop())
    layer = getattr(bpy.context, "view_layer", None)
    if layer is not None:
        layer.update()  # Blender 4.2 crashes where a kind of node comes and goes again before it has noticed the first


def _register(one: type) -> None:
    bpy.utils.register_class(one)
    _registered.append(one)
