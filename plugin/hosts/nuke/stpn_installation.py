"""What install.py has put beside this: the node's description and where stpn is; and commands of stpn, run there.

Nothing of stpn is loaded into Nuke's Python. Written for Python 3.7, which Nuke 13 has.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

DOCTOR_SECONDS = 120

# the same as docs/worker.md lists: Nuke sets paths for its own Python and libraries, which another must not see
PASSED_ON = (
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "OCIO",
    "CUDA_VISIBLE_DEVICES",
    "NUMBA_CACHE_DIR",
)

_FOLDER = os.path.dirname(os.path.abspath(__file__))


class InstallationError(Exception):
    """Something is not where install.py puts it; the sentence says what to do."""


def node() -> dict[str, Any]:
    """The node as `stpn.plugin.node` describes it."""
    described: dict[str, Any] = json.loads(_read("node.json"))
    return described


def installation() -> dict[str, str]:
    """`python`, the interpreter that has stpn, and `name`, of this installation."""
    lines = dict(line.partition(" ")[::2] for line in _read("stpn.conf").splitlines())
    for name in ("python", "name"):
        if not lines.get(name, "").strip():
            raise InstallationError(
                "{}: expected a line '{} ...', got none; run install.py nuke again".format(_path("stpn.conf"), name)
            )
    return {name: value.strip() for name, value in lines.items()}


def log_place(device: str = "auto") -> str:
    """Where the worker of a device writes its log, as docs/worker.md says."""
    own, session = os.environ.get("STPN_RUNTIME_DIR"), os.environ.get("XDG_RUNTIME_DIR")
    folder = own or (os.path.join(session, "stpn") if session else f"/tmp/stpn-{os.geteuid()}")
    return os.path.join(folder, "{}-{}.log".format(device, installation()["name"]))


def doctor() -> str:
    """What `stpn doctor` says; InstallationError where it does not run."""
    command = [installation()["python"], "-P", "-m", "stpn.plugin.cli", "doctor"]
    environment = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("STPN_")}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            timeout=DOCTOR_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallationError(f"stpn doctor does not run: {error}; run install.py again") from error
    return done.stdout.decode("utf-8", "replace").strip()


def _read(name: str) -> str:
    try:
        with open(_path(name), encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise InstallationError(
            f"{_path(name)}: expected what install.py puts there, got: {error.strerror}; run `python3 install.py nuke` "
            "in the folder of stpn"
        ) from error


def _path(name: str) -> str:
    return os.path.join(_FOLDER, name)
