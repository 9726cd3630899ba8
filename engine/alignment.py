"""Motion between plate frames and warping along it.

A flow `a -> b` is (H, W, 2) float32, pixels, x then y: the pixel at p of frame a is seen at p + flow[p] in frame b.
Warping an image of b by the flow a -> b brings it to a.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from stpn.engine.stages import stage

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
    return _estimated("from rest" if start is None else "from a start", source, target, start)


def _estimated(use: str, source: Guide8, target: Guide8, start: Image | None) -> Image:
    if min(source.shape) < 32:
        return np.zeros((*source.shape, 2), np.float32) if start is None else start
    with stage("motion"):
        # DIS writes into the start it is given, and reads outside of the picture where one is no number
        own = None if start is None else np.nan_to_num(start, nan=0.0, posinf=0.0, neginf=0.0)
        return np.asarray(_dis(use).calc(source, target, own), np.float32)


Estimate = Callable[[Guide8, Guide8, Image | None], Image]
"""`estimate_flow`, or what stands for it."""


def _dis(use: str) -> Any:
    """An instance of this thread's own, because it holds buffers, and one for each use: after a call with a start, a
    call without one would go on from that start."""
    instances: dict[str, Any] = _thread.__dict__.setdefault("dis", {})
    if use not in instances:
        made = instances[use] = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        made.setFinestScale(1 if use == "quickly back" else 0)
        if use in ("quickly", "quickly there"):
            made.setPatchStride(5 if use == "quickly" else 4)
            made.setVariationalRefinementIterations(3)
            made.setUseMeanNormalization(False)
            made.setCoarsestScale(1 if use == "quickly there" else -1)
    return instances[use]


def warp(image: Image, flow: Image, corner: tuple[int, int] = (0, 0)) -> Image:
    """Samples `image` at p + flow[p], bilinearly, edges repeated.

    Args:
        image: (H, W) or (H, W, C) float32 of the frame the flow leads to.
        flow: (h, w, 2) float32, of the whole picture or of a window of it.
        corner: row and column of the window's first pixel.

    Returns:
        The image as seen in the frame the flow starts from, (h, w) or (h, w, C).
    """
    at = grid(*flow.shape[:2]) + flow
    if corner != (0, 0):
        at += np.array(corner[::-1], np.float32)
    # one channel at a time, because of two or five remap rounds the positions to 1/32 pixel
    # and cut apart by numpy where there are more than OpenCV can
    given = cv2.split(image) if image.ndim < 3 or image.shape[2] <= 128 else list(np.moveaxis(image, 2, 0).copy())
    planes = [cv2.remap(plane, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in given]
    merged = cv2.merge(planes) if len(planes) <= 128 else np.stack(planes, axis=-1)
    return np.asarray(merged, np.float32).reshape(*flow.shape[:2], *image.shape[2:])


@lru_cache(maxsize=4)
def grid(height: int, width: int) -> Image:
    """(H, W, 2) float32: x and y of every pixel."""
    at = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    at.flags.writeable = False
    return at


def chain(first: Image, second: Image) -> Image:
    """The flow a -> c from a -> b and b -> c."""
    return first + warp(second, first)


def refine(route: Route, target: Guide8, key: Guide8, estimate: Estimate = estimate_flow) -> Route:
    """A second route: the direct flow both ways, started from the accumulated one.

    Where accumulated steps drift it finds back to the true place, and where a direct search from rest would be lost the
    accumulated start keeps it near.
    """
    return Route(estimate(target, key, route.to_key), estimate(key, target, route.to_target))


def estimate_quickly(source: Guide8, target: Guide8, start: Image | None = None) -> Image:
    """As `estimate_flow` from rest, in less than two thirds of the time: patches lie further apart."""
    return _estimated("quickly", source, target, None)


def refine_quickly(route: Route, target: Guide8, key: Guide8) -> Route:
    """As `refine`, in less than half the time: the way there near its start, the way back, which only tells how far to
    trust it, at half the size."""
    to_key = _estimated("quickly there", target, key, route.to_key)
    # DIS itself needs 32 pixels, at the scale that it ends at
    back = "quickly back" if min(target.shape) >= 64 else "from a start"
    return Route(to_key, _estimated(back, key, target, route.to_target))


def consistency(route: Route) -> Image:
    """How well going to the key and back ends where it began: (H, W), 1 = exactly, 0 = not, or outside the picture."""
    return trust_in_return(route.to_key, round_trip(route.to_key, route.to_target), (0, 0), route.to_target.shape[:2])


def round_trip(to_key: Image, to_target: Image, corner: tuple[int, int] = (0, 0)) -> Image:
    """Where going to the key and back ends, minus where it began: (h, w, 2) float32, pixels.

    Args:
        to_key: (h, w, 2) flow target -> key of the whole picture, or of a window of it.
        to_target: (H, W, 2) flow key -> target, whole.
        corner: row and column of the window's first pixel.
    """
    return to_key + warp(to_target, to_key, corner)


def trust_in_return(to_key: Image, error: Image, corner: tuple[int, int], size: tuple[int, ...]) -> Image:
    """`consistency` from the error of `round_trip`: (h, w), 1 = comes back exactly, 0 = does not, or has left.

    Args:
        to_key, error: (h, w, 2) float32, pixels.
        corner: row and column of the window's first pixel.
        size: height and width of the whole picture.
    """
    return np.asarray(_trust_in_return(to_key, error, *corner, *size[:2]), np.float32)


@njit(nogil=True, cache=True, error_model="numpy")
def _trust_in_return(to_key, error, top, left, full_height, full_width):  # type: ignore[no-untyped-def]
    height, width = to_key.shape[:2]
    out = np.empty((height, width), np.float32)
    for i in range(height):
        for j in range(width):
            fx, fy = to_key[i, j, 0], to_key[i, j, 1]
            x, y = left + j + fx, top + i + fy
            inside = (-_MARGIN <= x <= full_width - 1 + _MARGIN) and (-_MARGIN <= y <= full_height - 1 + _MARGIN)
            ex, ey = error[i, j, 0], error[i, j, 1]
            tolerance = np.float32(1) + np.float32(0.02) * np.sqrt(fx * fx + fy * fy)
            out[i, j] = np.exp(-(ex * ex + ey * ey) / (tolerance * tolerance)) if inside else np.float32(0)
    return out


def agreement(lightness: Image, warped: Image) -> Image:
    """How alike two lightness maps (0..100) are around each pixel: (H, W), 1 = the same."""
    difference = cv2.boxFilter(np.abs(lightness - warped), -1, (5, 5))
    return np.asarray(np.exp(-((difference / 4) ** 2)), np.float32)
