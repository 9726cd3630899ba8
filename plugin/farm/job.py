"""A shot as a job of a farm: three steps, their command lines, and the files that they take and make.

First the whole shot is analysed, then chunks of it are rendered side by side, then a contact sheet is drawn. A chunk
that is tried again leaves what is there (--skip-existing). Nothing but files passes from one step to the next.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from stpn.ocio.config import BUILTIN_CONFIG
from stpn.ocio.sequence import Sequence as Files
from stpn.plugin.analysis import analysis_path
from stpn.plugin.farm.chunks import Division, divide, in_words, runs
from stpn.plugin.keys import frames_of
from stpn.plugin.request import Request, RequestError
from stpn.plugin.shot import Shot

Say = Callable[[str], str]
"""Gives the text that stands for a value in a command line: the value itself, or the name of a farm's parameter."""

PATTERNS = ("plate", "keys", "output", "confidence")
"""Fields of a request that are patterns of numbered files."""

SINGLE_FILES = ("weights", "ocio")
"""Fields of a request that may name one file that is read."""

BESIDE = ("analysis", "sheet", "report")
"""What lies beside the results."""

# what each step is given otherwise, or not at all
_NOT_SHARED = frozenset({*PATTERNS, "frames", "analysis", "skip_existing", "keep_going"})


@dataclass(frozen=True)
class Job:
    """A shot that a farm is to render.

    Attributes:
        name: of the job, for people.
        command: the command `stpn` of the machines that render.
        request: what is asked for, every path absolute.
        frames: what to render, ascending.
        edges: where chunks best begin: keys and known cuts, ascending.
        division: the chunks.
        inputs: every file that the job reads.
        analysis: where the first step puts what the others take.
        sheet: where the contact sheet goes; None: none is made.
        report: beginning of the names of the reports, one a chunk; None: none are written.
    """

    name: str
    command: str
    request: Request
    frames: Sequence[int]
    edges: Sequence[int]
    division: Division
    inputs: Sequence[Path]
    analysis: Path
    sheet: Path | None
    report: Path | None

    def value(self, name: str) -> str:
        """The text of a value: a field of the request, or analysis, sheet, report or stpn."""
        if name == "stpn":
            return self.command
        found = getattr(self, name) if name in BESIDE else getattr(self.request, name)
        return str(found)


def job_of(shot: Shot, *, name: str, command: str, size: int | None, sheet: bool, reports: bool = False) -> Job:
    """The job of a request that was found right.

    Args:
        shot: the request, checked; its pixels need not have been looked at.
        name: of the job; "": that of the output.
        command: the command `stpn` where it renders; "": the one of this installation.
        size: how many frames a chunk has at most; None: from key to key.
        sheet: whether to draw a contact sheet.
        reports: whether each chunk writes a report beside the results.

    Raises:
        RequestError: something in it is what no farm's job can hold.
    """
    request = _absolute(shot.request)
    output = Files(request.output)
    # every key, also those of frames that are not rendered, since adaptation learns from all
    sources = (Files(request.plate), Files(request.keys))
    inputs = [source.path(frame) for source in sources for frame in source.frames()]
    named = [getattr(request, name) for name in SINGLE_FILES]
    inputs += [Path(path) for path in named if path and Path(path).is_file()]
    cuts = frames_of(request.cuts, "--cuts") if request.cuts not in ("auto", "none") else ()
    edges = sorted({*shot.key_frames, *cuts})
    beside = analysis_path(output)
    stem = beside.name.removesuffix("analysis.json")
    job = Job(
        name or f"stpn {Path(request.output).name}",
        command or command_here(),
        request,
        shot.frames,
        edges,
        divide(shot.frames, edges, size),
        inputs,
        beside,
        beside.with_name(f"{stem}sheet.png") if sheet else None,
        beside.with_name(f"{stem}report") if reports else None,
    )
    _refuse_control_characters(job)
    return job


def frames_asked(job: Job) -> str | None:
    """The frames that --frames names, as ranges; None: the whole plate."""
    if job.request.frames is None:
        return None
    return ",".join(in_words(run) for run in runs(job.frames))


