"""The header of an EXR file, read without the OpenEXR library and checked before anything else touches the file.

Every length is compared with what the file still holds before a byte is read; nothing here decodes pixels. What the
header claims about them is compared with the size of the file in `exr_chunks`, before memory is asked for.

Source: "OpenEXR File Layout", Academy Software Foundation.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from stpn.ocio.exr_attributes import COMPRESSIONS, LAYOUTS, LINE_ORDERS, check_attribute
from stpn.ocio.plate_info import ChannelInfo, RawAttribute, Window

MAGIC = b"\x76\x2f\x31\x01"
TILED, LONG_NAMES, DEEP, MULTIPART = 0x200, 0x400, 0x800, 0x1000
PIXEL_TYPES = ("uint32", "half", "float")
PIXEL_BYTES = {"uint32": 4, "half": 2, "float": 4}

MAXIMUM_HEADER_BYTES = 64 << 20
MAXIMUM_PARTS = 1024
MAXIMUM_CHANNELS = 4096
# of all parts together: each takes memory and time of its own, however few bytes it has in the file
MAXIMUM_ALL_CHANNELS = 65536
MAXIMUM_ALL_ATTRIBUTES = 16384
MAXIMUM_COORDINATE = (1 << 30) - 2

_REQUIRED = {
    "channels": "chlist",
    "compression": "compression",
    "dataWindow": "box2i",
    "displayWindow": "box2i",
    "lineOrder": "lineOrder",
    "pixelAspectRatio": "float",
    "screenWindowCenter": "v2f",
    "screenWindowWidth": "float",
}
_FIXED_TYPES = {**_REQUIRED, "name": "string", "type": "string", "chunkCount": "int", "tiles": "tiledesc"}


class HeaderError(Exception):
    """What is wrong with a header, without the path: `plate.inspect_plate` adds that."""


class NotRewritable(HeaderError):
    """The file is not damaged, but holds what cannot be written again whole; only a copy of its bytes is the same."""


@dataclass(frozen=True)
class ExrPart:
    """One checked part of an EXR header.

    Attributes:
        index: Its place in the file.
        attributes: All of them as they lie in the file, in file order.
        channels: In file order.
        data_window: Inclusive.
        display_window: Inclusive.
        compression: One of `COMPRESSIONS`.
        kind: "scanline" or "tiled".
        tile_size: Columns and rows of a tile; (0, 0) for scan lines.
    """

    index: int
    attributes: dict[str, RawAttribute]
    channels: tuple[ChannelInfo, ...]
    data_window: Window
    display_window: Window
    compression: str
    kind: str
    tile_size: tuple[int, int]

    @property
    def width(self) -> int:
        """Columns of the data window."""
        return self.data_window[2] - self.data_window[0] + 1

    @property
    def height(self) -> int:
        """Rows of the data window."""
        return self.data_window[3] - self.data_window[1] + 1

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel over all channels."""
        return sum(PIXEL_BYTES[channel.pixel_type] for channel in self.channels)

    @property
    def where(self) -> str:
        """How errors call this part."""
        raw = self.attributes.get("name")
        name = raw.data.decode("utf-8", "replace") if raw else ""
        printable = "".join(letter if letter.isprintable() else "?" for letter in name[:255])
        return f"part {self.index}" + (f" ({printable})" if raw else "")


@dataclass(frozen=True)
class ExrHeader:
    """All checked parts of a file.

    Attributes:
        flags: The version field with its flag bits.
        parts: At least one.
        end: Position behind the headers, where the chunk offset tables begin.
        file_bytes: Size of the whole file.
    """

    flags: int
    parts: tuple[ExrPart, ...]
    end: int
    file_bytes: int

    @property
    def multipart(self) -> bool:
        """Whether the file is laid out as a multipart file, even one with a single part."""
        return bool(self.flags & MULTIPART)


