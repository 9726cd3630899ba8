"""One numbered sequence of pictures: what it holds and how its color is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from stpn.ocio.attributes import space_from_attributes
from stpn.ocio.config import Config
from stpn.ocio.plate import PartInfo, PlateError, PlateInfo
from stpn.ocio.spaces import PlateSpace
from stpn.plugin.frame_source import FrameSource
from stpn.plugin.previews import Previews

_DTYPES = {"half": "float16", "float": "float32"}
# what `space_from_attributes` decides by
_SPACE_HINTS = ("colorInteropID", "acesImageContainerFlag", "dpx:Transfer", "oiio:ColorSpace", "chromaticities")


@dataclass(frozen=True)
class Footage:
    """One numbered sequence of pictures and how its color is read.

    Attributes:
        files: where each frame comes from.
        part: the part that holds the color.
        channels: names of its color channels: R, G, B or Y alone.
        pixel_type: type of the widest of them: half, float, uint8, uint16 ...
        info: what the first frame holds.
        space: the color space.
        previews: of frames that were looked at before they were rendered.
    """

    files: FrameSource
    part: int
    channels: tuple[str, ...]
    pixel_type: str
    info: PlateInfo
    space: PlateSpace
    previews: Previews = field(default_factory=Previews, compare=False, repr=False)


def open_footage(config: Config, files: FrameSource, info: PlateInfo, asked: str, option: str) -> tuple[Footage, str]:
    """Decides which part and channels hold the color, and the color space.

    Args:
        config: the config.
        files: where each frame comes from.
        info: what the first frame holds.
        asked: a color space, or auto.
        option: what to blame in words: --colorspace, --keys-colorspace.

    Returns:
        The footage, and in words which space was taken and why.

    Raises:
        PlateError: no part holds color.
        ColorError: no such space, or none that the file implies.
    """
    index, part, channels = color_part(info)
    types = _pixel_types(part, channels)
    if asked == "auto":
        decision = space_from_attributes(
            config, part.attributes, file_format=info.format, pixel_type=types[0] if types else None
        )
        name, why = decision.space, f"{decision.space}, {decision.reason}"
    else:
        name, why = asked, f"{config.space(asked).name}, by {option}"
    widest = max(types, key=lambda name: np.dtype(_DTYPES.get(name, name)).itemsize)
    chromaticities = part.attributes.get("chromaticities")
    own = chromaticities if asked == "auto" and isinstance(chromaticities, tuple) and len(chromaticities) == 8 else None
    return Footage(files, index, channels, widest, info, PlateSpace(config, name, chromaticities=own)), why


def refuse_other_channels(infos: list[PlateInfo], footage: Footage) -> None:
    """Raises PlateError where a frame holds its color elsewhere than the first one."""
    for info in infos:
        problem = _other_channels(info, footage)
        if problem:
            raise PlateError(problem)


def unlike_the_first(infos: Iterable[PlateInfo], footage: Footage, asked: str, option: str) -> list[str]:
    """What is wrong with frames whose color lies elsewhere, or means something else, than that of the first one.

    Args:
        infos: the frames.
        footage: what was decided from the first one.
        asked, option: as for `open_footage`; where a space was asked for, what files say of theirs is not looked at.
    """
    problems = []
    first = footage.info.parts[footage.part]
    for info in infos:
        _, part, channels = color_part(info)
        like = f"as {footage.info.path.name} has"
        problem = _other_channels(info, footage)
        if problem:
            problems.append(problem)
        elif _pixel_types(part, channels) != _pixel_types(first, channels):
            types, expected = (", ".join(_pixel_types(p, channels)) for p in (part, first))
            problems.append(f"{info.path}: expected {', '.join(channels)} of type {expected} {like}, found {types}")
        elif asked == "auto":
            for name in _SPACE_HINTS:
                hint, wanted = (p.attributes.get(name, "none") for p in (part, first))
                if hint != wanted:
                    problems.append(
                        f"{info.path}: expected {name} {_said(wanted)} {like}, found {_said(hint)}; "
                        f"name the space with {option}"
                    )
    return problems


def color_part(info: PlateInfo) -> tuple[int, PartInfo, tuple[str, ...]]:
    """The first part with color, or with luminance alone."""
    for names in (("R", "G", "B"), ("Y",)):
        for index, part in enumerate(info.parts):
            if set(names) <= set(part.channel_names) and "RY" not in part.channel_names:
                return index, part, names
    found = "; ".join(f"part {i}: {', '.join(p.channel_names)}" for i, p in enumerate(info.parts))
    raise PlateError(f"{info.path}: expected channels R, G, B, or Y alone, found {found}")


def _other_channels(info: PlateInfo, footage: Footage) -> str:
    index, _, channels = color_part(info)
    if (index, channels) == (footage.part, footage.channels):
        return ""
    return (
        f"{info.path}: expected {', '.join(footage.channels)} in part {footage.part} as "
        f"{footage.info.path.name} has, found {', '.join(channels)} in part {index}"
    )


def _pixel_types(part: PartInfo, channels: tuple[str, ...]) -> list[str]:
    return [channel.pixel_type for channel in part.channels if channel.name in channels]


def _said(hint: object) -> str:
    return ", ".join(f"{number:.4g}" for number in hint) if isinstance(hint, tuple) else str(hint)
