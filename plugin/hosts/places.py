"""Where each host looks for plugins, and what of ours goes there."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

CLIENT = ("worker_messages.py", "worker_start.py", "worker_link.py", "worker_client.py")
"""Modules of `stpn.plugin` that a host's Python needs to talk to the worker."""

_OLDEST_BLENDER = (4, 2)


class PlaceError(Exception):
    """There is no place for a host's plugin; the sentence says what to do."""


@dataclass(frozen=True)
class Host:
    """A compositing program, or a kind of them.

    Attributes:
        name: as `install.py` calls it.
        title: as people do.
        folder: what the plugin's own folder is called.
        source: what is copied from here; "": the bundle is built.
        resources: where in the folder `stpn.conf` and `node.json` go.
        with_client: whether it talks to the worker in Python.
        where: where hosts look, in words.
    """

    name: str
    title: str
    folder: str
    source: str
    resources: str
    with_client: bool
    where: str


HOSTS: Mapping[str, Host] = {
    host.name: host
    for host in (
        Host(
            "ofx",
            "OpenFX hosts",
            "STPNPropagate.ofx.bundle",
            "",
            "Contents/Resources",
            False,
            "the folders of $OFX_PLUGIN_PATH, and "
            + ("/Library/OFX/Plugins" if sys.platform == "darwin" else "/usr/OFX/Plugins"),
        ),
        Host("nuke", "Nuke", "stpn", "nuke", "", False, "~/.nuke"),
        Host(
            "blender",
            "Blender",
            "stpn_propagate",
            "blender",
            "",
            False,
            "scripts/addons of each Blender's own folder, such as ~/.config/blender/5.0/scripts/addons",
        ),
        Host("comfyui", "ComfyUI", "stpn", "comfyui", "", True, "custom_nodes of ComfyUI's folder"),
    )
}


def places(host: Host, home: Path, variables: Mapping[str, str]) -> list[Path]:
    """The folders that a host's plugin goes into: each will hold `Host.folder`.

    Args:
        host: the host.
        home: the user's folder.
        variables: of the environment.

    Raises:
        PlaceError: none is there, or none can be written.
    """
    found = {"ofx": _ofx, "nuke": _nuke, "blender": _blender, "comfyui": _comfyui}[host.name](home, variables)
    if not found:
        raise PlaceError(f"{host.title}: found none of {host.where}; name the folder with --to DIR")
    closed = [place for place in found if not _writable(place)]
    if closed:
        raise PlaceError(f"{closed[0]}: cannot be written; {_instead(host, closed[0])}")
    return found


def _ofx(home: Path, variables: Mapping[str, str]) -> list[Path]:
    for name in variables.get("OFX_PLUGIN_PATH", "").split(os.pathsep):
        if name:
            return [Path(name)]
    return [Path("/Library/OFX/Plugins" if sys.platform == "darwin" else "/usr/OFX/Plugins")]


def _nuke(home: Path, variables: Mapping[str, str]) -> list[Path]:
    return [home / ".nuke"]


def _blender(home: Path, variables: Mapping[str, str]) -> list[Path]:
    own = variables.get("BLENDER_USER_SCRIPTS")
    if own:
        return [Path(own) / "addons"]
    if sys.platform == "darwin":
        root = home / "Library/Application Support/Blender"
    else:
        root = Path(variables.get("XDG_CONFIG_HOME") or home / ".config") / "blender"
    versions = [folder for folder in sorted(root.glob("*.*")) if re.fullmatch(r"\d+\.\d+", folder.name)]
    new = [folder for folder in versions if tuple(map(int, folder.name.split("."))) >= _OLDEST_BLENDER]
    return [folder / "scripts/addons" for folder in new]


def _comfyui(home: Path, variables: Mapping[str, str]) -> list[Path]:
    roots = [Path(variables["COMFYUI_PATH"])] if variables.get("COMFYUI_PATH") else [home / "ComfyUI"]
    return [root / "custom_nodes" for root in roots if (root / "custom_nodes").is_dir()]


def _writable(place: Path) -> bool:
    """Whether a folder can be made there."""
    while not place.exists():
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK)


def _instead(host: Host, place: Path) -> str:
    if host.name == "ofx":
        return (
            "run it as somebody who may, or give --to DIR with a folder of your own and add that to OFX_PLUGIN_PATH "
            "for your hosts"
        )
    return "give --to DIR with a folder that can be"
