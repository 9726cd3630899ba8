"""`stpn bench`: how good the methods are, measured on clips whose truth is known, and how fast."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stpn.plugin.bench_speed import PARTS
from stpn.plugin.request import DEVICES

HELP = "measure quality on clips whose truth is known, and speed"

DESCRIPTION = """\
Measures how good the methods are, and how fast.

    stpn bench quality   PSNR, confidence and style on clips, against baselines
    stpn bench speed     the operator, the networks, whole methods, on this machine"""

_SPEED_TEXT = """\
Times, in turns within one run and after a check that values are right:

operator   the propagation against a copy of as many bytes and against a plain loop over columns; on a GPU with the
           package triton, against the same written in Triton
network    the paper's networks at 512 x 512, beside the paper's own times; on a GPU as CUDA graphs and kernel by
           kernel; with --device tensorrt in an engine, copies to and from the GPU included
method     a frame of flow and of aligned, its share of the motion between keys included; no files

Pictures and weights of operator and network are random."""

_QUALITY_TEXT = """\
Takes color, radiance or masks away but for the keys, carries them, and measures every other frame.

    stpn bench quality clip.mp4 --interval 20 --method aligned flow
    stpn bench quality validation.json --method stpn BTPN=basic.safetensors --json scores.json --plots plots
    stpn bench quality validation.json --property mask --method aligned flow seg_ts

CLIPS are videos, folders of numbered 8-bit pictures, folders of such, or JSON lists: an object with a list of paths for
each property. Pictures are reduced to a long side of 512 pixels.

color  The paper's Table 2. Keys are frame 0, K, 2K ...; RMSE and PSNR = 20 log10(255 / RMSE) of 8-bit sRGB, mean over
       the frames that are no keys, then over clips. Also: what the confidence is worth; whether the style (the Gram
       matrix of ab) is kept; for the paper's networks how far G is from orthogonal. In memory unless --through-files.
hdr    Table 3, on shots in panoramas (.exr, .hdr): RMSE of ln(H + 0.01) over all and over clipped pixels, PU21-PSNR;
       baselines with and without blending with the camera's picture.
mask   Table 4, on folders with frames.mp4 (or frames/) and masks/: J and F; the first frame is the key. With
       --soft CLIPS are those of color, shots of what is cut out of photographs lie over them, and SAD is measured.

Methods: those of stpn propagate; LABEL=FILE.safetensors is the one that the weights are of. mask has the paper's seg_t
and seg_ts too.
Baselines: copy, the nearest key as it is; flow_one, moved by optical flow; flow_both, both keys by direct and
accumulated flow, blended; grabcut (mask), moved from frame to frame, its edge snapped to the picture."""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    what = parser.add_subparsers(dest="bench", metavar="WHAT", required=True)
    look: Any = {"epilog": parser.epilog, "formatter_class": parser.formatter_class}
    quality = what.add_parser(
        "quality", help="how good methods are on clips whose truth is known", description=_QUALITY_TEXT, **look
    )
    add = quality.add_argument
    add("clips", nargs="+", type=Path, metavar="CLIPS", help="what to measure on")
    add("--property", choices=("color", "hdr", "mask"), default="color", help="what is carried (default: color)")
    add("--interval", type=int, nargs="+", metavar="K", help="frames from key to key (default: 10 20 30 40)")
    add("--method", nargs="+", metavar="M", help="what is measured (default: aligned)")
    add("--baseline", nargs="+", metavar="B", help="against what (default: copy flow_both; for hdr and mask all)")
    add("--soft", action="store_true", help="mask: measure soft mattes, cut out of photographs over CLIPS")
    add("--photos", type=Path, metavar="DIR", help="of --soft: tar files of photographs (default: photos in the data)")
    add("--data", type=Path, metavar="DIR", help="paths of a list are relative to it (default: ../data of its folder)")
    add("--through-files", action="store_true", help="write files, run stpn propagate, measure its EXR")
    add("--jobs", type=int, default=0, metavar="N", help="clips at a time, a core each (default: all processors)")
    add("--json", type=Path, metavar="FILE", help="also write the numbers here; of color those of each frame too")
    add("--plots", type=Path, metavar="FOLDER", help="also draw: numbers over the distance from the key, by clip or "
        "source, error by confidence")  # fmt: skip
    add("--worst", type=int, default=0, metavar="N", help="with --plots: the first method's N worst frames at each K, "
        "no two of them between the same keys")  # fmt: skip

    speed = what.add_parser(
        "speed", help="how fast operator, networks and methods are", description=_SPEED_TEXT, **look
    )
    add = speed.add_argument
    add("--part", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured (default: all)")
    add("--size", nargs="+", default=["1080p"], metavar="S", help="of method: 1080p, 4K (default: 1080p)")
    add("--device", choices=DEVICES, default="auto", help="what networks and operator run on (default: auto)")
    add("--threads", type=int, default=0, metavar="N", help="at most so many (default: all processors)")
    add("--rounds", type=int, default=10, metavar="N", help="turns (default: 10)")
    add("--json", type=Path, metavar="FILE", help="also write all times here, with the machine")


def run(args: argparse.Namespace) -> int:
    """Checks the request, measures, prints."""
    return _speed(args) if args.bench == "speed" else _quality(args)


def _speed(args: argparse.Namespace) -> int:
    from stpn.engine.evaluation.speed import WrongError
    from stpn.plugin.bench_speed import measured

    try:
        tables, report = measured(args)
    except WrongError as error:
        print(f"stpn bench: {error}", file=sys.stderr)
        return 1
    if args.json:
        _write(args.json, lambda path: path.write_text(json.dumps(report, indent=1), encoding="utf-8"))
    print(tables)
    return 0


def _quality(args: argparse.Namespace) -> int:
    from stpn.engine.evaluation.clips import ClipError
    from stpn.engine.evaluation.workers import WorkerDied
    from stpn.engine.properties.response import ResponseError
    from stpn.ocio.plate import PlateError
    from stpn.plugin.bench_color import color_work
    from stpn.plugin.bench_files import BenchError
    from stpn.plugin.bench_numbers import numbers_work

    work = color_work(args) if args.property == "color" else numbers_work(args)
    tables, code = "", 1
    try:
        tables, report, draw = work()
        if args.json:
            _write(args.json, lambda path: path.write_text(json.dumps(report, indent=1), encoding="utf-8"))
        for name, figure in draw().items() if args.plots else ():
            args.plots.mkdir(parents=True, exist_ok=True)
            _write(args.plots / f"{name}.png", figure.savefig)
        code = 0
    except WorkerDied:
        print("stpn bench: a process died, likely for lack of memory; use fewer --jobs", file=sys.stderr)
    except (BenchError, ClipError, PlateError, ResponseError, OSError, MemoryError) as error:
        print(f"stpn bench: {error or 'out of memory'}", file=sys.stderr)
        if args.debug:
            raise
    if tables:  # hours of work are not lost where they cannot be written
        print(tables)
    return code


def _write(path: Path, write: Callable[[Path], object]) -> None:
    from stpn.ocio.atomic import written_whole

    with written_whole(path) as temporary:
        write(temporary)
