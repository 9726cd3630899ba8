"""Clips made of photographs: a camera that moves over one, and cut-outs of others that cross it.

Photographs show more things than clips do, and what crosses hides and uncovers with exactly known colors.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.training.decoding import Frames

# of the clips: height, width, frames
SIZE = (256, 352)
FRAMES = 17
# steps of the shutter that blur what moves fast
_SHUTTER = 4

Way = NDArray[np.float64]
Picture = NDArray[np.float32]


def moving_clip(photos: list[Frames], index: int, rng: np.random.Generator) -> Frames:
    """(FRAMES, H, W, 3) uint8 BGR: the photograph `index` under a moving camera, crossed by one to three others.

    Args:
        photos: (H, W, 3) uint8 BGR each.
        index: of the photograph behind.
        rng: decides everything else.
    """
    moments = np.linspace(0, 1, FRAMES * _SHUTTER)
    height, width = SIZE
    scene = np.ascontiguousarray(photos[index]).astype(np.float32)
    fit = max(height / scene.shape[0], width / scene.shape[1]) * 1.15
    camera = _path(moments, rng, far=0.12 * width)
    crossing = [_crosser(photos, moments, rng) for _ in range(int(rng.integers(1, 4)))]
    open_for = int(rng.integers(1, _SHUTTER + 1))
    gain = 1 + rng.uniform(-0.12, 0.12) * np.sin(moments * rng.uniform(2, 8) + rng.uniform(0, 6))
    frames = []
    for frame in range(FRAMES):
        light = np.zeros((height, width, 3), np.float32)
        for step in range(frame * _SHUTTER, frame * _SHUTTER + open_for):
            light += gain[step] * _exposed(scene, camera[step], fit, [(p, a, path[step]) for p, a, path in crossing])
        noise = rng.normal(0, rng.uniform(0, 2), (height, width, 1))
        frames.append(np.clip(np.rint(light / open_for + noise), 0, 255).astype(np.uint8))
    return np.stack(frames)


def _exposed(scene: Picture, camera: Way, fit: float, crossing: list[tuple[Picture, Picture, Way]]) -> Picture:
    height, width = SIZE
    matrix = _matrix(scene.shape, camera, fit)
    out = cv2.warpAffine(scene, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    for picture, alpha, place in crossing:
        matrix = _matrix(picture.shape, place, 1.0)
        cover = cv2.warpAffine(alpha, matrix, (width, height))[..., None]
        out = out + cover * (cv2.warpAffine(picture, matrix, (width, height)) - out)
    return np.asarray(out, np.float32)


def _crosser(photos: list[Frames], moments: Way, rng: np.random.Generator) -> tuple[Picture, Picture, Way]:
    """A cut-out with a soft, irregular edge, and its way through the picture."""
    picture = np.asarray(photos[rng.integers(len(photos))], np.float32)
    size = int(rng.integers(48, 150))
    top, left = (int(rng.integers(max(1, side - size))) for side in picture.shape[:2])
    picture = picture[top : top + size, left : left + size]
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    y, x = (rows / (picture.shape[0] - 1) * 2 - 1), (columns / (picture.shape[1] - 1) * 2 - 1)
    around = np.arctan2(y, x)
    edge = 0.75 + sum(rng.uniform(-0.12, 0.12) * np.cos(k * around + rng.uniform(0, 6)) for k in (1, 2, 3, 4))
    alpha = np.clip((edge - np.hypot(x, y)) * size / 4 / rng.uniform(0.5, 2), 0, 1).astype(np.float32)
    path = _path(moments, rng, far=rng.uniform(0.1, 0.9) * SIZE[1])
    path[:, :2] += (rng.uniform(-0.4, 0.4, 2) * SIZE[::-1])[None]
    return picture, np.asarray(alpha, np.float32), path


def _path(moments: Way, rng: np.random.Generator, far: float) -> Way:
    """x, y (pixels from the middle), angle (degrees) and scale of every moment: a drift and a swing."""
    heading = rng.uniform(0, 2 * np.pi)
    drift = far * np.array([np.cos(heading), 0.6 * np.sin(heading)])
    swing = 0.25 * far * rng.uniform(0, 1) * np.sin(moments * rng.uniform(3, 14) + rng.uniform(0, 6))
    place = (moments[:, None] - 0.5) * drift + swing[:, None] * drift[::-1] / (far + 1e-6)
    angle = rng.uniform(-12, 12) * (moments - 0.5) + rng.uniform(-3, 3) * np.sin(moments * 9)
    scale = 1 + rng.uniform(-0.15, 0.15) * (moments - 0.5)
    return np.column_stack([place, angle, scale])


def _matrix(shape: tuple[int, ...], place: Way, fit: float) -> Way:
    x, y, angle, scale = place
    matrix = cv2.getRotationMatrix2D((shape[1] / 2, shape[0] / 2), angle, fit * scale)
    matrix[:, 2] += SIZE[1] / 2 + x - shape[1] / 2, SIZE[0] / 2 + y - shape[0] / 2
    return np.asarray(matrix, np.float64)
