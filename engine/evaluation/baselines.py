"""What a user gets today without learning: the frozen opponents of every method.

They share no code with the engine's motion and fusion, so that a change there never moves what it is measured against.
Definitions are those of the independent yardstick, which a test compares them with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Key

Image = NDArray[np.float32]
Guide8 = NDArray[np.uint8]

BASELINES = ("copy", "flow_one", "flow_both")
"""copy: the nearest key as it is. flow_one: the nearest key along one direct flow. flow_both: both keys along direct
and accumulated flow, blended by consistency, agreement in lightness and distance."""

# a sign of trust that fails altogether still leaves a candidate this much
_LEAST = np.float32(0.02)


class Baseline:
    """One of `BASELINES` for the frames that the same keys serve; of any property."""

    def __init__(self, name: str, keys: Sequence[Key], lightness: Mapping[int, Image]) -> None:
        """Estimates nothing yet.

        Args:
            name: see `BASELINES`.
            keys: one or two, ascending.
            lightness: (H, W) float32, 0..100, of every frame from key to target, keys included.
        """
        self._carry = {"copy": self._copy, "flow_one": self._flow_one, "flow_both": self._flow_both}[name]
        self._keys, self._lightness = keys, lightness
        self._flows = Flows({frame: guide8(image) for frame, image in lightness.items()})

    def carry(self, frame: int) -> Image:
        """The property (H, W, C) float32 at a frame."""
        return self._carry(frame)

    def _nearest(self, frame: int) -> Key:
        return min(self._keys, key=lambda key: (abs(key.frame - frame), key.frame))

    def _copy(self, frame: int) -> Image:
        return self._nearest(frame).prop

    def _flow_one(self, frame: int) -> Image:
        key = self._nearest(frame)
        return warped(key.prop, self._flows.direct(frame, key.frame))

    def _flow_both(self, frame: int) -> Image:
        here = self._lightness[frame]
        total = np.zeros_like(self._keys[0].prop)
        weights = np.zeros_like(here)
        for key in self._keys:
            routes = (
                (self._flows.direct(frame, key.frame), self._flows.direct(key.frame, frame)),
                (self._flows.accumulated(frame, key.frame, keep=True), self._flows.accumulated(key.frame, frame)),
            )
            for there, back in routes:
                alike = _agreement(here, warped(self._lightness[key.frame], there))
                weight = (_LEAST + _consistency(there, back)) * (_LEAST + alike) / np.float32(abs(frame - key.frame))
                total += weight[..., None] * warped(key.prop, there)
                weights += weight
        return total / weights[..., None]


class Flows:
    """DIS optical flow (medium) between frames: direct, or accumulated over the frames between."""

    def __init__(self, guides: Mapping[int, Guide8]) -> None:
        """`guides`: (H, W) uint8 a frame, a run without holes where flow is accumulated."""
        cv2.setNumThreads(1)  # with more, results would depend on how many there are
        self._guides = guides
        self._dis: Any = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._steps: dict[tuple[int, int], Image] = {}
        self._sums: dict[tuple[int, int], Image] = {}

    def direct(self, source: int, target: int) -> Image:
        """Flow source -> target (H, W, 2) float32, pixels, x before y; nothing moves in pictures too small for DIS."""
        if (source, target) in self._steps:
            return self._steps[source, target]
        start, end = self._guides[source], self._guides[target]
        small = min(start.shape) < 32
        flow: Image = np.zeros((*start.shape, 2), np.float32) if small else self._dis.calc(start, end, None)
        if abs(source - target) == 1:  # all others are used once
            self._steps[source, target] = flow
        return flow

    def accumulated(self, source: int, target: int, keep: bool = False) -> Image:
        """Flow source -> target along the steps between neighbours, summed from the target on.

        Args:
            source, target: frames.
            keep: remember it, because the next frame's sum goes on from there.
        """
        way = 1 if target > source else -1
        start = source
        while start != target and (start, target) not in self._sums:
            start += way
        total = self._sums.get((start, target), np.zeros((*self._guides[source].shape, 2), np.float32))
        for frame in range(start - way, source - way, -way):
            step = self.direct(frame, frame + way)
            total = step + warped(total, step)
        if keep:
            self._sums[source, target] = total
        return total


def guide8(lightness: Image) -> Guide8:
    """Lightness (0..100) as the 8 bits that motion is estimated on."""
    return np.asarray(np.clip(np.rint(lightness * np.float32(2.55)), 0, 255), np.uint8)


def warped(image: Image, flow: Image) -> Image:
    """Samples (H, W) or (H, W, C) at p + flow[p], bilinearly to 1/32 pixel, edges repeated."""
    height, width = flow.shape[:2]
    x, y = _grid(height, width)
    sampled = cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32).reshape(height, width, *image.shape[2:])


@lru_cache(maxsize=4)
def _grid(height: int, width: int) -> tuple[Image, Image]:
    """x and y of every pixel, (H, W) each."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _agreement(lightness: Image, other: Image) -> Image:
    """1 where two lightness maps (0..100) are the same around a pixel."""
    difference = cv2.boxFilter(np.abs(lightness - other), -1, (5, 5))
    return np.asarray(np.exp(-np.square(difference / np.float32(4))), np.float32)


def _consistency(there: Image, back: Image) -> Image:
    """1 where going there and back ends where it began, 0 where it leaves the picture."""
    height, width = there.shape[:2]
    x, y = _grid(height, width)
    x, y = x + there[..., 0], y + there[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    missed = np.linalg.norm(there + warped(back, there), axis=2)
    allowed = 1 + np.float32(0.02) * np.linalg.norm(there, axis=2)
    return np.asarray(np.exp(-np.square(missed / allowed)) * inside, np.float32)
