"""The benchmark of hdr and mask: what is asked for, checked, measured and told."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.evaluation.numbers import Numbers, mean_of_known
from stpn.plugin.bench_files import numbers_through_files
from stpn.plugin.bench_work import INTERVALS, Done, common, measured, parsed, twice
from stpn.plugin.request import RequestError

BySource = Mapping[str, Mapping[str, Any]]
"""By column, then by source: the numbers of a job."""


def numbers_work(args: argparse.Namespace) -> Callable[[], Done]:
    """What is to be done for hdr or mask, once it is checked.

    Raises:
        RequestError: what is wrong.
    """
    protocol = _protocol(args)
    problems, sources, baselines = common(args, protocol.BASELINES, protocol.BASELINES)
    methods = parsed(args, protocol.parse_method, protocol.METHODS[:1], problems)
    problems += _wrong_options(args, methods)
    photos = _photos(args)
    if args.soft and args.property == "mask" and not list(photos.glob("*.tar")):
        problems.append(f"--soft: expected tar files of photographs in {photos}, found none; name their --photos")
    problems += twice([*baselines, *(method.label for method in methods)])
    if problems:
        raise RequestError(*problems)
    if args.property == "hdr":
        intervals = sorted(set(args.interval or INTERVALS))
        plan = protocol.plan(sources, intervals, methods, baselines, read_panorama)
    elif args.soft:
        plan = protocol.plan(sources, photos, methods, baselines)
    else:
        plan = protocol.plan(sources, methods, baselines)

    def work() -> Done:
        jobs = [(column, job) for column, ones in plan.jobs.items() for job in ones]
        with tempfile.TemporaryDirectory(prefix="stpn-bench-") as folder:
            measure = protocol.measure
            if args.through_files:
                measure = partial(numbers_through_files, Path(folder), args.property)
            done = iter(measured(measure, [job for _, job in jobs], args.jobs, partial(_said, plan, jobs)))
        by_column = {column: [next(done) for _ in ones] for column, ones in plan.jobs.items()}
        means = plan.means(by_column)
        names = [source.name for source in sources]
        by_source = {
            column: {name: _known(plan, one) for name, one in zip(names, ones, strict=True)}
            for column, ones in by_column.items()
        }
        by_distance = {column: decays(plan, ones) for column, ones in by_column.items()}
        report = {
            "property": args.property, "soft": args.soft, "through_files": args.through_files, "mean": means,
            "by_source": by_source, "by_distance": by_distance,
        }  # fmt: skip
        return _tables(plan, means, by_source), report, partial(_figures, args.property, plan, by_source, by_distance)

    return work


def read_panorama(path: Path) -> NDArray[np.float32]:
    """Scene-linear RGB (H, W, 3) float32 of a panorama."""
    from stpn.ocio.plate import read_plate

    return read_plate(path).color()


def _protocol(args: argparse.Namespace) -> Any:
    """The module that knows what is measured, and how."""
    name = "soft_mattes" if args.soft and args.property == "mask" else args.property
    return import_module(f"stpn.engine.evaluation.{name}")


def _photos(args: argparse.Namespace) -> Path:
    """The folder of the photographs that soft mattes are cut out of: as given, or photos in the folder that the first
    list is relative to, or in that of the first clip's folder."""
    lists = [place for place in args.clips if place.suffix.lower() == ".json"]
    beside = lists[0].resolve().parent.parent / "data" if lists else args.clips[0].resolve().parent.parent
    data: Path = args.data or beside
    photos: Path = args.photos or data / "photos"
    return photos


def _wrong_options(args: argparse.Namespace, methods: Sequence[Any]) -> list[str]:
    problems = []
    for option, given, why in (
        ("--worst", args.worst, "it is for color"),
        ("--interval", args.property == "mask" and args.interval, "keys are as the protocol has them"),
        ("--soft", args.property == "hdr" and args.soft, "it is for mask"),
        ("--photos", args.photos and not args.soft, "it is for --property mask --soft"),
        ("--through-files", args.soft and args.through_files, "with --soft there is none yet"),
    ):
        if given:
            problems.append(f"{option}: expected none with --property {args.property}: {why}; leave it out")
    if args.through_files and not args.soft:
        from stpn.plugin.properties.kinds import KINDS

        known = KINDS[args.property].methods
        others = [method.label for method in methods if method.weights is None and method.kind not in known]
        if others:
            problems.append(
                f"--through-files: expected methods of stpn propagate --property {args.property}, {', '.join(known)}, "
                f"got {', '.join(others)}; leave one out"
            )
    return problems


