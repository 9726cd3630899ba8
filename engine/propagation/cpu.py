"""The propagation operator on the CPU: numba kernels behind a torch custom operator, parallel over planes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor

from stpn.engine.propagation import kernels


def propagate_cpu(property_map: Tensor, gates: Tensor) -> Tensor:
    """`stpn.engine.propagation.propagate` for tensors on the CPU; float32 and float64."""
    if torch.is_inference_mode_enabled():
        return _propagated(property_map, gates)[0]  # the operator's first call imports torch's compiler, for a second
    out: Tensor = _propagate(property_map, gates)[0]
    return out


def _propagated(property_map: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """The result, and which direction gave the maximum of each value."""
    x, w = property_map.contiguous(), gates.contiguous()
    out = torch.empty_like(x)
    chosen = torch.empty_like(x, dtype=torch.uint8)
    arrays = [t.detach().numpy() for t in (x, w, out, chosen)]
    _each_part(x.shape, lambda batch, first, last: kernels.forward(*arrays, batch, first, last))
    return out, chosen


_propagate = torch.library.custom_op("stpn::propagate_cpu", _propagated, mutates_args=(), device_types="cpu")


@_propagate.register_fake
def _(property_map: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(property_map), torch.empty_like(property_map, dtype=torch.uint8)


@torch.library.custom_op("stpn::propagate_cpu_backward", mutates_args=(), device_types="cpu")
def _propagate_backward(property_map: Tensor, gates: Tensor, chosen: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    x, w, grad = property_map.contiguous(), gates.contiguous(), grad.contiguous()
    grad_x = torch.zeros_like(x)
    shared = w.shape[2] == 1
    if not shared:
        grad_gates = torch.zeros_like(w)
        arrays = [t.detach().numpy() for t in (x, w, chosen, grad, grad_x, grad_gates)]
        _each_part(x.shape, lambda batch, first, last: kernels.backward(*arrays, batch, first, last))
        return grad_x, grad_gates
    # parts of one batch entry add to the same gates, so each has an accumulator of its own, summed in a fixed order
    parts = _parts(x.shape)
    sums = torch.zeros((len(parts), *w.shape[1:]), dtype=w.dtype)
    read = [t.detach().numpy() for t in (x, w, chosen, grad, grad_x)]
    x_n, w_n, chosen_n, grad_n, grad_x_n = read

    def part(index: int) -> None:
        batch, first, last = parts[index]
        one = slice(batch, batch + 1)
        kernels.backward(
            x_n[one],
            w_n[one],
            chosen_n[one],
            grad_n[one],
            grad_x_n[one],
            sums[index : index + 1].numpy(),
            0,
            first,
            last,
        )

    _run(part, len(parts))
    grad_gates = torch.zeros_like(w)
    for index, (batch, _, _) in enumerate(parts):
        grad_gates[batch] += sums[index]
    return grad_x, grad_gates


@_propagate_backward.register_fake
def _(property_map: Tensor, gates: Tensor, chosen: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(property_map), torch.empty_like(gates)


def _keep_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, Tensor]:
    return _propagate_backward(*ctx.saved_tensors, grad)  # type: ignore[no-any-return]


_propagate.register_autograd(_gradients, setup_context=_keep_for_backward)


def _parts(shape: torch.Size) -> list[tuple[int, int, int]]:
    """(batch, first channel, last channel) of pieces of work: fixed by the shape alone, so sums do not depend on
    threads."""
    channels_a_part = 8
    return [
        (batch, first, min(first + channels_a_part, shape[1]))
        for batch in range(shape[0])
        for first in range(0, shape[1], channels_a_part)
    ]


def _each_part(shape: torch.Size, run: Callable[[int, int, int], None]) -> None:
    parts = _parts(shape)
    _run(lambda index: run(*parts[index]), len(parts))


def _run(work: Callable[[int], None], count: int) -> None:
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        for index in range(count):
            work(index)
    else:
        list(_pool(threads).map(work, range(count)))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="stpn-propagate")
