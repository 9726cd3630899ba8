"""Puts the node into hosts and takes it out again; what was put where is noted beside the environment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from stpn.plugin import node
from stpn.plugin.hosts.places import CLIENT, HERE, HOSTS, Host, PlaceError

CONF = "stpn.conf"
_NOTE = "stpn-hosts.json"
# Nuke reads its folder alone; what is below must be named in its init.py
_NUKE_LINE = 'nuke.pluginAddPath("stpn")  # stpn: the node STPN Propagate'


@dataclass(frozen=True)
class Placed:
    """A plugin that was put somewhere.

    Attributes:
        host: its name.
        folder: its own folder.
    """

    host: str
    folder: Path


def conf() -> str:
    """What a plugin must know of this installation; see `docs/worker.md`.

    Raises:
        PlaceError: the interpreter's path cannot stand in a line.
    """
    if not sys.executable.isprintable() or sys.executable != sys.executable.strip():
        raise PlaceError(
            f"{sys.executable!r}: expected a path of Python without line breaks and the like; move stpn elsewhere"
        )
    return f"python {sys.executable}\nname {installation_name()}\n"


def installation_name() -> str:
    """Version, and a digest of where the environment lies: two installations do not share a worker."""
    return f"{version('stpn')}-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]}"


def place(host: Host, into: Path) -> Placed:
    """Puts a host's plugin into a folder, in place of one of ours that is there.

    Args:
        host: the host.
        into: the folder, made where it is missing.

    Raises:
        PlaceError: something else is there, the bundle cannot be built, or the folder cannot be written.
    """
    target = into / host.folder
    if os.path.lexists(target) and not is_ours(host, target):
        raise PlaceError(
            f"{target}: expected nothing or an stpn that was installed before, got something else; move it away"
        )
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".stpn-", dir=into) as name:
            made = Path(name) / host.folder
            _make(host, made)
            before = Path(name) / "before"
            if target.exists():
                target.rename(before)  # hosts that have it open keep what they have
            try:
                made.rename(target)
            except OSError:
                if before.exists():
                    before.rename(target)
                raise
        if host.name == "nuke":
            _tell_nuke(into / "init.py", there=True)
    except OSError as error:
        raise PlaceError(
            f"{target}: cannot be written: {error.strerror or error}; give --to DIR another folder"
        ) from error
    placed = Placed(host.name, target)
    _note([*(one for one in noted() if one != placed), placed])
    return placed


def take_out(placed: Placed) -> bool:
    """Takes a plugin away, if it is still ours; whether there was one.

    Raises:
        PlaceError: it cannot be taken away.
    """
    host = HOSTS[placed.host]
    there = is_ours(host, placed.folder)
    if there:
        try:
            shutil.rmtree(placed.folder)
            if host.name == "nuke":
                _tell_nuke(placed.folder.parent / "init.py", there=False)
        except OSError as error:
            raise PlaceError(
                f"{placed.folder}: cannot be taken away: {error.strerror or error}; run it as somebody who may"
            ) from error
    _note([one for one in noted() if one != placed])
    return there


def noted() -> list[Placed]:
    """What was put somewhere by this installation."""
    try:
        found = json.loads((Path(sys.prefix) / _NOTE).read_text(encoding="utf-8"))
        return [Placed(one["host"], Path(one["folder"])) for one in found if one["host"] in HOSTS]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def is_ours(host: Host, folder: Path) -> bool:
    """Whether a folder is a plugin that was installed."""
    return not folder.is_symlink() and (folder / host.resources / CONF).is_file()


def _note(placed: list[Placed]) -> None:
    path = Path(sys.prefix) / _NOTE
    text = json.dumps([{"host": one.host, "folder": str(one.folder)} for one in placed], indent=1)
    beside = path.with_suffix(".tmp")
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)


def _make(host: Host, folder: Path) -> None:
    """A host's plugin, whole."""
    if host.source:
        shutil.copytree(HERE / host.source, folder, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        _build(folder)
    if host.with_client:
        for name in CLIENT:
            shutil.copy(HERE.parent / name, folder)
    resources = folder / host.resources
    resources.mkdir(parents=True, exist_ok=True)
    (resources / CONF).write_text(conf(), encoding="utf-8")
    (resources / "node.json").write_text(node.as_json(), encoding="utf-8")


def _build(bundle: Path) -> None:
    """The OpenFX bundle, from source."""
    missing = [f"{name} ({what})" for name, what in _BUILDERS.items() if shutil.which(name) is None]
    if missing:
        raise PlaceError(
            f"OpenFX: expected {' and '.join(missing)}, which build the plugin, found none; install them, such as "
            "apt install g++ cmake, or xcode-select --install and brew install cmake"
        )
    with tempfile.TemporaryDirectory(prefix="stpn-ofx-") as name:
        python = f"-DPython3_EXECUTABLE={sys.executable}"
        _run(["cmake", "-S", str(HERE / "ofx"), "-B", name, python, "-DCMAKE_BUILD_TYPE=Release"])
        _run(["cmake", "--build", name])
        shutil.copytree(Path(name) / bundle.name, bundle)


_BUILDERS = {"cmake": "CMake 3.18 or later", "c++": "a C++17 compiler"}


def _run(command: list[str]) -> None:
    found = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if found.returncode:
        said = [line for line in (found.stderr + found.stdout).splitlines() if "error" in line.lower()]
        raise PlaceError(f"OpenFX: {command[0]} failed: {said[0].strip() if said else found.stderr.strip()[-300:]}")


def _tell_nuke(path: Path, *, there: bool) -> None:
    """Adds our line to Nuke's init.py, or takes it away; all else stays, byte for byte."""
    found = path.read_bytes() if path.is_file() else b""
    ours = _NUKE_LINE.encode()
    wanted = b"".join(line for line in found.splitlines(keepends=True) if line.rstrip(b"\r\n") != ours)
    if there:
        wanted += (b"" if wanted.endswith((b"\n", b"\r")) or not wanted else b"\n") + ours + b"\n"
    if wanted == found:
        return
    if wanted:
        path.write_bytes(wanted)
    else:
        path.unlink()


def states() -> Iterator[tuple[Placed, str]]:
    """What was put somewhere, and what is wrong with it; "": nothing."""
    for placed in noted():
        host = HOSTS[placed.host]
        path = placed.folder / host.resources / CONF
        problem = ""
        if not is_ours(host, placed.folder):
            problem = "is no longer there"
        elif path.read_text(encoding="utf-8") != conf():
            problem = "belongs to another installation, or to an older version"
        yield placed, problem
