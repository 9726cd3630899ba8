"""A camera that looks into a panorama."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def look(light: Image, size: tuple[int, int], yaw: float, pitch: float, roll: float, focal: float) -> Image:
    """What a camera sees in a panorama, (h, w, 3) float32.

    Args:
        light: (H, W, 3) float32, equirectangular.
        size: height and width of the picture, h and w.
        yaw, pitch, roll: radians; yaw 0 looks at the panorama's middle.
        focal: focal length over half of the picture's width.
    """
    rolled = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    pitched = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    height, width = size
    down, right = np.mgrid[:height, :width].astype(np.float64)
    half = width / 2
    rays = np.stack([(right + 0.5 - half) / half, (down + 0.5 - height / 2) / half, np.full_like(down, focal)])
    x, y, z = np.tensordot(pitched @ rolled, rays, axes=1)
    azimuth, elevation = np.arctan2(x, z) + yaw, np.arctan2(y, np.hypot(x, z))
    rows, columns = light.shape[:2]
    column = (azimuth / (2 * np.pi) + 0.5) % 1 * columns - 0.5
    row = (elevation / np.pi + 0.5) * rows - 0.5
    around = np.concatenate([light[:, -1:], light, light[:, :1]], axis=1)
    at = (column + 1).astype(np.float32), row.astype(np.float32)
    return np.asarray(cv2.remap(around, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
