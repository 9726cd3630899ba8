"""The benchmark of color: what is asked for, checked, measured and told."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stpn.plugin.bench_files import rendered_color
from stpn.plugin.bench_work import INTERVALS, Done, common, measured, parsed, twice
from stpn.plugin.request import RequestError


def color_work(args: argparse.Namespace) -> Callable[[], Done]:
    """What is to be done for color, once it is checked.

    Raises:
        RequestError: what is wrong.
    """
    from stpn.engine.evaluation.baselines import BASELINES
    from stpn.engine.evaluation.color import Job, measure
    from stpn.engine.evaluation.methods import parse_method
    from stpn.engine.evaluation.plots import figures
    from stpn.engine.evaluation.summary import Summary
    from stpn.engine.evaluation.table import color_tables

    problems, sources, baselines = common(args, BASELINES, ["copy", "flow_both"])
    methods = parsed(args, parse_method, ["aligned"], problems)
    labels = [*baselines, *(method.label for method in methods)]
    problems += twice(labels)
    if args.worst < 0 or (args.worst and not args.plots):
        problems.append(f"--worst {args.worst}: expected 1 or more, and --plots FOLDER with it")
    if args.soft or args.photos:
        problems.append("--soft, --photos: expected none with --property color, they are for mask; leave them out")
    if problems:
        raise RequestError(*problems)
    intervals = sorted(set(args.interval or INTERVALS))

    def work() -> Done:
        def said(index: int, scores: Any) -> str:
            psnr = "  ".join(f"{score.label} {score.psnr:.2f}" for score in scores)
            return f"{jobs[index].source.name} K={jobs[index].interval}  {psnr} dB"

        with tempfile.TemporaryDirectory(prefix="stpn-bench-") as folder:
            render = partial(rendered_color, Path(folder)) if args.through_files else None
            jobs = [Job(source, k, baselines, methods, args.worst, render) for k in intervals for source in sources]
            done = measured(measure, jobs, args.jobs, said)
        summary = Summary([score for scores in done for score in scores], [s.name for s in sources], labels)
        report = {"through_files": args.through_files, **summary.report(baselines)}
        return color_tables(summary, baselines), report, partial(figures, summary, methods[0].label, args.worst)

    return work
