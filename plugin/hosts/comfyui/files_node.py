"""STPN Propagate for files: `stpn propagate` is run, so that a long shot never is in ComfyUI's memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from .command import run
from .face import CATEGORY, NODE, help_of, parameters, values, widgets
from .worker_start import Installation

_log = logging.getLogger("stpn")

_NOT_HERE = ("output", "mix")
"""Of single pictures; here confidence has files of its own, and all of the result is written."""

_PARAMETERS = parameters(files=True, without=_NOT_HERE)
_PATTERN = "#### or %04d stands for the frame number."
_ADDITIONS = {"key_frames": "Frame numbers are those of the files."}
_TOKEN = re.compile(r"#+|@+|%0?\d*d|\$F\d*")
_RANGE = re.compile(r"(-?[0-9]{1,9})(?:-(-?[0-9]{1,9})(?:x([0-9]{1,9}))?)?")


class PropagateFiles(io.ComfyNode):
    """Files in, files out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The face, from `node.json`."""
        return io.Schema(
            node_id="STPNPropagateFiles",
            display_name=f"{NODE['name']} (files)",
            category=CATEGORY,
            description=f"{NODE['help']}\n\nReads and writes numbered files; everything in them that was not asked for "
            "stays as it is. No picture is held in memory here.",
            inputs=[
                _text("plate", "Source", f"{help_of('Source')} Files, such as plate.####.exr: {_PATTERN}"),
                _text("keys", "Keys", f"{help_of('Keys')} Files, such as keys.####.exr: {_PATTERN}"),
                _text("result", "Result", f"The files to write, such as result.####.exr: {_PATTERN}"),
                _text("confidence", "Confidence", "Files for how sure each pixel is: 0 to 1. Empty: none."),
                _text("frames", "Frames", "The frames to make, such as 1001-1100. Empty: the whole plate."),
                _text("channels", "Channels", "With property Channels: those to carry, such as depth.Z,N.*."),
                io.Boolean.Input(
                    "skip_existing",
                    display_name="Skip existing",
                    default=False,
                    tooltip="Leave results that are there and whole.",
                ),
                *widgets(_PARAMETERS, _ADDITIONS),
            ],
            outputs=[io.String.Output("files", display_name="Files", tooltip="The pattern of the written files.")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **given: Any) -> Any:
        """Changes when a file that is read does; results that were removed are made again by changing an input."""
        read = [given.get(name) for name in ("plate", "keys", "weights", "ocio")]
        if None in read:
            return float("nan")  # the name comes from another node and is not known yet: never the same
        return hashlib.sha256(repr([_stamps(str(name).strip()) for name in read if name]).encode()).hexdigest()

    @classmethod
    def execute(cls, plate: str, keys: str, result: str, **given: Any) -> io.NodeOutput:
        """Writes the files.

        Args:
            plate, keys, result: patterns of numbered files.
            given: the rest by name.

        Returns:
            The pattern of the results.

        Raises:
            RuntimeError: what the command says went wrong.
        """
        import comfy.model_management
        import comfy.utils

        installation = Installation.read(Path(__file__).parent / "stpn.conf")
        command = [installation.python, "-P", "-m", "stpn.plugin.cli", *arguments(plate, keys, result, given)]
        bar = comfy.utils.ProgressBar(_total(plate, given.get("frames") or ""))
        made = 0

        def line(text: str) -> None:
            nonlocal made
            if _is_frame(text):
                made += 1
                bar.update_absolute(made)

        ended = run(command, line, _log.info, comfy.model_management.processing_interrupted)
        if ended.cancelled:
            comfy.model_management.throw_exception_if_processing_interrupted()
            raise RuntimeError("cancelled; the frames that are there are whole")
        if ended.code:
            raise RuntimeError(ended.reason)
        return io.NodeOutput(result.strip())


def arguments(plate: str, keys: str, result: str, given: dict[str, Any]) -> list[str]:
    """The command line behind `stpn`; what is empty is left to the command, and no value can pass for an option."""
    settings = values(_PARAMETERS, given)
    if settings["key_frames"]:
        del settings["interval"], settings["first_key"]
    files = {"plate": plate, "keys": keys, "output": result}
    files |= {name: given.get(name) for name in ("confidence", "frames", "channels")}
    if settings["property"] != "channels":
        del files["channels"]
    found = ["propagate", "--json", *(["--skip-existing"] if given.get("skip_existing") else [])]
    for name, value in {**files, **settings}.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            found += [option] if value else []
        elif str("" if value is None else value).strip():
            found.append(f"{option}={str(value).strip()}")
    return found


def _is_frame(text: str) -> bool:
    """Whether a line tells of a frame; what a library prints besides does not."""
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and "frame" in found


def _text(name: str, label: str, tooltip: str) -> Any:
    return io.String.Input(name, display_name=label, default="", tooltip=tooltip)


def _stamps(pattern: str) -> list[tuple[str, int, int]]:
    """Name, size and time of each file of a pattern."""
    folder, name = os.path.split(pattern)
    pieces = _TOKEN.split(name)
    wanted = re.compile(r"-?[0-9]+".join(re.escape(piece) for piece in pieces))
    try:
        with os.scandir(folder or ".") as entries:
            found = [(entry.name, entry.stat()) for entry in entries if wanted.fullmatch(entry.name)]
    except OSError:
        return []  # the command says what is wrong with it
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def _total(plate: str, frames: str) -> int:
    """How many frames there will be, for the bar; a wrong range is the command's to refuse."""
    matches = [_RANGE.fullmatch("".join(item.split())) for item in frames.split(",")]
    if not frames.strip() or None in matches:
        return max(1, len(_stamps(plate.strip())))
    total = 0
    for match in filter(None, matches):
        first, last, step = int(match[1]), int(match[2] or match[1]), max(1, int(match[3] or 1))
        total += abs(last - first) // step + 1
    return total
