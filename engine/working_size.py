"""The size at which motion is estimated: small pictures as they are, larger ones smaller by a whole factor."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

LONG_SIDE = 640
"""Pixels of the long side that motion is estimated on, or a little more or less."""

LARGEST = 1024
"""The same of pictures beyond 2.5K: on 4K with fine detail it brings 0.6 dB; see docs/performance.md."""


def working_factor(height: int, width: int) -> int:
    """How many times smaller than the picture motion is estimated: 1 up to 960 pixels, 3 for HD, 4 for 4K, 6 for 6K.

    Motion is smooth where detail is not: what is carried is sampled at full size along it.
    """
    side = max(height, width)
    return max(1, min(round(side / LONG_SIDE), max(3, round(side / LARGEST))))


def reduced(image: Image, factor: int) -> Image:
    """A picture so many times smaller, by area.

    Args:
        image: (H, W) or (H, W, C) float32; where the factor does not divide a side, the last row or column is repeated.
        factor: 1 returns the picture itself.

    Returns:
        (ceil(H / factor), ceil(W / factor)) or (..., C) float32.
    """
    if factor == 1:
        return image
    height, width = image.shape[:2]
    rows, columns = -height % factor, -width % factor
    if rows or columns:
        image = np.pad(image, ((0, rows), (0, columns), *((0, 0) for _ in image.shape[2:])), mode="edge")
    size = image.shape[1] // factor, image.shape[0] // factor
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(size[1], size[0], *image.shape[2:])
