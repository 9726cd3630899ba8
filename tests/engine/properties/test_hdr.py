"""HDR from an 8-bit plate and scene-linear keys, on a moving scene with a light that clips."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.carriers import Key
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.properties.hdr import UNIT, HdrCarrier, alpha_of

Array = np.ndarray[Any, Any]
SHAPE = (96, 129)
VELOCITY = (2.0, -1.0)


def frame(textures: Any, n: int) -> tuple[Array, Array]:
    """Scene-linear light, with a lamp of up to 30 whose filament has a shape, and the 8-bit code values of it."""
    x, y = VELOCITY[0] * n, VELOCITY[1] * n
    base = 0.2 * np.exp(0.5 * textures(*SHAPE, 1, 4).moved(x, y))
    down, right = np.mgrid[: SHAPE[0], : SHAPE[1]]
    away = np.hypot(right - 50 - x, down - 50 - y)
    lamp = 30 * np.exp(-((away / 7) ** 2)) * (1.2 + np.sin(0.9 * (right - x)))
    light = np.dstack([base + lamp, 0.9 * base + 0.8 * lamp, 0.8 * base + 0.3 * lamp]).astype(np.float32)
    noise = np.random.default_rng(n).normal(0, 0.6, light.shape)
    ldr = np.clip(np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2) + noise), 0, 255) / 255
    return light, ldr.astype(np.float32)


@pytest.fixture(scope="module")
def shot(textures: Any) -> tuple[list[Array], dict[int, Array]]:
    frames = [frame(textures, n) for n in range(9)]
    return [light for light, _ in frames], {n: ldr for n, (_, ldr) in enumerate(frames)}


def log_error(a: Array, b: Array) -> Array:
    return np.abs(np.log(np.maximum(a, 0) + 0.01) - np.log(b + 0.01))


def carrier(shot: Any, scale: float = 1.0, targets: tuple[int, ...] = tuple(range(1, 8)), **more: Any) -> HdrCarrier:
    light, ldr = shot
    return HdrCarrier([Key(n, scale * light[n]) for n in (0, 8)], ldr, targets, **more)


def test_the_light_that_was_lost_comes_back(shot: Any) -> None:
    light, ldr = shot
    radiance, confidence = carrier(shot).carry(4)
    clipped = ldr[4].max(axis=2) >= 254 / 255
    known = log_error(radiance, light[4])
    lost = log_error(np.minimum(light[4], 1), light[4])
    assert known[clipped].mean() < 0.25 * lost[clipped].mean()
    assert radiance.max() > 20
    assert radiance.dtype == np.float32
    assert confidence.shape == SHAPE
    assert (confidence[~clipped] >= 0.9).all()


def test_what_does_not_clip_is_the_plate_to_the_last_bit(shot: Any) -> None:
    made = carrier(shot)
    radiance, confidence = made.carry(3)
    outside = shot[1][3].max(axis=2) < 0.95
    assert outside.mean() > 0.5
    assert (radiance[outside] == made.response.inverse(shot[1][3], 3)[outside]).all()
    assert (confidence[outside] == 1).all()


def test_no_channel_is_darker_than_it_is_shown(shot: Any) -> None:
    made = carrier(shot)
    radiance, _ = made.carry(5)
    assert (radiance >= 0.999 * made.response.inverse(shot[1][5], 5) - 1e-4).all()


@pytest.mark.parametrize("scale", [0.01, 400.0])
def test_the_scale_of_the_keys_is_kept(shot: Any, scale: float) -> None:
    one, _ = carrier(shot).carry(2)
    other, _ = carrier(shot, scale).carry(2)
    assert np.allclose(other, scale * one, rtol=2e-3)


def test_a_frame_alone_is_the_frame_among_others(shot: Any) -> None:
    together = carrier(shot)
    with ThreadPoolExecutor(4) as pool:
        made = dict(zip(range(1, 8), pool.map(together.carry, range(1, 8)), strict=True))
    for n in (1, 6):
        alone, confidence = carrier(shot, targets=(n,)).carry(n)
        assert (alone == made[n][0]).all()
        assert (confidence == made[n][1]).all()


def test_one_key_is_enough(shot: Any) -> None:
    light, ldr = shot
    radiance, _ = HdrCarrier([Key(0, light[0])], ldr, range(1, 5)).carry(3)
    clipped = ldr[3].max(axis=2) >= 254 / 255
    assert log_error(radiance, light[3])[clipped].mean() < 0.5


def test_the_networks_take_what_they_are_given(shot: Any) -> None:
    aligned = AlignedFusion(AlignedConfig(channels=3, unit=UNIT, observed=True)).eval()
    by_motion, _ = carrier(shot).carry(4)
    by_network, confidence = carrier(shot, network=aligned).carry(4)
    # it starts at motion's own answer
    assert log_error(by_network, by_motion).mean() < 0.02
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    paper = SwitchableTPN(
        NetworkConfig(property_channels=3, guide_channels=3, hidden_channels=8, halvings=1, guidance_widths=(8, 8, 8))
    ).eval()
    radiance, confidence = carrier(shot, network=paper).carry(4)
    assert np.isfinite(radiance).all()
    assert radiance.shape == (*SHAPE, 3)
    assert confidence.shape == SHAPE


def test_alpha_is_the_papers() -> None:
    level = np.array([0.9, 0.95, 0.975, 1.0], np.float32)[None, :, None] * np.array([1, 0.5, 0.2], np.float32)
    assert alpha_of(level)[0, :, 0] == pytest.approx([0, 0, 0.5, 1], abs=1e-5)
