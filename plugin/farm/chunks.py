"""Where a shot is divided into chunks: at keys and cuts where possible, since a chunk then shares no work with another.

Any division gives the same files. A chunk whose edge lies between two keys computes motion for the whole span between
them, which its neighbour does too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stpn.plugin.request import RequestError


@dataclass(frozen=True)
class Division:
    """A division of frames into chunks.

    Attributes:
        size: how many frames a chunk has at most.
        groups: runs of neighbouring frames, ascending; their edges lie on keys and cuts, or where frames are missing.
            Each is divided evenly into as many chunks as it takes.
    """

    size: int
    groups: tuple[range, ...]

    @property
    def chunks(self) -> tuple[range, ...]:
        """The chunks, ascending."""
        return tuple(chunk for group in self.groups for chunk in evenly(group, self.size))


def divide(frames: Sequence[int], edges: Iterable[int], size: int | None = None) -> Division:
    """Divides frames into chunks.

    Args:
        frames: ascending, at least one.
        edges: frames where a chunk best begins: keys, and the first frames of new shots; any order, others are ignored.
        size: how many frames a chunk has at most, 1 or more; None: from edge to edge.
    """
    at = set(edges)
    pieces: list[range] = []
    for run in runs(frames):
        starts = [run[0], *(frame for frame in run[1:] if frame in at), run[-1] + 1]
        pieces += [range(start, stop) for start, stop in pairwise(starts)]
    if size is None:
        return Division(max(map(len, pieces)), tuple(pieces))
    groups: list[range] = []
    for piece in pieces:
        if groups and groups[-1].stop == piece.start and len(groups[-1]) + len(piece) <= size:
            groups[-1] = range(groups[-1].start, piece.stop)
        else:
            groups.append(piece)
    return Division(size, tuple(groups))


def evenly(frames: range, size: int) -> list[range]:
    """Neighbouring frames as chunks of at most `size`, whose lengths differ by one at most, as Open Job Description
    does it."""
    count = -(-len(frames) // size)
    small, more = divmod(len(frames), count)
    longer = {(index * count) // more for index in range(more)}
    chunks, start = [], frames.start
    for index in range(count):
        stop = start + small + (index in longer)
        chunks.append(range(start, stop))
        start = stop
    return chunks


def runs(frames: Sequence[int]) -> list[range]:
    """Frames, ascending, as runs of neighbours."""
    found: list[range] = []
    for frame in frames:
        if found and found[-1].stop == frame:
            found[-1] = range(found[-1].start, frame + 1)
        else:
            found.append(range(frame, frame + 1))
    return found


def regular(chunks: Sequence[range], most: int = 8) -> list[tuple[list[range], int]]:
    """Chunks for farms that know one length for all, counted from the first frame on: runs of chunks of one length, the
    last one of each run shorter or as long.

    Args:
        chunks: ascending.
        most: how many runs at most; where it would take more there is one, of the middle length, so that edges lie
            elsewhere than in `chunks`.

    Returns:
        Frames, as runs of neighbours, and how many a chunk has.
    """
    found: list[tuple[list[range], int]] = []
    ended = True
    for chunk in chunks:
        if not ended and chunk.start == found[-1][0][-1].stop and len(chunk) <= found[-1][1]:
            frames, length = found[-1]
            frames[-1] = range(frames[-1].start, chunk.stop)
            ended = len(chunk) < length
        else:
            found.append(([chunk], len(chunk)))
            ended = False
    if len(found) <= most:
        return found
    middle = sorted(map(len, chunks))[len(chunks) // 2]
    return [(runs([frame for chunk in chunks for frame in chunk]), middle)]


def on_edges(chunks: Iterable[range], edges: Sequence[int]) -> int:
    """How many chunks begin on one of `edges`, which ascend."""
    return sum(
        edges[place] == chunk.start for chunk in chunks if (place := bisect_left(edges, chunk.start)) < len(edges)
    )


def chunk_size(text: str) -> int | None:
    """The frames a chunk has at most, as --chunk gives it; None: from key to key.

    Raises:
        RequestError: neither a number above 0 nor the word keys.
    """
    if text == "keys":
        return None
    if text.isascii() and text.isdigit() and 0 < int(text) <= 1_000_000:
        return int(text)
    raise RequestError(f"--chunk: expected a number of frames, such as 20, or keys, got {text!r}")


def in_words(chunk: range) -> str:
    """A chunk as a frame range: 1001-1020, or 1001."""
    return f"{chunk.start}-{chunk.stop - 1}" if len(chunk) > 1 else str(chunk.start)
