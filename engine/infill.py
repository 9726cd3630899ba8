"""Linear propagation into the unsure: values spread from where they are sure, held back by edges of the guide.

Values arrive weighted by their confidence, and the result divides by the confidence that arrived with them:

    for axis in (horizontal, vertical):
        for q, p in neighbours along the axis, both ways:
            r[p] = g[p, q] * (r[q] + n[q])     # n: the weighted values, or the weights, of the pass before
        n = n + r from the one side + r from the other
    result = values gathered / weights gathered

with g = exp(-|L[p] - L[q]|): the gates are made by hand from lightness.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Image = NDArray[np.float32]

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}


def spread(values: Image, confidence: Image, lightness: Image, floor: float = 1e-4) -> Image:
    """Gathers every pixel's value from the sure pixels that lightness joins it to.

    Args:
        values: (H, W, C) float32.
        confidence: (H, W) float32, 0..1.
        lightness: (H, W) float32, 0..100.
        floor: confidence that even the least sure pixel has, so that nothing is divided by zero.

    Returns:
        (H, W, C) float32.
    """
    height, width, channels = values.shape
    planes = np.empty((channels + 1, height, width), np.float32)
    planes[channels] = confidence + np.float32(floor)
    planes[:channels] = np.moveaxis(values, 2, 0) * planes[channels]
    _spread(planes, np.ascontiguousarray(lightness))
    return np.ascontiguousarray(np.moveaxis(planes[:channels] / planes[channels], 0, 2))


@njit(**_OPTIONS)
def _spread(planes, lightness):  # type: ignore[no-untyped-def]
    """Both passes over all planes (C, H, W), in place."""
    count, height, width = planes.shape
    gate = np.zeros(width, np.float32)
    gathered = np.empty(width, np.float32)
    for i in range(height):
        for j in range(1, width):
            gate[j] = np.exp(-abs(lightness[i, j] - lightness[i, j - 1]))
        for c in range(count):
            row = planes[c, i]
            running = np.float32(0)
            gathered[0] = row[0]
            for j in range(1, width):
                running = gate[j] * (running + row[j - 1])
                gathered[j] = row[j] + running
            running = np.float32(0)
            for j in range(width - 2, -1, -1):
                running = gate[j + 1] * (running + row[j + 1])
                gathered[j] += running
            row[:] = gathered
    running_row = np.empty((count, width), np.float32)
    total = np.empty_like(planes)
    running_row[:] = 0
    total[:, 0] = planes[:, 0]
    for i in range(1, height):
        for j in range(width):
            gate[j] = np.exp(-abs(lightness[i, j] - lightness[i - 1, j]))
        for c in range(count):
            for j in range(width):
                running_row[c, j] = gate[j] * (running_row[c, j] + planes[c, i - 1, j])
                total[c, i, j] = planes[c, i, j] + running_row[c, j]
    running_row[:] = 0
    for i in range(height - 2, -1, -1):
        for j in range(width):
            gate[j] = np.exp(-abs(lightness[i, j] - lightness[i + 1, j]))
        for c in range(count):
            for j in range(width):
                running_row[c, j] = gate[j] * (running_row[c, j] + planes[c, i + 1, j])
                total[c, i, j] += running_row[c, j]
    planes[:] = total
