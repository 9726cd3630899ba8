"""What motion is told from: the lightness of the plate, brought to one exposure across a span."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier, FlowCarrier, Key
from stpn.engine.full_size import FullSizeCarrier, full_size_keys
from stpn.engine.stages import stage
from stpn.engine.working_size import reduced, working_factor
from stpn.ocio.cielab import lightness_from_luminance, luminance_of
from stpn.ocio.plate import Plate
from stpn.ocio.spaces import WorkingCurve
from stpn.plugin.footage import Footage
from stpn.plugin.keys import Span
from stpn.plugin.reading import Reader

Image = NDArray[np.float32]

# a plate whose highlights lie in this range is matched as it is
_USUAL_WHITE = (0.2, 1.2)
# pixels of a band
_BAND = 1 << 16


def linear(plate: Plate, footage: Footage, rows: slice = slice(None)) -> Image:
    """Scene-linear RGB (H, W, 3) float32 of a plate or of some rows of it, in the primaries of its own space."""
    image = plate.color(footage.part, rows=rows)
    footage.space.decode(image)
    return image


def luminance(plate: Plate, footage: Footage) -> Image:
    """Luminance (H, W) float32 of a plate frame, white = 1."""
    with stage("color in"):
        part = plate.info.parts[footage.part]
        result = np.empty((part.height, part.width), np.float32)
        for rows in bands(part.height, part.width):
            result[rows] = luminance_of(linear(plate, footage, rows), footage.space)
        return result


def bands(height: int, width: int) -> Iterator[slice]:
    """Rows of a picture, so many at a time that what is between two steps stays in the cache, not in memory."""
    count = max(1, _BAND // max(width, 1))
    return (slice(top, min(top + count, height)) for top in range(0, height, count))


def exposure(luminances: Sequence[Image]) -> float:
    """The factor that brings a span's plates into the range that lightness resolves.

    It follows from the key frames alone, so that every frame between them, computed alone or not, gets the same one.

    Args:
        luminances: (H, W) of the span's key frames on the plate, white = 1.

    Returns:
        1 for a plate of usual exposure; else what puts its 99th percentile at 0.9.
    """
    sampled = [image[::4, ::4] for image in luminances]
    finite = [image[np.isfinite(image)] for image in sampled]  # one broken pixel must not change all others
    white = max((float(np.quantile(values, 0.99)) for values in finite if values.size), default=0.0)
    usual = white <= 0 or _USUAL_WHITE[0] <= white <= _USUAL_WHITE[1]
    return 1.0 if usual else 0.9 / white


def lightness(luminance: Image, factor: float, working: WorkingCurve) -> Image:
    """What motion and network compare: (H, W) float32, finite; CIE L* for working curve linear, else 100 times the
    code."""
    if working.is_linear:
        light = lightness_from_luminance(luminance * np.float32(factor))
    else:
        light = luminance.copy()
        working.encode(light)
        light *= np.float32(100)
    return np.asarray(np.nan_to_num(light, nan=0.0, posinf=1e4, neginf=-1e4), np.float32)


def working_factor_of(plate: Footage) -> int:
    """How many times smaller than the plate motion is estimated."""
    part = plate.info.parts[plate.part]
    return working_factor(part.height, part.width)


@dataclass(frozen=True)
class Seen:
    """The plate frames of a span.

    Attributes:
        at_keys: (H, W) float32 luminance of the key frames, white = 1, at full size.
        lightness: (h, w) float32, 0..100, of every frame, at the size that motion is estimated on.
        factor: how many times smaller that is.
        at_full_size: gives (H, W) float32, 0..100, of a frame.
        as_lightness: what it makes of a luminance.
    """

    at_keys: dict[int, Image]
    lightness: dict[int, Image]
    factor: int
    at_full_size: Callable[[int], Image]
    as_lightness: Callable[[Image], Image]


def seen(
    frames: Iterable[int], keys: Sequence[int], plate: Footage, working: WorkingCurve, reader: Reader, factor: int = 1
) -> Seen:
    """Reads frames as motion sees them.

    Args:
        frames: keys among them.
        keys: those that decide the exposure.
        plate, working: how lightness follows from a frame.
        reader: of the plate.
        factor: how many times smaller motion sees them.
    """
    frames = list(frames)

    def read(frame: int) -> tuple[Image, Image | None]:
        known = plate.previews.take(frame) if factor > 1 and frame not in keys else None
        if known is not None:
            return known, None
        full = reader.plate(frame, lambda found: luminance(found, plate))
        return reduced(full, factor), full if frame in keys else None

    luminances = dict(zip(frames, reader.parallel(read, frames), strict=True))
    at_keys = {key: full for key in keys if (full := luminances[key][1]) is not None}
    as_lightness = partial(lightness, factor=exposure(list(at_keys.values())), working=working)

    def at_full_size(frame: int) -> Image:
        light = reader.plate(frame, lambda found: luminance(found, plate))
        with stage("color in"):
            return as_lightness(light)

    light = {frame: as_lightness(luminances.pop(frame)[0]) for frame in frames}
    return Seen(at_keys, light, factor, at_full_size, as_lightness)


def look_past(flashes: Iterable[int], found: Seen, span: Span) -> Seen:
    """Matches a flash as if it were the frame beside it, on the side of a key: motion that starts from it, or leads
    through it, would be lost. Its luminance in the result is its own all the same."""
    beside = -1 if span.before is not None else 1
    light = dict(found.lightness)
    stands: dict[int, int] = {}
    for frame in sorted(flashes, reverse=beside > 0):
        if frame in light and frame + beside in light and frame not in span.keys:
            light[frame] = light[frame + beside]
            stands[frame] = stands.get(frame + beside, frame + beside)
    full = found.at_full_size  # which lives on with the carrier, and must not hold the pictures of the keys
    return replace(found, lightness=light, at_full_size=lambda frame: full(stands.get(frame, frame)))


def carried_at_full_size(
    small: Callable[..., FlowCarrier], keys: Sequence[Key], found: Seen, reader: Reader
) -> Carrier:
    """What carries keys at the size of the plate.

    Args:
        small: makes the carrier at the size that motion is estimated on, from keys of that size, quickly or not.
        keys: at the size of the plate.
        found: the frames.
        reader: that works side by side.
    """
    if found.factor == 1:
        return small(list(keys))
    mixing = small([Key(key.frame, reduced(key.prop, found.factor)) for key in keys], quickly=True)
    packed = full_size_keys([(key.prop, found.as_lightness(found.at_keys[key.frame])) for key in keys])
    return FullSizeCarrier(mixing, packed, found.at_full_size, found.factor, reader.parallel_within)
