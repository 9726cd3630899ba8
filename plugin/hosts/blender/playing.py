"""Which file of a sequence Blender plays at which frame of the scene."""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Playing:
    """How an Image node plays its sequence; each field is that of the node.

    At scene frame `start` file number `offset` + 1 plays, at the next one the next, and so on for `duration` files.
    Before that nothing does; after it the last file stays, or the sequence begins again where it is cyclic.
    """

    start: int
    duration: int
    offset: int
    cyclic: bool = False

    @property
    def files(self) -> range:
        """The numbers of the files that play at all."""
        return range(self.offset + 1, self.offset + self.duration + 1)

    @property
    def shift(self) -> int:
        """File number less scene frame."""
        return self.offset + 1 - self.start

    def file_at(self, frame: int) -> int | None:
        """The number of the file that plays at a frame of the scene; None: none does."""
        place = frame - self.start
        if self.cyclic:
            place %= self.duration
        return self.files[min(place, self.duration - 1)] if place >= 0 else None

    def files_at(self, frames: Iterable[int]) -> list[int]:
        """The numbers of the files that play at some frames of the scene, ascending."""
        return sorted({number for number in map(self.file_at, frames) if number is not None})

    def only(self, first: int, last: int) -> "Playing":
        """The same with some of the files, each at its own scene frame.

        A part of a cyclic sequence plays once only.
        """
        if (first, last) == (self.files[0], self.files[-1]):
            return self
        return replace(self, start=first - self.shift, duration=last - first + 1, offset=first - 1, cyclic=False)

    def shown(self, of: "Playing") -> tuple[int | None, int | None]:
        """From which to which scene frame this part of `of` shows what `of` does; None: no end on that side."""
        if self == of and of.cyclic:
            return None, None
        stays = self.files[-1] == of.files[-1] and not of.cyclic
        return self.start, None if stays else self.start + self.duration - 1


def listed(numbers: Iterable[int]) -> str:
    """Ascending numbers as `stpn propagate --frames` takes them: 1001-1020,1025."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
