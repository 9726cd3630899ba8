"""The propagation operator and its sum form on an NVIDIA GPU: the kernels of `propagation.cuh` as torch operators."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from stpn.engine.propagation import reference
from stpn.engine.propagation.driver import Argument, start
from stpn.engine.propagation.launch import KERNELS, launch

DTYPES = {torch.float32: "f32", torch.float16: "f16"}
"""What the kernels take, and how their names end."""


def propagate_cuda(property_map: Tensor, gates: Tensor, switched: bool = False) -> Tensor:
    """`stpn.engine.propagation.propagate` for tensors on a GPU.

    Args:
        property_map: (B, C, H, W) float32 or half; half is computed in float32 and rounded once.
        gates: (B, 4, C or 1, 3, H, W), the same dtype.
        switched: use the gates as `stpn.engine.propagation.switch` returns them, without a copy.

    Returns:
        (B, C, H, W) in the same dtype. Gradients are computed in float32; sums over the channels that share gates have
        a fixed order, so the same input gives the same bits.

    Raises:
        ValueError: a shape, dtype or device does not fit.
        DriverError, CompileError: the kernel cannot be compiled or started.
    """
    reference.check(property_map, gates)
    _check_dtype("property_map", property_map)
    if torch.is_inference_mode_enabled():  # the operator's first call imports torch's compiler, for a second
        return _joined("propagate", property_map, gates, switched)
    if torch.is_grad_enabled() and (property_map.requires_grad or gates.requires_grad):
        out: Tensor = _propagate(property_map.float(), gates.float(), switched)[0]
        return out.to(property_map.dtype)
    out = _join("propagate", property_map, gates, switched)
    return out


def gather_cuda(sources: Tensor, gates: Tensor) -> Tensor:
    """`stpn.engine.propagation.gathering.gather` for tensors on a GPU.

    Args:
        sources: (B, C, H, W) float32 or half; half is computed in float32 and rounded after each direction.
        gates: (B, 4, 3, H, W), the same dtype.

    Returns:
        (B, C, H, W) in the same dtype; gradients as `propagate_cuda`.

    Raises:
        ValueError: a shape, dtype or device does not fit.
        DriverError, CompileError: the kernel cannot be compiled or started.
    """
    if gates.ndim != 5:
        raise ValueError(f"gates: expected (B, 4, 3, H, W), got shape {tuple(gates.shape)}")
    one_set = gates.unsqueeze(2)
    reference.check(sources, one_set)
    _check_dtype("sources", sources)
    if torch.is_inference_mode_enabled():
        return _joined("gather", sources, one_set, False)
    if torch.is_grad_enabled() and (sources.requires_grad or gates.requires_grad):
        out: Tensor = _gather(sources.float(), one_set.float())
        return out.to(sources.dtype)
    out = _join("gather", sources, one_set, False)
    return out


def _check_dtype(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in DTYPES:
        raise ValueError(f"{name}: expected float32 or float16 for the GPU kernel, got {tensor.dtype}")


def _joined(operator: str, x: Tensor, gates: Tensor, switched: bool) -> Tensor:
    """The four directions joined, without what a gradient needs; operator "propagate" or "gather"."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    _run(f"stpn_{operator}_{DTYPES[x.dtype]}", switched, x=x.contiguous(), gates=gates.contiguous(), out=out)
    return out


_join = torch.library.custom_op("stpn::join_cuda", _joined, mutates_args=(), device_types="cuda")


@_join.register_fake
def _(operator: str, x: Tensor, gates: Tensor, switched: bool) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _propagated(x: Tensor, gates: Tensor, switched: bool) -> tuple[Tensor, Tensor]:
    """The result, and which direction gave the maximum of each value; float32."""
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    chosen = torch.empty_like(out, dtype=torch.uint8)
    _run("stpn_propagate_training_f32", switched, x=x.contiguous(), gates=gates.contiguous(), out=out, chosen=chosen)
    return out, chosen


_propagate = torch.library.custom_op("stpn::propagate_cuda", _propagated, mutates_args=(), device_types="cuda")


@_propagate.register_fake
def _(x: Tensor, gates: Tensor, switched: bool) -> tuple[Tensor, Tensor]:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    return out, torch.empty_like(out, dtype=torch.uint8)