class _Bytes:
    """A file read forward, which never reads beyond its end nor more than a header may take."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.position = 0

    def take(self, count: int, what: str) -> bytes:
        if count < 0:
            raise HeaderError(f"{what} claims a size of {count} bytes: damaged")
        if self.position + count > self._size:
            left = self._size - self.position
            raise HeaderError(
                f"expected {count} bytes for {what} at byte {self.position}, found {max(left, 0)}: damaged"
            )
        if self.position + count > MAXIMUM_HEADER_BYTES:
            raise HeaderError(f"the header takes more than {MAXIMUM_HEADER_BYTES >> 20} MiB at {what}: damaged")
        data = self._file.read(count)
        if len(data) != count:
            raise HeaderError(f"expected {count} bytes for {what} at byte {self.position}, found {len(data)}: damaged")
        self.position += count
        return data

    def name(self, limit: int, what: str) -> str:
        room = min(limit + 1, self._size - self.position, MAXIMUM_HEADER_BYTES - self.position)
        letters = self._file.read(max(room, 0))
        end = letters.find(b"\0")
        if end < 0:
            self.position += len(letters)
            if len(letters) > limit:
                raise HeaderError(f"{what} is longer than {limit} letters at byte {self.position}: damaged")
            self.take(1, what)  # says why there is no more
            raise HeaderError(f"{what} has no end at byte {self.position}: damaged")
        self._file.seek(end + 1 - len(letters), io.SEEK_CUR)
        self.position += end + 1
        try:
            return letters[:end].decode("utf-8")
        except UnicodeDecodeError:
            raise HeaderError(f"{what} {letters[:end]!r} is not UTF-8: damaged") from None


def read_header(file: BinaryIO, size: int) -> ExrHeader:
    """Read and check the header of an EXR file.

    Args:
        file: Opened for reading in binary mode, standing at its beginning.
        size: Its size in bytes.

    Raises:
        HeaderError: The header is damaged, or tells of something that cannot be rewritten whole.
    """
    source = _Bytes(file, size)
    if source.take(4, "the magic number") != MAGIC:
        raise HeaderError("not an EXR file: it does not begin with 76 2f 31 01")
    (flags,) = struct.unpack("<I", source.take(4, "the version field"))
    if flags & 0xFF != 2:
        raise HeaderError(f"expected EXR version 2, found {flags & 0xFF}: damaged or from the future")
    unknown = flags & ~(0xFF | TILED | LONG_NAMES | DEEP | MULTIPART)
    if unknown:
        raise HeaderError(f"version field has the unknown flags {unknown:#x}: damaged or from the future")
    if flags & TILED and flags & (DEEP | MULTIPART):
        raise HeaderError("version field says both single-part tiles and deep or multipart: damaged")
    if flags & DEEP:
        raise NotRewritable("holds deep data, which cannot be rewritten whole: flatten it first")
    parts: list[ExrPart] = []
    limit = 255 if flags & LONG_NAMES else 31
    while True:
        room = MAXIMUM_ALL_ATTRIBUTES - sum(len(part.attributes) for part in parts)
        attributes = _read_attributes(source, limit, len(parts), room)
        if flags & MULTIPART and not attributes:
            break
        parts.append(_checked_part(len(parts), attributes, flags))
        if not flags & MULTIPART:
            break
        if len(parts) > MAXIMUM_PARTS:
            raise HeaderError(f"more than {MAXIMUM_PARTS} parts: damaged")
        if sum(len(part.channels) for part in parts) > MAXIMUM_ALL_CHANNELS:
            raise HeaderError(f"more than {MAXIMUM_ALL_CHANNELS} channels in all parts: damaged")
    if not parts:
        raise HeaderError("a multipart file without parts: damaged")
    names = [part.attributes["name"].data for part in parts if "name" in part.attributes]
    if len(set(names)) != len(names):
        raise HeaderError("two parts share one name: damaged")
    return ExrHeader(flags, tuple(parts), source.position, size)


def _read_attributes(source: _Bytes, limit: int, part: int, room: int) -> dict[str, RawAttribute]:
    attributes: dict[str, RawAttribute] = {}
    while name := source.name(limit, f"an attribute name of part {part}"):
        type_name = source.name(limit, f"the type of attribute {name!r} of part {part}")
        (count,) = struct.unpack("<i", source.take(4, f"the size of attribute {name!r} of part {part}"))
        data = source.take(count, f"attribute {name!r} of part {part}")
        if name in attributes:
            raise HeaderError(f"part {part} has attribute {name!r} twice: damaged")
        expected = _FIXED_TYPES.get(name, type_name)
        if expected != type_name:
            raise HeaderError(
                f"part {part}: expected attribute {name!r} of type {expected}, found {type_name!r}: damaged"
            )
        try:
            check_attribute(type_name, data)
        except ValueError as error:
            raise HeaderError(f"part {part}, attribute {name!r}: {error}") from None
        attributes[name] = RawAttribute(type_name, data)
        if len(attributes) > room:
            raise HeaderError(f"more than {MAXIMUM_ALL_ATTRIBUTES} attributes: damaged")
    return attributes


def _checked_part(index: int, attributes: dict[str, RawAttribute], flags: int) -> ExrPart:
    where = f"part {index}"
    required = [*_REQUIRED, *(("name", "type", "chunkCount") if flags & MULTIPART else ())]
    missing = [name for name in required if name not in attributes]
    if missing:
        raise HeaderError(f"{where} lacks the attributes {', '.join(missing)}: damaged")
    data_window = _window(attributes["dataWindow"], f"{where}: the data window")
    display_window = _window(attributes["displayWindow"], f"{where}: the display window")
    channels = channel_list(attributes["channels"].data, where)
    kind, tile_size = _kind(attributes, flags, where)
    compression = COMPRESSIONS[attributes["compression"].data[0]]
    if kind == "scanline" and LINE_ORDERS[attributes["lineOrder"].data[0]] == "random":
        raise HeaderError(f"{where} has scan lines in random order, which is for tiles alone: damaged")
    return ExrPart(index, attributes, channels, data_window, display_window, compression, kind, tile_size)


def _window(attribute: RawAttribute, what: str) -> Window:
    xmin, ymin, xmax, ymax = struct.unpack(LAYOUTS["box2i"], attribute.data)
    if xmin > xmax or ymin > ymax or max(map(abs, (xmin, ymin, xmax, ymax))) > MAXIMUM_COORDINATE:
        raise HeaderError(f"{what} ({xmin}, {ymin}) - ({xmax}, {ymax}) is impossible: damaged")
    return xmin, ymin, xmax, ymax


def _kind(attributes: dict[str, RawAttribute], flags: int, where: str) -> tuple[str, tuple[int, int]]:
    stated = attributes["type"].data.decode("utf-8", "replace") if "type" in attributes else None
    if stated in ("deepscanline", "deeptile"):
        raise NotRewritable(f"{where} holds deep data, which cannot be rewritten whole: flatten it first")
    if stated not in (None, "scanlineimage", "tiledimage"):
        raise HeaderError(f"{where} is of the unknown type {stated!r}: damaged or from the future")
    tiled = stated == "tiledimage" if flags & MULTIPART else bool(flags & TILED)
    if not flags & MULTIPART and stated is not None and (stated == "tiledimage") != tiled:
        raise HeaderError(f"{where} calls itself {stated} against the version field: damaged")
    if not tiled:
        return "scanline", (0, 0)
    if "tiles" not in attributes:
        raise HeaderError(f"{where} is tiled but lacks the attribute tiles: damaged")
    width, height, mode = struct.unpack(LAYOUTS["tiledesc"], attributes["tiles"].data)
    if not 0 < width <= MAXIMUM_COORDINATE or not 0 < height <= MAXIMUM_COORDINATE or mode & 0xF > 2 or mode >> 4 > 1:
        raise HeaderError(f"{where}: tiles of {width} x {height}, mode {mode}, are impossible: damaged")
    if mode & 0xF:
        levels = ("", "mip-mapped", "rip-mapped")[mode & 0xF]
        raise NotRewritable(f"{where} is {levels}, its smaller levels cannot be rewritten: keep the full size only")
    return "tiled", (width, height)


def channel_list(data: bytes, where: str) -> tuple[ChannelInfo, ...]:
    """Return the channels of a `chlist`.

    Args:
        data: The attribute's bytes.
        where: The part, for errors.

    Raises:
        HeaderError: It is damaged, or names channels that cannot be rewritten.
    """
    channels: list[ChannelInfo] = []
    position = 0
    while data[position : position + 1] != b"\0":
        end = data.find(b"\0", position)
        if end < 0 or end + 17 > len(data):
            raise HeaderError(f"{where}: the channel list ends inside channel {len(channels)}: damaged")
        if end - position > 255:
            raise HeaderError(f"{where}: the name of channel {len(channels)} is longer than 255 bytes: damaged")
        try:
            name = data[position:end].decode("utf-8")
        except UnicodeDecodeError:
            raise HeaderError(f"{where}: channel name {data[position:end]!r} is not UTF-8: damaged") from None
        pixel_type, linear, x_sampling, y_sampling = struct.unpack_from("<iB3x2i", data, end + 1)
        if not 0 <= pixel_type < len(PIXEL_TYPES):
            raise HeaderError(f"{where}: channel {name} is of the unknown pixel type {pixel_type}: damaged")
        if linear > 1:
            raise HeaderError(f"{where}: channel {name} has the flag {linear} where 0 or 1 belongs: damaged")
        if x_sampling < 1 or y_sampling < 1:
            raise HeaderError(f"{where}: channel {name} has the sampling {x_sampling} x {y_sampling}: damaged")
        if (x_sampling, y_sampling) != (1, 1):
            raise NotRewritable(
                f"{where}: channel {name} is subsampled {x_sampling} x {y_sampling} (luminance-chroma), which cannot "
                f"be rewritten: convert it to RGB first"
            )
        channels.append(ChannelInfo(name, PIXEL_TYPES[pixel_type], x_sampling, y_sampling, bool(linear)))
        if len(channels) > MAXIMUM_CHANNELS:
            raise HeaderError(f"{where}: more than {MAXIMUM_CHANNELS} channels: damaged")
        position = end + 17
    if position + 1 != len(data):
        raise HeaderError(f"{where}: {len(data) - position - 1} stray bytes behind the channel list: damaged")
    names = [channel.name.encode() for channel in channels]
    if not names:
        raise HeaderError(f"{where} has no channels: nothing to read")
    if names != sorted(set(names)):
        raise HeaderError(f"{where}: channels are repeated or not in alphabetical order, as the format asks: damaged")
    return tuple(channels)
