"""Property channels between plates and engine: any channels by name, carried as the numbers they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier, FlowCarrier, Key
from stpn.ocio.plate import Plate
from stpn.ocio.spaces import WorkingCurve, working_curve
from stpn.plugin.footage import Footage, open_footage, unlike_the_first
from stpn.plugin.frames_on_disk import differing
from stpn.plugin.keys import Span
from stpn.plugin.properties.blending import Plan, from_planes, plan, to_planes
from stpn.plugin.properties.channel_names import Named, named_channels, qualified
from stpn.plugin.properties.interface import Material, Opened, Result
from stpn.plugin.properties.lightness import carried_at_full_size, look_past, seen, working_factor_of
from stpn.plugin.reading import Reader
from stpn.plugin.request import RequestError

if TYPE_CHECKING:
    from stpn.plugin.networks import Network

Image = NDArray[np.float32]
Array = NDArray[Any]


def opened(material: Material) -> Opened:
    """Opens channels: keys and plate are EXR, and every key has every channel that is asked for."""
    request, config, plates, keys = material.request, material.config, material.plates, material.keys
    others = [info for info in (*plates, *keys) if info.format != "exr"]
    if others:
        raise RequestError(
            f"{others[0].path}: expected EXR plate and keys with --property channels, got {others[0].format.upper()}"
        )
    plate, why = open_footage(config, material.plate_files, plates[0], request.colorspace, "--colorspace")
    working = working_curve(config, request.working)
    channels = named_channels(request.channels or "", keys, plate.info, plate.part)
    problems = unlike_the_first(plates, plate, request.colorspace, "--colorspace")
    problems += differing(plates, keys, {channel.part for channel in channels})
    problems += _other_places(plates, plate, channels)
    names = ", ".join(f"{qualified(keys[0], c.part, c.name)} ({c.pixel_type})" for c in channels)
    prop = ChannelsProperty(plate, working, channels, request.channels_curve == "log")
    return Opened(prop, plate, (f"plate: {why}", f"channels: {names}"), tuple(problems))


def _other_places(plates: Sequence[Any], plate: Footage, channels: Sequence[Named]) -> list[str]:
    """Parts of the plate's files that cannot take the channels."""
    problems = []
    expected = plate.info.parts[plate.part].data_window
    for info in plates:
        for index in sorted({channel.plate_part for channel in channels}):
            if index >= len(info.parts):
                problems.append(f"{info.path}: expected {index + 1} parts as {plate.info.path.name} has")
            elif info.parts[index].data_window != expected:
                problems.append(
                    f"{info.path}: expected data window {expected} in part {index}, which gets channels, as the part "
                    f"with the color has, got {info.parts[index].data_window}"
                )
    return problems


@dataclass(frozen=True)
class ChannelsProperty:
    """Channels of one shot; see `Property`.

    Attributes:
        plate: what motion is told from, and what channels are put into.
        working: the curve of the lightness that is matched.
        channels: what is carried.
        log: whether values are blended in a log curve.
    """

    plate: Footage
    working: WorkingCurve
    channels: tuple[Named, ...]
    log: bool

    @property
    def output_part(self) -> int:
        """The plate's."""
        return self.plate.part

    def wrong_keys(self, keys: Sequence[int], spans: Sequence[Span], reader: Reader) -> list[str]:
        """Nothing: any numbers may be carried."""
        return []

    def carrier(
        self, span: Span, targets: Sequence[int], reader: Reader, network: Network | None, flashes: Sequence[int]
    ) -> ChannelsCarrier:
        """See `Property`."""
        reach = Span(span.before, span.after, tuple(targets)).reach
        found = seen(reach, span.keys, self.plate, self.working, reader, working_factor_of(self.plate))
        given = [reader.key(key, self._stored) for key in span.keys]
        plans = [
            plan([key[index] for key in given], channel.pixel_type, log=self.log)
            for index, channel in enumerate(self.channels)
        ]
        carried = [
            Key(key, np.dstack([to_planes(array, how) for array, how in zip(arrays, plans, strict=True)]))
            for key, arrays in zip(span.keys, given, strict=True)
        ]
        found = look_past(flashes, found, span)
        reader.check_cancelled()
        flow = carried_at_full_size(
            partial(FlowCarrier, lightness=found.lightness, targets=targets, parallel=reader.parallel),
            carried,
            found,
            reader,
        )
        return ChannelsCarrier(flow, plans)

    def carried_frame(self, frame: int, values: Image, span: Span, reader: Reader) -> Result:
        """The plate with the channels, as float32 (H, W, C) in the order of `channels`, in the type of the keys."""
        types = {"half": np.float16, "float": np.float32}
        arrays = [
            np.ascontiguousarray(values[..., index]).astype(types[channel.pixel_type])
            for index, channel in enumerate(self.channels)
        ]
        return self._result(reader.plate(frame, lambda plate: plate), arrays)

    def key_frame(self, frame: int, reader: Reader) -> Result:
        """The plate with the channels of the key, bit for bit."""
        arrays = reader.key(frame, self._stored)
        return self._result(reader.plate(frame, lambda plate: plate), arrays)

    def _stored(self, key: Plate) -> list[Array]:
        return [key.pixels(channel.name, channel.part) for channel in self.channels]

    def _result(self, plate: Plate, arrays: Sequence[Array]) -> Result:
        by_part: dict[int, dict[str, Array]] = {}
        for channel, array in zip(self.channels, arrays, strict=True):
            by_part.setdefault(channel.plate_part, {})[channel.name] = array
        part = self.plate.part if self.plate.part in by_part else min(by_part)
        return Result(plate, by_part, part=part)


class ChannelsCarrier(Carrier):
    """Motion of both keys, without learning, of channels as planes; see `Carrier`."""

    def __init__(self, flow: Carrier, plans: Sequence[Plan]) -> None:
        """Planes of all channels, side by side, become channels again by their plans."""
        self._flow, self._plans = flow, plans

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `Carrier`."""
        planes, confidence = self._flow.carry(frame)
        ends = np.cumsum([how.planes for how in self._plans])
        parts = np.split(planes, ends[:-1], axis=2)
        values = [from_planes(own, how) for own, how in zip(parts, self._plans, strict=True)]
        return np.dstack(values).astype(np.float32), confidence
