"""`stpn compare`: a contact sheet of two sequences, their difference, PSNR over frames."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn.plugin.comparison import Comparison
    from stpn.plugin.frame_numbers import FrameNumbers

HELP = "a contact sheet of two sequences, differences, PSNR"

DESCRIPTION = """\
Makes a contact sheet, a PNG that shows a plate (A) and what was made of it (B) side by side at chosen
frames; with the keys, the confidence and a reference, where there are any.

    stpn compare plate.####.exr result.####.exr --keys keys.####.exr --confidence confidence.####.exr
    stpn compare plate.####.png result.####.exr --property hdr --bracket -4,-2,0,2
    stpn compare plate.####.exr mattes.####.exr --property mask --reference truth.####.png

With --reference, the sheet also shows the difference and a plot over all frames that B and the
reference share, and the numbers are printed. Means leave out the frames that --keys has a file for: they are
given, not made.

color     The difference is amplified. A frame's RMSE is taken over all pixels and the three channels of 8-bit
          sRGB values of scene-linear Rec.709 light clipped to 0..1; its PSNR is
          20 log10(255 / max(RMSE, 0.001)) dB.
hdr       B, keys and reference hold scene-linear light. --bracket shows all at several exposures, a strip
          for each. RMSE of ln(H + 0.01), linear Rec.709 light H, over all pixels, and over those
          where a channel of A is clipped; PU21-PSNR with 1.0 = 100 cd/m2.
mask      B, keys and reference hold mattes: channels of an EXR, an object each; grey pictures; or pictures of
          labels (values 1 to 32, to 255 with --mask-labels, or a color an object). They are drawn over A,
          the reference's outline in white dashes. J and F in percent, where mattes are above 0.5, mean of the
          objects; SAD is the sum of the difference over pixels and objects, in thousands.
channels  One channel of B, keys and reference in false colors, all on one scale; RMSE of its values.

How pictures are shown. Unless a view is asked for, scene-linear light is clipped to 0..1 and encoded as
sRGB, without tone mapping: a rendering view would change colors, and a colored plate would not look like
its source. --display and --view show the pictures (never the difference) through a view of the OCIO
config; where one of the two is missing, it is the config's default. hdr is always shown through one.

--json prints one object:
    sheet                 path of the contact sheet
    rows                  frames that it shows
    shown_as              the encoding or view of its pictures
    color                 what was decided on color spaces and channels, one line each
    frames                a list, one object a frame that B and the reference share; empty without --reference:
                          frame, the numbers, key (true: left out of the mean),
                          broken (pixels that are NaN or infinite)
    mean_...              of each number over `counted` frames; null without --reference
    counted               how many frames the means are of
    missing               frames of the reference that B lacks

Numbers. color: psnr (dB), rmse (0..255): mean_psnr, mean_rmse. hdr: log_rmse, log_rmse_clipped (null where hardly
anything is clipped), pu21_psnr (dB). mask: j, f (percent), sad. channels: rmse."""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("plate", metavar="A", help="what B was made of: plate.####.exr")
    parser.add_argument("result", metavar="B", help="what is looked at: result.####.exr")
    # --bracket -4,-2 is a value that begins with a minus, not an option
    parser._negative_number_matcher = re.compile(r"^-[\d.][\d.,-]*$")
    parser.add_argument(
        "--property",
        choices=("color", "hdr", "mask", "channels"),
        default="color",
        help="what B holds (default: color)",
    )
    files = parser.add_argument_group("what else goes in, and out")
    files.add_argument("--keys", metavar="K.####.exr", help="the key frames")
    files.add_argument(
        "--channels",
        metavar="NAME,...",
        help="mask: the channels that are mattes; channels: the one to look at (default: those that are no color)",
    )
    files.add_argument(
        "--mask-labels", action="store_true", help="mask: pictures hold object numbers, 0 background, 1 to 255 objects"
    )
    files.add_argument("--confidence", metavar="C.####.exr", help="the confidence, 0..1")
    files.add_argument("--reference", metavar="R.####.exr", help="what B should be: difference and PSNR are against it")
    files.add_argument(
        "--output", default="compare.png", metavar="SHEET.png", help="the contact sheet (default: compare.png here)"
    )
    files.add_argument(
        "--frames",
        metavar="RANGE",
        help="the rows: 1001-1100x20,1093 (default: some five; with --keys one key and frames far from keys)",
    )

    look = parser.add_argument_group("color")
    look.add_argument(
        "--colorspace", default="auto", metavar="NAME", help="color space of all (default: auto, from each first file)"
    )
    for role in ("result", "keys", "reference"):
        look.add_argument(
            f"--{role}-colorspace", metavar="NAME", help=f"of the {role}, where it differs (default: as --colorspace)"
        )
    look.add_argument("--ocio", metavar="FILE", help="OCIO config (default: $OCIO, else a built-in ACES config)")
    look.add_argument(
        "--display", metavar="NAME", help="display of the config to show on (default: plain sRGB; hdr: the config's)"
    )
    look.add_argument("--view", metavar="NAME", help="view of that display (default: plain sRGB; hdr: the display's)")
    look.add_argument(
        "--amplify",
        type=float,
        metavar="X",
        help="factor of the difference picture (default: 8; hdr: 2); its scale ends at 1/X for hdr, at the range of "
        "the false colors / X for channels",
    )
    look.add_argument("--bracket", metavar="STOPS", help="hdr: show these exposures, such as -4,-2,0,2")
    look.add_argument(
        "--clipped-at",
        type=float,
        metavar="X",
        help="hdr: code value from which a channel of A counts as clipped (default: 254/255 of integer pictures)",
    )
    look.add_argument(
        "--range", metavar="LOW,HIGH", help="channels: ends of the false colors (default: of what the sheet shows)"
    )

    how = parser.add_argument_group("how")
    # decoded 4K frames are large, and a few threads already keep a disk busy
    threads = min(os.cpu_count() or 1, 4)
    how.add_argument("--threads", type=int, default=threads, metavar="N", help="at most so many (default: %(default)s)")
    how.add_argument("--json", action="store_true", help="the numbers as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Checks the request, measures, draws, reports."""
    from stpn.ocio.config import ColorError
    from stpn.ocio.plate import PlateError
    from stpn.plugin.comparison import CompareRequest, check
    from stpn.plugin.contact_sheet import contact_sheet, write_sheet

    comparison = check(CompareRequest(**{field.name: getattr(args, field.name) for field in fields(CompareRequest)}))
    for decision in comparison.decisions:
        print(decision, file=sys.stderr)
    try:
        numbers = _measured(comparison)
        write_sheet(comparison.output, contact_sheet(comparison, numbers))
    except (PlateError, ColorError, OSError, MemoryError) as error:
        print(f"stpn compare: {error or 'out of memory'}", file=sys.stderr)
        if args.debug:
            raise
        return 1
    if args.json:
        print(json.dumps(_report(comparison, numbers), indent=2))
    else:
        _print(comparison, numbers)
    return 0


