"""How fast operator and networks are, on a CPU or a GPU; nothing is timed that is not right. Whole methods:
`method_speed`.

Times are those of turns A B A B within one run, because machines are shared and their clocks change.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from stpn.engine.device import inference, place
from stpn.engine.graphs import replayed
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.propagation import normalize_gates, propagate
from stpn.engine.propagation.gathering import gather
from stpn.engine.propagation.reference import propagate_reference
from stpn.engine.properties.mask_segmentation import MaskSegmentation

PAPER = {"color": 0.015, "hdr": 0.025, "mask": 0.017, "mask, refined": 0.084}
"""Seconds a frame of 512 x 512 on a TITAN X. Source: Switchable Temporal Propagation Network, Table 1."""

SIDE = 512
"""Of the pictures that networks are timed on."""

Times = dict[str, list[float]]


class Runner(Protocol):
    """What runs an engine, as `stpn.engine.backends.tensorrt_runtime.EngineRunner` does."""

    def submit(self, planes: Mapping[str, Any]) -> Any:
        """Starts a frame."""

    def result(self, ticket: Any) -> Mapping[str, Any]:
        """Waits for it."""


UNRECORDED = ", unrecorded"
"""At the end of a network's name: its kernels started one by one, not as a CUDA graph."""


class WrongError(Exception):
    """What was to be timed does not give what it must."""