def _propagated_back(
    x: Tensor, gates: Tensor, chosen: Tensor, gradient: Tensor, switched: bool
) -> tuple[Tensor, Tensor]:
    x, gates, gradient = x.contiguous(), gates.contiguous(), gradient.contiguous()
    values, gradients = _four_of_each(x), _four_of_each(x)
    grad_x, grad_gates = torch.empty_like(x), torch.empty_like(gates)
    given = {"x": x, "gates": gates, "values": values, "gradients": gradients}
    _run("stpn_propagate_scans_f32", switched, **given, chosen=chosen, gradient=gradient)
    _run("stpn_propagate_gate_gradient_f32", switched, **given, grad_gates=grad_gates)
    _run("stpn_propagate_map_gradient_f32", switched, **given, grad_x=grad_x)
    return grad_x, grad_gates


_propagate_back = torch.library.custom_op(
    "stpn::propagate_cuda_backward", _propagated_back, mutates_args=(), device_types="cuda"
)


@_propagate_back.register_fake
def _(x: Tensor, gates: Tensor, chosen: Tensor, gradient: Tensor, switched: bool) -> tuple[Tensor, Tensor]:
    return _contiguous_like(x), _contiguous_like(gates)


def _keep_for_propagate(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: tuple[Tensor, Tensor]) -> None:
    x, gates, ctx.switched = inputs
    ctx.save_for_backward(x, gates, output[1])
    ctx.mark_non_differentiable(output[1])


def _propagate_gradients(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor, Tensor, None]:
    return *_propagate_back(*ctx.saved_tensors, gradient, ctx.switched), None


_propagate.register_autograd(_propagate_gradients, setup_context=_keep_for_propagate)


def _gathered(x: Tensor, gates: Tensor) -> Tensor:
    return _joined("gather", x, gates, False)


_gather = torch.library.custom_op("stpn::gather_cuda", _gathered, mutates_args=(), device_types="cuda")


@_gather.register_fake
def _(x: Tensor, gates: Tensor) -> Tensor:
    return _contiguous_like(x)


def _gathered_back(x: Tensor, gates: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x, gates, gradient = x.contiguous(), gates.contiguous(), gradient.contiguous()
    values, gradients = _four_of_each(x), _four_of_each(x)
    grad_x, grad_gates = torch.empty_like(x), torch.empty_like(gates)
    given = {"x": x, "gates": gates, "gradient": gradient, "values": values, "gradients": gradients}
    _run("stpn_gather_scans_f32", False, **given)
    _run("stpn_gather_gate_gradient_f32", False, **given, grad_gates=grad_gates)
    _run("stpn_gather_map_gradient_f32", False, **given, grad_x=grad_x)
    return grad_x, grad_gates


_gather_back = torch.library.custom_op(
    "stpn::gather_cuda_backward", _gathered_back, mutates_args=(), device_types="cuda"
)


@_gather_back.register_fake
def _(x: Tensor, gates: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return _contiguous_like(x), _contiguous_like(gates)


def _keep_for_gather(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gather_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return _gather_back(*ctx.saved_tensors, gradient)  # type: ignore[no-any-return]


_gather.register_autograd(_gather_gradients, setup_context=_keep_for_gather)


def _contiguous_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _four_of_each(x: Tensor) -> Tensor:
    """One plane a direction: (B, C, 4, H, W)."""
    return x.new_empty((*x.shape[:2], 4, *x.shape[2:]))


def _run(kernel: str, switched: bool, **tensors: Tensor) -> None:
    """Starts a kernel of `launch.KERNELS` with those of the tensors, by name, that it takes; x and gates give sizes."""
    x, gates = tensors["x"], tensors["gates"]
    batch, channels, height, width = x.shape
    if x.numel() == 0:
        return
    given = KERNELS[kernel]
    numbers = (channels, height, width, gates.shape[2], int(switched))
    arguments: list[Argument] = [ctypes.c_void_p(tensors[name].data_ptr()) for name in given.inputs]
    arguments += [ctypes.c_int(number) for number in numbers]
    arguments += [ctypes.c_void_p(tensors[name].data_ptr()) for name in given.outputs]
    start(kernel, launch(kernel, batch, channels, height, width, gates.shape[2]), arguments, x.device)
