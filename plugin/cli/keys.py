"""`stpn keys`: which frames to paint next."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stpn.plugin.key_proposals import Advice

HELP = "which frames to paint next"

DESCRIPTION = """\
Says where new shots begin in a plate, and which frames to paint next so that the rest follows best.

    stpn keys --plate plate.####.exr --keys keys.####.exr --add 4 --picture keys.png

From the motion of the plate alone it is foreseen how sure each frame will be, 0..1: on small pictures, before
anything is painted, and for keys up to 48 frames away. Proposed are the frames that raise the mean over all
frames most; each is shown with the confidence before and after it is painted, of all frames and of the worst
one. Without keys a first set is proposed, at least one frame for each shot. Paint in the order shown: the
first adds most.

What is foreseen is where motion will be lost, not how far colors will be off, and not the confidence that
stpn propagate writes: use it to compare frames. Of plates beyond some 150 frames not every frame is a
candidate; stpn says which.

--json prints one object:
    frames         first and last frame
    cuts, flashes  first frames of new shots; frames unlike those on both sides
    keys           frames that are painted already
    expected       confidence with these: mean, worst_frame, worst
    proposals      a list in the order to paint: frame, mean and worst (confidence after), worst_frame,
                   gain (of the mean)
    confidence     a list, one object a frame: frame, before, after (all proposals painted)
    decisions      what was decided and why, one line each
    picture        path of the timeline; null: none was asked for"""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    files = parser.add_argument_group("what goes in and out")
    files.add_argument("--plate", required=True, metavar="P.####.exr", help="the guidance plate: every frame")
    files.add_argument("--keys", metavar="K.####.exr", help="the key frames that are painted already")
    files.add_argument("--key-frames", metavar="RANGE", help="the same by number; there need be no files")
    files.add_argument("--interval", type=int, metavar="K", help="the same: every K frames from the first on")
    files.add_argument("--picture", metavar="FILE.png", help="also draw a timeline with the frames proposed")

    frames = parser.add_argument_group("frames")
    frames.add_argument("--frames", metavar="RANGE", help="the frames to serve (default: the whole plate)")
    frames.add_argument(
        "--add", type=int, metavar="N", help="propose so many (default: 3, or as many as --target takes)"
    )
    frames.add_argument("--target", type=float, metavar="CONF", help="propose until the mean confidence is CONF, 0..1")
    frames.add_argument(
        "--cuts",
        default="auto",
        metavar="auto|none|RANGE",
        help="where new shots begin: auto looks for it; none; or the first frame of each (default: auto)",
    )

    look = parser.add_argument_group("color")
    look.add_argument(
        "--colorspace", default="auto", metavar="NAME", help="color space of the plate (default: auto, from the file)"
    )
    look.add_argument("--ocio", metavar="FILE", help="OCIO config (default: $OCIO, else a built-in ACES config)")

    how = parser.add_argument_group("how")
    how.add_argument("--threads", type=int, default=0, metavar="N", help="at most so many (default: all processors)")
    how.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Checks the request, looks at the plate, reports."""
    from stpn.ocio.plate import PlateError
    from stpn.plugin.key_proposals import KeysError, advise
    from stpn.plugin.key_timeline import write_timeline
    from stpn.plugin.keys_request import KeysRequest, check
    from stpn.plugin.progress import Progress

    task = check(KeysRequest(**{field.name: getattr(args, field.name) for field in fields(KeysRequest)}))
    progress = Progress(len(task.frames), sys.stderr)
    try:
        advice = advise(task, progress.step)
        progress.close()
        for decision in advice.decisions:
            print(decision, file=sys.stderr)
        if args.picture is not None:
            write_timeline(task, advice)
    except (KeysError, PlateError, OSError, MemoryError) as error:
        print(f"stpn keys: {error or 'out of memory'}", file=sys.stderr)
        if args.debug:
            raise
        return 1
    if args.json:
        print(json.dumps(_report(advice, args.picture), indent=2))
    else:
        _print(advice, args.picture)
    return 0


def _worst(advice: Advice, curve: Any) -> tuple[int, float]:
    """The frame with the least confidence, and that."""
    place = int(curve.argmin())
    return advice.frames[place], float(curve[place])


def _report(advice: Advice, picture: str | None) -> dict[str, Any]:
    def said(curve: Any) -> dict[str, Any]:
        frame, least = _worst(advice, curve)
        return {"mean": round(float(curve.mean()), 4), "worst_frame": frame, "worst": round(least, 4)}

    after = advice.proposals[-1].after if advice.proposals else advice.confidence
    return {
        "frames": [advice.frames[0], advice.frames[-1]],
        "cuts": advice.findings.cuts,
        "flashes": advice.findings.flashes,
        "keys": advice.keys,
        "expected": said(advice.confidence),
        "proposals": [
            {"frame": p.frame, **said(p.after), "gain": round(float(p.after.mean() - p.before.mean()), 4)}
            for p in advice.proposals
        ],
        "confidence": [
            {"frame": frame, "before": round(float(a), 4), "after": round(float(b), 4)}
            for frame, a, b in zip(advice.frames, advice.confidence, after, strict=True)
        ],
        "decisions": advice.decisions,
        "picture": picture,
    }


def _print(advice: Advice, picture: str | None) -> None:
    frame, least = _worst(advice, advice.confidence)
    width = max(5, *(len(str(f)) for f in (advice.frames[0], advice.frames[-1])))
    print(f"{'paint':>{width}}  confidence of all    of the worst frame")
    print(f"{'-':>{width}}  {advice.confidence.mean():.3f}                {least:.3f} ({frame})")
    for proposal in advice.proposals:
        mean, before = proposal.after.mean(), proposal.before.mean()
        frame, least = _worst(advice, proposal.after)
        print(f"{proposal.frame:>{width}}  {mean:.3f} ({mean - before:+.3f})       {least:.3f} ({frame})")
    if advice.proposals:
        print(f"next keys: {','.join(str(f) for f in sorted(p.frame for p in advice.proposals))}")
    else:
        print("no frame needs painting")
    if picture is not None:
        print(f"timeline: {picture}")
