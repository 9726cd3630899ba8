"""Pixels of EXR parts, in and out through the OpenEXR library, with every attribute as it lies in the file."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stpn.ocio.exr_attributes import COMPRESSIONS, LAYOUTS, LINE_ORDERS, encoded_attribute, split_strings
from stpn.ocio.exr_chunks import (
    ChunkTable,
    PackedPart,
    check_sizes,
    chunk_ranges,
    packed_part,
    read_tables,
    write_packed,
)
from stpn.ocio.exr_header import TILED, ExrHeader, HeaderError, channel_list, read_header
from stpn.ocio.plate_info import ChannelInfo, RawAttribute, Window
from stpn.ocio.quiet import silent_output

DTYPES: dict[str, np.dtype[Any]] = {
    "half": np.dtype(np.float16),
    "float": np.dtype(np.float32),
    "uint32": np.dtype(np.uint32),
}
LOSSY_TYPES = {
    "pxr24": {"float"},
    "b44": {"half"},
    "b44a": {"half"},
    "dwaa": {"half", "float"},
    "dwab": {"half", "float"},
}
"""Pixel types that a compression does not give back bit for bit; the others it stores losslessly."""

STRUCTURAL = frozenset({"channels", "chunkCount", "compression", "dataWindow", "lineOrder", "name", "tiles", "type"})
"""Attributes that say how the file is laid out, and therefore cannot be set like any other."""

Pixels = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class ExrSource:
    """What is kept of an EXR file to write it again.

    Attributes:
        header: As checked.
        tables: Chunk offset tables, one a part.
        data: The whole file as it lies on disk if chunks of it may be copied, else None.
    """

    header: ExrHeader
    tables: tuple[ChunkTable, ...]
    data: bytes | None = None


def is_lossy(compression: str, channels: tuple[ChannelInfo, ...]) -> bool:
    """Return whether a compression changes pixels of any of these channels."""
    if compression == "lj2k":
        return bool(colors_of_lj2k(channels))
    return any(channel.pixel_type in LOSSY_TYPES.get(compression, ()) for channel in channels)


def colors_of_lj2k(channels: Sequence[ChannelInfo]) -> frozenset[str]:
    """Names of the channels that LJ2K may change: red, green and blue of a layer, which it mixes if of one type."""
    layers: dict[tuple[str, str], dict[str, list[str]]] = {}
    for channel in channels:
        layer, _, color = channel.name.rpartition(".")
        if channel.pixel_type in ("half", "float") and color.casefold() in ("r", "g", "b", "red", "green", "blue"):
            held = layers.setdefault((layer, channel.pixel_type), {})
            held.setdefault(color[0].casefold(), []).append(channel.name)
    return frozenset(name for held in layers.values() if len(held) == 3 for names in held.values() for name in names)


def open_checked(file: BinaryIO, size: int) -> ExrSource:
    """Read and check header and chunk tables of an EXR file, no pixels.

    Raises:
        HeaderError: What is wrong, or why the file cannot be rewritten whole.
    """
    header = read_header(file, size)
    check_sizes(header)
    return ExrSource(header, read_tables(file, header))


def read_exr(path: Path, *, keep_file: bool = False) -> tuple[ExrSource, list[Pixels]]:
    """Read all parts and channels.

    Args:
        path: The file.
        keep_file: Keep its bytes in any case, so that chunks can be copied; else only where parts may stay as they are.

    Returns:
        What is needed to write the file again, and per part its channels, (H, W) in their own dtype.

    Raises:
        HeaderError: The file is damaged, or cannot be rewritten whole.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        source = open_checked(file, size)
        for part, table in zip(source.header.parts, source.tables, strict=True):
            chunk_ranges(file, source.header, part, table)
        data = None
        if (
            keep_file
            or len(source.header.parts) > 1
            or any(is_lossy(part.compression, part.channels) for part in source.header.parts)
        ):
            file.seek(0)
            data = file.read(size)
        pixels = _decoded(str(path) if _readable_text(source.header) else _plain_copy(file, source), source.header)
    return ExrSource(source.header, source.tables, data), pixels


