"""Changes to training pairs. Lab (H, W, 3) float32 in and out: L, 0..100, is the guide, a and b are the property.

`recolored` changes both views alike. `exposed`, `grainy` and `compressed` change the lightness of one view only, and so
what guides, never what is to be carried. `occluded` adds something that moves by exactly known motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.training.decoding import Frames
from stpn.engine.training.pairs import Pair, View, view

# CIE 15: lightness 0..100 to relative luminance 0..1 and back
_LINEAR_BELOW, _SLOPE = 8.0, 903.3


@dataclass(frozen=True)
class Occluder:
    """A cut-out to be pasted into both views.

    Attributes:
        texture: (h, w, 3) Lab.
        cover: (h, w) 0..1, soft at the edge: how much of the texture shows.
        places: row and column of its upper left corner in either view; it may lie partly outside.
    """

    texture: View
    cover: View
    places: tuple[tuple[int, int], tuple[int, int]]


def recolored(pair: Pair, rng: np.random.Generator) -> Pair:
    """The same mirror, hue, saturation and tone for both views: what is carried should not depend on which colors."""
    angle, saturation = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
    turn = saturation * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    gamma, mirror = rng.uniform(0.7, 1.4), rng.random() < 0.5
    first, second = (lab.copy() for lab in pair)
    for lab in (first, second):
        lab[..., 1:] = lab[..., 1:] @ turn.astype(np.float32)
        lab[..., 0] = 100 * np.clip(lab[..., 0] / 100, 0, 1) ** gamma
    if mirror:
        first, second = (np.ascontiguousarray(lab[:, ::-1]) for lab in (first, second))
    return first, second


def exposed(lightness: View, stops: float) -> View:
    """Lightness (H, W) of the same light, `stops` brighter, clipped at 100 as a camera clips."""
    linear = np.where(lightness > _LINEAR_BELOW, ((lightness + 16) / 116) ** 3, lightness / _SLOPE) * 2.0**stops
    bright = 116 * np.cbrt(linear) - 16
    back = np.where(bright > _LINEAR_BELOW, bright, linear * _SLOPE)
    return np.asarray(np.clip(back, 0, 100), np.float32)


def grainy(lightness: View, strength: float, rng: np.random.Generator) -> View:
    """Lightness (H, W) with film grain: soft-edged noise, most in the middle tones, none in black and white.

    Args:
        lightness: 0..100.
        strength: standard deviation in middle grey, in L.
    """
    # grain is larger than a pixel; dividing by the filter's norm keeps the deviation
    kernel = np.array([0.25, 0.5, 0.25])
    noise = cv2.sepFilter2D(rng.standard_normal(lightness.shape), -1, kernel, kernel) / (kernel**2).sum()
    tone = np.clip(lightness / 100, 0, 1)
    return np.asarray(np.clip(lightness + strength * noise * np.sqrt(4 * tone * (1 - tone)), 0, 100), np.float32)


def compressed(lightness: View, quality: int) -> View:
    """Lightness (H, W) after JPEG as 8-bit grey; `quality` 1..100."""
    grey = np.rint(np.clip(lightness, 0, 100) * 2.55).astype(np.uint8)
    coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(2.55)


def occluded(pair: Pair, occluder: Occluder) -> Pair:
    """Both views with the occluder in front, each at its place: wherever it covers fully, the two agree exactly."""
    first, second = (lab.copy() for lab in pair)
    for lab, (top, left) in zip((first, second), occluder.places, strict=True):
        height, width = occluder.cover.shape
        rows = slice(max(top, 0), min(top + height, lab.shape[0]))
        columns = slice(max(left, 0), min(left + width, lab.shape[1]))
        inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        cover = occluder.cover[inside][..., None]
        lab[rows, columns] = lab[rows, columns] * (1 - cover) + occluder.texture[inside] * cover
    return first, second


def random_occluder(picture: Frames, size: int, rng: np.random.Generator) -> Occluder:
    """A blob cut out of a picture (H, W, 3) uint8 BGR, a quarter to a half of the view's side wide, that moves by up to
    a quarter of that side between two views of (size, size)."""
    side = max(int(size * rng.uniform(0.25, 0.5)), 4)
    height, width = picture.shape[:2]
    corner = rng.uniform(0, [max(width - side, 1), max(height - side, 1)])
    matrix = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]], np.float64)
    first = rng.integers(-side // 2, size - side // 2, 2)
    second = np.clip(first + rng.integers(-size // 4, size // 4 + 1, 2), -side // 2, size - side // 2)
    places = (int(first[0]), int(first[1])), (int(second[0]), int(second[1]))
    return Occluder(view(picture, matrix, side), _blob(side, rng), places)


def _blob(side: int, rng: np.random.Generator) -> View:
    """A random shape (side, side), 1 within, 0 outside and at the border, with an edge about two pixels wide."""
    y, x = (np.mgrid[:side, :side] + 0.5) * 2 / side - 1
    angle = np.arctan2(y, x)
    radius: NDArray[np.float64] = np.full((side, side), 0.7)
    for waves in (2, 3, 5):
        radius += rng.uniform(0, 0.1) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.clip((radius - np.hypot(x, y)) * side / 4 + 0.5, 0, 1), np.float32)
