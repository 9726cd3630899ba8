"""How fast the operator, the networks and whole methods are, on a CPU or a GPU; nothing is timed that is not right.

Times are those of turns A B A B within one run, because machines are shared and their clocks change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from stpn.engine.carriers import AlignedCarrier, Carrier, FlowCarrier, Key
from stpn.engine.device import inference
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.propagation import normalize_gates, propagate
from stpn.engine.propagation.gathering import gather
from stpn.engine.propagation.reference import propagate_reference
from stpn.engine.properties.mask_segmentation import MaskSegmentation

PAPER = {"color": 0.015, "hdr": 0.025, "mask": 0.017, "mask, refined": 0.084}
"""Seconds a frame of 512 x 512 on a TITAN X. Source: Switchable Temporal Propagation Network, Table 1."""

Times = dict[str, list[float]]


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
            _wait(device)
            start = time.perf_counter()
            for _ in range(inner):
                run()
            _wait(device)
            if turn:
                times[name].append((time.perf_counter() - start) / inner)
    return times


def operator(shape: tuple[int, int, int, int], kind: torch.dtype, device: str, rounds: int) -> tuple[Times, int]:
    """The propagation, the sum form of it, the plain loop over columns, and a copy of as many bytes.

    Args:
        shape: B, C, H, W of the property map; the gates are shared by the channels.
        kind: float32, or float16 on a GPU.
        device: cpu or cuda.
        rounds: how many turns.

    Returns:
        Seconds by name, and the bytes that a propagation must at least move: map and gates in, the result out.

    Raises:
        WrongError: it does not agree with the definition.
    """
    batch, _, height, width = shape
    made = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=made).to(device)
    gates = normalize_gates(torch.randn(batch, 4, 1, 3, height, width, generator=made)).to(device)
    expected = propagate_reference(x, gates)
    x, gates = x.to(kind), gates.to(kind)
    tolerance = 1e-5 if kind == torch.float32 else 1e-2
    with torch.inference_mode():
        wrong = float((propagate(x, gates).float() - expected).abs().max())
    if not wrong <= tolerance:
        raise WrongError(f"propagate: expected the definition's values to {tolerance:g}, got a difference of {wrong:g}")
    least = x.nbytes * 2 + gates.nbytes
    source = torch.empty(least // 2, dtype=torch.uint8, device=device)
    target, shared = torch.empty_like(source), gates[:, :, 0].abs()
    work: dict[str, Callable[[], object]] = {
        "propagate": lambda: propagate(x, gates),
        "gather": lambda: gather(x, shared),
        "copy of as many bytes": lambda: target.copy_(source),
    }
    with torch.inference_mode():
        times = turns(work, rounds, device, inner=5)
        times |= turns({"loop over columns": lambda: propagate_reference(x, gates)}, max(1, rounds // 5), device)
    return times, least


def networks(device: str, batch: int, rounds: int) -> Times:
    """Seconds of one frame of 512 x 512 of the paper's networks, by the names of `PAPER`; weights are random."""
    torch.manual_seed(0)
    color = SwitchableTPN().to(device)
    hdr = SwitchableTPN(NetworkConfig(3, 3, 16, 1)).to(device)
    mask = MaskSegmentation().to(device)

    def planes(count: int) -> Tensor:
        return torch.rand(batch, count, 512, 512, device=device)

    lightness, radiance, picture = planes(1), planes(3), planes(3)
    ab, one = planes(2), planes(1)
    work: dict[str, Callable[[], object]] = {
        "color": lambda: _run(color, ab, lightness, lightness),
        "hdr": lambda: _run(hdr, radiance, picture, picture),
        "mask": lambda: _run(mask, one, picture, picture, only="propagated"),
        "mask, refined": lambda: _run(mask, one, picture, picture),
    }
    return {name: [t / batch for t in each] for name, each in turns(work, rounds, device).items()}


def _run(network: nn.Module, *given: Tensor, only: str = "") -> None:
    call: Any = getattr(network, only) if only else network
    with inference(network):
        call(*given)


def methods(width: int, height: int, network: nn.Module, device: str, threads: int, rounds: int) -> Times:
    """Seconds a frame of whole methods, pictures in memory: the frame's share of the motion between two keys, and its
    own work.

    Args:
        width, height: of the pictures.
        network: of `--method aligned`, for color.
        device: what the network runs on; motion stays on the CPU.
        threads: for what frames share.
        rounds: how many turns.
    """
    interval = 4
    light = _moving(width, height, interval + 1)
    color = cv2.GaussianBlur(np.random.default_rng(1).random((height, width, 2), np.float32) * 80 - 40, (0, 0), 9)
    keys = [Key(0, color), Key(interval, color)]
    targets = list(range(1, interval))
    times: Times = {"flow": [], "aligned": []}
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(threads) as pool:
        for turn in range(rounds + 1):
            for name in times:
                start = time.perf_counter()
                carrier: Carrier
                if name == "flow":
                    carrier = FlowCarrier(keys, light, targets, pool.map)
                else:
                    carrier = AlignedCarrier(keys, light, targets, network.to(device), pool.map)  # type: ignore[arg-type]
                list(pool.map(carrier.carry, targets))
                _wait(device)
                if turn:
                    times[name].append((time.perf_counter() - start) / len(targets))
    return times


def _moving(width: int, height: int, count: int) -> dict[int, Any]:
    """Lightness, (H, W) float32, 0..100, of a texture that moves by three pixels a frame."""
    noise = np.random.default_rng(0).random((height, width + 3 * count), np.float32)
    texture = np.clip(cv2.GaussianBlur(noise, (0, 0), 4) * 600 - 250, 0, 100)
    return {n: np.ascontiguousarray(texture[:, 3 * n : 3 * n + width]) for n in range(count)}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
