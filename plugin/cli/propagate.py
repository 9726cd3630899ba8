"""`stpn propagate`: carry color, HDR radiance, mattes or any channels from key frames through a plate."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from stpn.plugin.request import CHANNEL_CURVES, DEVICES, KEYS_USED, MASK_OUTPUTS, METHODS, PROPERTIES, Request

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


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
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
    frames.add_argument("--skip-existing", action="store_true", help="leave results that are there and whole")

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
        "a farm, run one chunk first. Needs three keys in one shot. Of mattes: steps alone, such as 80steps; one key "
        "is enough, every run and every chunk adapts anew from all keys, to the same weights, and no file is written",
    )
    how.add_argument("--device", choices=DEVICES, default="auto", help="what to run on (default: auto)")
    how.add_argument("--threads", type=int, default=0, metavar="N", help="at most so many (default: all processors)")
    how.add_argument("--json", action="store_true", help="one JSON object a frame on stdout, in place of the progress")


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
    cancelled = threading.Event()
    with _interruptible(cancelled):
        from stpn.plugin.progress import Progress, Status
        from stpn.plugin.render import Cancelled, RenderError, prepare, render
        from stpn.plugin.shot import check

        shot = check(Request(**{field.name: getattr(args, field.name) for field in fields(Request)}))
    for decision in shot.decisions:
        print(decision, file=sys.stderr)
    # a second Ctrl-C interrupts at once; files are put in place whole, so nothing half-written stays either way
    previous = signal.signal(signal.SIGINT, lambda *_: _cancel(cancelled, previous))
    progress = Progress(len(shot.frames), sys.stderr)
    noted: set[str] = set()
    try:
        shot = prepare(shot, cancelled, Status(sys.stderr))
        progress = Progress(len(shot.frames), sys.stderr)
        for frame in render(shot, cancelled):
            for note in frame.notes:
                if note not in noted:
                    noted.add(note)
                    progress.say(note)
            progress.step(frame.frame)
            if args.json:
                print(
                    json.dumps(
                        {
                            "frame": frame.frame,
                            "path": str(frame.path),
                            "status": frame.status,
                            "keys": frame.keys,
                            "confidence": None if frame.confidence is None else round(frame.confidence, 4),
                            "seconds": round(frame.seconds, 4),
                            "notes": frame.notes,
                        }
                    ),
                    flush=True,
                )
    except Cancelled:
        progress.close()
        print("stpn propagate: cancelled; the frames that are there are whole", file=sys.stderr)
        return 130
    except RenderError as error:
        progress.close()
        print(f"stpn propagate: {error}", file=sys.stderr)
        if args.debug:
            raise
        return 1
    finally:
        signal.signal(signal.SIGINT, previous)
    progress.close()
    if not args.json:
        print(f"{len(shot.frames)} frames: {shot.output.pattern}")
    return 0


@contextmanager
def _interruptible(cancelled: threading.Event) -> Iterator[None]:
    """Ctrl-C ends what is within, at its end at the latest: a library that is being imported may swallow the
    exception."""

    def interrupt(*_: object) -> None:
        cancelled.set()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if cancelled.is_set():
        raise KeyboardInterrupt


def _cancel(cancelled: threading.Event, previous: object) -> None:
    cancelled.set()
    signal.signal(signal.SIGINT, previous)  # type: ignore[arg-type]
