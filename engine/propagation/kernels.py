"""numba kernels of the propagation operator: one recursion along rows, vectorised along columns.

The horizontal directions run on transposed planes, so that the inner loop is always over contiguous memory. `x + sum
w (y - x)` is equation (4) with the (1 - sum w) factor multiplied out; it keeps a constant map constant to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# contraction to fused multiply-add only: reordering would break the NaN handling of the maximum
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}


@njit(**_OPTIONS)
def scan(x, w, y, reverse):  # type: ignore[no-untyped-def]
    """y of equation (4) for one plane, rows following one another.

    Args:
        x: (N, M) plane.
        w: (3, N, M) gates: previous row's left, straight and right neighbour.
        y: (N, M), written whole.
        reverse: last row first.
    """
    n, m = x.shape
    start, step = (n - 1, -1) if reverse else (0, 1)
    y[start, :] = x[start, :]
    for k in range(1, n):
        i = start + step * k
        x_i, y_i, y_p = x[i], y[i], y[i - step]
        left, straight, right = w[0, i], w[1, i], w[2, i]
        for j in range(1, m - 1):
            v = x_i[j]
            y_i[j] = v + left[j] * (y_p[j - 1] - v) + straight[j] * (y_p[j] - v) + right[j] * (y_p[j + 1] - v)
        for j in (0, m - 1):
            v = x_i[j]
            total = v + straight[j] * (y_p[j] - v)
            if j > 0:
                total += left[j] * (y_p[j - 1] - v)
            if j < m - 1:
                total += right[j] * (y_p[j + 1] - v)
            y_i[j] = total


@njit(**_OPTIONS)
def scan_backward(x, w, y, grad, grad_x, grad_w, reverse):  # type: ignore[no-untyped-def]
    """Adds the gradients of `scan` to grad_x (N, M) and grad_w (3, N, M); grad (N, M) is used up."""
    n, m = x.shape
    start, step = (n - 1, -1) if reverse else (0, 1)
    for k in range(n - 1, 0, -1):
        i = start + step * k
        p = i - step
        for j in range(m):
            g, v = grad[i, j], x[i, j]
            total = w[1, i, j]
            grad_w[1, i, j] += g * (y[p, j] - v)
            grad[p, j] += w[1, i, j] * g
            if j > 0:
                total += w[0, i, j]
                grad_w[0, i, j] += g * (y[p, j - 1] - v)
                grad[p, j - 1] += w[0, i, j] * g
            if j < m - 1:
                total += w[2, i, j]
                grad_w[2, i, j] += g * (y[p, j + 1] - v)
                grad[p, j + 1] += w[2, i, j] * g
            grad_x[i, j] += (1 - total) * g
    for j in range(m):
        grad_x[start, j] += grad[start, j]


@njit(**_OPTIONS)
def transpose(source, target):  # type: ignore[no-untyped-def]
    """target (M, N) becomes source (N, M) transposed, in tiles that stay in the first-level cache."""
    n, m = source.shape
    tile = 16
    for i0 in range(0, n, tile):
        for j0 in range(0, m, tile):
            for j in range(j0, min(j0 + tile, m)):
                for i in range(i0, min(i0 + tile, n)):
                    target[j, i] = source[i, j]


@njit(**_OPTIONS)
def keep_maximum(candidate, direction, best, chosen):  # type: ignore[no-untyped-def]
    """Where `candidate` beats `best` (or is the first NaN), it replaces it and `chosen` notes the direction."""
    n, m = best.shape
    for i in range(n):
        for j in range(m):
            c, b = candidate[i, j], best[i, j]
            wins = (c > b) | ((c != c) & (b == b))
            best[i, j] = c if wins else b
            chosen[i, j] = direction if wins else chosen[i, j]


@njit(**_OPTIONS)
def forward(x, gates, out, chosen, batch, first, last):  # type: ignore[no-untyped-def]
    """Channels first..last-1 of one batch entry, four directions and their maximum.

    Args:
        x: (B, C, H, W).
        gates: (B, 4, C or 1, 3, H, W).
        out, chosen: (B, C, H, W), written whole; `chosen` uint8 holds the direction whose value was the maximum.
        batch, first, last: the part to do.
    """
    height, width = x.shape[2:]
    shared = gates.shape[2] == 1
    y, y_t, y_back = (
        np.empty((height, width), x.dtype),
        np.empty((width, height), x.dtype),
        np.empty((height, width), x.dtype),
    )
    x_t = np.empty((width, height), x.dtype)
    w_t = np.empty((2, 3, width, height), x.dtype)
    for c in range(first, last):
        gate = 0 if shared else c
        if c == first or not shared:
            for direction in range(2):
                for neighbour in range(3):
                    transpose(gates[batch, direction, gate, neighbour], w_t[direction, neighbour])
        best, won = out[batch, c], chosen[batch, c]
        transpose(x[batch, c], x_t)
        scan(x_t, w_t[0], y_t, False)
        transpose(y_t, best)
        won[:] = 0
        scan(x_t, w_t[1], y_t, True)
        transpose(y_t, y_back)
        keep_maximum(y_back, 1, best, won)
        for direction in range(2, 4):
            scan(x[batch, c], gates[batch, direction, gate], y, direction == 3)
            keep_maximum(y, direction, best, won)


@njit(**_OPTIONS)
def backward(x, gates, chosen, grad, grad_x, grad_gates, batch, first, last):  # type: ignore[no-untyped-def]
    """Adds the gradients of `forward` for channels first..last-1 to grad_x (B, C, H, W) and grad_gates (as gates)."""
    height, width = x.shape[2:]
    shared = gates.shape[2] == 1
    y, grad_y = np.empty((height, width), x.dtype), np.empty((height, width), x.dtype)
    plane_t = np.empty((width, height), x.dtype)
    x_t, y_t, grad_t, grad_x_t = plane_t, plane_t.copy(), plane_t.copy(), plane_t.copy()
    w_t, grad_w_t = np.empty((3, width, height), x.dtype), np.empty((3, width, height), x.dtype)
    for direction in range(4):
        for c in range(first, last):
            gate = 0 if shared else c
            for i in range(height):
                for j in range(width):
                    grad_y[i, j] = grad[batch, c, i, j] if chosen[batch, c, i, j] == direction else 0
            if direction < 2:
                if c == first or not shared:
                    for neighbour in range(3):
                        transpose(gates[batch, direction, gate, neighbour], w_t[neighbour])
                    grad_w_t[:] = 0
                transpose(x[batch, c], x_t)
                transpose(grad_y, grad_t)
                scan(x_t, w_t, y_t, direction == 1)
                grad_x_t[:] = 0
                scan_backward(x_t, w_t, y_t, grad_t, grad_x_t, grad_w_t, direction == 1)
                for i in range(height):
                    for j in range(width):
                        grad_x[batch, c, i, j] += grad_x_t[j, i]
                if c == last - 1 or not shared:
                    for neighbour in range(3):
                        for i in range(height):
                            for j in range(width):
                                grad_gates[batch, direction, gate, neighbour, i, j] += grad_w_t[neighbour, j, i]
            else:
                w = gates[batch, direction, gate]
                scan(x[batch, c], w, y, direction == 3)
                scan_backward(
                    x[batch, c], w, y, grad_y, grad_x[batch, c], grad_gates[batch, direction, gate], direction == 3
                )
