"""The nodes that ComfyUI gets."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .files_node import PropagateFiles
from .frames_node import PropagateFrames


class Extension(ComfyExtension):
    """All nodes of this folder."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Pictures in memory, and files on disk."""
        return [PropagateFrames, PropagateFiles]
