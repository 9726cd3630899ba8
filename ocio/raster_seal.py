"""The digest in files that are not EXR: put into the bytes of a file that is complete, and compared with them again.

OpenImageIO writes a place for it, which lies unpacked in a PNG's text, the XMP of TIFF and JPEG, or the user data of a
DPX. What the file holds is the digest of all its bytes with zeros in that place.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from stpn.ocio.digest import (
    ATTRIBUTE,
    DPX_ATTRIBUTE,
    LENGTH,
    PREFIX,
    TIFF_ATTRIBUTE,
    text_of_digest,
)

_NOTHING = "0" * LENGTH
_PNG = b"\x89PNG\r\n\x1a\n"
_DPX = (b"SDPX", b"XPDS")
# where SMPTE ST 268 has the file's name
_DPX_NAME = range(36, 136)


def reserve(spec: Any, format_name: str, made_of: str | None) -> str | None:
    """Takes what a plate said out of the description of a file, and puts a place for the digest into it.

    Args:
        spec: of OpenImageIO; changed.
        format_name: png, tiff ...
        made_of: of `stpn.ocio.digest`; None: the file shall not say.

    Returns:
        Why there is no place; None where there is one, or nobody wants one.
    """
    import OpenImageIO as oiio

    for item in list(spec.extra_attribs):
        if text_of_digest(item.name, item.value) is not None:
            spec.erase_attribute(item.name)
    if made_of is None:
        return None
    text = f"{made_of}:{_NOTHING}"
    if format_name == "png":
        spec.attribute(ATTRIBUTE, text)
    elif format_name in ("tiff", "jpeg"):
        spec.attribute(TIFF_ATTRIBUTE, PREFIX + text)
    elif format_name == "dpx":
        if any(item.name == DPX_ATTRIBUTE for item in spec.extra_attribs):
            return "the plate's user data is where it would go"
        data = np.frombuffer((PREFIX + text).encode(), np.uint8)
        spec.attribute(DPX_ATTRIBUTE, oiio.TypeDesc(f"uint8[{len(data)}]"), data)
    else:
        return "the format cannot hold it"
    return None


def complete_bytes(data: bytes, made_of: str | None) -> bytes:
    """A file as it is put in place: with the digest where `reserve` left room for it, None: as it is.

    A DPX does not say under what name OpenImageIO has written it, which is no name of the result.
    """
    if data.startswith(_DPX):
        data = data[: _DPX_NAME.start] + bytes(len(_DPX_NAME)) + data[_DPX_NAME.stop :]
    if made_of is None:
        return data
    blank = f"{made_of}:{_NOTHING}".encode()
    return _replaced(data, blank, f"{made_of}:{_held(data)}".encode())


def holds_what_was_written(path: Path, made_of: str, holds: str) -> bool:
    """Whether a file is, byte for byte, what was written.

    Args:
        path: the file.
        made_of, holds: what it says of itself.

    Raises:
        OSError: it cannot be read.
    """
    said, blank = f"{made_of}:{holds}".encode(), f"{made_of}:{_NOTHING}".encode()
    return _held(_replaced(path.read_bytes(), said, blank)) == holds


def _held(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:LENGTH]


def _replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """A file with bytes replaced by others of the same number; of a PNG, with the checksum of their chunk made anew,
    if it was right before."""
    if not data.startswith(_PNG):
        return data.replace(old, new)
    done, place = bytearray(data), data.find(old)
    while place >= 0:
        begin = data.rfind(b"tEXt", 0, place)
        (length,) = struct.unpack_from(">I", data, begin - 4) if begin >= 4 else (0,)
        end = begin + 4 + length
        if begin < 4 or end + 4 > len(data) or place + len(old) > end:
            return data
        (checksum,) = struct.unpack_from(">I", data, end)
        done[place : place + len(old)] = new
        if checksum == zlib.crc32(data[begin:end]):
            struct.pack_into(">I", done, end, zlib.crc32(done[begin:end]))
        place = data.find(old, end)
    return bytes(done)
