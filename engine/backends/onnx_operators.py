"""Arithmetic of torch in ONNX.

In a graph of half precision, convolutions are computed in half and what only moves, joins, averages or rectifies their
results stays in half; everything else (sums, exponentials, quotients, gates, the recurrence, attention, sampling) is
float32, as under torch's autocast.
"""

from __future__ import annotations

from collections.abc import Sequence

from stpn.engine.backends.onnx_graph import BOOL, FLOAT, HALF, Value
from stpn.engine.backends.onnx_translation import TRANSLATIONS, Call, Translation, UnknownOperator, axis_of, translates

DOMAIN = "stpn"
"""Of the propagation operators; the namespace of their TensorRT plugins too."""
PROPAGATE, GATHER = "Propagate", "GatherDirections"


@translates("aten.conv2d.default")
def _convolution(call: Call) -> Value:
    kind = HALF if call.half else FLOAT
    inputs = [call.value(given, kind) for given in call.args[:3] if given is not None]
    rows, columns = call.get(4, "padding", [0, 0])
    return call.node(
        "Conv",
        inputs,
        kind,
        kernel_shape=inputs[1].shape[2:],
        strides=list(call.get(3, "stride", [1, 1])),
        pads=[rows, columns, rows, columns],
        dilations=list(call.get(5, "dilation", [1, 1])),
        group=call.get(6, "groups", 1),
    )


def _float_function(name: str) -> Translation:
    return lambda call: call.node(name, [call.value(call.args[0], FLOAT)])


def _function(name: str) -> Translation:
    """In the type of its input."""
    return lambda call: call.node(name, [call.value(call.args[0])], call.value(call.args[0]).kind)


for _torch, _onnx in {"exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sigmoid": "Sigmoid"}.items():
    TRANSLATIONS[f"aten.{_torch}.default"] = _float_function(_onnx)
for _torch, _onnx in {"relu": "Relu", "neg": "Neg", "abs": "Abs"}.items():
    TRANSLATIONS[f"aten.{_torch}.default"] = _function(_onnx)


@translates("aten.leaky_relu.default")
def _leaky_relu(call: Call) -> Value:
    x = call.value(call.args[0])
    return call.node("LeakyRelu", [x], x.kind, alpha=float(call.get(1, "negative_slope", 0.01)))


@translates("aten.expm1.default")
def _expm1(call: Call) -> Value:
    power = call.node("Exp", [call.value(call.args[0], FLOAT)])
    return call.node("Sub", [power, call.value(1.0)])


@translates("aten.logit.default")
def _logit(call: Call) -> Value:
    x = call.value(call.args[0], FLOAT)
    return call.node("Log", [call.node("Div", [x, call.node("Sub", [call.value(1.0), x])])])


@translates("aten.square.default", "aten.pow.Tensor_Scalar")
def _square(call: Call) -> Value:
    power = call.get(1, "exponent", 2)
    if power != 2:
        raise UnknownOperator(f"power {power}: expected 2; write its translation into onnx_operators.py")
    x = call.value(call.args[0], FLOAT)
    return call.node("Mul", [x, x])


def _arithmetic(operator: str, swapped: bool = False) -> Translation:
    def translation(call: Call) -> Value:
        if call.get(2, "alpha", 1) != 1:
            raise UnknownOperator(f"{operator} with alpha: expected 1; write its translation into onnx_operators.py")
        inputs = [call.value(given, FLOAT) for given in call.args[:2]]
        return call.node(operator, inputs[::-1] if swapped else inputs)

    return translation


for _torch, _onnx in {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}.items():
    TRANSLATIONS[f"aten.{_torch}.Tensor"] = _arithmetic(_onnx)
TRANSLATIONS["aten.rsub.Scalar"] = _arithmetic("Sub", swapped=True)


@translates("aten.gt.Scalar")
def _greater(call: Call) -> Value:
    return call.node("Greater", [call.value(given, FLOAT) for given in call.args[:2]], BOOL)


@translates("aten.clamp.default", "aten.clamp_min.default")
def _clamp(call: Call) -> Value:
    x = call.value(call.args[0])
    bounds = [call.get(1, "min", None), call.get(2, "max", None)]
    return call.node("Clip", [x, *(None if b is None else call.value(float(b), x.kind) for b in bounds)], x.kind)


@translates("aten.softmax.int")
def _softmax(call: Call) -> Value:
    x = call.value(call.args[0], FLOAT)
    return call.node("Softmax", [x], axis=axis_of(call.args[1], x))


def _reduced(operator: str, call: Call, axes: Sequence[int] | int, keep: bool) -> Value:
    x = call.value(call.args[0], FLOAT)
    every = [axes] if isinstance(axes, int) else list(axes) or list(range(len(x.shape)))
    return call.node(operator, [x, call.graph.integers(*(axis_of(a, x) for a in every))], keepdims=int(keep))


def _reduction(operator: str) -> Translation:
    return lambda call: _reduced(operator, call, call.get(1, "dim", ()), call.get(2, "keepdim", False))


