"""Frames of a span that are carried at once come out as each alone, to the rounding of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.carriers import AlignedCarrier, Carrier, FlowCarrier, Key, NetworkCarrier
from stpn.engine.properties.hdr import UNIT, HdrCarrier
from stpn.engine.weights import load_aligned, load_network, shipped

SHAPE = (70, 101)
FRAMES = range(5)
TARGETS = (1, 2, 3)


def scene(textures: Any) -> tuple[dict[int, Any], list[Key]]:
    light, color = textures(*SHAPE, 1, 5), textures(*SHAPE, 2, 9)
    lightness = {n: (50 + 15 * light.moved(2.0 * n, 0)).astype(np.float32) for n in FRAMES}
    ab = [
        Key(n, np.dstack([20 * color.moved(2.0 * n, 0), -light.moved(2.0 * n, 0)]).astype(np.float32)) for n in (0, 4)
    ]
    return lightness, ab


def carriers(name: str, textures: Any) -> Carrier:
    lightness, keys = scene(textures)
    if name == "flow":
        return FlowCarrier(keys, lightness, TARGETS)
    if name == "aligned":
        return AlignedCarrier(keys, lightness, TARGETS, load_aligned(shipped("aligned")))
    if name == "stpn":
        return NetworkCarrier(keys, lightness, load_network(shipped("color")))
    radiance = {
        n: (np.exp((light - 60) / 8)[..., None] * [1, 0.9, 0.7]).astype(np.float32) for n, light in lightness.items()
    }
    ldr = {n: np.clip(light, 0, 1) ** np.float32(0.45) for n, light in radiance.items()}
    network = AlignedFusion(AlignedConfig(channels=3, unit=UNIT, observed=True)).eval() if name == "hdr" else None
    return HdrCarrier([Key(n, radiance[n]) for n in (0, 4)], ldr, TARGETS, network)


@pytest.mark.parametrize("name", ["flow", "aligned", "stpn", "hdr", "hdr by motion"])
def test_a_batch_is_its_frames(textures: Any, name: str) -> None:
    carrier = carriers(name, textures)
    together = carrier.carry_batch(TARGETS)
    assert len(together) == len(TARGETS)
    for frame, (value, confidence) in zip(TARGETS, together, strict=True):
        alone, sure = carrier.carry(frame)
        assert np.abs(value - alone).max() < 1e-5 * np.abs(alone).max()
        assert np.abs(confidence - sure).max() < 1e-5
        assert value.std() > 0
