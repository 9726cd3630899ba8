"""`stpn convert`: the headless EXR conversion."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn.ocio.convert import ConvertedFile, ConvertRequest
    from stpn.plugin.progress import Progress

HELP = "convert EXR, DPX, TIFF, PNG: color space, view, compression, type, size"

DESCRIPTION = """\
Converts pictures and sequences of pictures. Only color is transformed: red, green and blue of each layer; alpha, depth,
IDs, cryptomattes, normals, motion, positions and UVs are left alone, told from their names and types. All parts,
channels, attributes and windows come out as they went in, and what the file says of its color is made true.

    stpn convert in.####.exr out.####.exr --from ACEScg --to ACES2065-1
    stpn convert in.####.exr out.####.dpx --to "ARRI LogC4" --type 10
    stpn convert in.exr out.png --display "sRGB - Display" --view "ACES 2.0 - SDR 100 nits (Rec.709)"
    stpn convert in.####.exr out.####.exr --compression dwaa:45 --check
    stpn convert in.####.exr small.####.exr --crop display --resize 50% --frames 1001-1100x2

The whole request is checked first, every file is inspected; where something is wrong nothing is written. #### and %04d
both stand for frame numbers, which stay. A name without either is one picture."""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    from stpn.plugin.progress import STYLES

    parser.add_argument("source", metavar="IN.####.exr", help="what is converted: EXR, DPX, TIFF, PNG, HDR, JPEG")
    parser.add_argument("target", metavar="OUT.####.exr", help="the results; the extension decides the format")

    color = parser.add_argument_group("color")
    color.add_argument("--from", dest="from_space", metavar="SPACE", help="space of IN (default: told from the file)")
    color.add_argument("--to", dest="to_space", metavar="SPACE", help="space wanted (default: color stays)")
    color.add_argument("--look", metavar="LOOKS", help="looks of the config: grade, or '+grade, -other'")
    color.add_argument("--display", metavar="DISPLAY", help="a display of the config, with --view in place of --to")
    color.add_argument("--view", metavar="VIEW", help="one of its views")
    color.add_argument("--ocio", metavar="FILE", help="OCIO config (default: $OCIO, else a built-in ACES config)")
    color.add_argument(
        "--no-unpremultiply",
        dest="unpremultiply",
        action="store_false",
        help="do not divide color by its alpha around transforms that are no matrix",
    )

    what = parser.add_argument_group("what is converted")
    what.add_argument("--frames", metavar="RANGE", help="frames, such as 1001-1100x2 (default: all that are there)")
    what.add_argument("--parts", metavar="PATTERNS", help="parts by name or number, such as beauty*,2 (default: all)")
    what.add_argument(
        "--channels",
        metavar="PATTERNS",
        help="the channels that are color, such as R,G,B,diffuse.* or part/channel (default: by names and types)",
    )

    stored = parser.add_argument_group("how it is stored")
    stored.add_argument(
        "--compression",
        default="keep",
        metavar="NAME",
        help="keep, none, rle, zips, zip, piz, pxr24, b44, b44a, dwaa, dwab, htj2k ...; a level as dwaa:45 "
        "(default: keep)",
    )
    stored.add_argument(
        "--type",
        dest="pixel_type",
        default="keep",
        metavar="TYPE",
        help="of color and its alpha: half, float; of DPX, TIFF, PNG also 8, 10, 12, 16 bits (default: keep)",
    )
    stored.add_argument("--resize", metavar="WxH|N%", help="size of the display window, or a share of it")
    stored.add_argument(
        "--crop",
        metavar="display|window",
        help="display: pixels outside the display window go; window: the display window becomes the data window",
    )

    how = parser.add_argument_group("how")
    how.add_argument("--check", action="store_true", help="decode what was written and compare, before it is in place")
    how.add_argument("--skip-existing", action="store_true", help="leave results that are there, whole and the same")
    how.add_argument("--keep-going", action="store_true", help="go on with later frames where one fails")
    how.add_argument("--threads", type=int, default=0, metavar="N", help="frames at once (default: all processors)")
    how.add_argument("--memory", type=float, metavar="GIB", help="for frames under way (default: half of what is free)")
    how.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what transforms color (default: cpu)")
    how.add_argument("--progress", choices=STYLES, default="auto", help="how progress is told (default: auto)")
    how.add_argument("--json", action="store_true", help="one JSON object a frame on stdout")


def run(args: argparse.Namespace) -> int:
    """Checks the request, converts, reports."""
    from stpn.ocio.convert import ConvertCancelled, ConvertError, ConvertRequestError, prepare
    from stpn.ocio.convert import run as converted
    from stpn.plugin.progress import Progress, stream_of, tell_failure
    from stpn.plugin.request import RequestError

    try:
        conversion = prepare(_request(args))
    except ConvertRequestError as error:
        raise RequestError(*error.problems) from error
    for decision in conversion.decisions:
        print(decision, file=sys.stderr)
    cancelled = threading.Event()
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: object) -> None:
        # a second signal ends at once; files are put in place whole, so nothing half-written stays either way
        caught.append(number)
        cancelled.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    stream = stream_of(args.progress, results=args.json)
    progress = Progress(len(conversion.files), stream, args.progress)
    failed = 0
    try:
        said: set[str] = set()
        for file in converted(conversion, cancelled):
            failed += file.status == "failed"
            _tell(file, args.json, said, progress)
    except ConvertCancelled:
        progress.close()
        print("stpn convert: cancelled; the files that are there are whole", file=sys.stderr)
        return 128 + (caught[0] if caught else signal.SIGINT)
    except ConvertError as error:
        progress.close()
        print(f"stpn convert: {error}", file=sys.stderr)
        tell_failure(str(error), stream, args.progress)
        if args.debug:
            raise
        return 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    progress.close()
    if failed:
        print(f"stpn convert: {failed} of {len(conversion.files)} frames failed", file=sys.stderr)
        return 1
    if not args.json:
        print(
            f"{len(conversion.files)} frames: {args.target}" if conversion.files[0].frame is not None else args.target
        )
    return 0


def _request(args: argparse.Namespace) -> ConvertRequest:
    from dataclasses import fields

    from stpn.ocio.convert import ConvertRequest
    from stpn.plugin.device import choose_device

    if args.device == "cuda":
        choose_device("cuda")
    return ConvertRequest(**{field.name: getattr(args, field.name) for field in fields(ConvertRequest)})


def _tell(file: ConvertedFile, as_json: bool, said: set[str], progress: Progress) -> None:
    """Says each note once, and that a frame is done."""
    for note in file.notes:
        if note not in said:
            said.add(note)
            progress.say(f"stpn convert: {note}" if file.status == "failed" else note)
    progress.step(file.frame if file.frame is not None else 1)
    if as_json:
        found: dict[str, Any] = {
            "frame": file.frame,
            "source": str(file.source),
            "path": str(file.target),
            "status": file.status,
            "seconds": round(file.seconds, 4),
            "notes": file.notes,
        }
        print(json.dumps(found), flush=True)
