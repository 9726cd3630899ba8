"""The image sequence behind an input of the node: found by following the link, since Blender hands out no pixels."""

import os
import re
from dataclasses import dataclass
from typing import Any

import bpy

from .playing import Playing

# Blender takes the last digits of a file's name for the frame, as here; it knows no negative numbers
_NUMBER = re.compile(r"^(?P<before>.*?)(?P<number>\d+)(?P<after>\D*)$")
_CONNECT = "connect an Image node that shows an image sequence on disk"


class InputError(Exception):
    """An input that cannot be used, in one line: what was expected, what was found, what to do."""


@dataclass(frozen=True)
class ImageSequence:
    """Numbered files that an Image node shows.

    Attributes:
        pattern: with # for each digit of the frame number.
        playing: which file plays when; None: a single picture, whose number alone counts.
        colorspace: what Blender takes the numbers in the files for.
        alpha: whether the files have one.
        layer, socket: which of several layers is taken, and which output of the node.
    """

    pattern: str
    playing: Playing | None
    colorspace: str
    alpha: bool
    layer: str
    socket: str

    @property
    def extension(self) -> str:
        """Of the files, in lower case."""
        return os.path.splitext(self.pattern)[1].lower()

    def on_disk(self) -> list[int]:
        """The numbers that there are files for, ascending."""
        folder, name = os.path.split(self.pattern)
        before, after = re.split("#+", name)
        width = name.count("#")
        like = re.compile(re.escape(before) + rf"(\d{{{width},}})" + re.escape(after))
        try:
            found = [match[1] for match in map(like.fullmatch, os.listdir(folder)) if match]
        except OSError:
            return []
        # longer numbers are written without zeros in front: of 01001 and 1001 just one belongs here
        return sorted(int(number) for number in found if len(number) == width or not number.startswith("0"))


def source_link(socket: Any) -> Any:
    """The link that an input's picture comes through, behind reroutes; None: nothing is connected."""
    for _ in range(1000):  # reroutes cannot go in circles for ever where a file is broken
        if not socket.is_linked or not socket.links[0].is_valid:
            return None
        link = socket.links[0]
        if link.from_node.bl_idname != "NodeReroute":
            return link
        socket = link.from_node.inputs[0]
    return None


def image_sequence(socket: Any, *, single: bool = False) -> ImageSequence:
    """The sequence that is connected to an input.

    Args:
        socket: the input.
        single: whether one picture with a number in its name will do.

    Raises:
        InputError: none is connected, or something that is no sequence on disk.
    """
    link = source_link(socket)
    if link is None:
        raise InputError(f"{socket.name}: expected an image sequence, nothing is connected; {_CONNECT}")
    node = link.from_node
    if node.bl_idname != "CompositorNodeImage":
        raise InputError(
            f"{socket.name}: expected an Image node, got {node.name!r}: Blender gives no other frames of it than the "
            f"present one; render it to an image sequence and {_CONNECT}"
        )
    image = node.image
    if image is None:
        raise InputError(f"{socket.name}: expected an image sequence, {node.name!r} has no image; open one there")
    if image.source != "SEQUENCE" and not (single and image.source == "FILE"):
        kind = image.bl_rna.properties["source"].enum_items[image.source].name
        raise InputError(
            f"{socket.name}: expected an image sequence, {image.name!r} is of the kind {kind}; set its Source to Image "
            "Sequence, or render it to one"
        )
    if image.packed_file is not None:
        raise InputError(f"{socket.name}: expected files on disk, {image.name!r} is packed; unpack it")
    return ImageSequence(
        pattern=_pattern(socket.name, image),
        playing=_playing(node) if image.source == "SEQUENCE" else None,
        colorspace=image.colorspace_settings.name,
        alpha=has_alpha(image),
        layer=node.layer if node.has_layers else "",
        socket=link.from_socket.name,
    )


def has_alpha(image: Any) -> bool:
    """Whether the files of an image have an alpha."""
    _ = image.size[0]  # makes Blender read the file, before which the depth is 0
    return image.depth in (16, 32, 64, 128)


def _playing(node: Any) -> Playing:
    return Playing(node.frame_start, max(1, node.frame_duration), node.frame_offset, node.use_cyclic)


def _pattern(name: str, image: Any) -> str:
    path = os.path.normpath(bpy.path.abspath(image.filepath, library=image.library))
    folder, file = os.path.split(path)
    stem, extension = os.path.splitext(file)
    match = _NUMBER.match(stem)
    if match is None:
        raise InputError(f"{name}: expected a file name with a frame number, got {file!r} in {folder}")
    if re.search("[#@%$]", match["before"] + match["after"]):
        raise InputError(f"{name}: expected a file name without # @ % $, got {file!r} in {folder}; rename the files")
    return os.path.join(folder, match["before"] + "#" * len(match["number"]) + match["after"] + extension)
