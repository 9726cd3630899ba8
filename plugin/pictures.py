"""Numbered pictures to look at: scene-linear light, or confidence, out of their frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.plate import PlateError, PlateInfo, read_plate
from stpn.ocio.raster import normalized
from stpn.ocio.sequence import Sequence
from stpn.ocio.spaces import PlateSpace
from stpn.plugin.footage import Footage

Image = NDArray[np.float32]

# where infinities go: the largest half float, so that averages stay finite
_BRIGHTEST = 65504.0


@dataclass(frozen=True)
class Pictures:
    """A numbered sequence that holds color.

    Attributes:
        role: what it is to the comparison: plate, keys, result or reference.
        footage: its files, and how their color is read.
        frames: the frames that are on disk.
    """

    role: str
    footage: Footage
    frames: frozenset[int]

    @property
    def space(self) -> PlateSpace:
        """The color space of all frames."""
        return self.footage.space

    def code(self, frame: int) -> Image:
        """RGB (H, W, 3) float32 of a frame as it is stored; integers scaled to 0..1.

        Raises:
            PlateError: the file cannot be read.
        """
        return self.footage.files.read(frame).color(self.footage.part)

    def linear(self, frame: int) -> tuple[Image, int]:
        """Scene-linear light of a frame.

        Returns:
            (H, W, 3) float32, finite, in the primaries of `space`; and how many pixels were NaN or infinite: NaN is 0
            here, infinity the largest half float.

        Raises:
            PlateError: the file cannot be read.
        """
        image = self.code(frame)
        self.space.decode(image)
        broken = int(np.count_nonzero(~np.isfinite(image).all(axis=2)))
        if broken:
            np.nan_to_num(image, copy=False, nan=0.0, posinf=_BRIGHTEST, neginf=-_BRIGHTEST)
        return image, broken


@dataclass(frozen=True)
class Confidences:
    """A numbered sequence of confidence.

    Attributes:
        files: where each frame lies.
        frames: the frames that are on disk.
    """

    files: Sequence
    frames: frozenset[int]

    def confidence(self, frame: int) -> Image:
        """(H, W) float32, 0..1; NaN is 0.

        Raises:
            PlateError: the file cannot be read, or holds no confidence.
        """
        plate = read_plate(self.files.path(frame))
        part, name = confidence_channel(plate.info)
        values = plate.pixels(name, part)
        scaled = values.astype(np.float32) if plate.info.format == "exr" else normalized(values)
        return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, 1.0), np.float32)


def confidence_channel(info: PlateInfo) -> tuple[int, str]:
    """Part and name of the channel that holds confidence; of a grey picture any channel will do.

    Raises:
        PlateError: there is none.
    """
    for name in ("confidence", "Y", "R"):
        for index, part in enumerate(info.parts):
            if name in part.channel_names:
                return index, name
    found = "; ".join(", ".join(part.channel_names) for part in info.parts)
    raise PlateError(f"{info.path}: expected a channel confidence, or a grey picture, found {found}")


def pixel_aspect(info: PlateInfo) -> float:
    """Width of a pixel over its height; 1 where the file says nothing sensible."""
    value = info.parts[0].attributes.get("pixelAspectRatio")
    return float(value) if isinstance(value, int | float) and 0.1 <= value <= 10 else 1.0
