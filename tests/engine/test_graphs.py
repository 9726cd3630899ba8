"""CUDA graphs: what is recorded, replayed, kept and told, on a stand-in for torch's interface; the real one:
test_graphs_of_networks.py."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stpn.engine import graphs
from stpn.engine.aligned_network import AlignedConfig, AlignedFusion, Inputs
from stpn.engine.backends.onnx_export import example_inputs
from stpn.engine.graphs import replayed
from stpn.engine.observation import inputs


@dataclass(frozen=True)
class Result:
    near: Tensor
    far: list[Tensor]


class Small(nn.Module):
    """Two results of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2, 3, 3, padding=1)
        self.calls = 0

    def forward(self, x: Tensor, y: Tensor | None = None) -> Result:
        self.calls += 1
        mixed = self.mix(x if y is None else x + y)
        return Result(torch.relu(mixed), [mixed.mean(dim=1, keepdim=True)])

    def doubled(self, x: Tensor) -> Tensor:
        return 2 * x


class Cuda:
    """torch's interface to streams and graphs, on the CPU: notes what is asked of it, in order.

    A graph keeps the operators that run while it is recorded, and the tensors they ran on. While it is recorded
    nothing is computed, as on a GPU: results are NaN until a replay writes them, where they were recorded.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails = ""
        self.stream = "default"
        outer = self

        class Graph:
            def __init__(self) -> None:
                self.steps: list[tuple[Any, Any, Any, Any]] = []

            def replay(self) -> None:
                outer.log.append("replay")
                assert self.steps, "replayed before it was recorded, or after it was dropped"
                for operator, args, named, made in self.steps:
                    for old, new in zip(tensors(made), tensors(operator(*args, **named)), strict=True):
                        if old.data_ptr() != new.data_ptr():  # not a view
                            old.copy_(new)

            def reset(self) -> None:
                outer.log.append("reset")
                self.steps.clear()

        class Event:
            def record(self, stream: str) -> None:
                outer.log.append(f"{stream}: record")

            def synchronize(self) -> None:
                outer.log.append("wait for its last use")

        self.interface = SimpleNamespace(
            CUDAGraph=Graph,
            Event=Event,
            Stream=lambda device: SimpleNamespace(
                name="own", wait_stream=lambda of: outer.log.append(f"own: wait for {of}")
            ),
            graph=self.graph,
            stream=self.on,
            device=self.on,
            current_stream=lambda device: _Stream(outer),
        )

    @contextmanager
    def on(self, where: Any) -> Iterator[None]:
        before, self.stream = self.stream, getattr(where, "name", self.stream)
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def graph(self, graph: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        assert not torch.is_autocast_cache_enabled()
        self.log.append("begin")
        self.stream = stream.name  # and it stays so where the end fails, as torch's does
        with Recording(graph.steps):
            try:
                if self.fails:
                    raise RuntimeError(f"{self.fails}\nCompile with TORCH_USE_CUDA_DSA")
                yield
            finally:
                if self.fails:
                    raise RuntimeError("capture was invalidated")
        self.stream = "default"
        self.log.append("end")


class _Stream(str):
    """A stream by its name."""

    cuda: Cuda

    def __new__(cls, cuda: Cuda) -> _Stream:
        made = super().__new__(cls, cuda.stream)
        made.cuda = cuda
        return made

    @property
    def name(self) -> str:
        return str(self)

    def wait_event(self, event: Any) -> None:
        self.cuda.log.append(f"{self}: wait for the one before")


class Recording(TorchDispatchMode):
    """Keeps operators, and leaves NaN where they would write."""

    def __init__(self, steps: list[Any]) -> None:
        super().__init__()
        self.steps = steps

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operator(*args, **(kwargs or {}))
        self.steps.append((operator, args, kwargs or {}, made))
        before = {one.data_ptr() for one in tensors((args, kwargs))}
        for one in tensors(made):
            if one.data_ptr() not in before and one.is_floating_point():
                one.fill_(torch.nan)
        return made


def tensors(value: Any) -> list[Tensor]:
    return [one for one in tree_leaves(value) if isinstance(one, Tensor)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures of a few pixels are not worth waking others for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """The networks of this test say that they are on a GPU."""
    fake = Cuda()
    monkeypatch.setattr(graphs, "device_of", lambda network: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(graphs, "_failed", [])
    for name, stand_in in vars(fake.interface).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return fake


def picture(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(1, 2, *(size or (5, 6)), generator=torch.Generator().manual_seed(seed))


def same(got: Any, wanted: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(graphs._tensors(got), graphs._tensors(wanted), strict=True))


def test_a_form_is_run_then_recorded_then_replayed(cuda: Cuda) -> None:
    network = Small()
    with torch.inference_mode():
        for seed in range(4):
            assert same(replayed(network.forward, picture(seed=seed)), Small.forward(network, picture(seed=seed)))
    warm_up, recorded, called_by_this_test, first = 2, 1, 4, 1
    assert network.calls == first + warm_up + recorded + called_by_this_test
    replay = ["default: wait for the one before", "replay", "default: record"]
    assert cuda.log == ["own: wait for default", "begin", "end", *3 * replay]


def test_buffers_are_the_recordings_own(cuda: Cuda) -> None:
    """Neither what is given nor what comes out is touched by the next call, and both may be let go."""
    network = Small()
    with torch.inference_mode():
        replayed(network.forward, picture())
        given = [picture(seed=seed) for seed in range(3)]
        before = [one.clone() for one in given]
        made = [replayed(network.forward, one) for one in given]
        (graph,) = graphs._of[network]._kept.values()
        assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
        assert all(same(one, Small.forward(network, x)) for one, x in zip(made, given, strict=True))
    buffers = [tensor.data_ptr() for tensor in (*graph._inputs, *graphs._tensors(graph._made))]
    outside = [tensor.data_ptr() for tensor in (*given, *(t for one in made for t in graphs._tensors(one)))]
    assert not set(buffers) & set(outside)
    assert len(graph._inputs) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda n: replayed(n.forward, picture(5, 7)), id="shape"),
        pytest.param(lambda n: replayed(n.forward, picture().double().float().mT.contiguous().mT), id="strides"),
        pytest.param(lambda n: replayed(n.forward, picture(), picture()), id="a tensor more"),
        pytest.param(lambda n: replayed(n.forward, picture(), None), id="None said"),
        pytest.param(lambda n: replayed(n.doubled, picture()), id="method"),
        pytest.param(lambda n: replayed(n.doubled, picture().half()), id="type"),
    ],
)
def test_another_form_is_another_recording(cuda: Cuda, other: Callable[[Any], Any]) -> None:
    network = Small()
    with torch.inference_mode():
        for _ in range(2):
            replayed(network.forward, picture())
        assert cuda.log.count("begin") == 1
        for times in range(3):
            other(network)
            assert cuda.log.count("begin") == 1 + (times > 0)
    assert len(graphs._of[network]._kept) == 2


def test_another_network_has_its_own(cuda: Cuda) -> None:
    networks = Small(), Small()
    with torch.inference_mode():
        for _ in range(3):
            for network in networks:
                assert same(replayed(network.forward, picture()), Small.forward(network, picture()))
    assert cuda.log.count("begin") == 2


def test_new_numbers_in_the_weights_count_and_weights_that_moved_are_recorded_anew(cuda: Cuda) -> None:
    network = Small()

    @torch.inference_mode()
    def right() -> bool:
        return same(replayed(network.forward, picture()), Small.forward(network, picture()))

    assert right()
    assert right()
    with torch.no_grad():
        network.mix.weight.mul_(2)
    assert right()
    assert (cuda.log.count("begin"), cuda.log.count("reset")) == (1, 0)
    network.mix.weight.data = network.mix.weight.detach() * 3
    assert right()
    assert (cuda.log.count("begin"), cuda.log.count("reset")) == (2, 1)


def test_so_many_are_kept_and_the_one_that_waited_longest_goes_after_its_last_use(cuda: Cuda) -> None:
    network = Small()
    with torch.inference_mode():
        for width in range(3, 3 + graphs.KEPT):
            for _ in range(2):
                replayed(network.forward, picture(4, width))
        replayed(network.forward, picture(4, 3))  # now the second has waited longest
        assert "reset" not in cuda.log
        cuda.log.clear()
        replayed(network.forward, picture(9, 9))
        assert cuda.log == ["wait for its last use", "reset"]
        assert len(graphs._of[network]._kept) == graphs.KEPT
        cuda.log.clear()
        replayed(network.forward, picture(4, 3))
        assert cuda.log.count("replay") == 1
        assert same(replayed(network.forward, picture(4, 4)), Small.forward(network, picture(4, 4)))
    assert cuda.log.count("begin") == 0  # gone, and seen once again


def test_a_failure_is_told_once_with_its_reason_and_everything_runs_unrecorded(
    cuda: Cuda, caplog: pytest.LogCaptureFixture
) -> None:
    network, other = Small(), Small()
    cuda.fails = "operation not permitted when stream is capturing"
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        for one in (network, other):
            for size in (4, 5):
                for _ in range(3):
                    x = picture(size, size)
                    assert same(replayed(one.forward, x), Small.forward(one, x))
    assert [record.getMessage() for record in caplog.records] == [
        "--device cuda: expected to record a CUDA graph, got: operation not permitted when stream is capturing; "
        "goes on without, slower"
    ]
    assert cuda.log.count("begin") == 1
    assert cuda.stream == "default"
    assert torch.is_autocast_cache_enabled()


def test_memory_that_is_missing_for_buffers_is_a_failure_too(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = Small()

    def none(tensor: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty_like", none)
    with torch.inference_mode():
        for _ in range(3):
            assert same(replayed(network.forward, picture()), Small.forward(network, picture()))
    assert [record.getMessage().split("; ")[0] for record in caplog.records] == [
        "--device cuda: expected to record a CUDA graph, got: CUDA out of memory"
    ]


def test_what_a_network_itself_refuses_comes_out(cuda: Cuda) -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="expected input"):
        replayed(Small().forward, torch.zeros(1, 5, 4, 4))
    with torch.inference_mode(), pytest.raises(TypeError, match=r"^expected tensors, None, and .* of them, got int$"):
        replayed(Small().doubled, 3)


def test_where_gradients_are_asked_for_nothing_is_recorded(cuda: Cuda) -> None:
    network = Small()
    for _ in range(3):
        replayed(network.forward, picture()).near.sum().backward()
    assert cuda.log == []
    assert network.mix.weight.grad is not None


def test_on_a_cpu_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_Recordings", None)
    with torch.inference_mode():
        assert isinstance(replayed(Small().forward, picture()), Result)


def test_threads_share_a_network(cuda: Cuda) -> None:
    """Each gets the result of what it gave, and one form is recorded once."""
    network = Small()
    start = threading.Barrier(4)

    def work(first: int) -> bool:
        start.wait()
        with torch.inference_mode():
            return all(
                same(replayed(network.forward, picture(seed=n)), Small.forward(network, picture(seed=n)))
                for n in range(first, first + 25)
            )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(0, 100, 25)))
    assert cuda.log.count("begin") == 1


def test_the_network_of_aligned_replayed_is_the_same_to_the_bit(cuda: Cuda) -> None:
    torch.manual_seed(0)
    network = AlignedFusion(AlignedConfig(candidate_channels=4, widths=(8, 8, 12, 12), match_channels=5)).eval()
    with torch.no_grad():  # so that the propagation is an operator that can be recorded
        for seed in range(3):
            given = inputs(example_inputs(network, 32, 48, seed=seed))
            assert same(replayed(network.forward, given), network(given))
    assert cuda.log.count("replay") == 2


def test_inputs_of_one_type_are_one_form() -> None:
    """The form says which of the tensors are None."""
    small = AlignedFusion(AlignedConfig())
    planes = example_inputs(small, 16, 16)
    assert graphs._form(inputs(planes)) == graphs._form(inputs(example_inputs(small, 16, 16, seed=3)))
    whole = Inputs(**planes, shown=planes["blend"], blind=planes["blend"])
    assert graphs._form(whole) != graphs._form(inputs(planes))
