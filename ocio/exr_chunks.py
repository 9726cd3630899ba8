"""Where the compressed chunks of an EXR file lie: checked against the header, and copied without being decoded.

A part's pixels are stored in chunks (some scan lines, or one tile). A leader with its coordinates and size precedes
each, and a table of offsets behind the headers tells where it lies. Copying chunks carries an untouched part over bit
for bit, even one whose compression is lossy; a header of our own in front of chunks from the OpenEXR library carries
every attribute over as it was.

Source: "OpenEXR File Layout", Academy Software Foundation.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from stpn.ocio.exr_header import LONG_NAMES, MAGIC, MULTIPART, ExrHeader, ExrPart, HeaderError
from stpn.ocio.plate_info import MAXIMUM_PIXEL_BYTES, UNSUSPICIOUS_BYTES, UNSUSPICIOUS_RATIO, RawAttribute

SCAN_LINES = {
    "none": 1,
    "rle": 1,
    "zips": 1,
    "zip": 16,
    "piz": 32,
    "pxr24": 16,
    "b44": 32,
    "b44a": 32,
    "dwaa": 32,
    "dwab": 256,
    "htj2k256": 256,
    "htj2k32": 32,
    "lj2k": 256,
    "zstd": 1,
}
"""Scan lines of one chunk, by compression."""

# How far a compression can shrink anything, about twice what an all-zero picture reaches. From zstd on that grows with
# the size of a chunk; the bound only keeps a file of a few bytes from claiming gigabytes.
MAXIMUM_RATIO = {
    "none": 1,
    "rle": 128,
    "zips": 2200,
    "zip": 2200,
    "piz": 2200,
    "pxr24": 3000,
    "b44": 8,
    "b44a": 32,
    "zstd": 50000,
    "dwaa": 200000,
    "dwab": 200000,
    "htj2k256": 200000,
    "htj2k32": 200000,
    "lj2k": 200000,
}


UNSUSPICIOUS_TILE_BYTES = 64 << 20

# A chunk takes its memory several times over while it is decoded.
UNSUSPICIOUS_CHUNK_BYTES = 64 << 20

MAXIMUM_CHUNKS = 1 << 19
"""Of all parts together: 16K x 16K in tiles of 32 x 32 twice."""


@dataclass(frozen=True)
class ChunkTable:
    """Where the chunks of one part lie: absolute positions of their leaders, in the order of the format."""

    offsets: Sequence[int]


def chunk_count(part: ExrPart) -> int:
    """Return how many chunks the header asks for."""
    if part.kind == "tiled":
        return -(-part.width // part.tile_size[0]) * -(-part.height // part.tile_size[1])
    return -(-part.height // SCAN_LINES[part.compression])


def chunk_place(part: ExrPart, index: int) -> tuple[tuple[int, ...], int]:
    """Return the coordinates the leader of a chunk must hold, and how many bytes its pixels take when decoded."""
    if part.kind == "tiled":
        columns = -(-part.width // part.tile_size[0])
        row, column = divmod(index, columns)
        width = min(part.tile_size[0], part.width - column * part.tile_size[0])
        height = min(part.tile_size[1], part.height - row * part.tile_size[1])
        return (column, row, 0, 0), width * height * part.pixel_bytes
    lines = SCAN_LINES[part.compression]
    height = min(lines, part.height - index * lines)
    return (part.data_window[1] + index * lines,), part.width * height * part.pixel_bytes


def check_sizes(header: ExrHeader) -> None:
    """Compare what the header claims with what the file can hold, without reading further.

    Raises:
        HeaderError: More pixels than `MAXIMUM_PIXEL_BYTES`, more than the file can hold or is likely to hold, more
            chunks than `MAXIMUM_CHUNKS`, or an incomplete offset table.
    """
    claimed = 0
    possible = 0
    tables = 0
    largest = 0
    for part in header.parts:
        pixels = part.width * part.height * part.pixel_bytes
        claimed += pixels
        possible += pixels // MAXIMUM_RATIO[part.compression]
        count = chunk_count(part)
        tables += 8 * count
        largest = max(largest, chunk_place(part, 0)[1])
        tile = part.tile_size[0] * part.tile_size[1] * part.pixel_bytes
        if tile > max(pixels, UNSUSPICIOUS_TILE_BYTES):
            # OpenEXR takes memory for whole tiles, however little of them the picture covers.
            columns, rows = part.tile_size
            raise HeaderError(
                f"{part.where}: tiles of {columns} x {rows} for {part.width} x {part.height} pixels: damaged"
            )
        stated = part.attributes.get("chunkCount")
        if header.multipart and stated is not None and struct.unpack("<i", stated.data)[0] != count:
            found = struct.unpack("<i", stated.data)[0]
            raise HeaderError(
                f"{part.where}: expected {count} chunks for its windows, chunkCount says {found}: damaged"
            )
    size = f"{header.parts[0].width} x {header.parts[0].height}"
    if claimed > MAXIMUM_PIXEL_BYTES:
        raise HeaderError(
            f"claims {claimed / 2**30:.1f} GiB of pixels ({size}), the limit is {MAXIMUM_PIXEL_BYTES >> 30} GiB"
        )
    left = header.file_bytes - header.end
    if tables > left:
        raise HeaderError(f"expected a chunk table of {tables} bytes ({size}), the file ends after {left}: truncated")
    if possible > left:
        raise HeaderError(
            f"claims {claimed} bytes of pixels ({size}), which the {left} bytes behind the header cannot hold: damaged"
        )
    if tables // 8 > MAXIMUM_CHUNKS:
        raise HeaderError(
            f"has {tables // 8} chunks ({size}), the limit is {MAXIMUM_CHUNKS}: write it with larger tiles"
        )
    backed = UNSUSPICIOUS_RATIO * left
    if claimed > max(UNSUSPICIOUS_BYTES, backed) or largest > max(UNSUSPICIOUS_CHUNK_BYTES, backed):
        raise HeaderError(
            f"claims {claimed / 2**20:.0f} MiB of pixels ({size}) in {left} bytes, over {UNSUSPICIOUS_RATIO} times "
            f"as many: damaged, or made to take memory; if it is neither, write it with the compression zip"
        )


def read_tables(file: BinaryIO, header: ExrHeader) -> tuple[ChunkTable, ...]:
    """Read the chunk offset tables and check that every chunk begins inside the file, none of them twice.

    Args:
        file: Standing anywhere.
        header: Of this file, through `check_sizes`.

    Raises:
        HeaderError: A chunk that is missing, outside the file or named twice; a file cut off inside its last chunk.
    """
    file.seek(header.end)
    tables = []
    for part in header.parts:
        data = file.read(8 * chunk_count(part))
        if len(data) != 8 * chunk_count(part):
            raise HeaderError(f"{part.where}: the chunk table is cut off: truncated")
        offsets = array("Q", data)
        if struct.pack("=H", 1) != struct.pack("<H", 1):
            offsets.byteswap()
        tables.append(ChunkTable(offsets))
    begin = header.end + sum(8 * len(table.offsets) for table in tables)
    seen: set[int] = set()
    for part, table in zip(header.parts, tables, strict=True):
        leader = leader_layout(header, part).size
        for index, offset in enumerate(table.offsets):
            if offset == 0:
                raise HeaderError(f"{part.where}: chunk {index} was never written: the file is incomplete")
            if not begin <= offset <= header.file_bytes - leader:
                raise HeaderError(
                    f"{part.where}: chunk {index} should begin at byte {offset} of {header.file_bytes}: "
                    f"truncated or damaged"
                )
            if offset in seen:
                raise HeaderError(f"{part.where}: chunk {index} lies where another chunk does: damaged")
            seen.add(offset)
    # The chunk that begins last is the first one that a cut-off file loses.
    last_part, last_index = max(
        ((part, index) for part, table in enumerate(tables) for index in range(len(table.offsets))),
        key=lambda place: tables[place[0]].offsets[place[1]],
    )
    _checked_chunk(file, header, header.parts[last_part], last_index, tables[last_part].offsets[last_index])
    return tuple(tables)


def leader_layout(header: ExrHeader, part: ExrPart) -> struct.Struct:
    """Return the layout of a chunk's leader: part number (multipart only), coordinates, size."""
    return struct.Struct("<" + ("i" if header.multipart else "") + ("4i" if part.kind == "tiled" else "i") + "i")


