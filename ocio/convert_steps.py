"""What a conversion does to a file and to each of its parts, as decided before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stpn.ocio import exr
from stpn.ocio.config import Config
from stpn.ocio.convert_attributes import AttributeChange
from stpn.ocio.convert_channels import ColorLayer
from stpn.ocio.convert_color import ColorTransform
from stpn.ocio.convert_geometry import Geometry
from stpn.ocio.convert_raster import RasterType
from stpn.ocio.convert_request import ConvertRequest
from stpn.ocio.plate_info import ChannelInfo, PartInfo, PlateInfo
from stpn.ocio.plate_read import FORMATS

_DCT_NAMES = frozenset({"R", "G", "B", "Y", "RY", "BY"})


@dataclass(frozen=True)
class PartPlan:
    """What is done to one part.

    Attributes:
        layers: Color layers that are chosen.
        geometry: Windows.
        channels: As they come out, in the order of the file.
        compression: By name.
        level: Of dwaa and dwab, where one was asked for.
        encode: Whether pixels are encoded anew; else the compressed chunks are copied.
        change: Of its attributes.
    """

    layers: tuple[ColorLayer, ...]
    geometry: Geometry
    channels: tuple[ChannelInfo, ...]
    compression: str
    level: float | None
    encode: bool
    change: AttributeChange


@dataclass(frozen=True)
class FilePlan:
    """What is done to one file.

    Attributes:
        frame: Its number; None for a single file.
        source, target: Where from and where to.
        info: What it holds; None where only its bytes can be copied.
        copy: Whether it is copied byte for byte.
        transform: Of its color; None: none, or one that changes nothing.
        parts: One a part; of a target that is not EXR the plan of each part of the source.
        raster: Of a target that is not EXR: how it is stored.
        divide, multiply: What is done about alpha; see `stpn.ocio.convert_color.converted`.
        space: Color space of the result, where it is known.
        transfer: What a DPX says of its curve, where that is known.
        resize_first: Whether pixels are resized before their color is transformed: where that is linear light.
        notes: For the log.
    """

    frame: int | None
    source: Path
    target: Path
    info: PlateInfo | None
    copy: bool
    transform: ColorTransform | None = None
    parts: tuple[PartPlan, ...] = ()
    raster: RasterType | None = None
    divide: bool = False
    multiply: bool = False
    space: str | None = None
    transfer: str | None = None
    resize_first: bool = True
    notes: tuple[str, ...] = ()

    @property
    def target_format(self) -> str:
        """Of the file to write."""
        return FORMATS[self.target.suffix.lower()]


@dataclass(frozen=True)
class Asked:
    """What was asked of one file, and what is known of it.

    Attributes:
        request: As asked.
        config: None where no color was asked for.
        frame: Its number; None for a single file.
        info: What it holds.
        target: Where to.
        layers: The color layers that are chosen.
        transform: Of their color, one that changes nothing too; None where none was asked for.
        linear_light: Whether what it takes is linear light, as far as that is known.
    """

    request: ConvertRequest
    config: Config | None
    frame: int | None
    info: PlateInfo
    target: Path
    layers: tuple[ColorLayer, ...]
    transform: ColorTransform | None
    linear_light: bool

    @property
    def active(self) -> ColorTransform | None:
        """The transform, if it changes anything."""
        return None if self.transform is None or self.transform.is_identity else self.transform


def pixel_bytes(part: PartInfo) -> int:
    """Of a pixel over all channels, once integers of other formats are floats."""
    return sum(2 if channel.pixel_type == "half" else 4 for channel in part.channels)


def lossy_channels(compression: str, channels: Sequence[ChannelInfo]) -> list[str]:
    """Names of the channels that a compression may not give back bit for bit. DWA looks at the last word of a name."""
    if compression == "lj2k":
        colors = exr.colors_of_lj2k(channels)
        return [channel.name for channel in channels if channel.name in colors]
    return [
        channel.name
        for channel in channels
        if channel.pixel_type in exr.LOSSY_TYPES.get(compression, ())
        and (compression not in ("dwaa", "dwab") or channel.name.rpartition(".")[2] in _DCT_NAMES)
    ]
