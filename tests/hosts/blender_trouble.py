"""For `blender_scene.py`, inside Blender: wrong requests, ends before the end, saving, installing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
from blender_trees import (
    ASKED,
    FOLDER,
    START,
    Layout,
    connected,
    inner,
    known,
    propagate,
    render,
    stpn_propagate,
)

OLD_MODULES: list[Any] = []


def wrong() -> dict[str, Any]:
    """Requests that cannot be met, each with what is said."""
    told = {}

    def tried(name: str, change: Callable[[Any, Any], None]) -> None:
        tree, node = connected("wrong")
        change(tree, node)
        told[name] = propagate()

    def unlink(tree: Any, node: Any) -> None:
        tree.links.remove(node.inputs["Source"].links[0])

    def still(tree: Any, node: Any) -> None:
        node.inputs["Source"].links[0].from_node.image.source = "FILE"

    def no_files(tree: Any, node: Any) -> None:
        tree.links.new(tree.nodes.new("CompositorNodeBlur").outputs[0], node.inputs["Keys"])

    def shifted(tree: Any, node: Any) -> None:
        node.inputs["Keys"].links[0].from_node.frame_offset += 1

    def wrong_offset(tree: Any, node: Any) -> None:
        for name in ("Source", "Keys"):
            node.inputs[name].links[0].from_node.frame_offset = 0

    def no_interpreter(tree: Any, node: Any) -> None:
        (FOLDER / "addons" / "stpn_propagate" / "stpn.conf").rename(FOLDER / "stpn.conf")

    tried("curve", lambda tree, node: setattr(node, "working", "no such curve"))
    tried("weights", lambda tree, node: (setattr(node, "method", "auto"), setattr(node, "weights", "/no/such/file")))
    tried("unlinked", unlink)
    tried("still", still)
    tried("no files", no_files)
    tried("shifted", shifted)
    tried("wrong offset", wrong_offset)
    tried("unsaved", lambda tree, node: node.property_unset("result_files"))
    tried("pattern", lambda tree, node: setattr(node, "result_files", str(FOLDER / "result.exr")))
    tried("two", lambda tree, node: tree.nodes.new("StpnPropagateNode"))
    tried("not installed", no_interpreter)
    (FOLDER / "stpn.conf").rename(FOLDER / "addons" / "stpn_propagate" / "stpn.conf")
    return told


def cancelled() -> dict[str, Any]:
    """Stopped after the first frame by the button's operator, and by Ctrl-C before it."""
    from stpn_propagate import jobs, operators

    told: dict[str, Any] = {}
    wait = time.sleep

    def press(name: str, when: Callable[[Any], bool], how: Callable[[], Any]) -> None:
        _, node = connected(name, plate=ASKED["long_plate"], keys=ASKED["long_keys"], frames="source", key_frames="")
        pids = []

        def sleep(seconds: float) -> None:
            wait(seconds)
            job = jobs.running(node.job)
            if not pids and when(job):
                pids.append(job.pid)
                how()

        operators.time = SimpleNamespace(sleep=sleep)
        told[name] = propagate()
        operators.time = time
        told[name] |= {"gone": not _alive(pids[0]), "job": node.job, "progress": node.progress}
        told[name]["image"] = node.node_tree.nodes["Result"].image is not None

    def interrupt() -> None:
        raise KeyboardInterrupt

    press("by_button", lambda job: job.done >= 1, lambda: bpy.ops.stpn.cancel())
    press("by_key", lambda job: True, interrupt)
    return told


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def modal() -> dict[str, Any]:
    """The way with a window, of which there is none here: the operator's own methods with a stand-in for the window."""
    from stpn_propagate import operators

    _, node = connected("modal")
    told: dict[str, Any] = {"reports": [], "status": [], "progress": []}
    manager = SimpleNamespace(
        event_timer_add=lambda seconds, window: "timer",
        event_timer_remove=lambda timer: told.update(removed=timer),
        modal_handler_add=lambda operator: None,
        progress_begin=lambda first, last: told.update(range=[first, last]),
        progress_update=lambda done: told["progress"].append(done),
        progress_end=lambda: told.update(over=True),
    )
    context = SimpleNamespace(
        window=object(),
        window_manager=manager,
        workspace=SimpleNamespace(status_text_set=told["status"].append),
        screen=None,
        scene=bpy.context.scene,
    )
    methods = {name: value for name, value in vars(operators.StpnPropagate).items() if not name.startswith("__")}
    operator = type("StandIn", (), methods)()
    operator.tree = operator.node = ""
    operator.report = lambda kind, text: told["reports"].append([*sorted(kind), text])
    told["ended"] = sorted(operator.invoke(context, None))
    told["while"] = node.job != ""
    node.name = "Renamed"  # the work must find its node by then
    while told["ended"] in (["RUNNING_MODAL"], ["PASS_THROUGH"]):
        time.sleep(0.05)
        told["ended"] = sorted(operator.modal(context, SimpleNamespace(type="TIMER", value="NOTHING")))
    told |= inner(node, "Result")
    operator._timer = None
    operator.invoke(context, None)
    operator.modal(context, SimpleNamespace(type="ESC", value="PRESS"))
    told["after escape"] = ["PASS_THROUGH"]
    while told["after escape"] == ["PASS_THROUGH"]:
        time.sleep(0.05)
        told["after escape"] = sorted(operator.modal(context, SimpleNamespace(type="TIMER", value="NOTHING")))
    return told