def _checked_chunk(file: BinaryIO, header: ExrHeader, part: ExrPart, index: int, offset: int) -> tuple[int, int]:
    """Return where a chunk begins behind its part number, and where it ends."""
    layout = leader_layout(header, part)
    file.seek(offset)
    leader = file.read(layout.size)
    if len(leader) != layout.size:
        raise HeaderError(f"{part.where}: chunk {index} is cut off: truncated")
    fields = layout.unpack(leader)
    place, decoded = chunk_place(part, index)
    expected = ((part.index,) if header.multipart else ()) + place
    if fields[:-1] != expected:
        raise HeaderError(f"{part.where}: expected chunk {index} at {expected}, its leader says {fields[:-1]}: damaged")
    if not 0 < fields[-1] <= decoded:
        raise HeaderError(f"{part.where}: chunk {index} of {decoded} bytes claims to take {fields[-1]} packed: damaged")
    end = offset + layout.size + fields[-1]
    if end > header.file_bytes:
        raise HeaderError(
            f"{part.where}: chunk {index} should end at byte {end}, the file ends at {header.file_bytes}: truncated"
        )
    return offset + (4 if header.multipart else 0), end


def chunk_ranges(file: BinaryIO, header: ExrHeader, part: ExrPart, table: ChunkTable) -> list[tuple[int, int]]:
    """Return where each chunk of a part begins (behind the part number) and ends, with every leader checked.

    Raises:
        HeaderError: A leader that contradicts the header, or a chunk that reaches beyond the file.
    """
    return [_checked_chunk(file, header, part, index, offset) for index, offset in enumerate(table.offsets)]


