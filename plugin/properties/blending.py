"""Any numbers as planes that may be blended: a curve, a scale, and what is no ordinary number kept apart.

Depth of the sky is infinite, or 1e10, and a normal may be NaN. One such pixel, blended, would spoil all around it. So
each channel is carried as its ordinary values, 0 elsewhere, beside one plane for each kind of pixel that its keys hold;
the values are divided by their own plane in the end, and a pixel becomes whatever kind has the largest share of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

FAR = 1e9
"""Magnitude from which a float stands for no distance or light that could be blended, such as 1e10 for the sky; of half
floats it is the largest one."""

_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Plan:
    """How one channel of a span is turned into planes.

    Attributes:
        pixel_type: half or float: what the channel is stored in.
        steepness: the s of sign(x) ln(1 + |x| / s); 0: values are blended as they are.
        scale: what values are divided by, a power of two, so that sums stay finite.
        kinds: values that are kept apart, each with a plane of its own: +-inf, NaN, far ones.
    """

    pixel_type: str
    steepness: float
    scale: float
    kinds: tuple[float, ...]

    @property
    def planes(self) -> int:
        """How many planes the channel takes: its values, and where something is kept apart, each kind and the rest."""
        return 1 + (len(self.kinds) + 1 if self.kinds else 0)


def plan(keys: Sequence[NDArray[Any]], pixel_type: str, *, log: bool) -> Plan:
    """How a channel is turned into planes; it follows from the keys of the span alone.

    Args:
        keys: (H, W) float16 or float32 of every key of the span.
        pixel_type: half or float.
        log: whether to blend in a log curve whose bend lies at the median magnitude of the keys.
    """
    images = [key.astype(np.float32) for key in keys]
    far = _far(pixel_type)
    kinds = []
    for sign in (-1, 1):
        beyond = [image[np.isfinite(image) & (sign * image >= far)] for image in images]
        if any(values.size for values in beyond):
            kinds.append(sign * float(max((sign * values).max() for values in beyond if values.size)))
        if any((image == sign * np.inf).any() for image in images):
            kinds.append(sign * float("inf"))
    if any(np.isnan(image).any() for image in images):
        kinds.append(float("nan"))
    magnitudes = np.concatenate([np.abs(image[np.abs(image) < far]) for image in images])  # no NaN is below anything
    steepness = 0.0
    if log:
        lit = magnitudes[magnitudes > 0]
        steepness = float(np.median(lit)) if lit.size else 1.0
    largest = float(magnitudes.max(initial=0))
    scale = 1.0 if steepness or largest == 0 else float(2.0 ** np.ceil(np.log2(largest)))
    return Plan(pixel_type, steepness, scale, tuple(kinds))


def to_planes(values: NDArray[Any], how: Plan) -> Image:
    """(H, W, `how.planes`) float32 of a key's channel (H, W)."""
    image = values.astype(np.float32)
    classes = _classes(image, how)
    ordinary = np.where(classes == 0, image, np.float32(0))
    if how.steepness:
        ordinary = np.sign(ordinary) * np.log1p(np.abs(ordinary) / np.float32(how.steepness))
    else:
        ordinary = ordinary / np.float32(how.scale)
    if not how.kinds:
        return np.ascontiguousarray(ordinary[..., None], np.float32)
    shares = [(classes == index).astype(np.float32) for index in range(len(how.kinds) + 1)]
    return np.dstack([ordinary.astype(np.float32), *shares])


def from_planes(planes: Image, how: Plan) -> NDArray[Any]:
    """The channel (H, W), float16 or float32, of planes that were blended; the inverse of `to_planes`."""
    values = planes[..., 0]
    if how.kinds:
        share = planes[..., 1]
        values = np.divide(values, share, out=np.zeros_like(values), where=share > 1e-6)
    if how.steepness:
        with np.errstate(over="ignore"):
            values = np.sign(values) * np.expm1(np.abs(values)) * np.float32(how.steepness)
    else:
        values = values * np.float32(how.scale)
    # rounding alone may carry a value past what the type holds
    most = np.float32(_LARGEST_HALF if how.pixel_type == "half" else np.finfo(np.float32).max)
    values = np.clip(values, -most, most)
    if how.kinds:
        # of equal shares the first wins: an ordinary value
        winner = planes[..., 1:].argmax(axis=2)
        for index, kind in enumerate(how.kinds, 1):
            values[winner == index] = np.float32(kind)
    return values.astype(np.float16 if how.pixel_type == "half" else np.float32)


def _classes(image: Image, how: Plan) -> NDArray[np.uint8]:
    """0 for an ordinary value, else 1 + the place of its kind; far values of one sign are one kind."""
    classes = np.zeros(image.shape, np.uint8)
    for index, kind in enumerate(how.kinds, 1):
        if np.isnan(kind):
            found = np.isnan(image)
        elif np.isinf(kind):
            found = image == np.float32(kind)
        else:
            found = np.isfinite(image) & (np.sign(kind) * image >= _far(how.pixel_type))
        classes[found] = index
    return classes


def _far(pixel_type: str) -> np.float32:
    return np.float32(_LARGEST_HALF if pixel_type == "half" else FAR)
