"""The operators: propagate, with progress, and cancel."""

import time
from typing import Any, ClassVar

import bpy

from . import description, jobs, results
from . import node as nodes
from . import request as requests

_SECONDS_BETWEEN_LOOKS = 0.1


class StpnPropagate(bpy.types.Operator):
    """Make the frames between the keys, with stpn, in a process of its own. Esc stops it"""

    bl_idname = "stpn.propagate"
    bl_label = "Propagate"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    tree: bpy.props.StringProperty(
        name="Tree", description="The node tree that holds the node; empty: any", options={"SKIP_SAVE"}
    )
    node: bpy.props.StringProperty(
        name="Node", description="The node's name; empty: the only one there is", options={"SKIP_SAVE"}
    )

    _job: Any = None
    _request: Any = None
    _timer: Any = None
    _shown: int = -1

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """With a window: starts the work and looks after it in between."""
        if context.window is None:
            return self.execute(context)
        if not self._start(context):
            return {"CANCELLED"}
        manager = context.window_manager
        self._timer = manager.event_timer_add(_SECONDS_BETWEEN_LOOKS, window=context.window)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Looks whether there is news."""
        if event.type == "ESC" and event.value == "PRESS":
            self._job.cancel()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        code = self._job.poll()
        if code is None:
            self._show(context)
            return {"PASS_THROUGH"}
        self._end(context)
        return self._finish(code)

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator: another file is opened, or Blender is closed."""
        self._job.stop()
        self._end(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """From a script or without a window: waits until the work is done. Ctrl-C stops it."""
        if not self._start(context):
            return {"CANCELLED"}
        while True:
            try:
                code = self._job.poll()
                if code is not None:
                    break
                self._show(context)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            except KeyboardInterrupt:
                self._job.cancel()
        self._end(context)
        return self._finish(code)

    def _start(self, context: bpy.types.Context) -> bool:
        """Whether work has begun; where not, why is reported."""
        one = nodes.find(self.tree, self.node)
        if one is None or (not self.node and nodes.count() > 1):
            self.report({"ERROR"}, _no_node(self.tree, self.node))
            return False
        if jobs.running(one.job) is not None:
            self.report({"ERROR"}, f"{one.name}: this node's work is under way already; wait for it or cancel it")
            return False
        try:
            self._request = requests.make(one, context.scene, nodes.parameters())
            command = requests.command(self._request.arguments)
            self._job = jobs.Job(command, requests.environment(), len(self._request.frames))
        except (requests.InputError, description.InstallError) as error:
            self.report({"ERROR"}, str(error))
            return False
        except OSError as error:
            self.report({"ERROR"}, f"stpn cannot be started: {error}")
            return False
        one.job, one.progress = self._job.token, 0.0
        context.window_manager.progress_begin(0, self._job.total)
        return True

    def _show(self, context: bpy.types.Context) -> None:
        """The progress, wherever Blender shows one."""
        one = nodes.of_job(self._job.token)
        if one is None:
            self._job.cancel()
        if self._job.done != self._shown:
            self._shown = self._job.done
            context.window_manager.progress_update(self._job.done)
            if one is not None:  # only now and then: each change of a node makes Blender compose again
                one.progress = self._job.fraction
        if context.workspace is not None:
            context.workspace.status_text_set(f"STPN Propagate: {self._job.status}   (Esc stops it)")
        for area in context.screen.areas if context.screen is not None else ():
            if area.type == "NODE_EDITOR":
                area.tag_redraw()

    def _end(self, context: bpy.types.Context) -> None:
        """Takes the progress away."""
        context.window_manager.progress_end()
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None

    def _finish(self, code: int) -> set[str]:
        """Shows the result, or says why there is none."""
        one = nodes.of_job(self._job.token)
        stopped = self._job.cancelled or code == 130
        if one is not None:
            one.job, one.progress = "", 1.0 if code == 0 and not stopped else 0.0
        if stopped:
            self.report({"WARNING"}, "STPN Propagate was cancelled; the files that are there are whole")
            return {"CANCELLED"}
        if code != 0:
            kind = "wrong request, nothing was written" if code == 2 else f"failed with exit code {code}"
            self.report({"ERROR"}, f"STPN Propagate: {kind}: {self._job.message()}")
            return {"CANCELLED"}
        if one is None:
            self.report({"WARNING"}, f"The node is gone; its results are in {self._request.result}")
            return {"CANCELLED"}
        problem = results.show(one, self._request)
        if problem:
            self.report({"WARNING"}, f"STPN Propagate: {problem}")
        else:
            self.report({"INFO"}, f"STPN Propagate: {len(self._request.frames)} frames in {self._request.result}")
        return {"FINISHED"}


class StpnCancel(bpy.types.Operator):
    """Stop the work of this node; frames that are there stay"""

    bl_idname = "stpn.cancel"
    bl_label = "Cancel"

    tree: bpy.props.StringProperty(name="Tree", description="The node tree; empty: any", options={"SKIP_SAVE"})
    node: bpy.props.StringProperty(
        name="Node", description="The node's name; empty: the only one there is", options={"SKIP_SAVE"}
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Asks it to stop; the operator that started it sees to the rest."""
        one = nodes.find(self.tree, self.node)
        job = jobs.running(one.job) if one is not None else None
        if job is None:
            self.report({"ERROR"}, "STPN Propagate: there is no work under way")
            return {"CANCELLED"}
        job.cancel()
        return {"FINISHED"}


def _no_node(tree: str, name: str) -> str:
    wanted = f"a node {name!r}" if name else "one STPN Propagate node"
    place = f" in {tree!r}" if tree else ""
    found = nodes.count()
    return f"Expected {wanted}{place}, there are {found} nodes of that kind in the file; name the tree and the node"
