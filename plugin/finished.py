"""Which results of a shot are there already: whole, and those that its request would make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stpn.ocio.plate import PlateError
from stpn.ocio.wholeness import is_whole_and_of
from stpn.plugin.adaptation_plan import Plan
from stpn.plugin.adapted_file import adapted_path
from stpn.plugin.keys import Span
from stpn.plugin.networks import weights_file
from stpn.plugin.result_digest import confidence_digest
from stpn.plugin.shot import Shot


def finished(shot: Shot, frame: int, span: Span | None) -> bool:
    """Whether --skip-existing holds for a frame: what is asked for is there, and what is there is what is asked for.

    Args:
        shot: the shot.
        frame: the frame.
        span: which holds it; None for a key frame.
    """
    if not shot.request.skip_existing or not shot.output.path(frame).exists():
        return False
    try:
        made_of = result_digest(shot, frame, span)
    except PlateError:
        return False  # whoever makes it finds out what is wrong with its inputs
    return (
        made_of is not None
        and is_whole_and_of(shot.output.path(frame), made_of)
        and (shot.confidence is None or is_whole_and_of(shot.confidence.path(frame), confidence_digest(made_of)))
    )


def written_by(shot: Shot) -> Iterator[Path]:
    """Every file that rendering a shot may write."""
    for frame in shot.frames:
        yield shot.output.path(frame)
        if shot.confidence is not None:
            yield shot.confidence.path(frame)
    if shot.request.adapt is not None:
        yield adapted_path(shot.output)


def result_digest(shot: Shot, frame: int, span: Span | None) -> str | None:
    """What the result of a frame is made of; None where weights that it takes are still to be made.

    Args:
        shot, frame, span: as for `finished`.

    Raises:
        PlateError: an input cannot be read.
    """
    if span is None:
        return shot.digests.key(frame)
    if isinstance(shot.adaptation, Plan):
        return None
    weights = None
    if shot.network is not None:
        # of mattes no file of adapted weights is left, and what they were adapted to counts in its place
        in_file = shot.request.adapt is not None and shot.request.property != "mask"
        weights = adapted_path(shot.output) if in_file else weights_file(shot.request)
    return shot.digests.carried(frame, span, shot.flashes, weights, shot.device)
