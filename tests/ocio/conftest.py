"""Judges of EXR files that share no code with stpn.ocio."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

RawAttributes = dict[str, tuple[str, bytes]]


def raw_attributes(data: bytes) -> list[RawAttributes]:
    """Return the attributes of every part of a whole, undamaged EXR file: name to type and bytes, in file order."""
    multipart = struct.unpack_from("<I", data, 4)[0] & 0x1000
    position = 8
    parts: list[RawAttributes] = []
    while True:
        attributes: RawAttributes = {}
        while data[position]:
            middle = data.index(b"\0", position)
            end = data.index(b"\0", middle + 1)
            name, type_name = data[position:middle], data[middle + 1 : end]
            position = end + 1
            size = struct.unpack_from("<i", data, position)[0]
            attributes[name.decode()] = (type_name.decode(), data[position + 4 : position + 4 + size])
            position += 4 + size
        position += 1
        parts.append(attributes)
        if not multipart or not data[position]:
            return parts


@pytest.fixture(scope="session")
def exr_attributes() -> Callable[[Path], list[RawAttributes]]:
    """A reader of raw EXR attributes."""
    return lambda path: raw_attributes(path.read_bytes())
