"""`stpn bench`: how good the methods are, measured on clips whose truth is known."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stpn.plugin.request import RequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stpn.engine.evaluation.clips import Source
    from stpn.engine.evaluation.color import ColorClip, Result
    from stpn.engine.evaluation.methods import Method

HELP = "measure quality on clips whose truth is known"

DESCRIPTION = """\
Measures how good the methods are.

    stpn bench quality   PSNR, confidence and style on clips, against baselines"""

_QUALITY = """\
Takes the color of clips away but for a key every K frames, carries it, and measures every other frame.

    stpn bench quality clip.mp4 --interval 20 --method aligned flow
    stpn bench quality validation.json --method stpn BTPN=basic.safetensors --json scores.json --plots plots

CLIPS are videos, folders of numbered 8-bit pictures, folders of such, or JSON lists: an object with a list of paths for
each property. Pictures are reduced to a long side of 512 pixels.

color  The paper's Table 2. Keys are frame 0, K, 2K ...; RMSE and PSNR = 20 log10(255 / RMSE) of 8-bit sRGB, mean over
       the frames that are no keys, then over clips. Also: what the confidence is worth; whether the style (the Gram
       matrix of ab) is kept; for the paper's networks how far G is from orthogonal. In memory unless --through-files.
hdr    Table 3, on shots in panoramas (.exr, .hdr): RMSE of ln(H + 0.01) over all and over clipped pixels, PU21-PSNR;
       with and without blending with the camera's picture. Baselines only.
mask   Table 4, on folders with frames.mp4 (or frames/) and masks/: J and F; the first frame is the key. Baselines only.

Methods: those of stpn propagate; LABEL=FILE.safetensors is the one, aligned or stpn, that the weights are of.
Baselines: copy, the nearest key as it is; flow_one, moved by optical flow; flow_both, both keys by direct and
accumulated flow, blended; grabcut (mask), moved from frame to frame, its edge snapped to the picture."""

_INTERVALS = (10, 20, 30, 40)
Done = tuple[str, dict[str, Any], Callable[[], dict[str, Any]]]
"""Tables as text, the numbers for JSON, and what draws the figures."""

_STPN = "import sys; from stpn.plugin.cli import main; sys.exit(main())"


class BenchError(Exception):
    """A render failed."""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    what = parser.add_subparsers(dest="bench", metavar="WHAT", required=True)
    quality = what.add_parser(
        "quality", help=HELP, description=_QUALITY, epilog=parser.epilog, formatter_class=parser.formatter_class
    )
    add = quality.add_argument
    add("clips", nargs="+", type=Path, metavar="CLIPS", help="what to measure on")
    add("--property", choices=("color", "hdr", "mask"), default="color", help="what is carried (default: color)")
    add("--interval", type=int, nargs="+", metavar="K", help="frames from key to key (default: 10 20 30 40)")
    add("--method", nargs="+", metavar="M", help="what is measured (default: aligned)")
    add("--baseline", nargs="+", metavar="B", help="against what (default: copy flow_both; for hdr and mask all)")
    add("--data", type=Path, metavar="DIR", help="paths of a list are relative to it (default: ../data of its folder)")
    add("--through-files", action="store_true", help="write EXR, run stpn propagate, measure its EXR")
    add("--jobs", type=int, default=0, metavar="N", help="clips at a time, a core each (default: all processors)")
    add("--json", type=Path, metavar="FILE", help="also write the numbers here, those of each frame too")
    add("--plots", type=Path, metavar="FOLDER", help="also draw: PSNR over distance, by clip, error by confidence")
    add("--worst", type=int, default=0, metavar="N", help="with --plots: the first method's N worst frames at each K, "
        "no two of them between the same keys")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Checks the request, measures, prints."""
    from concurrent.futures.process import BrokenProcessPool

    from stpn.engine.evaluation.clips import ClipError
    from stpn.ocio.plate import PlateError

    work = _color(args) if args.property == "color" else _others(args)
    tables, code = "", 1
    try:
        tables, report, draw = work()
        if args.json:
            _write(args.json, lambda path: path.write_text(json.dumps(report, indent=1), encoding="utf-8"))
        for name, figure in draw().items() if args.plots else ():
            args.plots.mkdir(parents=True, exist_ok=True)
            _write(args.plots / f"{name}.png", figure.savefig)
        code = 0
    except BrokenProcessPool:
        print("stpn bench: a process died, likely for lack of memory; use fewer --jobs", file=sys.stderr)
    except (BenchError, ClipError, PlateError, OSError, MemoryError) as error:
        print(f"stpn bench: {error or 'out of memory'}", file=sys.stderr)
        if args.debug:
            raise
    if tables:  # hours of work are not lost where they cannot be written
        print(tables)
    return code


