"""STPN Propagate as two nodes of ComfyUI: one for pictures in memory, one for files on disk.

Neither loads stpn into ComfyUI's Python: the first asks the worker, the second runs the command line. `install.py`
copies this folder to `custom_nodes/stpn` and puts beside it what it needs of stpn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

NEEDED = (
    "worker_client.py",
    "worker_link.py",
    "worker_messages.py",
    "worker_start.py",
    "node.json",
    "stpn.conf",
)

_missing = [name for name in NEEDED if not (Path(__file__).parent / name).is_file()]
if _missing:
    raise ImportError(
        f"{Path(__file__).parent}: expected {', '.join(_missing)} beside the nodes, which install.py puts there; run "
        "`python3 install.py comfyui` in the folder of stpn, and link or copy nothing by hand"
    )


async def comfy_entrypoint() -> ComfyExtension:
    """What ComfyUI asks for the nodes."""
    from .extension import Extension

    return Extension()
