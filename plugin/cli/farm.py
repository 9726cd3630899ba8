"""`stpn farm`: jobs for render farms."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stpn.plugin.cli.propagate import request_of, setup_request

if TYPE_CHECKING:
    from stpn.plugin.farm.job import Job

HELP = "jobs for render farms: Open Job Description, OpenCue, Deadline 10"

DESCRIPTION = """\
Writes the job that renders a shot in chunks on a farm, with all options of `stpn propagate`. Nothing is submitted.

    openjd     a job bundle of Open Job Description, for AWS Deadline Cloud and `openjd run`
    opencue    an outline for pyoutline, which launches it on OpenCue
    deadline   job files of Deadline 10 for its plugin CommandLine

    stpn farm openjd --plate plate.####.exr --keys keys.####.exr --output result.####.exr --to bundle
    openjd run bundle/template.json --step Propagate -p file://bundle/job_parameters.json --run-dependencies

Every job has three steps: `stpn analyse` of the whole shot, `stpn propagate` of each chunk, `stpn compare` for a
contact sheet. The request is checked first, pixels left out, which the first step looks at. A task that is tried again
leaves frames that are there and whole. See docs/farm.md."""

_FARMS = {
    "openjd": "a job bundle of Open Job Description",
    "opencue": "an outline for OpenCue",
    "deadline": "job files of Deadline 10",
}


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    farms = parser.add_subparsers(dest="farm", metavar="FARM", required=True)
    for name, what in _FARMS.items():
        farm = farms.add_parser(name, help=what, description=f"Writes {what}; see stpn farm --help.")
        setup_request(farm, argparse.SUPPRESS)
        job = farm.add_argument_group("the job")
        job.add_argument("--to", required=True, metavar="FOLDER", help="the folder that the job's files go into")
        job.add_argument(
            "--chunk",
            default="keys",
            metavar="N|keys",
            help="frames of a task at most; tasks begin on keys where they can (default: keys: from each to the next)",
        )
        job.add_argument("--name", default="", help="name of the job (default: that of the output)")
        job.add_argument(
            "--stpn",
            default="",
            metavar="COMMAND",
            help="the command stpn on the machines that render (default: that of this installation)",
        )
        job.add_argument("--no-sheet", action="store_true", help="make no contact sheet")
        job.add_argument("--reports", action="store_true", help="write a report of each task beside the results")
        if name == "openjd":
            job.add_argument(
                "--chunk-seconds",
                type=int,
                default=0,
                metavar="S",
                help="let the scheduler move the edges of tasks until each takes so long (default: 0, it does not)",
            )


def run(args: argparse.Namespace) -> int:
    """Checks the request, writes the job."""
    from stpn.plugin.farm.chunks import chunk_size
    from stpn.plugin.farm.job import job_of
    from stpn.plugin.request import RequestError
    from stpn.plugin.shot import check

    size = chunk_size(args.chunk)
    if getattr(args, "chunk_seconds", 0) < 0:
        raise RequestError(f"--chunk-seconds: expected 0 or more, got {args.chunk_seconds}")
    request = request_of(args)
    if request.analysis is not None:
        raise RequestError("--analysis: not with stpn farm, whose first step makes it; leave it out")
    shot = check(request, look=False)
    job = job_of(shot, name=args.name, command=args.stpn, size=size, sheet=not args.no_sheet, reports=args.reports)
    folder = Path(os.path.abspath(args.to))
    files, advice = _written(args, job, folder)
    _refuse_folder(folder, files)
    try:
        _write(folder, files)
    except OSError as error:
        print(f"stpn farm: {error}", file=sys.stderr)
        return 1
    _say(job, advice)
    return 0


def _written(args: argparse.Namespace, job: Job, folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The files of the job by name, and the commands that run it, by what they do."""
    if args.farm == "openjd":
        from stpn.plugin.farm.openjd import bundle, run_here

        here = run_here(job, folder)
        return bundle(job, args.chunk_seconds), {
            "submit": ["deadline", "bundle", "submit", str(folder)],
            "run here": here,
        }
    if args.farm == "opencue":
        from stpn.plugin.farm.opencue import FILE, outline_file

        return {FILE: outline_file(job)}, {"submit": ["python", str(folder / FILE)]}
    from stpn.plugin.farm.deadline import jobs, submission

    files = jobs(job)
    return files, {"submit": submission(folder, list(files))}


def _refuse_folder(folder: Path, files: dict[str, str]) -> None:
    """Raises RequestError where the folder holds what is not of a job that was written before."""
    from stpn.plugin.places import existing_folder, writable
    from stpn.plugin.request import RequestError

    if folder.exists() and not folder.is_dir():
        raise RequestError(f"--to {folder}: expected a folder, got a file; name another one")
    other = sorted(path.name for path in folder.iterdir() if path.name not in files) if folder.is_dir() else []
    if other:
        raise RequestError(
            f"--to {folder}: expected a new or empty folder, or one of such a job, found {other[0]} in it; "
            "name another one"
        )
    if not writable(folder if folder.is_dir() else existing_folder(folder)):
        raise RequestError(f"--to {folder}: expected a folder that can be written, it cannot; name another one")


def _write(folder: Path, files: dict[str, str]) -> None:
    from stpn.ocio.atomic import written_whole

    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with written_whole(folder / name) as part:
            part.write_text(content, encoding="utf-8")


def _say(job: Job, advice: dict[str, list[str]]) -> None:
    from stpn.plugin.farm.chunks import on_edges

    chunks = job.division.chunks
    on_keys = on_edges(chunks, job.edges)
    print(f"{len(job.frames)} frames in {len(chunks)} tasks, {on_keys} of which begin on a key or a cut")
    for what, words in advice.items():
        print(f"to {what}: {shlex.join(words)}")
