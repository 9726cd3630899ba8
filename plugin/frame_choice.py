"""Which frames of a long shot to look at: a key, and the frames where a result has the hardest time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

ROWS = 5
"""How many frames are chosen."""


def distance(frame: int, keys: Sequence[int]) -> int:
    """Frames from a frame to the nearest of `keys`, which ascend; there is at least one."""
    place = bisect_left(keys, frame)
    return min(abs(frame - key) for key in keys[max(place - 1, 0) : place + 1])


def chosen_frames(frames: Sequence[int], keys: Sequence[int], count: int = ROWS) -> tuple[int, ...]:
    """Some frames that stand for all.

    With keys: the key nearest the middle, then, one by one, the frame farthest from all keys and all frames chosen so
    far; among equals the one farthest from the chosen ones. Without: evenly spread, first and last included.

    Args:
        frames: to choose from, ascending, at least one.
        keys: key frames, ascending; may be empty, or lie elsewhere.
        count: how many at most.

    Returns:
        Ascending.
    """
    count = min(count, len(frames))
    is_key = set(keys)
    others = [frame for frame in frames if frame not in is_key]
    if not keys or not others:
        step = (len(frames) - 1) / max(count - 1, 1)
        return tuple(frames[int(index * step + 0.5)] for index in range(count))
    middle = (frames[0] + frames[-1]) / 2
    chosen = sorted((frame for frame in frames if frame in is_key), key=lambda key: (abs(key - middle), key))[:1]
    # for each frame left: how far the next frame that counts is, the next chosen one, and all chosen ones together
    nearest = {frame: distance(frame, keys) for frame in others}
    apart = {frame: min((abs(frame - other) for other in chosen), default=0) for frame in others}
    total = dict(apart)
    while len(chosen) < count and nearest:
        best = max(nearest, key=lambda frame: (nearest[frame], apart[frame], total[frame], -frame))
        del nearest[best]
        for frame in nearest:
            away = abs(frame - best)
            nearest[frame] = min(nearest[frame], away)
            apart[frame] = min(apart[frame], away) if chosen else away
            total[frame] += away
        chosen.append(best)
    return tuple(sorted(chosen))
