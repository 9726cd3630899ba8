"""What colors say of a mask, without learning: which the key's object has, and where near ones change sides.

Both are histograms. `KeyColors` holds the colors of object and surroundings at the key. `snapped` holds colors and
places of the very frame that is looked at: what is alike and near shares one value, so that a mask's edge moves to the
picture's.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Image = NDArray[np.float32]

# of `KeyColors`: bins a channel of CIE Lab
_BINS = 24
# pixels' worth of doubt in every bin
_DOUBT = 2.0
# of `snapped`: L, a and b a bin, and pixels a bin
_STEPS = (8.0, 10.0, 10.0, 24.0, 24.0)
# pixels around a mask, above this, in which it is looked at
_MARGIN = 40
_INSIDE = 0.05


def lab(picture: Image) -> Image:
    """CIE Lab (H, W, 3) float32 of display-referred RGB (H, W, 3) float32, 0..1."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB), np.float32)


@dataclass(frozen=True)
class KeyColors:
    """The colors of a key frame.

    Attributes:
        share: (n, n, n) float32, 0..1: how much of the object is in a color of Lab, against its surroundings; 0.5 where
            the key has nothing of that color.
    """

    share: Image

    @classmethod
    def of(cls, colors: Image, matte: Image) -> KeyColors:
        """Colors (H, W, 3) of CIE Lab and matte (H, W) of the key."""
        index = _bins(colors).reshape(-1)
        counts = [np.bincount(index, weights, _BINS**3) for weights in (matte.reshape(-1), 1 - matte.reshape(-1))]
        # object and surroundings count alike, however small the one is; what is far away counts less than what is near
        size = max(float(matte.sum()), 1.0)
        inside, outside = (_smoothed(np.asarray(one, np.float32).reshape(_BINS, _BINS, _BINS)) for one in counts)
        outside = outside * np.float32(min(1.0, 4 * size / max(float(matte.size) - size, 1.0)))
        doubt = np.float32(_DOUBT * size / 2000 + 1e-3)
        return cls(np.asarray((inside + doubt / 2) / (inside + outside + doubt), np.float32))

    def likelihood(self, colors: Image) -> Image:
        """(H, W) float32, 0..1: how much a color (H, W, 3) of CIE Lab speaks for the object."""
        return np.asarray(self.share.reshape(-1)[_bins(colors)], np.float32)


def snapped(colors: Image, mask: Image) -> Image:
    """A mask whose edge has moved to the picture's: (H, W) float32, 0..1.

    Args:
        colors: (H, W, 3) float32, CIE Lab of the picture.
        mask: (H, W) float32, 0..1, on the picture.
    """
    rows, columns = (np.nonzero((mask > _INSIDE).any(axis=axis))[0] for axis in (1, 0))
    if not len(rows):
        return mask.copy()
    box = tuple(slice(max(int(at[0]) - _MARGIN, 0), int(at[-1]) + _MARGIN) for at in (rows, columns))
    out = mask.copy()
    out[box] = _snapped(np.ascontiguousarray(colors[box]), np.ascontiguousarray(mask[box]))
    return out


def _snapped(colors: Image, mask: Image) -> Image:
    height, width = mask.shape
    position = np.empty((height, width, 5), np.float32)
    position[..., :3] = np.clip(colors, (0, -128, -128), (100, 127, 127))
    position[..., 3] = np.arange(height, dtype=np.float32)[:, None]
    position[..., 4] = np.arange(width, dtype=np.float32)
    position /= np.array(_STEPS, np.float32)
    low = np.floor(position.min(axis=(0, 1)))
    size = np.floor(position.max(axis=(0, 1))).astype(np.int64) - low.astype(np.int64) + 3
    position -= low
    grid = np.zeros((*size, 2), np.float32)
    _splat(position, mask, grid)
    for axis in range(5):
        grid = _blurred(grid, axis)
    return _sliced(position, grid)


def _bins(colors: Image) -> NDArray[np.int64]:
    steps = np.empty(colors.shape, np.int64)
    steps[..., 0] = np.clip(colors[..., 0] * (_BINS / 100), 0, _BINS - 1)
    # few colors are far from grey
    steps[..., 1:] = np.clip((colors[..., 1:] + 80) * (_BINS / 160), 0, _BINS - 1)
    return np.asarray((steps[..., 0] * _BINS + steps[..., 1]) * _BINS + steps[..., 2])


def _smoothed(counts: Image) -> Image:
    for axis in range(3):
        counts = _blurred(counts, axis)
    return counts


def _blurred(values: Image, axis: int) -> Image:
    """Weights 1, 2, 1 along an axis, nothing beyond its ends."""
    moved = np.moveaxis(values, axis, 0)
    out = moved * np.float32(0.5)
    out[1:] += moved[:-1] * np.float32(0.25)
    out[:-1] += moved[1:] * np.float32(0.25)
    return np.moveaxis(out, 0, axis)


@njit(nogil=True, cache=True, error_model="numpy")
def _splat(position, mask, grid):  # type: ignore[no-untyped-def]
    height, width = mask.shape
    for i in range(height):
        for j in range(width):
            at = position[i, j]
            a, b, c = int(at[0] + 0.5), int(at[1] + 0.5), int(at[2] + 0.5)
            d, e = int(at[3] + 0.5), int(at[4] + 0.5)
            grid[a, b, c, d, e, 0] += mask[i, j]
            grid[a, b, c, d, e, 1] += np.float32(1)


@njit(nogil=True, cache=True, error_model="numpy")
def _slice(position, grid, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    for i in range(height):
        for j in range(width):
            at = position[i, j]
            base = (int(at[0]), int(at[1]), int(at[2]), int(at[3]), int(at[4]))
            inside, total = np.float32(0), np.float32(1e-6)
            for corner in range(32):
                weight = np.float32(1)
                place = base
                for k in range(5):
                    part = at[k] - base[k]
                    if (corner >> k) & 1:
                        weight *= part
                    else:
                        weight *= np.float32(1) - part
                a, b, c = place[0] + (corner & 1), place[1] + ((corner >> 1) & 1), place[2] + ((corner >> 2) & 1)
                d, e = place[3] + ((corner >> 3) & 1), place[4] + ((corner >> 4) & 1)
                inside += weight * grid[a, b, c, d, e, 0]
                total += weight * grid[a, b, c, d, e, 1]
            out[i, j] = inside / total


def _sliced(position: Image, grid: Image) -> Image:
    out = np.empty(position.shape[:2], np.float32)
    _slice(position, np.ascontiguousarray(grid), out)
    return out
