"""How fast whole methods are, pictures in memory; operator and networks alone: `speed`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.alignment import Image
from stpn.engine.carriers import AlignedCarrier, Carrier, FlowCarrier, Key
from stpn.engine.evaluation.speed import Times, wait_for
from stpn.engine.full_size import FullSizeCarrier, full_size_keys
from stpn.engine.working_size import reduced, working_factor

Parallel = Callable[..., Iterable[Any]]


def methods(width: int, height: int, network: AlignedFusion, device: str, threads: int, rounds: int) -> Times:
    """Seconds a frame of whole methods, pictures in memory: the frame's share of the motion between two keys, and its
    own work.

    Args:
        width, height: of the pictures.
        network: of `--method aligned`, for color, where it runs.
        device: that it runs on; motion stays on the CPU.
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
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(threads) as inner:
        for turn in range(rounds + 1):
            for name in times:
                start = time.perf_counter()
                carrier = _carrier(keys, light, targets, network if name == "aligned" else None, pool.map, inner.map)
                list(pool.map(carrier.carry, targets))
                wait_for(device)
                if turn:
                    times[name].append((time.perf_counter() - start) / len(targets))
    return times


def _carrier(
    keys: Sequence[Key],
    light: Mapping[int, Image],
    targets: Sequence[int],
    network: AlignedFusion | None,
    parallel: Parallel,
    within: Parallel,
) -> Carrier:
    """As a render carries: motion at the working size, keys at full size. `within` serves what runs in `parallel`."""
    factor = working_factor(*light[0].shape)

    def small(keys: Sequence[Key], light: Mapping[int, Image], quickly: bool) -> FlowCarrier:
        if network is None:
            return FlowCarrier(keys, light, targets, parallel, quickly=quickly)
        return AlignedCarrier(keys, light, targets, network, parallel, quickly=quickly)

    if factor == 1:
        return small(keys, light, False)
    at_work = dict(zip(light, parallel(lambda one: reduced(one, factor), light.values()), strict=True))
    mixing = small([Key(key.frame, reduced(key.prop, factor)) for key in keys], at_work, True)
    packed = full_size_keys([(key.prop, light[key.frame]) for key in keys])
    return FullSizeCarrier(mixing, packed, light.__getitem__, factor, within)


def _moving(width: int, height: int, count: int) -> dict[int, Any]:
    """Lightness, (H, W) float32, 0..100, of a texture that moves by three pixels a frame."""
    noise = np.random.default_rng(0).random((height, width + 3 * count), np.float32)
    texture = np.clip(cv2.GaussianBlur(noise, (0, 0), 4) * 600 - 250, 0, 100)
    return {n: np.ascontiguousarray(texture[:, 3 * n : 3 * n + width]) for n in range(count)}
