"""What a small picture file may ask for in time and memory, checked before OpenImageIO sees it.

The formats allow a few bytes to ask for minutes: a JPEG goes through the whole picture once for each scan that it
lists, and every compressed text of a PNG may become megabytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from stpn.ocio.plate_info import UNSUSPICIOUS_BYTES, UNSUSPICIOUS_RATIO, PlateError

MAXIMUM_SCANS = 100
"""Of a JPEG; progressive ones have about ten."""

MAXIMUM_TEXTS = 64
"""Compressed texts of a PNG; most have none."""

_MAXIMUM_PIECES = 1 << 20
_START_OF_SCAN = b"\xff\xda"
_COMPRESSED_TEXT = (b"zTXt", b"iTXt", b"iCCP")
_BLOCK = 1 << 20


def refuse_hidden_work(path: Path, format_name: str) -> None:
    """Refuse a file that asks for far more time than its size tells.

    Raises:
        PlateError: It does, or cannot be read.
    """
    look = {"jpeg": _refuse_scans, "png": _refuse_texts}.get(format_name)
    if look is None:
        return
    try:
        with path.open("rb") as file:
            look(path, file)
    except OSError as error:
        raise PlateError(f"{path}: cannot be read: {error.strerror or error}") from None


def refuse_claim(path: Path, claimed: int, size: int, shape: str) -> None:
    """Refuse a file that claims more memory than one of its size is likely to need.

    Args:
        path: The file.
        claimed: Bytes of its pixels.
        size: Its own bytes.
        shape: Its width and height in words.

    Raises:
        PlateError: It does.
    """
    if claimed > max(UNSUSPICIOUS_BYTES, UNSUSPICIOUS_RATIO * size):
        raise PlateError(
            f"{path}: claims {claimed / 2**20:.0f} MiB of pixels ({shape}) in {size} bytes, over {UNSUSPICIOUS_RATIO} "
            "times as many: damaged, or made to take memory; if it is neither, write it without compression"
        )


def _refuse_scans(path: Path, file: BinaryIO) -> None:
    scans, before = 0, b""
    while block := file.read(_BLOCK):
        # within the pixels ff is never followed by da
        scans += (before + block).count(_START_OF_SCAN)
        if scans > MAXIMUM_SCANS:
            raise PlateError(f"{path}: expected a JPEG of up to {MAXIMUM_SCANS} scans, found more: made to take time")
        before = block[-1:]


def _refuse_texts(path: Path, file: BinaryIO) -> None:
    file.seek(8)
    texts = 0
    for _ in range(_MAXIMUM_PIECES):
        head = file.read(8)
        if len(head) < 8:
            return  # the end; whether it is whole, OpenImageIO says
        texts += head[4:] in _COMPRESSED_TEXT
        if texts > MAXIMUM_TEXTS:
            raise PlateError(f"{path}: expected a PNG of up to {MAXIMUM_TEXTS} compressed texts, found more: damaged")
        file.seek(struct.unpack(">I", head[:4])[0] + 4, 1)
    raise PlateError(f"{path}: expected a PNG of up to {_MAXIMUM_PIECES} chunks, found more: damaged")
