"""Plates to files: some channels of one part replaced, all else as it went in, each file whole or not there."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from stpn.ocio import exr, raster
from stpn.ocio.atomic import what_to_do, written_whole
from stpn.ocio.digest import sealed, without_digest
from stpn.ocio.exr_attributes import COMPRESSIONS, attribute_value, encoded_attribute
from stpn.ocio.exr_chunks import PackedPart, chunk_ranges, packed_part, write_packed
from stpn.ocio.exr_header import HeaderError
from stpn.ocio.plate_convert import attributes_of_new, write_as_raster
from stpn.ocio.plate_info import ChannelInfo, PartInfo, PlateError, PlateInfo, RawAttribute, Window, one_line
from stpn.ocio.plate_pixels import Plate
from stpn.ocio.plate_read import FORMATS

Array = np.ndarray[Any, Any]
_SHARED = frozenset({"chromaticities", "displayWindow", "pixelAspectRatio", "timeCode"})
_TYPE_NAMES = {dtype: name for name, dtype in exr.DTYPES.items()}


def new_plate(
    channels: Mapping[str, Array],
    *,
    attributes: Mapping[str, object] = MappingProxyType({}),
    compression: str = "zip",
    data_window: Window | None = None,
    display_window: Window | None = None,
) -> Plate:
    """Return a plate that was never a file, for `write_plate`.

    Args:
        channels: (H, W) each, all of one size; half, float32 or uint32.
        attributes: Added to those that no EXR may lack: numbers, strings, tuples of them, or `RawAttribute`.
        compression: By name, for example "zip".
        data_window: Inclusive; by default from 0, 0.
        display_window: Inclusive; by default the data window.

    Raises:
        PlateError: Channels that no EXR can hold, an unknown compression, or an attribute of no known type.
    """
    path = Path("new plate")
    channels = _native(channels)
    _check_channels(path, channels, None, _TYPE_NAMES)
    height, width = next(iter(channels.values())).shape
    data_window = data_window or (0, 0, width - 1, height - 1)
    if (data_window[2] - data_window[0] + 1, data_window[3] - data_window[1] + 1) != (width, height):
        raise PlateError(
            f"{path}: expected channels of the size of the data window {data_window}, got {width} x {height}"
        )
    raw = exr.new_attributes(data_window, display_window or data_window)
    raw.update(_encoded_attributes(path, attributes, raw))
    infos = tuple(ChannelInfo(name, _TYPE_NAMES[channels[name].dtype]) for name in sorted(channels))
    _check_compression(path, compression)
    values = {name: attribute_value(item.type_name, item.data) for name, item in raw.items() if name != "channels"}
    values["compression"] = compression
    part = PartInfo(
        "", infos, data_window, display_window or data_window, compression, "scanline", MappingProxyType(values)
    )
    return Plate(PlateInfo(path, (part,), "exr"), [dict(channels)], new_attributes=raw)


def write_plate(
    path: str | Path,
    plate: Plate,
    *,
    replace: Mapping[str, Array] = MappingProxyType({}),
    replace_elsewhere: Mapping[int, Mapping[str, Array]] = MappingProxyType({}),
    drop: Collection[str] = (),
    part: int = 0,
    compression: str = "keep",
    attributes: Mapping[str, object] = MappingProxyType({}),
    made_of: str | None = None,
) -> tuple[str, ...]:
    """Write a plate, some channels of one part replaced; all else comes out as it went in.

    The file appears whole or not at all. Parts that nothing was asked of are copied compressed as they are.

    Args:
        path: Where to; the extension decides the format. May be the file the plate was read from.
        plate: From `read_plate` or `new_plate`.
        replace: (H, W) each of the part's data window: half, float32 or uint32 for EXR; a known name is replaced (and
            takes the type of the array), a new one added.
        replace_elsewhere: The same of other parts, by part; for EXR that was read from EXR.
        drop: Channels to leave out.
        part: The part that is changed.
        compression: "keep", or one by name for the changed part. A kept lossy one becomes ZIP where pixels are encoded
            anew.
        attributes: Added to the part, or in place of those it has.
        made_of: Of `stpn.ocio.digest`, what the file is made of; it then says so. What the plate said is left out.

    Returns:
        Notes for the log, each one line: what was stored differently than before, and why.

    Raises:
        PlateError: The request cannot be met, or the file cannot be written; a former file at `path` is whole then.
    """
    path = Path(path)
    format_name = FORMATS.get(path.suffix.lower())
    if format_name is None:
        raise PlateError(f"{path}: expected one of the extensions {', '.join(FORMATS)}, got {path.suffix!r}")
    current = plate.part_pixels(part)
    missing = [name for name in drop if name not in current]
    if missing:
        raise PlateError(f"{path}: expected channels to drop among {', '.join(current)}, got {', '.join(missing)}")
    shape = (plate.info.parts[part].height, plate.info.parts[part].width)
    channels = {name: array for name, array in current.items() if name not in drop}
    replace = _native(replace)
    channels.update(replace)
    if not channels:
        raise PlateError(f"{path}: expected one channel or more to be left, all of part {part} are dropped")
    _check_channels(path, replace, shape, _TYPE_NAMES if format_name == "exr" else raster.DTYPES.values())
    elsewhere: dict[int, dict[str, Array]] = {}
    for other, added in replace_elsewhere.items():
        where = plate.info.parts[other]
        elsewhere[other] = {**plate.part_pixels(other), **_native(added)}
        _check_channels(path, _native(added), (where.height, where.width), _TYPE_NAMES)
    if elsewhere and (format_name != "exr" or plate.exr_source is None):
        raise PlateError(f"{path}: expected an EXR that was read from EXR, where several parts change")
    _check_compression(path, "none" if compression == "keep" else compression)
    try:
        if format_name != "exr":
            return tuple(map(one_line, write_as_raster(path, format_name, plate, part, channels, attributes, made_of)))
        changed = bool(replace or drop)
        notes: list[str] = []
        flags, packed = _packed(path, plate, part, channels, elsewhere, changed, compression, attributes, notes)
        if made_of is not None:
            sealed(packed, made_of, part)
        with written_whole(path) as temporary, temporary.open("x+b") as file:
            write_packed(file, flags, packed)
            size = file.tell()
            file.seek(0)
            # What was asked for may contradict the format; a file we would not read again is not put in place.
            exr.open_checked(file, size)
        return tuple(map(one_line, notes))
    except HeaderError as error:
        raise PlateError(f"{path}: cannot be written: {error}") from None
    except OSError as error:
        raise PlateError(f"{path}: cannot be written: {error.strerror or error}{what_to_do(error)}") from error


def _packed(
    path: Path,
    plate: Plate,
    part: int,
    channels: Mapping[str, Array],
    elsewhere: Mapping[int, Mapping[str, Array]],
    changed: bool,
    compression: str,
    attributes: Mapping[str, object],
    notes: list[str],
) -> tuple[int, list[PackedPart]]:
    """Return the version field and all parts of the EXR to write."""
    if plate.exr_source is None:
        raw, stored = attributes_of_new(plate, channels, notes)
        raw = without_digest(raw)
        raw.update(_encoded_attributes(path, attributes, raw))
        wanted = plate.info.parts[0].compression if plate.new_attributes is not None else "zip"
        wanted = wanted if compression == "keep" else compression
        return exr.flags_for(raw), [exr.encoded_part(stored, raw, wanted)]
    source = plate.exr_source
    packed = []
    shared = {name: value for name, value in attributes.items() if name in _SHARED}
    if shared and len(source.header.parts) > 1:
        notes.append(f"attributes {', '.join(shared)} belong to all parts by the format: set in each")
    for old, table in zip(source.header.parts, source.tables, strict=True):
        raw = without_digest(old.attributes)
        pixels: Mapping[str, Array] = plate.parts[old.index]
        encode = source.data is None
        wanted = old.compression
        raw.update(_encoded_attributes(path, attributes if old.index == part else shared, raw))
        if old.index == part:
            pixels = channels
            encode = encode or changed or compression not in ("keep", old.compression)
            wanted = (
                _compression_of_changed(old.where, old.compression, compression, channels, notes) if encode else wanted
            )
        elif old.index in elsewhere:
            pixels, encode = elsewhere[old.index], True
            wanted = _compression_of_changed(old.where, old.compression, "keep", pixels, notes)
        if encode:
            linear = frozenset(channel.name for channel in old.channels if channel.perceptually_linear)
            packed.append(exr.encoded_part(pixels, raw, wanted, linear))
        elif source.data is not None:
            ranges = chunk_ranges(io.BytesIO(source.data), source.header, old, table)
            packed.append(packed_part(memoryview(source.data), raw, ranges))
    return source.header.flags, packed


def _compression_of_changed(where: str, old: str, asked: str, channels: Mapping[str, Array], notes: list[str]) -> str:
    """Return the compression for a part that is encoded anew: lossy only where that was asked for by name."""
    infos = tuple(ChannelInfo(name, _TYPE_NAMES[array.dtype]) for name, array in channels.items())
    if asked == "keep":
        if exr.is_lossy(old, infos):
            notes.append(f"{where}: {old.upper()} would be lossy twice, written as ZIP")
            return "zip"
        return old
    if exr.is_lossy(asked, infos):
        notes.append(f"{where}: {asked.upper()} as asked, lossy for all its channels")
    return asked


def _native(channels: Mapping[str, Array]) -> dict[str, Array]:
    """Return channels in the byte order of this machine; all comparisons of types rely on it."""
    return {name: array.astype(array.dtype.newbyteorder("="), copy=False) for name, array in channels.items()}


def _check_channels(
    path: Path,
    channels: Mapping[str, Array],
    shape: tuple[int, int] | None,
    types: Collection[np.dtype[Any]],
) -> None:
    if shape is None and not channels:
        raise PlateError(f"{path}: expected one channel or more, got none")
    for name, array in channels.items():
        if not name or "\0" in name or len(name.encode()) > 255:
            raise PlateError(f"{path}: expected a channel name of 1 to 255 bytes, got {name!r}")
        if array.dtype not in types:
            known = ", ".join(str(dtype) for dtype in types)
            raise PlateError(f"{path}, channel {name}: expected values of type {known}, got {array.dtype}")
        if array.ndim != 2 or array.size == 0 or (shape is not None and array.shape != shape):
            wanted = f"{shape[0]} x {shape[1]}" if shape is not None else "two non-empty axes"
            raise PlateError(f"{path}, channel {name}: expected {wanted} (rows x columns), got {_shape(array)}")
        shape = shape or (array.shape[0], array.shape[1])


def _shape(array: Array) -> str:
    return " x ".join(str(length) for length in array.shape) or "one number"


def _check_compression(path: Path, compression: str) -> None:
    if compression not in COMPRESSIONS:
        raise PlateError(f"{path}: expected a compression among {', '.join(COMPRESSIONS)}, got {compression!r}")


def _encoded_attributes(
    path: Path, attributes: Mapping[str, object], present: Mapping[str, RawAttribute]
) -> dict[str, RawAttribute]:
    encoded = {}
    for name, value in attributes.items():
        if name in exr.STRUCTURAL:
            raise PlateError(f"{path}: attribute {name!r} says how the file is laid out, it cannot be set")
        if not name or "\0" in name or len(name.encode()) > 255:
            raise PlateError(f"{path}: expected an attribute name of 1 to 255 bytes, got {name!r}")
        try:
            known = present.get(name)
            encoded[name] = encoded_attribute(name, value, known.type_name if known else None)
        except ValueError as error:
            raise PlateError(f"{path}: {error}") from None
    return encoded
