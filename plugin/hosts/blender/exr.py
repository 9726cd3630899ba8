"""The channels of EXR files by name: Blender reads R, G, B, A and Y, and layers, but no others.

Of a file with another channel alone it shows whatever memory holds.
"""

import struct

SHOWN = frozenset("RGBAY")
"""Channels of a file without layers that Blender shows."""

_MAGIC = 20000630
_CHANNEL_ENTRY = 16  # after its name: type, linearity, samplings


def channel_names(path: str) -> list[str]:
    """The channels of the first part, in the order of the file.

    Raises:
        ValueError: it is no EXR.
    """
    with open(path, "rb") as file:
        data = file.read(1 << 16)
    start, size = _channels(data)
    names, end = [], start + size - 1
    while start < end:
        stop = data.index(0, start)
        names.append(data[start:stop].decode("utf-8", "replace"))
        start = stop + 1 + _CHANNEL_ENTRY
    return names


def _channels(data: bytes) -> tuple[int, int]:
    """Place and size of the list of channels in the first header."""
    try:
        if struct.unpack_from("<I", data)[0] != _MAGIC:
            raise ValueError("it does not begin as an EXR does")
        place = 8
        while data[place]:
            stop = data.index(0, place)
            name = data[place:stop]
            stop = data.index(0, stop + 1)
            (size,) = struct.unpack_from("<I", data, stop + 1)
            place = stop + 5
            if name == b"channels":
                return place, size
            place += size
        raise ValueError("it has no list of channels")
    except (struct.error, IndexError) as error:
        raise ValueError(f"expected an EXR: {error}") from None
