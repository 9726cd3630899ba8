"""What motion is told from: the lightness of the plate, brought to one exposure across a span."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.cielab import lightness_from_luminance, luminance_of
from stpn.ocio.plate import Plate
from stpn.ocio.spaces import WorkingCurve
from stpn.plugin.footage import Footage
from stpn.plugin.keys import Span
from stpn.plugin.reading import Reader

Image = NDArray[np.float32]

# a plate whose highlights lie in this range is matched as it is
_USUAL_WHITE = (0.2, 1.2)


def linear(plate: Plate, footage: Footage, *, threads: int = 1) -> Image:
    """Scene-linear RGB (H, W, 3) float32 of a plate, in the primaries of its own space."""
    image = plate.color(footage.part)
    footage.space.decode(image, threads=threads)
    return image


def luminance(plate: Plate, footage: Footage) -> Image:
    """Luminance (H, W) float32 of a plate frame, white = 1."""
    return luminance_of(linear(plate, footage), footage.space)


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


@dataclass(frozen=True)
class Seen:
    """The plate frames of a span.

    Attributes:
        at_keys: (H, W) float32 luminance of the key frames, white = 1.
        lightness: (H, W) float32, 0..100, of every frame.
    """

    at_keys: dict[int, Image]
    lightness: dict[int, Image]


def seen(frames: Iterable[int], keys: Sequence[int], plate: Footage, working: WorkingCurve, reader: Reader) -> Seen:
    """Reads frames as motion sees them.

    Args:
        frames: keys among them.
        keys: those that decide the exposure.
        plate, working: how lightness follows from a frame.
        reader: of the plate.
    """
    frames = list(frames)

    def read(frame: int) -> Image:
        return reader.plate(frame, lambda found: luminance(found, plate))

    luminances = dict(zip(frames, reader.parallel(read, frames), strict=True))
    at_keys = {key: luminances[key] for key in keys}
    factor = exposure(list(at_keys.values()))
    return Seen(at_keys, {frame: lightness(luminances.pop(frame), factor, working) for frame in frames})


def look_past(flashes: Iterable[int], lightness: dict[int, Image], span: Span) -> None:
    """Matches a flash as if it were the frame beside it, on the side of a key: motion that starts from it, or leads
    through it, would be lost. Its luminance in the result is its own all the same."""
    beside = -1 if span.before is not None else 1
    for frame in sorted(flashes, reverse=beside > 0):
        if frame in lightness and frame + beside in lightness and frame not in span.keys:
            lightness[frame] = lightness[frame + beside]
