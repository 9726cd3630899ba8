"""How one operator of torch is translated to ONNX: what a translation is given, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stpn.engine.backends.onnx_graph import FLOAT, Array, Graph, Value


class UnknownOperator(Exception):
    """A network uses an operator that has no translation; the message names it and says where to write one."""


@dataclass(frozen=True)
class Call:
    """One operator of a network as it is translated.

    Attributes:
        operator: its name.
        graph: where nodes go.
        half: whether the graph is of half precision.
        shape: of the result.
        args: Values, numpy arrays (constants), numbers, or lists of them.
        named: arguments by name.
    """

    operator: str
    graph: Graph
    half: bool
    shape: tuple[int, ...]
    args: tuple[Any, ...]
    named: dict[str, Any]

    def get(self, index: int, name: str, default: Any) -> Any:
        """An argument that may be given by place, by name or not at all."""
        return self.args[index] if len(self.args) > index else self.named.get(name, default)

    def value(self, given: Value | Array | float, kind: str | None = None) -> Value:
        """An argument as a value, constants and numbers included, in this type; None: in its own, numbers in FLOAT."""
        if isinstance(given, Value):
            return given if kind is None else self.graph.cast(given, kind)
        array = np.asarray(given, np.float32 if isinstance(given, (int, float)) else None)
        return self.graph.constant(array if kind is None else array.astype(kind))

    def node(self, operator: str, inputs: Sequence[Value | None], kind: str = FLOAT, **attributes: Any) -> Value:
        """A node with the result's shape."""
        return self.graph.node(operator, inputs, kind, self.shape, **attributes)


Translation = Callable[[Call], Any]

TRANSLATIONS: dict[str, Translation] = {}
"""By the name that torch.export gives an operator, such as aten.conv2d.default."""


def translates(*operators: str) -> Callable[[Translation], Translation]:
    """Enters a function into the table."""

    def keep(translation: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(operators, translation))
        return translation

    return keep


def axis_of(axis: int, value: Value) -> int:
    """Counted from the front."""
    return axis % len(value.shape)
