"""Numba kernels of `stpn.ocio.cielab`: one pass over pixels, float64 inside, no temporaries; each releases the GIL."""

# numba's decorator is untyped.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_compiled = numba.njit(cache=True, nogil=True, fastmath=False)
_inlined = numba.njit(cache=True, nogil=True, fastmath=False, inline="always")

# CIE 15:2004, section 8.2.1: (6/29)^3 and the toe's slope, as exact fractions.
_EPSILON = 216.0 / 24389.0
_KAPPA = 24389.0 / 27.0
_TOE = 27.0 / 24389.0
_F_EPSILON = 6.0 / 29.0
_FLOAT_MAX = 3.4028234e38
_HALF_MAX = 65504.0
_LUMINANCE_FLOOR = 1e-3
#: Half of what is promised, 1e-3.
_HALF_TOLERANCE = 5e-4
#: A channel that weighs less is not used to put luminance right: it would have to move too far.
_LEAST_WEIGHT = 0.01
#: How many steps of half floats a channel may move for the sake of luminance: at most 0.8 % of its value.
_MOST_STEPS = 8
#: How often a pixel is brought nearer to its grey by this share where steps alone do not do.
_MOST_SHRINKS = 8
_SHRINK = 0.01


@_inlined
def _f(t: float) -> float:
    if t > _EPSILON:
        return np.cbrt(t)  # type: ignore[no-any-return]
    return (_KAPPA * t + 16.0) * (1.0 / 116.0)


@_inlined
def _f_inverse(f: float) -> float:
    if f > _F_EPSILON:
        return f * f * f
    return (116.0 * f - 16.0) * _TOE


@_compiled
def luminance(rgb: Floats, weights: Doubles, result: Floats) -> None:
    """Luminance (N,) of RGB (N, 3)."""
    for i in range(rgb.shape[0]):
        result[i] = (
            weights[0] * np.float64(rgb[i, 0]) + weights[1] * np.float64(rgb[i, 1]) + weights[2] * np.float64(rgb[i, 2])
        )


@_compiled
def lightness(luminance: Floats, result: Floats) -> None:
    """L* of (N,) luminance."""
    for i in range(luminance.size):
        result[i] = 116.0 * _f(np.float64(luminance[i])) - 16.0


@_compiled
def lab_from_rgb(rgb: Floats, matrix: Doubles, light: Floats, ab: Floats) -> None:
    """L* (N,), a* and b* (N, 2) of RGB (N, 3); `matrix` leads to XYZ divided by the white."""
    for i in range(rgb.shape[0]):
        r, g, b = np.float64(rgb[i, 0]), np.float64(rgb[i, 1]), np.float64(rgb[i, 2])
        x = _f(matrix[0, 0] * r + matrix[0, 1] * g + matrix[0, 2] * b)
        y = _f(matrix[1, 0] * r + matrix[1, 1] * g + matrix[1, 2] * b)
        z = _f(matrix[2, 0] * r + matrix[2, 1] * g + matrix[2, 2] * b)
        light[i] = 116.0 * y - 16.0
        ab[i, 0] = 500.0 * (x - y)
        ab[i, 1] = 200.0 * (y - z)


@_inlined
def _set_color(y: float, a: float, b: float, weights: Doubles, inverse: Doubles, out: Floats) -> None:
    """RGB (3,) of luminance and ab; its float32 luminance is put right in the channel that can do so most finely."""
    f = _f(y)
    x = _f_inverse(f + a * 0.002)
    z = _f_inverse(f - b * 0.005)
    red = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] * z
    green = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] * z
    blue = inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2] * z
    if not (abs(red) <= _FLOAT_MAX and abs(green) <= _FLOAT_MAX and abs(blue) <= _FLOAT_MAX):
        red = green = blue = y
    out[0], out[1], out[2] = red, green, blue
    error = y - (weights[0] * np.float64(out[0]) + weights[1] * np.float64(out[1]) + weights[2] * np.float64(out[2]))
    best, best_step = -1, np.inf
    for c in range(3):
        if abs(weights[c]) > _LEAST_WEIGHT:
            step = abs(weights[c] * np.float64(out[c]))
            if step < best_step:
                best, best_step = c, step
    if best >= 0:
        out[best] = np.float64(out[best]) + error / weights[best]


@_compiled
def rgb_from_luminance(luminance: Floats, ab: Floats, weights: Doubles, inverse: Doubles, result: Floats) -> None:
    """RGB (N, 3) of luminance (N,) and ab (N, 2); `inverse` leads from XYZ divided by the white to RGB."""
    for i in range(luminance.size):
        _set_color(np.float64(luminance[i]), np.float64(ab[i, 0]), np.float64(ab[i, 1]), weights, inverse, result[i])


@_compiled
def colorize(plate: Floats, ab: Floats, weights: Doubles, inverse: Doubles, result: Floats) -> None:
    """RGB (N, 3) of the luminance of the plate (N, 3) and ab (N, 2)."""
    for i in range(plate.shape[0]):
        y = (
            weights[0] * np.float64(plate[i, 0])
            + weights[1] * np.float64(plate[i, 1])
            + weights[2] * np.float64(plate[i, 2])
        )
        # False for NaN too; math.isfinite costs more than the color.
        if not abs(y) <= _FLOAT_MAX:
            result[i, 0], result[i, 1], result[i, 2] = plate[i, 0], plate[i, 1], plate[i, 2]
            continue
        a, b = np.float64(ab[i, 0]), np.float64(ab[i, 1])
        if not (abs(a) <= _FLOAT_MAX and abs(b) <= _FLOAT_MAX):
            a, b = np.float64(0.0), np.float64(0.0)
        _set_color(y, a, b, weights, inverse, result[i])


