"""What `stpn analyse` finds in a whole shot and writes down, so that chunks of it need not look again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

from stpn.engine.cuts import Findings
from stpn.ocio.atomic import written_whole
from stpn.ocio.digest import Contents, digest_of
from stpn.ocio.sequence import Sequence as Files
from stpn.plugin.footage import Footage
from stpn.plugin.frame_source import FrameSource
from stpn.plugin.request import Request, RequestError, listed

VERSION = 1
"""Of the file, and of the way to look: files of another one are refused."""


@dataclass(frozen=True)
class Analysis:
    """What was found in a plate.

    Attributes:
        seen: how the plate was looked at, by name; see `seen_as`.
        plate: digest of every plate frame that was looked at, by frame.
        found: cuts and flashes among these.
        chunks: first and last frame of each chunk that is proposed.
        decisions: what was decided for the whole shot, one line each, for people.
    """

    seen: Mapping[str, str]
    plate: Mapping[int, str]
    found: Findings
    chunks: Sequence[tuple[int, int]] = ()
    decisions: Sequence[str] = ()

    def findings(self, frames: Iterable[int]) -> Findings:
        """Cuts and flashes among some of the frames: what looking at these alone finds."""
        here = set(frames)
        cuts = tuple(cut for cut in self.found.cuts if cut in here and cut - 1 in here)
        return Findings(cuts, tuple(flash for flash in self.found.flashes if flash in here))


def analysis_path(output: Files) -> Path:
    """Where an analysis lies unless another place is named: result.analysis.json for result.####.exr."""
    first, second = (output.path(int(digit * output.padding)) for digit in "12")
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first.name, second.name, strict=False))
    stem = "".join(letter for letter, _ in alike).rstrip("._- ")
    return first.with_name(f"{stem}.analysis.json" if stem else "analysis.json")


def seen_as(request: Request, plate: Footage) -> dict[str, str]:
    """What decides, beside the files, what is found in a plate: an analysis holds for the same only."""
    computed = digest_of([plate.space.fingerprint().encode()])[:12]
    color = f"{plate.space.name} ({computed}), {', '.join(plate.channels)} of part {plate.part}"
    return {"--cuts": request.cuts, "--colorspace": color}


def digests(files: FrameSource, frames: Sequence[int], contents: Contents, threads: int) -> dict[int, str]:
    """SHA-256 of the files of frames, by frame.

    Args:
        files: where each frame lies.
        frames: which.
        contents: remembers digests of files.
        threads: how many files to read at once.

    Raises:
        RequestError: a file cannot be read.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="stpn-digest") as pool:
        try:
            return dict(zip(frames, pool.map(lambda frame: contents(files.path(frame)), frames), strict=True))
        except OSError as error:
            raise RequestError(f"{error.filename}: expected a file that can be read, got: {error.strerror}") from error


def write_analysis(path: Path, analysis: Analysis) -> None:
    """Writes an analysis; the file is there whole or as it was.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    said = {
        "stpn_analysis": VERSION,
        "written_by": f"stpn {version('stpn')}",
        "cuts": list(analysis.found.cuts),
        "flashes": list(analysis.found.flashes),
        "chunks": [list(chunk) for chunk in analysis.chunks],
        "decisions": list(analysis.decisions),
        "seen": dict(analysis.seen),
        "plate": {str(frame): of for frame, of in analysis.plate.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        part.write_text(json.dumps({**said, "digest": _digest(said)}, indent=1) + "\n", encoding="utf-8")


def read_analysis(path: Path) -> Analysis:
    """Reads what `write_analysis` wrote.

    Raises:
        RequestError: there is no such file, or it is another one, damaged, or of another version.
    """
    what = f"--analysis {path}: expected a file that `stpn analyse` wrote"
    if path.exists() and not path.is_file():
        raise RequestError(f"{what}, got no file; name another one, or leave --analysis out")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RequestError(f"{what}, got: {reason}; run it, or leave --analysis out") from error
    if not isinstance(said, dict) or "stpn_analysis" not in said:
        raise RequestError(f"{what}, got something else; name another file, or leave --analysis out")
    if said["stpn_analysis"] != VERSION:
        raise RequestError(f"{what} of version {VERSION}, got {said['stpn_analysis']!r}; analyse again")
    try:
        if said.pop("digest") != _digest(said):
            raise ValueError("its digest is another one")
        return Analysis(
            {str(name): str(value) for name, value in said["seen"].items()},
            {int(frame): str(of) for frame, of in said["plate"].items()},
            Findings(tuple(map(int, said["cuts"])), tuple(map(int, said["flashes"]))),
            [(int(first), int(last)) for first, last in said["chunks"]],
            [str(line) for line in said["decisions"]],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"{what}, got a damaged one ({error}); analyse again") from error


def known_findings(
    request: Request, plate: Footage, frames: Sequence[int], contents: Contents, threads: int
) -> Findings:
    """Cuts and flashes among frames by --analysis.

    Args:
        request: as asked, with an analysis.
        plate: the plate.
        frames: the frames that motion goes through, ascending.
        contents: remembers digests of files.
        threads: how many files to read at once.

    Raises:
        RequestError: the analysis cannot be read, or is of another plate, or of one that was looked at differently.
    """
    what = f"--analysis {request.analysis}: expected"
    analysis = read_analysis(Path(request.analysis or ""))
    other = [
        f"{what} one made with {name} {value}, got {analysis.seen.get(name, 'nothing')}; analyse again"
        for name, value in seen_as(request, plate).items()
        if analysis.seen.get(name) != value
    ]
    if other:
        raise RequestError(*other)
    missing = [frame for frame in frames if frame not in analysis.plate]
    if missing:
        raise RequestError(
            f"{what} one of plate frames {listed(missing)} too, got {_span(analysis.plate)}; analyse the whole shot"
        )
    now = digests(plate.files, frames, contents, threads)
    changed = [frame for frame in frames if now[frame] != analysis.plate[frame]]
    if changed:
        raise RequestError(
            f"{what} the plate it was made of, frames {listed(changed)} of {plate.files.pattern} are other files now; "
            "analyse again"
        )
    return analysis.findings(frames)


def _span(frames: Collection[int]) -> str:
    return f"frames {listed(sorted(frames))}" if frames else "none"


def _digest(said: Mapping[str, Any]) -> str:
    """SHA-256 of what an analysis says, so that a damaged one is told."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
