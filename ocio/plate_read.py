"""Plates from files: which format a file is of, what it holds, and its pixels."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from types import MappingProxyType

from stpn.ocio import exr, raster
from stpn.ocio.exr_attributes import attribute_value
from stpn.ocio.exr_header import MAGIC, ExrPart, HeaderError
from stpn.ocio.plate_info import PartInfo, PlateError, PlateInfo, RawAttribute
from stpn.ocio.plate_pixels import Plate

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}

FORMATS = {".exr": "exr", ".sxr": "exr", ".mxr": "exr", **raster.FORMATS}


def _recognized(path: Path) -> str:
    """Return the format of a file from its extension and first bytes, which must agree."""
    try:
        # Before it is opened: that alone would wait for ever at a named pipe.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise PlateError(f"{path}: expected a picture file, found {_KINDS.get(stat.S_IFMT(mode), 'a device')}")
        with path.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError:
        raise PlateError(f"{path}: no such file") from None
    except ValueError as error:
        raise PlateError(f"{path}: expected the name of a file: {error}") from None
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


# what an EXR says of the meaning of its color, of its channels, or of its picture as a whole
_OF_CONTENT = frozenset(
    {
        "acesImageContainerFlag", "adoptedNeutral", "chromaticities", "colorInteropID", "idManifest", "multiView",
        "oiio:ColorSpace", "preview", "renderingTransform", "lookModTransform", "whiteLuminance",
    }
)  # fmt: skip


def empty_like(path: str | Path, part: int = 0) -> Plate:
    """Return a plate of one part without channels, for `write_plate`: windows and attributes are those of a file.

    What a file says of its color and its channels is left out, and a lossy compression becomes ZIP. Of another format
    than EXR the metadata is kept that EXR has a name for.

    Args:
        path: The file; its pixels are not read.
        part: The part to be like.

    Raises:
        PlateError: It cannot be read.
    """
    path = Path(path)
    info = inspect_plate(path)
    like = info.parts[part]
    kept = {name: value for name, value in like.attributes.items() if name not in _OF_CONTENT}
    compression = "zip" if like.compression in exr.LOSSY_TYPES or info.format != "exr" else like.compression
    alone = PartInfo("", (), like.data_window, like.display_window, compression, "scanline", MappingProxyType(kept))
    found = PlateInfo(path, (alone,), info.format)
    if info.format != "exr":
        return Plate(found, [{}])
    raw: dict[str, RawAttribute] = exr.new_attributes(like.data_window, like.display_window)
    with path.open("rb") as file:
        header = exr.open_checked(file, path.stat().st_size).header
    for name, attribute in header.parts[part].attributes.items():
        about_ids = name.startswith("cryptomatte/")
        if name not in {*exr.STRUCTURAL, *_OF_CONTENT, "displayWindow", "chunkCount", "version"} and not about_ids:
            raw[name] = attribute
    return Plate(found, [{}], new_attributes=raw)


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
