"""Shapes to cut out of photographs: what GrabCut takes for the object, neighbouring regions of one color, and drawn
bodies with limbs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.training.decoding import Frames

Picture = NDArray[np.float32]
Matte = NDArray[np.float32]

# long side of a cut-out before it is placed, pixels
PATCH = 224
_FEWEST = 0.04
_MOST = 0.75
_REGIONS = 28


@dataclass(frozen=True)
class Cutout:
    """A thing cut out of a photograph.

    Attributes:
        texture: (h, w, 3) float32, 0..255, in the photograph's channel order.
        cover: (h, w) float32, 0..1; 0 along the border.
    """

    texture: Picture
    cover: Matte


def random_cutout(photo: Frames, rng: np.random.Generator) -> Cutout:
    """A part of a photograph (H, W, 3) uint8 BGR, in one of the shapes."""
    height, width = photo.shape[:2]
    side = float(rng.uniform(0.45, 1.0)) * min(height, width)
    aspect = float(np.exp(rng.uniform(-0.5, 0.5)))
    h, w = (int(np.clip(side * f, 24, most)) for f, most in ((aspect**0.5, height), (aspect**-0.5, width)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    patch = np.ascontiguousarray(photo[top : top + h, left : left + w])
    factor = PATCH / max(h, w)
    if factor < 1:
        patch = cv2.resize(patch, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    kind = rng.random()
    shape: NDArray[np.uint8] | None = None
    if kind < 0.55:
        shape = grabbed(patch)
    elif kind < 0.75:
        shape = regions(patch, rng)
    if shape is None:
        shape = body(patch.shape[:2], rng)
    shape[[0, -1]] = 0
    shape[:, [0, -1]] = 0
    return Cutout(
        patch.astype(np.float32), softened(shape, float(rng.choice([0.4, 0.7, 1.2, 2.5], p=[0.4, 0.3, 0.2, 0.1])))
    )


def softened(shape: NDArray[np.uint8], sigma: float) -> Matte:
    """A shape (h, w) of 0 and 1 with an edge as soft as a blur of so many pixels, 0..1 float32."""
    return np.asarray(cv2.GaussianBlur(shape.astype(np.float32), (0, 0), sigma), np.float32)


def grabbed(patch: Frames) -> NDArray[np.uint8] | None:
    """What GrabCut takes for the object in the middle, (h, w) of 0 and 1; None where that is hardly anything or nearly
    all."""
    height, width = patch.shape[:2]
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    inner = slice(height // 10, height - height // 10), slice(width // 10, width - width // 10)
    labels[inner] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)
    cv2.grabCut(patch, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return _largest(found)


def regions(patch: Frames, rng: np.random.Generator) -> NDArray[np.uint8] | None:
    """Several neighbouring regions of one color each, (h, w) of 0 and 1; None where they fill hardly anything."""
    height, width = patch.shape[:2]
    small = cv2.resize(patch, (max(width // 3, 8), max(height // 3, 8)), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    rows, columns = np.mgrid[: small.shape[0], : small.shape[1]].astype(np.float32)
    features = np.dstack([lab, rows * (70 / len(small)), columns * (70 / len(small))]).reshape(-1, 5)
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    until = (cv2.TERM_CRITERIA_MAX_ITER, 8, 0.0)
    _, labels, centres = cv2.kmeans(
        np.ascontiguousarray(features, np.float32), _REGIONS, None, until, 1, cv2.KMEANS_RANDOM_CENTERS
    )
    middle = centres[:, 3:].mean(axis=0)
    first = int(np.argsort(np.linalg.norm(centres[:, 3:] - middle, axis=1))[rng.integers(8)])
    near = np.argsort(np.linalg.norm((centres - centres[first]) * [0.5, 0.5, 0.5, 1, 1], axis=1))
    chosen = near[: int(rng.integers(2, 8))]
    shape = np.isin(labels.reshape(small.shape[:2]), chosen).astype(np.float32)
    large = cv2.GaussianBlur(cv2.resize(shape, (width, height), interpolation=cv2.INTER_LINEAR), (0, 0), 2)
    return _largest((large > 0.5).astype(np.uint8))


def body(size: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A drawn body, (h, w) of 0 and 1: an uneven ellipse, mostly with limbs."""
    height, width = size[:2]
    rows, columns = np.mgrid[:height, :width]
    y, x = (rows + 0.5) / height * 2 - 1, (columns + 0.5) / width * 2 - 1
    around = np.arctan2(y, x)
    limbs = int(rng.integers(0, 5))
    large = rng.uniform(0.6, 0.85) if limbs == 0 else rng.uniform(0.3, 0.6)
    edge = large * (1 + sum(rng.uniform(-0.22, 0.22) * np.cos(k * around + rng.uniform(0, 6)) for k in (1, 2, 3, 5)))
    shape: NDArray[np.uint8] = (np.hypot(x * rng.uniform(1, 1.8), y * rng.uniform(1, 1.8)) < edge).astype(np.uint8)
    for _ in range(limbs):
        angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(-1, 1)
        at = np.array([width / 2, height / 2]) * (1 + 0.2 * rng.uniform(-1, 1, 2))
        thick = max(int(min(size) * rng.uniform(0.05, 0.2)), 2)
        for _ in range(2):
            to = at + 0.28 * rng.uniform(0.6, 1.2) * np.array([width * np.cos(angle), height * np.sin(angle)])
            cv2.line(shape, (int(at[0]), int(at[1])), (int(to[0]), int(to[1])), 1, thick)
            at, angle = to, angle + bend
    if rng.random() < 0.15:  # a hole, as under an arm
        hole = int(width * rng.uniform(0.35, 0.65)), int(height * rng.uniform(0.35, 0.65))
        cv2.circle(shape, hole, int(min(size) * rng.uniform(0.05, 0.12)), 0, -1)
    return np.asarray(shape, np.uint8)


def _largest(shape: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(shape)
    if count < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if not _FEWEST < stats[best, cv2.CC_STAT_AREA] / shape.size < _MOST:
        return None
    return np.asarray(labels == best, np.uint8)
