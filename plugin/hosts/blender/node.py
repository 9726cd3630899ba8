"""The node STPN Propagate in the compositor."""

from typing import Any

import bpy

from . import group, jobs, settings

IDENTIFIER = "StpnPropagateNode"
"""Of the kind of node, in files of Blender."""

_described: dict[str, Any] = {}


class Propagate:
    """Carries what was painted or rendered on a few key frames to every frame between."""

    bl_idname = IDENTIFIER
    bl_width_default = 220
    bl_width_min = 160

    @classmethod
    def poll(cls, tree: Any) -> bool:
        """Only in the compositor."""
        return tree.bl_idname == "CompositorNodeTree"

    def init(self, context: bpy.types.Context) -> None:
        """A new node: gets its group."""
        self.node_tree = group.build(_described["inputs"])
        group.wire(self)

    def copy(self, original: Any) -> None:
        """A copy has no work under way; it shows the results of the original until it has its own."""
        self.job, self.progress = "", 0.0
        _separate_soon()

    def free(self) -> None:
        """A node that is deleted stops its work."""
        job = jobs.running(self.job)
        if job is not None:
            job.cancel()

    def update(self) -> None:
        """Links have changed."""
        _wire(self)

    def draw_buttons(self, context: bpy.types.Context, layout: Any) -> None:
        """On the node itself."""
        settings.draw_some(self, layout, _described["parameters"])
        job = jobs.running(self.job)
        button = layout.operator("stpn.propagate" if job is None else "stpn.cancel")
        button.tree, button.node = self.id_data.name, self.name
        if job is not None:
            layout.progress(factor=job.fraction, text=job.status)

    def draw_buttons_ext(self, context: bpy.types.Context, layout: Any) -> None:
        """In the sidebar."""
        settings.draw_all(self, layout, _described["parameters"])


def _wire(node: Any) -> None:
    # Blender also asks for this before `init`, and while a file is read
    if node.node_tree is None or "Matte" not in node.inputs or group.RESULT not in node.node_tree.nodes:
        return
    if _shared(node):
        _separate_soon()
    else:
        group.wire(node)


def _shared(node: Any) -> bool:
    """Whether another node shows the same group."""
    return node.node_tree.users - node.node_tree.use_fake_user > 1


def separate(node: Any) -> None:
    """Gives a node that was copied a group and images of its own."""
    if not _shared(node):
        return
    node.node_tree = node.node_tree.copy()
    for inside in (group.RESULT, group.CONFIDENCE):
        image = node.node_tree.nodes[inside].image
        if image is not None:
            node.node_tree.nodes[inside].image = image.copy()
    group.wire(node)


def separate_all() -> None:
    """The same for all nodes of the file."""
    for _, one in _all():
        separate(one)


def _separate_soon() -> None:
    # not while Blender copies or updates trees: it counts the users of a group only afterwards
    if not bpy.app.timers.is_registered(separate_all):
        bpy.app.timers.register(separate_all, first_interval=0.0)


def forget() -> None:
    """Before the class is taken away: nothing is left to be done later."""
    if bpy.app.timers.is_registered(separate_all):
        bpy.app.timers.unregister(separate_all)


def node_class(described: dict[str, Any]) -> type:
    """The class to register.

    Made anew each time: Blender replaces the base while it runs, after which it refuses classes of the old one.

    Args:
        described: `node.json`.
    """
    _described.clear()
    _described.update(described)
    members = {
        "bl_label": described["name"],
        "__doc__": Propagate.__doc__,
        "__module__": __name__,
        "__annotations__": settings.properties(described["parameters"], lambda self, context: _wire(self)),
    }
    return type(IDENTIFIER, (Propagate, bpy.types.CompositorNodeCustomGroup), members)


def parameters() -> list[dict[str, Any]]:
    """As `node.json` has them."""
    return _described["parameters"]


def label() -> str:
    """What people call the node."""
    return _described["name"]


def find(tree: str, name: str) -> Any:
    """A node by the names of its tree and itself; empty names: the only one there is. None: there is none such."""
    for name_of_tree, one in _all():
        if tree in ("", name_of_tree) and name in ("", one.name):
            return one
    return None


def count() -> int:
    """How many there are."""
    return sum(1 for _ in _all())


def of_job(token: str) -> Any:
    """The node whose work has a token, whatever it is called now; None: it was deleted."""
    return next((one for _, one in _all() if one.job == token), None)


def _all() -> Any:
    """Tree's name and node of all nodes, those of the present scene's own tree first."""
    scenes = [bpy.context.scene, *(scene for scene in bpy.data.scenes if scene != bpy.context.scene)]
    # before 5.0 a scene's tree is a part of the scene, later a group like any other
    trees = [getattr(scene, "compositing_node_group", None) or getattr(scene, "node_tree", None) for scene in scenes]
    seen = []
    for tree in [*trees, *bpy.data.node_groups]:
        if tree is None or tree.bl_idname != "CompositorNodeTree" or tree in seen:
            continue
        seen.append(tree)
        yield from ((tree.name, one) for one in tree.nodes if one.bl_idname == IDENTIFIER)
