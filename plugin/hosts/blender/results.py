"""Results on disk into the node: the sequences that it plays, in the right frames and color space."""

import contextlib
from typing import Any

import bpy

from . import exr, group
from .node import separate
from .playing import Playing
from .request import Request, file_of

_NUMBERS, _LINEAR = "Non-Color", "Linear Rec.709"


def show(node: Any, request: Request) -> str:
    """Makes the node play what a run has made; returns why it cannot, or nothing."""
    path = bpy.path.abspath(file_of(request.result, request.playing.files[0]))
    if path.lower().endswith(".exr"):
        names = exr.channel_names(path)
        if not exr.SHOWN.intersection(names) and not any("." in name for name in names):
            return f"the results are in {request.result}, but Blender shows no channels named {', '.join(names)}"
    separate(node)
    tree = node.node_tree
    result = tree.nodes[group.RESULT]
    _play(result, request.result, request.playing, _colorspace(node, request), f"{node.name} result")
    like = request.keys if node.property in ("mask", "channels") else request.source
    if like.layer and result.has_layers:
        with contextlib.suppress(TypeError):  # the result may lack it, as a file of mattes alone does
            result.layer = like.layer
    result["socket"] = like.socket
    sure = tree.nodes[group.CONFIDENCE]
    _play(sure, request.confidence, request.playing, _NUMBERS, f"{node.name} confidence")
    group.show_between(tree, *request.shown)
    group.wire(node)
    return ""


def _colorspace(node: Any, request: Request) -> str:
    """What Blender must take the numbers in the result's files for."""
    if node.property == "mask":
        return _NUMBERS
    if node.property == "channels":
        return request.keys.colorspace
    if node.property == "hdr":
        return node.hdr_colorspace.strip() or (request.keys.colorspace if request.keys.extension == ".exr" else _LINEAR)
    # EXR that is made from another format holds scene-linear light; else the result is encoded as the Source
    extension = request.result.rpartition(".")[2].lower()
    return request.source.colorspace if f".{extension}" == request.source.extension else _LINEAR


def _play(image_node: Any, pattern: str, playing: Playing, colorspace: str, name: str) -> None:
    path = file_of(pattern, playing.files[0])
    image = image_node.image
    if image is None:
        image = bpy.data.images.load(path)
        image.name = name
    image.source = "SEQUENCE"
    image.filepath = path
    image.reload()
    image_node.image = image
    image_node.frame_start = playing.start
    image_node.frame_duration = playing.duration
    image_node.frame_offset = playing.offset
    image_node.use_cyclic = playing.cyclic
    image_node.use_auto_refresh = True
    try:
        image.colorspace_settings.name = colorspace
    except TypeError:  # a space that Blender's config lacks; what Blender told from the file itself stays
        print(f"STPN Propagate: {path}: Blender knows no color space {colorspace!r}; look at the image's setting")
