"""Property color between plates and engine: what is matched, what is carried, and back into the plate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import AlignedCarrier, Carrier, FlowCarrier, Key, NetworkCarrier
from stpn.engine.stages import stage
from stpn.ocio.cielab import colorize, luminance_of, rgb_to_lab, round_to_half_keeping_luminance
from stpn.ocio.plate import Plate
from stpn.ocio.spaces import PlateSpace, WorkingCurve, working_curve
from stpn.plugin.footage import Footage, open_footage, unlike_the_first
from stpn.plugin.frames_on_disk import differing
from stpn.plugin.keys import Span
from stpn.plugin.properties.interface import Material, Opened, Result
from stpn.plugin.properties.lightness import bands, carried_at_full_size, linear, look_past, seen, working_factor_of
from stpn.plugin.reading import Reader

if TYPE_CHECKING:
    from stpn.plugin.networks import Network

Image = NDArray[np.float32]
Channels = dict[str, NDArray[Any]]

# below this luminance there is more noise than light
_DARKEST = 1e-4
# a* and b* as multiples of L*; the purest blue of a camera's primaries has about 3
_FURTHEST = np.float32(10)


def opened(material: Material) -> Opened:
    """Opens color: plate and keys have R, G and B, or luminance alone."""
    request, config, plates, keys = material.request, material.config, material.plates, material.keys
    plate, why_plate = open_footage(config, material.plate_files, plates[0], request.colorspace, "--colorspace")
    key, why_keys = open_footage(config, material.key_files, keys[0], request.keys_colorspace, "--keys-colorspace")
    working = working_curve(config, request.working)
    problems = unlike_the_first(plates, plate, request.colorspace, "--colorspace")
    problems += unlike_the_first(keys, key, request.keys_colorspace, "--keys-colorspace")
    problems += differing(plates, keys)
    to_exr = Path(request.output).suffix.lower() == ".exr"
    if plate.info.format == "exr" or not to_exr:
        plate.space.check_encodable()
    prop = Color(plate, key, working, request.method, "exr" if to_exr else plate.info.format)
    return Opened(prop, plate, (f"plate: {why_plate}", f"keys: {why_keys}"), tuple(problems))


@dataclass(frozen=True)
class Color:
    """Color of one shot; see `Property`.

    Attributes:
        plate, keys: how the color of each is read.
        working: the curve of the lightness that is matched.
        method: aligned, flow or stpn.
        output_format: the format of the results: the plate's own, or exr.
    """

    plate: Footage
    keys: Footage
    working: WorkingCurve
    method: str
    output_format: str

    @property
    def output_part(self) -> int:
        """The plate's."""
        return self.plate.part

    @property
    def writes_linear(self) -> bool:
        """Whether a plate that is no EXR goes to EXR, which then holds scene-linear light in the plate's primaries."""
        return self.output_format == "exr" != self.plate.info.format

    def wrong_keys(self, keys: Sequence[int], spans: Sequence[Span], reader: Reader) -> list[str]:
        """Nothing: any pixel is a color."""
        return []

    def carrier(
        self, span: Span, targets: Sequence[int], reader: Reader, network: Network | None, flashes: Sequence[int]
    ) -> Carrier:
        """See `Property`."""
        keys = span.keys
        frames: Iterable[int] = Span(span.before, span.after, tuple(targets)).reach
        factor = working_factor_of(self.plate)
        if self.method == "stpn":
            frames, factor = sorted({*keys, *targets}), 1
        found = seen(frames, keys, self.plate, self.working, reader, factor)
        carried = [Key(key, self.read_key(key, found.at_keys[key], reader)) for key in keys]
        if self.method != "stpn":
            found = look_past(flashes, found, span)
        reader.check_cancelled()
        if network is None:
            return carried_at_full_size(
                partial(FlowCarrier, lightness=found.lightness, targets=targets, parallel=reader.parallel),
                carried,
                found,
                reader,
            )
        from stpn.engine.aligned_network import AlignedFusion
        from stpn.engine.network import SwitchableTPN

        if isinstance(network, SwitchableTPN):
            return NetworkCarrier(carried, found.lightness, network)
        assert isinstance(network, AlignedFusion)
        return carried_at_full_size(
            partial(
                AlignedCarrier, lightness=found.lightness, targets=targets, network=network, parallel=reader.parallel
            ),
            carried,
            found,
            reader,
        )

    def read_key(self, key: int, plate_luminance: Image, reader: Reader) -> Image:
        """`key_property` of a key frame."""
        return reader.key(key, lambda plate: self.key_property(plate, plate_luminance))

    def key_property(self, key: Plate, plate_luminance: Image) -> Image:
        """ab (H, W, 2) float32 of a key, at the exposure of the plate and in its primaries.

        ab grows with exposure, so a key painted darker or brighter than the plate is brought to the plate's level
        first. The result is finite, and no color is further from grey than light can be, because one broken pixel would
        else color all the unsure ones around it.
        """
        image = linear(key, self.keys)
        self.plate.space.convert_from(self.keys.space, image)
        with np.errstate(over="ignore", invalid="ignore"):  # a broken pixel may stay one; it is dealt with below
            image *= _level(plate_luminance, luminance_of(image, self.plate.space))
        with stage("color in"):
            light, ab = rgb_to_lab(image, self.plate.space)
        furthest = (_FURTHEST * np.nan_to_num(light, nan=0.0, posinf=1e4).clip(100, 1e4))[..., None]
        ab = np.nan_to_num(ab, nan=0.0, posinf=0.0, neginf=0.0)
        return np.asarray(np.clip(ab, -furthest, furthest), np.float32)

    def carried_frame(self, frame: int, values: Image, span: Span, reader: Reader) -> Result:
        """The plate's color channels with colors ab and the plate's own luminance, in the output's type and space."""
        plate = reader.plate(frame, lambda plate: plate)
        height, width = values.shape[:2]
        dtype = np.float16 if self._output_is_half else np.float32
        channels: Channels = {name: np.empty((height, width), dtype) for name in "RGB"}

        def color(rows: slice) -> None:
            with stage("color out"):
                for name, rounded in self._colored(plate, values[rows], rows).items():
                    channels[name][rows] = rounded

        for _ in reader.parallel_within(color, bands(height, width)):
            pass
        return self._result(plate, channels)

    def _colored(self, plate: Plate, values: Image, rows: slice) -> Channels:
        space = self.plate.space
        image = linear(plate, self.plate, rows)
        result = colorize(image, values, space)
        if self._output_is_half and (space.is_linear or self.writes_linear):
            light = luminance_of(image, space)
            return _channels(round_to_half_keeping_luminance(result, light, space.luminance_weights))
        return self._encoded(result)

    def key_frame(self, frame: int, reader: Reader) -> Result:
        """The key's own color channels, bit for bit, wherever space and type allow."""
        channels = reader.key(frame, self._as_given)
        return self._result(reader.plate(frame, lambda plate: plate), channels)

    def _as_given(self, key: Plate) -> Channels:
        given = [key.pixels(name, self.keys.part) for name in self.keys.channels]
        given *= 3 // len(given)
        if self._same_coding():
            if self.output_format == self.keys.info.format == "exr":
                dtype = np.float16 if self._output_is_half else np.float32
                return {name: array.astype(dtype, copy=False) for name, array in zip("RGB", given, strict=True)}
            if self.output_format == self.keys.info.format and self.plate.pixel_type == self.keys.pixel_type:
                return dict(zip("RGB", given, strict=True))
        image = linear(key, self.keys)
        self.plate.space.convert_from(self.keys.space, image)
        return self._encoded(image)

    def _same_coding(self) -> bool:
        plate, keys = self.plate.space, self.keys.space
        if self.writes_linear:
            return keys.is_linear and plate.conversion_from(keys) is None
        return plate.name == keys.name or (plate.is_linear and keys.is_linear and plate.conversion_from(keys) is None)

    def _encoded(self, image: Image) -> Channels:
        if not self.writes_linear:
            self.plate.space.encode(image)
        return _channels(image.astype(np.float16) if self._output_is_half else image)

    @property
    def _output_is_half(self) -> bool:
        """Half unless the plate or the keys hold more; what is written elsewhere than to EXR is rounded by the
        writer."""
        types = {self.plate.pixel_type, self.keys.pixel_type}
        return self.output_format == "exr" and not types & {"float", "uint32"}

    def _result(self, plate: Plate, channels: Channels) -> Result:
        return Result(
            plate,
            {self.plate.part: channels},
            [name for name in self.plate.channels if name not in channels],
            self.plate.part,
            space_attributes(self.plate.space, plate.info.parts[self.plate.part].attributes)
            if self.writes_linear
            else {},
        )


