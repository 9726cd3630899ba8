"""What the frames of a span share, where a plate frame or key of it cannot be read and the others are still wanted."""

from __future__ import annotations

from collections.abc import Sequence

from stpn.engine.carriers import Carrier
from stpn.plugin.keys import Span
from stpn.plugin.reading import Reader, RenderError
from stpn.plugin.request import listed
from stpn.plugin.shot import Shot


def carrier_of(
    shot: Shot, span: Span, targets: Sequence[int], reader: Reader
) -> tuple[Carrier | None, dict[int, RenderError]]:
    """Prepares to carry a span; with --keep-going, as much of it as can be.

    Args:
        shot: the shot.
        span: the frames that the same keys serve.
        targets: those of them that are still to be made, ascending.
        reader: of plate and keys.

    Returns:
        What carries, None where nothing can be carried; and why, of each target that it cannot carry to.

    Raises:
        RenderError: something cannot be read, and nobody said to go on.
    """
    left, lost = list(targets), dict[int, RenderError]()
    while left:
        try:
            return shot.prop.carrier(span, left, reader, shot.network, shot.flashes), lost
        except RenderError as error:
            if not shot.request.keep_going:
                raise
            # none that needs it: the frame was not told, so that no frame can be known to do without
            without = [f for f in left if error.frame is None or error.frame in shot.digests.needed(f, span)] or left
            others = [f for f in span.targets if f not in without]
            said = f"{error}; needed for {listed(without)}{', not for ' + listed(others) if others else ''}"
            lost |= {f: RenderError(f"frame {f}: not made: {said}", f) for f in without}
            left = [f for f in left if f not in lost]
    return None, lost
