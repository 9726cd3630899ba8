"""Plates that are not EXR (DPX, TIFF, PNG, Radiance HDR, JPEG), in and out through OpenImageIO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from stpn.ocio.memory_file import through_memory
from stpn.ocio.plate_info import MAXIMUM_PIXEL_BYTES, ChannelInfo, PartInfo, PlateError, PlateInfo
from stpn.ocio.raster_limits import refuse_claim, refuse_hidden_work
from stpn.ocio.raster_seal import complete_bytes, reserve

Array = np.ndarray[Any, Any]

FORMATS = {
    ".dpx": "dpx",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".png": "png",
    ".hdr": "hdr",
    ".rgbe": "hdr",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}
MAGICS = {
    b"SDPX": "dpx",
    b"XPDS": "dpx",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"\x89PNG": "png",
    b"#?RA": "hdr",
    b"#?RG": "hdr",
    b"\xff\xd8\xff": "jpeg",
}
DTYPES: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "half": np.dtype(np.float16),
    "float": np.dtype(np.float32),
}

# What each format can store, the best choice for floating-point values first.
_STORABLE = {
    "dpx": ("uint16", "uint8", "float"),
    "tiff": ("float", "half", "uint32", "uint16", "uint8"),
    "png": ("uint16", "uint8"),
    "hdr": ("float",),
    "jpeg": ("uint8",),
}
# How far each format can shrink a picture; generous, so that only a damaged or hostile header exceeds it.
_MAXIMUM_RATIO = {"dpx": 200, "tiff": 3000, "png": 2200, "hdr": 256, "jpeg": 20000}


def _opened(path: Path, format_name: str) -> Any:
    import OpenImageIO as oiio

    refuse_hidden_work(path, format_name)
    hints = oiio.ImageSpec()
    # Alpha and color come as they lie in the file: neither multiplied nor converted.
    for name in ("oiio:UnassociatedAlpha", "oiio:RawColor", "dpx:RawColor"):
        hints.attribute(name, 1)
    picture = oiio.ImageInput.open(str(path), hints)
    if picture is None:
        raise PlateError(f"{path}: expected a {format_name.upper()} picture, OpenImageIO says: {oiio.geterror()}")
    return picture


def _checked(path: Path, format_name: str, picture: Any) -> tuple[Any, PlateInfo]:
    spec = picture.spec().copy()
    if picture.format_name() not in (format_name, {"tiff": "tif", "jpeg": "jpg"}.get(format_name)):
        raise PlateError(f"{path}: expected a {format_name.upper()} picture, found {picture.format_name()}: rename it")
    claimed = spec.image_bytes(True)
    size = path.stat().st_size
    shape = f"{spec.width} x {spec.height}"
    if spec.width < 1 or spec.height < 1 or spec.nchannels < 1 or spec.depth > 1:
        raise PlateError(f"{path}: expected a picture, found {shape} pixels, depth {spec.depth}: damaged")
    if claimed > MAXIMUM_PIXEL_BYTES:
        raise PlateError(
            f"{path}: claims {claimed / 2**30:.1f} GiB of pixels ({shape}), limit {MAXIMUM_PIXEL_BYTES >> 30} GiB"
        )
    if claimed > size * _MAXIMUM_RATIO[format_name]:
        raise PlateError(f"{path}: claims {claimed} bytes of pixels ({shape}), which {size} bytes cannot hold: damaged")
    refuse_claim(path, claimed, size, shape)
    if picture.seek_subimage(1, 0) or picture.seek_subimage(0, 1):
        raise PlateError(f"{path}: holds several pictures or levels, which cannot be rewritten whole: keep one")
    picture.seek_subimage(0, 0)
    pixel_type = str(spec.format)
    if pixel_type not in DTYPES:
        raise PlateError(
            f"{path}: pixels are of type {pixel_type}, expected one of {', '.join(DTYPES)}: convert it first"
        )
    attributes = {item.name: item.value for item in spec.extra_attribs}
    window = (spec.x, spec.y, spec.x + spec.width - 1, spec.y + spec.height - 1)
    display = (spec.full_x, spec.full_y, spec.full_x + spec.full_width - 1, spec.full_y + spec.full_height - 1)
    channels = tuple(ChannelInfo(name, pixel_type) for name in spec.channelnames)
    compression = str(attributes.get("compression", ""))
    part = PartInfo(
        "",
        channels,
        window,
        display,
        compression,
        "tiled" if spec.tile_width else "scanline",
        MappingProxyType(attributes),
    )
    return spec, PlateInfo(path, (part,), format_name)


def inspect_raster(path: Path, format_name: str) -> PlateInfo:
    """Return what a picture holds, without its pixels.

    Raises:
        PlateError: It cannot be read, or not be rewritten whole.
    """
    picture = _opened(path, format_name)
    try:
        return _checked(path, format_name, picture)[1]
    finally:
        picture.close()


def read_raster(path: Path, format_name: str) -> tuple[PlateInfo, dict[str, Array], Any]:
    """Read a picture.

    Returns:
        What it holds, its channels as (H, W) arrays in the type of the file, and the OpenImageIO description with its
        metadata, which `write_raster` takes.

    Raises:
        PlateError: It cannot be read, or not be rewritten whole.
    """
    picture = _opened(path, format_name)
    try:
        spec, info = _checked(path, format_name, picture)
        pixels = picture.read_image(spec.format)
        if pixels is None:
            raise PlateError(f"{path}: cannot decode its pixels ({picture.geterror()}): damaged")
    finally:
        picture.close()
    pixels = np.asarray(pixels).reshape(spec.height, spec.width, spec.nchannels)
    return info, {name: pixels[:, :, index] for index, name in enumerate(spec.channelnames)}, spec


def normalized(array: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return integer pixels as float32 0..1, floating-point ones as float32 unchanged."""
    if array.dtype.kind == "u":
        return (array / np.float64(np.iinfo(array.dtype).max)).astype(np.float32)
    return array.astype(np.float32)