def needs_gpu(job: Job) -> bool:
    """Whether only machines with a GPU can do it."""
    return job.request.device in ("cuda", "tensorrt")


def command_here() -> str:
    """The command `stpn` of this installation."""
    beside = Path(sys.executable).with_name("stpn")
    return str(beside) if beside.exists() else "stpn"


def analyse_step(job: Job, say: Say, progress: str, frames: str | None) -> list[str]:
    """Arguments of the first step; `frames` None: the whole plate."""
    only = [] if frames is None else [f"--frames={frames}"]
    return ["analyse", *_shared(job, say), *only, f"--analysis={say('analysis')}", f"--progress={progress}"]


def propagate_step(job: Job, say: Say, progress: str, chunk: str) -> list[str]:
    """Arguments of a chunk; `chunk` is its frame range, or what the farm puts it in place of."""
    more = ["--keep-going"] if job.request.keep_going else []
    more += [f"--report={say('report')}.{chunk}.json"] if job.report is not None else []
    taken = [f"--analysis={say('analysis')}", f"--frames={chunk}", "--skip-existing", *more]
    return ["propagate", *_shared(job, say), *taken, f"--progress={progress}"]


def sheet_step(job: Job, say: Say) -> list[str]:
    """Arguments of the contact sheet."""
    request = job.request
    given = ["keys", *(["confidence"] if request.confidence else []), "property", "ocio"]
    if request.property in ("color", "mask", "channels") and request.colorspace != "auto":
        given.append("colorspace")
    if request.property in ("color", "hdr") and request.keys_colorspace != "auto":
        given.append("keys_colorspace")
    labels = ["--mask-labels"] if request.mask_labels else []
    options = [f"--{_typed(name)}={say(name)}" for name in given]
    return ["compare", say("plate"), say("output"), *options, *labels, f"--output={say('sheet')}"]


def shared_values(job: Job) -> list[str]:
    """The fields that every step is given as --name=value, patterns left out."""
    return [
        field.name
        for field in fields(Request)
        if field.name not in _NOT_SHARED and not isinstance(getattr(job.request, field.name), bool | None)
    ]


def _shared(job: Job, say: Say) -> list[str]:
    patterns = [name for name in PATTERNS if getattr(job.request, name)]
    flags = [f.name for f in fields(Request) if getattr(job.request, f.name) is True and f.name not in _NOT_SHARED]
    options = [f"--{_typed(name)}={say(name)}" for name in (*patterns, *shared_values(job))]
    return [*options, *(f"--{_typed(name)}" for name in flags)]


def _typed(name: str) -> str:
    return name.replace("_", "-")


def _absolute(request: Request) -> Request:
    """The request as it holds on another machine: paths absolute, and the config that is the default here by name."""
    ocio = request.ocio or os.environ.get("OCIO", "").strip() or f"ocio://{BUILTIN_CONFIG}"
    request = replace(request, ocio=ocio)
    changed = {name: os.path.abspath(value) for name in PATTERNS if (value := getattr(request, name))}
    for name in SINGLE_FILES:
        value = getattr(request, name)
        if value and os.path.exists(value):
            changed[name] = os.path.abspath(value)
    return replace(request, **changed)


def _refuse_control_characters(job: Job) -> None:
    """Raises RequestError where a value has a line break, another control character, or is no text."""
    problems = []
    names = [name for name in (*PATTERNS, *shared_values(job)) if getattr(job.request, name)]
    values = [(f"--{_typed(name)}", job.value(name)) for name in names]
    for name, value in [*values, ("--name", job.name), ("--stpn", job.command)]:
        odd = next((letter for letter in value if unicodedata.category(letter) in ("Cc", "Cs")), None)
        if odd is not None:
            problems.append(
                f"{name}: expected a name without line breaks, other control characters and bytes that are no UTF-8, "
                f"which a farm's job cannot hold, got {value!r}; rename it"
            )
    if problems:
        raise RequestError(*problems)
