"""Property hdr between plates and engine: code values of a clipped plate, radiance of the keys, and light in EXR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier, Key
from stpn.engine.properties.hdr import HdrCarrier
from stpn.engine.properties.response import KeyPair, ResponseError, fit_exposure, fit_response
from stpn.ocio.config import ColorError, Config
from stpn.ocio.plate import Plate, PlateInfo
from stpn.ocio.raster import DTYPES, normalized
from stpn.ocio.spaces import PlateSpace
from stpn.plugin.footage import Footage, open_footage, unlike_the_first
from stpn.plugin.frame_source import FrameSource
from stpn.plugin.frames_on_disk import differing
from stpn.plugin.keys import Span
from stpn.plugin.lazy_frames import LazyFrames
from stpn.plugin.properties.color import space_attributes
from stpn.plugin.properties.interface import Material, Opened, Result
from stpn.plugin.properties.lightness import linear, working_factor_of
from stpn.plugin.reading import Reader

if TYPE_CHECKING:
    from stpn.plugin.networks import Network

Image = NDArray[np.float32]
Array = NDArray[Any]

_LARGEST_HALF = 65504.0
# light that a key must be able to hold at least; a picture made for a screen holds 1
_BEYOND_WHITE = 1.001


def opened(material: Material) -> Opened:
    """Opens hdr: the plate is any picture that clips, the keys hold light beyond white."""
    request, config, plates, keys = material.request, material.config, material.plates, material.keys
    plate = _plate(config, material.plate_files, plates[0])
    key, why_keys = open_footage(config, material.key_files, keys[0], request.keys_colorspace, "--keys-colorspace")
    _refuse_display_referred(key)
    curve = PlateSpace(config, request.ldr_curve) if request.ldr_curve is not None else None
    space = key.space
    if request.hdr_colorspace is not None:
        space = PlateSpace(config, request.hdr_colorspace)
        if not space.is_linear:
            raise ColorError(
                f"--hdr-colorspace: expected a scene-linear space, got {space.name!r}, which has a curve; results hold "
                "light, so name a linear one such as ACEScg"
            )
    problems = unlike_the_first(plates, plate, "code values", "")
    problems += unlike_the_first(keys, key, request.keys_colorspace, "--keys-colorspace")
    problems += differing(plates, keys)
    said = f"code values of {plate.pixel_type}, the curve is fitted to the keys"
    if curve is not None:
        said = f"{curve.name}, by --ldr-curve"
    written = f"results: {space.name}, {'by --hdr-colorspace' if request.hdr_colorspace else 'as the keys'}"
    decisions = (f"plate: {said}", f"keys: {why_keys}", written)
    return Opened(Hdr(plate, key, curve, space), plate, decisions, tuple(problems))


def _plate(config: Config, files: FrameSource, info: PlateInfo) -> Footage:
    """The plate, with a space that cuts are told by: whatever it is, one frame looks like the next in it or not."""
    try:
        return open_footage(config, files, info, "auto", "")[0]
    except ColorError:
        return open_footage(config, files, info, config.scene_linear().name, "")[0]


def _refuse_display_referred(keys: Footage) -> None:
    """Raises ColorError where no pixel of the keys can be brighter than white."""
    dtype = DTYPES[keys.pixel_type]
    if dtype.kind != "u" or keys.info.format == "exr":
        return
    white = np.ones((1, 1, 3), np.float32)
    keys.space.decode(white)
    if dtype == np.uint8 or float(white.max()) <= _BEYOND_WHITE:
        raise ColorError(
            f"{keys.info.path}: expected keys of scene-linear light beyond white, such as EXR, got "
            f"{8 * dtype.itemsize}-bit {keys.info.format.upper()} in {keys.space.name}, which ends at white; give the "
            "HDR frames themselves, or name a camera's log with --keys-colorspace"
        )


@dataclass(frozen=True)
class Hdr:
    """Radiance of one shot; see `Property`.

    Attributes:
        plate: code values.
        keys: how the light of the keys is read.
        curve: the plate's color space where it is known; None: its curve is fitted.
        space: scene-linear space of the results; where the keys have a curve, their light without it.
    """

    plate: Footage
    keys: Footage
    curve: PlateSpace | None
    space: PlateSpace

    @property
    def output_part(self) -> int:
        """The plate's."""
        return self.plate.part

    def wrong_keys(self, keys: Sequence[int], spans: Sequence[Span], reader: Reader) -> list[str]:
        """Keys that show something else than their plate frames."""

        def problem(span: Span) -> str:
            codes = self._held(span.keys, reader)
            pairs = [KeyPair(key, codes[key], self._radiance(key, reader)) for key in span.keys]
            try:
                if self.curve is None:
                    fit_response(pairs)
                else:
                    fit_exposure(pairs, self._known(codes))
            except ResponseError as error:
                return f"{self.keys.files.path(error.frame)}: {error}"
            return ""

        groups = {span.keys: span for span in spans}
        return list(dict.fromkeys(found for found in map(problem, groups.values()) if found))

    def carrier(
        self, span: Span, targets: Sequence[int], reader: Reader, network: Network | None, flashes: Sequence[int]
    ) -> Carrier:
        """See `Property`."""
        reach = Span(span.before, span.after, tuple(targets)).reach
        factor = 1 if _is_papers(network) else working_factor_of(self.plate)
        codes = self._held(reach, reader) if factor == 1 else self._codes(reach, reader)
        carried = [Key(key, self._radiance(key, reader)) for key in span.keys]
        reader.check_cancelled()
        return HdrCarrier(
            carried,
            codes,
            targets,
            _of_hdr(network),
            reader.parallel,
            known=None if self.curve is None else self._known(codes),
            factor=factor,
            within=reader.parallel_within,
        )

    def _held(self, frames: Sequence[int], reader: Reader) -> LazyFrames:
        """As `_codes`, read at once and held as they are stored."""
        held = dict(zip(frames, reader.parallel(lambda f: reader.plate(f, self._stored), frames), strict=True))
        return LazyFrames(frames, lambda f: self._as_codes(held[f]))

    def _codes(self, frames: Sequence[int], reader: Reader) -> LazyFrames:
        """(H, W, 3) float32 code values of the plate by frame: integers 0..1, of an EXR what it holds; finite. They are
        read whenever one is asked for."""
        return LazyFrames(frames, lambda f: self._as_codes(reader.plate(f, self._stored)), kept=0)

    def _stored(self, plate: Plate) -> Array:
        arrays = [plate.pixels(name, self.plate.part) for name in self.plate.channels]
        return np.dstack(arrays * (3 // len(arrays)))

    def _as_codes(self, stored: Array) -> Image:
        exr = self.plate.info.format == "exr"
        return _finite(stored.astype(np.float32) if exr else normalized(stored))

    def _known(self, codes: LazyFrames) -> LazyFrames:
        """(H, W, 3) float32 light of the plate in the keys' space by frame, by the curve that was named."""

        def decoded(frame: int) -> Image:
            assert self.curve is not None
            image = codes[frame].copy()
            self.curve.decode(image)
            self.keys.space.convert_from(self.curve, image)
            return _finite(image)

        return LazyFrames(list(codes), decoded, codes.kept)

    def _radiance(self, key: int, reader: Reader) -> Image:
        """(H, W, 3) float32, finite, of a key in its own space."""
        return reader.key(key, lambda plate: _finite(linear(plate, self.keys)))

    def carried_frame(self, frame: int, values: Image, span: Span, reader: Reader) -> Result:
        """Radiance (H, W, 3) in the keys' space goes into the plate's color channels, in the keys' type."""
        return self._result(frame, self._light(values.copy()), reader)

    def key_frame(self, frame: int, reader: Reader) -> Result:
        """The key's own color channels, bit for bit where the results have its space."""
        return self._result(frame, reader.key(frame, self._as_given), reader)

    def _as_given(self, key: Plate) -> list[Array]:
        given = [key.pixels(name, self.keys.part) for name in self.keys.channels]
        as_they_are = self.keys.space.is_linear and self.space.conversion_from(self.keys.space) is None
        if as_they_are and self.keys.pixel_type in ("half", "float"):
            return [array.astype(self._dtype, copy=False) for array in given * (3 // len(given))]
        return self._light(linear(key, self.keys))

    def _light(self, image: Image) -> list[Array]:
        """Light of the keys' space in that of the results; takes the image."""
        self.space.convert_from(self.keys.space, image)
        if self._dtype == np.float16:
            image = np.where(np.isfinite(image), np.clip(image, -_LARGEST_HALF, _LARGEST_HALF), image)
        return [np.ascontiguousarray(image[..., index]).astype(self._dtype) for index in range(3)]

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float16 if self.keys.pixel_type == "half" else np.float32)

    def _result(self, frame: int, light: Sequence[Array], reader: Reader) -> Result:
        plate = reader.plate(frame, lambda plate: plate)
        # what the plate says of its own color is not true of the result
        attributes = space_attributes(self.space, plate.info.parts[self.plate.part].attributes)
        drop = [name for name in self.plate.channels if name not in "RGB"]
        channels = dict(zip("RGB", light, strict=True))
        return Result(plate, {self.plate.part: channels}, drop, self.plate.part, attributes)


def _is_papers(network: Network | None) -> bool:
    """Whether it is the paper's network, which sees plates as they are."""
    if network is None:
        return False
    from stpn.engine.network import SwitchableTPN

    return isinstance(network, SwitchableTPN)


def _of_hdr(network: Network | None) -> Any:
    """The network as `HdrCarrier` takes it; its weights were checked when they were read."""
    return network


def _finite(image: Image) -> Image:
    """An image without NaN, which becomes 0, and infinity, which becomes the brightest that there is."""
    finite = np.isfinite(image)
    if finite.all():
        return image
    most = float(image[finite].max(initial=0))
    return np.nan_to_num(image, nan=0.0, posinf=most, neginf=0.0)
