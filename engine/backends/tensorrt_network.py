"""Networks whose graph runs in TensorRT, in the place of those in torch: what carries a property does not see which.

A graph is of one size, so that each size has an engine of its own, built before anything is rendered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stpn.engine.aligned_network import AlignedFusion, Inputs, Outputs
from stpn.engine.backends.engine_build import find_machine, network_size, plan_engine
from stpn.engine.backends.engine_cache import cache_folder, find
from stpn.engine.backends.onnx_export import ALIGNED_OUTPUTS, Network
from stpn.engine.network import SwitchableTPN
from stpn.engine.properties.mask_network import Decided, MaskRefiner, Observed

if TYPE_CHECKING:
    from stpn.engine.backends.tensorrt_runtime import EngineRunner

Planes = Mapping[str, NDArray[Any]]
Run = Callable[[Planes], Planes]
"""Runs a graph: its inputs by name, to its outputs by name; float32."""


IN_FLIGHT = 3
"""Pictures on the GPU at a time: one comes, one is computed, one goes."""


class NoEngineError(Exception):
    """There is no engine for a size; the message says how to build it."""


class EngineFusion(AlignedFusion):
    """An AlignedFusion whose graph is run by an engine; batches of one picture."""

    def __init__(self, network: AlignedFusion, run: Run) -> None:
        """Takes the network that was exported, and what runs its graph."""
        nn.Module.__init__(self)
        self.config, self.matching = network.config, network.matching
        self._run = run

    def forward(self, given: Inputs) -> Outputs:
        """See `AlignedFusion`; `fused` and `matches`, which training alone looks at, are left empty."""
        named = {field.name: getattr(given, field.name) for field in fields(Inputs)}
        pictures = _each({name: plane for name, plane in named.items() if plane is not None}, self._run)
        found = {of: pictures[name] for name, of in ALIGNED_OUTPUTS.items()}
        nothing = found["values"][:, :0]
        return Outputs(fused=nothing, matches=nothing, **found)


class EngineTPN(SwitchableTPN):
    """The paper's network, likewise."""

    def __init__(self, network: SwitchableTPN, run: Run) -> None:
        """Takes the network that was exported, and what runs its graph."""
        nn.Module.__init__(self)
        self.config = network.config
        self._run = run
        self._held = nn.Parameter(torch.zeros(1), requires_grad=False)  # says that it stands on the CPU

    def gates(self, key_guide: Tensor, target_guide: Tensor) -> list[Tensor]:
        """The guides themselves: the graph computes the gates where it uses them."""
        return [key_guide, target_guide]

    def carry(self, key_property: Tensor, gates: list[Tensor]) -> Tensor:
        """See `SwitchableTPN`; `gates` are those of `gates` above."""
        planes = {"key_property": key_property, "key_guide": gates[0], "target_guide": gates[1]}
        return _each(planes, self._run)["carried"]


class EngineRefiner(MaskRefiner):
    """The network of masks, likewise."""

    def __init__(self, network: MaskRefiner, run: Run) -> None:
        """Takes the network that was exported, and what runs its graph."""
        nn.Module.__init__(self)
        self.config = network.config
        self._run = run
        self._held = nn.Parameter(torch.zeros(1), requires_grad=False)  # says that it stands on the CPU

    def features(self, picture: Tensor) -> Tensor:
        """The picture itself: the graph computes the features where it compares them."""
        return picture

    def forward(self, x: Observed) -> Decided:
        """See `MaskRefiner`; `matched`, which training alone looks at, is left empty."""
        made = _each({field.name: getattr(x, field.name) for field in fields(Observed)}, self._run)
        return Decided(made["odds"], made["sure"], made["odds"][:, :0])


def _each(planes: Mapping[str, Tensor], run: Run) -> dict[str, Tensor]:
    """Runs the pictures of a batch one after the other."""
    batch = next(iter(planes.values())).shape[0]
    made = [
        run({name: np.ascontiguousarray(plane[i : i + 1].float().numpy()) for name, plane in planes.items()})
        for i in range(batch)
    ]
    return {name: torch.from_numpy(np.concatenate([one[name] for one in made])) for name in made[0]}


def engine_file(network: Network, height: int, width: int) -> Path:
    """The engine for pictures of a size, of this machine.

    Raises:
        NoEngineError: it was not built.
        TensorRTMissing, ExportError: see `engine_build`.
    """
    plan = plan_engine(network, *network_size(network, height, width), find_machine())
    found = find(cache_folder(), plan.key)
    if found is None:
        method = "stpn" if isinstance(network, SwitchableTPN) else "aligned"
        raise NoEngineError(
            f"expected an engine for {width} x {height}, of these weights and this GPU, found none; run: stpn engine "
            f"build --method {method} --size {width}x{height}, with --property and --weights as here"
        )
    return found


def in_tensorrt(network: Network, engine: Path) -> Network:
    """A network that runs in an engine; safe to use from several threads, whose pictures overlap on the GPU.

    Raises:
        RunError: TensorRT refuses the engine.
    """
    from stpn.engine.backends.tensorrt_runtime import EngineRunner

    return on(network, shared(EngineRunner(engine, IN_FLIGHT), IN_FLIGHT))


def shared(runner: EngineRunner, slots: int) -> Run:
    """A runner for several threads: while one waits for its picture, others begin theirs."""
    lock, free = threading.Lock(), threading.Semaphore(slots)

    def run(planes: Planes) -> Planes:
        with free:
            with lock:
                ticket = runner.submit(planes)
            try:
                runner.wait(ticket)
            finally:
                with lock:
                    made = runner.result(ticket)
        return made

    return run


def on(network: Network, run: Run) -> Network:
    """The network with its graph run by something."""
    if isinstance(network, AlignedFusion):
        return EngineFusion(network, run)
    if isinstance(network, MaskRefiner):
        return EngineRefiner(network, run)
    return EngineTPN(network, run)
