"""Plates of one format as files of another: metadata under the names of EXR, channels as the format can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stpn.ocio import exr, raster
from stpn.ocio.atomic import written_whole
from stpn.ocio.digest import text_of_digest
from stpn.ocio.exr_attributes import encoded_attribute
from stpn.ocio.plate_info import PlateError, RawAttribute
from stpn.ocio.plate_pixels import Plate

Array = np.ndarray[Any, Any]
_STANDARD_NAMES = {"smpte:TimeCode": ("timeCode", "timecode"), "smpte:KeyCode": ("keyCode", "keycode")}
_LAYOUT_PREFIXES = ("oiio:", "dpx:", "tiff:", "png:", "jpeg:", "planarconfig", "compression")


def attributes_of_new(
    plate: Plate, channels: Mapping[str, Array], notes: list[str]
) -> tuple[dict[str, RawAttribute], dict[str, Array]]:
    """Return attributes and channels for an EXR whose plate was not read from one.

    Args:
        plate: From `new_plate`, or of another format: 8-bit integers become half, 16-bit ones float, 0..1.
        channels: All that shall be written.
        notes: For the log; added to.
    """
    if plate.new_attributes is not None:
        return dict(plate.new_attributes), dict(channels)
    info = plate.info.parts[0]
    raw = exr.new_attributes(info.data_window, info.display_window)
    raw.update(_metadata_for_exr(info.attributes, raw))
    stored = {}
    for name, array in channels.items():
        if array.dtype.kind == "u" and array.dtype != np.uint32:
            type_name = "half" if array.dtype == np.uint8 else "float"
            stored[name] = raster.normalized(array).astype(exr.DTYPES[type_name])
            notes.append(f"channel {name}: {array.dtype.itemsize * 8}-bit integers written as {type_name} 0..1")
        else:
            stored[name] = array
    return raw, stored


def _metadata_for_exr(attributes: Mapping[str, object], present: Mapping[str, RawAttribute]) -> dict[str, RawAttribute]:
    """Return what OpenImageIO tells of another format as EXR attributes, less what describes that file's layout."""
    found: dict[str, RawAttribute] = {}
    for name, value in attributes.items():
        if name == "PixelAspectRatio":
            found["pixelAspectRatio"] = encoded_attribute("pixelAspectRatio", value, "float")
        elif name in _STANDARD_NAMES:
            exr_name, type_name = _STANDARD_NAMES[name]
            found[exr_name] = encoded_attribute(exr_name, value, type_name)
        elif text_of_digest(name, value) is not None or (
            name.startswith(_LAYOUT_PREFIXES) and name != "oiio:ColorSpace"
        ):
            continue
        elif isinstance(value, str | int | float) and name not in {*present, *exr.STRUCTURAL, "Orientation"}:
            found[name] = encoded_attribute(name, value)
    return found


def write_as_raster(
    path: Path,
    format_name: str,
    plate: Plate,
    part: int,
    channels: Mapping[str, Array],
    attributes: Mapping[str, object],
    made_of: str | None = None,
) -> list[str]:
    """Write a file that is not EXR: color and alpha, or luminance, or the first channel.

    Args:
        path, plate, part, attributes, made_of: As for `stpn.ocio.plate.write_plate`.
        format_name: One of the values of `raster.FORMATS`.
        channels: All that the part shall have.

    Returns:
        Notes for the log: what was left out, rounded or clipped.

    Raises:
        PlateError: The format cannot hold it.
        OSError: The file cannot be written.
    """
    names = [name for name in ("R", "G", "B") if name in channels]
    if len(names) < 3:
        names = ["Y"] if "Y" in channels else list(channels)[:1]
    if "A" in channels and "A" not in names and format_name not in ("hdr", "jpeg"):
        names.append("A")
    if plate.info.format != "exr" and set(names) != set(channels) and format_name == plate.info.format:
        names = list(channels)
    left_out = [name for name in channels if name not in names]
    notes = []
    if left_out:
        notes.append(f"{format_name.upper()} holds {', '.join(names)}; left out: {', '.join(left_out)}")
    same = plate.raster_spec is not None and plate.info.format == format_name
    if plate.raster_spec is not None:
        source_type = plate.info.parts[0].channels[0].pixel_type
    else:
        source_type = {"float16": "half", "float32": "float"}.get(channels[names[0]].dtype.name, "uint32")
    stored = {name: channels[name] for name in names}
    if format_name == "hdr" and len(names) == 1:
        stored = dict.fromkeys(("R", "G", "B"), channels[names[0]])
    with written_whole(path) as temporary:
        try:
            notes += raster.write_raster(
                temporary,
                format_name,
                stored,
                source_type=source_type,
                source_spec=plate.raster_spec if same else None,
                attributes=attributes,
                made_of=made_of,
            )
        except PlateError as error:
            raise PlateError(str(error).replace(str(temporary), str(path))) from None
    return notes