def _color(args: argparse.Namespace) -> Callable[[], Done]:
    """What is to be done for color, once it is checked."""
    from stpn.engine.evaluation.baselines import BASELINES
    from stpn.engine.evaluation.color import Job, measure
    from stpn.engine.evaluation.methods import MethodError, parse_method
    from stpn.engine.evaluation.plots import figures
    from stpn.engine.evaluation.summary import Summary
    from stpn.engine.evaluation.table import color_tables

    problems, sources, baselines = _common(args, BASELINES, ["copy", "flow_both"])
    methods: list[Method] = []
    for text in dict.fromkeys(args.method or ["aligned"]):
        try:
            methods.append(parse_method(text))
        except MethodError as error:
            problems.append(str(error))
    labels = [*baselines, *(method.label for method in methods)]
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        problems.append(f"--method: expected a label for each, got {label!r} twice; use another LABEL=FILE")
    own = [method.label for method in methods if method.weights is not None]
    if args.through_files and own:
        problems.append(f"--through-files: expected methods of stpn propagate, got {', '.join(own)}; leave one out")
    if args.worst < 0 or (args.worst and not args.plots):
        problems.append(f"--worst {args.worst}: expected 1 or more, and --plots FOLDER with it")
    if problems:
        raise RequestError(*problems)
    intervals = sorted(set(args.interval or _INTERVALS))

    def work() -> Done:
        def said(index: int, scores: Any) -> str:
            psnr = "  ".join(f"{score.label} {score.psnr:.2f}" for score in scores)
            return f"{jobs[index].source.name} K={jobs[index].interval}  {psnr} dB"

        with tempfile.TemporaryDirectory(prefix="stpn-bench-") as folder:
            render = partial(_rendered, Path(folder)) if args.through_files else None
            jobs = [Job(source, k, baselines, methods, args.worst, render) for k in intervals for source in sources]
            done = _measured(measure, jobs, args.jobs, said)
        summary = Summary([score for scores in done for score in scores], [s.name for s in sources], labels)
        report = {"through_files": args.through_files, **summary.report(baselines)}
        return color_tables(summary, baselines), report, partial(figures, summary, methods[0].label, args.worst)

    return work


def _others(args: argparse.Namespace) -> Callable[[], Done]:
    """The same for hdr and mask."""
    from stpn.engine.evaluation import hdr, mask
    from stpn.engine.evaluation.table import metric_tables

    protocol: Any = hdr if args.property == "hdr" else mask
    problems, sources, baselines = _common(args, protocol.BASELINES, protocol.BASELINES)
    for option, given in (
        ("--method", args.method), ("--through-files", args.through_files), ("--plots", args.plots),
        ("--worst", args.worst), ("--interval", args.interval if args.property == "mask" else None),
    ):  # fmt: skip
        if given:
            why = "its key is the first frame" if option == "--interval" else "there are baselines only so far"
            problems.append(f"{option}: expected none with --property {args.property}: {why}; leave it out")
    if problems:
        raise RequestError(*problems)
    intervals = sorted(set(args.interval or _INTERVALS))
    plan: Any = mask.plan(sources, baselines)
    if args.property == "hdr":
        plan = hdr.plan(sources, intervals, baselines, read_panorama)

    def work() -> Done:
        jobs = [job for ones in plan.jobs.values() for job in ones]
        done = iter(_measured(protocol.measure, jobs, args.jobs, lambda index, _: jobs[index].source.name))
        measured = {column: [next(done) for _ in ones] for column, ones in plan.jobs.items()}
        means = plan.means(measured)
        names = [source.name for source in sources]
        by_source = {column: dict(zip(names, ones, strict=True)) for column, ones in measured.items()}
        report = {"property": args.property, "mean": means, "by_source": by_source}
        return metric_tables(plan, means, len(sources)), report, dict

    return work