def _readable_text(header: ExrHeader) -> bool:
    """Whether all strings are UTF-8: the OpenEXR module gives up on a file with a single one that is not."""
    for part in header.parts:
        for raw in part.attributes.values():
            strings: tuple[bytes, ...] = ()
            if raw.type_name == "string":
                strings = (raw.data,)
            elif raw.type_name == "stringvector":
                strings = split_strings(raw.data)
            try:
                for string in strings:
                    string.decode("utf-8")
            except UnicodeDecodeError:
                return False
    return True


def _plain_copy(file: BinaryIO, source: ExrSource) -> io.BytesIO:
    """Return the same pixels behind a header with nothing but what decoding needs."""
    needed = {*STRUCTURAL, "displayWindow", "pixelAspectRatio", "screenWindowCenter", "screenWindowWidth"}
    ranges = [
        chunk_ranges(file, source.header, part, table)
        for part, table in zip(source.header.parts, source.tables, strict=True)
    ]
    file.seek(0)
    data = memoryview(file.read(source.header.file_bytes))
    parts = []
    for part, part_ranges in zip(source.header.parts, ranges, strict=True):
        attributes = {name: raw for name, raw in part.attributes.items() if name in needed}
        if "name" in attributes:
            attributes["name"] = RawAttribute("string", f"part {part.index}".encode())
        parts.append(packed_part(data, attributes, part_ranges))
    copy = io.BytesIO()
    write_packed(copy, source.header.flags, parts)
    copy.seek(0)
    return copy


def _decoded(stream: str | io.BytesIO, header: ExrHeader) -> list[Pixels]:
    """Decode with the OpenEXR library, and compare what came with what the header says."""
    import OpenEXR

    try:
        # The module prints a warning and goes on where it should raise; the comparison below tells instead.
        with silent_output():
            decoded = OpenEXR.File(stream, separate_channels=True)
    except Exception as error:  # the module raises whatever its C++ side throws
        raise HeaderError(f"OpenEXR cannot read it: {error}") from error
    parts: list[Pixels] = []
    for part in header.parts:
        if part.index >= len(decoded.parts):
            raise HeaderError(f"{part.where}: OpenEXR cannot decode its pixels: damaged")
        found = decoded.parts[part.index].channels
        pixels: Pixels = {}
        for channel in part.channels:
            array = found[channel.name].pixels if channel.name in found else None
            if array is None or array.shape != (part.height, part.width) or array.dtype != DTYPES[channel.pixel_type]:
                raise HeaderError(f"{part.where}, channel {channel.name}: OpenEXR cannot decode its pixels: damaged")
            pixels[channel.name] = array
        parts.append(pixels)
    if len(decoded.parts) != len(header.parts):
        raise HeaderError(f"expected {len(header.parts)} parts, OpenEXR finds {len(decoded.parts)}: damaged")
    return parts