def kept() -> dict[str, Any]:
    """Saved, closed and opened again; results lie beside the file. Then copies, and the add-on taken away and back."""
    tree, node = connected("kept")
    node.property_unset("result_files")
    node.interval = 7
    (FOLDER / "kept").mkdir(exist_ok=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "kept" / "shot.blend"))
    node.interval = 20
    told = propagate() | {"files": sorted(os.listdir(FOLDER / "kept" / "stpn" / node.name))}
    node.mix = 0.5
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "kept" / "shot.blend"))
    scene = bpy.context.scene
    tree = getattr(scene, "compositing_node_group", None) or scene.node_tree
    node = next(one for one in tree.nodes if one.bl_idname == "StpnPropagateNode")
    told |= inner(node, "Result") | {"mix": node.mix, "running": node.job, "done": node.progress}
    told["registered"] = {"class": known(), "operators": "propagate" in dir(bpy.ops.stpn), "kept": len(tree.nodes)}
    stpn_propagate.unregister()
    told["unregistered"] = {
        "class": known(),
        "operators": "propagate" in dir(bpy.ops.stpn),
        "kept": len(tree.nodes),
    }
    stpn_propagate.unregister()
    stpn_propagate.register()
    stpn_propagate.register()
    told["back"] = [one.bl_idname for one in tree.nodes if hasattr(one, "result_files")]
    node = next(one for one in tree.nodes if one.bl_idname == "StpnPropagateNode")
    node.mix = 1.0
    render(tree, node, "kept_rendered", START + 1, START + 1)
    return told


def enabled() -> dict[str, Any]:
    """Installed as people do it: as an add-on, and as an extension."""
    import addon_utils  # which there is once bpy is imported

    stpn_propagate.unregister()
    source = FOLDER / "addons" / "stpn_propagate"
    told: dict[str, Any] = {}
    for name, kind, folder in (
        ("stpn_propagate", "SCRIPTS", "addons"),
        ("bl_ext.user_default.stpn_propagate", "EXTENSIONS", "user_default"),
    ):
        # the copy of this script's own must not be taken for it
        for loaded in [one for one in sys.modules if one.partition(".")[0] == "stpn_propagate"]:
            OLD_MODULES.append(sys.modules.pop(loaded))
        target = Path(bpy.utils.user_resource(kind, path=folder, create=True)) / "stpn_propagate"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        if kind == "EXTENSIONS":
            with contextlib.suppress(RuntimeError):  # it warns of the repository of the internet, which is not there
                bpy.ops.extensions.repo_refresh_all()
        else:
            sys.path.insert(0, str(target.parent))
        module = addon_utils.enable(name, default_set=True)
        rows: list[Any] = []
        preferences = bpy.context.preferences.addons[name].preferences
        type(preferences).draw(SimpleNamespace(layout=Layout(rows)), bpy.context)
        told[name] = {"file": module.__file__, "on": known(), "preferences": rows, "folder": str(target)}
        addon_utils.disable(name, default_set=True)
        told[name]["off"] = not known()
    (checker,) = Path(bpy.utils.resource_path("LOCAL")).rglob("blender_ext.py")
    checked = subprocess.run([sys.executable, str(checker), "validate", str(source)], capture_output=True, text=True)
    told["manifest"] = [checked.returncode, checked.stdout + checked.stderr]
    return told


def bare() -> dict[str, Any]:
    """The add-on without what the installation writes: it registers, says why, and adds no node."""
    path = FOLDER / "addons" / "stpn_propagate" / "node.json"
    path.rename(FOLDER / "node.json")
    try:
        stpn_propagate.register()
        told = {"class": known()}
        try:
            stpn_propagate.description.read()
        except stpn_propagate.description.InstallError as error:
            told["said"] = str(error)
        stpn_propagate.unregister()
    finally:
        (FOLDER / "node.json").rename(path)
    return told
