"""Plates from files: which format a file is of, what it holds, and its pixels."""

from __future__ import annotations

import io
from pathlib import Path
from types import MappingProxyType

from stpn.ocio import exr, raster
from stpn.ocio.exr_attributes import attribute_value
from stpn.ocio.exr_header import MAGIC, ExrPart, HeaderError
from stpn.ocio.plate_info import PartInfo, PlateError, PlateInfo
from stpn.ocio.plate_pixels import Plate

FORMATS = {".exr": "exr", ".sxr": "exr", ".mxr": "exr", **raster.FORMATS}


def _recognized(path: Path) -> str:
    """Return the format of a file from its extension and first bytes, which must agree."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except IsADirectoryError:
        raise PlateError(f"{path}: expected a picture file, found a folder") from None
    except FileNotFoundError:
        raise PlateError(f"{path}: no such file") from None
    except OSError as error:
        raise PlateError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not head:
        raise PlateError(f"{path}: expected a picture, the file is empty")
    found = (
        "exr"
        if head == MAGIC
        else next((name for magic, name in raster.MAGICS.items() if head.startswith(magic)), None)
    )
    stated = FORMATS.get(path.suffix.lower())
    if found is None:
        wanted = stated.upper() if stated else "EXR, DPX, TIFF, PNG, HDR or JPEG"
        raise PlateError(f"{path}: expected {wanted}, the first bytes are {head.hex(' ')}: damaged or another format")
    if stated is not None and stated != found:
        raise PlateError(f"{path}: expected {stated.upper()} by its extension, found {found.upper()}: rename it")
    return found


def _part_info(part: ExrPart) -> PartInfo:
    values = {
        name: attribute_value(raw.type_name, raw.data) for name, raw in part.attributes.items() if name != "channels"
    }
    name = str(values.get("name", ""))
    return PartInfo(
        name,
        part.channels,
        part.data_window,
        part.display_window,
        part.compression,
        part.kind,
        MappingProxyType(values),
    )


def inspect_plate(path: str | Path) -> PlateInfo:
    """Return what a plate holds. Reads its header and chunk table only, no pixels, in milliseconds.

    Raises:
        PlateError: It cannot be read, or cannot be rewritten whole, and why.
    """
    path = Path(path)
    format_name = _recognized(path)
    if format_name != "exr":
        return raster.inspect_raster(path, format_name)
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            source = exr.open_checked(file, size)
    except HeaderError as error:
        raise PlateError(f"{path}: {error}") from None
    except OSError as error:
        raise PlateError(f"{path}: cannot be read: {error.strerror or error}") from None
    return PlateInfo(path, tuple(_part_info(part) for part in source.header.parts), "exr")


def read_plate(path: str | Path) -> Plate:
    """Read a plate with all its parts and channels.

    Raises:
        PlateError: It cannot be read, or cannot be rewritten whole, and why.
    """
    path = Path(path)
    format_name = _recognized(path)
    if format_name != "exr":
        info, channels, spec = raster.read_raster(path, format_name)
        return Plate(info, [channels], raster_spec=spec)
    try:
        source, pixels = exr.read_exr(path)
    except HeaderError as error:
        raise PlateError(f"{path}: {error}") from None
    except OSError as error:
        raise PlateError(f"{path}: cannot be read: {error.strerror or error}") from None
    info = PlateInfo(path, tuple(_part_info(part) for part in source.header.parts), "exr")
    return Plate(info, pixels, exr_source=source)
