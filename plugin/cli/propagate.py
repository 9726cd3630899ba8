"""`stpn propagate`: carry color, HDR radiance, mattes or any channels from key frames through a plate."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from stpn.engine.stages import listened
from stpn.plugin.cli.stopping import Stop, stopping
from stpn.plugin.profile import Stopwatch, refuse_profile
from stpn.plugin.progress import STYLES, Progress, Status, stream_of, tell_failure
from stpn.plugin.report import Report, described
from stpn.plugin.request import (
    CHANNEL_CURVES,
    DEVICES,
    KEYS_USED,
    MASK_OUTPUTS,
    METHODS,
    PROPERTIES,
    Request,
    RequestError,
    listed,
)

if TYPE_CHECKING:
    from stpn.plugin.shot import Shot

HELP = "carry color, radiance, mattes or channels from key frames through a plate"

DESCRIPTION = """\
Carries what a few key frames hold to every frame between. The plate gives the motion, the keys give the property, and
a key frame comes out as the key that was given, bit for bit.

    color      the plate's luminance with the colors of the keys
    hdr        the light of HDR keys where an 8 to 16-bit or clipped plate has lost it
    mask       mattes, from one key or several; by default a file of the mattes alone
    channels   any channels by name, such as depth, normals, motion or another layer

Everything of the plate's file that was not asked for stays as it is: other layers, channels, attributes, windows.

    stpn propagate --plate plate.####.exr --keys keys.####.exr --interval 20 --output result.####.exr
    stpn propagate --property hdr --plate plate.####.png --keys hdr.####.exr --output result.####.exr
    stpn propagate --property mask --plate plate.####.exr --keys matte.####.png --output matte_out.####.png
    stpn propagate --property channels --channels depth.Z,N.* --plate p.####.exr --keys k.####.exr --output o.####.exr

