"""Networks as ONNX graphs: the same numbers as torch, by ONNX's own reference; precision, names, metadata, errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

onnx = pytest.importorskip("onnx", reason="needs the package onnx: pip install onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx.reference.op_run import OpRun  # noqa: E402

from stpn.engine import aligned, device  # noqa: E402
from stpn.engine.aligned_network import AlignedConfig, AlignedFusion, Inputs  # noqa: E402
from stpn.engine.backends import onnx_export  # noqa: E402
from stpn.engine.backends.engine_build import network_size  # noqa: E402
from stpn.engine.backends.onnx_export import (  # noqa: E402
    ALIGNED_OUTPUTS,
    MASK_OUTPUTS,
    ExportError,
    digest_of,
    example_inputs,
    export_onnx,
    weights_digest,
)
from stpn.engine.backends.tensorrt_network import on  # noqa: E402
from stpn.engine.carriers import AlignedCarrier, Key, NetworkCarrier  # noqa: E402
from stpn.engine.network import NetworkConfig, SwitchableTPN  # noqa: E402
from stpn.engine.observation import inputs  # noqa: E402
from stpn.engine.propagation.gathering import gather  # noqa: E402
from stpn.engine.propagation.reference import propagate_reference  # noqa: E402
from stpn.engine.properties import mask_network  # noqa: E402
from stpn.engine.properties.mask import MaskCarrier  # noqa: E402
from stpn.engine.properties.mask_network import MaskRefiner, Observed  # noqa: E402
from stpn.engine.weights import load_aligned, load_mask, load_network, shipped  # noqa: E402

# of the largest value of an output: float32 differs by the order of sums alone
FLOAT_TOLERANCE = 1e-4
# convolutions keep 11 bits, and some twenty of them follow one another: seen are 0.5 %, on noise
HALF_TOLERANCE = 1e-2


class Propagate(OpRun):
    """`stpn.Propagate` by its definition."""

    op_domain = "stpn"

    def _run(self, x: Any, gates: Any, **_: Any) -> tuple[Any]:
        assert x.dtype == gates.dtype == np.float32
        return (propagate_reference(torch.from_numpy(x), torch.from_numpy(gates)).numpy(),)


class GatherDirections(OpRun):
    """`stpn.GatherDirections` on the CPU."""

    op_domain = "stpn"

    def _run(self, x: Any, gates: Any, **_: Any) -> tuple[Any]:
        assert x.dtype == gates.dtype == np.float32
        return (gather(torch.from_numpy(x), torch.from_numpy(gates)).numpy(),)


class Resize(OpRun):
    """Resize as ONNX defines it for the one form that is exported: the reference's own visits every value in Python."""

    op_domain = ""

    def _run(self, x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, **how: Any) -> tuple[Any]:
        assert (how["mode"], how["coordinate_transformation_mode"]) == ("linear", "half_pixel")
        out = x.astype(np.float64)
        for axis in range(x.ndim):
            length, wanted = x.shape[axis], int(sizes[axis])
            at = np.clip((np.arange(wanted) + 0.5) * length / wanted - 0.5, 0, length - 1)
            low = np.floor(at).astype(int)
            part = (at - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
            high = np.minimum(low + 1, length - 1)
            out = np.take(out, low, axis) * (1 - part) + np.take(out, high, axis) * part
        return (out.astype(x.dtype),)


def run(model: Any, planes: dict[str, Tensor]) -> dict[str, Any]:
    """The outputs of a model by name."""
    evaluator = ReferenceEvaluator(model, new_ops=[Propagate, GatherDirections, Resize])
    names = [output.name for output in model.graph.output]
    given = {name: plane.numpy() for name, plane in planes.items()}
    return dict(zip(names, evaluator.run(None, given), strict=True))


def by_torch(network: nn.Module, planes: dict[str, Tensor]) -> dict[str, Any]:
    with torch.no_grad():
        if isinstance(network, AlignedFusion):
            out = network(inputs(planes))
            return {name: getattr(out, attribute).numpy() for name, attribute in ALIGNED_OUTPUTS.items()}
        if isinstance(network, MaskRefiner):
            features = {name: network.features(planes[name]) for name in ("here", "before", "key")}
            decided = network(Observed(**planes | features))
            return {name: getattr(decided, name).numpy() for name in MASK_OUTPUTS}
        return {"carried": network(*planes.values()).numpy()}


def largest_difference(got: dict[str, Any], wanted: dict[str, Any]) -> float:
    """Of any output, relative to its largest value."""
    assert got.keys() == wanted.keys()
    for name, plane in wanted.items():
        assert got[name].shape == plane.shape
        assert got[name].dtype == np.float32
        assert np.isfinite(got[name]).all()
    return max(float(np.abs(got[name] - plane).max() / np.abs(plane).max()) for name, plane in wanted.items())


def paper(name: str) -> Callable[[], SwitchableTPN]:
    return lambda: load_network(shipped(name))


def fusion(name: str) -> Callable[[], AlignedFusion]:
    return lambda: load_aligned(shipped(name))


def refiner() -> MaskRefiner:
    return load_mask(shipped("mask"))


@pytest.fixture(scope="module")
def small() -> SwitchableTPN:
    torch.manual_seed(0)
    return SwitchableTPN(NetworkConfig(hidden_channels=8, guidance_widths=(8, 12, 16)))


@pytest.fixture(scope="module")
def small_fusion() -> AlignedFusion:
    torch.manual_seed(0)
    return AlignedFusion(AlignedConfig(candidate_channels=4, widths=(8, 8, 12, 12), match_channels=5))


CASES = [
    pytest.param(paper("color"), 64, 96, 1, id="color-stpn-64x96"),
    pytest.param(paper("color"), 37, 51, 1, id="color-stpn-37x51"),
    pytest.param(paper("color"), 96, 32, 2, id="color-stpn-96x32-two"),
    pytest.param(paper("hdr_stpn"), 33, 64, 1, id="hdr-stpn-33x64"),
    pytest.param(fusion("aligned"), 32, 80, 1, id="color-aligned-32x80"),
    pytest.param(fusion("aligned"), 48, 16, 2, id="color-aligned-48x16-two"),
    pytest.param(fusion("hdr"), 32, 48, 1, id="hdr-aligned-32x48"),
    pytest.param(refiner, 48, 32, 1, id="mask-48x32"),
    pytest.param(refiner, 16, 16, 2, id="mask-16x16-two"),
]


@pytest.mark.parametrize(("load", "height", "width", "batch"), CASES)
def test_the_graph_gives_what_torch_gives(load: Callable[[], Any], height: int, width: int, batch: int) -> None:
    network = load()
    planes = example_inputs(network, height, width, batch)
    got = run(export_onnx(network, height, width, batch=batch), planes)
    assert largest_difference(got, by_torch(network, planes)) < FLOAT_TOLERANCE


@pytest.mark.parametrize(
    ("load", "height", "width"),
    [
        pytest.param(paper("color"), 33, 48, id="color-stpn-33x48"),
        pytest.param(fusion("aligned"), 32, 16, id="color-aligned-32x16"),
        pytest.param(fusion("hdr"), 16, 32, id="hdr-aligned-16x32"),
        pytest.param(refiner, 16, 32, id="mask-16x32"),
    ],
)
def test_in_half_it_gives_nearly_that(load: Callable[[], Any], height: int, width: int) -> None:
    network = load()
    planes = example_inputs(network, height, width)
    got = run(export_onnx(network, height, width, half=True), planes)
    difference = largest_difference(got, by_torch(network, planes))
    assert FLOAT_TOLERANCE < difference < HALF_TOLERANCE


def test_other_inputs_than_those_it_was_traced_with() -> None:
    """A key that is missing, absurd values, full confidence: what depends on the inputs must not be baked in."""
    network = load_aligned(shipped("aligned"))
    model = export_onnx(network, 32, 48)
    planes = example_inputs(network, 32, 48, seed=7)
    planes["weights"][:, 2:] = 0  # both routes of the second key
    planes["values"][:, 1] = 40
    planes["confidence"][..., :8] = 1
    assert largest_difference(run(model, planes), by_torch(network, planes)) < FLOAT_TOLERANCE


def test_our_resize_is_onnx_s_own() -> None:
    values = np.random.default_rng(0).random((1, 2, 3, 5), np.float32)
    sizes = np.array([1, 2, 7, 4], np.int64)
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes.tolist())],
        [numpy_helper.from_array(sizes, "sizes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    both = [ReferenceEvaluator(model, new_ops=ours).run(None, {"x": values})[0] for ours in ([], [Resize])]
    np.testing.assert_allclose(both[1], both[0], rtol=1e-5)


def test_what_carries_a_property_does_not_see_that_a_graph_runs(small: SwitchableTPN) -> None:
    """Whole carriers over graphs that ONNX's reference runs in TensorRT's place, against the same over torch."""
    rng = np.random.default_rng(0)
    light = {n: np.ascontiguousarray(rng.random((40, 56), np.float32) * 100) for n in range(3)}
    keys = [Key(n, np.ascontiguousarray(rng.random((40, 56, 2), np.float32) * 60 - 30)) for n in (0, 2)]
    fusion = load_aligned(shipped("aligned"))
    mask = refiner()
    models = {
        fusion: export_onnx(fusion, *network_size(fusion, 40, 56)),
        small: export_onnx(small, *network_size(small, 40, 56)),
        mask: export_onnx(mask, *network_size(mask, 24, 40)),
    }
    matte = np.zeros((24, 40, 1), np.float32)
    matte[6:18, 8:20] = 1
    pictures = {n: rng.random((24, 40, 3), np.float32) for n in range(3)}

    def graph_of(network: Any) -> Any:
        evaluator = ReferenceEvaluator(models[network], new_ops=[Propagate, GatherDirections, Resize])
        names = [output.name for output in models[network].graph.output]
        return on(network, lambda planes: dict(zip(names, evaluator.run(None, dict(planes)), strict=True)))

    for network, carrier in (
        (fusion, lambda one: AlignedCarrier(keys, light, [1], one)),
        (small, lambda one: NetworkCarrier(keys, light, one)),
        (mask, lambda one: MaskCarrier([Key(0, matte)], pictures, [1], one)),
    ):
        with torch.autocast("cpu", enabled=False), pytest.MonkeyPatch.context() as patch:
            patch.setattr(device, "fast_bfloat16", lambda: False)
            (got, sure), (wanted, known) = (carrier(one).carry(1) for one in (graph_of(network), network))
        assert isinstance(graph_of(network), type(network))
        np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
        np.testing.assert_allclose(sure, known, atol=1e-3)


def own_nodes(model: Any) -> list[Any]:
    return [node for node in model.graph.node if node.domain]


@pytest.mark.parametrize("half", [False, True])
def test_propagation_is_a_node_that_tensorrt_finds_a_plugin_for(
    small: SwitchableTPN, small_fusion: AlignedFusion, half: bool
) -> None:
    of_paper = own_nodes(export_onnx(small, 32, 40, half=half))
    of_fusion = own_nodes(export_onnx(small_fusion, 32, 48, half=half))
    assert [node.op_type for node in of_paper] == ["Propagate", "Propagate"]
    assert [node.op_type for node in of_fusion] == ["GatherDirections"]
    for node in of_paper + of_fusion:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        assert node.domain == "stpn"
        assert attributes == {"plugin_namespace": b"stpn", "plugin_version": b"1", "aot": 1}
        assert (len(node.input), len(node.output)) == (2, 1)


def test_half_is_the_convolutions_and_nothing_that_adds_up(small: SwitchableTPN) -> None:
    model = export_onnx(small, 32, 40, half=True)
    stored = {one.name: one.data_type for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions
    for node in convolutions:
        assert [stored[name] for name in node.input[1:]] == [TensorProto.FLOAT16] * 2
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    for node in model.graph.node:
        if node.op_type in ("Div", "Sum", "ReduceSum", "Exp", "Softmax"):
            assert kinds[node.output[0]] == TensorProto.FLOAT, node.op_type
    ends = [*model.graph.input, *model.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}


def test_weights_are_inside_once(small: SwitchableTPN) -> None:
    size = sum(parameter.numel() for parameter in small.parameters())
    in_float = export_onnx(small, 32, 40).ByteSize()
    in_half = export_onnx(small, 32, 40, half=True).ByteSize()
    assert 4 * size < in_float < 4 * size + 20_000
    assert 2 * size < in_half < 2 * size + 20_000


def test_shapes_are_fixed_and_the_model_says_what_it_is(small: SwitchableTPN) -> None:
    model = export_onnx(small, 33, 40, batch=2, half=True, weights="color")
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    assert shapes == {"key_property": [2, 2, 33, 40], "key_guide": [2, 1, 33, 40], "target_guide": [2, 1, 33, 40]}
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told.pop("stpn.weights_sha256") == weights_digest(small)
    assert '"hidden_channels": 8' in told.pop("stpn.config")
    assert told == {
        "stpn.network": "SwitchableTPN",
        "stpn.weights": "color",
        "stpn.shape": "2x33x40",
        "stpn.precision": "half",
    }


def test_the_digest_follows_graph_and_weights(small: SwitchableTPN) -> None:
    first = digest_of(export_onnx(small, 32, 40))
    assert digest_of(export_onnx(small, 32, 40, weights="renamed")) == first
    assert digest_of(export_onnx(small, 32, 40, half=True)) != first
    assert digest_of(export_onnx(small, 32, 48)) != first
    other = SwitchableTPN(small.config)
    other.load_state_dict(small.state_dict())
    assert weights_digest(other) == weights_digest(small)
    with torch.no_grad():
        other.decode.weight[0, 0, 0, 0] += 1e-3
    assert weights_digest(other) != weights_digest(small)
    assert digest_of(export_onnx(other, 32, 40)) != first


def test_inputs_are_those_of_the_network(small_fusion: AlignedFusion) -> None:
    hdr = AlignedFusion(AlignedConfig(observed=True, channels=3))
    assert list(example_inputs(hdr, 16, 16)) == [field.name for field in fields(Inputs)]
    assert list(example_inputs(small_fusion, 16, 16)) == [field.name for field in fields(Inputs)][:-2]
    assert list(example_inputs(MaskRefiner(), 16, 16)) == [field.name for field in fields(Observed)]
    assert onnx_export.MULTIPLE == aligned._MULTIPLE == mask_network.MULTIPLE


def test_what_cannot_be_exported_says_why(small: SwitchableTPN, small_fusion: AlignedFusion) -> None:
    with pytest.raises(ExportError, match=r"^size: expected multiples of 16, got 40 x 32; pad the pictures$"):
        export_onnx(small_fusion, 32, 40)
    with pytest.raises(ExportError, match=r"^size: expected at least 1 x 1 and 1 picture, got 8 x 0 and 1$"):
        export_onnx(small, 0, 8)
    halved = SwitchableTPN(small.config).half()
    with pytest.raises(ExportError, match=r"^weights: expected torch\.float32 on cpu, got torch\.float16 on cpu; load"):
        export_onnx(halved, 32, 32)


def test_an_operator_without_translation_is_named(small: SwitchableTPN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(onnx_export.TRANSLATIONS, "aten.relu.default")
    with pytest.raises(
        ExportError, match=r"expected an operator with a translation, got aten\.relu\.default; add it to"
    ):
        export_onnx(small, 32, 32)


def test_without_onnx_it_says_what_to_install(small: SwitchableTPN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        ExportError, match=r"^export to ONNX: expected the package onnx, got: .*; run: pip install onnx$"
    ):
        export_onnx(small, 32, 32)