@dataclass(frozen=True)
class PackedPart:
    """A part ready to be written: its attributes, and its chunks (from their coordinates on) in table order.

    Attributes:
        attributes: In the order in which they are written.
        chunks: Without part numbers.
        order: Indices of the chunks in the order in which they lie in the file.
    """

    attributes: dict[str, RawAttribute]
    chunks: Sequence[memoryview]
    order: Sequence[int]


def packed_part(data: memoryview, attributes: dict[str, RawAttribute], ranges: Sequence[tuple[int, int]]) -> PackedPart:
    """Return a part whose chunks are slices of a file in memory."""
    order = sorted(range(len(ranges)), key=lambda index: ranges[index][0])
    return PackedPart(attributes, [data[begin:end] for begin, end in ranges], order)


def write_packed(output: BinaryIO, flags: int, parts: Sequence[PackedPart]) -> None:
    """Write a whole EXR file: headers, chunk offset tables, chunks.

    Args:
        output: Standing at its beginning.
        flags: The version field; the long-names flag is added where a name needs it.
        parts: More than one only with the multipart flag.
    """
    names = [
        name for part in parts for name in (*part.attributes, *(raw.type_name for raw in part.attributes.values()))
    ]
    if any(len(name.encode()) > 31 for name in names):
        flags |= LONG_NAMES
    head = bytearray(MAGIC + struct.pack("<I", flags))
    for part in parts:
        for name, raw in part.attributes.items():
            head += name.encode() + b"\0" + raw.type_name.encode() + b"\0" + struct.pack("<i", len(raw.data)) + raw.data
        head += b"\0"
    multipart = bool(flags & MULTIPART)
    if multipart:
        head += b"\0"
    position = len(head) + sum(8 * len(part.chunks) for part in parts)
    for part in parts:
        offsets = [0] * len(part.chunks)
        for index in part.order:
            offsets[index] = position
            position += len(part.chunks[index]) + (4 if multipart else 0)
        head += struct.pack(f"<{len(offsets)}Q", *offsets)
    output.write(head)
    for number, part in enumerate(parts):
        for index in part.order:
            if multipart:
                output.write(struct.pack("<i", number))
            output.write(part.chunks[index])
