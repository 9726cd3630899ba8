"""The four directions of propagation and their order in a gate tensor."""

from enum import IntEnum


class Direction(IntEnum):
    """Where propagation runs to; the value is the index on axis 1 of a gate tensor."""

    RIGHT = 0
    LEFT = 1
    DOWN = 2
    UP = 3

    @property
    def opposite(self) -> "Direction":
        """The direction that runs back."""
        return Direction(self ^ 1)

    @property
    def horizontal(self) -> bool:
        """Whether columns follow one another (otherwise rows do)."""
        return self < Direction.DOWN

    @property
    def reverse(self) -> bool:
        """Whether the last column (or row) comes first."""
        return bool(self & 1)
