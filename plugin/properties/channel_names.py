"""Which channels a request means: patterns against the names in the keys, and where each goes in the plate."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stpn.ocio.plate import PartInfo, PlateInfo
from stpn.plugin.request import RequestError

_CLOSEST = 3


@dataclass(frozen=True)
class Named:
    """One channel of the keys.

    Attributes:
        part: the part of the keys that holds it.
        name: its name there, layer included.
        pixel_type: half or float.
        plate_part: the part of the plate's file that it goes into.
    """

    part: int
    name: str
    pixel_type: str
    plate_part: int


def named_channels(patterns: str, keys: Sequence[PlateInfo], plate: PlateInfo, color_part: int) -> tuple[Named, ...]:
    """The channels that patterns mean, in the order of the first key's file.

    Args:
        patterns: as typed, comma separated; each matches a channel's name, or part/channel.
        keys: what the keys hold, at least one.
        plate: what the plate holds.
        color_part: the part of the plate that motion is told from; channels go there unless the plate has a part of the
            same name, or the very channel in one place.

    Raises:
        RequestError: a pattern matches nothing, a channel holds no values that can be blended, or a key lacks one.
    """
    first = keys[0]
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    every = [
        Named(index, channel.name, channel.pixel_type, _place(first, index, channel.name, plate, color_part))
        for index, part in enumerate(first.parts)
        for channel in part.channels
    ]
    problems = [_nothing(pattern, first) for pattern in wanted if not any(_meant(pattern, first, c) for c in every)]
    chosen = tuple(c for c in every if any(_meant(pattern, first, c) for pattern in wanted))
    for channel in chosen:
        why = _no_value(first.parts[channel.part], channel)
        if why:
            named = qualified(first, channel.part, channel.name)
            problems.append(
                f"{first.path}: expected channels of values, got {named}, {why}: "
                "motion blends values, and a blend of two IDs is a third; leave it out of --channels"
            )
    if problems:
        raise RequestError(*problems)
    problems = _lacking(chosen, keys) + _in_one_place(chosen, first)
    if problems:
        raise RequestError(*problems)
    return chosen


def qualified(info: PlateInfo, part: int, name: str) -> str:
    """A channel's name as people read it: with its part where there are several."""
    return name if len(info.parts) == 1 else f"{info.parts[part].name or part}/{name}"


def _meant(pattern: str, info: PlateInfo, channel: Named) -> bool:
    return fnmatchcase(channel.name, pattern) or fnmatchcase(f"{info.parts[channel.part].name}/{channel.name}", pattern)


def _nothing(pattern: str, info: PlateInfo) -> str:
    names = [qualified(info, index, name) for index, part in enumerate(info.parts) for name in part.channel_names]
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(pattern.casefold().rstrip("*"), folded, _CLOSEST, 0.5)
    hint = f"did you mean {' or '.join(folded[name] for name in close)}?" if close else f"it has {', '.join(names)}"
    return f"--channels {pattern}: expected a channel of {info.path}, got none of that name; {hint}"


def _no_value(part: PartInfo, channel: Named) -> str:
    """Why a channel holds no values; empty where it does."""
    if channel.pixel_type not in ("half", "float"):
        return f"which is {channel.pixel_type}"
    for name, value in part.attributes.items():
        of_cryptomatte = name.startswith("cryptomatte/") and name.endswith("/name") and isinstance(value, str)
        if of_cryptomatte and channel.name.startswith(str(value)):
            return f"which belongs to the cryptomatte {value}"
    return ""


def _place(keys: PlateInfo, part: int, name: str, plate: PlateInfo, color_part: int) -> int:
    """The part of the plate's file that a channel goes into."""
    if len(plate.parts) == 1:
        return 0
    called = keys.parts[part].name
    for index, other in enumerate(plate.parts):
        if called and other.name == called:
            return index
    holders = [index for index, other in enumerate(plate.parts) if name in other.channel_names]
    return holders[0] if len(holders) == 1 else color_part


def _lacking(channels: Sequence[Named], keys: Sequence[PlateInfo]) -> list[str]:
    """What later keys lack, or hold in another type."""
    problems = []
    for info in keys[1:]:
        for channel in channels:
            of_part = info.parts[channel.part].channels if channel.part < len(info.parts) else ()
            types = {found.name: found.pixel_type for found in of_part}
            named, like = qualified(keys[0], channel.part, channel.name), f"as {keys[0].path.name} has"
            if channel.name not in types:
                close = difflib.get_close_matches(channel.name, types, _CLOSEST)
                hint = f"; did you mean {' or '.join(close)}?" if close else f", found {', '.join(types) or 'none'}"
                problems.append(f"{info.path}: expected channel {named} in part {channel.part} {like}{hint}")
            elif types[channel.name] != channel.pixel_type:
                problems.append(
                    f"{info.path}: expected {named} of type {channel.pixel_type} {like}, found {types[channel.name]}"
                )
    return problems


def _in_one_place(channels: Sequence[Named], keys: PlateInfo) -> list[str]:
    """Channels of two parts of the keys that would go to one place."""
    taken: dict[tuple[int, str], Named] = {}
    problems = []
    for channel in channels:
        other = taken.setdefault((channel.plate_part, channel.name), channel)
        if other is not channel:
            names = " and ".join(qualified(keys, c.part, c.name) for c in (other, channel))
            problems.append(
                f"--channels: expected one channel for each place in the plate's file, {names} go to the same; name "
                "one as part/channel"
            )
    return problems
