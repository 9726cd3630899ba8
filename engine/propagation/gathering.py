"""The recurrence of equation (4) without its maximum: what arrives from four sides is added up.

A confidence-weighted mean, sum(c U) / sum(c), needs numerator and denominator from the same pixels, so the four
directions are joined by a sum and not by the node-wise maximum, and what a pixel holds itself comes on top:

    for direction in Direction:
        for i in columns_after_the_first(direction):
            for p in pixels_of_column(i):
                r[direction][p] = sum(w[p, j] * (r[direction][j] + x[j]) for j in 3)
    result = x + sum(r)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from stpn.engine.propagation.directions import Direction

_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}

Planes = NDArray[np.float32]


def gather(sources: Tensor, gates: Tensor) -> Tensor:
    """What every pixel gathers from all others along the four directions, its own share included.

    Args:
        sources: (B, C, H, W) float32, on a GPU also half, `x` above: values times their confidence, and the confidence.
        gates: (B, 4, 3, H, W) float32, at least 0, their sum over axis 2 at most 1; directions and neighbours as in
            `stpn.engine.propagation.propagate`.

    Returns:
        (B, C, H, W) float32.
    """
    if sources.device.type == "cuda":
        from stpn.engine.propagation.cuda import gather_cuda

        return gather_cuda(sources, gates)
    if torch.is_inference_mode_enabled():
        return _gathered(sources, gates)[0]  # the operator's first call imports torch's compiler, for a second
    out: Tensor = _gather(sources, gates)[0]
    return out


def _gathered(sources: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """The result, and what arrived from each direction (B, 4, C, H, W)."""
    x, w = sources.contiguous(), gates.contiguous()
    out, arrived = x.clone(), torch.empty((x.shape[0], 4, *x.shape[1:]), dtype=x.dtype)
    for entry in range(x.shape[0]):
        for d in Direction:
            plane, gate = _oriented(x[entry].numpy(), d), _oriented(w[entry, d].numpy(), d)
            running = np.empty_like(plane)
            _scan(plane, gate, running)
            _oriented_view(arrived[entry, d].numpy(), d)[...] = running
        out[entry] += arrived[entry].sum(dim=0)
    return out, arrived


_gather = torch.library.custom_op("stpn::gather_cpu", _gathered, mutates_args=(), device_types="cpu")


@_gather.register_fake
def _(sources: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(sources), sources.new_empty((sources.shape[0], 4, *sources.shape[1:]))


@torch.library.custom_op("stpn::gather_cpu_backward", mutates_args=(), device_types="cpu")
def _gather_backward(sources: Tensor, gates: Tensor, arrived: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, w, grad = sources.contiguous(), gates.contiguous(), grad.contiguous()
    grad_x, grad_w = grad.clone(), torch.empty_like(w)
    for entry in range(x.shape[0]):
        for d in Direction:
            held = _oriented(x[entry].numpy() + arrived[entry, d].numpy(), d)
            gate, up = _oriented(w[entry, d].numpy(), d), _oriented(grad[entry].numpy(), d)
            back, grad_gate = np.empty_like(held), np.empty_like(gate)
            _scan_back(held, gate, up, back, grad_gate)
            _oriented_view(grad_x[entry].numpy(), d)[...] += back
            _oriented_view(grad_w[entry, d].numpy(), d)[...] = grad_gate
    return grad_x, grad_w


@_gather_backward.register_fake
def _(sources: Tensor, gates: Tensor, arrived: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(sources), torch.empty_like(gates)


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, Tensor]:
    return _gather_backward(*ctx.saved_tensors, grad)  # type: ignore[no-any-return]


_gather.register_autograd(_gradients, setup_context=_keep_for_backward)


def _oriented_view(planes: Planes, direction: Direction) -> Planes:
    """(C, H, W) seen so that the direction runs along axis 1, forwards."""
    if direction in (Direction.RIGHT, Direction.LEFT):
        planes = planes.transpose(0, 2, 1)
    return planes[:, ::-1] if direction in (Direction.LEFT, Direction.UP) else planes


def _oriented(planes: Planes, direction: Direction) -> Planes:
    return np.ascontiguousarray(_oriented_view(planes, direction))


@njit(**_OPTIONS)
def _scan(x, w, r):  # type: ignore[no-untyped-def]
    """r (C, N, M) from sources x (C, N, M) and gates w (3, N, M), along axis 1."""
    channels, length, width = x.shape
    held = np.empty(width + 2, np.float32)
    for c in range(channels):
        r[c, 0] = 0
        for i in range(1, length):
            held[0] = held[width + 1] = 0
            for j in range(width):
                held[j + 1] = r[c, i - 1, j] + x[c, i - 1, j]
            for j in range(width):
                r[c, i, j] = w[0, i, j] * held[j] + w[1, i, j] * held[j + 1] + w[2, i, j] * held[j + 2]


@njit(**_OPTIONS)
def _scan_back(held, w, up, back, grad_w):  # type: ignore[no-untyped-def]
    """Gradients of `_scan`: `held` is r + x, `up` the gradient of r from outside, `back` that of x."""
    channels, length, width = held.shape
    grad_w[:] = 0
    total = np.empty(width, np.float32)
    for c in range(channels):
        back[c, length - 1] = 0
        for i in range(length - 1, 0, -1):
            for j in range(width):
                total[j] = up[c, i, j] + back[c, i, j]
                grad_w[1, i, j] += total[j] * held[c, i - 1, j]
                back[c, i - 1, j] = w[1, i, j] * total[j]
            for j in range(1, width):
                grad_w[0, i, j] += total[j] * held[c, i - 1, j - 1]
                back[c, i - 1, j - 1] += w[0, i, j] * total[j]
            for j in range(width - 1):
                grad_w[2, i, j] += total[j] * held[c, i - 1, j + 1]
                back[c, i - 1, j + 1] += w[2, i, j] * total[j]
