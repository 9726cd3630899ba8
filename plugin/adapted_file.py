"""The file that `--adapt` leaves beside the output: weights, what they were made from, and what was measured."""

from __future__ import annotations

import errno
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from stpn.ocio.atomic import written_whole
from stpn.ocio.sequence import Sequence
from stpn.plugin.request import Request, RequestError, one_line

if TYPE_CHECKING:
    from stpn.engine.aligned_network import AlignedFusion


@dataclass(frozen=True)
class Record:
    """What is kept with adapted weights.

    Attributes:
        base: digest of the weights that the adaptation started from.
        plate: name of the plate's pattern, without its folder.
        keys: digest of every key file, by frame.
        options: those of the request that decide how plate and keys are seen; see `options_of`.
        steps: that were trained.
        before, after: PSNR of ab (dB) of each key held aside.
        kept: whether the file holds the adapted weights; else it holds those it started from, which were no worse.
    """

    base: str
    plate: str
    keys: Mapping[int, str]
    options: Mapping[str, str]
    steps: int
    before: Mapping[int, float]
    after: Mapping[int, float]
    kept: bool

    @property
    def verdict(self) -> str:
        """In words: what was measured, and what follows."""
        frames = ", ".join(str(frame) for frame in self.before)
        means = [sum(found.values()) / max(len(found), 1) for found in (self.before, self.after)]
        steps = f"{self.steps} {'step' if self.steps == 1 else 'steps'}"
        measured = f"{means[0]:.2f} -> {means[1]:.2f} dB on keys held aside ({frames}), {steps}"
        return f"{measured}: kept" if self.kept else f"{measured}: no better, so the weights stay those it started from"


def adapted_path(output: Sequence) -> Path:
    """Where adapted weights lie: result.adapted.safetensors for result.####.exr."""
    # up to where the names of two frames without a digit in common differ
    first, second = (output.path(int(digit * output.padding)) for digit in "12")
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first.name, second.name, strict=False))
    stem = "".join(letter for letter, _ in alike).rstrip("._- ")
    return first.with_name(f"{stem}.adapted.safetensors" if stem else "adapted.safetensors")


def options_of(request: Request) -> dict[str, str]:
    """What decides, beside the files, how plate and keys are seen: what was checked holds for the same only."""
    return {name: str(getattr(request, name)) for name in ("colorspace", "keys_colorspace", "working", "keys_used")}


def digest(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    if path.exists() and not path.is_file():  # to open a named pipe would wait for ever
        raise OSError(errno.EINVAL, "it is no file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_record(path: Path) -> Record | None:
    """What is kept with adapted weights; None where there is no such file.

    Raises:
        RequestError: there is a file, and `write_adapted` did not write it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        if not path.is_file():
            raise ValueError("no file")  # to open a named pipe would wait for ever
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {})["adaptation"])
        held = {int(frame): [math.nan if n is None else float(n) for n in f] for frame, f in said["held_aside"].items()}
        return Record(
            str(said["base"]),
            str(said["plate"]),
            {int(frame): str(found) for frame, found in said["keys"].items()},
            {str(name): str(value) for name, value in said["options"].items()},
            int(said["steps"]),
            {frame: before for frame, (before, _) in held.items()},
            {frame: after for frame, (_, after) in held.items()},
            said["verdict"] == "kept",
        )
    except (
        OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError
    ) as error:  # fmt: skip
        reason = one_line(str(error) or type(error).__name__)[:200]
        raise RequestError(
            f"{path}: expected weights that --adapt wrote, since it writes there, got another file ({reason}); move it "
            "away or name another --output"
        ) from error


def write_adapted(path: Path, network: AlignedFusion, record: Record) -> None:
    """Writes both; the file is there whole or as it was.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    from stpn.engine.weights import save_network

    said = {
        "base": record.base,
        "plate": record.plate,
        "keys": dict(record.keys),
        "options": dict(record.options),
        "steps": record.steps,
        "held_aside": {
            frame: [n if math.isfinite(n) else None for n in (before, record.after[frame])]
            for frame, before in record.before.items()
        },
        "verdict": "kept" if record.kept else "fell back",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        part.touch()
        mode = part.stat().st_mode
        save_network(part, network, {"property": "color", "adaptation": json.dumps(said)})
        # safetensors lets its owner alone read a file; the other machines of a farm shall too
        part.chmod(mode)
