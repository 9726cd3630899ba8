"""Shots for training HDR: a camera moves in a panorama, things cross it, and a film or sensor clips what it sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.virtual_camera import look

Image = NDArray[np.float32]

# height and width of the shots
SIZE = (224, 384)
BRIGHTEST = 200.0
_HALF = 65504.0


@dataclass(frozen=True)
class Camera:
    """What turns light into code values.

    Attributes:
        curve: light, 1 = clips, to display values, 0..1.
        inverse: back; at most 1.
        noise: standard deviation, in 8-bit steps.
    """

    curve: Callable[[Image], Any]
    inverse: Callable[[Image], Any]
    noise: float


@dataclass(frozen=True)
class Shot:
    """Attributes:
    scene: (T, H, W, 3) float32 RGB, scene-linear, 1 = where the camera clips.
    ldr: (T, H, W, 3) uint8.
    camera: what took it.
    """

    scene: Image
    ldr: NDArray[np.uint8]
    camera: Camera


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera of one of three families of curves."""
    noise = float(rng.uniform(0.2, 1.5))
    family = rng.integers(3)
    if family == 0:  # a shoulder, like film and the paper's
        n, power = rng.uniform(0.3, 1.5), rng.uniform(0.7, 1.1)
        return Camera(
            lambda x: (1 + n) * np.clip(x, 0, 1) ** power / (np.clip(x, 0, 1) ** power + n),
            lambda d: (n * d / (1 + n - d)) ** (1 / power),
            noise,
        )
    if family == 1:  # a display's gamma
        gamma = rng.uniform(1.4, 2.6)
        return Camera(lambda x: np.clip(x, 0, 1) ** (1 / gamma), lambda d: d**gamma, noise)
    steep = np.exp(rng.uniform(1, 5))  # a logarithm
    return Camera(
        lambda x: np.log1p(steep * np.clip(x, 0, 1)) / np.log1p(steep),
        lambda d: np.expm1(d * np.log1p(steep)) / steep,
        noise,
    )


def draw_shot(panoramas: list[Image], index: int, frames: int, rng: np.random.Generator) -> Shot:
    """A shot of `frames` frames in the panorama `index`.

    Args:
        panoramas: (H, W, 3) RGB each, equirectangular, scene-linear.
        index: where the camera is; what crosses its picture shows another one.
        frames: how many.
        rng: decides everything else.
    """
    light = _finite(panoramas[index])
    yaw, pitch, roll, field = _way(light, frames, rng)
    scene = [look(light, SIZE, *at) for at in zip(yaw, pitch, roll, 1 / np.tan(field / 2), strict=True)]
    for _ in range(int(rng.integers(0, 3))):
        other = _finite(panoramas[rng.integers(len(panoramas))] if rng.random() < 0.5 else panoramas[index])
        scene = _crossed(scene, other, rng)
    share = np.exp(rng.uniform(np.log(0.01), np.log(0.15)))
    clips = np.quantile(np.stack([f.max(axis=2)[::4, ::4] for f in scene]), 1 - share)
    stack = np.clip(np.stack(scene) / max(float(clips), 1e-6), 0, BRIGHTEST).astype(np.float32)
    camera = draw_camera(rng)
    noise = rng.normal(0, camera.noise, stack.shape)
    return Shot(stack, np.clip(np.rint(255 * camera.curve(stack) + noise), 0, 255).astype(np.uint8), camera)


def _finite(panorama: Image) -> Image:
    return np.asarray(np.clip(np.nan_to_num(panorama, nan=0.0, posinf=_HALF), 0, _HALF), np.float32)


def _way(light: Image, frames: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    """Yaw, pitch, roll and field of view (radians) of every frame: a pan that shakes."""
    t = np.arange(frames)
    columns = np.log(light[light.shape[0] // 4 : 3 * light.shape[0] // 4].mean(axis=2) + 1e-3).mean(axis=0)
    bright = cv2.GaussianBlur(columns[None].astype(np.float32), (0, 0), 20)[0].astype(np.float64)
    # towards the light more often than not
    odds = np.exp(2 * (bright - bright.max()))
    start = (rng.choice(len(odds), p=odds / odds.sum()) / len(odds) - 0.5) * 2 * np.pi
    speed = rng.uniform(-0.016, 0.016)

    def swing(most: float) -> NDArray[np.float64]:
        slow = rng.uniform(0, most) * np.sin(t * rng.uniform(0.02, 0.15) + rng.uniform(0, 6))
        fast = rng.uniform(0, most / 4) * np.sin(t * rng.uniform(0.5, 1.5) + rng.uniform(0, 6))
        return np.asarray(slow + fast, np.float64)

    yaw = start + speed * (t - frames / 2) + swing(0.05) + rng.uniform(-0.3, 0.3)
    pitch = rng.uniform(-0.35, 0.25) + swing(0.06)
    field = np.radians(rng.uniform(40, 80) + rng.uniform(-0.3, 0.3) * t)
    return yaw, pitch, rng.uniform(-0.1, 0.1) + swing(0.06), field


def _crossed(scene: list[Image], texture: Image, rng: np.random.Generator) -> list[Image]:
    """A cut-out with a soft, irregular edge crosses the frames."""
    height, width = SIZE
    size = int(rng.integers(height // 6, height // 2))
    row, column = (int(rng.integers(0, max(1, side - size // 2))) for side in (texture.shape[0] // 2, texture.shape[1]))
    row += texture.shape[0] // 3
    piece = cv2.resize(texture[row : row + size // 2, column : column + size // 2], (size, size))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    around = np.arctan2(y, x)
    edge = 0.75 + sum(rng.uniform(-0.1, 0.1) * np.cos(k * around + rng.uniform(0, 6)) for k in (1, 2, 3))
    alpha = np.clip((edge - np.hypot(x, y)) * size / 4 / rng.uniform(0.5, 2), 0, 1).astype(np.float32)
    start, end = (rng.uniform(-0.2, 1.2, 2) * (width, height) for _ in range(2))
    pace = min(1.0, len(scene) / 40)
    end = start + (end - start) * pace
    out = []
    for t, frame in enumerate(scene):
        place = start + (end - start) * t / max(1, len(scene) - 1) - size / 2
        shift = np.array([[1, 0, place[0]], [0, 1, place[1]]], np.float32)
        cover, seen = (cv2.warpAffine(image, shift, (width, height)) for image in (alpha, piece))
        out.append(np.asarray(frame + cover[..., None] * (seen - frame), np.float32))
    return out
