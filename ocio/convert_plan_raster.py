"""What a conversion into DPX, TIFF, PNG, HDR or JPEG does: one layer, in the types that these formats have."""

from __future__ import annotations

from stpn.ocio.convert_attributes import AttributeChange
from stpn.ocio.convert_channels import ColorLayer
from stpn.ocio.convert_geometry import plan_geometry
from stpn.ocio.convert_raster import raster_type, transfer_name, unassociated
from stpn.ocio.convert_request import ConvertRequestError, parse_compression, parse_resize
from stpn.ocio.convert_steps import Asked, FilePlan, PartPlan, pixel_bytes
from stpn.ocio.plate_info import ChannelInfo
from stpn.ocio.plate_read import FORMATS


def plan_raster(asked: Asked) -> FilePlan:
    """Decides what is done to a file that becomes a picture that is not EXR.

    Raises:
        ConvertRequestError: The format cannot hold it.
    """
    request, info, active = asked.request, asked.info, asked.active
    format_name = FORMATS[asked.target.suffix.lower()]
    if parse_compression(request.compression).name != "keep":
        raise ConvertRequestError(f"--compression: expected keep for {format_name.upper()}, got one of EXR's")
    if not asked.layers:
        raise ConvertRequestError(
            f"{info.path}: expected color to write as {format_name.upper()}, found"
            f" {', '.join(info.parts[0].channel_names[:12])}; name it with --channels, or write EXR"
        )
    layer = min(asked.layers, key=lambda one: (bool(one.name), one.part))
    part = info.parts[layer.part]
    types = {channel.name: channel.pixel_type for channel in part.channels}
    stored = raster_type(format_name, request.pixel_type, types[layer.channels[0]])
    # other formats have no windows: the picture is the display window unless the data window was asked for
    crop = request.crop or ("display" if info.format == "exr" else None)
    resize = None if request.resize is None else parse_resize(request.resize)
    geometry = plan_geometry(part.data_window, part.display_window, crop, resize, pixel_bytes(part))
    straight = unassociated(info)
    wants_straight = format_name == "png" or (format_name == "tiff" and straight)
    has_alpha = layer.alpha is not None and format_name not in ("hdr", "jpeg")
    curved = active is not None and not active.is_linear and request.unpremultiply
    divide = not straight and layer.alpha is not None and (curved or (wants_straight and has_alpha))
    space = None if asked.transform is None else asked.transform.space
    return FilePlan(
        asked.frame,
        info.path,
        asked.target,
        info,
        info.format == format_name and not request.wants_change,
        transform=active,
        parts=(PartPlan((layer,), geometry, _kept(asked, layer), "", None, True, AttributeChange()),),
        raster=stored,
        divide=divide,
        multiply=layer.alpha is not None and not wants_straight and (divide or (straight and has_alpha)),
        space=space,
        transfer=transfer_name(asked.config, space) if asked.config is not None and space is not None else None,
        resize_first=asked.linear_light,
        notes=tuple(_left_out(asked, layer, format_name)),
    )


def _kept(asked: Asked, layer: ColorLayer) -> tuple[ChannelInfo, ...]:
    channels = asked.info.parts[layer.part].channels
    return tuple(channel for channel in channels if channel.name in layer.all_channels)


def _left_out(asked: Asked, layer: ColorLayer, format_name: str) -> list[str]:
    """What the format has no place for."""
    info = asked.info
    part = info.parts[layer.part]
    notes = []
    held = layer.channels if format_name in ("hdr", "jpeg") else layer.all_channels
    parts = [other.name or str(index) for index, other in enumerate(info.parts) if index != layer.part]
    channels = [name for name in part.channel_names if name not in held]
    said = [f"parts {', '.join(parts[:12])}"] if parts else []
    said += [f"channels {', '.join(channels[:12])}"] if channels else []
    if said:
        notes.append(f"{format_name.upper()} holds {', '.join(held)}; left out: {'; '.join(said)}")
    if info.format == "exr" and asked.request.crop is None and part.data_window != part.display_window:
        notes.append(f"{format_name.upper()} has no windows: cropped to the display window")
    return notes
