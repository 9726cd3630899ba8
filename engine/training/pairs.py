"""Training pairs: two views of one photograph, or two frames of a clip, cropped alike."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.training.decoding import Frames

LONGEST_GAP = 40

View: TypeAlias = NDArray[np.float32]
Pair: TypeAlias = tuple[View, View]


def photo_pair(photos: list[Frames], rng: np.random.Generator, size: int) -> Pair:
    """Two views of one photograph by similarity transforms, as Lab (size, size, 3) float32; see `similarity`.

    Args:
        photos: (H, W, 3) uint8 BGR each.
    """
    image = np.ascontiguousarray(photos[rng.integers(len(photos))])
    centre = random_centre(image.shape[:2], size, rng)
    first, second = (view(image, similarity(image.shape[:2], centre, size, rng), size) for _ in range(2))
    return first, second


def clip_pair(
    clips: list[Frames], rng: np.random.Generator, size: int, gap_power: float = 1.0, longest_gap: int = LONGEST_GAP
) -> Pair:
    """Two frames of one clip, cropped at the same place, in either order, as Lab (size, size, 3) float32.

    Args:
        clips: (T, H, W, 3) uint8 BGR each, T >= 2.
        gap_power: of the distance between the frames; see `random_gap`.
        longest_gap: the longest distance.
    """
    clip = clips[rng.integers(len(clips))]
    gap = random_gap(min(longest_gap, len(clip) - 1), gap_power, rng)
    first = int(rng.integers(len(clip) - gap))
    frames = [np.ascontiguousarray(clip[first]), np.ascontiguousarray(clip[first + gap])]
    if rng.random() < 0.5:
        frames.reverse()
    centre = random_centre(frames[0].shape[:2], size, rng)
    matrix = similarity(frames[0].shape[:2], centre, size, rng)
    return view(frames[0], matrix, size), view(frames[1], matrix, size)


def random_gap(longest: int, power: float, rng: np.random.Generator) -> int:
    """A distance of 1..longest frames: 1 + floor(longest u^power), u uniform. Power 1 draws all alike, more than 1
    draws near frames more often."""
    return 1 + min(int(longest * rng.random() ** power), longest - 1)


def similarity(
    shape: tuple[int, ...], centre: tuple[float, float], size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A random similarity transform from the picture to a crop around `centre`, (2, 3).

    Scale 0.9..1.1, rotation within 15 degrees, shift within a tenth of the picture's shorter side.

    Source: Switchable Temporal Propagation Network, section 5.1.
    """
    scale, angle = rng.uniform(0.9, 1.1), rng.uniform(-15, 15)
    shift = rng.uniform(-0.1, 0.1, 2) * min(shape)
    matrix = cv2.getRotationMatrix2D(centre, angle, scale)
    matrix[:, 2] += np.array([size / 2, size / 2]) - np.array(centre) + shift
    return np.asarray(matrix, np.float64)


def view(image: Frames, matrix: NDArray[np.float64], size: int) -> View:
    """A crop (size, size, 3) of a picture (H, W, 3) uint8 BGR under a transform, as Lab float32: L 0..100, a and b
    about -100..100."""
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_BGR2LAB), np.float32)


def random_centre(shape: tuple[int, ...], size: int, rng: np.random.Generator) -> tuple[float, float]:
    """Where a crop of `size` lies inside a picture (H, W) as far as it fits: x, y."""
    height, width = shape[:2]
    margin_y, margin_x = min(size, height) / 2, min(size, width) / 2
    return rng.uniform(margin_x, width - margin_x), rng.uniform(margin_y, height - margin_y)
