"""Where the time of a run went, stage by stage, as a table for people and as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from stpn.engine.stages import Stage, Stages
from stpn.ocio.atomic import written_whole
from stpn.plugin.request import RequestError

# what ru_maxrss counts in
_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Profile:
    """What a run took.

    Attributes:
        frames: how many it made.
        seconds: from the start of the check to the last frame.
        cpu: seconds of the processor, of all threads of the process in that time, libraries' own included.
        peak_bytes: the most memory that the process had, its start included.
        stages: by name.
    """

    frames: int
    seconds: float
    cpu: float
    peak_bytes: int
    stages: dict[str, Stage]

    def table(self) -> str:
        """Milliseconds a frame, by stage, by the clock and of the processor; stages run side by side."""
        count = max(self.frames, 1)
        rows = [("stage", "calls", "wall ms/frame", "cpu ms/frame")]
        for name, stage in self.stages.items():
            rows.append((name, str(stage.calls), f"{1e3 * stage.wall / count:.1f}", f"{1e3 * stage.cpu / count:.1f}"))
        rows.append(("whole run", "", f"{1e3 * self.seconds / count:.1f}", f"{1e3 * self.cpu / count:.1f}"))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            f"{row[0]:<{widths[0]}}"
            + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
            for row in rows
        ]
        return "\n".join([*lines, f"{self.frames} frames, peak memory {self.peak_bytes / 2**30:.2f} GiB"])

    def write(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")


class Stopwatch:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def profile(self, stages: Stages, frames: int) -> Profile:
        """What was taken since."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
        seconds, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Profile(frames, seconds, cpu, peak, dict(stages.by_name))


def refuse_profile(where: str | None) -> None:
    """Raises RequestError where a profile cannot lie at a place as typed; "" is the terminal."""
    if not where:
        return
    path = Path(where)
    if path.suffix.lower() != ".json":
        raise RequestError(f"--profile {path}: expected .json, got {path.suffix or 'no extension'}")
    if not path.parent.is_dir():
        raise RequestError(f"--profile {path}: expected a folder that exists, {path.parent} is none; make it")