@_inlined
def _half_step(value: float) -> float:
    """Distance of neighbouring half floats around `value`, which is finite."""
    _, exponent = math.frexp(value)
    return math.ldexp(1.0, max(exponent - 1, -14) - 10)


@_inlined
def _to_half(value: float) -> float:
    """The half float nearest to a finite value, to even where two are, as float64; may exceed 65504."""
    if value == 0.0:
        return value
    step = _half_step(value)
    return np.rint(value / step) * step  # type: ignore[no-any-return]


@_compiled
def _fit_half(pixel: Doubles, y: float, weights: Doubles) -> None:
    """Brings (3,) into +-65504, toward its grey where half floats have that, keeping the luminance where they can."""
    if abs(y) <= _HALF_MAX:
        scale = 1.0
        for c in range(3):
            if abs(pixel[c]) > _HALF_MAX:
                limit = math.copysign(_HALF_MAX, pixel[c])
                scale = min(scale, (limit - y) / (pixel[c] - y))
        for c in range(3):
            pixel[c] = y + scale * (pixel[c] - y)
    for c in range(3):
        pixel[c] = min(max(pixel[c], -_HALF_MAX), _HALF_MAX)
    for c in range(3):
        if abs(weights[c]) > _LEAST_WEIGHT:
            error = y - (weights[0] * pixel[0] + weights[1] * pixel[1] + weights[2] * pixel[2])
            pixel[c] = min(max(pixel[c] + error / weights[c], -_HALF_MAX), _HALF_MAX)


@_compiled
def _search_ring(pixel: Doubles, c: int, ring: int, y: float, weights: Doubles, least: float, out: Doubles) -> float:
    """Tries the half floats `ring` steps off in the two channels beside c, c following; keeps what beats `least`."""
    first, second = (c + 1) % 3, (c + 2) % 3
    first_half, second_half = _to_half(pixel[first]), _to_half(pixel[second])
    first_step, second_step = _half_step(pixel[first]), _half_step(pixel[second])
    for i in range(-ring, ring + 1):
        # Only the outline of the square: its inside was the earlier rings.
        stride = 1 if abs(i) == ring else 2 * ring
        for j in range(-ring, ring + 1, max(stride, 1)):
            # Steps double at powers of two, so what they lead to may lie between two half floats.
            u = _to_half(first_half + i * first_step)
            v = _to_half(second_half + j * second_step)
            w = _to_half((y - weights[first] * u - weights[second] * v) / weights[c])
            if abs(u) > _HALF_MAX or abs(v) > _HALF_MAX or abs(w) > _HALF_MAX:
                continue
            error = abs(weights[first] * u + weights[second] * v + weights[c] * w - y)
            if error < least:
                least = error
                out[first], out[second], out[c] = u, v, w
    return least


@_compiled
def _repair_half(
    pixel: Doubles, y: float, weights: Doubles, tolerance: float, red_green_blue: Doubles, out: Doubles
) -> None:
    """Half floats (3,) near `pixel` whose luminance is y within `tolerance`, or as near as was found.

    One channel follows from the two others. These are as rounded, then one step off, then two, until it fits.
    `red_green_blue` is room for (3,).
    """
    least = np.inf
    for shrink in range(_MOST_SHRINKS + 1):
        # Rarely the grid around a pixel is too coarse; a little nearer to its grey it is another grid.
        scale = 1.0 - shrink * _SHRINK
        for c in range(3):
            red_green_blue[c] = y + scale * (pixel[c] - y)
        for ring in range(_MOST_STEPS + 1):
            for c in range(3):
                if abs(weights[c]) > _LEAST_WEIGHT:
                    least = _search_ring(red_green_blue, c, ring, y, weights, least, out)
            if least <= tolerance:
                return


@_compiled
def round_to_half(rgb: Floats, luminance: Floats, weights: Doubles, result: Floats) -> None:
    """RGB (N, 3) whose numbers are all half floats, with luminance (N,)."""
    pixel, repaired, shrunk = np.empty(3), np.empty(3), np.empty(3)
    for i in range(rgb.shape[0]):
        y = np.float64(luminance[i])
        finite = math.isfinite(y)
        fits = True
        for c in range(3):
            pixel[c] = rgb[i, c]
            finite = finite and math.isfinite(pixel[c])
            fits = fits and abs(pixel[c]) < 65520.0
        if not finite:
            for c in range(3):
                result[i, c] = rgb[i, c]
            continue
        if not fits:
            _fit_half(pixel, y, weights)
        for c in range(3):
            repaired[c] = _to_half(pixel[c])
        error = abs(weights[0] * repaired[0] + weights[1] * repaired[1] + weights[2] * repaired[2] - y)
        tolerance = _HALF_TOLERANCE * max(abs(y), _LUMINANCE_FLOOR)
        if error > tolerance:
            _repair_half(pixel, y, weights, tolerance, shrunk, repaired)
        for c in range(3):
            result[i, c] = repaired[c]
