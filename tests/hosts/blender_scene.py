"""Runs inside Blender: builds compositor trees with the node, runs it, renders; tells `test_blender.py` what it saw.

Called with a folder that holds the add-on in `addons`, the shots and `scene.json`; writes `told.json` there. Nothing is
asserted here: what is right is the test's to say.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from typing import Any

import blender_runs
import blender_trouble
import bpy
from blender_trees import ASKED, FOLDER, stpn_propagate


def main() -> None:
    """Everything that was asked for, one after the other; what goes wrong in one does not hide the others."""
    told: dict[str, Any] = {"version": bpy.app.version_string}
    for name in ASKED["tried"]:
        begun = time.monotonic()
        try:
            told[name] = (getattr(blender_runs, name, None) or getattr(blender_trouble, name))()
        except Exception:
            told[name] = {"failed": traceback.format_exc()}
        print(f"{name}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    stpn_propagate.unregister()
    (FOLDER / "told.json").write_text(json.dumps(told), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # as a module, 4.2 may crash and 4.5 may hang when Python takes it down


main()
