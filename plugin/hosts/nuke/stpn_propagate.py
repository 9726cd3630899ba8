"""STPN Propagate in Nuke: a Group around the OFX node, which shows its knobs and has a tab that says what one needs.

Written for Python 3.7, which Nuke 13 has; nothing but the standard library and `nuke` is imported.
"""

from __future__ import annotations

import html
import threading
from typing import Any

import nuke
import stpn_installation
from stpn_installation import InstallationError

ICON = "STPNPropagate.png"
INSIDE = "Propagate"
"""Name of the OFX node in the Group."""

_CREATE = "import stpn_propagate; stpn_propagate.create()"

_KEYS = """\
Source is the plate, every frame of the shot. Keys is a Read of the painted frames, numbered as the plate: key frames
alone are asked for, so that those between may be missing. They stand every Interval frames from First key on, or where
Key frames says, such as 1001-1100x20,1093. A key frame comes out as it was given."""

_LEGAL = """\
Apache-2.0. NVIDIA Corporation holds US patents 11,328,169 and 11,328,173, "Switchable propagation neural network". The
licence of this project grants no rights under patents of others; whether you need a licence for your use is for you to
find out."""

_DOCS = "README.md and docs/ in the folder of stpn; `stpn propagate --help` for the same work on files."


def add_to_menu() -> None:
    """Puts the node under Nodes > STPN, where there is a window."""
    if not nuke.GUI:
        return
    menu = nuke.menu("Nodes").addMenu("STPN", icon=ICON)
    menu.addCommand("STPN Propagate", _CREATE, icon=ICON)


def class_of(node: dict[str, Any]) -> str:
    """What Nuke calls the OFX node."""
    return "OFX{}_v{}".format(node["identifier"], node["version"][0])


def create() -> Any:
    """Makes the Group, its Source connected to what is selected.

    Returns:
        The Group; None where it cannot be made and a window has said why.

    Raises:
        RuntimeError: it cannot be made, and there is no window.
    """
    try:
        return _create(stpn_installation.node())
    except InstallationError as error:
        return _refuse(str(error))


def show_doctor() -> None:
    """Runs `stpn doctor` and shows what it says; with a window beside Nuke's own work, because it takes seconds."""
    if not nuke.GUI:
        print(_doctor())
        return

    def work() -> None:
        nuke.executeInMainThread(nuke.message, args=(_preformatted(_doctor()),))

    threading.Thread(target=work, name="stpn doctor", daemon=True).start()


def show_log() -> None:
    """Says where the worker's log is."""
    try:
        text = f"{stpn_installation.log_place()}\nFor another Device than Auto the name begins with that."
    except InstallationError as error:
        text = str(error)
    if nuke.GUI:
        nuke.message(_preformatted(text))
    else:
        print(text)


def _create(node: dict[str, Any]) -> Any:
    selected = nuke.selectedNodes()
    for one in selected:
        # nothing is to be connected by itself: the Group has no inputs yet
        one.setSelected(False)
    group = nuke.createNode("Group", inpanel=False)
    try:
        with group:
            inside = _ofx_node(node)
            inside.setName(INSIDE)
            for number, described in enumerate(node["inputs"]):
                inside.setInput(number, nuke.nodes.Input(name=described["name"]))
            nuke.nodes.Output().setInput(0, inside)
        _add_knobs(group, inside, node)
    except BaseException:
        nuke.delete(group)  # half of it is of no use
        for one in selected:
            one.setSelected(True)
        raise
    group.setName(node["name"].replace(" ", ""))
    if selected:
        group.setInput(0, selected[0])
        group.setXYpos(selected[0].xpos(), selected[0].ypos() + 60)
    group.setSelected(True)
    if nuke.GUI:
        group.showControlPanel()
    return group


def _ofx_node(node: dict[str, Any]) -> Any:
    try:
        return nuke.createNode(class_of(node), inpanel=False)
    except RuntimeError as error:
        raise InstallationError(
            f"{node['name']}: expected the OFX plugin {class_of(node)}, Nuke has not loaded it; run install.py ofx and "
            f"start Nuke again ({error})"
        ) from error


def _add_knobs(group: Any, inside: Any, node: dict[str, Any]) -> None:
    """The node's own knobs by link, then what is to be known."""
    group.addKnob(nuke.Tab_Knob("stpn_node", node["name"]))
    heading = ""
    for number, one in enumerate(one for one in node["parameters"] if not one["files_only"]):
        if one["group"] != heading:
            _close(group, heading, number)
            heading = one["group"]
            group.addKnob(nuke.Tab_Knob(f"stpn_begin_{number}", heading, nuke.TABBEGINCLOSEDGROUP))
        if inside.knob(one["name"]) is None:
            raise InstallationError(
                "{}: expected a knob {}, the OFX plugin has none and is of another version; run install.py ofx and "
                "install.py nuke again".format(class_of(node), one["name"])
            )
        link = nuke.Link_Knob(one["name"], one["label"])
        link.setLink("{}.{}".format(INSIDE, one["name"]))
        link.setTooltip(one["help"])
        group.addKnob(link)
    _close(group, heading, len(node["parameters"]))
    group.addKnob(nuke.Tab_Knob("stpn_info", "Info"))
    for name, label, text in _info(node):
        group.addKnob(nuke.Text_Knob(name, label, html.escape(text, quote=False).replace("\n", "<br>")))
    doctor = nuke.PyScript_Knob("stpn_doctor", "Run stpn doctor", "__import__('stpn_propagate').show_doctor()")
    doctor.setTooltip("What stpn is installed with, whether it works, what to do where it does not.")
    log = nuke.PyScript_Knob("stpn_log", "Where is the log", "__import__('stpn_propagate').show_log()")
    log.setTooltip("The process that does the work writes one; it says why a frame failed.")
    group.addKnob(doctor)
    group.addKnob(log)


def _close(group: Any, heading: str, number: int) -> None:
    if heading:
        group.addKnob(nuke.Tab_Knob(f"stpn_end_{number}", "", nuke.TABENDGROUP))


def _info(node: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, label and text of each paragraph."""
    name = stpn_installation.installation()["name"]
    version = "{}, node {}".format(name.rpartition("-")[0] or name, ".".join(map(str, node["version"])))
    log = f"auto-{name}.log in $STPN_RUNTIME_DIR, else $XDG_RUNTIME_DIR/stpn, else /tmp/stpn-UID"
    return [
        ("stpn_version", "Version", version),
        ("stpn_keys", "Keys", _KEYS),
        ("stpn_docs", "Documentation", _DOCS),
        ("stpn_log_place", "Log", log),
        ("stpn_legal", "Licence, patents", _LEGAL),
    ]


def _doctor() -> str:
    try:
        return stpn_installation.doctor()
    except InstallationError as error:
        return str(error)


def _refuse(sentence: str) -> None:
    """Tells a person who is there; otherwise the render or script must fail."""
    if not nuke.GUI:
        raise RuntimeError(sentence)
    nuke.message(html.escape(sentence, quote=False))


def _preformatted(text: str) -> str:
    return f"<pre>{html.escape(text, quote=False)}</pre>"
