"""Numba kernels of `stpn.ocio.working` and `stpn.ocio.spaces`: in place, float64 inside; each releases the GIL."""

# numba's decorator is untyped.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_compiled = numba.njit(cache=True, nogil=True, fastmath=False)


@_compiled
def encode_log(
    values: Floats,
    log_slope: float,
    log_offset: float,
    lin_slope: float,
    lin_offset: float,
    lin_break: float,
    linear_slope: float,
    linear_offset: float,
    black: float,
) -> None:
    """Linear light to code less black, (N,) in place; `log_slope` is for the natural logarithm."""
    for i in range(values.size):
        x = np.float64(values[i])
        if x < lin_break:
            values[i] = linear_slope * x + (linear_offset - black)
        else:
            values[i] = log_slope * math.log(lin_slope * x + lin_offset) + (log_offset - black)


@_compiled
def decode_log(
    values: Floats,
    log_slope: float,
    log_offset: float,
    lin_slope: float,
    lin_offset: float,
    lin_break: float,
    linear_slope: float,
    linear_offset: float,
    black: float,
) -> None:
    """Code less black to linear light, (N,) in place."""
    code_break = linear_slope * lin_break + (linear_offset - black)
    for i in range(values.size):
        code = np.float64(values[i])
        if code < code_break:
            values[i] = (code - (linear_offset - black)) / linear_slope
        else:
            values[i] = (math.exp((code - (log_offset - black)) / log_slope) - lin_offset) / lin_slope


@_compiled
def _interpolate(x: float, sources: Doubles, targets: Doubles) -> float:
    low, high = 0, sources.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if x < sources[middle]:
            high = middle
        else:
            low = middle
    slope = (targets[high] - targets[low]) / (sources[high] - sources[low])
    # From the nearer end, so that the small difference beside a node is exact.
    if x - sources[low] < sources[high] - x:
        return targets[low] + (x - sources[low]) * slope  # type: ignore[no-any-return]
    return targets[high] + (x - sources[high]) * slope  # type: ignore[no-any-return]


@_compiled
def map_table(values: Floats, sources: Doubles, targets: Doubles, before: float, after: float) -> None:
    """(N,) in place, a line from node to node, the end pieces going on.

    `before` is added to the value, `after` to the result.
    """
    for i in range(values.size):
        values[i] = _interpolate(values[i] + before, sources, targets) + after


@_compiled
def look_up(values: Doubles, sources: Doubles, targets: Doubles) -> Any:
    """Like `map_table`, in float64 and into a new array."""
    result = np.empty_like(values)
    for i in range(values.size):
        result[i] = _interpolate(values[i], sources, targets)
    return result


@_compiled
def multiply(colors: Floats, matrix: Doubles) -> None:
    """(N, 3) colors by a (3, 3) matrix, in place."""
    for i in range(colors.shape[0]):
        r, g, b = np.float64(colors[i, 0]), np.float64(colors[i, 1]), np.float64(colors[i, 2])
        for c in range(3):
            colors[i, c] = matrix[c, 0] * r + matrix[c, 1] * g + matrix[c, 2] * b
