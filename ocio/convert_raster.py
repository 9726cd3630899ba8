"""Conversions into formats that are not EXR: one layer of one part, as integers or floats, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stpn.ocio import raster
from stpn.ocio.atomic import written_whole
from stpn.ocio.config import Config
from stpn.ocio.convert_request import ConvertRequestError
from stpn.ocio.digest import text_of_digest
from stpn.ocio.plate_info import PartInfo, PlateError, PlateInfo

Array = npt.NDArray[Any]

#: The pixel types of `--type` that each format stores.
TYPES = {
    "dpx": ("keep", "8", "10", "12", "16", "float"),
    "tiff": ("keep", "8", "16", "half", "float"),
    "png": ("keep", "8", "16"),
    "hdr": ("keep", "float"),
    "jpeg": ("keep", "8"),
}
#: Attributes of EXR that other formats have too: name in EXR, name in OpenImageIO, the formats.
_METADATA = (
    ("timeCode", "smpte:TimeCode", ("dpx",)),
    ("keyCode", "smpte:KeyCode", ("dpx",)),
    ("framesPerSecond", "FramesPerSecond", ("dpx",)),
    ("pixelAspectRatio", "PixelAspectRatio", ("dpx", "tiff", "png", "jpeg")),
    ("capDate", "DateTime", ("dpx", "tiff", "png", "jpeg")),
    ("owner", "Copyright", ("dpx", "tiff", "png", "jpeg")),
    ("comments", "ImageDescription", ("dpx", "tiff", "png", "jpeg")),
)
#: Attributes that are no metadata: the layout of the file, windows, and what is told anew.
_NOT_METADATA = frozenset(
    {
        "chunkCount", "compression", "dataWindow", "displayWindow", "lineOrder", "name", "screenWindowCenter",
        "screenWindowWidth", "tiles", "type", "channels", "chromaticities", "colorInteropID", "oiio:ColorSpace",
        "acesImageContainerFlag", "pixelAspectRatio", "PixelAspectRatio", "Orientation", "Software",
    }
)  # fmt: skip
_LAYOUT = ("oiio:", "dpx:", "tiff:", "png:", "jpeg:", "planarconfig", "ResolutionUnit", "XResolution", "YResolution")


@dataclass(frozen=True)
class RasterType:
    """How pixels are stored: a type of `stpn.ocio.raster.DTYPES`, and its significant bits; None: all of them."""

    name: str
    bits: int | None = None


def raster_type(format_name: str, asked: str, source_type: str) -> RasterType:
    """Returns how a format stores what `--type` asks for.

    Raises:
        ConvertRequestError: It does not.
    """
    if asked not in TYPES[format_name]:
        raise ConvertRequestError(
            f"--type: expected one of {', '.join(TYPES[format_name])} for {format_name.upper()}, got {asked}"
        )
    if asked == "keep":
        return RasterType(raster.stored_type(format_name, source_type))
    if asked in ("half", "float"):
        return RasterType(asked)
    return RasterType("uint8" if asked == "8" else "uint16", int(asked))


def unassociated(info: PlateInfo) -> bool:
    """Whether the alpha of a file does not multiply its color: PNG, and TIFF that says so."""
    flag = info.parts[0].attributes.get("oiio:UnassociatedAlpha", 0)
    return info.format == "png" or (info.format == "tiff" and bool(flag))


def transfer_name(config: Config, space: str) -> str:
    """Returns what a DPX says of the curve of a color space."""
    found = config.find(space)
    names = () if found is None else (found.name, *found.aliases)
    if any(name.upper() in ("ADX10", "INPUT - ADX - ADX10") for name in names):
        return "Printing density"
    encoding = "" if found is None else found.encoding
    return {"scene-linear": "Linear", "log": "Logarithmic"}.get(encoding, "User defined")


def metadata(part: PartInfo, from_format: str, to_format: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """Returns what of a file's metadata another format holds, by OpenImageIO's names, and the names that it cannot."""
    held: dict[str, object] = {}
    taken: set[str] = set()
    for in_exr, elsewhere, formats in _METADATA:
        name = in_exr if from_format == "exr" else elsewhere
        value = part.attributes.get(name)
        if value is None or to_format not in formats:
            continue
        if isinstance(value, tuple) and name == "framesPerSecond":
            value = value[0] / value[1] if value[1] else 0.0
        held[elsewhere] = value
        taken.add(name)
    left = [
        name
        for name, value in part.attributes.items()
        if name not in taken | _NOT_METADATA and not name.startswith(_LAYOUT) and text_of_digest(name, value) is None
    ]
    squeezed = part.attributes.get("pixelAspectRatio", part.attributes.get("PixelAspectRatio", 1.0)) != 1.0
    if squeezed and "PixelAspectRatio" not in held:
        left.append("pixelAspectRatio")
    return held, tuple(left)


def write_layer(
    path: Path,
    format_name: str,
    channels: Mapping[str, Array],
    stored: RasterType,
    *,
    attributes: Mapping[str, object],
    source_spec: Any = None,
    unassociated_alpha: bool,
    check: bool,
    made_of: str | None = None,
) -> list[str]:
    """Writes a picture whole or not at all.

    Args:
        path: Where to.
        format_name: One of the values of `stpn.ocio.raster.FORMATS`.
        channels: R, G, B or Y, and A; (H, W) each.
        stored: The type in the file.
        attributes: Metadata by OpenImageIO's names.
        source_spec: Of a source of the same format, whose metadata is carried over.
        unassociated_alpha: Whether alpha does not multiply the color.
        check: Whether to decode what was written and compare, before it is put in place.
        made_of: Of `stpn.ocio.digest`.

    Returns:
        Notes for the log.

    Raises:
        PlateError: The format cannot hold it, or another picture was found in the file.
        OSError: It cannot be written.
    """
    with written_whole(path) as temporary:
        try:
            notes = raster.write_raster(
                temporary,
                format_name,
                channels,
                source_type=stored.name,
                source_spec=source_spec,
                attributes=_typed(attributes),
                bits=stored.bits,
                unassociated_alpha=unassociated_alpha,
                made_of=made_of,
            )
            if check:
                notes.append(_checked(temporary, format_name, channels, stored))
        except PlateError as error:
            raise PlateError(str(error).replace(str(temporary), str(path))) from None
    return notes


def _typed(attributes: Mapping[str, object]) -> dict[str, object]:
    """Time and key codes as OpenImageIO takes them: with their type."""
    import OpenImageIO as oiio

    typed: dict[str, object] = {}
    for name, value in attributes.items():
        kind = {"smpte:TimeCode": "timecode", "smpte:KeyCode": "keycode"}.get(name)
        typed[name] = value if kind is None else (oiio.TypeDesc(kind), value)
    return typed


def _checked(path: Path, format_name: str, wanted: Mapping[str, Array], stored: RasterType) -> str:
    """Decodes a picture and compares it with what was to be written."""
    _, found, _ = raster.read_raster(path, format_name)
    if set(found) != set(wanted):
        raise PlateError(f"{path}: --check expected channels {', '.join(wanted)}, decoded {', '.join(found)}")
    worst = 0.0
    kind = raster.DTYPES[stored.name]
    for name, array in wanted.items():
        if found[name].shape != array.shape:
            raise PlateError(f"{path}, channel {name}: --check expected {array.shape}, decoded {found[name].shape}")
        exact = array.dtype == kind or (kind.kind == "f" and array.dtype.kind == "f")
        if exact and format_name not in ("jpeg", "hdr"):
            with np.errstate(over="ignore"):
                expected = np.ascontiguousarray(array.astype(kind, copy=False))
            if found[name].tobytes() != expected.tobytes():
                raise PlateError(f"{path}, channel {name}: --check decoded other pixels than were written")
            continue
        expected, decoded = raster.normalized(array), raster.normalized(found[name])
        if kind.kind == "u":
            expected = np.clip(np.nan_to_num(expected, nan=0.0), 0.0, 1.0)
        known = np.isfinite(expected)
        if known.any():
            worst = max(worst, float(np.abs(expected[known] - decoded[known]).max()))
    bits = stored.bits or kind.itemsize * 8
    limits = {"jpeg": 1.0, "hdr": float("inf")}
    if worst > limits.get(format_name, 1.01 / ((1 << bits) - 1)):
        raise PlateError(f"{path}: --check expected values within one step of {bits} bits, found an error of {worst}")
    return f"checked: largest error {worst:.3g} of 0..1" if worst else "checked: identical"
