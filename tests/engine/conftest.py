"""Smooth textures that move by known amounts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]


class Texture:
    """Smooth periodic noise that can be moved by any part of a pixel without loss."""

    def __init__(self, height: int, width: int, seed: int = 0, finest: float = 5.0) -> None:
        self.frequencies = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
        noise = np.random.default_rng(seed).normal(size=(height, width))
        self.spectrum = np.fft.fft2(noise) * np.exp(-((np.hypot(*self.frequencies) * finest) ** 2))
        self.spectrum[0, 0] = 0
        self.spectrum /= np.fft.ifft2(self.spectrum).real.std()

    def moved(self, right: float, down: float) -> Array:
        """(H, W) float32 with mean 0 and deviation 1; what was at p is now at p + (right, down)."""
        turn = np.exp(-2j * np.pi * (self.frequencies[0] * down + self.frequencies[1] * right))
        return np.fft.ifft2(self.spectrum * turn).real.astype(np.float32)


def sample(image: Array, x: Array, y: Array) -> Array:
    """Bilinear samples of (H, W, ...) at x and y in float64, edges repeated: the definition, written out."""
    height, width = image.shape[:2]
    image = image.astype(np.float64)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    result = np.zeros((*x.shape, *image.shape[2:]))
    for row in (0, 1):
        for column in (0, 1):
            weight = (1 - np.abs(x - left - column)) * (1 - np.abs(y - top - row))
            rows, columns = np.clip(top + row, 0, height - 1), np.clip(left + column, 0, width - 1)
            result += weight.reshape(*x.shape, *[1] * (image.ndim - 2)) * image[rows, columns]
    return result


def long_warp(image: Array, flow: Array) -> Array:
    """`warp` in float64."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float64)
    return sample(image, x + flow[..., 0].astype(np.float64), y + flow[..., 1].astype(np.float64))


@pytest.fixture(scope="session")
def textures() -> type[Texture]:
    """The class, to make textures of."""
    return Texture


@pytest.fixture(scope="session")
def warp_by_hand() -> Any:
    """`warp` in float64, by its definition."""
    return long_warp


@pytest.fixture(scope="session")
def sample_by_hand() -> Any:
    """Bilinear samples in float64, by their definition."""
    return sample
