"""Which frames are keys, and which keys serve a frame."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stpn.ocio.sequence import SequenceError, parse_frames
from stpn.plugin.request import Request, RequestError


@dataclass(frozen=True)
class Span:
    """Frames that the same keys serve.

    Attributes:
        before, after: the key frames around, None where there is none or it is not used.
        targets: the frames to carry to, ascending; none of them a key.
    """

    before: int | None
    after: int | None
    targets: tuple[int, ...]

    @property
    def keys(self) -> tuple[int, ...]:
        """The one or two keys that serve."""
        return tuple(key for key in (self.before, self.after) if key is not None)

    @property
    def reach(self) -> range:
        """Every plate frame that is looked at: from key to target, keys included."""
        touched = (*self.keys, *self.targets)
        return range(min(touched), max(touched) + 1)


def key_frames(request: Request, plate: Sequence[int], on_disk: Sequence[int]) -> tuple[int, ...]:
    """The key frames that a request names.

    Args:
        request: what was asked for.
        plate: the plate's frames, ascending.
        on_disk: the frames there are key files for, ascending.

    Returns:
        Ascending; not yet checked against what is on disk.

    Raises:
        RequestError: interval, first key and list contradict each other, or a range makes no sense.
    """
    if request.key_frames is not None:
        if request.interval is not None or request.first_key is not None:
            raise RequestError("--key-frames: expected it alone, got --interval or --first-key too; leave one out")
        return frames_of(request.key_frames, "--key-frames")
    if request.interval is None and request.first_key is None:
        return tuple(on_disk)
    if request.interval is None:
        raise RequestError(f"--first-key {request.first_key}: expected --interval with it; add --interval K")
    if request.interval < 1:
        raise RequestError(f"--interval: expected 1 or more frames, got {request.interval}")
    first = request.first_key if request.first_key is not None else on_disk[0]
    if first > plate[-1]:
        raise RequestError(
            f"--first-key {first}: expected a frame of the plate, which ends at {plate[-1]}; give an earlier one"
        )
    return tuple(range(first, plate[-1] + 1, request.interval))


def frames_of(text: str, option: str) -> tuple[int, ...]:
    """Frames of a range as typed; RequestError names the option."""
    try:
        return tuple(parse_frames(text))
    except SequenceError as error:
        raise RequestError(f"{option}: {error}") from error


def parted(first: int, last: int, cuts: Sequence[int]) -> bool:
    """Whether a new shot begins after `first` and not after `last`; `cuts` are the first frames of new shots."""
    return bisect_right(cuts, first) < bisect_right(cuts, last)


def serving(frame: int, keys: Sequence[int], used: str, cuts: Sequence[int] = ()) -> tuple[int | None, int | None]:
    """The keys before and after a frame that is no key itself.

    Args:
        frame: the frame.
        keys: key frames, ascending.
        used: both, previous or next: which of them are wanted.
        cuts: first frames of new shots, ascending; a key serves no frame of another shot.
    """
    place = bisect_left(keys, frame)
    before = keys[place - 1] if place > 0 and used != "next" else None
    after = keys[place] if place < len(keys) and used != "previous" else None
    return (
        None if before is None or parted(before, frame, cuts) else before,
        None if after is None or parted(frame, after, cuts) else after,
    )


def serving_keys(
    frames: Sequence[int], keys: Sequence[int], used: str, cuts: Sequence[int] = ()
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The keys that are among the frames or serve one of them, and the frames that no key serves; see `serving`."""
    is_key = set(keys)
    around = {frame: serving(frame, keys, used, cuts) for frame in frames if frame not in is_key}
    in_use = set(frames).union(*around.values())
    unserved = tuple(frame for frame, found in around.items() if found == (None, None))
    return tuple(key for key in keys if key in in_use), unserved


def spans(frames: Sequence[int], keys: Sequence[int], used: str, cuts: Sequence[int] = ()) -> Iterator[Span]:
    """Groups ascending frames, keys among them left out, by the keys that serve them; see `serving`."""
    is_key = set(keys)
    targets: list[int] = []
    current: tuple[int | None, int | None] = (None, None)
    for frame in frames:
        if frame in is_key:
            continue
        around = serving(frame, keys, used, cuts)
        if targets and around != current:
            yield Span(*current, tuple(targets))
            targets = []
        current = around
        targets.append(frame)
    if targets:
        yield Span(*current, tuple(targets))
