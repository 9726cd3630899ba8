"""`stpn analyse`: looks at a whole shot once, so that the chunks of a farm need not."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stpn.plugin.cli.propagate import request_of, setup_progress, setup_request
from stpn.plugin.cli.stopping import Stop, stopping

if TYPE_CHECKING:
    from stpn.plugin.analysis import Analysis
    from stpn.plugin.progress import Status
    from stpn.plugin.shot import Shot

HELP = "look at a whole shot once, for chunks on a farm"

DESCRIPTION = """\
Checks a whole request as `stpn propagate` does, finds cuts and flashes in the whole plate, does what --adapt asks for,
and proposes chunks whose edges lie on keys and cuts. What was found goes into a small file, by default
result.analysis.json beside result.####.exr; give it to every chunk:

    stpn analyse --plate plate.####.exr --keys keys.####.exr --output result.####.exr
    stpn propagate --plate .. --keys .. --output .. --frames 1001-1020 --analysis result.analysis.json

The pictures are the same without it. A plate that has changed since, or is looked at in another color space, is
refused; other keys, methods and outputs are not.

--json prints one object:
    analysis       path of the file
    cuts, flashes  first frames of new shots; frames unlike those on both sides
    chunks         a list of frame ranges, as typed after --frames
    on_keys        how many of these begin on a key or a cut
    decisions      what was decided and why, one line each"""


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    where = "where to write what was found (default: result.analysis.json beside result.####.exr)"
    how = setup_request(parser, where)
    how.add_argument(
        "--chunk",
        default="keys",
        metavar="N|keys",
        help="propose chunks of so many frames at most, or one from each key to the next (default: keys)",
    )
    setup_progress(how)
    how.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Checks the request, looks, adapts, writes."""
    from stpn.plugin.farm.chunks import chunk_size
    from stpn.plugin.progress import Status, stream_of

    size = chunk_size(args.chunk)
    status = Status(stream_of(args.progress, results=args.json), args.progress)
    with stopping() as stop:
        status.show("looking at the whole shot")
        try:
            with stop.interrupting():
                from stpn.plugin.shot import check

                shot = check(replace(request_of(args), analysis=None, skip_existing=False))
        finally:
            status.close()
        for decision in shot.decisions:
            print(decision, file=sys.stderr)
        return _written(args, shot, size, stop, status)


def _written(args: argparse.Namespace, shot: Shot, size: int | None, stop: Stop, status: Status) -> int:
    """Adapts, writes what was found, and returns the exit code."""
    from stpn.ocio.plate import PlateError
    from stpn.plugin.adaptation_plan import MaskPlan
    from stpn.plugin.analysis import analysis_path, write_analysis
    from stpn.plugin.progress import stream_of, tell_failure
    from stpn.plugin.render import Cancelled, RenderError, prepare

    path = Path(args.analysis) if args.analysis else analysis_path(shot.output)
    try:
        analysis = _analysis(shot, size)
        prepared = prepare(shot, stop.asked, status)
        if isinstance(shot.adaptation, MaskPlan) and prepared.adaptation is None:
            _keep(path, shot, prepared)
        write_analysis(path, analysis)
    except Cancelled:
        print("stpn analyse: cancelled; nothing was written", file=sys.stderr)
        return stop.code
    except (RenderError, PlateError, OSError) as error:
        print(f"stpn analyse: {error}", file=sys.stderr)
        tell_failure(str(error), stream_of(args.progress, results=args.json), args.progress)
        if args.debug:
            raise
        return 1
    _say(args, path, shot, analysis)
    return 0


def _keep(path: Path, shot: Shot, prepared: Shot) -> None:
    from stpn.engine.properties.mask_network import MaskRefiner
    from stpn.plugin.kept_network import keep, kept_path

    assert isinstance(prepared.network, MaskRefiner)
    keep(kept_path(path), shot.request, shot.digests, prepared.network)


def _analysis(shot: Shot, size: int | None) -> Analysis:
    from stpn.engine.cuts import Findings
    from stpn.plugin.analysis import Analysis, digests
    from stpn.plugin.farm.chunks import divide

    plate = digests(shot.plate.files, shot.looked_at, shot.contents, shot.threads)
    chunks = divide(shot.frames, (*shot.key_frames, *shot.cuts), size).chunks
    ends = [(chunk.start, chunk.stop - 1) for chunk in chunks]
    return Analysis(shot.seen, plate, Findings(shot.cuts, shot.flashes), ends, shot.decisions)


def _say(args: argparse.Namespace, path: Path, shot: Shot, analysis: Analysis) -> None:
    from stpn.plugin.farm.chunks import in_words, on_edges

    chunks = [range(first, last + 1) for first, last in analysis.chunks]
    on_keys = on_edges(chunks, sorted({*shot.key_frames, *shot.cuts}))
    if args.json:
        said = {
            "analysis": str(path),
            "cuts": shot.cuts,
            "flashes": shot.flashes,
            "chunks": [in_words(chunk) for chunk in chunks],
            "on_keys": on_keys,
            "decisions": shot.decisions,
        }
        print(json.dumps(said, indent=2))
        return
    print(f"chunks: {' '.join(in_words(chunk) for chunk in chunks)}")
    print(f"{on_keys} of {len(chunks)} begin on a key or a cut")
    print(f"analysis: {path}")
