"""The report of a run in JSON: what was asked, what was decided, and what became of each frame."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stpn.ocio.atomic import remove_leftovers, what_to_do, written_whole
from stpn.plugin.request import Request, RequestError

if TYPE_CHECKING:
    from stpn.plugin.reading import RenderError
    from stpn.plugin.render import Frame
    from stpn.plugin.shot import Shot

FORMAT = 1
"""Raised when a field changes its meaning or goes; new fields alone do not raise it."""

_LIBRARIES = ("numpy", "opencv-python-headless", "torch", "OpenEXR", "OpenImageIO", "opencolorio")


class Report:
    """What is known of a run so far; written whole whenever it is asked for."""

    def __init__(self, path: Path | None, request: Request) -> None:
        """Takes where it goes.

        Args:
            path: a .json in a folder that there is; None: nowhere.
            request: as typed.

        Raises:
            RequestError: it cannot lie there.
        """
        if path is not None and path.suffix.lower() != ".json":
            raise RequestError(f"--report {path}: expected .json, got {path.suffix or 'no extension'}")
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"--report {path}: expected a folder that exists, {path.parent} is none; make it")
        self._path = path
        self._began = datetime.now(UTC)
        self._clock = time.monotonic()  # which no change of the time of day moves
        self._said: dict[str, Any] = {
            "report": FORMAT,
            "stpn": version("stpn"),
            "python": platform.python_version(),
            "system": platform.platform(),
            "libraries": {name: found for name in _LIBRARIES if (found := _version(name)) is not None},
            "request": dataclasses.asdict(request),
            "decisions": [],
        }
        self._asked: Sequence[int] = ()
        self._frames: dict[int, dict[str, Any]] = {}

    def checked(self, shot: Shot) -> None:
        """The request was found right, so far: what was decided, and which frames there will be."""
        self._said["request"] = dataclasses.asdict(shot.request)
        self._said["decisions"] = list(shot.decisions)
        self._asked = shot.frames
        self._frames = {frame: _untried(frame, str(shot.output.path(frame))) for frame in shot.frames}

    def add(self, frame: Frame) -> None:
        """What became of a frame."""
        self._frames[frame.frame] = described(frame)

    def failed(self, error: RenderError) -> None:
        """What stopped the run."""
        if error.frame in self._frames:
            self._frames[error.frame] |= {"status": "failed", "error": str(error)}

    @property
    def failed_frames(self) -> list[int]:
        """The frames that failed, ascending."""
        return [frame for frame in self._asked if self._frames[frame]["status"] == "failed"]

    def begin(self) -> None:
        """Writes that the run goes on, which is what stays of one that is killed.

        Raises:
            RequestError: it cannot be written.
        """
        try:
            self._write("running", None, [])
        except OSError as error:
            raise RequestError(self._unwritten(error)) from error

    def end(self, status: str, code: int, *problems: str | BaseException) -> int:
        """Writes how the run ended.

        Args:
            status: done, failed, cancelled or refused.
            code: the exit code.
            problems: what ended it, one line each.

        Returns:
            The exit code; 1 where the run was well and the report cannot be written, which is then said.
        """
        said = [line for problem in problems for line in getattr(problem, "problems", (str(problem),)) if line]
        try:
            self._write(status, code, said)
        except OSError as error:
            print(self._unwritten(error), file=sys.stderr)
            return code or 1
        return code

    def _write(self, status: str, code: int | None, problems: Sequence[str]) -> None:
        if self._path is None:
            return
        frames = [self._frames[frame] for frame in self._asked]
        counts = dict.fromkeys(("key", "carried", "skipped", "failed", "not tried"), 0)
        for frame in frames:
            counts[frame["status"]] += 1
        whole = self._said | {
            "status": status,
            "exit_code": code,
            "problems": list(problems),
            "began": self._began.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._clock, 3),
            "counts": counts,
            "frames": frames,
        }
        remove_leftovers([self._path])
        with written_whole(self._path) as temporary:
            temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    def _unwritten(self, error: OSError) -> str:
        """One line on why it could not be written."""
        return f"--report {self._path}: cannot be written: {error.strerror or error}{what_to_do(error)}"


def described(frame: Frame) -> dict[str, Any]:
    """What became of a frame, as --json and the report say it."""
    sure = frame.confidence
    return {
        "frame": frame.frame,
        "path": str(frame.path),
        "status": frame.status,
        "keys": list(frame.keys),
        "confidence": round(sure, 4) if sure is not None and math.isfinite(sure) else None,
        "seconds": round(frame.seconds, 4),
        "notes": list(frame.notes),
        "error": frame.error,
    }


def _untried(frame: int, path: str) -> dict[str, Any]:
    return {
        "frame": frame, "path": path, "status": "not tried", "keys": [], "confidence": None, "seconds": 0.0,
        "notes": [], "error": None,
    }  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