def space_attributes(space: PlateSpace, says: Mapping[str, object]) -> dict[str, object]:
    """What an EXR must say of scene-linear light in a space's primaries, that it does not say already.

    Args:
        space: of the light.
        says: attributes of the file that it is written upon; what they say of another coding is no longer true.
    """
    attributes: dict[str, object] = {"chromaticities": space.primaries.chromaticities}
    before = says.get("chromaticities")
    if isinstance(before, tuple) and np.allclose(before, space.primaries.chromaticities, atol=1e-6):
        attributes = {}
    return attributes | {name: now for name, now in _OF_A_CODING.items() if name in says}


_OF_A_CODING: dict[str, object] = {
    "acesImageContainerFlag": 0,
    "colorInteropID": "unknown",
    "oiio:ColorSpace": "linear",
    "dpx:Transfer": "Linear",
}


def _level(plate_luminance: Image, key_luminance: Image) -> np.float32:
    """What to multiply a key with: the ratio of the medians of both luminances (H, W); 1 where that says nothing."""
    of_plate, of_key = plate_luminance[::4, ::4], key_luminance[::4, ::4]
    lit = (of_plate > _DARKEST) & (of_key > _DARKEST) & np.isfinite(of_plate) & np.isfinite(of_key)
    return np.float32(np.median(of_plate[lit]) / np.median(of_key[lit])) if lit.any() else np.float32(1)


def _channels(image: NDArray[Any]) -> Channels:
    return {name: np.ascontiguousarray(image[..., index]) for index, name in enumerate("RGB")}
