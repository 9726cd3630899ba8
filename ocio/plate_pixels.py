"""A plate in memory: what its file said, and all its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from stpn.ocio import exr, raster
from stpn.ocio.plate_info import PlateError, PlateInfo, RawAttribute

Array = np.ndarray[Any, Any]


class Plate:
    """A plate in memory: what the file said, and all its pixels.

    Attributes:
        info: What the plate holds.
        parts: Channels by name, (H, W) each, one dictionary a part.
        exr_source: For a plate read from EXR, what is needed to write it again.
        raster_spec: For a plate read by OpenImageIO, its description with the metadata.
        new_attributes: For a plate that was never a file, its EXR attributes.
    """

    def __init__(
        self,
        info: PlateInfo,
        pixels: list[dict[str, Array]],
        *,
        exr_source: exr.ExrSource | None = None,
        raster_spec: Any = None,
        new_attributes: dict[str, RawAttribute] | None = None,
    ) -> None:
        self.info = info
        self.parts = pixels
        self.exr_source = exr_source
        self.raster_spec = raster_spec
        self.new_attributes = new_attributes

    def pixels(self, channel: str, part: int = 0) -> Array:
        """Return one channel, (H, W) of the data window, in the type of the file. Not a copy: leave it unchanged.

        Raises:
            PlateError: There is no such part or channel.
        """
        channels = self.part_pixels(part)
        if channel not in channels:
            raise PlateError(
                f"{self.info.path}: expected channel {channel} in part {part}, found {', '.join(channels)}"
            )
        return channels[channel]

    def color_channels(self, part: int = 0, layer: str = "") -> tuple[str, ...]:
        """Return the names of the channels `color` reads: three, or one where a layer holds luminance only.

        Args:
            part: Index of the part.
            layer: What stands before the last dot of the names; "" for R, G and B themselves.

        Raises:
            PlateError: The layer has neither R, G and B nor Y, or is luminance-chroma.
        """
        channels = self.part_pixels(part)
        prefix = f"{layer}." if layer else ""
        for names in (("R", "G", "B"), ("Y",)):
            full = tuple(prefix + name for name in names)
            if all(name in channels for name in full):
                if names == ("Y",) and {prefix + "RY", prefix + "BY"} & set(channels):
                    break
                return full
        raise PlateError(
            f"{self.info.path}: expected channels {prefix}R, {prefix}G, {prefix}B or {prefix}Y alone in part {part}, "
            f"found {', '.join(channels)}"
        )

    def color(self, part: int = 0, layer: str = "", rows: slice = slice(None)) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return R, G, B of a layer in the plate's own color space.

        Args:
            part: Index of the part.
            layer: See `color_channels`.
            rows: Which rows; all of them unless told otherwise.

        Returns:
            A copy, float32 (H, W, 3); integer formats are scaled to 0..1, nothing else is changed. Luminance alone (Y)
            comes three times.

        Raises:
            PlateError: See `color_channels`.
        """
        names = self.color_channels(part, layer)
        channels = self.part_pixels(part)
        scaled = self.info.format != "exr"
        result = np.empty((*channels[names[0]][rows].shape, 3), np.float32)
        for index, name in enumerate(names):
            result[:, :, index] = raster.normalized(channels[name][rows]) if scaled else channels[name][rows]
        if len(names) == 1:
            result[:, :, 1:] = result[:, :, :1]
        return result

    def part_pixels(self, part: int) -> dict[str, Array]:
        """Return all channels of a part by name.

        Raises:
            PlateError: There is no such part.
        """
        if not 0 <= part < len(self.parts):
            raise PlateError(f"{self.info.path}: expected a part 0..{len(self.parts) - 1}, got {part}")
        return self.parts[part]
