"""`stpn compare`: a contact sheet of two sequences, their difference, PSNR over frames."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn.plugin.comparison import Comparison
    from stpn.plugin.difference import Score

HELP = "a contact sheet of two sequences, differences, PSNR"

DESCRIPTION = """\
Makes a contact sheet, a PNG that shows a plate (A) and what was made of it (B) side by side at chosen
frames; with the keys, the confidence and a reference, where there are any.

    stpn compare plate.####.exr result.####.exr --keys keys.####.exr --confidence confidence.####.exr

With --reference, the sheet also shows the amplified difference and a plot of PSNR over all frames that
B and the reference share, and the numbers are printed.

How pictures are shown. Unless a view is asked for, scene-linear light is clipped to 0..1 and encoded as
sRGB, without tone mapping: a rendering view would change colors, and a colored plate would not look like
its source. --display and --view show the pictures (never the difference) through a view of the OCIO
config; where one of the two is missing, it is the config's default.

PSNR. A frame's RMSE is taken over all pixels and the three channels of 8-bit sRGB values of scene-linear
Rec.709 light clipped to 0..1; its PSNR is 20 log10(255 / max(RMSE, 0.001)) dB. The mean is that of the
frames' PSNR; frames that --keys has a file for are left out of it: they are given, not made.

--json prints one object:
    sheet                 path of the contact sheet
    rows                  frames that it shows
    shown_as              the encoding or view of its pictures
    color                 what was decided on color spaces, one line each
    frames                a list, one object a frame that B and the reference share; empty without --reference:
                          frame, psnr (dB), rmse (0..255), key (true: left out of the mean),
                          broken (pixels that are NaN or infinite)
    mean_psnr, mean_rmse  over `counted` frames; null without --reference
    counted               how many frames the means are of
    missing               frames of the reference that B lacks"""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("plate", metavar="A", help="what B was made of: plate.####.exr")
    parser.add_argument("result", metavar="B", help="what is looked at: result.####.exr")
    files = parser.add_argument_group("what else goes in, and out")
    files.add_argument("--keys", metavar="K.####.exr", help="the key frames")
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
    look.add_argument("--display", metavar="NAME", help="display of the config to show on (default: plain sRGB)")
    look.add_argument("--view", metavar="NAME", help="view of that display (default: plain sRGB)")
    look.add_argument(
        "--amplify", type=float, default=8.0, metavar="X", help="factor of the difference picture (default: 8)"
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
        scores = _measured(comparison)
        write_sheet(comparison.output, contact_sheet(comparison, scores))
    except (PlateError, ColorError, OSError, MemoryError) as error:
        print(f"stpn compare: {error or 'out of memory'}", file=sys.stderr)
        if args.debug:
            raise
        return 1
    if args.json:
        print(json.dumps(_report(comparison, scores), indent=2))
    else:
        _print(comparison, scores)
    return 0


def _measured(comparison: Comparison) -> list[Score]:
    """Scores of all frames that result and reference share."""
    from stpn.plugin.difference import PSNR_OF_IDENTICAL, measure
    from stpn.plugin.progress import Progress

    if comparison.reference is None:
        return []
    if comparison.unmeasured:
        shown = ", ".join(map(str, comparison.unmeasured[:8]))
        more = len(comparison.unmeasured) - 8
        print(
            f"note: the result lacks {len(comparison.unmeasured)} frames of the reference, which are not measured: "
            f"{shown}{f' and {more} more' if more > 0 else ''}",
            file=sys.stderr,
        )
    progress = Progress(len(comparison.measured), sys.stderr)
    scores = []
    measuring = measure(
        comparison.result,
        comparison.reference,
        comparison.measured,
        comparison.key_frames,
        comparison.rec709,
        comparison.request.threads,
    )
    with closing(measuring):  # frames that still wait are given up at once when this is interrupted
        for score in measuring:
            scores.append(score)
            if score.broken:
                progress.say(f"note: frame {score.frame}: {score.broken} pixels are NaN (taken as 0) or infinite")
            progress.step(score.frame)
    progress.close()
    same = sum(score.is_identical and not score.is_key for score in scores)
    if same and comparison.keys is None:
        print(
            f"note: {same} frames are identical to the reference and count with {PSNR_OF_IDENTICAL:.2f} dB each; if "
            "they are keys, name them with --keys and they are left out of the mean",
            file=sys.stderr,
        )
    return scores


def _report(comparison: Comparison, scores: list[Score]) -> dict[str, Any]:
    from stpn.plugin.difference import means

    mean = means(scores) if scores else None
    return {
        "sheet": str(comparison.output),
        "rows": comparison.rows,
        "shown_as": comparison.display.caption,
        "color": comparison.decisions,
        "frames": [
            {
                "frame": score.frame,
                "psnr": round(score.psnr, 4),
                "rmse": round(score.rmse, 4),
                "key": score.is_key,
                "broken": score.broken,
            }
            for score in scores
        ],
        "mean_psnr": round(mean.psnr, 4) if mean else None,
        "mean_rmse": round(mean.rmse, 4) if mean else None,
        "counted": mean.frames if mean else 0,
        "missing": comparison.unmeasured,
    }


def _print(comparison: Comparison, scores: list[Score]) -> None:
    from stpn.plugin.difference import means

    if scores:
        width = max(5, *(len(str(score.frame)) for score in scores))
        print(f"{'frame':>{width}}  PSNR dB    RMSE")
        for score in scores:
            print(f"{score.frame:>{width}}  {score.psnr:7.2f} {score.rmse:7.3f}{'  key' if score.is_key else ''}")
        mean = means(scores)
        print(f"{'mean':>{width}}  {mean.psnr:7.2f} {mean.rmse:7.3f}  of {mean.frames} frames")
    print(f"contact sheet: {comparison.output}")