def quantized(array: Array, pixel_type: str, bits: int) -> tuple[Array, int]:
    """Return 0..1 as integers of the given significant bits, and how many values lay outside (NaN counts).

    Fewer bits than the type has are repeated downwards, so that 1 becomes the largest value of the type.
    """
    dtype = DTYPES[pixel_type]
    size = dtype.itemsize * 8
    values = array.astype(np.float64)
    outside = int(np.count_nonzero(~((values >= 0) & (values <= 1))))
    steps = np.rint(np.clip(np.nan_to_num(values, nan=0.0), 0, 1) * ((1 << bits) - 1)).astype(np.uint64)
    shift = size - bits
    filled = steps << np.uint64(shift)
    while shift > 0:
        shift -= bits
        filled |= steps << np.uint64(shift) if shift >= 0 else steps >> np.uint64(-shift)
    return filled.astype(dtype), outside


def stored_type(format_name: str, source_type: str) -> str:
    """Return the pixel type in which a format stores pixels that were of `source_type`."""
    storable = _STORABLE[format_name]
    return source_type if source_type in storable else storable[0]


def write_raster(
    path: Path,
    format_name: str,
    channels: Mapping[str, Array],
    *,
    source_type: str,
    source_spec: Any = None,
    attributes: Mapping[str, object] | None = None,
    made_of: str | None = None,
    bits: int | None = None,
    unassociated_alpha: bool = True,
) -> list[str]:
    """Write a picture.

    Args:
        path: A new file.
        format_name: One of the values of `FORMATS`.
        channels: (H, W) each; R, G, B or a single channel come first. Integers are written as they are if the format
            stores their type, else as 0..1 values.
        source_type: Pixel type of the plate the channels came from, kept if the format stores it.
        source_spec: From `read_raster`, with the metadata to carry over.
        attributes: Metadata to add or replace; a pair of an OpenImageIO type and a value where the type matters.
        made_of: Of `stpn.ocio.digest`, what the file is made of; what the plate said is left out.
        bits: Significant bits of integers; None: those of the source, else all of the type.
        unassociated_alpha: Whether alpha does not multiply the color; TIFF says so in the file.

    Returns:
        Notes for the log: what rounding and clipping did.

    Raises:
        PlateError: The format cannot store it.
        OSError: The file cannot be written.
    """
    import OpenImageIO as oiio

    names = list(channels)
    height, width = channels[names[0]].shape
    pixel_type = stored_type(format_name, source_type)
    spec = oiio.ImageSpec(width, height, len(names), pixel_type)
    if source_spec is not None:
        copied = source_spec.copy()
        copied.nchannels, copied.width, copied.height = len(names), width, height
        copied.set_format(oiio.TypeDesc(pixel_type))
        spec = copied
    spec.channelnames = names
    spec.alpha_channel = names.index("A") if "A" in names else -1
    dtype = DTYPES[pixel_type]
    if bits is not None:
        spec.attribute("oiio:BitsPerSample", bits)
    bits = min(spec.get_int_attribute("oiio:BitsPerSample", dtype.itemsize * 8), dtype.itemsize * 8)
    notes: list[str] = []
    columns = []
    outside = 0
    rounded = False
    for array in channels.values():
        if array.dtype == dtype:
            columns.append(array)
        elif dtype.kind == "u":
            column, beyond = quantized(normalized(array), pixel_type, bits)
            outside += beyond
            rounded = True
            columns.append(column)
        else:
            columns.append(normalized(array).astype(dtype))
    if rounded:
        clipped = f", {outside} values outside 0..1 clipped" if outside else ""
        notes.append(f"{format_name.upper()}: values rounded to {bits} bits{clipped}")
    if format_name == "jpeg":
        notes.append("JPEG: stored lossily, quality 98")
        spec.attribute("Compression", "jpeg:98")
    spec.attribute("oiio:UnassociatedAlpha", int(unassociated_alpha))
    spec.attribute("oiio:RawColor", 1)
    if pixel_type == "half":
        spec.attribute("tiff:half", 1)  # OpenImageIO would write float
    for name, value in (attributes or {}).items():
        typed = value if isinstance(value, tuple) and isinstance(value[0], oiio.TypeDesc) else (value,)
        spec.attribute(name, *typed)
    no_place = reserve(spec, format_name, made_of)
    if no_place is not None:
        known = f"{format_name.upper()}: does not say what made it, since {no_place}"
        notes.append(f"{known}: --skip-existing makes it again")
        made_of = None
    if spec.getattribute("DateTime") is None:
        spec.attribute("DateTime", "")  # a TIFF would say when it was written, and no two runs would write the same
    with through_memory(path, lambda data: complete_bytes(data, made_of)) as place:
        output = oiio.ImageOutput.create(format_name)
        if output is None or not output.open(str(place), spec):
            reason = output.geterror() if output is not None else oiio.geterror()
            raise PlateError(f"{path}: cannot write channels {', '.join(names)} as {format_name.upper()}: {reason}")
        written = output.write_image(np.ascontiguousarray(np.stack(columns, axis=-1)))
        if not (output.close() and written):
            raise PlateError(f"{path}: cannot write it as {format_name.upper()}: {output.geterror()}")
        if place == path:
            read_raster(path, format_name)
    return notes
