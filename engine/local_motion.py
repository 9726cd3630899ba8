"""Motion where the plate shows nothing: clipped regions take that of the textured pixels around them.

A lamp, a window or a bright sky moves with what surrounds it. Around each pixel an affine motion is fitted to the
trusted flow, by Gaussian weights, and again without what does not follow it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Image, Route, round_trip, trust_in_return

# the fit is as smooth as its window, so a quarter of the resolution is enough
_STEP = 4
_ROUNDS = 3
# pixels: flow that is farther off than this belongs to something else
_TOLERANCE = 1.0
# standard deviation of the window, a share of the picture's long side
REACH = 24 / 512
# squared difference of lightness (0..100) over a Sobel window from which on motion can be seen
_TEXTURE = 30


def blindness(lightness: Image, clipped: NDArray[np.bool_] | NDArray[np.float16]) -> tuple[Image, Image]:
    """Where motion cannot be seen (H, W), 1 = not at all, with soft edges; and where it can be, 0 = no texture.

    Args:
        lightness: (H, W) float32, 0..100.
        clipped: (H, W), yes or no, or how far, 0..1.
    """
    near = cv2.dilate(clipped.astype(np.float32), np.ones((5, 5), np.uint8))
    blind = cv2.GaussianBlur(near, (0, 0), 3)
    across, along = cv2.Sobel(lightness, cv2.CV_32F, 1, 0), cv2.Sobel(lightness, cv2.CV_32F, 0, 1)
    texture = cv2.boxFilter(across * across + along * along, -1, (7, 7))
    return blind, np.asarray((1 - near) * texture / (texture + _TEXTURE), np.float32)


def bridged(route: Route, target: tuple[Image, Image], key: tuple[Image, Image]) -> Route:
    """The route with its flows in blind regions fitted to those around; `target` and `key` are `blindness` of each."""
    return Route(_bridged(route.to_key, route.to_target, *target), _bridged(route.to_target, route.to_key, *key))


def _bridged(flow: Image, back: Image, blind: Image, seen: Image) -> Image:
    if not blind.any():
        return flow
    trust = trust_in_return(flow, round_trip(flow, back), (0, 0), flow.shape)
    fit = fitted(flow, trust * seen, REACH * max(flow.shape))
    return np.asarray(flow + blind[..., None] * (fit - flow), np.float32)


def fitted(flow: Image, weight: Image, reach: float) -> Image:
    """The affine motion around each pixel, (H, W, 2) float32.

    Args:
        flow: (H, W, 2) float32, pixels.
        weight: (H, W) float32, 0: says nothing.
        reach: standard deviation of the window, pixels.
    """
    height, width = flow.shape[:2]
    size = (max(1, width // _STEP), max(1, height // _STEP))
    small = cv2.resize(flow, size, interpolation=cv2.INTER_AREA)
    given = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float32)
    reach /= _STEP
    x, y = (columns - size[0] / 2) / reach, (rows - size[1] / 2) / reach
    left, fit = given, small
    for again in range(_ROUNDS):
        if again:
            off = np.linalg.norm(small - fit, axis=2)
            left = given * (np.exp(-((off / _TOLERANCE) ** 2)) + np.float32(1e-6))
        fit = _solved(small, left, x, y, reach)
    return np.asarray(cv2.resize(fit, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _solved(flow: Image, weight: Image, x: Image, y: Image, reach: float) -> Image:
    """One round: weighted least squares for constant and slopes, moments by Gaussian windows."""
    terms = [weight, weight * x, weight * y, weight * x * x, weight * x * y, weight * y * y]
    for c in range(2):
        f = weight * flow[..., c]
        terms += [f, f * x, f * y]
    # float64, because the moments about the pixel are small differences of large numbers
    planes = np.stack(terms, axis=2).astype(np.float64)
    sums = cv2.GaussianBlur(planes, (0, 0), reach, borderType=cv2.BORDER_CONSTANT)
    w, wx, wy, wxx, wxy, wyy, *sides = np.moveaxis(sums, 2, 0)
    # about the pixel itself, so that the constant is the motion there
    sx, sy = wx - x * w, wy - y * w
    sxx, sxy, syy = wxx - 2 * x * wx + x * x * w, wxy - x * wy - y * wx + x * y * w, wyy - 2 * y * wy + y * y * w
    w = w + 1e-9
    damping = 1e-3 * w + 1e-7
    sxx, syy = sxx + damping, syy + damping
    # the first row of the inverse of the symmetric matrix (w sx sy; sx sxx sxy; sy sxy syy)
    one, two, three = sxx * syy - sxy * sxy, sxy * sy - sx * syy, sx * sxy - sxx * sy
    determinant = w * one + sx * two + sy * three
    out = []
    for b, bx, by in (sides[:3], sides[3:]):
        out.append((one * b + two * (bx - x * b) + three * (by - y * b)) / determinant)
    return np.asarray(np.stack(out, axis=2), np.float32)
