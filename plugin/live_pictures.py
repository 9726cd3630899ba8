"""Pictures that a host hands over, as plates: what they are, how they lie in memory, and a source of frames of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.plate import ChannelInfo, PartInfo, Plate, PlateError, PlateInfo
from stpn.ocio.raster import normalized

Array = NDArray[Any]

TYPES: Mapping[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "half": np.dtype(np.float16),
    "uint16": np.dtype(np.uint16),
    "uint8": np.dtype(np.uint8),
}
"""Pixel types by name."""

LAYOUTS = ("RGBA", "RGB", "A")
"""Channels that a host's picture may have."""

_LARGEST_SIDE = 65536
_ALIGNED = 64
_IDENTIFIER = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")


@dataclass(frozen=True)
class PictureInfo:
    """A picture in shared memory: planes in the order of its channels, rows from the top, nothing between rows.

    Attributes:
        width, height: pixels.
        type: float, half, uint16 or uint8.
        channels: RGBA, RGB or A; of a result those that were made.
    """

    width: int
    height: int
    type: str
    channels: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values."""
        return TYPES[self.type]

    @property
    def stride(self) -> int:
        """Bytes from the beginning of a plane to that of the next: each begins at a multiple of 64."""
        return -(-self.width * self.height * self.dtype.itemsize // _ALIGNED) * _ALIGNED

    @property
    def size(self) -> int:
        """Bytes of all planes."""
        return self.stride * len(self.channels)

    def planes(self, memory: memoryview) -> dict[str, Array]:
        """(H, W) of each channel by name, which lie in a memory of `size` bytes."""
        count = self.width * self.height
        return {
            name: np.frombuffer(memory, self.dtype, count, self.stride * index).reshape(self.height, self.width)
            for index, name in enumerate(self.channels)
        }


def described(text: str) -> tuple[str, PictureInfo]:
    """A picture from the words of a message: `ID WIDTH HEIGHT TYPE CHANNELS`.

    Raises:
        ValueError: it makes no sense.
    """
    words = text.split(" ")
    if len(words) != 5:
        raise ValueError(f"picture: expected ID WIDTH HEIGHT TYPE CHANNELS, got {text!r}")
    name, width, height, kind, channels = words
    if not _IDENTIFIER.match(name):
        raise ValueError(f"picture: expected an ID of up to 64 letters, digits, _ and -, got {name!r}")
    sides = [int(side) if side.isascii() and side.isdigit() and len(side) < 6 else 0 for side in (width, height)]
    if not all(0 < side <= _LARGEST_SIDE for side in sides):
        raise ValueError(f"picture {name}: expected 1 to {_LARGEST_SIDE} pixels a side, got {width} x {height}")
    if kind not in TYPES:
        raise ValueError(f"picture {name}: expected a type of {', '.join(TYPES)}, got {kind!r}")
    if channels not in LAYOUTS:
        raise ValueError(f"picture {name}: expected channels {', '.join(LAYOUTS)}, got {channels!r}")
    return name, PictureInfo(sides[0], sides[1], kind, channels)


@dataclass(frozen=True)
class HostFrames:
    """Frames of one input of a host, as a source of plates; see `stpn.plugin.frame_source.FrameSource`.

    A single channel counts as luminance, Y, for color; `as_mattes` leaves it A. Integers count as code values of a
    TIFF; `as_numbers` makes them floats.

    Attributes:
        pattern: what the host calls the input: Source, Keys.
        pictures: by frame: what each is, and its planes.
        as_mattes: whether a single channel is alpha.
        as_numbers: "": integers stay; whole: the same numbers as float; unit: 0..1 as float.
    """

    pattern: str
    pictures: Mapping[int, tuple[PictureInfo, Mapping[str, Array]]]
    as_mattes: bool = False
    as_numbers: str = ""

    def path(self, frame: int) -> Path:
        """See `FrameSource`."""
        return Path(f"{self.pattern} frame {frame}")

    def info(self, frame: int) -> PlateInfo:
        """What the picture of a frame is, as a plate.

        Raises:
            PlateError: there is none.
        """
        if frame not in self.pictures:
            raise PlateError(f"{self.path(frame)}: expected a picture, the host gave none")
        picture = self.pictures[frame][0]
        integer = picture.dtype.kind == "u" and not self.as_numbers
        kind = picture.type if picture.dtype.kind == "f" or integer else "float"
        names = sorted(self._names(picture.channels))
        window = (0, 0, picture.width - 1, picture.height - 1)
        part = PartInfo(
            "", tuple(ChannelInfo(name, kind) for name in names), window, window, "" if integer else "zip", "scanline"
        )
        return PlateInfo(self.path(frame), (part,), "tiff" if integer else "exr")

    def read(self, frame: int) -> Plate:
        """See `FrameSource`; the pixels are where the host's were put, not copied."""
        info = self.info(frame)
        planes = self.pictures[frame][1]
        found = dict(zip(self._names("".join(planes)), map(self._numbers, planes.values()), strict=True))
        return Plate(info, [{name: found[name] for name in sorted(found)}])

    def empty_like(self, frame: int, part: int) -> Plate:
        """See `FrameSource`."""
        info = self.info(frame).parts[part]
        alone = PartInfo("", (), info.data_window, info.display_window, "zip", "scanline")
        return Plate(PlateInfo(self.path(frame), (alone,), "exr"), [{}])

    def _names(self, channels: str) -> tuple[str, ...]:
        return ("Y",) if channels == "A" and not self.as_mattes else tuple(channels)

    def _numbers(self, plane: Array) -> Array:
        if plane.dtype.kind != "u" or not self.as_numbers:
            return plane
        return plane.astype(np.float32) if self.as_numbers == "whole" else normalized(plane)