def encoded_part(
    pixels: Mapping[str, np.ndarray[Any, Any]],
    attributes: dict[str, RawAttribute],
    compression: str,
    linear: frozenset[str] = frozenset(),
) -> PackedPart:
    """Encode channels with the OpenEXR library and put the given attributes in front of them.

    Args:
        pixels: (H, W) of the data window each; half, float32 or uint32.
        attributes: All that the part shall have; `channels`, `compression` and a present `chunkCount` are replaced.
        compression: One of `COMPRESSIONS`.
        linear: Channels with the pLinear flag.

    Raises:
        HeaderError: The OpenEXR library refuses.
    """
    import OpenEXR

    header = _library_header(attributes, compression)
    channels = {
        # The module takes the buffer of a strided array as it lies: only contiguous ones may reach it.
        name: OpenEXR.Channel(name, np.ascontiguousarray(array), 1, 1, name in linear)
        for name, array in pixels.items()
    }
    buffer = io.BytesIO()
    try:
        OpenEXR.File(header, channels).write(buffer)
    except Exception as error:  # the module raises whatever its C++ side throws
        raise HeaderError(f"OpenEXR cannot encode it: {error}") from error
    size = buffer.seek(0, io.SEEK_END)
    buffer.seek(0)
    encoded = open_checked(buffer, size)
    (part,) = encoded.header.parts
    ranges = chunk_ranges(buffer, encoded.header, part, encoded.tables[0])
    written = dict(attributes)
    written["compression"] = part.attributes["compression"]
    # A list that says the same stays as it was, the bytes that the format reserves included.
    before = attributes["channels"].data
    if before == b"\0" or channel_list(before, part.where) != part.channels:
        written["channels"] = part.attributes["channels"]
    for name in ("dataWindow", "lineOrder", "tiles"):
        if name in attributes and attributes[name] != part.attributes.get(name):
            raise HeaderError(f"OpenEXR wrote another {name} than asked for")
    if "chunkCount" in written:
        written["chunkCount"] = RawAttribute("int", struct.pack("<i", len(ranges)))
    return packed_part(buffer.getbuffer(), written, ranges)


def _library_header(attributes: dict[str, RawAttribute], compression: str) -> dict[str, object]:
    """Return as much of a header as decides how pixels are encoded."""
    import OpenEXR

    xmin, ymin, xmax, ymax = struct.unpack(LAYOUTS["box2i"], attributes["dataWindow"].data)
    header: dict[str, object] = {
        "compression": OpenEXR.Compression(COMPRESSIONS.index(compression)),
        "type": OpenEXR.scanlineimage,
        "dataWindow": ((xmin, ymin), (xmax, ymax)),
        "lineOrder": OpenEXR.LineOrder(attributes["lineOrder"].data[0]),
    }
    if "tiles" in attributes and _is_tiled(attributes):
        width, height, mode = struct.unpack(LAYOUTS["tiledesc"], attributes["tiles"].data)
        tiles = OpenEXR.TileDescription()
        tiles.xSize, tiles.ySize = width, height
        tiles.mode, tiles.roundingMode = OpenEXR.LevelMode(mode & 0xF), OpenEXR.LevelRoundingMode(mode >> 4)
        header["tiles"] = tiles
        header["type"] = OpenEXR.tiledimage
    level = attributes.get("dwaCompressionLevel")
    if level is not None and level.type_name == "float":
        header["dwaCompressionLevel"] = struct.unpack("<f", level.data)[0]
    return header


def _is_tiled(attributes: dict[str, RawAttribute]) -> bool:
    # A single-part file of old says it is tiled in its version field alone; its "tiles" then speaks for it.
    return "type" not in attributes or attributes["type"].data == b"tiledimage"


def flags_for(attributes: dict[str, RawAttribute]) -> int:
    """Return the version field of a single-part file with these attributes."""
    return 2 | (TILED if "tiles" in attributes and _is_tiled(attributes) else 0)


def new_attributes(data_window: Window, display_window: Window) -> dict[str, RawAttribute]:
    """Return the attributes no EXR may lack, for a new scan-line part."""
    return {
        "channels": RawAttribute("chlist", b"\0"),
        "compression": RawAttribute("compression", b"\0"),
        "dataWindow": RawAttribute("box2i", struct.pack(LAYOUTS["box2i"], *data_window)),
        "displayWindow": RawAttribute("box2i", struct.pack(LAYOUTS["box2i"], *display_window)),
        "lineOrder": RawAttribute("lineOrder", bytes([LINE_ORDERS.index("increasing")])),
        "pixelAspectRatio": encoded_attribute("pixelAspectRatio", 1.0),
        "screenWindowCenter": encoded_attribute("screenWindowCenter", (0.0, 0.0)),
        "screenWindowWidth": encoded_attribute("screenWindowWidth", 1.0),
        "type": RawAttribute("string", b"scanlineimage"),
    }