def _said(plan: Any, jobs: Sequence[tuple[str, Any]], index: int, numbers: Any) -> str:
    """A job and its first number by each method and baseline, for the line of progress."""
    column, job = jobs[index]
    metric, (_, digits) = next(iter(plan.metrics.items()))
    found = ((label, numbers[label][metric]) for label in plan.labels)
    return f"{job.source.name} {column}  {metric} {'  '.join(f'{a} {v:{digits}}' for a, v in found if v is not None)}"


def _tables(plan: Any, means: Mapping[str, Any], by_source: BySource) -> str:
    """The means, then a table a column and metric with each source."""
    from stpn.engine.evaluation.table import aligned_columns, metric_tables

    sources = list(next(iter(by_source.values())))
    parts = [metric_tables(plan, means, len(sources))]
    for column, numbers in by_source.items():
        for metric, (title, digits) in plan.metrics.items():
            rows = [["", *plan.labels]]
            for source in sources:
                values = [numbers[source][label][metric] for label in plan.labels]
                rows.append([source, *("-" if value is None else f"{value:{digits}}" for value in values)])
            parts.append(f"{column}: {title} of each source\n{aligned_columns(rows)}")
    return "\n\n".join(parts)


def _known(plan: Any, numbers: Numbers) -> Numbers:
    """The numbers that tables show, without those by distance."""
    return {label: {metric: numbers[label][metric] for metric in plan.metrics} for label in plan.labels}


def decays(plan: Any, ones: Sequence[Numbers]) -> dict[str, dict[str, dict[int, float]]]:
    """By metric and label: the mean over the sources by the distance from the nearest key, ascending.

    Args:
        plan: what was measured.
        ones: numbers of each source; those at a distance are called METRIC@DISTANCE, such as log_rmse@3.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for label in plan.labels:
        names = {name for one in ones for name in one[label] if "@" in name}
        for name in sorted(names, key=lambda name: int(name.partition("@")[2])):
            metric, _, distance = name.partition("@")
            mean = mean_of_known(one[label].get(name) for one in ones)
            if mean is not None:
                found.setdefault(metric, {}).setdefault(label, {})[int(distance)] = mean
    return found


def _figures(
    prop: str,
    plan: Any,
    by_source: BySource,
    by_distance: Mapping[str, Mapping[str, Mapping[str, Mapping[int, float]]]],
) -> dict[str, Any]:
    from stpn.plugin.bench_figures import distance_figure, source_figure

    figures = {}
    for metric, (title, _) in plan.metrics.items():
        panels = {column: found[metric] for column, found in by_distance.items() if metric in found}
        if panels:
            over = f"{title}, over the distance from the nearest key, mean of the sources"
            figures[f"{metric}_over_distance"] = distance_figure(over, panels)
    sources = list(next(iter(by_source.values())))

    def values(column: str, metric: str) -> dict[str, list[float | None]]:
        return {label: [by_source[column][source][label][metric] for source in sources] for label in plan.labels}

    if prop == "hdr":
        for metric, (title, _) in plan.metrics.items():
            bars = {column: values(column, metric) for column in by_source}
            figures[f"{metric}_by_source"] = source_figure(f"{title} of each source", sources, bars)
    else:
        for column in by_source:
            bars = {title: values(column, metric) for metric, (title, _) in plan.metrics.items()}
            name = "by_sequence" if len(by_source) == 1 else f"by_sequence_{column.replace('=', '').replace(' ', '_')}"
            figures[name] = source_figure(f"Each sequence, {column}", sources, bars)
    return figures