def turns(work: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu", inner: int = 1) -> Times:
    """Seconds of each work, run in turns; one round before them is not counted.

    Args:
        work: by name.
        rounds: how many turns.
        device: of torch; work on a GPU is waited for.
        inner: how often a work is run in its turn; the time is that of one.
    """
    times: Times = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            wait_for(device)
            start = time.perf_counter()
            for _ in range(inner):
                run()
            wait_for(device)
            if turn:
                times[name].append((time.perf_counter() - start) / inner)
    return times


def operator(shape: tuple[int, int, int, int], kind: torch.dtype, device: str, rounds: int) -> tuple[Times, int]:
    """The propagation, the sum form of it, the plain loop over columns, a copy of as many bytes, and on a GPU with
    triton the same in Triton.

    Args:
        shape: B, C, H, W of the property map; the gates are shared by the channels.
        kind: float32, or float16 on a GPU.
        device: cpu or cuda.
        rounds: how many turns.

    Returns:
        Seconds by name, and the bytes that a propagation must at least move: map and gates in, the result out.

    Raises:
        WrongError: one of them does not agree with the definition.
    """
    batch, _, height, width = shape
    made = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=made).to(device)
    gates = normalize_gates(torch.randn(batch, 4, 1, 3, height, width, generator=made)).to(device)
    expected = propagate_reference(x, gates)
    x, gates = x.to(kind), gates.to(kind)
    shared = gates[:, :, 0].abs()
    compared = {"propagate": propagate} | ({"triton": in_triton()} if device == "cuda" and has_triton() else {})
    tolerance = 1e-5 if kind == torch.float32 else 1e-2
    with torch.inference_mode():
        for name, way in compared.items():
            _refuse_wrong(name, way(x, gates), expected, tolerance)
        sums = gather(x[:1].float().cpu(), shared[:1].float().cpu())
        _refuse_wrong("gather", gather(x[:1], shared[:1]).cpu(), sums, tolerance * float(sums.abs().max()))
    del expected, sums
    least = x.nbytes * 2 + gates.nbytes
    source = torch.empty(least // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    work: dict[str, Callable[[], object]] = {
        **{name: partial(way, x, gates) for name, way in compared.items()},
        "gather": lambda: gather(x, shared),
        "copy of as many bytes": lambda: target.copy_(source),
    }
    with torch.inference_mode():
        times = turns(work, rounds, device, inner=5)
        times |= turns({"loop over columns": lambda: propagate_reference(x, gates)}, max(1, rounds // 5), device)
    return times, least


def has_triton() -> bool:
    """Whether the package triton is here; torch brings it where it is built for CUDA."""
    return find_spec("triton") is not None


def in_triton() -> Callable[[Tensor, Tensor], Tensor]:
    """The propagation in Triton.

    Raises:
        ImportError: triton is not here.
    """
    from stpn.engine.evaluation.triton_propagation import propagate_triton

    return propagate_triton


def _refuse_wrong(name: str, got: Tensor, expected: Tensor, tolerance: float) -> None:
    wrong = float((got.float() - expected).abs().max())
    if not wrong <= tolerance:
        raise WrongError(f"{name}: expected the definition's values to {tolerance:g}, got a difference of {wrong:g}")


def networks(device: str, batch: int, rounds: int) -> Times:
    """Seconds of one frame of 512 x 512 of the paper's networks, by the names of `PAPER`; weights are random.

    On a GPU they are replayed as CUDA graphs, and, as names that end in `UNRECORDED`, started kernel by kernel.

    Raises:
        WrongError: a replay gives other bits.
    """
    torch.manual_seed(0)
    color = place(SwitchableTPN(), device)
    hdr = place(SwitchableTPN(NetworkConfig(3, 3, 16, 1)), device)
    mask = place(MaskSegmentation(), device)

    def planes(count: int) -> Tensor:
        return torch.rand(batch, count, SIDE, SIDE, device=device)

    lightness, radiance, picture = planes(1), planes(3), planes(3)
    ab, one = planes(2), planes(1)
    calls: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
        "color": (color.forward, (ab, lightness, lightness)),
        "hdr": (hdr.forward, (radiance, picture, picture)),
        "mask": (mask.propagated, (one, picture, picture)),
        "mask, refined": (mask.forward, (one, picture, picture)),
    }

    def run(call: Callable[..., Any], given: tuple[Tensor, ...], through: Callable[..., Any]) -> Any:
        with inference(cast(Any, call).__self__):
            return through(call, *given)

    work: dict[str, Callable[[], object]] = {
        name: partial(run, call, given, replayed) for name, (call, given) in calls.items()
    }
    if device == "cuda":
        for name, (call, given) in calls.items():
            work[name + UNRECORDED] = partial(run, call, given, lambda call, *given: call(*given))
            for _ in range(3):
                made, wanted = work[name](), work[name + UNRECORDED]()
                if not _same_bits(made, wanted):
                    raise WrongError(f"{name}: expected a replayed CUDA graph to give the same bits, got others")
    return {name: [t / batch for t in each] for name, each in turns(work, rounds, device).items()}


def in_engine(network: SwitchableTPN, runner: Runner, slots: int, rounds: int) -> Times:
    """Seconds of one frame of 512 x 512 of the paper's color network in TensorRT, copies to and from the GPU included.

    Args:
        network: the same in torch, on the CPU.
        runner: of its engine, for pictures of that size.
        slots: frames that it takes at once.
        rounds: how many turns.

    Returns:
        "color, one at a time": waited for before the next is begun; "color, N in flight": a frame's share of many.

    Raises:
        WrongError: what the engine gives is not near what torch gives.
    """
    made = torch.Generator().manual_seed(0)
    ab = torch.rand(1, 2, SIDE, SIDE, generator=made) - 0.5
    light = torch.rand(1, 1, SIDE, SIDE, generator=made) - 0.5
    given = {"key_property": ab, "key_guide": light, "target_guide": light}
    planes = {name: plane.numpy() for name, plane in given.items()}
    with inference(network, fast=False):
        expected = network(*given.values())
    got = torch.from_numpy(runner.result(runner.submit(planes))["carried"])
    _refuse_wrong("color in TensorRT", got, expected, 2e-2 * float(expected.abs().max()))
    many = 8 * slots

    def in_flight() -> None:
        waiting: deque[Any] = deque()
        for _ in range(many):
            if len(waiting) == slots:
                runner.result(waiting.popleft())
            waiting.append(runner.submit(planes))
        while waiting:
            runner.result(waiting.popleft())

    share = f"color, {slots} in flight"
    times = turns({"color, one at a time": lambda: runner.result(runner.submit(planes)), share: in_flight}, rounds)
    return times | {share: [t / many for t in times[share]]}


def _same_bits(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def wait_for(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