def _measured(comparison: Comparison) -> list[FrameNumbers]:
    """Numbers of all frames that result and reference share."""
    from stpn.plugin.progress import Progress
    from stpn.plugin.view import view_of

    if not comparison.measured:
        return []
    if comparison.unmeasured:
        shown = ", ".join(map(str, comparison.unmeasured[:8]))
        more = len(comparison.unmeasured) - 8
        print(
            f"note: the result lacks {len(comparison.unmeasured)} frames of the reference, which are not measured: "
            f"{shown}{f' and {more} more' if more > 0 else ''}",
            file=sys.stderr,
        )
    view = view_of(comparison.request.property)
    progress = Progress(len(comparison.measured), sys.stderr)
    numbers = []
    with closing(view.measure(comparison)) as measuring:  # frames that still wait are given up at once on Ctrl-C
        for one in measuring:
            numbers.append(one)
            if one.broken:
                progress.say(f"note: frame {one.frame}: {one.broken} pixels {view.BROKEN}")
            progress.step(one.frame)
    progress.close()
    remark = view.remark(comparison, numbers)
    if remark:
        print(f"note: {remark}", file=sys.stderr)
    return numbers


def _report(comparison: Comparison, numbers: list[FrameNumbers]) -> dict[str, Any]:
    from stpn.plugin.frame_numbers import counted, mean
    from stpn.plugin.view import view_of

    metrics = view_of(comparison.request.property).METRICS
    return {
        "sheet": str(comparison.output),
        "rows": comparison.rows,
        "shown_as": comparison.display.caption,
        "color": comparison.decisions,
        "frames": [
            {
                "frame": one.frame,
                **{metric.name: _rounded(one.values[metric.name]) for metric in metrics},
                "key": one.is_key,
                "broken": one.broken,
            }
            for one in numbers
        ],
        **{f"mean_{metric.name}": _rounded(mean(numbers, metric)) for metric in metrics},
        "counted": len(counted(numbers)),
        "missing": comparison.unmeasured,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _print(comparison: Comparison, numbers: list[FrameNumbers]) -> None:
    from stpn.plugin.frame_numbers import counted, mean
    from stpn.plugin.view import view_of

    metrics = view_of(comparison.request.property).METRICS

    def row(values: Iterable[float | None]) -> str:
        shown = ("-" if value is None else format(value, m.digits) for value, m in zip(values, metrics, strict=True))
        return " ".join(text.rjust(7) for text in shown)

    if numbers:
        width = max(5, *(len(str(one.frame)) for one in numbers))
        print(f"{'frame':>{width}}  {' '.join(metric.title.rjust(7) for metric in metrics)}")
        for one in numbers:
            values = row(one.values[metric.name] for metric in metrics)
            print(f"{one.frame:>{width}}  {values}{'  key' if one.is_key else ''}")
        means = row(mean(numbers, metric) for metric in metrics)
        print(f"{'mean':>{width}}  {means}  of {len(counted(numbers))} frames")
    print(f"contact sheet: {comparison.output}")
