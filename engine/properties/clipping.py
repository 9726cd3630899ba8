"""What a picture that clips says of each pixel: how light it is, and how far its channels count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stpn.engine.properties.response import EPSILON

Image = NDArray[np.float32]

# the paper's alpha: the plate alone below, what is carried alone at the clip level
_FROM, _RANGE = np.float32(0.95), np.float32(0.05)
# a channel that is surely not clipped is known, whatever the others are
KNOWN, _LOST = 0.97, 0.99
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def alpha_of(level: Image) -> Image:
    """The paper's alpha (H, W, 1) of code values (H, W, 3), 1 = clipped: how far what was carried counts."""
    brightest = level.max(axis=2, keepdims=True)
    return np.asarray(np.clip((brightest - _FROM) / _RANGE, 0, 1), np.float32)


def blindness_of(level: Image) -> Image:
    """How far each channel of code values (H, W, 3), 1 = clipped, says nothing: 0..1."""
    return np.asarray(np.clip((level - np.float32(KNOWN)) / np.float32(_LOST - KNOWN), 0, 1), np.float32)


def lightness_of(log: Image) -> Image:
    """CIE lightness (H, W), 0..100, of ln(H / clip + 0.01) (H, W, 3): what motion is found on, whatever the curve."""
    return lightness_of_light(np.exp(log) - EPSILON)


def lightness_of_light(light: Image) -> Image:
    """The same of H / clip (H, W, 3), at least 0."""
    luminance = light @ _LUMINANCE
    found = np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * (24389 / 27))
    return np.asarray(np.clip(found, 0, 100), np.float32)
