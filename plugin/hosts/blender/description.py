"""What is written beside the add-on where it is installed: the node (`node.json`) and the Python with stpn."""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
_REPAIR = "run `python3 install.py blender` in the folder of stpn"


class InstallError(Exception):
    """Something that the installation writes is missing, in one line: what, where, what to do."""


def read() -> dict[str, Any]:
    """The node as stpn describes it, the same for all hosts.

    Raises:
        InstallError: it is not there, or no description.
    """
    path = FOLDER / "node.json"
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        described["inputs"], described["parameters"]
    except FileNotFoundError:
        raise InstallError(f"{path}: expected the description of the node, found no such file; {_REPAIR}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InstallError(f"{path}: expected the description of the node, got {error!r}; {_REPAIR}") from None
    return described


def python() -> str:
    """The Python that has stpn.

    Raises:
        InstallError: nothing says which, or it is not there.
    """
    path = FOLDER / "stpn.conf"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InstallError(f"{path}: expected the file that says where stpn is, found none; {_REPAIR}") from None
    except (OSError, ValueError) as error:
        raise InstallError(f"{path}: cannot be read: {error}; {_REPAIR}") from None
    found = next((line.partition(" ")[2].strip() for line in lines if line.startswith("python ")), "")
    if not found:
        raise InstallError(f"{path}: expected a line `python PATH`, found none; {_REPAIR}")
    if not os.access(found, os.X_OK):
        raise InstallError(f"{path}: expected the Python that has stpn, got {found}, which cannot be run; {_REPAIR}")
    return found