def _common(
    args: argparse.Namespace, known: Sequence[str], default: Sequence[str]
) -> tuple[list[str], list[Source], list[str]]:
    """What is wrong with the options that all properties share; the sources; the baselines."""
    from stpn.engine.evaluation.clips import ClipError, find_sources

    problems: list[str] = []
    sources: list[Source] = []
    try:
        sources = find_sources(args.clips, args.property, args.data)
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


def _measured(work: Callable[[Any], Any], jobs: Sequence[Any], processes: int, said: Callable[[int, Any], str]) -> Any:
    """The results of all jobs in their order; a line of progress each."""
    from stpn.engine.evaluation.workers import run as run_jobs

    start, results = time.monotonic(), list[Any]([None] * len(jobs))
    with closing(run_jobs(work, jobs, processes or len(os.sched_getaffinity(0)))) as done:
        for count, (index, result) in enumerate(done, 1):
            results[index] = result
            left = round((time.monotonic() - start) / count * (len(jobs) - count))
            time_left = f"{left // 60}:{left % 60:02d} left"
            print(f"[{count}/{len(jobs)}] {said(index, result)}  {time_left}", file=sys.stderr, flush=True)
    return results


def _write(path: Path, write: Callable[[Path], object]) -> None:
    from stpn.ocio.atomic import written_whole

    with written_whole(path) as temporary:
        write(temporary)


def read_panorama(path: Path) -> NDArray[np.float32]:
    """Scene-linear RGB (H, W, 3) float32 of a panorama."""
    from stpn.ocio.plate import read_plate

    return read_plate(path).color()


def _rendered(root: Path, clip: ColorClip, interval: int, method: Method) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield from through_files(clip, interval, method, Path(folder))


def through_files(clip: ColorClip, interval: int, method: Method, folder: Path) -> Iterator[Result]:
    """Results by way of EXR files and `stpn propagate`, a process of its own.

    Args:
        clip: what.
        interval: frames from key to key.
        method: of stpn propagate.
        folder: where guide/, keys/, result/ and confidence/ go.

    Raises:
        BenchError: the command fails, or gives what is no number.
        PlateError: a file cannot be written or read.
    """
    import numpy as np

    from stpn.engine.evaluation.color import Result, rgb_to_lab
    from stpn.ocio.plate import new_plate, read_plate, write_plate
    from stpn.ocio.primaries import REC709
    from stpn.plugin.display import srgb_encoded

    def pattern(name: str, frame: str = "####") -> Path:
        return folder / name / f"{name}.{frame}.exr"

    def write(name: str, frame: int, rgb: NDArray[np.float32]) -> None:  # sRGB in, linear out
        high = ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4
        linear = np.where(rgb <= 0.04045, rgb / 12.92, high).astype(np.float32)
        channels = {channel: np.ascontiguousarray(linear[..., i]) for i, channel in enumerate("RGB")}
        path = pattern(name, f"{frame:04d}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_plate(path, new_plate(channels, attributes={"chromaticities": REC709.chromaticities}))

    for frame in range(len(clip)):
        write("guide", frame, clip.grey(frame))
        if frame % interval == 0:
            write("keys", frame, clip.frames[frame] / np.float32(255))
    command = [
        sys.executable, "-c", _STPN, "propagate", "--plate", pattern("guide"), "--keys", pattern("keys"),
        "--interval", interval, "--output", pattern("result"), "--confidence", pattern("confidence"),
        "--method", method.kind, "--threads", 1,
    ]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{clip.name}: stpn propagate ended with exit code {done.returncode}\n{done.stderr}")
    for frame in range(len(clip)):
        if frame % interval:
            linear = read_plate(pattern("result", f"{frame:04d}")).color()
            if not np.isfinite(linear).all():
                raise BenchError(f"{clip.name}: expected finite results, frame {frame} has pixels that are not")
            shown = srgb_encoded(linear)
            sure = read_plate(pattern("confidence", f"{frame:04d}")).pixels("confidence").astype(np.float32)
            yield Result(frame, np.rint(shown).astype(np.uint8), rgb_to_lab(shown / np.float32(255))[..., 1:], sure)
