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
Codes = npt.NDArray[np.uint16]

_compiled = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_inlined = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")

# CIE 15:2004, section 8.2.1: (6/29)^3 and the toe's slope, as exact fractions.
_EPSILON = 216.0 / 24389.0
_KAPPA = 24389.0 / 27.0
_TOE = 27.0 / 24389.0
_F_EPSILON = 6.0 / 29.0
_FLOAT_MAX = 3.4028234e38
_DOUBLE_MOST = 1e300
#: Pixels that are worked on at a time, so that what is between two steps stays in the nearest cache.
_BLOCK = 512
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
def _cube_root(t: float) -> float:
    """Of t > 0, to 1e-14; a call to the library's would keep the loop around it from running on vectors."""
    if not t <= _DOUBLE_MOST:
        return t
    # A third of the exponent is a guess to 4 %; two steps of Halley's method triple its digits each.
    bits = np.float32(min(t, _FLOAT_MAX)).view(np.int32)
    root = np.float64(np.int32(bits // 3 + 709958130).view(np.float32))
    cube = root * root * root
    root = root * (cube + 2.0 * t) / (2.0 * cube + t)
    cube = root * root * root
    return root * (cube + 2.0 * t) / (2.0 * cube + t)


@_inlined
def _f(t: float) -> float:
    if t > _EPSILON:
        return _cube_root(t)
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
def _one_over(weight: float) -> float:
    return 1.0 / weight if abs(weight) > _LEAST_WEIGHT else 0.0


@_compiled
def _color_block(
    y: Doubles, a: Doubles, b: Doubles, weights: Doubles, inverse: Doubles, red: Floats, green: Floats, blue: Floats
) -> None:
    """RGB of luminance and ab; its float32 luminance is put right in the channel that can do so most finely.

    All of it is selection and nothing a branch, so that the loop runs on vectors.
    """
    # a channel that weighs next to nothing is never the finest
    first, second, third = _one_over(weights[0]), _one_over(weights[1]), _one_over(weights[2])
    no_red = 0.0 if first != 0.0 else np.inf
    no_green = 0.0 if second != 0.0 else np.inf
    no_blue = 0.0 if third != 0.0 else np.inf
    for i in range(y.size):
        t = y[i]
        known = (abs(a[i]) <= _FLOAT_MAX) & (abs(b[i]) <= _FLOAT_MAX)
        f = _f(t)
        x = _f_inverse(f + (a[i] if known else 0.0) * 0.002)
        z = _f_inverse(f - (b[i] if known else 0.0) * 0.005)
        u = inverse[0, 0] * x + inverse[0, 1] * t + inverse[0, 2] * z
        v = inverse[1, 0] * x + inverse[1, 1] * t + inverse[1, 2] * z
        w = inverse[2, 0] * x + inverse[2, 1] * t + inverse[2, 2] * z
        fits = (abs(u) <= _FLOAT_MAX) & (abs(v) <= _FLOAT_MAX) & (abs(w) <= _FLOAT_MAX)
        r, g, c = np.float32(u if fits else t), np.float32(v if fits else t), np.float32(w if fits else t)
        of_red, of_green, of_blue = weights[0] * np.float64(r), weights[1] * np.float64(g), weights[2] * np.float64(c)
        error = t - (of_red + of_green + of_blue)
        of_red, of_green, of_blue = abs(of_red) + no_red, abs(of_green) + no_green, abs(of_blue) + no_blue
        in_red = (of_red <= of_green) & (of_red <= of_blue)
        in_green = (not in_red) & (of_green <= of_blue)
        in_blue = (not in_red) & (not in_green)
        red[i] = np.float32(np.float64(r) + (error * first if in_red else 0.0))
        green[i] = np.float32(np.float64(g) + (error * second if in_green else 0.0))
        blue[i] = np.float32(np.float64(c) + (error * third if in_blue else 0.0))


@_compiled
def rgb_from_luminance(luminance: Floats, ab: Floats, weights: Doubles, inverse: Doubles, result: Floats) -> None:
    """RGB (N, 3) of luminance (N,) and ab (N, 2); `inverse` leads from XYZ divided by the white to RGB."""
    y, a, b = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    red, green, blue = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    for start in range(0, luminance.size, _BLOCK):
        count = min(_BLOCK, luminance.size - start)
        for i in range(count):
            y[i], a[i], b[i] = luminance[start + i], ab[start + i, 0], ab[start + i, 1]
        _color_block(y[:count], a[:count], b[:count], weights, inverse, red, green, blue)
        for i in range(count):
            result[start + i, 0], result[start + i, 1], result[start + i, 2] = red[i], green[i], blue[i]


@_compiled
def colorize(plate: Floats, ab: Floats, weights: Doubles, inverse: Doubles, result: Floats) -> None:
    """RGB (N, 3) of the luminance of the plate (N, 3) and ab (N, 2)."""
    y, a, b = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    red, green, blue = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.float32)
    for start in range(0, plate.shape[0], _BLOCK):
        count = min(_BLOCK, plate.shape[0] - start)
        for i in range(count):
            pixel = plate[start + i]
            y[i] = (
                weights[0] * np.float64(pixel[0])
                + weights[1] * np.float64(pixel[1])
                + weights[2] * np.float64(pixel[2])
            )
            a[i], b[i] = ab[start + i, 0], ab[start + i, 1]
        _color_block(y[:count], a[:count], b[:count], weights, inverse, red, green, blue)
        for i in range(count):
            # False for NaN too
            lit = abs(y[i]) <= _FLOAT_MAX
            result[start + i, 0] = red[i] if lit else plate[start + i, 0]
            result[start + i, 1] = green[i] if lit else plate[start + i, 1]
            result[start + i, 2] = blue[i] if lit else plate[start + i, 2]


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


@_inlined
def _as_half(value: np.float32) -> np.float32:
    """The half float nearest to a value, to even where two are, as float32; infinite where none is large enough."""
    bits = np.float32(value).view(np.int32)
    size = bits & np.int32(0x7FFFFFFF)
    normal = np.int32((bits + np.int32(0xFFF) + ((bits >> 13) & np.int32(1))) & np.int32(~0x1FFF)).view(np.float32)
    # floats from 0.5 to 1 lie as far apart as half floats below 2^-14
    small = (value + np.float32(0.75)) - np.float32(0.75)
    small = np.int32(np.float32(small).view(np.int32) | (bits & np.int32(-0x80000000))).view(np.float32)
    rounded = normal if size >= np.int32(0x38800000) else small
    infinite = np.float32(np.inf) if bits >= 0 else np.float32(-np.inf)
    rounded = infinite if size >= np.int32(0x477FF000) else rounded
    return value if size > np.int32(0x7F800000) else rounded


@_inlined
def _half_code(value: np.float32) -> np.uint16:
    """The 16 bits of a half float that is given as float32."""
    bits = np.float32(value).view(np.int32)
    size = bits & np.int32(0x7FFFFFFF)
    small = np.int32(abs(value) * np.float32(16777216))
    code = (size >> 13) - np.int32(0x1C000) if size >= np.int32(0x38800000) else small
    code = np.int32(0x7C00) if size >= np.int32(0x47800000) else code
    code = np.int32(0x7E00) if size > np.int32(0x7F800000) else code
    return np.uint16(code | ((bits >> 16) & np.int32(0x8000)))


@_compiled
def round_to_half(rgb: Floats, luminance: Floats, weights: Doubles, result: Codes) -> None:
    """The bits of half floats (N, 3) that are as near to RGB (N, 3) as luminance (N,) allows."""
    rounded = np.empty((_BLOCK, 3), np.float32)
    pixel, repaired, shrunk = np.empty(3), np.empty(3), np.empty(3)
    for start in range(0, rgb.shape[0], _BLOCK):
        count = min(_BLOCK, rgb.shape[0] - start)
        for i in range(count):
            for c in range(3):
                rounded[i, c] = _as_half(rgb[start + i, c])
        for i in range(count):
            y = np.float64(luminance[start + i])
            error = abs(
                weights[0] * np.float64(rounded[i, 0])
                + weights[1] * np.float64(rounded[i, 1])
                + weights[2] * np.float64(rounded[i, 2])
                - y
            )
            tolerance = _HALF_TOLERANCE * max(abs(y), _LUMINANCE_FLOOR)
            if not error <= tolerance:
                _repair_pixel(rgb[start + i], y, weights, tolerance, pixel, shrunk, repaired, rounded[i])
        for i in range(count):
            for c in range(3):
                result[start + i, c] = _half_code(rounded[i, c])


@_compiled
def _repair_pixel(
    rgb: Floats,
    y: float,
    weights: Doubles,
    tolerance: float,
    pixel: Doubles,
    shrunk: Doubles,
    repaired: Doubles,
    rounded: Floats,
) -> None:
    """Puts half floats of luminance y in place of those that rounding gave; what is not finite stays."""
    finite = math.isfinite(y)
    fits = True
    for c in range(3):
        pixel[c] = rgb[c]
        finite = finite and math.isfinite(pixel[c])
        fits = fits and abs(pixel[c]) < 65520.0
    if not finite:
        return
    if not fits:
        _fit_half(pixel, y, weights)
    for c in range(3):
        repaired[c] = _to_half(pixel[c])
    error = abs(weights[0] * repaired[0] + weights[1] * repaired[1] + weights[2] * repaired[2] - y)
    if error > tolerance:
        _repair_half(pixel, y, weights, tolerance, shrunk, repaired)
    for c in range(3):
        rounded[c] = repaired[c]
