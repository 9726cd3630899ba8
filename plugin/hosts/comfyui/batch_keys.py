"""Which frames of a batch are keys, and which keys serve a frame. Frames of a batch are counted from 0."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

_ITEM = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?:x([0-9]{1,9}))?)?")


def frames_of(text: str, count: int) -> tuple[int, ...]:
    """Frames of a range as typed, such as 0-80x20,93, ascending, each once.

    Args:
        text: frames and ranges with commas between; a range may run backwards.
        count: of the frames there are; others are refused before any memory is taken for them.

    Raises:
        ValueError: something else stands there, or a frame beyond the last.
    """
    found: set[int] = set()
    for item in text.split(","):
        match = _ITEM.fullmatch("".join(item.split()))
        if match is None:
            raise ValueError(f"Key frames {text!r}: expected frames or ranges such as 0-80x20,93, got {item.strip()!r}")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        step = int(match[3]) if match[3] else 1
        if step < 1 or max(first, last) >= count:
            raise ValueError(
                f"Key frames {text!r}: expected frames from 0 to {count - 1} with steps of 1 or more, got "
                f"{item.strip()!r}; frames of a batch are counted from 0"
            )
        found.update(range(first, last + 1, step) if first <= last else range(first, last - 1, -step))
    return tuple(sorted(found))


def key_frames(settings: Mapping[str, Any], count: int, keys: int) -> tuple[int, ...]:
    """Where the key pictures stand, ascending, one frame for each.

    Args:
        settings: key_frames, interval and first_key as the node has them.
        count: frames of the Source.
        keys: pictures of Keys.

    Raises:
        ValueError: there are more or fewer of them than frames, or one stands beyond the Source.
    """
    if settings["key_frames"]:
        listed = frames_of(settings["key_frames"], count)
        if len(listed) != keys:
            raise ValueError(f"Keys: expected a picture for each of {len(listed)} key frames, got {keys}")
        return listed
    text = settings["first_key"] or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError(f"First key: expected a frame, counted from 0, or nothing, got {text!r}")
    first, interval = int(text), int(settings["interval"])
    fits = len(range(first, count, interval))
    if keys > fits:
        raise ValueError(
            f"Keys: expected at most {fits} pictures, one at frame {first} and every {interval} frames of {count}, got "
            f"{keys}; set Interval, First key or Key frames"
        )
    return tuple(range(first, count, interval))[:keys]


def serving(frame: int, keys: Sequence[int], used: str) -> tuple[int, ...]:
    """The keys that serve a frame, ascending: itself, or the one or two around it.

    Args:
        frame: the frame.
        keys: key frames, ascending.
        used: both, previous or next: which of them are wanted.

    Raises:
        ValueError: there is none.
    """
    place = bisect_left(keys, frame)
    if place < len(keys) and keys[place] == frame:
        return (frame,)
    before = keys[place - 1 : place] if place and used != "next" else ()
    after = keys[place : place + 1] if used != "previous" else ()
    found = (*before, *after)
    if not found:
        raise ValueError(
            f"Keys: expected a key before or after every frame, there is none for frame {frame} with keys at "
            f"{', '.join(map(str, keys))}; set Keys used to Both sides, or give a key there"
        )
    return found


def order(served: Sequence[tuple[int, ...]]) -> list[int]:
    """Frames in the order in which they are best made.

    Args:
        served: the keys that serve each frame.

    Returns:
        Every frame once. Of those that a key before them serves alone the farthest comes first: its job names every
        plate frame that the others need, and what the worker finds out of those serves them all.
    """
    alone = {frame for frame, keys in enumerate(served) if len(keys) == 1 and keys[0] < frame}
    rest = (frame for frame in range(len(served)) if frame not in alone)
    return [*rest, *sorted(alone, key=lambda frame: (served[frame], -frame))]
