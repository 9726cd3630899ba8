"""What a plate file holds, without its pixels, and the error that all readers and writers raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

Window = tuple[int, int, int, int]
"""xmin, ymin, xmax, ymax in pixels, all four inclusive, y growing downwards."""

MAXIMUM_PIXEL_BYTES = 8 << 30
"""Decoded size of one file above which it is refused: 8K with ten layers of RGBA float stays below."""


# What a file may claim however small it is, and how often its own size beyond that. Pictures all of one value are real;
# a whole machine's memory out of a few thousand bytes is not.
UNSUSPICIOUS_BYTES = 768 << 20
UNSUSPICIOUS_RATIO = 1500

_LONGEST_LINE = 4000


def one_line(text: str) -> str:
    """Return a text as one printable line of bounded length, whatever names out of files it holds."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 4]} ..."


class PlateError(Exception):
    """A plate that cannot be read or written, in one line: what was expected, what was found, where, what to do."""

    def __init__(self, message: str) -> None:
        # Names out of damaged files can hold anything; a message is one printable line whatever they hold.
        super().__init__(one_line(message))


@dataclass(frozen=True)
class RawAttribute:
    """An attribute whose type has no Python counterpart here, as it lies in the file."""

    type_name: str
    data: bytes


@dataclass(frozen=True)
class ChannelInfo:
    """One channel: its full name (layer included) and how it is stored.

    Attributes:
        name: For example "R" or "diffuse.R".
        pixel_type: "half", "float", "uint32" in EXR; "uint8", "uint16", "uint32", "half", "float" elsewhere.
        x_sampling: One column in so many is stored; 1 for every plate that can be rewritten.
        y_sampling: The same for rows.
        perceptually_linear: The pLinear flag, which steers lossy EXR compression.
    """

    name: str
    pixel_type: str
    x_sampling: int = 1
    y_sampling: int = 1
    perceptually_linear: bool = False


@dataclass(frozen=True)
class PartInfo:
    """One part of a plate.

    Attributes:
        name: The part's name; "" where the file names none.
        channels: In the order of the file.
        data_window: The rectangle for which there are pixels.
        display_window: The rectangle that is the picture.
        compression: For example "zip"; "" where the format has none.
        kind: "scanline" or "tiled".
        attributes: Everything else the header says, by name: numbers, strings, tuples of them, or `RawAttribute`.
    """

    name: str
    channels: tuple[ChannelInfo, ...]
    data_window: Window
    display_window: Window
    compression: str
    kind: str
    attributes: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def width(self) -> int:
        """Columns of the data window."""
        return self.data_window[2] - self.data_window[0] + 1

    @property
    def height(self) -> int:
        """Rows of the data window."""
        return self.data_window[3] - self.data_window[1] + 1

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels in the order of the file."""
        return tuple(channel.name for channel in self.channels)


@dataclass(frozen=True)
class PlateInfo:
    """What a plate file holds, without its pixels.

    Attributes:
        path: Where it was read from.
        parts: At least one.
        format: "exr", "dpx", "tiff", "png", "hdr" or "jpeg".
    """

    path: Path
    parts: tuple[PartInfo, ...]
    format: str

    @property
    def width(self) -> int:
        """Columns of part 0's data window."""
        return self.parts[0].width

    @property
    def height(self) -> int:
        """Rows of part 0's data window."""
        return self.parts[0].height
