"""Property mask between plates and engine: mattes and object numbers, carried by what the plate shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier, Key
from stpn.engine.properties.mask import MaskCarrier
from stpn.ocio.plate import Plate
from stpn.ocio.raster import DTYPES, normalized
from stpn.plugin.display import Rec709, srgb_encoded
from stpn.plugin.footage import Footage, open_footage, unlike_the_first
from stpn.plugin.frames_on_disk import differing
from stpn.plugin.keys import Span
from stpn.plugin.lazy_frames import LazyFrames
from stpn.plugin.properties.interface import Material, Opened, Result
from stpn.plugin.properties.lightness import exposure, linear, luminance
from stpn.plugin.properties.matte_keys import MatteKeys, open_matte_keys
from stpn.plugin.reading import Reader

if TYPE_CHECKING:
    from stpn.plugin.networks import Network

Image = NDArray[np.float32]
Array = NDArray[Any]


def opened(material: Material) -> Opened:
    """Opens mask: the plate is any picture, the keys are mattes or object numbers."""
    request, config, plates, keys = material.request, material.config, material.plates, material.keys
    plate, why = open_footage(config, material.plate_files, plates[0], request.colorspace, "--colorspace")
    mattes, said, problems = open_matte_keys(material.key_files, keys, labels=request.mask_labels)
    problems = unlike_the_first(plates, plate, request.colorspace, "--colorspace") + problems
    problems += differing(plates, keys, {mattes.part})
    to_exr = Path(request.output).suffix.lower() == ".exr"
    if request.mask_output == "plate" and plate.info.format != "exr":
        problems.append(
            f"--mask-output plate: expected an EXR plate, which can hold mattes too, got {plate.info.path.name}; "
            "leave it out"
        )
    if not to_exr and len(mattes.channels) > 1 and len(mattes.names) > 1:
        problems.append(
            f"{request.output}: expected .exr for the {len(mattes.names)} mattes {', '.join(mattes.names)}; a picture "
            "holds one"
        )
    prop = Mask(plate, mattes, Rec709(config), to_exr, request.mask_output == "plate")
    return Opened(prop, plate, (f"plate: {why}", said), tuple(problems))


@dataclass(frozen=True)
class Mask:
    """Mattes of one shot; see `Property`.

    Attributes:
        plate: what shows the objects.
        keys: how keys are read.
        rec709: takes the plate's light to that of the network.
        to_exr: whether results are EXR; else they are pictures as the keys.
        with_plate: whether results hold the plate too.
    """

    plate: Footage
    keys: MatteKeys
    rec709: Rec709
    to_exr: bool
    with_plate: bool

    @property
    def output_part(self) -> int:
        """The plate's in a copy of the plate, else the only one."""
        return self.plate.part if self.with_plate else 0

    def wrong_keys(self, keys: Sequence[int], spans: Sequence[Span], reader: Reader) -> list[str]:
        """Mattes that are none, and object numbers that are none."""

        def problem(frame: int) -> str:
            return reader.key(frame, lambda key: self.keys.problem(frame, key))

        return [found for found in reader.parallel(problem, keys) if found]

    def carrier(
        self, span: Span, targets: Sequence[int], reader: Reader, network: Network | None, flashes: Sequence[int]
    ) -> Carrier:
        """See `Property`."""
        reach = Span(span.before, span.after, tuple(targets)).reach
        carried, objects = self.read_keys(span.keys, reader)
        pictures = self.pictures(reach, span.keys, reader)
        if network is not None:
            from stpn.engine.properties.mask_network import MaskRefiner

            assert isinstance(network, MaskRefiner)
        carrier = MaskCarrier(carried, pictures, targets, network, reader.parallel_within)
        return ObjectsCarrier(carrier, objects) if objects else carrier

    def read_keys(self, keys: Sequence[int], reader: Reader) -> tuple[list[Key], tuple[int, ...]]:
        """The keys, (H, W, C) float32, 0..1, one channel an object; and the objects' numbers in that order, none where
        the keys hold mattes."""
        if not self.keys.labels:
            return [Key(key, reader.key(key, self.keys.mattes)) for key in keys], ()
        numbers = {key: reader.key(key, self.keys.objects) for key in keys}
        # where the keys show no object there is still one to carry: none
        objects = tuple(sorted({int(n) for image in numbers.values() for n in np.unique(image)} - {0})) or (1,)
        return [
            Key(key, np.dstack([image == number for number in objects]).astype(np.float32))
            for key, image in numbers.items()
        ], objects

    def pictures(self, frames: Sequence[int], keys: Sequence[int], reader: Reader) -> LazyFrames:
        """The plate as the network sees it, read on demand: (H, W, 3) float32, 0..1, sRGB code values of its light in
        Rec.709, at one exposure across the span."""

        def light(frame: int) -> Image:
            return reader.plate(frame, lambda plate: luminance(plate, self.plate))

        factor = np.float32(exposure(list(reader.parallel(light, keys))))

        def picture(plate: Plate) -> Image:
            image = self.rec709.convert(linear(plate, self.plate), self.plate.space)
            with np.errstate(over="ignore", invalid="ignore"):
                image = image * factor
            return srgb_encoded(np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0)) / np.float32(255)

        return LazyFrames(frames, lambda frame: reader.plate(frame, picture))

    def carried_frame(self, frame: int, values: Image, span: Span, reader: Reader) -> Result:
        """Mattes (H, W, C) 0..1, or object numbers (H, W, 1), in the type of the keys."""
        arrays = [self._typed(np.ascontiguousarray(values[..., index])) for index in range(values.shape[2])]
        return self._result(frame, arrays, span.keys[0], reader)

    def key_frame(self, frame: int, reader: Reader) -> Result:
        """The mattes of the key, bit for bit; integers in an EXR as what they stand for."""
        stored = reader.key(frame, self.keys.stored)
        return self._result(frame, [self._as_exr(array) if self.to_exr else array for array in stored], frame, reader)

    def _typed(self, values: Image) -> Array:
        """Carried values in the type that `key_frame` gives."""
        if self.keys.labels:
            dtype: Any = DTYPES[self.keys.pixel_type]
            return values.astype(np.uint32 if self.to_exr and dtype.kind == "u" else dtype)
        values = np.clip(values, 0, 1)
        dtype = DTYPES[self.keys.pixel_type]
        if dtype.kind != "u":
            return values.astype(dtype)
        if self.to_exr:
            return values.astype(np.float16 if dtype == np.uint8 else np.float32)
        return np.rint(values.astype(np.float64) * np.iinfo(dtype).max).astype(dtype)

    def _as_exr(self, array: Array) -> Array:
        if array.dtype.kind != "u":
            return array
        if self.keys.labels:
            return array.astype(np.uint32)
        return normalized(array).astype(np.float16 if array.dtype == np.uint8 else np.float32)

    def _result(self, frame: int, arrays: Sequence[Array], like: int, reader: Reader) -> Result:
        """Where mattes go: into an EXR of their own, a copy of the plate, or a picture like a key."""
        if not self.to_exr:
            key = reader.key(like, lambda plate: plate)
            return Result(key, {0: {"Y": arrays[0]}}, [name for name in key.parts[0] if name != "Y"])
        channels = dict(zip(self.keys.names, arrays, strict=True))
        if self.with_plate:
            return Result(reader.plate(frame, lambda plate: plate), {self.plate.part: channels}, part=self.plate.part)
        reader.check_cancelled()
        return Result(self.plate.files.empty_like(frame, self.plate.part), {0: channels})


class ObjectsCarrier(Carrier):
    """Mattes that become object numbers; see `Carrier`."""

    def __init__(self, carrier: Carrier, objects: Sequence[int]) -> None:
        """Takes what carries a matte an object, and the objects' numbers, in the order of the mattes."""
        self._carrier, self._objects = carrier, objects

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `Carrier`; (H, W, 1): of each pixel the object with the largest matte, 0 where what is left of 1 is
        more."""
        mattes, confidence = self._carrier.carry(frame)
        shares = np.dstack([1 - mattes.sum(axis=2), mattes])
        numbers = np.asarray([0, *self._objects], np.float32)
        return numbers[shares.argmax(axis=2)][..., None], confidence
