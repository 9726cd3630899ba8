"""Motion between plate frames and warping along it.

A flow `a -> b` is (H, W, 2) float32, pixels, x then y: the pixel at p of frame a is seen at p + flow[p] in frame b.
Warping an image of b by the flow a -> b brings it to a.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Image = NDArray[np.float32]
Guide8 = NDArray[np.uint8]

# a flow along the border that leaves the picture by less than this has not left it
_MARGIN = np.float32(1)

_thread = threading.local()


@dataclass(frozen=True)
class Route:
    """One estimate of the motion between a target frame and a key frame, both ways.

    Attributes:
        to_key: flow target -> key.
        to_target: flow key -> target.
    """

    to_key: Image
    to_target: Image


def estimate_flow(source: Guide8, target: Guide8, start: Image | None = None) -> Image:
    """DIS optical flow source -> target, run down to full resolution.

    Args:
        source, target: (H, W) uint8 guides.
        start: a flow source -> target to start from; what is no number counts as no motion.

    Returns:
        (H, W, 2) float32. Frames too small for DIS (under 32 pixels) move by `start`, or not at all.
    """
    if min(source.shape) < 32:
        return np.zeros((*source.shape, 2), np.float32) if start is None else start
    if start is None:
        return np.asarray(_dis("from rest").calc(source, target, None), np.float32)
    # DIS writes into the start it is given, and reads outside of the picture where one is no number
    own = np.nan_to_num(start, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(_dis("from a start").calc(source, target, own), np.float32)


def _dis(use: str) -> Any:
    """An instance of this thread's own, because it holds buffers, and one for each use: after a call with a start, a
    call without one would go on from that start."""
    instances: dict[str, Any] = _thread.__dict__.setdefault("dis", {})
    if use not in instances:
        instances[use] = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        instances[use].setFinestScale(0)
    return instances[use]


def warp(image: Image, flow: Image) -> Image:
    """Samples `image` at p + flow[p], bilinearly, edges repeated.

    Args:
        image: (H, W) or (H, W, C) float32 of the frame the flow leads to.
        flow: (H, W, 2) float32.

    Returns:
        The image as seen in the frame the flow starts from, same shape.
    """
    at = grid(*flow.shape[:2]) + flow
    # one channel at a time, because of two or five remap rounds the positions to 1/32 pixel
    planes = [
        cv2.remap(plane, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in cv2.split(image)
    ]
    return np.asarray(cv2.merge(planes), np.float32).reshape(*flow.shape[:2], *image.shape[2:])


@lru_cache(maxsize=4)
def grid(height: int, width: int) -> Image:
    """(H, W, 2) float32: x and y of every pixel."""
    at = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    at.flags.writeable = False
    return at


def chain(first: Image, second: Image) -> Image:
    """The flow a -> c from a -> b and b -> c."""
    return first + warp(second, first)


def refine(route: Route, target: Guide8, key: Guide8) -> Route:
    """A second route: the direct flow both ways, started from the accumulated one.

    Where accumulated steps drift it finds back to the true place, and where a direct search from rest would be lost the
    accumulated start keeps it near.
    """
    return Route(estimate_flow(target, key, route.to_key), estimate_flow(key, target, route.to_target))


def consistency(route: Route) -> Image:
    """How well going to the key and back ends where it began: (H, W), 1 = exactly, 0 = not, or outside the picture."""
    return np.asarray(_consistency(route.to_key, warp(route.to_target, route.to_key)), np.float32)


@njit(nogil=True, cache=True, error_model="numpy")
def _consistency(forward, back):  # type: ignore[no-untyped-def]
    """`consistency` from the flow and the way back as seen from where it starts."""
    height, width = forward.shape[:2]
    out = np.empty((height, width), np.float32)
    for i in range(height):
        for j in range(width):
            fx, fy = forward[i, j, 0], forward[i, j, 1]
            inside = (-_MARGIN <= j + fx <= width - 1 + _MARGIN) and (-_MARGIN <= i + fy <= height - 1 + _MARGIN)
            ex, ey = fx + back[i, j, 0], fy + back[i, j, 1]
            tolerance = np.float32(1) + np.float32(0.02) * np.sqrt(fx * fx + fy * fy)
            out[i, j] = np.exp(-(ex * ex + ey * ey) / (tolerance * tolerance)) if inside else np.float32(0)
    return out


def agreement(lightness: Image, warped: Image) -> Image:
    """How alike two lightness maps (0..100) are around each pixel: (H, W), 1 = the same."""
    difference = cv2.boxFilter(np.abs(lightness - warped), -1, (5, 5))
    return np.asarray(np.exp(-((difference / 4) ** 2)), np.float32)
