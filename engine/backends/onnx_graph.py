"""An ONNX graph that grows node by node; every value knows its type and shape, and every constant is stored once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, HALF, INT64, BOOL = "float32", "float16", "int64", "bool"
"""Types of values."""

# the standard operators as of ONNX 1.15, which every TensorRT with ahead-of-time plugins reads
OPSET = 20
IR_VERSION = 9

Array = NDArray[Any]


@dataclass(frozen=True)
class Value:
    """What a node gives, or an input or a constant of the graph.

    Attributes:
        name: in the graph.
        kind: FLOAT, HALF, INT64 or BOOL.
        shape: every size is fixed.
    """

    name: str
    kind: str
    shape: tuple[int, ...]


class Graph:
    """A graph while it is made; `model` closes it."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._stored: list[Any] = []
        self._inputs: list[Value] = []
        self._domains: set[str] = set()
        self._taken: set[str] = set()

    def input(self, name: str, kind: str, shape: Sequence[int]) -> Value:
        """One more input of the graph, under exactly this name."""
        value = Value(self._fresh(name, exactly=True), kind, tuple(shape))
        self._inputs.append(value)
        return value

    def constant(self, array: Array, name: str = "constant") -> Value:
        """A constant; the same numbers of one type and shape are stored once, under the first name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(array).reshape(np.shape(array))  # the former makes scalars (1,)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            value = Value(self._fresh(name), str(array.dtype), array.shape)
            self._constants[key] = value
            self._stored.append(numpy_helper.from_array(array, value.name))
        return self._constants[key]

    def integers(self, *numbers: int) -> Value:
        """A vector of int64, as shapes and axes are told."""
        return self.constant(np.array(numbers, np.int64), "integers")

    def node(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        kind: str,
        shape: Sequence[int],
        domain: str = "",
        **attributes: Any,
    ) -> Value:
        """One more node with one output.

        Args:
            operator: its type.
            inputs: None: one that is left out.
            kind, shape: of the output.
            domain: whose operator it is; "": ONNX's own.
            attributes: of the node.
        """
        from onnx import helper

        out = Value(self._fresh(operator.lower()), kind, tuple(shape))
        names = [value.name if value else "" for value in inputs]
        self._nodes.append(helper.make_node(operator, names, [out.name], name=out.name, domain=domain, **attributes))
        self._domains.add(domain)
        return out

    def cast(self, value: Value, kind: str) -> Value:
        """The same in another type; itself where it has that type."""
        if value.kind == kind:
            return value
        return self.node("Cast", [value], kind, value.shape, to=_onnx_type(kind))

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """The same numbers in another shape."""
        if value.shape == tuple(shape):
            return value
        return self.node("Reshape", [value, self.integers(*shape)], value.kind, shape)

    def expand(self, value: Value, shape: Sequence[int]) -> Value:
        """Repeated along axes of length 1."""
        if value.shape == tuple(shape):
            return value
        return self.node("Expand", [value, self.integers(*shape)], value.kind, shape)

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """Axes in another order."""
        shape = [value.shape[axis] for axis in axes]
        return self.node("Transpose", [value], value.kind, shape, perm=list(axes))

    def cut(self, value: Value, axis: int, first: int, end: int, step: int = 1) -> Value:
        """Part of an axis, as Python's slices tell it."""
        shape = list(value.shape)
        shape[axis] = len(range(first, end, step))
        bounds = [self.integers(number) for number in (first, end, axis, step)]
        return value if tuple(shape) == value.shape else self.node("Slice", [value, *bounds], value.kind, shape)

    def model(self, name: str, outputs: Sequence[tuple[str, Value]], metadata: dict[str, str]) -> Any:
        """The finished onnx.ModelProto, checked by ONNX.

        Args:
            name: of the graph.
            outputs: under these names.
            metadata: stored in the model.
        """
        import onnx
        from onnx import helper

        ends = [
            Value(
                self._rename(value, name),
                value.kind,
                value.shape,
            )
            for name, value in outputs
        ]
        graph = helper.make_graph(
            self._nodes, name, [_described(v) for v in self._inputs], [_described(v) for v in ends], self._stored
        )
        opsets = [helper.make_opsetid(d, OPSET if d == "" else 1) for d in sorted(self._domains | {""})]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="stpn")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model

    def _rename(self, value: Value, name: str) -> str:
        """Gives a value the name of an output, through a node that does nothing else."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value.name], [self._fresh(name, exactly=True)], name=name))
        return name

    def _fresh(self, name: str, exactly: bool = False) -> str:
        if exactly and name in self._taken:
            raise ValueError(f"graph: expected a name of its own for every value, got {name!r} twice")
        unique, count = name, 1
        while unique in self._taken:
            unique, count = f"{name}_{count}", count + 1
        self._taken.add(unique)
        return unique


def _onnx_type(kind: str) -> int:
    from onnx import TensorProto

    return int(
        {FLOAT: TensorProto.FLOAT, HALF: TensorProto.FLOAT16, INT64: TensorProto.INT64, BOOL: TensorProto.BOOL}[kind]
    )


def _described(value: Value) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(value.name, _onnx_type(value.kind), value.shape)