The whole request is checked first; where something is wrong nothing is written. Frame numbers are those of the files;
#### and %04d both stand for them. Ranges are typed 1001-1100, 1001-1100x20, or 1001-1010,1020;
negative ones need an equals sign: --frames=-5--1."""

_ANALYSIS = (
    "what `stpn analyse` has found in the whole plate, so that a chunk need not look for cuts again; the pictures are "
    "the same without it"
)


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    how = setup_request(parser)
    setup_progress(how)
    how.add_argument("--json", action="store_true", help="one JSON object a frame on stdout, in place of the progress")
    how.add_argument(
        "--profile",
        nargs="?",
        const="",
        metavar="FILE.json",
        help="say where the time went, stage by stage, and the most memory that was taken; with a name also as JSON",
    )
    how.add_argument(
        "--report", metavar="FILE.json", help="what was asked, decided and done, frame by frame, also after a failure"
    )


def setup_progress(group: argparse._ArgumentGroup) -> None:
    """Adds how progress is told, which is no part of the request."""
    group.add_argument(
        "--progress",
        choices=STYLES,
        default="auto",
        help="how progress is told: a bar or lines on stderr, as that is a terminal or not (auto), or on stdout what "
        "Open Job Description or Deadline 10 reads (default: auto)",
    )


def setup_request(parser: argparse.ArgumentParser, analysis: str = _ANALYSIS) -> argparse._ArgumentGroup:
    """Adds the options that make a request, one for each field of `Request`; returns the last group.

    Args:
        parser: of the command.
        analysis: what is said of --analysis.
    """
    files = parser.add_argument_group("what goes in and out")
    files.add_argument("--plate", required=True, metavar="P.####.exr", help="the guidance plate: every frame")
    files.add_argument("--keys", required=True, metavar="K.####.exr", help="the key frames, numbered as the plate")
    files.add_argument(
        "--output",
        required=True,
        metavar="O.####.exr",
        help="the results: .exr; of color the plate's format too, of mattes PNG or TIFF as the keys are",
    )
    files.add_argument("--confidence", metavar="C.####.exr", help="also write how sure each pixel is, 0..1, in grey")
    files.add_argument(
        "--property", choices=PROPERTIES, default="color", help="what is carried, see above (default: color)"
    )

    frames = parser.add_argument_group("frames")
    frames.add_argument(
        "--interval", type=int, metavar="K", help="a key every K frames (default: every key file there is)"
    )
    frames.add_argument(
        "--first-key", type=int, metavar="N", help="frame of the first key (default: the first key file)"
    )
    frames.add_argument("--key-frames", metavar="RANGE", help="the key frames, in place of an interval")
    frames.add_argument("--frames", metavar="RANGE", help="the frames to render (default: the whole plate)")
    frames.add_argument(
        "--keys-used", choices=KEYS_USED, default="both", help="which keys around a frame serve it (default: both)"
    )
    frames.add_argument(
        "--cuts",
        default="auto",
        metavar="auto|none|RANGE",
        help="where new shots begin, across which no key serves: auto looks for it; none; or the first frame of each, "
        "such as 1041,1093 (default: auto)",
    )
    frames.add_argument("--analysis", metavar="FILE", help=analysis)
    frames.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave results that are there, whole, and what this request would make of these inputs",
    )
    frames.add_argument(
        "--keep-going", action="store_true", help="where a frame fails, still make the others; the exit code is 1 then"
    )

    look = parser.add_argument_group("color")
    look.add_argument(
        "--colorspace", default="auto", metavar="NAME", help="color space of the plate (default: auto, from the file)"
    )
    look.add_argument(
        "--keys-colorspace", default="auto", metavar="NAME", help="color space of the keys (default: auto)"
    )
    look.add_argument("--ocio", metavar="FILE", help="OCIO config (default: $OCIO, else a built-in ACES config)")
    look.add_argument(
        "--working",
        default="linear",
        metavar="CURVE",
        help="curve in which frames are matched: linear (CIE lightness of scene-linear light), or a log space of the "
        "config, such as ACEScct, for plates far beyond white (default: linear)",
    )
    look.add_argument(
        "--compression", default="keep", metavar="NAME", help="EXR compression (default: keep the plate's)"
    )

    _setup_properties(parser)

    how = parser.add_argument_group("how")
    how.add_argument(
        "--method",
        choices=("auto", *METHODS),
        default="auto",
        help="aligned: the best there is: motion of both keys, weighed, matched and filled in by a network; flow: "
        "motion of both keys, without learning; stpn: the paper's network alone, from the nearest key "
        "(default: auto: aligned, of channels flow)",
    )
    how.add_argument("--weights", metavar="FILE", help="weights of the method's network (default: those shipped)")
    how.add_argument(
        "--adapt",
        metavar="AMOUNT",
        help="first fine-tune the network on this shot's own keys, each predicted from its neighbours, for so many "
        "minutes beside what motion takes; how many steps fit depends on the machine, 300steps does not. Keys held "
        "aside tell whether the result is better; if not, the weights stay. It goes beside the output, "
        "result.adapted.safetensors for result.####.exr, and runs with --adapt on the same keys take it from there: on "
        "a farm, run stpn analyse first. Needs three keys in one shot. Of mattes: steps alone, such as 80steps; one "
        "key is enough, every run and every chunk adapts anew from all keys, to the same weights, unless --analysis "
        "brings them, and no file is written",
    )
    how.add_argument("--device", choices=DEVICES, default="auto", help="what to run on (default: auto)")
    how.add_argument("--threads", type=int, default=0, metavar="N", help="at most so many (default: all processors)")
    how.add_argument(
        "--memory",
        type=float,
        default=0.0,
        metavar="GIB",
        help="about so much at most; fewer frames are worked on at once where they are large (default: half of the "
        "memory there is)",
    )
    return how


def request_of(args: argparse.Namespace) -> Request:
    """The request that was typed."""
    return Request(**{field.name: getattr(args, field.name) for field in fields(Request)})


def _setup_properties(parser: argparse.ArgumentParser) -> None:
    """Adds the options that go with one property."""
    hdr = parser.add_argument_group("hdr")
    hdr.add_argument(
        "--ldr-curve",
        metavar="NAME",
        help="color space of the plate, where it is known (default: the camera's curve is fitted to the keys)",
    )
    hdr.add_argument(
        "--hdr-colorspace",
        metavar="NAME",
        help="scene-linear color space of the results (default: the keys' own light)",
    )
    mask = parser.add_argument_group("mask")
    mask.add_argument(
        "--mask-labels",
        action="store_true",
        help="keys hold object numbers in place of mattes: 0 background, 1 to 255 objects, and so do the results",
    )
    mask.add_argument(
        "--mask-output",
        choices=MASK_OUTPUTS,
        default="alone",
        help="alone: a file of the mattes only; plate: the mattes in a copy of the plate's file (default: alone)",
    )
    channels = parser.add_argument_group("channels")
    channels.add_argument(
        "--channels",
        metavar="PATTERNS",
        help="the channels to carry, such as depth.Z,N.*; of a file of several parts also as part/channel",
    )
    channels.add_argument(
        "--channels-curve",
        choices=CHANNEL_CURVES,
        default="linear",
        help="curve in which values are blended; log for depth and light of a wide range (default: linear)",
    )


def run(args: argparse.Namespace) -> int:
    """Checks the request, renders, reports."""
    refuse_profile(args.profile)
    if args.profile is None:
        return _run(args)
    with listened() as stages:
        watch = Stopwatch()
        code = _run(args)
        profile = watch.profile(stages, stages.by_name["write"].calls if "write" in stages.by_name else 0)
    print(profile.table(), file=sys.stderr)
    if args.profile:
        profile.write(Path(args.profile))
    return code


def _run(args: argparse.Namespace) -> int:
    report = Report(Path(args.report) if args.report is not None else None, request_of(args))
    with stopping() as stop:
        try:
            with stop.interrupting():
                from stpn.plugin.shot import check

                shot = check(request_of(args))
                report.checked(shot)
                report.begin()
        except RequestError as error:
            report.end("refused", 2, error)
            raise
        except KeyboardInterrupt as interrupted:
            report.end("cancelled", getattr(interrupted, "code", 130), "cancelled")
            raise
        for decision in shot.decisions:
            print(decision, file=sys.stderr)
        return _rendered(args, shot, stop, report)


def _rendered(args: argparse.Namespace, shot: Shot, stop: Stop, report: Report) -> int:
    """Renders a shot, tells what becomes of it, and returns the exit code."""
    from stpn.plugin.render import Cancelled, RenderError, prepare, render

    stream = stream_of(args.progress, results=args.json)
    progress = Progress(len(shot.frames), stream, args.progress)
    noted: set[str] = set()
    status, code, problems = "failed", 1, list[str]()
    try:
        shot = prepare(shot, stop.asked, Status(stream, args.progress))
        report.checked(shot)
        progress = Progress(len(shot.frames), stream, args.progress)
        for frame in render(shot, stop.asked):
            report.add(frame)
            for note in frame.notes:
                if note not in noted:
                    noted.add(note)
                    progress.say(note)
            if frame.error is not None:
                progress.say(f"stpn propagate: {frame.error}")
            progress.step(frame.frame)
            if args.json:
                print(json.dumps(described(frame)), flush=True)
        status, code, problems = _ended(report)
    except Cancelled:
        status, code = "cancelled", stop.code
        problems = ["cancelled; the frames that are there are whole"]
    except RenderError as error:
        problems = [str(error)]
        report.failed(error)
        if args.debug:
            raise
    except BaseException as error:  # which nobody foresaw, so its traceback is shown too
        problems = [f"{type(error).__name__}: {error}"]
        raise
    finally:
        progress.close()
        code = report.end(status, code, *problems)
    for problem in problems:
        print(f"stpn propagate: {problem}", file=sys.stderr)
    if status == "failed":
        tell_failure("; ".join(problems), stream, args.progress)
    elif status == "done" and not args.json:
        print(f"{len(shot.frames)} frames: {shot.output.pattern}")
    return code


def _ended(report: Report) -> tuple[str, int, list[str]]:
    """Status, exit code and problems of a run that came to its end."""
    failed = report.failed_frames
    if not failed:
        return "done", 0, []
    return "failed", 1, [f"failed: frames {listed(failed)}; the others are there; run again with --skip-existing"]
