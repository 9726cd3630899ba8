"""Jobs of Deadline 10 for its plugin CommandLine: a job info and a plugin info file for each step.

Deadline starts the executable without a shell. What stands between angle brackets it puts in place of, line breaks end
a value, and words are divided by the rules of Windows' command line on every system; names that cannot be said so are
refused.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stpn.plugin.farm.chunks import in_words, regular
from stpn.plugin.farm.job import (
    PATTERNS,
    Job,
    analyse_step,
    frames_asked,
    propagate_step,
    shared_values,
    sheet_step,
)
from stpn.plugin.request import RequestError

_CHUNK = "<STARTFRAME>-<ENDFRAME>"
_TOKEN = re.compile(r"<[A-Za-z]+(%\d+|\d+)?>")


def jobs(job: Job) -> dict[str, str]:
    """The files, by name, in the order in which they are to be submitted: job info and plugin info of each step.

    Raises:
        RequestError: a name holds one of Deadline's tokens.
    """
    _refuse_tokens(job)
    ((frames, size),) = regular(job.division.chunks, 1)
    where = ",".join(in_words(run) for run in frames)
    analyse = analyse_step(job, job.value, "deadline", frames_asked(job))
    files = {
        **_step(job, "analyse", analyse, "0", 1),
        **_step(job, "propagate", propagate_step(job, job.value, "deadline", _CHUNK), where, size),
    }
    return files if job.sheet is None else {**files, **_step(job, "sheet", sheet_step(job, job.value), "0", 1)}


def submission(folder: Path, files: Sequence[str]) -> list[str]:
    """The command that submits the files of `jobs`, each job waiting for the one before."""
    pairs = zip(files[::2], files[1::2], strict=True)
    each = [word for info, plugin in pairs for word in ("-job", str(folder / info), str(folder / plugin))]
    return ["deadlinecommand", "-SubmitMultipleJobs", "-dependent", *each]


def _step(job: Job, name: str, arguments: list[str], frames: str, size: int) -> dict[str, str]:
    output = Path(job.request.output)
    info = {
        "Plugin": "CommandLine",
        "Name": f"{job.name} {name}",
        "BatchName": job.name,
        "Frames": frames,
        "ChunkSize": str(size),
        "OutputDirectory0": str(output.parent),
        "OutputFilename0": job.sheet.name if name == "sheet" and job.sheet is not None else output.name,
    }
    plugin = {
        "Executable": job.command,
        "Arguments": subprocess.list2cmdline(arguments),
        "ShellExecute": "False",
        "SingleFramesOnly": "False",
    }
    if name == "analyse":
        del info["OutputFilename0"]
    return {f"{name}_{kind}.job": _lines(of) for kind, of in (("info", info), ("plugin", plugin))}


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _refuse_tokens(job: Job) -> None:
    problems = []
    for name in (*PATTERNS, *shared_values(job), "stpn"):
        found = _TOKEN.search(job.value(name))
        if found is not None:
            problems.append(
                f"--{name}: expected a name without {found.group()}, in whose place Deadline puts something else, got "
                f"{job.value(name)}; rename it"
            )
    if problems:
        raise RequestError(*problems)
