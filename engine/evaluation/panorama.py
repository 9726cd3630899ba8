"""A shot in a panorama: a virtual handheld camera, somebody passing by, and the 8-bit picture of it that clips."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.virtual_camera import look

Image = NDArray[np.float32]

WIDTH, HEIGHT, FRAMES = 512, 288, 81

_BRIGHTEST = 65504.0  # of a half float
_CLIPPED = 0.05  # share of the pixels


@dataclass(frozen=True)
class HdrShot:
    """What is there, and what a camera sees of it.

    Attributes:
        scene: (T, H, W, 3) float32 RGB, scene-linear, 1.0 = where the camera clips, at most 200.
        ldr: (T, H, W, 3) uint8 RGB.
    """

    scene: Image
    ldr: NDArray[np.uint8]


def shot_in(panorama: Image) -> HdrShot:
    """81 frames of 512 x 288 in a panorama, scaled so that about 5 % of the pixels clip.

    The camera looks at the brightest part of the horizon and pans, shakes, rolls and zooms. A textured disc crosses the
    picture in front of it.

    Args:
        panorama: (H, W, 3) float32 RGB, equirectangular, scene-linear.
    """
    light = np.clip(np.nan_to_num(panorama, nan=0.0, posinf=_BRIGHTEST), 0, _BRIGHTEST).astype(np.float32)
    towards = _brightest(light) - 0.35
    texture = _floor(light)
    scene = np.stack([_with_passer_by(_view(light, towards, t), texture, t / FRAMES) for t in range(FRAMES)])
    scene /= np.quantile(scene[::8, ::4, ::4].max(axis=3), 1 - _CLIPPED)
    np.clip(scene, 0, 200, out=scene)
    random = np.random.RandomState(1)  # the old generator: its numbers are the same in every version of numpy
    return HdrShot(scene, np.stack([_photographed(frame, random) for frame in scene]))


def camera(light: Image) -> Image:
    """Response of the camera: scene-linear light, 1.0 = clips, to display values 0..1."""
    exposed = np.clip(light, 0, 1) ** 0.9
    return np.asarray(np.clip(1.6 * exposed / (exposed + 0.6), 0, 1), np.float32)


def inverse_camera(display: Image) -> Image:
    """Light that gave display values 0..1; at most 1, whatever was there."""
    shown = np.clip(display, 0, 1)
    return np.asarray((0.6 * shown / (1.6 - shown)) ** (1 / 0.9), np.float32)


def _brightest(light: Image) -> float:
    """Azimuth of the brightest part of the horizon, -pi..pi."""
    height, width = light.shape[:2]
    band = np.log(light.mean(axis=2) + 1e-3)[height // 4 : 3 * height // 4].mean(axis=0)
    smooth = cv2.GaussianBlur(band[None].astype(np.float32), (0, 0), 20)
    return float((np.argmax(smooth) / width - 0.5) * 2 * np.pi)


def _view(light: Image, towards: float, frame: int) -> Image:
    """What the camera sees at a frame."""
    u = frame / (FRAMES - 1)
    yaw = towards + 0.75 * u + 0.02 * np.sin(0.7 * frame)
    pitch = 0.06 * np.sin(6 * u) + 0.008 * np.sin(1.3 * frame)
    roll = 0.05 * np.sin(5 * u)
    focal = 1 / np.tan(np.radians(75 - 15 * np.sin(np.pi * u)) / 2)
    return look(light, (HEIGHT, WIDTH), yaw, pitch, roll, focal)


def _floor(light: Image) -> Image:
    """A square of the ground, the size of the disc."""
    height = light.shape[0]
    ground = np.roll(light[3 * height // 5 : 4 * height // 5], 4, axis=1)[:, : height // 5]
    return np.asarray(cv2.resize(ground, (2 * (HEIGHT // 5), 2 * (HEIGHT // 5))), np.float32)


def _with_passer_by(frame: Image, texture: Image, u: float) -> Image:
    """The frame with a soft-edged disc in front, which crosses from left to right as u goes from 0 to 1."""
    radius = HEIGHT // 5
    down, right = np.mgrid[: 2 * radius, : 2 * radius]
    cover = np.clip(14 * (1 - np.hypot(right - radius, down - radius) / radius), 0, 1).astype(np.float32)
    left, top = u * (WIDTH + 2 * radius) - 2 * radius, (0.45 + 0.12 * np.sin(10 * u)) * HEIGHT - radius
    shift = np.array([[1, 0, left], [0, 1, top]], np.float32)
    moved, opacity = (cv2.warpAffine(image, shift, (WIDTH, HEIGHT)) for image in (texture, cover))
    return np.asarray(frame + opacity[..., None] * (moved - frame), np.float32)


def _photographed(frame: Image, random: np.random.RandomState) -> NDArray[np.uint8]:
    """The 8-bit picture, with the noise of a sensor; drawn in the order blue, green, red."""
    noise = random.normal(0, 0.6, frame.shape)[..., ::-1]
    return np.asarray(np.clip(np.rint(255 * camera(frame) + noise), 0, 255), np.uint8)
