"""What the benchmarks of all properties share: what can be wrong with a request, and the work clip by clip."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn.engine.evaluation.clips import Source

INTERVALS = (10, 20, 30, 40)

Done = tuple[str, dict[str, Any], Callable[[], dict[str, Any]]]
"""Tables as text, the numbers for JSON, and what draws the figures."""


def common(
    args: argparse.Namespace, known: Sequence[str], default: Sequence[str]
) -> tuple[list[str], list[Source], list[str]]:
    """What is wrong with the options that all properties share; the sources; the baselines.

    Args:
        args: as typed.
        known: baselines.
        default: those that are measured where none is named.
    """
    from stpn.engine.evaluation.clips import ClipError, find_sources

    problems: list[str] = []
    sources: list[Source] = []
    try:
        # soft mattes are cut out over clips of any kind
        sources = find_sources(args.clips, "color" if args.soft else args.property, args.data)
    except (ClipError, OSError) as error:
        problems.append(str(error))
    baselines = list(dict.fromkeys(args.baseline or default))
    problems += [f"--baseline {b}: expected one of {', '.join(known)}" for b in baselines if b not in known]
    problems += [f"--interval {k}: expected 2 or more" for k in args.interval or () if k < 2]
    if args.jobs < 0:
        problems.append(f"--jobs {args.jobs}: expected 1 or more, or 0 for all processors")
    if args.json and (args.json.is_dir() or not args.json.absolute().parent.is_dir()):
        problems.append(f"--json {args.json}: expected a file in a folder that is there")
    if args.plots and args.plots.exists() and not args.plots.is_dir():
        problems.append(f"--plots {args.plots}: expected a folder, found a file")
    return problems, sources, baselines


def parsed(args: argparse.Namespace, parse: Callable[[str], Any], default: Sequence[str], problems: list[str]) -> Any:
    """The methods to be measured, each once.

    Args:
        args: as typed.
        parse: reads one; raises MethodError where it is none.
        default: those that are measured where none is named.
        problems: gets what is wrong.
    """
    from stpn.engine.evaluation.methods import MethodError

    methods = []
    for text in dict.fromkeys(args.method or default):
        try:
            methods.append(parse(text))
        except MethodError as error:
            problems.append(str(error))
    own = [method.label for method in methods if method.weights is not None]
    if args.through_files and own:
        problems.append(f"--through-files: expected methods of stpn propagate, got {', '.join(own)}; leave one out")
    return methods


def twice(labels: Sequence[str]) -> list[str]:
    """What is wrong with labels that are there twice."""
    return [
        f"--method: expected a label for each, got {label!r} twice; use another LABEL=FILE"
        for label in sorted({label for label in labels if labels.count(label) > 1})
    ]


def measured(work: Callable[[Any], Any], jobs: Sequence[Any], processes: int, said: Callable[[int, Any], str]) -> Any:
    """The results of all jobs in their order; a line of progress each.

    Args:
        work: does a job.
        jobs: what there is to do.
        processes: how many at a time; 0: as many as there are processors.
        said: what is said of a job, by its number and result.
    """
    from stpn.engine.evaluation.workers import run as run_jobs

    start, results = time.monotonic(), list[Any]([None] * len(jobs))
    with closing(run_jobs(work, jobs, processes or len(os.sched_getaffinity(0)))) as done:
        for count, (index, result) in enumerate(done, 1):
            results[index] = result
            left = round((time.monotonic() - start) / count * (len(jobs) - count))
            time_left = f"{left // 60}:{left % 60:02d} left"
            print(f"[{count}/{len(jobs)}] {said(index, result)}  {time_left}", file=sys.stderr, flush=True)
    return results