TRANSLATIONS["aten.sum.dim_IntList"] = _reduction("ReduceSum")
TRANSLATIONS["aten.mean.dim"] = _reduction("ReduceMean")
TRANSLATIONS["aten.amax.default"] = _reduction("ReduceMax")
TRANSLATIONS["aten.amin.default"] = _reduction("ReduceMin")


@translates("aten.linalg_vector_norm.default")
def _length(call: Call) -> Value:
    if call.get(1, "ord", 2) != 2:
        raise UnknownOperator(f"norm of order {call.args[1]}: expected 2; write its translation into onnx_operators.py")
    return _reduced("ReduceL2", call, call.get(2, "dim", ()), call.get(3, "keepdim", False))


@translates("aten.scaled_dot_product_attention.default")
def _attention(call: Call) -> Value:
    query, key, values = (call.value(given, FLOAT) for given in call.args[:3])
    if len(call.args) > 3 or set(call.named) - {"scale"}:
        raise UnknownOperator("attention: expected a scale and no mask; write its translation into onnx_operators.py")
    scale: float | None = call.named.get("scale")
    if scale != 1:
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        query = call.graph.node("Mul", [query, call.value(float(scale))], FLOAT, query.shape)
    last = len(key.shape) - 1
    turned = call.graph.transpose(key, [*range(last - 1), last, last - 1])
    square = (*query.shape[:-1], key.shape[-2])
    alike = call.graph.node("MatMul", [query, turned], FLOAT, square)
    return call.node("MatMul", [call.graph.node("Softmax", [alike], FLOAT, square, axis=last), values])


@translates("aten.matmul.default")
def _product(call: Call) -> Value:
    return call.node("MatMul", [call.value(given, FLOAT) for given in call.args[:2]])


@translates("aten.cdist.default")
def _distances(call: Call) -> Value:
    """Of points (B, N, D) to points (B, M, D): sums of squared differences, which near points keep their digits in."""
    if call.get(2, "p", 2.0) != 2:
        raise UnknownOperator(
            f"cdist of order {call.args[2]}: expected 2; write its translation into onnx_operators.py"
        )
    graph, points = call.graph, [call.value(given, FLOAT) for given in call.args[:2]]
    total = None
    for axis in range(points[0].shape[2]):
        one, other = (graph.cut(point, 2, axis, axis + 1) for point in points)
        other = graph.transpose(other, (0, 2, 1))
        apart = call.node("Sub", [one, other])
        square = call.node("Mul", [apart, apart])
        total = square if total is None else call.node("Add", [total, square])
    assert total is not None
    return call.node("Sqrt", [total])


@translates("aten.avg_pool2d.default")
def _mean_of_blocks(call: Call) -> Value:
    x = call.value(call.args[0])
    size = list(call.args[1])
    stride = list(call.get(2, "stride", ()) or size)
    whole = all(length % step == 0 for length, step in zip(x.shape[2:], size, strict=True))
    if any(call.get(3, "padding", [0, 0])) or stride != size or not whole:
        # what is rounded up at an edge is averaged differently by every backend
        raise UnknownOperator(f"avg_pool2d of {x.shape}: expected whole blocks of {size}; pad the pictures")
    return call.node("AveragePool", [x], x.kind, kernel_shape=size, strides=stride)


@translates("aten.upsample_bilinear2d.vec")
def _resized(call: Call) -> Value:
    x = call.value(call.args[0])
    if call.args[2]:
        raise UnknownOperator("upsample_bilinear2d: expected align_corners=False")
    if x.shape == call.shape:
        return x
    sizes = call.graph.integers(*call.shape)
    return call.node(
        "Resize", [x, None, None, sizes], x.kind, mode="linear", coordinate_transformation_mode="half_pixel"
    )


@translates("aten.grid_sampler.default")
def _sampled(call: Call) -> Value:
    if call.args[2] != 0 or call.args[3] not in (0, 1):
        raise UnknownOperator(f"grid_sampler of modes {call.args[2:4]}: expected bilinear, zeros or border")
    border, corners = ("zeros", "border")[call.args[3]], int(call.args[4])
    inputs = [call.value(given, FLOAT) for given in call.args[:2]]
    return call.node("GridSample", inputs, mode="linear", padding_mode=border, align_corners=corners)


@translates("stpn.propagate_cpu.default")
def _propagate(call: Call) -> tuple[Value, None]:
    return _own(PROPAGATE, call), None


@translates("stpn.gather_cpu.default")
def _gather(call: Call) -> tuple[Value, None]:
    return _own(GATHER, call), None


def _own(operator: str, call: Call) -> Value:
    """A node that TensorRT finds a plugin for by name, namespace and version, compiled ahead of time.

    Always float32: gates whose sum is rounded to more than 1 let the recurrence grow, and what is gathered may be a
    thousand times what it was gathered from.
    """
    inputs = [call.value(given, FLOAT) for given in call.args[:2]]
    return call.graph.node(
        operator,
        inputs,
        FLOAT,
        inputs[0].shape,
        domain=DOMAIN,
        plugin_namespace=DOMAIN,
        plugin_version="1",
        aot=1,
    )
