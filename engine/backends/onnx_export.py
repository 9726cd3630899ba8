"""A network as one ONNX graph of a fixed size, its weights inside and the propagation as operators of our own.

The graph is read from torch.export's, operator by operator, by the tables of `onnx_operators` and `onnx_shapes`. Its
inputs and outputs are float32; in half precision the convolutions inside are half (`onnx_operators` says what is not).

    key_property, key_guide, target_guide -> carried                                       (the paper's network)
    every plane of `Inputs` by its name -> carried, corrections, fills, doubts, shares, unsure   (--method aligned)
    every plane of `Observed` by its name, pictures in place of their features -> odds, sure     (the same of masks)

Needs the package onnx, which is imported where it is used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from stpn.engine.aligned_network import AlignedFusion, Inputs
from stpn.engine.backends import onnx_operators, onnx_shapes
from stpn.engine.backends.onnx_graph import FLOAT, Graph, Value
from stpn.engine.backends.onnx_translation import TRANSLATIONS, Call, UnknownOperator
from stpn.engine.network import SwitchableTPN
from stpn.engine.observation import KEYS
from stpn.engine.properties.mask_network import PLANES, MaskRefiner, Observed

if TYPE_CHECKING:
    from torch.fx import Node

__all__ = [
    "ALIGNED_OUTPUTS",
    "MASK_OUTPUTS",
    "MULTIPLE",
    "ExportError",
    "digest_of",
    "example_inputs",
    "export_onnx",
    "weights_digest",
]

Network: TypeAlias = SwitchableTPN | AlignedFusion | MaskRefiner

ALIGNED_OUTPUTS = {
    "carried": "values",
    "corrections": "corrections",
    "fills": "fills",
    "doubts": "doubts",
    "shares": "shares",
    "unsure": "unsure",
}
"""Outputs of the graph of an AlignedFusion, and what of `Outputs` they are."""

MASK_OUTPUTS = ("odds", "sure")
"""Outputs of the graph of a MaskRefiner, by the names of `Decided`."""

MULTIPLE = 16
"""Height and width of the graph of an AlignedFusion or MaskRefiner are multiples of this, as their callers pad them."""

# the tables are filled when their modules are imported
_TABLES = (onnx_operators, onnx_shapes)


class ExportError(Exception):
    """A network cannot be exported as asked; the message says why and what to do."""


def export_onnx(
    network: Network, height: int, width: int, *, batch: int = 1, half: bool = False, weights: str = ""
) -> Any:
    """The network as an onnx.ModelProto.

    Args:
        network: on the CPU, in float32.
        height, width: of the pictures; but for the paper's network multiples of MULTIPLE.
        batch: pictures at a time.
        half: whether convolutions are computed in half precision.
        weights: a name for the weights, stored in the model beside their digest.

    Raises:
        ExportError: a size or weights that do not fit, no package onnx, or an operator that has no translation.
    """
    try:
        import onnx  # noqa: F401 - to say at once that it is missing
    except ImportError as error:
        raise ExportError(f"export to ONNX: expected the package onnx, got: {error}; run: pip install onnx") from error
    if min(height, width, batch) < 1:
        raise ExportError(f"size: expected at least 1 x 1 and 1 picture, got {width} x {height} and {batch}")
    found = {(parameter.device.type, parameter.dtype) for parameter in network.parameters()}
    if found != {("cpu", torch.float32)}:
        told = ", ".join(sorted(f"{kind} on {device}" for device, kind in found))
        raise ExportError(f"weights: expected torch.float32 on cpu, got {told}; load the network anew")
    if not isinstance(network, SwitchableTPN) and (height % MULTIPLE or width % MULTIPLE):
        raise ExportError(f"size: expected multiples of {MULTIPLE}, got {width} x {height}; pad the pictures")
    given = example_inputs(network, height, width, batch)
    module, names = _one_by_one(network, list(given))
    with torch.no_grad():
        program = torch.export.export(module.eval(), tuple(given.values()), strict=False)
    metadata = {
        "stpn.network": type(network).__name__,
        "stpn.config": json.dumps(dataclasses.asdict(network.config)),
        "stpn.weights": weights,
        "stpn.weights_sha256": weights_digest(network),
        "stpn.shape": f"{batch}x{height}x{width}",
        "stpn.precision": "half" if half else "float",
    }
    graph = Graph()
    outputs = _translated(graph, program, list(given), half)
    ends = [(name, graph.cast(value, FLOAT)) for name, value in zip(names, outputs, strict=True)]
    return graph.model(type(network).__name__, ends, metadata)


def example_inputs(network: Network, height: int, width: int, batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
    """Inputs of the right names, shapes and ranges, made of noise: float32 by name, in the order of the graph's.

    Args:
        network, height, width, batch: as for `export_onnx`.
        seed: of the noise.
    """
    source = torch.Generator().manual_seed(seed)

    def noise(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand((batch, *shape), generator=source) * (high - low) + low

    size = (height, width)
    if isinstance(network, SwitchableTPN):
        c = network.config
        return {
            "key_property": noise(-0.6, 0.6, c.property_channels, *size),
            "key_guide": noise(-0.5, 0.5, c.guide_channels, *size),
            "target_guide": noise(-0.5, 0.5, c.guide_channels, *size),
        }
    if isinstance(network, MaskRefiner):
        return {
            "planes": torch.cat([noise(-0.5, 0.5, 3, *size), noise(0, 1, PLANES - 3, *size)], dim=1),
            "flow": noise(-20, 20, 2, *size),
            "before_mask": noise(0, 1, 1, *size),
            "key_mask": noise(0, 1, 1, *size),
            **{name: noise(0, 1, 3, *size) for name in ("here", "before", "key")},
        }
    channels, observed = network.config.channels, network.config.observed
    # HDR has a third route from each key, through what does not clip
    count = KEYS * (3 if observed else 2)
    planes = {
        "lightness": noise(0, 1, 1, *size),
        "values": noise(-0.6, 0.6, count, channels, *size),
        "warped": noise(0, 1, count, 1, *size),
        "weights": noise(0.01, 1, count, 1, *size),
        "error": noise(-2, 2, count, 2, *size),
        "flow": noise(-20, 20, count, 2, *size),
        "blend": noise(-0.6, 0.6, channels, *size),
        "spread": noise(-0.6, 0.6, channels, *size),
        "confidence": noise(0, 1, 1, *size),
        "distance": noise(0, 1, count),
        "key_lightness": noise(0, 1, KEYS, 1, *size),
        "key_values": noise(-0.6, 0.6, KEYS, channels, *size),
    }
    if observed:
        planes |= {"shown": noise(-0.6, 0.6, channels, *size), "blind": noise(0, 1, channels, *size)}
    return planes


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and numbers of all weights, however the file lays them out."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def digest_of(model: Any) -> str:
    """SHA-256 of a model's graph, weights included; metadata, such as a file's name, do not count."""
    versions = sorted((opset.domain, opset.version) for opset in model.opset_import)
    digest = hashlib.sha256(f"{model.ir_version} {versions}".encode())
    digest.update(model.graph.SerializeToString(deterministic=True))
    return digest.hexdigest()


class _Planes(nn.Module):
    """An AlignedFusion that takes planes one by one and gives what a graph puts out."""

    def __init__(self, network: AlignedFusion, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *planes: Tensor) -> tuple[Tensor, ...]:
        out = self.network(Inputs(**dict(zip(self.names, planes, strict=True))))
        return tuple(getattr(out, name) for name in ALIGNED_OUTPUTS.values())


class _Pictures(nn.Module):
    """A MaskRefiner that takes pictures in place of their features, likewise."""

    def __init__(self, network: MaskRefiner, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *planes: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.names, planes, strict=True))
        features = {name: self.network.features(given.pop(name)) for name in ("here", "before", "key")}
        out = self.network(Observed(**given, **features))
        return tuple(getattr(out, name) for name in MASK_OUTPUTS)


def _one_by_one(network: Network, names: list[str]) -> tuple[nn.Module, list[str]]:
    """The network as what takes tensors, of these names, and gives a tuple of them, and the names of that."""
    if isinstance(network, AlignedFusion):
        return _Planes(network, names), list(ALIGNED_OUTPUTS)
    if isinstance(network, MaskRefiner):
        return _Pictures(network, names), list(MASK_OUTPUTS)
    return network, ["carried"]


def _translated(graph: Graph, program: torch.export.ExportedProgram, names: list[str], half: bool) -> list[Value]:
    """Adds every operator of a program to the graph, whose inputs get these names; returns its outputs."""
    signature = program.graph_signature
    stored: Mapping[str, Tensor] = {**program.state_dict, **program.constants}
    kept = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    # Values, tensors that do not depend on the inputs, or tuples of these
    known: dict[Node, Any] = {}
    inputs = iter(names)
    outputs: list[Value] = []
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in kept:
                known[node] = stored[kept[node.name]]
            else:
                known[node] = graph.input(next(inputs), FLOAT, _shape(node))
        elif node.op == "output":
            outputs = [known[value] for value in node.args[0]]
        elif node.op == "call_function":
            known[node] = _one(graph, node, known, half)
    return outputs


def _one(graph: Graph, node: Node, known: Mapping[Node, Any], half: bool) -> Any:
    name = str(node.target)
    if name == "aten._assert_tensor_metadata.default":
        return None
    target: Any = node.target
    args: Any = torch.fx.node.map_arg(node.args, lambda one: known[one])
    named: Any = torch.fx.node.map_arg(node.kwargs, lambda one: known[one])
    if target is operator.getitem:
        return args[0][args[1]]
    if not any(isinstance(known[one], (Value, tuple)) for one in node.all_input_nodes):
        return target(*args, **named)  # what does not depend on the inputs is a constant
    if name not in TRANSLATIONS:
        raise ExportError(
            f"export to ONNX: expected an operator with a translation, got {name}; add it to onnx_operators.py"
        )
    try:
        return TRANSLATIONS[name](Call(name, graph, half, _shape(node), _arrays(args), _arrays(named)))
    except UnknownOperator as error:
        raise ExportError(f"export to ONNX: {error}") from error


def _shape(node: Node) -> tuple[int, ...]:
    value = node.meta["val"]
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _arrays(given: Any) -> Any:
    """With numpy arrays in place of tensors."""
    if isinstance(given, Tensor):
        return given.detach().cpu().numpy()
    if isinstance(given, dict):
        return {name: _arrays(one) for name, one in given.items()}
    if isinstance(given, (list, tuple)):
        return type(given)(_arrays(one) for one in given)
    return given
