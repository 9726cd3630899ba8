"""Property color between plates and engine: what is matched, what is carried, and back into the plate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.ocio.cielab import (
    colorize,
    lightness_from_luminance,
    luminance_of,
    rgb_to_lab,
    round_to_half_keeping_luminance,
)
from stpn.ocio.plate import Plate
from stpn.ocio.spaces import PlateSpace, WorkingCurve
from stpn.plugin.footage import Footage
from stpn.plugin.shot import Shot

Image = NDArray[np.float32]

# a plate whose highlights lie in this range is matched as it is
_USUAL_WHITE = (0.2, 1.2)
# below this luminance there is more noise than light
_DARKEST = 1e-4
# a* and b* as multiples of L*; the purest blue of a camera's primaries has about 3
_FURTHEST = np.float32(10)


def linear(plate: Plate, footage: Footage, *, threads: int = 1) -> Image:
    """Scene-linear RGB (H, W, 3) float32 of a plate, in the primaries of its own space."""
    image = plate.color(footage.part)
    footage.space.decode(image, threads=threads)
    return image


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


def key_property(key: Plate, plate_luminance: Image, shot: Shot) -> Image:
    """ab (H, W, 2) float32 of a key, at the exposure of the plate and in its primaries.

    ab grows with exposure, so a key painted darker or brighter than the plate is brought to the plate's level first.
    The result is finite, and no color is further from grey than light can be, because one broken pixel would else color
    all the unsure ones around it.
    """
    image = linear(key, shot.keys)
    shot.plate.space.convert_from(shot.keys.space, image)
    with np.errstate(over="ignore", invalid="ignore"):  # a broken pixel may stay one; it is dealt with below
        image *= _level(plate_luminance, luminance_of(image, shot.plate.space))
    light, ab = rgb_to_lab(image, shot.plate.space)
    furthest = (_FURTHEST * np.nan_to_num(light, nan=0.0, posinf=1e4).clip(100, 1e4))[..., None]
    ab = np.nan_to_num(ab, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(np.clip(ab, -furthest, furthest), np.float32)


def _level(plate_luminance: Image, key_luminance: Image) -> np.float32:
    """What to multiply a key with: the ratio of the medians of both luminances (H, W); 1 where that says nothing."""
    of_plate, of_key = plate_luminance[::4, ::4], key_luminance[::4, ::4]
    lit = (of_plate > _DARKEST) & (of_key > _DARKEST) & np.isfinite(of_plate) & np.isfinite(of_key)
    return np.float32(np.median(of_plate[lit]) / np.median(of_key[lit])) if lit.any() else np.float32(1)


def luminance(plate: Plate, shot: Shot) -> Image:
    """Luminance (H, W) float32 of a plate frame, white = 1."""
    return luminance_of(linear(plate, shot.plate), shot.plate.space)


def colored(plate: Plate, ab: Image, shot: Shot) -> dict[str, NDArray[Any]]:
    """The plate's color channels with colors ab and the plate's own luminance, in the type and space of the output."""
    image = linear(plate, shot.plate)
    space = shot.plate.space
    result = colorize(image, ab, space)
    if _output_is_half(shot) and (space.is_linear or shot.writes_linear):
        return _channels(round_to_half_keeping_luminance(result, luminance_of(image, space), space.luminance_weights))
    return _encoded(result, shot)


def key_as_given(key: Plate, shot: Shot) -> dict[str, NDArray[Any]]:
    """The color channels of a key frame's output: the key's own, bit for bit, wherever space and type allow."""
    given = [key.pixels(name, shot.keys.part) for name in shot.keys.channels]
    given *= 3 // len(given)
    if _same_coding(shot):
        if shot.output_format == shot.keys.info.format == "exr":
            dtype = np.float16 if _output_is_half(shot) else np.float32
            return {name: array.astype(dtype, copy=False) for name, array in zip("RGB", given, strict=True)}
        if shot.output_format == shot.keys.info.format and shot.plate.pixel_type == shot.keys.pixel_type:
            return dict(zip("RGB", given, strict=True))
    image = linear(key, shot.keys)
    shot.plate.space.convert_from(shot.keys.space, image)
    return _encoded(image, shot)


def _same_coding(shot: Shot) -> bool:
    plate, keys = shot.plate.space, shot.keys.space
    if shot.writes_linear:
        return keys.is_linear and plate.conversion_from(keys) is None
    return plate.name == keys.name or (plate.is_linear and keys.is_linear and plate.conversion_from(keys) is None)


def _encoded(image: Image, shot: Shot) -> dict[str, NDArray[Any]]:
    if not shot.writes_linear:
        shot.plate.space.encode(image)
    return _channels(image.astype(np.float16) if _output_is_half(shot) else image)


def _channels(image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(image[..., index]) for index, name in enumerate("RGB")}


def _output_is_half(shot: Shot) -> bool:
    """Half unless the plate or the keys hold more; what is written elsewhere than to EXR is rounded by the writer."""
    types = {shot.plate.pixel_type, shot.keys.pixel_type}
    return shot.output_format == "exr" and not types & {"float", "uint32"}


def space_attributes(space: PlateSpace) -> dict[str, object]:
    """What an EXR says of scene-linear light in a space's primaries."""
    return {"chromaticities": space.primaries.chromaticities}
