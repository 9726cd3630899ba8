"""Numbered pictures of numbers that are no color: mattes, depth, any channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.plate import PlateError, PlateInfo, read_plate
from stpn.ocio.raster import normalized
from stpn.ocio.sequence import Sequence

Image = NDArray[np.float32]

_COLOR = ("R", "G", "B")


@dataclass(frozen=True)
class Layers:
    """A numbered sequence and those of its channels that are looked at.

    Attributes:
        role: what it is to the comparison: result, keys or reference.
        files: where each frame lies.
        part: the part that holds the channels.
        channels: their names, in the order in which they are compared.
        info: what the first frame looked at holds.
        frames: the frames that are on disk.
    """

    role: str
    files: Sequence
    part: int
    channels: tuple[str, ...]
    info: PlateInfo
    frames: frozenset[int]

    def stored(self, frame: int) -> list[NDArray[np.generic]]:
        """The channels of a frame, (H, W) each, in the type of the file.

        Raises:
            PlateError: the file cannot be read.
        """
        plate = read_plate(self.files.path(frame))
        return [plate.pixels(name, self.part) for name in self.channels]

    def values(self, frame: int) -> Image:
        """The channels of a frame.

        Returns:
            (C, H, W) float32: the values of an EXR as they are, NaN and infinite ones too; integers scaled to 0..1.

        Raises:
            PlateError: the file cannot be read.
        """
        scaled = self.info.format != "exr"
        return np.stack([
            normalized(array) if scaled else array.astype(np.float32) for array in self.stored(frame)
        ])  # fmt: skip


def asked_channels(text: str | None) -> tuple[str, ...]:
    """The names typed as NAME,NAME; none where nothing was typed."""
    return tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def open_layers(
    files: Mapping[str, Sequence],
    infos: Mapping[str, list[PlateInfo]],
    frames: Mapping[str, Iterable[int]],
    asked: tuple[str, ...],
    *,
    single: bool,
) -> dict[str, Layers]:
    """Decides which channels are looked at.

    Those asked for; else those of the keys, or of the reference, or of the result, that are no color, alpha where
    nothing else is left, color where there is nothing else at all. A picture that has a single such channel is taken
    whatever its name, where a single one is looked at.

    Args:
        files, infos, frames: by role; result at least. Of `infos` every frame that will be read.
        asked: names; empty: not asked.
        single: whether there has to be one channel and no more.

    Raises:
        PlateError: they are not there, or it is not clear which are meant.
    """
    roles = [role for role in ("keys", "reference", "result") if role in files]
    names = asked or _own(infos[roles[0]][0])[1]
    if single and len(names) != 1:
        info = infos[roles[0]][0]
        raise PlateError(
            f"{info.path}: expected one channel to look at, found {', '.join(names)}; choose one with --channels"
            if not asked
            else f"--channels: expected one channel, got {', '.join(asked)}; look at one after the other"
        )
    found: dict[str, Layers] = {}
    for role in roles:
        first = infos[role][0]
        part, channels = _meant(first, names, bool(asked))
        for info in infos[role]:
            held = info.parts[part].channel_names if part < len(info.parts) else ()
            if not set(channels) <= set(held):
                raise PlateError(
                    f"{info.path}: expected {', '.join(channels)} in part {part} as {first.path.name} has, found "
                    f"{_listed(info)}"
                )
        found[role] = Layers(role, files[role], part, channels, first, frozenset(frames[role]))
    return found


def _meant(info: PlateInfo, names: tuple[str, ...], asked: bool) -> tuple[int, tuple[str, ...]]:
    """Part and names of the channels in a picture."""
    for index, part in enumerate(info.parts):
        if set(names) <= set(part.channel_names):
            return index, names
    index, own = _own(info)
    # a grey picture has no names to choose among
    if len(own) == len(names) == 1 and (not asked or info.format != "exr"):
        return index, own
    raise PlateError(
        f"{info.path}: expected channel{'s' if len(names) > 1 else ''} {', '.join(names)}, found {_listed(info)}; "
        "name those meant with --channels"
    )


def _own(info: PlateInfo) -> tuple[int, tuple[str, ...]]:
    """Part and names of the channels that a picture seems to be there for."""
    for among in (lambda name: name not in (*_COLOR, "A"), lambda name: name == "A", lambda name: True):
        for index, part in enumerate(info.parts):
            names = tuple(name for name in part.channel_names if among(name))
            if names:
                in_order = _COLOR if set(names) == set(_COLOR) else names
                return index, in_order
    raise PlateError(f"{info.path}: expected channels, found none")


def _listed(info: PlateInfo) -> str:
    return "; ".join(f"part {index}: {', '.join(part.channel_names)}" for index, part in enumerate(info.parts))
