"""What is recorded as a CUDA graph: nothing in a network forbids it, seen without a GPU; at the end, marked gpu, that a
replay gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from stpn.engine import graphs
from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.backends.onnx_export import example_inputs
from stpn.engine.device import inference
from stpn.engine.graphs import replayed
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.observation import inputs
from stpn.engine.properties.mask_network import MaskRefiner, Observed
from stpn.engine.weights import load_aligned, load_mask, load_network, shipped


def same(got: Any, wanted: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(graphs._tensors(got), graphs._tensors(wanted), strict=True))


class Asked(TorchFunctionMode):
    """What is asked of torch by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.__name__)
        return function(*args, **(kwargs or {}))


class Ran(TorchDispatchMode):
    """The operators that this takes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(operator))
        return operator(*args, **(kwargs or {}))


# numbers from the processor's memory, and waiting for a result
NOT_ASKED = {"tensor", "new_tensor", "as_tensor", "from_numpy", "item", "tolist", "cpu", "numpy", "nonzero", "__bool__"}
NOT_RUN = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.index.Tensor",
    "aten.masked_select.default",
}


def on_meta(name: str) -> Callable[[], Any]:
    """A forward of what goes through `replayed`, on the device meta, where there are shapes alone."""
    if name == "mask":
        mask = MaskRefiner().to("meta")
        seen = [torch.empty(1, 3, 32, 48, device="meta") for _ in range(3)]
        planes = [torch.empty(1, count, 32, 48, device="meta") for count in (10, 2, 1, 1)]
        return lambda: mask(Observed(*planes, *map(mask.features, seen)))
    config = AlignedConfig(channels=3, observed=True) if name == "hdr" else AlignedConfig()
    network = SwitchableTPN(NetworkConfig(guidance_widths=(8, 12, 16))) if name == "stpn" else AlignedFusion(config)
    planes = {key: plane.to("meta") for key, plane in example_inputs(network, 32, 48).items()}
    network.to("meta")
    return lambda: network(*planes.values()) if name == "stpn" else network(inputs(planes))


@pytest.mark.parametrize("name", ["aligned", "hdr", "stpn", "mask"])
def test_nothing_in_a_network_copies_from_the_processor_or_waits_for_it(name: str) -> None:
    forward = on_meta(name)
    with torch.no_grad(), Ran() as ran, Asked() as asked:
        forward()
    assert "aten.convolution.default" in ran.names
    assert "cat" in asked.names
    assert not ran.names & NOT_RUN
    assert not asked.names & NOT_ASKED


def test_what_is_looked_for_is_seen() -> None:
    x = torch.zeros(3, device="meta")
    with torch.no_grad(), Ran() as ran, Asked() as asked:
        x.new_tensor([1.0, 2.0])
        torch.tensor([1.0], device="meta")
        x[[0, 1]]
    assert "aten.index.Tensor" in ran.names
    assert {"new_tensor", "tensor"} <= asked.names


# the real ones


def given_to(name: str) -> tuple[Any, Callable[[int], tuple[Any, ...]]]:
    """A shipped network on the GPU, and its input by seed."""

    def moved(planes: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: plane.cuda() for key, plane in planes.items()}

    if name == "mask":
        mask = load_mask(shipped("mask")).cuda()

        def observed(seed: int) -> tuple[Observed]:
            made = torch.Generator().manual_seed(seed)
            planes = [torch.rand(1, count, 64, 96, generator=made).cuda() for count in (10, 2, 1, 1)]
            pictures = torch.rand(3, 1, 3, 64, 96, generator=made).cuda()
            return (Observed(*planes, *map(mask.features, pictures)),)

        return mask, observed
    if name == "color":
        paper = load_network(shipped("color")).cuda()
        return paper, lambda seed: tuple(moved(example_inputs(paper, 72, 104, 2, seed)).values())
    aligned = load_aligned(shipped(name)).cuda()
    return aligned, lambda seed: (inputs(moved(example_inputs(aligned, 64, 96, 2, seed))),)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["aligned", "hdr", "color", "mask"])
@pytest.mark.parametrize("fast", [True, False], ids=["half", "float32"])
def test_a_gpu_replays_to_the_bit(name: str, fast: bool) -> None:
    network, make = given_to(name)
    with inference(network, fast=fast):
        for seed in range(4):
            given = make(seed)
            assert same(replayed(network.forward, *given), network(*given))
        assert not graphs._failed
        (graph,) = graphs._of[network]._kept.values()
        assert graph is not None


@pytest.mark.gpu
def test_threads_share_a_network_on_a_gpu() -> None:
    """Some on the stream that all share, some on their own."""
    network, make = given_to("aligned")

    def work(number: int) -> bool:
        stream = torch.cuda.Stream() if number % 2 else torch.cuda.current_stream()
        # without autocast, whose cast weights threads share whatever their streams are
        with torch.cuda.stream(stream), inference(network, fast=False):
            return all(
                same(replayed(network.forward, *given), network(*given))
                for given in map(make, range(10 * number, 10 * number + 10))
            )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert not graphs._failed


@pytest.mark.gpu
def test_weights_that_went_away_and_came_back_on_a_gpu() -> None:
    network, make = given_to("color")
    with inference(network):
        for seed in range(3):
            replayed(network.forward, *make(seed))
    with torch.no_grad():
        network.cpu()
        for weight in network.parameters():
            weight.mul_(0.5)
        network.cuda()
    with inference(network):
        assert same(replayed(network.forward, *make(9)), network(*make(9)))
