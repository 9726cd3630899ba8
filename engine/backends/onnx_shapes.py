"""What moves, joins, cuts and repeats values, in ONNX; shapes are fixed, so a change of shape alone is a Reshape."""

from __future__ import annotations

import numpy as np
import torch

from stpn.engine.backends.onnx_graph import BOOL, FLOAT, HALF, INT64, Value
from stpn.engine.backends.onnx_translation import Call, UnknownOperator, axis_of, translates

KINDS = {torch.float32: FLOAT, torch.float16: HALF, torch.int64: INT64, torch.bool: BOOL}
"""Types of values by those of torch."""


@translates(
    "aten.view.default",
    "aten.reshape.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
    "aten.unsqueeze.default",
    "aten.squeeze.dim",
    "aten.detach.default",
    "aten.detach_.default",
    "aten.lift_fresh_copy.default",
    "aten.contiguous.default",
    "aten.clone.default",
    "aten.alias.default",
)
def _reshape(call: Call) -> Value:
    return call.graph.reshape(call.value(call.args[0]), call.shape)


@translates("aten.expand.default", "aten.expand_as.default")
def _expand(call: Call) -> Value:
    x = call.value(call.args[0])
    ones = (1,) * (len(call.shape) - len(x.shape))
    return call.graph.expand(call.graph.reshape(x, (*ones, *x.shape)), call.shape)


@translates("aten.repeat_interleave.self_int")
def _repeat(call: Call) -> Value:
    x = call.value(call.args[0])
    axis = axis_of(call.get(2, "dim", 0), x)
    before, after = x.shape[: axis + 1], x.shape[axis + 1 :]
    apart = call.graph.reshape(x, (*before, 1, *after))
    return call.graph.reshape(call.graph.expand(apart, (*before, call.args[1], *after)), call.shape)


@translates("aten.transpose.int")
def _transpose(call: Call) -> Value:
    x = call.value(call.args[0])
    axes = list(range(len(x.shape)))
    a, b = (axis_of(axis, x) for axis in call.args[1:3])
    axes[a], axes[b] = b, a
    return call.graph.transpose(x, axes)


@translates("aten.numpy_T.default")
def _turned(call: Call) -> Value:
    x = call.value(call.args[0])
    return call.graph.transpose(x, list(range(len(x.shape)))[::-1])


@translates("aten.permute.default")
def _permute(call: Call) -> Value:
    x = call.value(call.args[0])
    return call.graph.transpose(x, [axis_of(axis, x) for axis in call.args[1]])


@translates("aten.pixel_unshuffle.default")
def _blocks_to_channels(call: Call) -> Value:
    x, size = call.value(call.args[0]), call.args[1]
    batch, channels, height, width = x.shape
    apart = call.graph.reshape(x, (batch, channels, height // size, size, width // size, size))
    return call.graph.reshape(call.graph.transpose(apart, (0, 1, 3, 5, 2, 4)), call.shape)


@translates("aten.slice.Tensor")
def _slice(call: Call) -> Value:
    x = call.value(call.args[0])
    axis = axis_of(call.get(1, "dim", 0), x)
    first, end, step = slice(call.get(2, "start", None), call.get(3, "end", None), call.get(4, "step", 1)).indices(
        x.shape[axis]
    )
    return call.graph.cut(x, axis, first, end, step)


@translates("aten.select.int")
def _select(call: Call) -> Value:
    x = call.value(call.args[0])
    axis = axis_of(call.args[1], x)
    index = call.args[2] % x.shape[axis]
    return call.graph.reshape(call.graph.cut(x, axis, index, index + 1), call.shape)


@translates("aten.unbind.int")
def _unbind(call: Call) -> tuple[Value, ...]:
    x = call.value(call.args[0])
    axis = axis_of(call.get(1, "dim", 0), x)
    shape = [length for index, length in enumerate(x.shape) if index != axis]
    return tuple(call.graph.reshape(call.graph.cut(x, axis, i, i + 1), shape) for i in range(x.shape[axis]))


def _joined(call: Call, values: list[Value], axis: int) -> Value:
    return call.node("Concat", values, values[0].kind, axis=axis)


def _alike(call: Call) -> list[Value]:
    """All in half where all are; in float32 as soon as one is."""
    values = [call.value(given) for given in call.args[0]]
    kind = values[0].kind if len({value.kind for value in values}) == 1 else FLOAT
    return [call.graph.cast(value, kind) for value in values]


@translates("aten.cat.default")
def _concatenate(call: Call) -> Value:
    values = _alike(call)
    return _joined(call, values, axis_of(call.get(1, "dim", 0), values[0]))


@translates("aten.stack.default")
def _stack(call: Call) -> Value:
    values = _alike(call)
    axis = call.get(1, "dim", 0) % (len(values[0].shape) + 1)
    apart = [call.graph.reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in values]
    return _joined(call, apart, axis)


@translates("aten.pad.default")
def _pad(call: Call) -> Value:
    x, amounts, mode = call.value(call.args[0]), list(call.args[1]), call.get(2, "mode", "constant")
    fill = call.get(3, "value", None)
    if mode not in ("constant", "replicate") or fill:
        raise UnknownOperator(f"pad {mode} with {fill}: expected constant with 0 or replicate")
    if not any(amounts):
        return x
    axes = len(x.shape)
    before, after = [0] * axes, [0] * axes
    for pair in range(len(amounts) // 2):  # torch tells the last axis first
        before[axes - 1 - pair], after[axes - 1 - pair] = amounts[2 * pair : 2 * pair + 2]
    way = "edge" if mode == "replicate" else "constant"
    return call.node("Pad", [x, call.graph.integers(*before, *after)], x.kind, mode=way)


@translates("aten.to.dtype")
def _to(call: Call) -> Value:
    return call.value(call.args[0], KINDS[call.args[1]])


@translates("aten.full_like.default", "aten.ones_like.default", "aten.zeros_like.default")
def _filled(call: Call) -> Value:
    number = {"ones": 1.0, "zeros": 0.0}.get(call.operator.split(".")[1].split("_")[0])
    fill = np.full((1,) * len(call.shape), call.args[1] if number is None else number, np.float32)
    return call.graph.expand(call.graph.constant(fill), call.shape)
