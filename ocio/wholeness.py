"""Whether a file is whole and what made it, told from the digests in it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from stpn.ocio import exr
from stpn.ocio.digest import content_of_parts, recorded
from stpn.ocio.exr_chunks import chunk_ranges
from stpn.ocio.exr_header import HeaderError
from stpn.ocio.plate_info import PlateError
from stpn.ocio.plate_read import inspect_plate
from stpn.ocio.raster_seal import holds_what_was_written


def is_whole_and_of(path: Path, made_of: str) -> bool:
    """Whether a file is there, whole, as it was written, and made of what a digest says.

    All that the file holds is read and compared with the digest of it in the file: of an EXR every attribute and packed
    chunk, of others every byte. What does not differ there decodes to what was written, so nothing is decoded.

    Args:
        path: the file.
        made_of: as it was given to `stpn.ocio.plate.write_plate`.
    """
    try:
        info = inspect_plate(path)
        asked, holds = recorded(info) or ("", "")
        if asked != made_of:
            return False
        if info.format == "exr":
            return _content(path) == holds
        return holds_what_was_written(path, asked, holds)
    except (PlateError, HeaderError, OSError):
        return False


def _content(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        source = exr.open_checked(file, size)
        return content_of_parts(
            (part.attributes, _chunks(file, chunk_ranges(file, source.header, part, table)))
            for part, table in zip(source.header.parts, source.tables, strict=True)
        )


def _chunks(file: BinaryIO, ranges: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    for begin, end in ranges:
        file.seek(begin)
        yield file.read(end - begin)
