"""What is asked of `stpn propagate` for a node: checked as far as only Blender can tell, then typed as a command."""

import os
import re
from dataclasses import dataclass
from typing import Any

import bpy

from . import description, sequences, settings
from .playing import Playing, listed
from .sequences import ImageSequence, InputError

_HOST_SIDE = ("output", "mix")
"""Parameters that the compositor itself applies."""


@dataclass(frozen=True)
class Request:
    """One run.

    Attributes:
        arguments: for `stpn`.
        source, keys: what goes in.
        frames: the numbers of the files that are made, ascending.
        result, confidence: patterns of the files that are made, as Blender writes paths: // may stand in front.
        playing: which of these files plays when.
        shown: from which to which scene frame they do; None: no end on that side.
    """

    arguments: tuple[str, ...]
    source: ImageSequence
    keys: ImageSequence
    frames: tuple[int, ...]
    result: str
    confidence: str
    playing: Playing
    shown: tuple[int | None, int | None]


def file_of(pattern: str, frame: int) -> str:
    """The file of a frame."""
    folder, name = os.path.split(pattern)
    digits = name.count("#")
    return os.path.join(folder, name.replace("#" * digits, f"{frame:0{digits}d}"))


def make(node: Any, scene: Any, parameters: list[dict[str, Any]]) -> Request:
    """The request of a node.

    Raises:
        InputError: what is wrong; stpn itself tells all that it can tell better.
    """
    source = sequences.image_sequence(node.inputs["Source"])
    keys = sequences.image_sequence(node.inputs["Keys"], single=True)
    _refuse_shifted(source, keys)
    _refuse_labels(node)
    frames = _frames(node, scene, source)
    result, confidence = _results(node)
    on_disk = os.path.normpath(bpy.path.abspath(confidence))
    arguments = [
        "propagate", "--json",
        "--plate", source.pattern,
        "--keys", keys.pattern,
        "--output", os.path.normpath(bpy.path.abspath(result)),
        "--confidence", on_disk,
        f"--frames={listed(frames)}",
        *_options(node, parameters),
    ]  # fmt: skip
    whole = source.playing
    files = [number for number in frames if number in whole.files]
    if not files:
        raise InputError(
            f"Source: expected files among {frames[0]}-{frames[-1]} that play, its Image node plays "
            f"{whole.files[0]}-{whole.files[-1]}; set its Frames, Start and Offset"
        )
    playing = whole.only(files[0], files[-1])
    return Request(tuple(arguments), source, keys, tuple(frames), result, confidence, playing, playing.shown(whole))


def _options(node: Any, parameters: list[dict[str, Any]]) -> list[str]:
    """The parameters as typed; those that the chosen property does not take are left out."""
    found = []
    for one in parameters:
        name = one["name"]
        if name in _HOST_SIDE or not settings.goes(one, node.property):
            continue
        if name in ("interval", "first_key") and node.key_frames.strip():
            continue
        value = getattr(node, name)
        option = f"--{name.replace('_', '-')}"
        if one["kind"] == "bool":
            found += [option] if value else []
            continue
        if one["kind"] == "file":
            value = bpy.path.abspath(value) if value else _host_config() if name == "ocio" else ""
        if str(value).strip():
            found.append(f"{option}={value}")  # a value may begin with a minus
    if node.property == "channels":
        found.append("--channels=*")  # the keys' channels, all that there are
    return found


def _host_config() -> str:
    """The OCIO config that Blender uses; nothing where that is $OCIO, which the command takes as well."""
    named = os.environ.get("BLENDER_OCIO")  # comes first since 5.0
    if named or os.environ.get("OCIO"):
        return named or ""
    folder = bpy.utils.system_resource("DATAFILES", path="colormanagement")
    path = os.path.join(folder, "config.ocio")
    return path if os.path.isfile(path) else ""


def _refuse_shifted(source: ImageSequence, keys: ImageSequence) -> None:
    """A key is what Keys shows while Source shows its plate; by the files' numbers it must be so too."""
    if keys.playing is None or keys.playing.duration == 1 or keys.playing.shift == source.playing.shift:
        return
    frame = source.playing.start
    raise InputError(
        f"Keys: expected the number of the plate that plays with it, at frame {frame} of the scene that is "
        f"{source.playing.file_at(frame)}, by the Image node of Keys it is {frame + keys.playing.shift}; set Start and "
        "Offset of both Image nodes alike, or renumber the key files"
    )


def _refuse_labels(node: Any) -> None:
    """Object numbers in an EXR are whole numbers, which Blender's compositor does not read."""
    if node.property == "mask" and node.mask_labels and node.result_files.lower().endswith(".exr"):
        raise InputError(
            f"Result files {node.result_files}: expected .png or .tif as the Keys have, since Blender reads no object "
            "numbers in EXR files; set it so, or leave Mask: object numbers off"
        )


def _frames(node: Any, scene: Any, source: ImageSequence) -> list[int]:
    there = source.on_disk()
    if not there:
        raise InputError(f"Source: expected files like {source.pattern}, found none; look at the path of the image")
    if node.frames == "source":
        return list(range(there[0], there[-1] + 1))
    playing = source.playing
    frames = playing.files_at(range(scene.frame_start, scene.frame_end + 1))
    if not frames:
        raise InputError(
            f"Source: expected it to play between frames {scene.frame_start} and {scene.frame_end} of the scene, it "
            f"begins at {playing.start}; change the scene's range or Start of its Image node"
        )
    if not set(frames) & set(there):
        raise InputError(
            f"Source: expected files {listed(frames)}, which its Image node plays, there are {listed(there)}; for "
            f"these set its Frames to {there[-1] - there[0] + 1} and its Offset to {there[0] - 1}"
        )
    return frames


def _results(node: Any) -> tuple[str, str]:
    """Patterns of the result and of the confidence."""
    called = re.sub(r"[^\w. -]", "_", node.name)
    result = node.result_files.replace("{node}", called)
    folder, name = os.path.split(result)
    where = f"Result files {node.result_files}"
    if len(re.findall("#+", name)) != 1:
        raise InputError(f"{where}: expected a file name with one frame number, such as result.####.exr")
    if result.startswith("//") and not bpy.data.filepath:
        raise InputError(f"{where}: expected a saved .blend file, whose folder // stands for; save it or give a folder")
    stem = re.sub(r"[._ -]*#+.*", "", name)
    confidence = "confidence" if stem in ("", "result") else f"{stem}_confidence"
    number = re.search("#+", name)[0]
    joined = folder if folder.endswith("/") else f"{folder}/" if folder else ""
    return result, f"{joined}{confidence}.{number}.exr"


def environment() -> dict[str, str]:
    """For the command: Blender's own, without what makes another Python take Blender's modules and libraries."""
    unwanted = ("PYTHON", "LD_", "DYLD_")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}


def command(arguments: tuple[str, ...]) -> list[str]:
    """The whole command.

    Raises:
        description.InstallError: the Python that has stpn is not known.
    """
    # -P: nothing of the folder that Blender was started in can take the place of a module
    return [description.python(), "-P", "-m", "stpn.plugin.cli", *arguments]
