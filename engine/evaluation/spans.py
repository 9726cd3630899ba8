"""Keys every K frames, and the frames that the same keys serve."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Frames that the same keys serve.

    Attributes:
        keys: the one or two key frames, ascending.
        targets: the frames to carry to, ascending; none of them a key.
    """

    keys: tuple[int, ...]
    targets: range

    @property
    def reach(self) -> range:
        """All frames from key to target, keys included."""
        return range(self.keys[0], max(self.keys[-1], self.targets[-1]) + 1)

    def nearest(self, frame: int) -> int:
        """The key that is nearest to a frame, the earlier one of two."""
        return min(self.keys, key=lambda key: (abs(key - frame), key))


def spans(count: int, interval: int) -> list[Span]:
    """All frames that are measured of a clip of `count`: keys are 0, `interval`, and so on, all others are targets.

    Frames after the last key have that one alone.
    """
    found = []
    for before in range(0, count, interval):
        after = before + interval
        targets = range(before + 1, min(after, count))
        if targets:
            found.append(Span((before, after) if after < count else (before,), targets))
    return found
