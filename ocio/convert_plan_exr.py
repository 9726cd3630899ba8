"""What a conversion into EXR does to each part: which are encoded anew, how, and what they say of their color."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from stpn.ocio.convert_attributes import AttributeChange, attribute_changes
from stpn.ocio.convert_channels import FLOATING, ColorLayer
from stpn.ocio.convert_geometry import Geometry, plan_geometry
from stpn.ocio.convert_raster import unassociated
from stpn.ocio.convert_request import ConvertRequestError, parse_compression, parse_resize
from stpn.ocio.convert_steps import Asked, FilePlan, PartPlan, lossy_channels, pixel_bytes
from stpn.ocio.plate_info import ChannelInfo, PartInfo

_FROM_INTEGERS = {"uint8": "half", "uint16": "float", "uint32": "float"}


def plan_exr(asked: Asked, chosen: Sequence[int], *, says: Callable[[PartInfo], str | None]) -> FilePlan:
    """Decides what is done to a file that becomes an EXR.

    Args:
        asked: Of the file.
        chosen: Indices of the parts that may change.
        says: Gives the color space that a part claims.

    Raises:
        ConvertRequestError: It cannot be done.
    """
    request, info, layers, active = asked.request, asked.info, asked.layers, asked.active
    if request.pixel_type not in ("keep", *FLOATING):
        raise ConvertRequestError(f"--type: expected keep, half or float for EXR, got {request.pixel_type}")
    notes: list[str] = []
    changes: dict[int, AttributeChange] = {}
    if asked.config is not None and asked.transform is not None:
        changes = attribute_changes(asked.config, asked.transform, info, layers, says, notes)
    straight = unassociated(info)
    divide = active is not None and not active.is_linear and request.unpremultiply and not straight
    if divide:
        bare = [layer.called for layer in layers if layer.alpha is None]
        if bare and any(layer.alpha for layer in layers):
            notes.append(f"{', '.join(bare)} without alpha of its own: converted as it stands")
    plans = []
    for index, part in enumerate(info.parts):
        own = tuple(layer for layer in layers if layer.part == index)
        plan = _part(asked, index, part, own, index in chosen, notes)
        plans.append(replace(plan, change=changes.get(index, AttributeChange())))
    untouched = info.format == "exr" and not any(
        plan.encode or plan.change.put or plan.change.drop or _moves(plan.geometry, part)
        for plan, part in zip(plans, info.parts, strict=True)
    )
    return FilePlan(
        asked.frame,
        info.path,
        asked.target,
        info,
        untouched,
        transform=active,
        parts=tuple(plans),
        divide=divide,
        multiply=divide or (straight and any(layer.alpha for layer in layers)),
        space=None if asked.transform is None else asked.transform.space,
        resize_first=asked.linear_light,
        notes=tuple(notes),
    )


def _part(
    asked: Asked, index: int, part: PartInfo, layers: tuple[ColorLayer, ...], chosen: bool, notes: list[str]
) -> PartPlan:
    """What is done to a part, its attributes left out."""
    request = asked.request
    compression_asked = parse_compression(request.compression)
    resize = None if request.resize is None else parse_resize(request.resize)
    geometry = plan_geometry(part.data_window, part.display_window, request.crop, resize, pixel_bytes(part))
    from_exr = asked.info.format == "exr"
    channels = tuple(_channel(channel, layers, request.pixel_type) for channel in part.channels)
    compression = part.compression if from_exr else "zip"
    level = None
    if chosen and compression_asked.name != "keep":
        compression = _asked_compression(asked, index, part, channels, layers, notes)
        level = compression_asked.level if compression == compression_asked.name else None
    encode = (
        not from_exr
        or (asked.active is not None and bool(layers))
        or channels != part.channels
        or geometry.data != geometry.source
        or not geometry.keeps_pixels
        or compression != part.compression
        or (level is not None and level != part.attributes.get("dwaCompressionLevel", 45.0))
    )
    if encode and from_exr and compression == part.compression and compression_asked.name != compression:
        lossy = lossy_channels(compression, channels)
        if lossy:
            notes.append(
                f"part {index}: {compression.upper()} would be lossy twice, written as ZIP; name it with --compression"
                " to have it again"
            )
            compression = "zip"
    return PartPlan(layers, geometry, channels, compression, level if encode else None, encode, AttributeChange())


def _channel(channel: ChannelInfo, layers: Sequence[ColorLayer], pixel_type: str) -> ChannelInfo:
    """A channel as it comes out: color and its alpha in the type asked for, integers of other formats as floats."""
    of_color = any(channel.name in layer.all_channels for layer in layers)
    if pixel_type in FLOATING and of_color:
        return replace(channel, pixel_type=pixel_type)
    if channel.pixel_type == "uint32" and not of_color:
        return channel
    return replace(channel, pixel_type=_FROM_INTEGERS.get(channel.pixel_type, channel.pixel_type))


def _asked_compression(
    asked: Asked,
    index: int,
    part: PartInfo,
    channels: Sequence[ChannelInfo],
    layers: Sequence[ColorLayer],
    notes: list[str],
) -> str:
    """The compression that was asked for, unless it would harm what is no color."""
    name = parse_compression(asked.request.compression).name
    lossy = lossy_channels(name, channels)
    color = {channel for layer in layers for channel in layer.all_channels}
    harmed = [channel for channel in lossy if channel not in color]
    if harmed and layers:
        raise ConvertRequestError(
            f"{asked.info.path}, part {index}: expected a compression that keeps {', '.join(harmed[:8])}, which is no"
            f" color, got {name.upper()}; use zip, or put the color into a part of its own"
        )
    if harmed:
        notes.append(f"part {index}: no color, {name.upper()} would lose {', '.join(harmed[:8])}: kept as it was")
        return part.compression if asked.info.format == "exr" else "zip"
    if lossy and name != part.compression:
        notes.append(f"part {index}: {name.upper()} as asked, lossy for {', '.join(lossy[:8])}")
    return name


def _moves(geometry: Geometry, part: PartInfo) -> bool:
    return geometry.data != part.data_window or geometry.display != part.display_window
